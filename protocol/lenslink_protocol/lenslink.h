/* Constants, structures and a decoder of coded tiles of the LensLink protocol, for C11 and C++11.
 *
 * Generated from lenslink_protocol/structs.py by `make gen`; do not edit.
 *
 * The structure of a message is the fixed part of its payload. The field `size` is the number of
 * bytes of that part, and a tail begins behind them. `size` may be larger than the structure: a
 * newer minor version appends fields. Check both CRCs, the length and `size` before you read a
 * payload.
 */
#ifndef LENSLINK_H
#define LENSLINK_H

#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the wire is little-endian: these structures are for little-endian machines"
#endif

#ifdef __cplusplus
#define LENSLINK_ASSERT(condition, text) static_assert(condition, text)
#else
#define LENSLINK_ASSERT(condition, text) _Static_assert(condition, text)
#endif

#define LENSLINK_MAGIC {0x8A, 0x4C, 0x4C, 0x4B}
#define LENSLINK_VERSION_MAJOR 1 /* another major version is refused */
#define LENSLINK_VERSION_MINOR 0 /* a newer minor version is understood */
#define LENSLINK_HEADER_BYTES 40 /* B: bytes of a header; never changes */
#define LENSLINK_MAX_PAYLOAD 4194304 /* B: longest payload of a tile; tiles gain nothing above 1 MiB */
#define LENSLINK_MAX_CONTROL 1024 /* B: longest payload of any other packet; a small module buffers one */
#define LENSLINK_MAX_MANIFEST 65536 /* B: longest manifest; it is read in pieces */
#define LENSLINK_MAX_TEXT 255 /* B: longest text in the manifest */
#define LENSLINK_MAX_CALIBRATION 262144 /* B: longest calibration; 40,000 defects of a 100-megapixel sensor */
#define LENSLINK_MIN_SIDE 16 /* pixels: least width and height of a mode; the frame still has two tiles */
#define LENSLINK_MAX_WIDTH 12288 /* pixels: most columns of a mode, as a 100-megapixel sensor has */
#define LENSLINK_MAX_HEIGHT 8192 /* pixels: most rows of a mode, as a 100-megapixel sensor has */
#define LENSLINK_MAX_STREAMS 3 /* number of streams: 0 preview, 1 still, 2 region of interest (ROI) */
#define LENSLINK_MAX_LANES 4 /* most lanes; more USB endpoints gain nothing on any known board */
#define LENSLINK_MIN_FRAMES_OPEN 4 /* frames: frames that a host can receive at once, of any size */
#define LENSLINK_MAX_FRAMES_OPEN 256 /* frames: small frames that a host can receive at once; one lane may lag that far */
#define LENSLINK_MAX_OPEN_BYTES 67108864 /* B: most memory of frames in reception beyond MIN_FRAMES_OPEN */
#define LENSLINK_STALL_MS 250 /* ms: silence inside a packet after which the receiver gives it up */
#define LENSLINK_HELLO_RETRY_MS 100 /* ms: a board that boots or clears its endpoints loses Hellos */
#define LENSLINK_REQUEST_RETRY_MS 400 /* ms: longer than STALL_MS, so that a damaged request has been given up */
#define LENSLINK_HEARTBEAT_MS 100 /* ms: credit limits are repeated this often, so that a lost one does no harm */
#define LENSLINK_SILENCE_MS 900 /* ms: silence, outside a lease of Busy, after which the module is gone */
#define LENSLINK_MAX_BUSY_MS 10000 /* ms: longest lease of Busy and of Pending */
#define LENSLINK_AUTH_BYTES 32 /* B: key, challenge and proof of HMAC_SHA256: as long as the hash */
#define LENSLINK_MAX_SETTINGS 96 /* most entries of a settings list: six controls for each frame */
#define LENSLINK_MAX_BRACKET 16 /* frames: most frames of a Capture with a setting for a single frame */
#define LENSLINK_MAX_SETTINGS_DELAY 2 /* frames: largest settings_delay of a module */
#define LENSLINK_MAX_SETTING 1073741823 /* largest amount of a setting's value; MicroPython has larger integers only on the heap */
#define LENSLINK_EVERY_FRAME 65535 /* in a setting: it is for every frame */
#define LENSLINK_MAX_RANGES 32 /* most rectangles in one Resend or Resent */
#define LENSLINK_RESEND_RETRY_MS 50 /* ms: a Resend without any answer is repeated after this time */
#define LENSLINK_RESEND_TRIES 8 /* Resends in a row without an answer; then the frame is incomplete */
#define LENSLINK_END_GRACE_MS 100 /* ms: time for which a fully received frame waits for a lost FrameEnd */
#define LENSLINK_FRAME_STALE_MS 2000 /* ms: time for which an incomplete frame waits for its next packet */
#define LENSLINK_USB_SUBCLASS 76 /* subclass of the USB interface, whose class is 0xFF */
#define LENSLINK_USB_PROTOCOL 75 /* protocol of the USB interface */
#define LENSLINK_USB_TRANSFER 65024 /* B: longest USB transfer: its length has 16 bits, and it is whole USB packets */
#define LENSLINK_VENDOR_FIRST 0xE0

enum lenslink_message_type {
    LENSLINK_MESSAGE_TYPE_HELLO = 0x01,
    LENSLINK_MESSAGE_TYPE_HELLO_REPLY = 0x02,
    LENSLINK_MESSAGE_TYPE_GET_MANIFEST = 0x03,
    LENSLINK_MESSAGE_TYPE_MANIFEST = 0x04,
    LENSLINK_MESSAGE_TYPE_CONFIGURE = 0x05,
    LENSLINK_MESSAGE_TYPE_CONFIGURED = 0x06,
    LENSLINK_MESSAGE_TYPE_CAPTURE = 0x07,
    LENSLINK_MESSAGE_TYPE_STREAM = 0x08,
    LENSLINK_MESSAGE_TYPE_STOP = 0x09,
    LENSLINK_MESSAGE_TYPE_FLUSH = 0x0A,
    LENSLINK_MESSAGE_TYPE_ACCEPTED = 0x0B,
    LENSLINK_MESSAGE_TYPE_FLUSHED = 0x0C,
    LENSLINK_MESSAGE_TYPE_ERROR = 0x0D,
    LENSLINK_MESSAGE_TYPE_CLOSE = 0x0E,
    LENSLINK_MESSAGE_TYPE_HEARTBEAT = 0x0F,
    LENSLINK_MESSAGE_TYPE_HEARTBEAT_REPLY = 0x10,
    LENSLINK_MESSAGE_TYPE_PENDING = 0x11,
    LENSLINK_MESSAGE_TYPE_BUSY = 0x12,
    LENSLINK_MESSAGE_TYPE_NOTICE = 0x13,
    LENSLINK_MESSAGE_TYPE_RESEND = 0x14,
    LENSLINK_MESSAGE_TYPE_RESENT = 0x15,
    LENSLINK_MESSAGE_TYPE_QUERY = 0x18,
    LENSLINK_MESSAGE_TYPE_QUERY_REPLY = 0x19,
    LENSLINK_MESSAGE_TYPE_TEST = 0x1A,
    LENSLINK_MESSAGE_TYPE_CHALLENGE = 0x1B,
    LENSLINK_MESSAGE_TYPE_PROOF = 0x1C,
    LENSLINK_MESSAGE_TYPE_SET_SETTINGS = 0x1D,
    LENSLINK_MESSAGE_TYPE_EVENT = 0x1E,
    LENSLINK_MESSAGE_TYPE_SET_BUDGET = 0x1F,
    LENSLINK_MESSAGE_TYPE_GET_CALIBRATION = 0x20,
    LENSLINK_MESSAGE_TYPE_CALIBRATION = 0x21,
    LENSLINK_MESSAGE_TYPE_FRAME_START = 0x40,
    LENSLINK_MESSAGE_TYPE_TILE = 0x41,
    LENSLINK_MESSAGE_TYPE_FRAME_END = 0x42,
    LENSLINK_MESSAGE_TYPE_LOG = 0x60,
};

enum lenslink_flag {
    LENSLINK_FLAG_RESENT = 0x01,
};

enum lenslink_capability {
    LENSLINK_CAPABILITY_LOG = 0x01,
    LENSLINK_CAPABILITY_RESEND = 0x02,
    LENSLINK_CAPABILITY_TEST = 0x04,
    LENSLINK_CAPABILITY_AUTH = 0x08,
    LENSLINK_CAPABILITY_EVENTS = 0x10,
};

enum lenslink_configure_flag {
    LENSLINK_CONFIGURE_FLAG_TEST_ONLY = 0x01,
    LENSLINK_CONFIGURE_FLAG_ADJUSTED = 0x02,
};

enum lenslink_control_id {
    LENSLINK_CONTROL_ID_EXPOSURE = 0x01,
    LENSLINK_CONTROL_ID_GAIN = 0x02,
    LENSLINK_CONTROL_ID_FOCUS = 0x03,
    LENSLINK_CONTROL_ID_APERTURE = 0x04,
    LENSLINK_CONTROL_ID_SETTLED = 0x05,
    LENSLINK_CONTROL_ID_ROI_X = 0x06,
    LENSLINK_CONTROL_ID_ROI_Y = 0x07,
};

enum lenslink_control_flag {
    LENSLINK_CONTROL_FLAG_PER_FRAME = 0x01,
};

enum lenslink_frame_flag {
    LENSLINK_FRAME_FLAG_ADJUSTED = 0x01,
    LENSLINK_FRAME_FLAG_MOVING = 0x02,
};

enum lenslink_error_code {
    LENSLINK_ERROR_CODE_UNKNOWN_REQUEST = 0x01,
    LENSLINK_ERROR_CODE_MALFORMED = 0x02,
    LENSLINK_ERROR_CODE_VERSION = 0x03,
    LENSLINK_ERROR_CODE_STATE = 0x04,
    LENSLINK_ERROR_CODE_UNSUPPORTED = 0x05,
    LENSLINK_ERROR_CODE_NOT_ATTACHED = 0x06,
    LENSLINK_ERROR_CODE_SENSOR = 0x07,
    LENSLINK_ERROR_CODE_POWER = 0x08,
    LENSLINK_ERROR_CODE_REPEATED = 0x09,
};

enum lenslink_outcome {
    LENSLINK_OUTCOME_UNKNOWN = 0x00,
    LENSLINK_OUTCOME_NOT_DONE = 0x01,
    LENSLINK_OUTCOME_DONE = 0x02,
};

enum lenslink_auth_scheme {
    LENSLINK_AUTH_SCHEME_HMAC_SHA256 = 0x01,
};

enum lenslink_close_reason {
    LENSLINK_CLOSE_REASON_ORDERLY = 0x00,
    LENSLINK_CLOSE_REASON_DETACH = 0x01,
    LENSLINK_CLOSE_REASON_POWER = 0x02,
    LENSLINK_CLOSE_REASON_INTERNAL = 0x03,
};

enum lenslink_busy_reason {
    LENSLINK_BUSY_REASON_FLASH = 0x01,
    LENSLINK_BUSY_REASON_CALIBRATION = 0x02,
    LENSLINK_BUSY_REASON_OTHER = 0x03,
};

enum lenslink_notice_reason {
    LENSLINK_NOTICE_REASON_RELEASE = 0x01,
    LENSLINK_NOTICE_REASON_SUPPLY = 0x02,
    LENSLINK_NOTICE_REASON_HEAT = 0x03,
};

enum lenslink_event_kind {
    LENSLINK_EVENT_KIND_RING = 0x01,
    LENSLINK_EVENT_KIND_CONTACTS = 0x02,
    LENSLINK_EVENT_KIND_HEAT = 0x03,
    LENSLINK_EVENT_KIND_POWER = 0x04,
};

enum lenslink_contact_state {
    LENSLINK_CONTACT_STATE_DETACHED = 0x00,
    LENSLINK_CONTACT_STATE_HALF_SEATED = 0x01,
    LENSLINK_CONTACT_STATE_ATTACHED = 0x02,
    LENSLINK_CONTACT_STATE_WET = 0x03,
    LENSLINK_CONTACT_STATE_SHORTED = 0x04,
};

enum lenslink_heat_state {
    LENSLINK_HEAT_STATE_NONE = 0x00,
    LENSLINK_HEAT_STATE_LIGHT = 0x01,
    LENSLINK_HEAT_STATE_MODERATE = 0x02,
    LENSLINK_HEAT_STATE_SEVERE = 0x03,
    LENSLINK_HEAT_STATE_CRITICAL = 0x04,
    LENSLINK_HEAT_STATE_EMERGENCY = 0x05,
    LENSLINK_HEAT_STATE_SHUTDOWN = 0x06,
};

enum lenslink_test_action {
    LENSLINK_TEST_ACTION_BUSY = 0x01,
    LENSLINK_TEST_ACTION_STALL = 0x02,
    LENSLINK_TEST_ACTION_REJECT = 0x03,
    LENSLINK_TEST_ACTION_PENDING = 0x04,
    LENSLINK_TEST_ACTION_DETACH = 0x05,
};

enum lenslink_damage {
    LENSLINK_DAMAGE_PAYLOAD = 0x01,
    LENSLINK_DAMAGE_HEADER = 0x02,
};

enum lenslink_resend_flag {
    LENSLINK_RESEND_FLAG_START = 0x01,
    LENSLINK_RESEND_FLAG_END = 0x02,
};

enum lenslink_frame_state {
    LENSLINK_FRAME_STATE_UNDER_WAY = 0x00,
    LENSLINK_FRAME_STATE_ENDED = 0x01,
    LENSLINK_FRAME_STATE_UNKNOWN = 0x02,
};

enum lenslink_end_status {
    LENSLINK_END_STATUS_OK = 0x00,
    LENSLINK_END_STATUS_ABORTED = 0x01,
    LENSLINK_END_STATUS_SENSOR = 0x02,
};

enum lenslink_reset_reason {
    LENSLINK_RESET_REASON_POWER_ON = 0x00,
    LENSLINK_RESET_REASON_RESET = 0x01,
    LENSLINK_RESET_REASON_WATCHDOG = 0x02,
    LENSLINK_RESET_REASON_SOFT = 0x03,
};

enum lenslink_log_level {
    LENSLINK_LOG_LEVEL_DEBUG = 0x01,
    LENSLINK_LOG_LEVEL_INFO = 0x02,
    LENSLINK_LOG_LEVEL_WARNING = 0x03,
    LENSLINK_LOG_LEVEL_ERROR = 0x04,
};

enum lenslink_cfa {
    LENSLINK_CFA_RGGB = 0x00,
    LENSLINK_CFA_GRBG = 0x01,
    LENSLINK_CFA_GBRG = 0x02,
    LENSLINK_CFA_BGGR = 0x03,
};

enum lenslink_mode_use {
    LENSLINK_MODE_USE_PREVIEW = 0x01,
    LENSLINK_MODE_USE_STILL = 0x02,
};

enum lenslink_pixel_format {
    LENSLINK_PIXEL_FORMAT_GR10 = 0x110000C,
    LENSLINK_PIXEL_FORMAT_RG10 = 0x110000D,
    LENSLINK_PIXEL_FORMAT_GB10 = 0x110000E,
    LENSLINK_PIXEL_FORMAT_BG10 = 0x110000F,
    LENSLINK_PIXEL_FORMAT_GR12 = 0x1100010,
    LENSLINK_PIXEL_FORMAT_RG12 = 0x1100011,
    LENSLINK_PIXEL_FORMAT_GB12 = 0x1100012,
    LENSLINK_PIXEL_FORMAT_BG12 = 0x1100013,
    LENSLINK_PIXEL_FORMAT_GR14 = 0x1100109,
    LENSLINK_PIXEL_FORMAT_RG14 = 0x110010A,
    LENSLINK_PIXEL_FORMAT_GB14 = 0x110010B,
    LENSLINK_PIXEL_FORMAT_BG14 = 0x110010C,
    LENSLINK_PIXEL_FORMAT_GR16 = 0x110002E,
    LENSLINK_PIXEL_FORMAT_RG16 = 0x110002F,
    LENSLINK_PIXEL_FORMAT_GB16 = 0x1100030,
    LENSLINK_PIXEL_FORMAT_BG16 = 0x1100031,
    LENSLINK_PIXEL_FORMAT_GR10p = 0x10A0056,
    LENSLINK_PIXEL_FORMAT_RG10p = 0x10A0058,
    LENSLINK_PIXEL_FORMAT_GB10p = 0x10A0054,
    LENSLINK_PIXEL_FORMAT_BG10p = 0x10A0052,
    LENSLINK_PIXEL_FORMAT_GR12p = 0x10C0057,
    LENSLINK_PIXEL_FORMAT_RG12p = 0x10C0059,
    LENSLINK_PIXEL_FORMAT_GB12p = 0x10C0055,
    LENSLINK_PIXEL_FORMAT_BG12p = 0x10C0053,
    LENSLINK_PIXEL_FORMAT_GR14p = 0x10E0105,
    LENSLINK_PIXEL_FORMAT_RG14p = 0x10E0106,
    LENSLINK_PIXEL_FORMAT_GB14p = 0x10E0107,
    LENSLINK_PIXEL_FORMAT_BG14p = 0x10E0108,
    LENSLINK_PIXEL_FORMAT_GR12Packed = 0x10C002A,
    LENSLINK_PIXEL_FORMAT_RG12Packed = 0x10C002B,
    LENSLINK_PIXEL_FORMAT_GB12Packed = 0x10C002C,
    LENSLINK_PIXEL_FORMAT_BG12Packed = 0x10C002D,
};
#define LENSLINK_PIXEL_FORMAT_GR10Mipi 0x810A2B00u
#define LENSLINK_PIXEL_FORMAT_RG10Mipi 0x810A2B01u
#define LENSLINK_PIXEL_FORMAT_GB10Mipi 0x810A2B02u
#define LENSLINK_PIXEL_FORMAT_BG10Mipi 0x810A2B03u
#define LENSLINK_PIXEL_FORMAT_GR12Mipi 0x810C2C00u
#define LENSLINK_PIXEL_FORMAT_RG12Mipi 0x810C2C01u
#define LENSLINK_PIXEL_FORMAT_GB12Mipi 0x810C2C02u
#define LENSLINK_PIXEL_FORMAT_BG12Mipi 0x810C2C03u
#define LENSLINK_PIXEL_FORMAT_GR14Mipi 0x810E2D00u
#define LENSLINK_PIXEL_FORMAT_RG14Mipi 0x810E2D01u
#define LENSLINK_PIXEL_FORMAT_GB14Mipi 0x810E2D02u
#define LENSLINK_PIXEL_FORMAT_BG14Mipi 0x810E2D03u
#define LENSLINK_PIXEL_FORMAT_GR10Rice 0x810A8000u
#define LENSLINK_PIXEL_FORMAT_RG10Rice 0x810A8001u
#define LENSLINK_PIXEL_FORMAT_GB10Rice 0x810A8002u
#define LENSLINK_PIXEL_FORMAT_BG10Rice 0x810A8003u
#define LENSLINK_PIXEL_FORMAT_GR12Rice 0x810C8000u
#define LENSLINK_PIXEL_FORMAT_RG12Rice 0x810C8001u
#define LENSLINK_PIXEL_FORMAT_GB12Rice 0x810C8002u
#define LENSLINK_PIXEL_FORMAT_BG12Rice 0x810C8003u
#define LENSLINK_PIXEL_FORMAT_GR14Rice 0x810E8000u
#define LENSLINK_PIXEL_FORMAT_RG14Rice 0x810E8001u
#define LENSLINK_PIXEL_FORMAT_GB14Rice 0x810E8002u
#define LENSLINK_PIXEL_FORMAT_BG14Rice 0x810E8003u

enum lenslink_manifest_key {
    LENSLINK_MANIFEST_KEY_MAKER = 0x01,
    LENSLINK_MANIFEST_KEY_MODEL = 0x02,
    LENSLINK_MANIFEST_KEY_SERIAL = 0x03,
    LENSLINK_MANIFEST_KEY_FIRMWARE = 0x04,
    LENSLINK_MANIFEST_KEY_BOARD = 0x05,
    LENSLINK_MANIFEST_KEY_SENSOR = 0x10,
    LENSLINK_MANIFEST_KEY_COLOR = 0x11,
    LENSLINK_MANIFEST_KEY_MODE = 0x12,
    LENSLINK_MANIFEST_KEY_FORMAT = 0x13,
    LENSLINK_MANIFEST_KEY_OPTICS = 0x20,
    LENSLINK_MANIFEST_KEY_POWER = 0x21,
    LENSLINK_MANIFEST_KEY_SCALE = 0x22,
    LENSLINK_MANIFEST_KEY_AUTH = 0x23,
    LENSLINK_MANIFEST_KEY_CONTROL = 0x24,
    LENSLINK_MANIFEST_KEY_FOCUS = 0x25,
    LENSLINK_MANIFEST_KEY_DELAY = 0x26,
    LENSLINK_MANIFEST_KEY_CALIBRATION = 0x27,
};

enum lenslink_calibration_kind {
    LENSLINK_CALIBRATION_KIND_NOISE = 0x01,
    LENSLINK_CALIBRATION_KIND_GAIN_MAP = 0x02,
    LENSLINK_CALIBRATION_KIND_DISTORTION = 0x03,
    LENSLINK_CALIBRATION_KIND_BLUR = 0x04,
    LENSLINK_CALIBRATION_KIND_DEFECTS = 0x05,
};

#pragma pack(push, 1)

/* begins every packet */
struct lenslink_header {
    uint8_t magic[4]; /* 8A 4C 4C 4B */
    uint8_t version; /* major version in bits 4 to 7, minor version in bits 0 to 3 */
    uint8_t type; /* message type */
    uint8_t flags; /* flags of the packet; a reader ignores unknown flags */
    uint8_t stream; /* stream of FrameStart, Tile, FrameEnd, Resend and Resent; else 0 */
    uint32_t nonce; /* number of the session, chosen by the host */
    uint32_t sequence; /* number of the packet on its lane and in its direction; wraps at 2^32 */
    uint32_t frame; /* number of a frame, or id of a request; else 0 */
    uint16_t x; /* first column of a tile; else 0 */
    uint16_t y; /* first row of a tile; else 0 */
    uint16_t width; /* columns of a tile; else 0 */
    uint16_t height; /* rows of a tile; else 0 */
    uint32_t length; /* bytes of the payload, which follows the header */
    uint32_t payload_crc; /* CRC-32/ISO-HDLC of the payload */
    uint32_t header_crc; /* CRC-32/ISO-HDLC of the first 36 bytes of the header */
};

/* an entry of a settings list */
struct lenslink_setting {
    uint16_t control; /* id of a control */
    uint16_t frame; /* frame of the Capture, counted from 0; EVERY_FRAME for all */
    int32_t value; /* value in the control's unit */
};

/* 0x01, host: opens a session under the nonce in the header */
struct lenslink_hello {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t version_min; /* oldest version that the host speaks, coded as in the header */
    uint8_t version_max; /* newest version that the host speaks, coded as in the header */
    uint8_t lanes; /* lanes that the host offers, 1 to MAX_LANES */
    uint8_t reserved; /* 0 */
    uint32_t capabilities; /* capabilities that the host offers */
    uint32_t max_payload; /* longest payload of a tile that the host accepts, B */
};

/* 0x02, module: states the version, lanes and capabilities of the session */
struct lenslink_hello_reply {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t version; /* version of the session */
    uint8_t lanes; /* lanes of the session */
    uint8_t reset_reason; /* reason of the module's last start */
    uint8_t reserved; /* 0 */
    uint32_t capabilities; /* capabilities that both sides have */
    uint32_t max_payload; /* longest payload that the module accepts, B */
    uint32_t manifest_bytes; /* length of the manifest, B */
    uint32_t boot_count; /* number of starts of the module so far */
    uint64_t uptime_us; /* clock of the module, us since its start */
};

/* 0x03, host: asks for a piece of the manifest */
struct lenslink_get_manifest {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint32_t offset; /* offset of the first byte that the host wants */
};

/* 0x04, module: carries a piece of the manifest */
struct lenslink_manifest_piece {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint32_t offset; /* offset of the piece in the manifest */
    uint32_t total; /* length of the whole manifest, B */
    /* then piece: bytes of the manifest from that offset */
};

/* 0x05, host: prepares a stream */
struct lenslink_configure {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t stream; /* number of the stream: 0 preview, 1 still, 2 ROI */
    uint8_t flags; /* Configure flags: TEST_ONLY */
    uint16_t mode; /* id of a mode of the manifest */
    uint32_t pixel_format; /* code of the pixel format; 0 lets the module choose */
    uint32_t tile_bytes; /* longest payload of a tile, B; 0 lets the module choose */
    uint16_t x; /* first column of the crop in the mode */
    uint16_t y; /* first row of the crop in the mode */
    uint16_t width; /* columns of the crop; 0 = the whole mode */
    uint16_t height; /* rows of the crop; 0 = the whole mode */
};

/* 0x06, module: states the configuration of a stream */
struct lenslink_configured {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t stream; /* number of the stream, as in the request */
    uint8_t flags; /* Configure flags: TEST_ONLY, ADJUSTED */
    uint16_t mode; /* id of the mode */
    uint32_t pixel_format; /* code of the pixel format */
    uint16_t width; /* pixels in a row */
    uint16_t height; /* rows */
    uint32_t stride; /* bytes in a row */
    uint32_t frame_bytes; /* bytes of a frame: stride times height */
    uint32_t tile_bytes; /* longest payload of a tile, B */
    uint16_t x; /* first column of the crop in the mode */
    uint16_t y; /* first row of the crop in the mode */
};

/* 0x07, host: starts a stream that ends after a number of frames */
struct lenslink_capture {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t stream; /* number of a configured stream */
    uint8_t reserved; /* 0 */
    uint16_t count; /* number of frames, 1 or more */
    /* then settings: settings list: entries of control u16, frame u16, value i32 */
};

/* 0x08, host: starts a stream that ends with Stop */
struct lenslink_start_stream {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t stream; /* number of a configured stream */
    uint8_t reserved; /* 0 */
    uint16_t reserved2; /* 0 */
    uint32_t interval_us; /* least time between two frame starts, us; 0 = no limit */
    /* then settings: settings list: entries of control u16, frame u16, value i32 */
};

/* 0x09, host: ends a stream */
struct lenslink_stop {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t stream; /* number of the stream */
};

/* 0x0A, host: ends every stream; the answer comes after the last packet of every frame */
struct lenslink_flush {
    uint16_t size; /* bytes of the fixed part, this field included */
};

/* 0x0B, module: answers Capture, StartStream, SetSettings, Stop, SetBudget and Test */
struct lenslink_accepted {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t stream; /* number of the stream, as in the request; 0 of SetBudget and Test */
    uint8_t reserved; /* 0 */
    uint32_t first_frame; /* number of the next frame of any stream; of SetSettings, see section 5.2 */
};

/* 0x0C, module: answers Flush: nothing of an earlier request follows */
struct lenslink_flushed {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t lanes; /* lanes of the session */
    uint8_t reserved; /* 0 */
    uint32_t last_request; /* id of the newest request before the Flush */
    uint32_t last_sequence[4]; /* sequence of the last packet before this one, by lane; 2^32 - 1 = no packet */
};

/* 0x0D, module: refuses a request */
struct lenslink_error {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint16_t code; /* error code */
    /* then detail: UTF-8 text for people */
};

/* 0x0E, both: ends the session; there is no answer */
struct lenslink_close {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t reason; /* close reason */
};

/* 0x0F, host: shows that the host is alive, and states its credit limits */
struct lenslink_heartbeat {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint64_t limit[3]; /* bytes of tiles that the module may send in this session, by stream */
    uint64_t time_us; /* clock of the host when this was sent, us */
};

/* 0x10, module: shows that the module is alive, and what it has sent */
struct lenslink_heartbeat_reply {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint64_t uptime_us; /* clock of the module when this is sent, us since its start */
    uint64_t sent[3]; /* bytes of tiles sent in this session, by stream */
    uint32_t begun[3]; /* newest frame begun, plus 1, by stream; 0 = no frame */
    uint64_t host_us; /* `time_us` of the Heartbeat that this reply answers */
    uint64_t received_us; /* clock of the module when that Heartbeat was received, us */
};

/* 0x11, module: says that the answer to a request will come later */
struct lenslink_pending {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint16_t lease_ms; /* time until the host may repeat the request, ms */
};

/* 0x12, module: says that the module will be silent */
struct lenslink_busy {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t reason; /* busy reason */
    uint8_t reserved; /* 0 */
    uint16_t lease_ms; /* longest duration of the silence, ms */
};

/* 0x13, module: warns the host of an event */
struct lenslink_notice {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t reason; /* notice reason */
    uint8_t reserved; /* 0 */
    uint16_t within_ms; /* longest time until the event, ms; 0 = unknown */
};

/* 0x1E, module: reports a change of the module's state */
struct lenslink_event {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t kind; /* event kind */
    uint8_t reserved; /* 0 */
    int32_t value; /* see event kind */
    uint64_t time_us; /* module's clock when the state was so */
    uint32_t counter; /* cumulative since the module's start, low 32 bits */
    uint32_t counter_high; /* its high 32 bits */
};

/* 0x14, host: asks for parts of a frame again */
struct lenslink_resend {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t flags; /* Resend flags: START, END */
    uint8_t reserved; /* 0 */
    uint16_t count; /* number of rectangles that follow */
    /* then ranges: rectangles: x, y, width, height, u16 each, in pixels */
};

/* 0x15, module: answers Resend, after the tiles that it sends again */
struct lenslink_resent {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t flags; /* Resend flags: packets that are sent again */
    uint8_t state; /* state of the frame */
    uint16_t count; /* number of rectangles that follow */
    /* then gone: rectangles that are no longer held, laid out as in Resend */
};

/* 0x18, host: asks for the outcome of a request of this session or of an earlier one */
struct lenslink_query {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint32_t session; /* nonce of the session of the request */
    uint32_t request; /* id of the request */
};

/* 0x19, module: states the outcome of a request */
struct lenslink_query_reply {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t outcome; /* outcome of the request */
};

/* 0x1A, host: makes the module take a test action */
struct lenslink_test {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t action; /* test action */
    uint8_t damage; /* CRC that is made wrong, for REJECT; else 0 */
    uint16_t ms; /* duration, ms, at most MAX_BUSY_MS; 0 for REJECT */
};

/* 0x1B, host: asks the module to prove that it is genuine */
struct lenslink_challenge {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint16_t scheme; /* authentication scheme */
    /* then challenge: challenge, as the scheme defines it */
};

/* 0x1C, module: answers Challenge */
struct lenslink_proof {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint16_t scheme; /* authentication scheme, as in the challenge */
    /* then proof: proof, as the scheme defines it */
};

/* 0x1D, host: changes the settings of a configured or running stream */
struct lenslink_set_settings {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t stream; /* number of a configured stream, or of one that StartStream began */
    uint8_t reserved; /* 0 */
    /* then settings: settings list: entries of control u16, frame u16, value i32 */
};

/* 0x1F, host: grants the power that the module may draw */
struct lenslink_set_budget {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint16_t reserved; /* 0 */
    uint32_t budget_mw; /* most power that the module may draw in this session, mW */
};

/* 0x20, host: asks for a piece of a calibration */
struct lenslink_get_calibration {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint16_t kind; /* kind of the calibration */
    uint32_t offset; /* offset of the first byte that the host wants */
};

/* 0x21, module: carries a piece of a calibration */
struct lenslink_calibration_piece {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint16_t kind; /* kind of the calibration, as in the request */
    uint32_t offset; /* offset of the piece in the calibration */
    uint32_t total; /* length of the whole calibration, B */
    /* then piece: bytes of the calibration from that offset */
};

/* 0x40, module: begins a frame: its geometry and the settings that were applied */
struct lenslink_frame_start {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint16_t mode; /* id of a mode of the manifest */
    uint32_t request; /* id of the Capture or StartStream request */
    uint64_t timestamp_us; /* clock of the module at the start of readout, us */
    uint16_t width; /* pixels in a row */
    uint16_t height; /* rows */
    uint8_t cfa; /* colour filter array phase */
    uint8_t orientation; /* EXIF orientation, 1 to 8 */
    uint8_t bits; /* bits of a pixel's value, 8 to 16 */
    uint8_t reserved; /* 0 */
    uint32_t pixel_format; /* code of the pixel format */
    uint32_t stride; /* bytes in a row */
    uint32_t white; /* white level, DN */
    uint16_t flags; /* frame flags: ADJUSTED, MOVING */
    uint16_t reserved2; /* 0 */
    uint32_t black_milli[4]; /* black levels of the first 2 x 2 pixels, 1/1000 DN */
    uint32_t exposure_us; /* exposure time applied, us */
    uint32_t gain_milli; /* gain applied, 1/1000 */
    int32_t focus_mdpt; /* lens position at mid-exposure, milli-dioptres */
    uint32_t aperture_milli; /* f-number applied, 1/1000; 0 = the module has no iris */
    uint32_t interval_us; /* time since the readout of the last frame of the stream started, us; 0 = first frame of the request */
    uint32_t row_time_ns; /* time from row to row of the readout, ns; 0 = unknown */
    uint32_t noise_slope; /* S of DNG's NoiseProfile, 1e-9; 0 = unknown */
    uint32_t noise_offset; /* O of DNG's NoiseProfile, 1e-9 */
    int32_t focus_ring; /* position of the focus ring, ticks since the start; wraps */
    int32_t temperature_mc; /* sensor temperature, 1/1000 degree C */
    uint16_t crop_x; /* first column of the frame in the mode */
    uint16_t crop_y; /* first row of the frame in the mode */
};

/* 0x42, module: ends a frame */
struct lenslink_frame_end {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t status; /* end status */
    uint8_t lanes; /* lanes of the session */
    uint32_t tiles; /* number of tiles sent, without those sent again */
    uint32_t readout_us; /* time from the start of readout to the last row, us */
    uint32_t last_sequence[4]; /* sequence of the last packet before this one, by lane; 2^32 - 1 = no packet */
    uint32_t energy_uj; /* energy of the frame, uJ; 0 = unknown */
};

/* 0x60, module: carries a line of the module's log */
struct lenslink_log {
    uint16_t size; /* bytes of the fixed part, this field included */
    uint8_t level; /* log level */
    uint8_t reserved; /* 0 */
    uint64_t timestamp_us; /* clock of the module, us since its start */
    /* then text: UTF-8 text of the line */
};

/* manifest entry 0x0010: properties of the sensor */
struct lenslink_sensor_entry {
    uint16_t width; /* columns of the sensor */
    uint16_t height; /* rows of the sensor */
    uint8_t bits; /* bits of a pixel's value, 8 to 16 */
    uint8_t cfa; /* colour filter array phase */
    uint8_t orientation; /* EXIF orientation, 1 to 8 */
    uint8_t reserved; /* 0 */
    uint32_t white; /* white level, DN */
    uint32_t black_milli[4]; /* black levels of the first 2 x 2 pixels, 1/1000 DN */
};

/* manifest entry 0x0011: colours of the sensor under an illuminant, as DNG states them */
struct lenslink_color_entry {
    uint16_t illuminant; /* EXIF LightSource of the matrix */
    uint16_t reserved; /* 0 */
    int32_t matrix[18]; /* ColorMatrix: 9 x numerator, denominator; row by row */
    uint32_t neutral[6]; /* AsShotNeutral: 3 x numerator, denominator */
};

/* manifest entry 0x0012: a readout mode; one entry for each mode */
struct lenslink_mode_entry {
    uint16_t id; /* id that Configure names */
    uint16_t width; /* pixels in a row */
    uint16_t height; /* rows */
    uint8_t binning; /* 1, or 2 if 2 x 2 pixels of one colour are combined */
    uint8_t use; /* bits of the mode's uses */
    uint16_t active_area[4]; /* top, left, bottom (exclusive), right (exclusive) */
    uint8_t name[16]; /* name in ASCII, padded with zero bytes */
    uint32_t active_mw; /* most power during a frame, without motor, mW; 0 = unknown */
};

/* manifest entry 0x0013: a pixel format that Configure may name; the module's own choice comes first */
struct lenslink_format_entry {
    uint32_t pixel_format; /* code of the pixel format */
};

/* manifest entry 0x0020: properties of the lens */
struct lenslink_optics_entry {
    uint32_t focal_um; /* focal length, um */
    uint32_t focal_35mm_um; /* focal length as the equivalent of 35 mm film, um */
    uint32_t aperture_milli; /* widest f-number, 1/1000 */
    uint32_t focus_max_mdpt; /* closest focus, milli-dioptres */
};

/* manifest entry 0x0024: a control that the module has; one entry for each control */
struct lenslink_control_entry {
    uint16_t control; /* id of the control */
    uint16_t flags; /* control flags: PER_FRAME */
    int32_t minimum; /* least value */
    int32_t maximum; /* largest value */
    int32_t step; /* distance of two values that differ, 1 or more */
    int32_t initial; /* value of a stream until the host sets another */
};

/* manifest entry 0x0021: power that the module draws besides that of its modes */
struct lenslink_power_entry {
    uint32_t idle_mw; /* most power while no frame is exposed or read out, mW */
    uint32_t motor_mw; /* most power of lens and iris, besides, while they move, mW */
};

/* manifest entry 0x0022: scale of a stand-in against the product */
struct lenslink_scale_entry {
    uint32_t pixels_milli; /* pixels of the largest frame, relative to the product, 1/1000 */
    uint32_t rate_milli; /* link rate relative to the product, 1/1000; 0 = unknown */
};

/* manifest entry 0x0023: an authentication scheme of the module; one entry for each scheme */
struct lenslink_auth_entry {
    uint16_t scheme; /* number of the scheme */
};

/* manifest entry 0x0026: delays of the module */
struct lenslink_delay_entry {
    uint16_t settings_delay; /* most frames whose readout begins after SetSettings was done, without its settings */
};

/* manifest entry 0x0025: a point of the focus motor's calibration; one entry for each point */
struct lenslink_focus_entry {
    uint32_t steps; /* position of the motor, steps from infinity */
    int32_t focus_mdpt; /* distance that the lens is focused on, milli-dioptres */
};

/* manifest entry 0x0027: a calibration that GetCalibration reads; one entry for each */
struct lenslink_calibration_entry {
    uint16_t kind; /* kind of the calibration */
    uint32_t total; /* length of the calibration, B */
    uint32_t crc32; /* CRC-32/ISO-HDLC of the calibration */
};

/* calibration: begins the calibration NOISE; `points` entries NoisePoint follow */
struct lenslink_noise_head {
    uint16_t points; /* number of gains */
    uint16_t reserved; /* 0 */
};

/* calibration: the noise at a gain */
struct lenslink_noise_point {
    uint32_t gain_milli; /* gain, 1/1000 */
    uint32_t slope; /* S of DNG's NoiseProfile, 1e-9 */
    uint32_t offset; /* O of DNG's NoiseProfile, 1e-12 */
};

/* calibration: begins the calibration GAIN_MAP; apertures, focuses and gains follow */
struct lenslink_gain_map_head {
    uint8_t apertures; /* number of f-numbers */
    uint8_t focuses; /* number of distances */
    uint16_t rows; /* points of a map from top to bottom */
    uint16_t columns; /* points of a map from left to right */
    uint16_t reserved; /* 0 */
};

/* calibration: the calibration DISTORTION */
struct lenslink_distortion_table {
    uint32_t center[2]; /* x and y of the optical axis, 1e-6 of width and height */
    int32_t radial[4]; /* kr0 to kr3, 1e-9 */
    int32_t tangential[2]; /* kt0 and kt1, 1e-9 */
};

/* calibration: begins the calibration BLUR; `points` entries BlurPoint follow */
struct lenslink_blur_head {
    uint16_t points; /* number of distances */
    uint16_t reserved; /* 0 */
};

/* calibration: the blur at a distance that the lens is focused on */
struct lenslink_blur_point {
    int32_t focus_mdpt; /* distance that the lens is focused on, milli-dioptres */
    uint32_t blur_milli; /* diameter of the blur at f/1, one dioptre out of focus, 1/1000 pixel of the sensor */
};

/* calibration: begins the calibration DEFECTS; `pixels` entries DefectPixel follow */
struct lenslink_defects_head {
    uint32_t pixels; /* number of pixels */
};

/* calibration: a pixel that is not to be used */
struct lenslink_defect_pixel {
    uint16_t mode; /* id of a mode of the manifest */
    uint16_t x; /* column in that mode */
    uint16_t y; /* row in that mode */
};

#pragma pack(pop)

LENSLINK_ASSERT(sizeof(struct lenslink_header) == 40, "header: <4sBBBBIIIHHHHIII");
LENSLINK_ASSERT(sizeof(struct lenslink_setting) == 8, "setting: <HHi");
LENSLINK_ASSERT(sizeof(struct lenslink_hello) == 14, "hello: <HBBBBII");
LENSLINK_ASSERT(sizeof(struct lenslink_hello_reply) == 30, "hello_reply: <HBBBBIIIIQ");
LENSLINK_ASSERT(sizeof(struct lenslink_get_manifest) == 6, "get_manifest: <HI");
LENSLINK_ASSERT(sizeof(struct lenslink_manifest_piece) == 10, "manifest_piece: <HII");
LENSLINK_ASSERT(sizeof(struct lenslink_configure) == 22, "configure: <HBBHIIHHHH");
LENSLINK_ASSERT(sizeof(struct lenslink_configured) == 30, "configured: <HBBHIHHIIIHH");
LENSLINK_ASSERT(sizeof(struct lenslink_capture) == 6, "capture: <HBBH");
LENSLINK_ASSERT(sizeof(struct lenslink_start_stream) == 10, "start_stream: <HBBHI");
LENSLINK_ASSERT(sizeof(struct lenslink_stop) == 3, "stop: <HB");
LENSLINK_ASSERT(sizeof(struct lenslink_flush) == 2, "flush: <H");
LENSLINK_ASSERT(sizeof(struct lenslink_accepted) == 8, "accepted: <HBBI");
LENSLINK_ASSERT(sizeof(struct lenslink_flushed) == 24, "flushed: <HBBI4I");
LENSLINK_ASSERT(sizeof(struct lenslink_error) == 4, "error: <HH");
LENSLINK_ASSERT(sizeof(struct lenslink_close) == 3, "close: <HB");
LENSLINK_ASSERT(sizeof(struct lenslink_heartbeat) == 34, "heartbeat: <H3QQ");
LENSLINK_ASSERT(sizeof(struct lenslink_heartbeat_reply) == 62, "heartbeat_reply: <HQ3Q3IQQ");
LENSLINK_ASSERT(sizeof(struct lenslink_pending) == 4, "pending: <HH");
LENSLINK_ASSERT(sizeof(struct lenslink_busy) == 6, "busy: <HBBH");
LENSLINK_ASSERT(sizeof(struct lenslink_notice) == 6, "notice: <HBBH");
LENSLINK_ASSERT(sizeof(struct lenslink_event) == 24, "event: <HBBiQII");
LENSLINK_ASSERT(sizeof(struct lenslink_resend) == 6, "resend: <HBBH");
LENSLINK_ASSERT(sizeof(struct lenslink_resent) == 6, "resent: <HBBH");
LENSLINK_ASSERT(sizeof(struct lenslink_query) == 10, "query: <HII");
LENSLINK_ASSERT(sizeof(struct lenslink_query_reply) == 3, "query_reply: <HB");
LENSLINK_ASSERT(sizeof(struct lenslink_test) == 6, "test: <HBBH");
LENSLINK_ASSERT(sizeof(struct lenslink_challenge) == 4, "challenge: <HH");
LENSLINK_ASSERT(sizeof(struct lenslink_proof) == 4, "proof: <HH");
LENSLINK_ASSERT(sizeof(struct lenslink_set_settings) == 4, "set_settings: <HBB");
LENSLINK_ASSERT(sizeof(struct lenslink_set_budget) == 8, "set_budget: <HHI");
LENSLINK_ASSERT(sizeof(struct lenslink_get_calibration) == 8, "get_calibration: <HHI");
LENSLINK_ASSERT(sizeof(struct lenslink_calibration_piece) == 12, "calibration_piece: <HHII");
LENSLINK_ASSERT(sizeof(struct lenslink_frame_start) == 100, "frame_start: <HHIQHHBBBBIIIHH4IIIiIIIIIiiHH");
LENSLINK_ASSERT(sizeof(struct lenslink_frame_end) == 32, "frame_end: <HBBII4II");
LENSLINK_ASSERT(sizeof(struct lenslink_log) == 12, "log: <HBBQ");
LENSLINK_ASSERT(sizeof(struct lenslink_sensor_entry) == 28, "sensor_entry: <HHBBBBI4I");
LENSLINK_ASSERT(sizeof(struct lenslink_color_entry) == 100, "color_entry: <HH18i6I");
LENSLINK_ASSERT(sizeof(struct lenslink_mode_entry) == 36, "mode_entry: <HHHBB4H16sI");
LENSLINK_ASSERT(sizeof(struct lenslink_format_entry) == 4, "format_entry: <I");
LENSLINK_ASSERT(sizeof(struct lenslink_optics_entry) == 16, "optics_entry: <IIII");
LENSLINK_ASSERT(sizeof(struct lenslink_control_entry) == 20, "control_entry: <HHiiii");
LENSLINK_ASSERT(sizeof(struct lenslink_power_entry) == 8, "power_entry: <II");
LENSLINK_ASSERT(sizeof(struct lenslink_scale_entry) == 8, "scale_entry: <II");
LENSLINK_ASSERT(sizeof(struct lenslink_auth_entry) == 2, "auth_entry: <H");
LENSLINK_ASSERT(sizeof(struct lenslink_delay_entry) == 2, "delay_entry: <H");
LENSLINK_ASSERT(sizeof(struct lenslink_focus_entry) == 8, "focus_entry: <Ii");
LENSLINK_ASSERT(sizeof(struct lenslink_calibration_entry) == 10, "calibration_entry: <HII");
LENSLINK_ASSERT(sizeof(struct lenslink_noise_head) == 4, "noise_head: <HH");
LENSLINK_ASSERT(sizeof(struct lenslink_noise_point) == 12, "noise_point: <III");
LENSLINK_ASSERT(sizeof(struct lenslink_gain_map_head) == 8, "gain_map_head: <BBHHH");
LENSLINK_ASSERT(sizeof(struct lenslink_distortion_table) == 32, "distortion_table: <2I4i2i");
LENSLINK_ASSERT(sizeof(struct lenslink_blur_head) == 4, "blur_head: <HH");
LENSLINK_ASSERT(sizeof(struct lenslink_blur_point) == 8, "blur_point: <iI");
LENSLINK_ASSERT(sizeof(struct lenslink_defects_head) == 4, "defects_head: <I");
LENSLINK_ASSERT(sizeof(struct lenslink_defect_pixel) == 6, "defect_pixel: <HHH");

/* Decode a coded tile of `width` x `height` pixels of `bits` bits from `length` bytes of `data`.
 * `pixels` has room for all of them, row by row. Return 0, or -1 if the tile is damaged: `pixels`
 * then has any values. `width` and `height` are at least 1, `bits` is 10, 12 or 14. */
static inline int lenslink_decode_rice(const uint8_t *data, size_t length, unsigned bits,
                                       size_t width, size_t height, uint16_t *pixels)
{
    uint64_t code = 0; /* the next `left` bits of the tile */
    unsigned left = 0, k = 4, average = 128;
    size_t at = 0;
    for (size_t y = 0; y < height; y++) {
        uint16_t *row = pixels + y * width;
        unsigned sum = 0;
        for (size_t x = 0; x < width; x++) {
            int32_t prediction = 0, pixel, difference;
            unsigned zeros = 0, used;
            while (left <= 32) {
                code |= (uint64_t)(at < length ? data[at] : 0) << left;
                at++;
                left += 8;
            }
            if (y >= 2)
                prediction = row[x - 2 * width];
            if (x >= 2)
                prediction = y >= 2 ? (prediction + row[x - 2]) >> 1 : row[x - 2];
            while (k + zeros < 16 && !(code >> (k + zeros) & 1))
                zeros++;
            int32_t low = (int32_t)(code & ((1u << k) - 1));
            if (k + zeros < 16) {
                int32_t residual = (int32_t)(zeros << k) | low;
                pixel = prediction + ((residual >> 1) ^ -(residual & 1));
                used = k + zeros + 1;
            } else {
                unsigned rest = bits - k;
                pixel = (int32_t)(code >> 16 & ((1u << rest) - 1)) << k | low;
                used = 16 + rest;
            }
            code >>= used;
            left -= used;
            if (pixel < 0 || pixel >> bits || at * 8 - left > length * 8)
                return -1;
            row[x] = (uint16_t)pixel;
            difference = pixel - prediction;
            sum += (unsigned)(difference < 0 ? -2 * difference - 1 : 2 * difference);
            if (x % 8 == 7) {
                average = (average + sum) >> 1;
                sum = 0;
                for (k = 0; k < 8 && average >> 4 >> k; k++)
                    ;
            }
        }
    }
    for (; at < length; at++)
        code |= data[at];
    return code ? -1 : 0;
}

#endif
