"""The wire for MicroPython. Generated from lenslink_protocol/structs.py by `make gen`; do not edit."""

import struct

try:
    from micropython import const
except ImportError:  # CPython

    def const(value):
        return value


MAGIC = b'\x8aLLK'
VERSION_MAJOR = const(1)
VERSION_MINOR = const(0)
HEADER_BYTES = const(40)
MAX_PAYLOAD = const(4194304)
MAX_CONTROL = const(1024)
MAX_STREAMS = const(3)
MAX_LANES = const(4)
STALL_MS = const(250)
MAX_BUSY_MS = const(10000)
AUTH_BYTES = const(32)
MAX_SETTINGS = const(96)
MAX_BRACKET = const(16)
MAX_SETTING = const(1073741823)
EVERY_FRAME = const(65535)
MAX_RANGES = const(32)
USB_SUBCLASS = const(76)
USB_PROTOCOL = const(75)
USB_TRANSFER = const(65024)
VENDOR_FIRST = const(224)

T_HELLO = const(1)
T_HELLO_REPLY = const(2)
T_GET_MANIFEST = const(3)
T_MANIFEST = const(4)
T_CONFIGURE = const(5)
T_CONFIGURED = const(6)
T_CAPTURE = const(7)
T_STREAM = const(8)
T_STOP = const(9)
T_FLUSH = const(10)
T_ACCEPTED = const(11)
T_FLUSHED = const(12)
T_ERROR = const(13)
T_CLOSE = const(14)
T_HEARTBEAT = const(15)
T_HEARTBEAT_REPLY = const(16)
T_PENDING = const(17)
T_BUSY = const(18)
T_NOTICE = const(19)
T_RESEND = const(20)
T_RESENT = const(21)
T_QUERY = const(24)
T_QUERY_REPLY = const(25)
T_TEST = const(26)
T_CHALLENGE = const(27)
T_PROOF = const(28)
T_SET_SETTINGS = const(29)
T_EVENT = const(30)
T_SET_BUDGET = const(31)
T_GET_CALIBRATION = const(32)
T_CALIBRATION = const(33)
T_FRAME_START = const(64)
T_TILE = const(65)
T_FRAME_END = const(66)
T_LOG = const(96)

CAP_LOG = const(1)
CAP_RESEND = const(2)
CAP_TEST = const(4)
CAP_AUTH = const(8)
CAP_EVENTS = const(16)

CONFIGURE_TEST_ONLY = const(1)
CONFIGURE_ADJUSTED = const(2)

CONTROL_EXPOSURE = const(1)
CONTROL_GAIN = const(2)
CONTROL_FOCUS = const(3)
CONTROL_APERTURE = const(4)
CONTROL_SETTLED = const(5)
CONTROL_ROI_X = const(6)
CONTROL_ROI_Y = const(7)

CONTROL_FLAG_PER_FRAME = const(1)

APPLIED_ADJUSTED = const(1)
APPLIED_MOVING = const(2)

ERR_UNKNOWN_REQUEST = const(1)
ERR_MALFORMED = const(2)
ERR_VERSION = const(3)
ERR_STATE = const(4)
ERR_UNSUPPORTED = const(5)
ERR_NOT_ATTACHED = const(6)
ERR_SENSOR = const(7)
ERR_POWER = const(8)
ERR_REPEATED = const(9)

AUTH_HMAC_SHA256 = const(1)

CLOSE_ORDERLY = const(0)
CLOSE_DETACH = const(1)
CLOSE_POWER = const(2)
CLOSE_INTERNAL = const(3)

END_OK = const(0)
END_ABORTED = const(1)
END_SENSOR = const(2)

FLAG_RESENT = const(1)

BUSY_FLASH = const(1)
BUSY_CALIBRATION = const(2)
BUSY_OTHER = const(3)

NOTICE_RELEASE = const(1)
NOTICE_SUPPLY = const(2)
NOTICE_HEAT = const(3)

EVENT_RING = const(1)
EVENT_CONTACTS = const(2)
EVENT_HEAT = const(3)
EVENT_POWER = const(4)

TEST_BUSY = const(1)
TEST_STALL = const(2)
TEST_REJECT = const(3)
TEST_PENDING = const(4)
TEST_DETACH = const(5)

DAMAGE_PAYLOAD = const(1)
DAMAGE_HEADER = const(2)

RESEND_START = const(1)
RESEND_END = const(2)

FRAME_UNDER_WAY = const(0)
FRAME_ENDED = const(1)
FRAME_UNKNOWN = const(2)

OUTCOME_UNKNOWN = const(0)
OUTCOME_NOT_DONE = const(1)
OUTCOME_DONE = const(2)

RESET_POWER_ON = const(0)
RESET_RESET = const(1)
RESET_WATCHDOG = const(2)
RESET_SOFT = const(3)

LOG_DEBUG = const(1)
LOG_INFO = const(2)
LOG_WARNING = const(3)
LOG_ERROR = const(4)

USE_PREVIEW = const(1)
USE_STILL = const(2)

KEY_MAKER = const(1)
KEY_MODEL = const(2)
KEY_SERIAL = const(3)
KEY_FIRMWARE = const(4)
KEY_BOARD = const(5)
KEY_SENSOR = const(16)
KEY_COLOR = const(17)
KEY_MODE = const(18)
KEY_FORMAT = const(19)
KEY_OPTICS = const(32)
KEY_POWER = const(33)
KEY_SCALE = const(34)
KEY_AUTH = const(35)
KEY_CONTROL = const(36)
KEY_FOCUS = const(37)
KEY_DELAY = const(38)
KEY_CALIBRATION = const(39)

PFNC_GR10 = const(17825804)
PFNC_RG10 = const(17825805)
PFNC_GB10 = const(17825806)
PFNC_BG10 = const(17825807)
PFNC_GR12 = const(17825808)
PFNC_RG12 = const(17825809)
PFNC_GB12 = const(17825810)
PFNC_BG12 = const(17825811)
PFNC_GR14 = const(17826057)
PFNC_RG14 = const(17826058)
PFNC_GB14 = const(17826059)
PFNC_BG14 = const(17826060)
PFNC_GR16 = const(17825838)
PFNC_RG16 = const(17825839)
PFNC_GB16 = const(17825840)
PFNC_BG16 = const(17825841)

# Header: magic, version, type, flags, stream, nonce, sequence, frame, x, y, width, height, length, payload_crc, header_crc
HEADER = "<4sBBBBIIIHHHHIII"

# Setting, an entry of a settings list: control, frame, value
SETTING = "<HHi"

# SensorEntry: width, height, bits, cfa, orientation, reserved, white, black_milli
ENTRY_SENSOR = "<HHBBBBI4I"
# ColorEntry: illuminant, reserved, matrix, neutral
ENTRY_COLOR = "<HH18i6I"
# ModeEntry: id, width, height, binning, use, active_area, name, active_mw
ENTRY_MODE = "<HHHBB4H16sI"
# FormatEntry: pixel_format
ENTRY_FORMAT = "<I"
# OpticsEntry: focal_um, focal_35mm_um, aperture_milli, focus_max_mdpt
ENTRY_OPTICS = "<IIII"
# ControlEntry: control, flags, minimum, maximum, step, initial
ENTRY_CONTROL = "<HHiiii"
# PowerEntry: idle_mw, motor_mw
ENTRY_POWER = "<II"
# ScaleEntry: pixels_milli, rate_milli
ENTRY_SCALE = "<II"
# AuthEntry: scheme
ENTRY_AUTH = "<H"
# DelayEntry: settings_delay
ENTRY_DELAY = "<H"
# FocusEntry: steps, focus_mdpt
ENTRY_FOCUS = "<Ii"
# CalibrationEntry: kind, total, crc32
ENTRY_CALIBRATION = "<HII"

# Type: format of the fixed part after its size, bytes of it, whether a tail follows.
FORMATS = {
    # Hello: version_min, version_max, lanes, reserved, capabilities, max_payload
    1: ("<BBBBII", 14, False),
    # HelloReply: version, lanes, reset_reason, reserved, capabilities, max_payload, manifest_bytes, boot_count, uptime_us
    2: ("<BBBBIIIIQ", 30, False),
    # GetManifest: offset
    3: ("<I", 6, False),
    # ManifestPiece: offset, total, piece
    4: ("<II", 10, True),
    # Configure: stream, flags, mode, pixel_format, tile_bytes, x, y, width, height
    5: ("<BBHIIHHHH", 22, False),
    # Configured: stream, flags, mode, pixel_format, width, height, stride, frame_bytes, tile_bytes, x, y
    6: ("<BBHIHHIIIHH", 30, False),
    # Capture: stream, reserved, count, settings
    7: ("<BBH", 6, True),
    # StartStream: stream, reserved, reserved2, interval_us, settings
    8: ("<BBHI", 10, True),
    # Stop: stream
    9: ("<B", 3, False),
    # Flush: nothing
    10: ("<", 2, False),
    # Accepted: stream, reserved, first_frame
    11: ("<BBI", 8, False),
    # Flushed: lanes, reserved, last_request, last_sequence
    12: ("<BBI4I", 24, False),
    # Error: code, detail
    13: ("<H", 4, True),
    # Close: reason
    14: ("<B", 3, False),
    # Heartbeat: limit, time_us
    15: ("<3QQ", 34, False),
    # HeartbeatReply: uptime_us, sent, begun, host_us, received_us
    16: ("<Q3Q3IQQ", 62, False),
    # Pending: lease_ms
    17: ("<H", 4, False),
    # Busy: reason, reserved, lease_ms
    18: ("<BBH", 6, False),
    # Notice: reason, reserved, within_ms
    19: ("<BBH", 6, False),
    # Event: kind, reserved, value, time_us, counter, counter_high
    30: ("<BBiQII", 24, False),
    # Resend: flags, reserved, count, ranges
    20: ("<BBH", 6, True),
    # Resent: flags, state, count, gone
    21: ("<BBH", 6, True),
    # Query: session, request
    24: ("<II", 10, False),
    # QueryReply: outcome
    25: ("<B", 3, False),
    # Test: action, damage, ms
    26: ("<BBH", 6, False),
    # Challenge: scheme, challenge
    27: ("<H", 4, True),
    # Proof: scheme, proof
    28: ("<H", 4, True),
    # SetSettings: stream, reserved, settings
    29: ("<BB", 4, True),
    # SetBudget: reserved, budget_mw
    31: ("<HI", 8, False),
    # GetCalibration: kind, offset
    32: ("<HI", 8, False),
    # CalibrationPiece: kind, offset, total, piece
    33: ("<HII", 12, True),
    # FrameStart: mode, request, timestamp_us, width, height, cfa, orientation, bits, reserved, pixel_format, stride, white, flags, reserved2, black_milli, exposure_us, gain_milli, focus_mdpt, aperture_milli, interval_us, row_time_ns, noise_slope, noise_offset, focus_ring, temperature_mc, crop_x, crop_y
    64: ("<HIQHHBBBBIIIHH4IIIiIIIIIiiHH", 100, False),
    # FrameEnd: status, lanes, tiles, readout_us, last_sequence, energy_uj
    66: ("<BBII4II", 32, False),
    # Log: level, reserved, timestamp_us, text
    96: ("<BBQ", 12, True),
}


def encode(kind, values=(), tail=b""):
    """The payload of a message from its fields in order, reserved ones included."""
    fmt, size, _ = FORMATS[kind]
    out = bytearray(size)
    struct.pack_into("<H", out, 0, size)
    struct.pack_into(fmt, out, 2, *values)
    return out + tail if tail else out


def decode(kind, payload):
    """The fields in order, then the tail where there is one; ValueError if malformed."""
    fmt, least, tail = FORMATS[kind]
    if len(payload) < least:
        raise ValueError("short")
    size = struct.unpack_from("<H", payload, 0)[0]
    if size < least or size > len(payload):
        raise ValueError("size")
    values = struct.unpack_from(fmt, payload, 2)
    return values + (bytes(payload[size:]),) if tail else values
