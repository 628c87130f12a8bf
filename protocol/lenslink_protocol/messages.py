"""The messages as frozen dataclasses, and the header. Generated from lenslink_protocol/structs.py by `make gen`; do not edit."""


from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from .ids import ManifestKey, MessageType


Buffer = bytes | bytearray | memoryview


MAGIC = b'\x8aLLK'
HEADER = struct.Struct("<4sBBBBIIIHHHHIII")


class Malformed(ValueError):
    """A payload that is shorter than its message, or whose size field lies."""


class Header(NamedTuple):
    """The header of a packet, less its magic."""

    version: int
    type: int
    flags: int
    stream: int
    nonce: int
    sequence: int
    frame: int
    x: int
    y: int
    width: int
    height: int
    length: int
    payload_crc: int
    header_crc: int


def _fixed(layout: struct.Struct, payload: Buffer) -> tuple[int, tuple[Any, ...]]:
    """The size of the fixed part as its sender has it, and the values known here."""
    if len(payload) < layout.size:
        raise Malformed(f"{len(payload)} bytes where {layout.size} are the least")
    size, *values = layout.unpack_from(payload)
    if not layout.size <= size <= len(payload):
        raise Malformed(f"a fixed part of {size} bytes in a payload of {len(payload)}")
    return size, tuple(values)


def _prefix(layout: struct.Struct, value: Buffer) -> tuple[Any, ...]:
    if len(value) < layout.size:
        raise Malformed(f"{len(value)} bytes where {layout.size} are the least")
    return layout.unpack_from(value)


@dataclass(frozen=True, slots=True)
class Hello:
    """Opens a session; its header carries the nonce the host picked."""

    TYPE: ClassVar[MessageType] = MessageType.HELLO
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBBBII")

    version_min: int
    """Oldest version the host speaks, as in the header."""
    version_max: int
    """Newest version the host speaks."""
    lanes: int
    """Lanes the host offers, 1 to MAX_LANES."""
    capabilities: int
    """What the host can do beyond the core."""
    max_payload: int
    """Longest payload the host takes, B."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.version_min, self.version_max, self.lanes, 0, self.capabilities, self.max_payload)

    @classmethod
    def decode(cls, payload: Buffer) -> Hello:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[4], values[5])


@dataclass(frozen=True, slots=True)
class HelloReply:
    """The session as both sides will use it."""

    TYPE: ClassVar[MessageType] = MessageType.HELLO_REPLY
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBBBIIIIQ")

    version: int
    """Version of the session."""
    lanes: int
    """Lanes of the session."""
    reset_reason: int
    """Why the module last started."""
    capabilities: int
    """The intersection."""
    max_payload: int
    """Longest payload the module takes, B."""
    manifest_bytes: int
    """Length of the manifest, B."""
    boot_count: int
    """Counts the module's starts."""
    uptime_us: int
    """Module's clock, us since its start."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.version, self.lanes, self.reset_reason, 0, self.capabilities, self.max_payload, self.manifest_bytes, self.boot_count, self.uptime_us)

    @classmethod
    def decode(cls, payload: Buffer) -> HelloReply:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[4], values[5], values[6], values[7], values[8])


@dataclass(frozen=True, slots=True)
class GetManifest:
    """Asks for a piece of the manifest."""

    TYPE: ClassVar[MessageType] = MessageType.GET_MANIFEST
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HI")

    offset: int
    """First byte wanted."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.offset)

    @classmethod
    def decode(cls, payload: Buffer) -> GetManifest:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0])


@dataclass(frozen=True, slots=True)
class ManifestPiece:
    """A piece of the manifest."""

    TYPE: ClassVar[MessageType] = MessageType.MANIFEST
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HII")

    offset: int
    """Where in the manifest the piece begins."""
    total: int
    """Length of the whole, B."""
    piece: bytes = b""
    """Entries: key u16, length u16, value."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.offset, self.total) + self.piece

    @classmethod
    def decode(cls, payload: Buffer) -> ManifestPiece:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        size, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1], bytes(memoryview(payload)[size:]))


@dataclass(frozen=True, slots=True)
class Configure:
    """Prepares a stream."""

    TYPE: ClassVar[MessageType] = MessageType.CONFIGURE
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBHII")

    stream: int
    """0 preview, 1 still."""
    flags: int
    """TEST_ONLY."""
    mode: int
    """A mode of the manifest."""
    pixel_format: int
    """PFNC code; 0 leaves it to the module."""
    tile_bytes: int
    """Longest tile wanted, B; 0 leaves it to the module."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.stream, self.flags, self.mode, self.pixel_format, self.tile_bytes)

    @classmethod
    def decode(cls, payload: Buffer) -> Configure:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[3], values[4])


@dataclass(frozen=True, slots=True)
class Configured:
    """The configuration as it is, or under TEST_ONLY as it would be."""

    TYPE: ClassVar[MessageType] = MessageType.CONFIGURED
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBHIHHIII")

    stream: int
    """As asked."""
    flags: int
    """TEST_ONLY, ADJUSTED."""
    mode: int
    """Mode applied."""
    pixel_format: int
    """PFNC code applied."""
    width: int
    """Pixels a row."""
    height: int
    """Rows."""
    stride: int
    """Bytes a row, whole."""
    frame_bytes: int
    """Stride times height."""
    tile_bytes: int
    """Longest tile, B."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.stream, self.flags, self.mode, self.pixel_format, self.width, self.height, self.stride, self.frame_bytes, self.tile_bytes)

    @classmethod
    def decode(cls, payload: Buffer) -> Configured:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7], values[8])


@dataclass(frozen=True, slots=True)
class Capture:
    """Asks for a number of frames; the settings travel with it."""

    TYPE: ClassVar[MessageType] = MessageType.CAPTURE
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBHQIi")

    stream: int
    """A configured stream."""
    count: int
    """Frames, 1 or more."""
    exposure_us: int
    """Exposure time, us; 0 keeps the last."""
    gain_milli: int
    """Gain, 1/1000; 0 keeps the last."""
    focus_mdpt: int
    """Focus, milli-dioptres, 0 = infinity; -1 keeps the last."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.stream, 0, self.count, self.exposure_us, self.gain_milli, self.focus_mdpt)

    @classmethod
    def decode(cls, payload: Buffer) -> Capture:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[2], values[3], values[4], values[5])


@dataclass(frozen=True, slots=True)
class StartStream:
    """Asks for frames until STOP."""

    TYPE: ClassVar[MessageType] = MessageType.STREAM
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBHIQIi")

    stream: int
    """A configured stream."""
    interval_us: int
    """Shortest time between frame starts, us; 0 = none."""
    exposure_us: int
    """Exposure time, us; 0 keeps the last."""
    gain_milli: int
    """Gain, 1/1000; 0 keeps the last."""
    focus_mdpt: int
    """Focus, milli-dioptres, 0 = infinity; -1 keeps the last."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.stream, 0, 0, self.interval_us, self.exposure_us, self.gain_milli, self.focus_mdpt)

    @classmethod
    def decode(cls, payload: Buffer) -> StartStream:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[3], values[4], values[5], values[6])


@dataclass(frozen=True, slots=True)
class Stop:
    """Ends a stream; a frame under way ends as ABORTED."""

    TYPE: ClassVar[MessageType] = MessageType.STOP
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HB")

    stream: int
    """A stream."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.stream)

    @classmethod
    def decode(cls, payload: Buffer) -> Stop:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0])


@dataclass(frozen=True, slots=True)
class Flush:
    """A barrier: ends every stream, answered after the last packet of the last frame."""

    TYPE: ClassVar[MessageType] = MessageType.FLUSH
    FIXED: ClassVar[struct.Struct] = struct.Struct("<H")


    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size)

    @classmethod
    def decode(cls, payload: Buffer) -> Flush:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls()


@dataclass(frozen=True, slots=True)
class Accepted:
    """CAPTURE, STREAM, STOP or TEST is done or under way."""

    TYPE: ClassVar[MessageType] = MessageType.ACCEPTED
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBI")

    stream: int
    """As asked."""
    first_frame: int
    """Number of the next frame of any stream."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.stream, 0, self.first_frame)

    @classmethod
    def decode(cls, payload: Buffer) -> Accepted:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[2])


@dataclass(frozen=True, slots=True)
class Flushed:
    """Nothing of an earlier request follows."""

    TYPE: ClassVar[MessageType] = MessageType.FLUSHED
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBI4I")

    lanes: int
    """Lanes in use."""
    last_request: int
    """Id of the last request processed before the flush."""
    last_sequence: tuple[int, int, int, int]
    """Of each lane, this packet not counted."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.lanes, 0, self.last_request, *self.last_sequence)

    @classmethod
    def decode(cls, payload: Buffer) -> Flushed:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[2], (values[3], values[4], values[5], values[6]))


@dataclass(frozen=True, slots=True)
class Error:
    """The request is refused."""

    TYPE: ClassVar[MessageType] = MessageType.ERROR
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HH")

    code: int
    """Error code."""
    detail: bytes = b""
    """UTF-8, for people."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.code) + self.detail

    @classmethod
    def decode(cls, payload: Buffer) -> Error:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        size, values = _fixed(cls.FIXED, payload)
        return cls(values[0], bytes(memoryview(payload)[size:]))


@dataclass(frozen=True, slots=True)
class Close:
    """Ends the session; not answered."""

    TYPE: ClassVar[MessageType] = MessageType.CLOSE
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HB")

    reason: int
    """Close reason."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.reason)

    @classmethod
    def decode(cls, payload: Buffer) -> Close:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0])


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Proof of life, and the credits; answered by HeartbeatReply, never repeated as it is."""

    TYPE: ClassVar[MessageType] = MessageType.HEARTBEAT
    FIXED: ClassVar[struct.Struct] = struct.Struct("<H2Q")

    limit: tuple[int, int]
    """Bytes of tiles, each stream, that may be sent since the session began."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, *self.limit)

    @classmethod
    def decode(cls, payload: Buffer) -> Heartbeat:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls((values[0], values[1]))


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """Proof of life; what was sent before it on its lane has arrived or is lost."""

    TYPE: ClassVar[MessageType] = MessageType.HEARTBEAT_REPLY
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HQ2Q2I")

    uptime_us: int
    """Module's clock, us."""
    sent: tuple[int, int]
    """Bytes of tiles sent, each stream, since its beginning."""
    begun: tuple[int, int]
    """Frames begun, each stream: the newest one's number + 1."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.uptime_us, *self.sent, *self.begun)

    @classmethod
    def decode(cls, payload: Buffer) -> HeartbeatReply:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], (values[1], values[2]), (values[3], values[4]))


@dataclass(frozen=True, slots=True)
class Pending:
    """The request is under way and will be answered."""

    TYPE: ClassVar[MessageType] = MessageType.PENDING
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HH")

    lease_ms: int
    """Do not ask again for so long, ms."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.lease_ms)

    @classmethod
    def decode(cls, payload: Buffer) -> Pending:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0])


@dataclass(frozen=True, slots=True)
class Busy:
    """The module will be silent for a while."""

    TYPE: ClassVar[MessageType] = MessageType.BUSY
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBH")

    reason: int
    """Busy reason."""
    lease_ms: int
    """For how long at most, ms."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.reason, 0, self.lease_ms)

    @classmethod
    def decode(cls, payload: Buffer) -> Busy:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[2])


@dataclass(frozen=True, slots=True)
class Notice:
    """Something is about to happen."""

    TYPE: ClassVar[MessageType] = MessageType.NOTICE
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBH")

    reason: int
    """Notice reason."""
    within_ms: int
    """Expected within, ms; 0 = unknown."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.reason, 0, self.within_ms)

    @classmethod
    def decode(cls, payload: Buffer) -> Notice:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[2])


@dataclass(frozen=True, slots=True)
class Resend:
    """Asks for parts of a frame again; its header names stream and frame."""

    TYPE: ClassVar[MessageType] = MessageType.RESEND
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBH")

    flags: int
    """START, END: those packets are missing too."""
    count: int
    """Rectangles that follow."""
    ranges: bytes = b""
    """X, y, width, height, u16 each."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.flags, 0, self.count) + self.ranges

    @classmethod
    def decode(cls, payload: Buffer) -> Resend:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        size, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[2], bytes(memoryview(payload)[size:]))


@dataclass(frozen=True, slots=True)
class Resent:
    """What becomes of a Resend; comes behind the tiles that it announces."""

    TYPE: ClassVar[MessageType] = MessageType.RESENT
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBH")

    flags: int
    """START, END: those packets were sent again."""
    state: int
    """What is known of the frame."""
    count: int
    """Rectangles that follow."""
    gone: bytes = b""
    """Rectangles no longer held: x, y, width, height, u16 each."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.flags, self.state, self.count) + self.gone

    @classmethod
    def decode(cls, payload: Buffer) -> Resent:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        size, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], bytes(memoryview(payload)[size:]))


@dataclass(frozen=True, slots=True)
class Query:
    """Asks what became of a request of this session or of an earlier one."""

    TYPE: ClassVar[MessageType] = MessageType.QUERY
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HII")

    session: int
    """Nonce of the session in which it was sent."""
    request: int
    """Its id."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.session, self.request)

    @classmethod
    def decode(cls, payload: Buffer) -> Query:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1])


@dataclass(frozen=True, slots=True)
class QueryReply:
    """What became of a request."""

    TYPE: ClassVar[MessageType] = MessageType.QUERY_REPLY
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HB")

    outcome: int
    """Done, not done, or unknown."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.outcome)

    @classmethod
    def decode(cls, payload: Buffer) -> QueryReply:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0])


@dataclass(frozen=True, slots=True)
class Test:
    """Drives the module into a state; answered by Accepted."""

    TYPE: ClassVar[MessageType] = MessageType.TEST
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBH")

    action: int
    """Test action."""
    damage: int
    """Of REJECT: which CRC; else 0."""
    ms: int
    """For how long, ms, at most MAX_BUSY_MS; of REJECT 0."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.action, self.damage, self.ms)

    @classmethod
    def decode(cls, payload: Buffer) -> Test:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1], values[2])


@dataclass(frozen=True, slots=True)
class Challenge:
    """Asks the module to prove what it is."""

    TYPE: ClassVar[MessageType] = MessageType.CHALLENGE
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HH")

    scheme: int
    """Of authentication."""
    challenge: bytes = b""
    """As the scheme says; never used again."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.scheme) + self.challenge

    @classmethod
    def decode(cls, payload: Buffer) -> Challenge:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        size, values = _fixed(cls.FIXED, payload)
        return cls(values[0], bytes(memoryview(payload)[size:]))


@dataclass(frozen=True, slots=True)
class Proof:
    """The answer to a challenge."""

    TYPE: ClassVar[MessageType] = MessageType.PROOF
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HH")

    scheme: int
    """That of the challenge."""
    proof: bytes = b""
    """As the scheme says."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.scheme) + self.proof

    @classmethod
    def decode(cls, payload: Buffer) -> Proof:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        size, values = _fixed(cls.FIXED, payload)
        return cls(values[0], bytes(memoryview(payload)[size:]))


@dataclass(frozen=True, slots=True)
class FrameStart:
    """A frame begins: its geometry, and the settings that were applied."""

    TYPE: ClassVar[MessageType] = MessageType.FRAME_START
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HHIHHBBBBIII4IQQIii")

    mode: int
    """A mode of the manifest."""
    request: int
    """Id of the CAPTURE or STREAM request."""
    width: int
    """Pixels a row."""
    height: int
    """Rows."""
    cfa: int
    """Colour filter array phase."""
    orientation: int
    """EXIF orientation, 1 to 8."""
    bits: int
    """Bits a pixel, 8 to 16."""
    pixel_format: int
    """PFNC code."""
    stride: int
    """Bytes a row, whole."""
    white: int
    """White level, DN."""
    black_milli: tuple[int, int, int, int]
    """Black level of the 2 x 2 pixels, 1/1000 DN."""
    timestamp_us: int
    """Module's clock at the start of readout, us."""
    exposure_us: int
    """Exposure time applied, us."""
    gain_milli: int
    """Gain applied, 1/1000."""
    focus_mdpt: int
    """Focus applied, milli-dioptres."""
    temperature_mc: int
    """Sensor temperature, 1/1000 degree C."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.mode, self.request, self.width, self.height, self.cfa, self.orientation, self.bits, 0, self.pixel_format, self.stride, self.white, *self.black_milli, self.timestamp_us, self.exposure_us, self.gain_milli, self.focus_mdpt, self.temperature_mc)

    @classmethod
    def decode(cls, payload: Buffer) -> FrameStart:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[8], values[9], values[10], (values[11], values[12], values[13], values[14]), values[15], values[16], values[17], values[18], values[19])


@dataclass(frozen=True, slots=True)
class FrameEnd:
    """A frame has been sent."""

    TYPE: ClassVar[MessageType] = MessageType.FRAME_END
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBII4I")

    status: int
    """How the readout ended."""
    lanes: int
    """Lanes in use."""
    tiles: int
    """Tiles sent, resent ones not counted."""
    readout_us: int
    """From start of readout to last row, us."""
    last_sequence: tuple[int, int, int, int]
    """Of each lane, this packet not counted."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.status, self.lanes, self.tiles, self.readout_us, *self.last_sequence)

    @classmethod
    def decode(cls, payload: Buffer) -> FrameEnd:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[3], (values[4], values[5], values[6], values[7]))


@dataclass(frozen=True, slots=True)
class Log:
    """A line of the module's log."""

    TYPE: ClassVar[MessageType] = MessageType.LOG
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBQ")

    level: int
    """Log level."""
    timestamp_us: int
    """Module's clock, us."""
    text: bytes = b""
    """UTF-8."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.level, 0, self.timestamp_us) + self.text

    @classmethod
    def decode(cls, payload: Buffer) -> Log:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        size, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[2], bytes(memoryview(payload)[size:]))


@dataclass(frozen=True, slots=True)
class SensorEntry:
    """Manifest entry: the sensor."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<HHBBBBI4I")

    width: int
    """Columns."""
    height: int
    """Rows."""
    bits: int
    """Bits a pixel."""
    cfa: int
    """Colour filter array phase."""
    orientation: int
    """EXIF orientation."""
    white: int
    """White level, DN."""
    black_milli: tuple[int, int, int, int]
    """Black level of the 2 x 2 pixels, 1/1000 DN."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.width, self.height, self.bits, self.cfa, self.orientation, 0, self.white, *self.black_milli)

    @classmethod
    def decode(cls, payload: Buffer) -> SensorEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[3], values[4], values[6], (values[7], values[8], values[9], values[10]))


@dataclass(frozen=True, slots=True)
class ColorEntry:
    """Manifest entry: its colours, as DNG states them."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<HH18i6I")

    illuminant: int
    """EXIF LightSource of the matrix."""
    matrix: tuple[int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int]
    """ColorMatrix1, numerators and denominators."""
    neutral: tuple[int, int, int, int, int, int]
    """AsShotNeutral, numerators and denominators."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.illuminant, 0, *self.matrix, *self.neutral)

    @classmethod
    def decode(cls, payload: Buffer) -> ColorEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], (values[2], values[3], values[4], values[5], values[6], values[7], values[8], values[9], values[10], values[11], values[12], values[13], values[14], values[15], values[16], values[17], values[18], values[19]), (values[20], values[21], values[22], values[23], values[24], values[25]))


@dataclass(frozen=True, slots=True)
class ModeEntry:
    """Manifest entry: a readout mode, one entry each."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<HHHBB4H16s")

    id: int
    """Number that CONFIGURE names."""
    width: int
    """Pixels a row."""
    height: int
    """Rows."""
    binning: int
    """1, or 2 for 2 x 2 pixels of one colour."""
    use: int
    """What it is meant for."""
    active_area: tuple[int, int, int, int]
    """Top, left, bottom, right."""
    name: bytes
    """ASCII, padded with 0."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.id, self.width, self.height, self.binning, self.use, *self.active_area, self.name)

    @classmethod
    def decode(cls, payload: Buffer) -> ModeEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[3], values[4], (values[5], values[6], values[7], values[8]), values[9])


@dataclass(frozen=True, slots=True)
class FormatEntry:
    """Manifest entry: a pixel format that CONFIGURE may name, one entry each; the module's choice first."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<I")

    pixel_format: int
    """PFNC code."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.pixel_format)

    @classmethod
    def decode(cls, payload: Buffer) -> FormatEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0])


@dataclass(frozen=True, slots=True)
class OpticsEntry:
    """Manifest entry: the lens."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<IIII")

    focal_um: int
    """Focal length, um."""
    focal_35mm_um: int
    """35 mm equivalent, um."""
    aperture_milli: int
    """Widest f-number, 1/1000."""
    focus_max_mdpt: int
    """Closest focus, milli-dioptres."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.focal_um, self.focal_35mm_um, self.aperture_milli, self.focus_max_mdpt)

    @classmethod
    def decode(cls, payload: Buffer) -> OpticsEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[3])


@dataclass(frozen=True, slots=True)
class PowerEntry:
    """Manifest entry: what it may draw."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<II")

    idle_mw: int
    """MW while nothing is read out."""
    active_mw: int
    """MW while streaming."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.idle_mw, self.active_mw)

    @classmethod
    def decode(cls, payload: Buffer) -> PowerEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1])


@dataclass(frozen=True, slots=True)
class ScaleEntry:
    """Manifest entry: for a stand-in: how much smaller it is than the product."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<II")

    pixels_milli: int
    """Its largest frame over the product's, 1/1000."""
    rate_milli: int
    """Its link rate over the product's, 1/1000; 0 = unknown."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.pixels_milli, self.rate_milli)

    @classmethod
    def decode(cls, payload: Buffer) -> ScaleEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1])


AnyMessage = (
    Hello | HelloReply | GetManifest | ManifestPiece | Configure | Configured | Capture | StartStream | Stop | Flush | Accepted | Flushed | Error | Close | Heartbeat | HeartbeatReply | Pending | Busy | Notice | Resend | Resent | Query | QueryReply | Test | Challenge | Proof | FrameStart | FrameEnd | Log
)


BY_TYPE: dict[int, type[AnyMessage]] = {
    MessageType.HELLO: Hello,
    MessageType.HELLO_REPLY: HelloReply,
    MessageType.GET_MANIFEST: GetManifest,
    MessageType.MANIFEST: ManifestPiece,
    MessageType.CONFIGURE: Configure,
    MessageType.CONFIGURED: Configured,
    MessageType.CAPTURE: Capture,
    MessageType.STREAM: StartStream,
    MessageType.STOP: Stop,
    MessageType.FLUSH: Flush,
    MessageType.ACCEPTED: Accepted,
    MessageType.FLUSHED: Flushed,
    MessageType.ERROR: Error,
    MessageType.CLOSE: Close,
    MessageType.HEARTBEAT: Heartbeat,
    MessageType.HEARTBEAT_REPLY: HeartbeatReply,
    MessageType.PENDING: Pending,
    MessageType.BUSY: Busy,
    MessageType.NOTICE: Notice,
    MessageType.RESEND: Resend,
    MessageType.RESENT: Resent,
    MessageType.QUERY: Query,
    MessageType.QUERY_REPLY: QueryReply,
    MessageType.TEST: Test,
    MessageType.CHALLENGE: Challenge,
    MessageType.PROOF: Proof,
    MessageType.FRAME_START: FrameStart,
    MessageType.FRAME_END: FrameEnd,
    MessageType.LOG: Log,
}


ENTRY_BY_KEY: dict[int, type[Any]] = {
    ManifestKey.SENSOR: SensorEntry,
    ManifestKey.COLOR: ColorEntry,
    ManifestKey.MODE: ModeEntry,
    ManifestKey.FORMAT: FormatEntry,
    ManifestKey.OPTICS: OpticsEntry,
    ManifestKey.POWER: PowerEntry,
    ManifestKey.SCALE: ScaleEntry,
}


TEXT_BY_KEY: dict[int, str] = {
    ManifestKey.MAKER: "maker",
    ManifestKey.MODEL: "model",
    ManifestKey.SERIAL: "serial",
    ManifestKey.FIRMWARE: "firmware",
    ManifestKey.BOARD: "board",
}
