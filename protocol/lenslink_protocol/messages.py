"""The messages as frozen dataclasses, and the header. Generated from lenslink_protocol/structs.py by `make gen`; do not edit."""


from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from .ids import ManifestKey, MessageType


Buffer = bytes | bytearray | memoryview


MAGIC = b'\x8aLLK'
HEADER = struct.Struct("<4sBBBBIIIHHHHIII")
SETTING = struct.Struct("<HHi")
"""An entry of a settings list: control, frame and value."""


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
    """Opens a session under the nonce in the header."""

    TYPE: ClassVar[MessageType] = MessageType.HELLO
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBBBII")

    version_min: int
    """Oldest version that the host speaks, coded as in the header."""
    version_max: int
    """Newest version that the host speaks, coded as in the header."""
    lanes: int
    """Lanes that the host offers, 1 to MAX_LANES."""
    capabilities: int
    """Capabilities that the host offers."""
    max_payload: int
    """Longest payload of a tile that the host accepts, B."""

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
    """States the version, lanes and capabilities of the session."""

    TYPE: ClassVar[MessageType] = MessageType.HELLO_REPLY
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBBBIIIIQ")

    version: int
    """Version of the session."""
    lanes: int
    """Lanes of the session."""
    reset_reason: int
    """Reason of the module's last start."""
    capabilities: int
    """Capabilities that both sides have."""
    max_payload: int
    """Longest payload that the module accepts, B."""
    manifest_bytes: int
    """Length of the manifest, B."""
    boot_count: int
    """Number of starts of the module so far."""
    uptime_us: int
    """Clock of the module, us since its start."""

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
    """Offset of the first byte that the host wants."""

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
    """Carries a piece of the manifest."""

    TYPE: ClassVar[MessageType] = MessageType.MANIFEST
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HII")

    offset: int
    """Offset of the piece in the manifest."""
    total: int
    """Length of the whole manifest, B."""
    piece: bytes = b""
    """Bytes of the manifest from that offset."""

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
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBHIIHHHH")

    stream: int
    """Number of the stream: 0 preview, 1 still, 2 ROI."""
    flags: int
    """Configure flags: TEST_ONLY."""
    mode: int
    """Id of a mode of the manifest."""
    pixel_format: int
    """Code of the pixel format; 0 lets the module choose."""
    tile_bytes: int
    """Longest payload of a tile, B; 0 lets the module choose."""
    x: int = 0
    """First column of the crop in the mode."""
    y: int = 0
    """First row of the crop in the mode."""
    width: int = 0
    """Columns of the crop; 0 = the whole mode."""
    height: int = 0
    """Rows of the crop; 0 = the whole mode."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.stream, self.flags, self.mode, self.pixel_format, self.tile_bytes, self.x, self.y, self.width, self.height)

    @classmethod
    def decode(cls, payload: Buffer) -> Configure:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7], values[8])


@dataclass(frozen=True, slots=True)
class Configured:
    """States the configuration of a stream."""

    TYPE: ClassVar[MessageType] = MessageType.CONFIGURED
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBHIHHIIIHH")

    stream: int
    """Number of the stream, as in the request."""
    flags: int
    """Configure flags: TEST_ONLY, ADJUSTED."""
    mode: int
    """Id of the mode."""
    pixel_format: int
    """Code of the pixel format."""
    width: int
    """Pixels in a row."""
    height: int
    """Rows."""
    stride: int
    """Bytes in a row."""
    frame_bytes: int
    """Bytes of a frame: stride times height."""
    tile_bytes: int
    """Longest payload of a tile, B."""
    x: int = 0
    """First column of the crop in the mode."""
    y: int = 0
    """First row of the crop in the mode."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.stream, self.flags, self.mode, self.pixel_format, self.width, self.height, self.stride, self.frame_bytes, self.tile_bytes, self.x, self.y)

    @classmethod
    def decode(cls, payload: Buffer) -> Configured:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7], values[8], values[9], values[10])


@dataclass(frozen=True, slots=True)
class Capture:
    """Starts a stream that ends after a number of frames."""

    TYPE: ClassVar[MessageType] = MessageType.CAPTURE
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBH")

    stream: int
    """Number of a configured stream."""
    count: int
    """Number of frames, 1 or more."""
    settings: bytes = b""
    """Settings list: entries of control u16, frame u16, value i32."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.stream, 0, self.count) + self.settings

    @classmethod
    def decode(cls, payload: Buffer) -> Capture:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        size, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[2], bytes(memoryview(payload)[size:]))


@dataclass(frozen=True, slots=True)
class StartStream:
    """Starts a stream that ends with Stop."""

    TYPE: ClassVar[MessageType] = MessageType.STREAM
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBHI")

    stream: int
    """Number of a configured stream."""
    interval_us: int
    """Least time between two frame starts, us; 0 = no limit."""
    settings: bytes = b""
    """Settings list: entries of control u16, frame u16, value i32."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.stream, 0, 0, self.interval_us) + self.settings

    @classmethod
    def decode(cls, payload: Buffer) -> StartStream:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        size, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[3], bytes(memoryview(payload)[size:]))


@dataclass(frozen=True, slots=True)
class Stop:
    """Ends a stream."""

    TYPE: ClassVar[MessageType] = MessageType.STOP
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HB")

    stream: int
    """Number of the stream."""

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
    """Ends every stream; the answer comes after the last packet of every frame."""

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
    """Answers Capture, StartStream, SetSettings, Stop, SetBudget and Test."""

    TYPE: ClassVar[MessageType] = MessageType.ACCEPTED
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBI")

    stream: int
    """Number of the stream, as in the request; 0 of SetBudget and Test."""
    first_frame: int
    """Number of the next frame of any stream; of SetSettings, see section 5.2."""

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
    """Answers Flush: nothing of an earlier request follows."""

    TYPE: ClassVar[MessageType] = MessageType.FLUSHED
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBI4I")

    lanes: int
    """Lanes of the session."""
    last_request: int
    """Id of the newest request before the Flush."""
    last_sequence: tuple[int, int, int, int]
    """Sequence of the last packet before this one, by lane; 2^32 - 1 = no packet."""

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
    """Refuses a request."""

    TYPE: ClassVar[MessageType] = MessageType.ERROR
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HH")

    code: int
    """Error code."""
    detail: bytes = b""
    """UTF-8 text for people."""

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
    """Ends the session; there is no answer."""

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
    """Shows that the host is alive, and states its credit limits."""

    TYPE: ClassVar[MessageType] = MessageType.HEARTBEAT
    FIXED: ClassVar[struct.Struct] = struct.Struct("<H3QQ")

    limit: tuple[int, int, int]
    """Bytes of tiles that the module may send in this session, by stream."""
    time_us: int
    """Clock of the host when this was sent, us."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, *self.limit, self.time_us)

    @classmethod
    def decode(cls, payload: Buffer) -> Heartbeat:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls((values[0], values[1], values[2]), values[3])


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """Shows that the module is alive, and what it has sent."""

    TYPE: ClassVar[MessageType] = MessageType.HEARTBEAT_REPLY
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HQ3Q3IQQ")

    uptime_us: int
    """Clock of the module when this is sent, us since its start."""
    sent: tuple[int, int, int]
    """Bytes of tiles sent in this session, by stream."""
    begun: tuple[int, int, int]
    """Newest frame begun, plus 1, by stream; 0 = no frame."""
    host_us: int
    """`time_us` of the Heartbeat that this reply answers."""
    received_us: int
    """Clock of the module when that Heartbeat was received, us."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.uptime_us, *self.sent, *self.begun, self.host_us, self.received_us)

    @classmethod
    def decode(cls, payload: Buffer) -> HeartbeatReply:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], (values[1], values[2], values[3]), (values[4], values[5], values[6]), values[7], values[8])


@dataclass(frozen=True, slots=True)
class Pending:
    """Says that the answer to a request will come later."""

    TYPE: ClassVar[MessageType] = MessageType.PENDING
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HH")

    lease_ms: int
    """Time until the host may repeat the request, ms."""

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
    """Says that the module will be silent."""

    TYPE: ClassVar[MessageType] = MessageType.BUSY
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBH")

    reason: int
    """Busy reason."""
    lease_ms: int
    """Longest duration of the silence, ms."""

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
    """Warns the host of an event."""

    TYPE: ClassVar[MessageType] = MessageType.NOTICE
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBH")

    reason: int
    """Notice reason."""
    within_ms: int
    """Longest time until the event, ms; 0 = unknown."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.reason, 0, self.within_ms)

    @classmethod
    def decode(cls, payload: Buffer) -> Notice:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[2])


@dataclass(frozen=True, slots=True)
class Event:
    """Reports a change of the module's state."""

    TYPE: ClassVar[MessageType] = MessageType.EVENT
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBiQII")

    kind: int
    """Event kind."""
    value: int
    """See event kind."""
    time_us: int
    """Module's clock when the state was so."""
    counter: int
    """Cumulative since the module's start, low 32 bits."""
    counter_high: int
    """Its high 32 bits."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.kind, 0, self.value, self.time_us, self.counter, self.counter_high)

    @classmethod
    def decode(cls, payload: Buffer) -> Event:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[2], values[3], values[4], values[5])


@dataclass(frozen=True, slots=True)
class Resend:
    """Asks for parts of a frame again."""

    TYPE: ClassVar[MessageType] = MessageType.RESEND
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBH")

    flags: int
    """Resend flags: START, END."""
    count: int
    """Number of rectangles that follow."""
    ranges: bytes = b""
    """Rectangles: x, y, width, height, u16 each, in pixels."""

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
    """Answers Resend, after the tiles that it sends again."""

    TYPE: ClassVar[MessageType] = MessageType.RESENT
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBH")

    flags: int
    """Resend flags: packets that are sent again."""
    state: int
    """State of the frame."""
    count: int
    """Number of rectangles that follow."""
    gone: bytes = b""
    """Rectangles that are no longer held, laid out as in Resend."""

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
    """Asks for the outcome of a request of this session or of an earlier one."""

    TYPE: ClassVar[MessageType] = MessageType.QUERY
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HII")

    session: int
    """Nonce of the session of the request."""
    request: int
    """Id of the request."""

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
    """States the outcome of a request."""

    TYPE: ClassVar[MessageType] = MessageType.QUERY_REPLY
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HB")

    outcome: int
    """Outcome of the request."""

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
    """Makes the module take a test action."""

    TYPE: ClassVar[MessageType] = MessageType.TEST
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBH")

    action: int
    """Test action."""
    damage: int
    """CRC that is made wrong, for REJECT; else 0."""
    ms: int
    """Duration, ms, at most MAX_BUSY_MS; 0 for REJECT."""

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
    """Asks the module to prove that it is genuine."""

    TYPE: ClassVar[MessageType] = MessageType.CHALLENGE
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HH")

    scheme: int
    """Authentication scheme."""
    challenge: bytes = b""
    """Challenge, as the scheme defines it."""

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
    """Answers Challenge."""

    TYPE: ClassVar[MessageType] = MessageType.PROOF
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HH")

    scheme: int
    """Authentication scheme, as in the challenge."""
    proof: bytes = b""
    """Proof, as the scheme defines it."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.scheme) + self.proof

    @classmethod
    def decode(cls, payload: Buffer) -> Proof:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        size, values = _fixed(cls.FIXED, payload)
        return cls(values[0], bytes(memoryview(payload)[size:]))


@dataclass(frozen=True, slots=True)
class SetSettings:
    """Changes the settings of a configured or running stream."""

    TYPE: ClassVar[MessageType] = MessageType.SET_SETTINGS
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBB")

    stream: int
    """Number of a configured stream, or of one that StartStream began."""
    settings: bytes = b""
    """Settings list: entries of control u16, frame u16, value i32."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.stream, 0) + self.settings

    @classmethod
    def decode(cls, payload: Buffer) -> SetSettings:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        size, values = _fixed(cls.FIXED, payload)
        return cls(values[0], bytes(memoryview(payload)[size:]))


@dataclass(frozen=True, slots=True)
class SetBudget:
    """Grants the power that the module may draw."""

    TYPE: ClassVar[MessageType] = MessageType.SET_BUDGET
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HHI")

    budget_mw: int
    """Most power that the module may draw in this session, mW."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, 0, self.budget_mw)

    @classmethod
    def decode(cls, payload: Buffer) -> SetBudget:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[1])


@dataclass(frozen=True, slots=True)
class GetCalibration:
    """Asks for a piece of a calibration."""

    TYPE: ClassVar[MessageType] = MessageType.GET_CALIBRATION
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HHI")

    kind: int
    """Kind of the calibration."""
    offset: int
    """Offset of the first byte that the host wants."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.kind, self.offset)

    @classmethod
    def decode(cls, payload: Buffer) -> GetCalibration:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1])


@dataclass(frozen=True, slots=True)
class CalibrationPiece:
    """Carries a piece of a calibration."""

    TYPE: ClassVar[MessageType] = MessageType.CALIBRATION
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HHII")

    kind: int
    """Kind of the calibration, as in the request."""
    offset: int
    """Offset of the piece in the calibration."""
    total: int
    """Length of the whole calibration, B."""
    piece: bytes = b""
    """Bytes of the calibration from that offset."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.kind, self.offset, self.total) + self.piece

    @classmethod
    def decode(cls, payload: Buffer) -> CalibrationPiece:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        size, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], bytes(memoryview(payload)[size:]))


@dataclass(frozen=True, slots=True)
class FrameStart:
    """Begins a frame: its geometry and the settings that were applied."""

    TYPE: ClassVar[MessageType] = MessageType.FRAME_START
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HHIQHHBBBBIIIHH4IIIiIIIIIiiHH")

    mode: int
    """Id of a mode of the manifest."""
    request: int
    """Id of the Capture or StartStream request."""
    timestamp_us: int
    """Clock of the module at the start of readout, us."""
    width: int
    """Pixels in a row."""
    height: int
    """Rows."""
    cfa: int
    """Colour filter array phase."""
    orientation: int
    """EXIF orientation, 1 to 8."""
    bits: int
    """Bits of a pixel's value, 8 to 16."""
    pixel_format: int
    """Code of the pixel format."""
    stride: int
    """Bytes in a row."""
    white: int
    """White level, DN."""
    flags: int
    """Frame flags: ADJUSTED, MOVING."""
    black_milli: tuple[int, int, int, int]
    """Black levels of the first 2 x 2 pixels, 1/1000 DN."""
    exposure_us: int
    """Exposure time applied, us."""
    gain_milli: int
    """Gain applied, 1/1000."""
    focus_mdpt: int
    """Lens position at mid-exposure, milli-dioptres."""
    aperture_milli: int
    """F-number applied, 1/1000; 0 = the module has no iris."""
    interval_us: int
    """Time since the readout of the last frame of the stream started, us; 0 = first frame of the request."""
    row_time_ns: int
    """Time from row to row of the readout, ns; 0 = unknown."""
    noise_slope: int
    """S of DNG's NoiseProfile, 1e-9; 0 = unknown."""
    noise_offset: int
    """O of DNG's NoiseProfile, 1e-9."""
    focus_ring: int
    """Position of the focus ring, ticks since the start; wraps."""
    temperature_mc: int
    """Sensor temperature, 1/1000 degree C."""
    crop_x: int = 0
    """First column of the frame in the mode."""
    crop_y: int = 0
    """First row of the frame in the mode."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.mode, self.request, self.timestamp_us, self.width, self.height, self.cfa, self.orientation, self.bits, 0, self.pixel_format, self.stride, self.white, self.flags, 0, *self.black_milli, self.exposure_us, self.gain_milli, self.focus_mdpt, self.aperture_milli, self.interval_us, self.row_time_ns, self.noise_slope, self.noise_offset, self.focus_ring, self.temperature_mc, self.crop_x, self.crop_y)

    @classmethod
    def decode(cls, payload: Buffer) -> FrameStart:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7], values[9], values[10], values[11], values[12], (values[14], values[15], values[16], values[17]), values[18], values[19], values[20], values[21], values[22], values[23], values[24], values[25], values[26], values[27], values[28], values[29])


@dataclass(frozen=True, slots=True)
class FrameEnd:
    """Ends a frame."""

    TYPE: ClassVar[MessageType] = MessageType.FRAME_END
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBII4II")

    status: int
    """End status."""
    lanes: int
    """Lanes of the session."""
    tiles: int
    """Number of tiles sent, without those sent again."""
    readout_us: int
    """Time from the start of readout to the last row, us."""
    last_sequence: tuple[int, int, int, int]
    """Sequence of the last packet before this one, by lane; 2^32 - 1 = no packet."""
    energy_uj: int
    """Energy of the frame, uJ; 0 = unknown."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.FIXED.size, self.status, self.lanes, self.tiles, self.readout_us, *self.last_sequence, self.energy_uj)

    @classmethod
    def decode(cls, payload: Buffer) -> FrameEnd:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        _, values = _fixed(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[3], (values[4], values[5], values[6], values[7]), values[8])


@dataclass(frozen=True, slots=True)
class Log:
    """Carries a line of the module's log."""

    TYPE: ClassVar[MessageType] = MessageType.LOG
    FIXED: ClassVar[struct.Struct] = struct.Struct("<HBBQ")

    level: int
    """Log level."""
    timestamp_us: int
    """Clock of the module, us since its start."""
    text: bytes = b""
    """UTF-8 text of the line."""

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
    """Manifest entry: properties of the sensor."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<HHBBBBI4I")

    width: int
    """Columns of the sensor."""
    height: int
    """Rows of the sensor."""
    bits: int
    """Bits of a pixel's value, 8 to 16."""
    cfa: int
    """Colour filter array phase."""
    orientation: int
    """EXIF orientation, 1 to 8."""
    white: int
    """White level, DN."""
    black_milli: tuple[int, int, int, int]
    """Black levels of the first 2 x 2 pixels, 1/1000 DN."""

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
    """Manifest entry: colours of the sensor under an illuminant, as DNG states them."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<HH18i6I")

    illuminant: int
    """EXIF LightSource of the matrix."""
    matrix: tuple[int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int]
    """ColorMatrix: 9 x numerator, denominator; row by row."""
    neutral: tuple[int, int, int, int, int, int]
    """AsShotNeutral: 3 x numerator, denominator."""

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
    """Manifest entry: a readout mode; one entry for each mode."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<HHHBB4H16sI")

    id: int
    """Id that Configure names."""
    width: int
    """Pixels in a row."""
    height: int
    """Rows."""
    binning: int
    """1, or 2 if 2 x 2 pixels of one colour are combined."""
    use: int
    """Bits of the mode's uses."""
    active_area: tuple[int, int, int, int]
    """Top, left, bottom (exclusive), right (exclusive)."""
    name: bytes
    """Name in ASCII, padded with zero bytes."""
    active_mw: int
    """Most power during a frame, without motor, mW; 0 = unknown."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.id, self.width, self.height, self.binning, self.use, *self.active_area, self.name, self.active_mw)

    @classmethod
    def decode(cls, payload: Buffer) -> ModeEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[3], values[4], (values[5], values[6], values[7], values[8]), values[9], values[10])


@dataclass(frozen=True, slots=True)
class FormatEntry:
    """Manifest entry: a pixel format that Configure may name; the module's own choice comes first."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<I")

    pixel_format: int
    """Code of the pixel format."""

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
    """Manifest entry: properties of the lens."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<IIII")

    focal_um: int
    """Focal length, um."""
    focal_35mm_um: int
    """Focal length as the equivalent of 35 mm film, um."""
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
class ControlEntry:
    """Manifest entry: a control that the module has; one entry for each control."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<HHiiii")

    control: int
    """Id of the control."""
    flags: int
    """Control flags: PER_FRAME."""
    minimum: int
    """Least value."""
    maximum: int
    """Largest value."""
    step: int
    """Distance of two values that differ, 1 or more."""
    initial: int
    """Value of a stream until the host sets another."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.control, self.flags, self.minimum, self.maximum, self.step, self.initial)

    @classmethod
    def decode(cls, payload: Buffer) -> ControlEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[3], values[4], values[5])


@dataclass(frozen=True, slots=True)
class PowerEntry:
    """Manifest entry: power that the module draws besides that of its modes."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<II")

    idle_mw: int
    """Most power while no frame is exposed or read out, mW."""
    motor_mw: int
    """Most power of lens and iris, besides, while they move, mW."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.idle_mw, self.motor_mw)

    @classmethod
    def decode(cls, payload: Buffer) -> PowerEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1])


@dataclass(frozen=True, slots=True)
class ScaleEntry:
    """Manifest entry: scale of a stand-in against the product."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<II")

    pixels_milli: int
    """Pixels of the largest frame, relative to the product, 1/1000."""
    rate_milli: int
    """Link rate relative to the product, 1/1000; 0 = unknown."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.pixels_milli, self.rate_milli)

    @classmethod
    def decode(cls, payload: Buffer) -> ScaleEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1])


@dataclass(frozen=True, slots=True)
class AuthEntry:
    """Manifest entry: an authentication scheme of the module; one entry for each scheme."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<H")

    scheme: int
    """Number of the scheme."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.scheme)

    @classmethod
    def decode(cls, payload: Buffer) -> AuthEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0])


@dataclass(frozen=True, slots=True)
class DelayEntry:
    """Manifest entry: delays of the module."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<H")

    settings_delay: int
    """Most frames whose readout begins after SetSettings was done, without its settings."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.settings_delay)

    @classmethod
    def decode(cls, payload: Buffer) -> DelayEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0])


@dataclass(frozen=True, slots=True)
class FocusEntry:
    """Manifest entry: a point of the focus motor's calibration; one entry for each point."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<Ii")

    steps: int
    """Position of the motor, steps from infinity."""
    focus_mdpt: int
    """Distance that the lens is focused on, milli-dioptres."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.steps, self.focus_mdpt)

    @classmethod
    def decode(cls, payload: Buffer) -> FocusEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1])


@dataclass(frozen=True, slots=True)
class CalibrationEntry:
    """Manifest entry: a calibration that GetCalibration reads; one entry for each."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<HII")

    kind: int
    """Kind of the calibration."""
    total: int
    """Length of the calibration, B."""
    crc32: int
    """CRC-32/ISO-HDLC of the calibration."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.kind, self.total, self.crc32)

    @classmethod
    def decode(cls, payload: Buffer) -> CalibrationEntry:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1], values[2])


@dataclass(frozen=True, slots=True)
class NoiseHead:
    """Calibration: begins the calibration NOISE; `points` entries NoisePoint follow."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<HH")

    points: int
    """Number of gains."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.points, 0)

    @classmethod
    def decode(cls, payload: Buffer) -> NoiseHead:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0])


@dataclass(frozen=True, slots=True)
class NoisePoint:
    """Calibration: the noise at a gain."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<III")

    gain_milli: int
    """Gain, 1/1000."""
    slope: int
    """S of DNG's NoiseProfile, 1e-9."""
    offset: int
    """O of DNG's NoiseProfile, 1e-12."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.gain_milli, self.slope, self.offset)

    @classmethod
    def decode(cls, payload: Buffer) -> NoisePoint:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1], values[2])


@dataclass(frozen=True, slots=True)
class GainMapHead:
    """Calibration: begins the calibration GAIN_MAP; apertures, focuses and gains follow."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<BBHHH")

    apertures: int
    """Number of f-numbers."""
    focuses: int
    """Number of distances."""
    rows: int
    """Points of a map from top to bottom."""
    columns: int
    """Points of a map from left to right."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.apertures, self.focuses, self.rows, self.columns, 0)

    @classmethod
    def decode(cls, payload: Buffer) -> GainMapHead:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1], values[2], values[3])


@dataclass(frozen=True, slots=True)
class DistortionTable:
    """Calibration: the calibration DISTORTION."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<2I4i2i")

    center: tuple[int, int]
    """X and y of the optical axis, 1e-6 of width and height."""
    radial: tuple[int, int, int, int]
    """Kr0 to kr3, 1e-9."""
    tangential: tuple[int, int]
    """Kt0 and kt1, 1e-9."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(*self.center, *self.radial, *self.tangential)

    @classmethod
    def decode(cls, payload: Buffer) -> DistortionTable:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls((values[0], values[1]), (values[2], values[3], values[4], values[5]), (values[6], values[7]))


@dataclass(frozen=True, slots=True)
class BlurHead:
    """Calibration: begins the calibration BLUR; `points` entries BlurPoint follow."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<HH")

    points: int
    """Number of distances."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.points, 0)

    @classmethod
    def decode(cls, payload: Buffer) -> BlurHead:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0])


@dataclass(frozen=True, slots=True)
class BlurPoint:
    """Calibration: the blur at a distance that the lens is focused on."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<iI")

    focus_mdpt: int
    """Distance that the lens is focused on, milli-dioptres."""
    blur_milli: int
    """Diameter of the blur at f/1, one dioptre out of focus, 1/1000 pixel of the sensor."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.focus_mdpt, self.blur_milli)

    @classmethod
    def decode(cls, payload: Buffer) -> BlurPoint:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1])


@dataclass(frozen=True, slots=True)
class DefectsHead:
    """Calibration: begins the calibration DEFECTS; `pixels` entries DefectPixel follow."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<I")

    pixels: int
    """Number of pixels."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.pixels)

    @classmethod
    def decode(cls, payload: Buffer) -> DefectsHead:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0])


@dataclass(frozen=True, slots=True)
class DefectPixel:
    """Calibration: a pixel that is not to be used."""

    FIXED: ClassVar[struct.Struct] = struct.Struct("<HHH")

    mode: int
    """Id of a mode of the manifest."""
    x: int
    """Column in that mode."""
    y: int
    """Row in that mode."""

    def encode(self) -> bytes:
        """The payload on the wire."""
        return self.FIXED.pack(self.mode, self.x, self.y)

    @classmethod
    def decode(cls, payload: Buffer) -> DefectPixel:
        """:exc:`Malformed` if the payload is shorter than the fixed part."""
        values = _prefix(cls.FIXED, payload)
        return cls(values[0], values[1], values[2])


AnyMessage = (
    Hello | HelloReply | GetManifest | ManifestPiece | Configure | Configured | Capture | StartStream | Stop | Flush | Accepted | Flushed | Error | Close | Heartbeat | HeartbeatReply | Pending | Busy | Notice | Event | Resend | Resent | Query | QueryReply | Test | Challenge | Proof | SetSettings | SetBudget | GetCalibration | CalibrationPiece | FrameStart | FrameEnd | Log
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
    MessageType.EVENT: Event,
    MessageType.RESEND: Resend,
    MessageType.RESENT: Resent,
    MessageType.QUERY: Query,
    MessageType.QUERY_REPLY: QueryReply,
    MessageType.TEST: Test,
    MessageType.CHALLENGE: Challenge,
    MessageType.PROOF: Proof,
    MessageType.SET_SETTINGS: SetSettings,
    MessageType.SET_BUDGET: SetBudget,
    MessageType.GET_CALIBRATION: GetCalibration,
    MessageType.CALIBRATION: CalibrationPiece,
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
    ManifestKey.CONTROL: ControlEntry,
    ManifestKey.POWER: PowerEntry,
    ManifestKey.SCALE: ScaleEntry,
    ManifestKey.AUTH: AuthEntry,
    ManifestKey.DELAY: DelayEntry,
    ManifestKey.FOCUS: FocusEntry,
    ManifestKey.CALIBRATION: CalibrationEntry,
}


TEXT_BY_KEY: dict[int, str] = {
    ManifestKey.MAKER: "maker",
    ManifestKey.MODEL: "model",
    ManifestKey.SERIAL: "serial",
    ManifestKey.FIRMWARE: "firmware",
    ManifestKey.BOARD: "board",
}
