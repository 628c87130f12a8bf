"""The one definition of the wire, as `construct` structures.

Everything else that knows the wire is generated from this module (``make gen``: the firmware's
codec, :mod:`.messages`, the tables of SPEC.md) or checked against it. It is the oracle and the
slow path; nothing parses received bytes with it.

A message is a fixed part, then at most one tail that takes the rest of the payload. The fixed
part begins with its own size, so that a newer minor version may append fields to it: a reader
takes what it knows and skips the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from construct import (
    Array,
    Bytes,
    Const,
    Construct,
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
"""No ASCII in its first byte (it is not text), and no byte of it twice but the L."""

Header = Struct(
    "magic" / Const(MAGIC) * "8A 4C 4C 4B",
    "version" / Int8ul * "major in bits 4-7, minor in bits 0-3",
    "type" / Int8ul * "message type",
    "flags" / Int8ul * "RESENT; a reader ignores flags it does not know",
    "stream" / Int8ul * "stream of a data packet, else 0",
    "nonce" / Int32ul * "the session: picked by the host, echoed by the module",
    "sequence" / Int32ul * "counts the packets of one lane and direction; wraps",
    "frame" / Int32ul * "frame of a data packet; request id of a request and its reply",
    "x" / Int16ul * "destination of a tile: left column; else 0",
    "y" / Int16ul * "destination of a tile: top row; else 0",
    "width" / Int16ul * "destination of a tile: columns; else 0",
    "height" / Int16ul * "destination of a tile: rows; else 0",
    "length" / Int32ul * "bytes of payload that follow the header",
    "payload_crc" / Int32ul * "CRC-32/ISO-HDLC of the payload",
    "header_crc" / Int32ul * "CRC-32/ISO-HDLC of the 36 bytes before it",
)


@dataclass(frozen=True, slots=True)
class Message:
    """A message's name in CamelCase, who sends it, what it says, and its layout."""

    name: str
    type: MessageType
    sender: str
    doc: str
    struct: Construct


_SIZE = "size" / Int16ul * "bytes of this fixed part, these two included"

_SETTINGS = (
    "exposure_us" / Int64ul * "exposure time, us; 0 keeps the last",
    "gain_milli" / Int32ul * "gain, 1/1000; 0 keeps the last",
    "focus_mdpt" / Int32sl * "focus, milli-dioptres, 0 = infinity; -1 keeps the last",
)

MESSAGES: tuple[Message, ...] = (
    Message(
        "Hello",
        MessageType.HELLO,
        "host",
        "opens a session; its header carries the nonce the host picked",
        Struct(
            _SIZE,
            "version_min" / Int8ul * "oldest version the host speaks, as in the header",
            "version_max" / Int8ul * "newest version the host speaks",
            "lanes" / Int8ul * "lanes the host offers, 1 to MAX_LANES",
            "reserved" / Int8ul * "0",
            "capabilities" / Int32ul * "what the host can do beyond the core",
            "max_payload" / Int32ul * "longest payload the host takes, B",
        ),
    ),
    Message(
        "HelloReply",
        MessageType.HELLO_REPLY,
        "module",
        "the session as both sides will use it",
        Struct(
            _SIZE,
            "version" / Int8ul * "version of the session",
            "lanes" / Int8ul * "lanes of the session",
            "reset_reason" / Int8ul * "why the module last started",
            "reserved" / Int8ul * "0",
            "capabilities" / Int32ul * "the intersection",
            "max_payload" / Int32ul * "longest payload the module takes, B",
            "manifest_bytes" / Int32ul * "length of the manifest, B",
            "boot_count" / Int32ul * "counts the module's starts",
            "uptime_us" / Int64ul * "module's clock, us since its start",
        ),
    ),
    Message(
        "GetManifest",
        MessageType.GET_MANIFEST,
        "host",
        "asks for a piece of the manifest",
        Struct(_SIZE, "offset" / Int32ul * "first byte wanted"),
    ),
    Message(
        "ManifestPiece",
        MessageType.MANIFEST,
        "module",
        "a piece of the manifest",
        Struct(
            _SIZE,
            "offset" / Int32ul * "where in the manifest the piece begins",
            "total" / Int32ul * "length of the whole, B",
            "piece" / GreedyBytes * "entries: key u16, length u16, value",
        ),
    ),
    Message(
        "Configure",
        MessageType.CONFIGURE,
        "host",
        "prepares a stream",
        Struct(
            _SIZE,
            "stream" / Int8ul * "0 preview, 1 still",
            "flags" / Int8ul * "TEST_ONLY",
            "mode" / Int16ul * "a mode of the manifest",
            "pixel_format" / Int32ul * "PFNC code; 0 leaves it to the module",
            "tile_bytes" / Int32ul * "longest tile wanted, B; 0 leaves it to the module",
        ),
    ),
    Message(
        "Configured",
        MessageType.CONFIGURED,
        "module",
        "the configuration as it is, or under TEST_ONLY as it would be",
        Struct(
            _SIZE,
            "stream" / Int8ul * "as asked",
            "flags" / Int8ul * "TEST_ONLY, ADJUSTED",
            "mode" / Int16ul * "mode applied",
            "pixel_format" / Int32ul * "PFNC code applied",
            "width" / Int16ul * "pixels a row",
            "height" / Int16ul * "rows",
            "stride" / Int32ul * "bytes a row, whole",
            "frame_bytes" / Int32ul * "stride times height",
            "tile_bytes" / Int32ul * "longest tile, B",
        ),
    ),
    Message(
        "Capture",
        MessageType.CAPTURE,
        "host",
        "asks for a number of frames; the settings travel with it",
        Struct(
            _SIZE,
            "stream" / Int8ul * "a configured stream",
            "reserved" / Int8ul * "0",
            "count" / Int16ul * "frames, 1 or more",
            *_SETTINGS,
        ),
    ),
    Message(
        "StartStream",
        MessageType.STREAM,
        "host",
        "asks for frames until STOP",
        Struct(
            _SIZE,
            "stream" / Int8ul * "a configured stream",
            "reserved" / Int8ul * "0",
            "reserved2" / Int16ul * "0",
            "interval_us" / Int32ul * "shortest time between frame starts, us; 0 = none",
            *_SETTINGS,
        ),
    ),
    Message(
        "Stop",
        MessageType.STOP,
        "host",
        "ends a stream; a frame under way ends as ABORTED",
        Struct(_SIZE, "stream" / Int8ul * "a stream"),
    ),
    Message(
        "Flush",
        MessageType.FLUSH,
        "host",
        "a barrier: ends every stream, answered after the last packet of the last frame",
        Struct(_SIZE),
    ),
    Message(
        "Accepted",
        MessageType.ACCEPTED,
        "module",
        "CAPTURE, STREAM, STOP or TEST is done or under way",
        Struct(
            _SIZE,
            "stream" / Int8ul * "as asked",
            "reserved" / Int8ul * "0",
            "first_frame" / Int32ul * "number of the next frame of any stream",
        ),
    ),
    Message(
        "Flushed",
        MessageType.FLUSHED,
        "module",
        "nothing of an earlier request follows",
        Struct(
            _SIZE,
            "lanes" / Int8ul * "lanes in use",
            "reserved" / Int8ul * "0",
            "last_request" / Int32ul * "id of the last request processed before the flush",
            "last_sequence" / Array(4, Int32ul) * "of each lane, this packet not counted",
        ),
    ),
    Message(
        "Error",
        MessageType.ERROR,
        "module",
        "the request is refused",
        Struct(
            _SIZE,
            "code" / Int16ul * "error code",
            "detail" / GreedyBytes * "UTF-8, for people",
        ),
    ),
    Message(
        "Close",
        MessageType.CLOSE,
        "both",
        "ends the session; not answered",
        Struct(_SIZE, "reason" / Int8ul * "close reason"),
    ),
    Message(
        "Heartbeat",
        MessageType.HEARTBEAT,
        "host",
        "proof of life, and the credits; answered by HeartbeatReply, never repeated as it is",
        Struct(
            _SIZE,
            "limit"
            / Array(2, Int64ul)
            * "bytes of tiles, each stream, that may be sent since the session began",
        ),
    ),
    Message(
        "HeartbeatReply",
        MessageType.HEARTBEAT_REPLY,
        "module",
        "proof of life; what was sent before it on its lane has arrived or is lost",
        Struct(
            _SIZE,
            "uptime_us" / Int64ul * "module's clock, us",
            "sent" / Array(2, Int64ul) * "bytes of tiles sent, each stream, since its beginning",
            "begun" / Array(2, Int32ul) * "frames begun, each stream: the newest one's number + 1",
        ),
    ),
    Message(
        "Pending",
        MessageType.PENDING,
        "module",
        "the request is under way and will be answered",
        Struct(_SIZE, "lease_ms" / Int16ul * "do not ask again for so long, ms"),
    ),
    Message(
        "Busy",
        MessageType.BUSY,
        "module",
        "the module will be silent for a while",
        Struct(
            _SIZE,
            "reason" / Int8ul * "busy reason",
            "reserved" / Int8ul * "0",
            "lease_ms" / Int16ul * "for how long at most, ms",
        ),
    ),
    Message(
        "Notice",
        MessageType.NOTICE,
        "module",
        "something is about to happen",
        Struct(
            _SIZE,
            "reason" / Int8ul * "notice reason",
            "reserved" / Int8ul * "0",
            "within_ms" / Int16ul * "expected within, ms; 0 = unknown",
        ),
    ),
    Message(
        "Resend",
        MessageType.RESEND,
        "host",
        "asks for parts of a frame again; its header names stream and frame",
        Struct(
            _SIZE,
            "flags" / Int8ul * "START, END: those packets are missing too",
            "reserved" / Int8ul * "0",
            "count" / Int16ul * "rectangles that follow",
            "ranges" / GreedyBytes * "x, y, width, height, u16 each",
        ),
    ),
    Message(
        "Resent",
        MessageType.RESENT,
        "module",
        "what becomes of a Resend; comes behind the tiles that it announces",
        Struct(
            _SIZE,
            "flags" / Int8ul * "START, END: those packets were sent again",
            "state" / Int8ul * "what is known of the frame",
            "count" / Int16ul * "rectangles that follow",
            "gone" / GreedyBytes * "rectangles no longer held: x, y, width, height, u16 each",
        ),
    ),
    Message(
        "Query",
        MessageType.QUERY,
        "host",
        "asks what became of a request of this session or of an earlier one",
        Struct(
            _SIZE,
            "session" / Int32ul * "nonce of the session in which it was sent",
            "request" / Int32ul * "its id",
        ),
    ),
    Message(
        "QueryReply",
        MessageType.QUERY_REPLY,
        "module",
        "what became of a request",
        Struct(_SIZE, "outcome" / Int8ul * "done, not done, or unknown"),
    ),
    Message(
        "Test",
        MessageType.TEST,
        "host",
        "drives the module into a state; answered by Accepted",
        Struct(
            _SIZE,
            "action" / Int8ul * "test action",
            "damage" / Int8ul * "of REJECT: which CRC; else 0",
            "ms" / Int16ul * "for how long, ms, at most MAX_BUSY_MS; of REJECT 0",
        ),
    ),
    Message(
        "Challenge",
        MessageType.CHALLENGE,
        "host",
        "asks the module to prove what it is",
        Struct(
            _SIZE,
            "scheme" / Int16ul * "of authentication",
            "challenge" / GreedyBytes * "as the scheme says; never used again",
        ),
    ),
    Message(
        "Proof",
        MessageType.PROOF,
        "module",
        "the answer to a challenge",
        Struct(
            _SIZE,
            "scheme" / Int16ul * "that of the challenge",
            "proof" / GreedyBytes * "as the scheme says",
        ),
    ),
    Message(
        "FrameStart",
        MessageType.FRAME_START,
        "module",
        "a frame begins: its geometry, and the settings that were applied",
        Struct(
            _SIZE,
            "mode" / Int16ul * "a mode of the manifest",
            "request" / Int32ul * "id of the CAPTURE or STREAM request",
            "width" / Int16ul * "pixels a row",
            "height" / Int16ul * "rows",
            "cfa" / Int8ul * "colour filter array phase",
            "orientation" / Int8ul * "EXIF orientation, 1 to 8",
            "bits" / Int8ul * "bits a pixel, 8 to 16",
            "reserved" / Int8ul * "0",
            "pixel_format" / Int32ul * "PFNC code",
            "stride" / Int32ul * "bytes a row, whole",
            "white" / Int32ul * "white level, DN",
            "black_milli" / Array(4, Int32ul) * "black level of the 2 x 2 pixels, 1/1000 DN",
            "timestamp_us" / Int64ul * "module's clock at the start of readout, us",
            "exposure_us" / Int64ul * "exposure time applied, us",
            "gain_milli" / Int32ul * "gain applied, 1/1000",
            "focus_mdpt" / Int32sl * "focus applied, milli-dioptres",
            "temperature_mc" / Int32sl * "sensor temperature, 1/1000 degree C",
        ),
    ),
    Message(
        "FrameEnd",
        MessageType.FRAME_END,
        "module",
        "a frame has been sent",
        Struct(
            _SIZE,
            "status" / Int8ul * "how the readout ended",
            "lanes" / Int8ul * "lanes in use",
            "tiles" / Int32ul * "tiles sent, resent ones not counted",
            "readout_us" / Int32ul * "from start of readout to last row, us",
            "last_sequence" / Array(4, Int32ul) * "of each lane, this packet not counted",
        ),
    ),
    Message(
        "Log",
        MessageType.LOG,
        "module",
        "a line of the module's log",
        Struct(
            _SIZE,
            "level" / Int8ul * "log level",
            "reserved" / Int8ul * "0",
            "timestamp_us" / Int64ul * "module's clock, us",
            "text" / GreedyBytes * "UTF-8",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A manifest entry whose value is a structure or, where ``struct`` is None, UTF-8 text."""

    name: str
    key: ManifestKey
    doc: str
    struct: Construct | None = None


ENTRIES: tuple[Entry, ...] = (
    Entry("maker", ManifestKey.MAKER, "who made the module"),
    Entry("model", ManifestKey.MODEL, "what it is called"),
    Entry("serial", ManifestKey.SERIAL, "which one it is; locks and reattachment go by it"),
    Entry("firmware", ManifestKey.FIRMWARE, "version and build of its firmware"),
    Entry("board", ManifestKey.BOARD, "the board that stands in for the module"),
    Entry(
        "SensorEntry",
        ManifestKey.SENSOR,
        "the sensor",
        Struct(
            "width" / Int16ul * "columns",
            "height" / Int16ul * "rows",
            "bits" / Int8ul * "bits a pixel",
            "cfa" / Int8ul * "colour filter array phase",
            "orientation" / Int8ul * "EXIF orientation",
            "reserved" / Int8ul * "0",
            "white" / Int32ul * "white level, DN",
            "black_milli" / Array(4, Int32ul) * "black level of the 2 x 2 pixels, 1/1000 DN",
        ),
    ),
    Entry(
        "ColorEntry",
        ManifestKey.COLOR,
        "its colours, as DNG states them",
        Struct(
            "illuminant" / Int16ul * "EXIF LightSource of the matrix",
            "reserved" / Int16ul * "0",
            "matrix" / Array(18, Int32sl) * "ColorMatrix1, numerators and denominators",
            "neutral" / Array(6, Int32ul) * "AsShotNeutral, numerators and denominators",
        ),
    ),
    Entry(
        "ModeEntry",
        ManifestKey.MODE,
        "a readout mode, one entry each",
        Struct(
            "id" / Int16ul * "number that CONFIGURE names",
            "width" / Int16ul * "pixels a row",
            "height" / Int16ul * "rows",
            "binning" / Int8ul * "1, or 2 for 2 x 2 pixels of one colour",
            "use" / Int8ul * "what it is meant for",
            "active_area" / Array(4, Int16ul) * "top, left, bottom, right",
            "name" / Bytes(16) * "ASCII, padded with 0",
        ),
    ),
    Entry(
        "FormatEntry",
        ManifestKey.FORMAT,
        "a pixel format that CONFIGURE may name, one entry each; the module's choice first",
        Struct("pixel_format" / Int32ul * "PFNC code"),
    ),
    Entry(
        "OpticsEntry",
        ManifestKey.OPTICS,
        "the lens",
        Struct(
            "focal_um" / Int32ul * "focal length, um",
            "focal_35mm_um" / Int32ul * "35 mm equivalent, um",
            "aperture_milli" / Int32ul * "widest f-number, 1/1000",
            "focus_max_mdpt" / Int32ul * "closest focus, milli-dioptres",
        ),
    ),
    Entry(
        "PowerEntry",
        ManifestKey.POWER,
        "what it may draw",
        Struct(
            "idle_mw" / Int32ul * "mW while nothing is read out",
            "active_mw" / Int32ul * "mW while streaming",
        ),
    ),
    Entry(
        "ScaleEntry",
        ManifestKey.SCALE,
        "for a stand-in: how much smaller it is than the product",
        Struct(
            "pixels_milli" / Int32ul * "its largest frame over the product's, 1/1000",
            "rate_milli" / Int32ul * "its link rate over the product's, 1/1000; 0 = unknown",
        ),
    ),
)
