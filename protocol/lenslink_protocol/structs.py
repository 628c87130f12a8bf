"""Define the layout of every message once, as `construct` structures.

``make gen`` generates from this module: the host's codec (:mod:`.messages`), the firmware's codec,
the C header, the Wireshark dissector and the tables of SPEC.md. Tests compare both codecs with the
structures. No program parses received bytes with them.

A message is a fixed part, then at most one tail. The tail takes the rest of the payload. The fixed
part begins with its own size, so that a newer minor version may append fields. A reader uses the
fields that it knows and skips the rest.

The text behind each field becomes the comment in the C header, in the dissector and in SPEC.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from construct import (
    Array,
    Bytes,
    Const,
    Construct,
    Default,
    GreedyBytes,
    Int8ul,
    Int16ul,
    Int32sl,
    Int32ul,
    Int64ul,
    Struct,
)

from .ids import ManifestKey, MessageType

MAGIC = b"\x8aLLK"
"""The first byte is not ASCII, so no text contains the magic."""

Header = Struct(
    "magic" / Const(MAGIC) * "8A 4C 4C 4B",
    "version" / Int8ul * "major version in bits 4 to 7, minor version in bits 0 to 3",
    "type" / Int8ul * "message type",
    "flags" / Int8ul * "flags of the packet; a reader ignores unknown flags",
    "stream" / Int8ul * "stream of FrameStart, Tile, FrameEnd, Resend and Resent; else 0",
    "nonce" / Int32ul * "number of the session, chosen by the host",
    "sequence" / Int32ul * "number of the packet on its lane and in its direction; wraps at 2^32",
    "frame" / Int32ul * "number of a frame, or id of a request; else 0",
    "x" / Int16ul * "first column of a tile; else 0",
    "y" / Int16ul * "first row of a tile; else 0",
    "width" / Int16ul * "columns of a tile; else 0",
    "height" / Int16ul * "rows of a tile; else 0",
    "length" / Int32ul * "bytes of the payload, which follows the header",
    "payload_crc" / Int32ul * "CRC-32/ISO-HDLC of the payload",
    "header_crc" / Int32ul * "CRC-32/ISO-HDLC of the first 36 bytes of the header",
)


@dataclass(frozen=True, slots=True)
class Message:
    """The name of a message in CamelCase, its type, its sender, its meaning and its layout."""

    name: str
    type: MessageType
    sender: str
    doc: str
    struct: Construct


_CROP = Default(Int16ul, 0)
"""A number of a crop. Without one, a stream has the whole mode."""

_SIZE = "size" / Int16ul * "bytes of the fixed part, this field included"

_SETTINGS = "settings" / GreedyBytes * "settings list: entries of control u16, frame u16, value i32"

Setting = Struct(
    "control" / Int16ul * "id of a control",
    "frame" / Int16ul * "frame of the Capture, counted from 0; EVERY_FRAME for all",
    "value" / Int32sl * "value in the control's unit",
)
"""One entry of a settings list."""

MESSAGES: tuple[Message, ...] = (
    Message(
        "Hello",
        MessageType.HELLO,
        "host",
        "opens a session under the nonce in the header",
        Struct(
            _SIZE,
            "version_min" / Int8ul * "oldest version that the host speaks, coded as in the header",
            "version_max" / Int8ul * "newest version that the host speaks, coded as in the header",
            "lanes" / Int8ul * "lanes that the host offers, 1 to MAX_LANES",
            "reserved" / Int8ul * "0",
            "capabilities" / Int32ul * "capabilities that the host offers",
            "max_payload" / Int32ul * "longest payload of a tile that the host accepts, B",
        ),
    ),
    Message(
        "HelloReply",
        MessageType.HELLO_REPLY,
        "module",
        "states the version, lanes and capabilities of the session",
        Struct(
            _SIZE,
            "version" / Int8ul * "version of the session",
            "lanes" / Int8ul * "lanes of the session",
            "reset_reason" / Int8ul * "reason of the module's last start",
            "reserved" / Int8ul * "0",
            "capabilities" / Int32ul * "capabilities that both sides have",
            "max_payload" / Int32ul * "longest payload that the module accepts, B",
            "manifest_bytes" / Int32ul * "length of the manifest, B",
            "boot_count" / Int32ul * "number of starts of the module so far",
            "uptime_us" / Int64ul * "clock of the module, us since its start",
        ),
    ),
    Message(
        "GetManifest",
        MessageType.GET_MANIFEST,
        "host",
        "asks for a piece of the manifest",
        Struct(_SIZE, "offset" / Int32ul * "offset of the first byte that the host wants"),
    ),
    Message(
        "ManifestPiece",
        MessageType.MANIFEST,
        "module",
        "carries a piece of the manifest",
        Struct(
            _SIZE,
            "offset" / Int32ul * "offset of the piece in the manifest",
            "total" / Int32ul * "length of the whole manifest, B",
            "piece" / GreedyBytes * "bytes of the manifest from that offset",
        ),
    ),
    Message(
        "Configure",
        MessageType.CONFIGURE,
        "host",
        "prepares a stream",
        Struct(
            _SIZE,
            "stream" / Int8ul * "number of the stream: 0 preview, 1 still, 2 ROI",
            "flags" / Int8ul * "Configure flags: TEST_ONLY",
            "mode" / Int16ul * "id of a mode of the manifest",
            "pixel_format" / Int32ul * "code of the pixel format; 0 lets the module choose",
            "tile_bytes" / Int32ul * "longest payload of a tile, B; 0 lets the module choose",
            "x" / _CROP * "first column of the crop in the mode",
            "y" / _CROP * "first row of the crop in the mode",
            "width" / _CROP * "columns of the crop; 0 = the whole mode",
            "height" / _CROP * "rows of the crop; 0 = the whole mode",
        ),
    ),
    Message(
        "Configured",
        MessageType.CONFIGURED,
        "module",
        "states the configuration of a stream",
        Struct(
            _SIZE,
            "stream" / Int8ul * "number of the stream, as in the request",
            "flags" / Int8ul * "Configure flags: TEST_ONLY, ADJUSTED",
            "mode" / Int16ul * "id of the mode",
            "pixel_format" / Int32ul * "code of the pixel format",
            "width" / Int16ul * "pixels in a row",
            "height" / Int16ul * "rows",
            "stride" / Int32ul * "bytes in a row",
            "frame_bytes" / Int32ul * "bytes of a frame: stride times height",
            "tile_bytes" / Int32ul * "longest payload of a tile, B",
            "x" / _CROP * "first column of the crop in the mode",
            "y" / _CROP * "first row of the crop in the mode",
        ),
    ),
    Message(
        "Capture",
        MessageType.CAPTURE,
        "host",
        "starts a stream that ends after a number of frames",
        Struct(
            _SIZE,
            "stream" / Int8ul * "number of a configured stream",
            "reserved" / Int8ul * "0",
            "count" / Int16ul * "number of frames, 1 or more",
            _SETTINGS,
        ),
    ),
    Message(
        "StartStream",
        MessageType.STREAM,
        "host",
        "starts a stream that ends with Stop",
        Struct(
            _SIZE,
            "stream" / Int8ul * "number of a configured stream",
            "reserved" / Int8ul * "0",
            "reserved2" / Int16ul * "0",
            "interval_us" / Int32ul * "least time between two frame starts, us; 0 = no limit",
            _SETTINGS,
        ),
    ),
    Message(
        "Stop",
        MessageType.STOP,
        "host",
        "ends a stream",
        Struct(_SIZE, "stream" / Int8ul * "number of the stream"),
    ),
    Message(
        "Flush",
        MessageType.FLUSH,
        "host",
        "ends every stream; the answer comes after the last packet of every frame",
        Struct(_SIZE),
    ),
    Message(
        "Accepted",
        MessageType.ACCEPTED,
        "module",
        "answers Capture, StartStream, SetSettings, Stop, SetBudget and Test",
        Struct(
            _SIZE,
            "stream" / Int8ul * "number of the stream, as in the request; 0 of SetBudget and Test",
            "reserved" / Int8ul * "0",
            "first_frame"
            / Int32ul
            * "number of the next frame of any stream; of SetSettings, see section 5.2",
        ),
    ),
    Message(
        "Flushed",
        MessageType.FLUSHED,
        "module",
        "answers Flush: nothing of an earlier request follows",
        Struct(
            _SIZE,
            "lanes" / Int8ul * "lanes of the session",
            "reserved" / Int8ul * "0",
            "last_request" / Int32ul * "id of the newest request before the Flush",
            "last_sequence"
            / Array(4, Int32ul)
            * "sequence of the last packet before this one, by lane; 2^32 - 1 = no packet",
        ),
    ),
    Message(
        "Error",
        MessageType.ERROR,
        "module",
        "refuses a request",
        Struct(
            _SIZE,
            "code" / Int16ul * "error code",
            "detail" / GreedyBytes * "UTF-8 text for people",
        ),
    ),
    Message(
        "Close",
        MessageType.CLOSE,
        "both",
        "ends the session; there is no answer",
        Struct(_SIZE, "reason" / Int8ul * "close reason"),
    ),
    Message(
        "Heartbeat",
        MessageType.HEARTBEAT,
        "host",
        "shows that the host is alive, and states its credit limits",
        Struct(
            _SIZE,
            "limit"
            / Array(3, Int64ul)
            * "bytes of tiles that the module may send in this session, by stream",
            "time_us" / Int64ul * "clock of the host when this was sent, us",
        ),
    ),
    Message(
        "HeartbeatReply",
        MessageType.HEARTBEAT_REPLY,
        "module",
        "shows that the module is alive, and what it has sent",
        Struct(
            _SIZE,
            "uptime_us" / Int64ul * "clock of the module when this is sent, us since its start",
            "sent" / Array(3, Int64ul) * "bytes of tiles sent in this session, by stream",
            "begun" / Array(3, Int32ul) * "newest frame begun, plus 1, by stream; 0 = no frame",
            "host_us" / Int64ul * "`time_us` of the Heartbeat that this reply answers",
            "received_us" / Int64ul * "clock of the module when that Heartbeat was received, us",
        ),
    ),
    Message(
        "Pending",
        MessageType.PENDING,
        "module",
        "says that the answer to a request will come later",
        Struct(_SIZE, "lease_ms" / Int16ul * "time until the host may repeat the request, ms"),
    ),
    Message(
        "Busy",
        MessageType.BUSY,
        "module",
        "says that the module will be silent",
        Struct(
            _SIZE,
            "reason" / Int8ul * "busy reason",
            "reserved" / Int8ul * "0",
            "lease_ms" / Int16ul * "longest duration of the silence, ms",
        ),
    ),
    Message(
        "Notice",
        MessageType.NOTICE,
        "module",
        "warns the host of an event",
        Struct(
            _SIZE,
            "reason" / Int8ul * "notice reason",
            "reserved" / Int8ul * "0",
            "within_ms" / Int16ul * "longest time until the event, ms; 0 = unknown",
        ),
    ),
    Message(
        "Event",
        MessageType.EVENT,
        "module",
        "reports a change of the module's state",
        Struct(
            _SIZE,
            "kind" / Int8ul * "event kind",
            "reserved" / Int8ul * "0",
            "value" / Int32sl * "see event kind",
            "time_us" / Int64ul * "module's clock when the state was so",
            "counter" / Int32ul * "cumulative since the module's start, low 32 bits",
            "counter_high" / Int32ul * "its high 32 bits",
        ),
    ),
    Message(
        "Resend",
        MessageType.RESEND,
        "host",
        "asks for parts of a frame again",
        Struct(
            _SIZE,
            "flags" / Int8ul * "Resend flags: START, END",
            "reserved" / Int8ul * "0",
            "count" / Int16ul * "number of rectangles that follow",
            "ranges" / GreedyBytes * "rectangles: x, y, width, height, u16 each, in pixels",
        ),
    ),
    Message(
        "Resent",
        MessageType.RESENT,
        "module",
        "answers Resend, after the tiles that it sends again",
        Struct(
            _SIZE,
            "flags" / Int8ul * "Resend flags: packets that are sent again",
            "state" / Int8ul * "state of the frame",
            "count" / Int16ul * "number of rectangles that follow",
            "gone" / GreedyBytes * "rectangles that are no longer held, laid out as in Resend",
        ),
    ),
    Message(
        "Query",
        MessageType.QUERY,
        "host",
        "asks for the outcome of a request of this session or of an earlier one",
        Struct(
            _SIZE,
            "session" / Int32ul * "nonce of the session of the request",
            "request" / Int32ul * "id of the request",
        ),
    ),
    Message(
        "QueryReply",
        MessageType.QUERY_REPLY,
        "module",
        "states the outcome of a request",
        Struct(_SIZE, "outcome" / Int8ul * "outcome of the request"),
    ),
    Message(
        "Test",
        MessageType.TEST,
        "host",
        "makes the module take a test action",
        Struct(
            _SIZE,
            "action" / Int8ul * "test action",
            "damage" / Int8ul * "CRC that is made wrong, for REJECT; else 0",
            "ms" / Int16ul * "duration, ms, at most MAX_BUSY_MS; 0 for REJECT",
        ),
    ),
    Message(
        "Challenge",
        MessageType.CHALLENGE,
        "host",
        "asks the module to prove that it is genuine",
        Struct(
            _SIZE,
            "scheme" / Int16ul * "authentication scheme",
            "challenge" / GreedyBytes * "challenge, as the scheme defines it",
        ),
    ),
    Message(
        "Proof",
        MessageType.PROOF,
        "module",
        "answers Challenge",
        Struct(
            _SIZE,
            "scheme" / Int16ul * "authentication scheme, as in the challenge",
            "proof" / GreedyBytes * "proof, as the scheme defines it",
        ),
    ),
    Message(
        "SetSettings",
        MessageType.SET_SETTINGS,
        "host",
        "changes the settings of a configured or running stream",
        Struct(
            _SIZE,
            "stream" / Int8ul * "number of a configured stream, or of one that StartStream began",
            "reserved" / Int8ul * "0",
            _SETTINGS,
        ),
    ),
    Message(
        "SetBudget",
        MessageType.SET_BUDGET,
        "host",
        "grants the power that the module may draw",
        Struct(
            _SIZE,
            "reserved" / Int16ul * "0",
            "budget_mw" / Int32ul * "most power that the module may draw in this session, mW",
        ),
    ),
    Message(
        "GetCalibration",
        MessageType.GET_CALIBRATION,
        "host",
        "asks for a piece of a calibration",
        Struct(
            _SIZE,
            "kind" / Int16ul * "kind of the calibration",
            "offset" / Int32ul * "offset of the first byte that the host wants",
        ),
    ),
    Message(
        "CalibrationPiece",
        MessageType.CALIBRATION,
        "module",
        "carries a piece of a calibration",
        Struct(
            _SIZE,
            "kind" / Int16ul * "kind of the calibration, as in the request",
            "offset" / Int32ul * "offset of the piece in the calibration",
            "total" / Int32ul * "length of the whole calibration, B",
            "piece" / GreedyBytes * "bytes of the calibration from that offset",
        ),
    ),
    Message(
        "FrameStart",
        MessageType.FRAME_START,
        "module",
        "begins a frame: its geometry and the settings that were applied",
        Struct(
            _SIZE,
            "mode" / Int16ul * "id of a mode of the manifest",
            "request" / Int32ul * "id of the Capture or StartStream request",
            "timestamp_us" / Int64ul * "clock of the module at the start of readout, us",
            "width" / Int16ul * "pixels in a row",
            "height" / Int16ul * "rows",
            "cfa" / Int8ul * "colour filter array phase",
            "orientation" / Int8ul * "EXIF orientation, 1 to 8",
            "bits" / Int8ul * "bits of a pixel's value, 8 to 16",
            "reserved" / Int8ul * "0",
            "pixel_format" / Int32ul * "code of the pixel format",
            "stride" / Int32ul * "bytes in a row",
            "white" / Int32ul * "white level, DN",
            "flags" / Int16ul * "frame flags: ADJUSTED, MOVING",
            "reserved2" / Int16ul * "0",
            "black_milli" / Array(4, Int32ul) * "black levels of the first 2 x 2 pixels, 1/1000 DN",
            "exposure_us" / Int32ul * "exposure time applied, us",
            "gain_milli" / Int32ul * "gain applied, 1/1000",
            "focus_mdpt" / Int32sl * "lens position at mid-exposure, milli-dioptres",
            "aperture_milli" / Int32ul * "f-number applied, 1/1000; 0 = the module has no iris",
            "interval_us" / Int32ul * "time since the readout of the last frame of the stream"
            " started, us; 0 = first frame of the request",
            "row_time_ns" / Int32ul * "time from row to row of the readout, ns; 0 = unknown",
            "noise_slope" / Int32ul * "S of DNG's NoiseProfile, 1e-9; 0 = unknown",
            "noise_offset" / Int32ul * "O of DNG's NoiseProfile, 1e-9",
            "focus_ring" / Int32sl * "position of the focus ring, ticks since the start; wraps",
            "temperature_mc" / Int32sl * "sensor temperature, 1/1000 degree C",
            "crop_x" / _CROP * "first column of the frame in the mode",
            "crop_y" / _CROP * "first row of the frame in the mode",
        ),
    ),
    Message(
        "FrameEnd",
        MessageType.FRAME_END,
        "module",
        "ends a frame",
        Struct(
            _SIZE,
            "status" / Int8ul * "end status",
            "lanes" / Int8ul * "lanes of the session",
            "tiles" / Int32ul * "number of tiles sent, without those sent again",
            "readout_us" / Int32ul * "time from the start of readout to the last row, us",
            "last_sequence"
            / Array(4, Int32ul)
            * "sequence of the last packet before this one, by lane; 2^32 - 1 = no packet",
            "energy_uj" / Int32ul * "energy of the frame, uJ; 0 = unknown",
        ),
    ),
    Message(
        "Log",
        MessageType.LOG,
        "module",
        "carries a line of the module's log",
        Struct(
            _SIZE,
            "level" / Int8ul * "log level",
            "reserved" / Int8ul * "0",
            "timestamp_us" / Int64ul * "clock of the module, us since its start",
            "text" / GreedyBytes * "UTF-8 text of the line",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the manifest. Its value is a structure, or UTF-8 text if ``struct`` is None."""

    name: str
    key: ManifestKey
    doc: str
    struct: Construct | None = None


ENTRIES: tuple[Entry, ...] = (
    Entry("maker", ManifestKey.MAKER, "maker of the module"),
    Entry("model", ManifestKey.MODEL, "model name"),
    Entry("serial", ManifestKey.SERIAL, "serial number, unique for a maker and model"),
    Entry("firmware", ManifestKey.FIRMWARE, "version and build of the firmware"),
    Entry("board", ManifestKey.BOARD, "board that the firmware runs on"),
    Entry(
        "SensorEntry",
        ManifestKey.SENSOR,
        "properties of the sensor",
        Struct(
            "width" / Int16ul * "columns of the sensor",
            "height" / Int16ul * "rows of the sensor",
            "bits" / Int8ul * "bits of a pixel's value, 8 to 16",
            "cfa" / Int8ul * "colour filter array phase",
            "orientation" / Int8ul * "EXIF orientation, 1 to 8",
            "reserved" / Int8ul * "0",
            "white" / Int32ul * "white level, DN",
            "black_milli" / Array(4, Int32ul) * "black levels of the first 2 x 2 pixels, 1/1000 DN",
        ),
    ),
    Entry(
        "ColorEntry",
        ManifestKey.COLOR,
        "colours of the sensor under an illuminant, as DNG states them",
        Struct(
            "illuminant" / Int16ul * "EXIF LightSource of the matrix",
            "reserved" / Int16ul * "0",
            "matrix" / Array(18, Int32sl) * "ColorMatrix: 9 x numerator, denominator; row by row",
            "neutral" / Array(6, Int32ul) * "AsShotNeutral: 3 x numerator, denominator",
        ),
    ),
    Entry(
        "ModeEntry",
        ManifestKey.MODE,
        "a readout mode; one entry for each mode",
        Struct(
            "id" / Int16ul * "id that Configure names",
            "width" / Int16ul * "pixels in a row",
            "height" / Int16ul * "rows",
            "binning" / Int8ul * "1, or 2 if 2 x 2 pixels of one colour are combined",
            "use" / Int8ul * "bits of the mode's uses",
            "active_area" / Array(4, Int16ul) * "top, left, bottom (exclusive), right (exclusive)",
            "name" / Bytes(16) * "name in ASCII, padded with zero bytes",
            "active_mw" / Int32ul * "most power during a frame, without motor, mW; 0 = unknown",
        ),
    ),
    Entry(
        "FormatEntry",
        ManifestKey.FORMAT,
        "a pixel format that Configure may name; the module's own choice comes first",
        Struct("pixel_format" / Int32ul * "code of the pixel format"),
    ),
    Entry(
        "OpticsEntry",
        ManifestKey.OPTICS,
        "properties of the lens",
        Struct(
            "focal_um" / Int32ul * "focal length, um",
            "focal_35mm_um" / Int32ul * "focal length as the equivalent of 35 mm film, um",
            "aperture_milli" / Int32ul * "widest f-number, 1/1000",
            "focus_max_mdpt" / Int32ul * "closest focus, milli-dioptres",
        ),
    ),
    Entry(
        "ControlEntry",
        ManifestKey.CONTROL,
        "a control that the module has; one entry for each control",
        Struct(
            "control" / Int16ul * "id of the control",
            "flags" / Int16ul * "control flags: PER_FRAME",
            "minimum" / Int32sl * "least value",
            "maximum" / Int32sl * "largest value",
            "step" / Int32sl * "distance of two values that differ, 1 or more",
            "initial" / Int32sl * "value of a stream until the host sets another",
        ),
    ),
    Entry(
        "PowerEntry",
        ManifestKey.POWER,
        "power that the module draws besides that of its modes",
        Struct(
            "idle_mw" / Int32ul * "most power while no frame is exposed or read out, mW",
            "motor_mw" / Int32ul * "most power of lens and iris, besides, while they move, mW",
        ),
    ),
    Entry(
        "ScaleEntry",
        ManifestKey.SCALE,
        "scale of a stand-in against the product",
        Struct(
            "pixels_milli"
            / Int32ul
            * "pixels of the largest frame, relative to the product, 1/1000",
            "rate_milli" / Int32ul * "link rate relative to the product, 1/1000; 0 = unknown",
        ),
    ),
    Entry(
        "AuthEntry",
        ManifestKey.AUTH,
        "an authentication scheme of the module; one entry for each scheme",
        Struct("scheme" / Int16ul * "number of the scheme"),
    ),
    Entry(
        "DelayEntry",
        ManifestKey.DELAY,
        "delays of the module",
        Struct(
            "settings_delay"
            / Int16ul
            * "most frames whose readout begins after SetSettings was done, without its settings",
        ),
    ),
    Entry(
        "FocusEntry",
        ManifestKey.FOCUS,
        "a point of the focus motor's calibration; one entry for each point",
        Struct(
            "steps" / Int32ul * "position of the motor, steps from infinity",
            "focus_mdpt" / Int32sl * "distance that the lens is focused on, milli-dioptres",
        ),
    ),
    Entry(
        "CalibrationEntry",
        ManifestKey.CALIBRATION,
        "a calibration that GetCalibration reads; one entry for each",
        Struct(
            "kind" / Int16ul * "kind of the calibration",
            "total" / Int32ul * "length of the calibration, B",
            "crc32" / Int32ul * "CRC-32/ISO-HDLC of the calibration",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a calibration: its head, or an entry of the list that follows the head."""

    name: str
    doc: str
    struct: Construct


PARTS: tuple[Part, ...] = (
    Part(
        "NoiseHead",
        "begins the calibration NOISE; `points` entries NoisePoint follow",
        Struct("points" / Int16ul * "number of gains", "reserved" / Int16ul * "0"),
    ),
    Part(
        "NoisePoint",
        "the noise at a gain",
        Struct(
            "gain_milli" / Int32ul * "gain, 1/1000",
            "slope" / Int32ul * "S of DNG's NoiseProfile, 1e-9",
            "offset" / Int32ul * "O of DNG's NoiseProfile, 1e-12",
        ),
    ),
    Part(
        "GainMapHead",
        "begins the calibration GAIN_MAP; apertures, focuses and gains follow",
        Struct(
            "apertures" / Int8ul * "number of f-numbers",
            "focuses" / Int8ul * "number of distances",
            "rows" / Int16ul * "points of a map from top to bottom",
            "columns" / Int16ul * "points of a map from left to right",
            "reserved" / Int16ul * "0",
        ),
    ),
    Part(
        "DistortionTable",
        "the calibration DISTORTION",
        Struct(
            "center" / Array(2, Int32ul) * "x and y of the optical axis, 1e-6 of width and height",
            "radial" / Array(4, Int32sl) * "kr0 to kr3, 1e-9",
            "tangential" / Array(2, Int32sl) * "kt0 and kt1, 1e-9",
        ),
    ),
    Part(
        "BlurHead",
        "begins the calibration BLUR; `points` entries BlurPoint follow",
        Struct("points" / Int16ul * "number of distances", "reserved" / Int16ul * "0"),
    ),
    Part(
        "BlurPoint",
        "the blur at a distance that the lens is focused on",
        Struct(
            "focus_mdpt" / Int32sl * "distance that the lens is focused on, milli-dioptres",
            "blur_milli"
            / Int32ul
            * "diameter of the blur at f/1, one dioptre out of focus, 1/1000 pixel of the sensor",
        ),
    ),
    Part(
        "DefectsHead",
        "begins the calibration DEFECTS; `pixels` entries DefectPixel follow",
        Struct("pixels" / Int32ul * "number of pixels"),
    ),
    Part(
        "DefectPixel",
        "a pixel that is not to be used",
        Struct(
            "mode" / Int16ul * "id of a mode of the manifest",
            "x" / Int16ul * "column in that mode",
            "y" / Int16ul * "row in that mode",
        ),
    ),
)
"""The parts of calibrations. :mod:`.calibration` puts them together."""
