"""A small module written from SPEC.md alone, on virtual time: what broken modules derive from.

The kit is proven on two modules that share no code: the firmware's (``virtual_module``) and this
one. Each rule of SPEC.md is one method here, so that a subclass breaks one rule by overriding one
method. ``broken_modules`` has those subclasses, ``selftest`` runs every case against them.

A stream's state is one of :class:`State`:

============  =================================  ============
state         event                              next state
============  =================================  ============
UNCONFIGURED  Configure                          CONFIGURED
CONFIGURED    Configure                          CONFIGURED
CONFIGURED    Capture, StartStream               STREAMING
CONFIGURED    SetSettings                        CONFIGURED
STREAMING     SetSettings, after StartStream     STREAMING
STREAMING     last frame of a Capture            CONFIGURED
STREAMING     Stop, Flush                        CONFIGURED
any           end of the session                 UNCONFIGURED
============  =================================  ============
"""

from __future__ import annotations

import enum
import itertools
import struct
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lenslink.receive.unpacking import pack
from lenslink_protocol.calibration import Noise, encode_calibration
from lenslink_protocol.controls import Setting, read_settings
from lenslink_protocol.crc import crc32
from lenslink_protocol.framing import VERSION, encode_packet
from lenslink_protocol.hmac_proof import make_proof
from lenslink_protocol.ids import (
    VENDOR_FIRST,
    AuthScheme,
    CalibrationKind,
    Capability,
    Cfa,
    CloseReason,
    ConfigureFlag,
    ContactState,
    ControlId,
    EndStatus,
    ErrorCode,
    EventKind,
    FrameFlag,
    FrameState,
    ManifestKey,
    MessageType,
    Outcome,
    ResendFlag,
)
from lenslink_protocol.manifest import encode_entry
from lenslink_protocol.messages import (
    BY_TYPE,
    HEADER,
    MAGIC,
    Accepted,
    AnyMessage,
    AuthEntry,
    CalibrationEntry,
    CalibrationPiece,
    Capture,
    Challenge,
    Close,
    ColorEntry,
    Configure,
    Configured,
    ControlEntry,
    DelayEntry,
    Error,
    Event,
    Flush,
    Flushed,
    FormatEntry,
    FrameEnd,
    FrameStart,
    GetCalibration,
    GetManifest,
    Header,
    Heartbeat,
    HeartbeatReply,
    Hello,
    HelloReply,
    Log,
    Malformed,
    ManifestPiece,
    ModeEntry,
    PowerEntry,
    Proof,
    Query,
    QueryReply,
    Resend,
    Resent,
    SensorEntry,
    SetBudget,
    SetSettings,
    StartStream,
    Stop,
)
from lenslink_protocol.packings import (
    Layout,
    Packing,
    find_layout,
    find_pixel_format,
    list_packings,
)
from lenslink_protocol.params import (
    AUTH_BYTES,
    EVERY_FRAME,
    HEADER_BYTES,
    MAX_CONTROL,
    MAX_RANGES,
    MAX_STREAMS,
    STALL_MS,
    VERSION_MAJOR,
)
from lenslink_protocol.rice import encode_tile

from .packets import MASK_32
from .virtual_module import KEY

WIDTH, HEIGHT = 62, 48
MODE, OTHER_MODE = 1, 2
TOY_SCHEME = 0x8000
SERIAL, FIRMWARE = "PLAIN-1", "written from SPEC.md"
_STEP_S = 0.001
_HALF = 1 << 31
_MAX_TILE = 2048
_TILES_A_STEP = 2
_QUEUED_TILES = 8
RANGES: dict[int, tuple[int, int, int]] = {
    ControlId.EXPOSURE: (100, 1_000_000, 10_000),
    ControlId.GAIN: (1000, 16_000, 1000),
    ControlId.FOCUS: (0, 3300, 0),
    ControlId.APERTURE: (1400, 11_000, 1400),
    ControlId.SETTLED: (0, 1, 1),
    ControlId.ROI_X: (0, WIDTH - 2, 0),
    ControlId.ROI_Y: (0, HEIGHT - 2, 0),
}
"""Minimum, maximum and initial value of each control."""
_CROP_SIDES = (ControlId.ROI_X, ControlId.ROI_Y)
IDLE_MW, ACTIVE_MW, MOTOR_MW = 150, 1000, 200
"""Power without a frame, with one of :data:`MODE`, and of the motor besides."""
MODES = {MODE: ACTIVE_MW, OTHER_MODE: 1500}
"""Power of a frame of each mode. The modes differ in nothing else."""
NO_BUDGET = 1 << 32
EVENT_S = 1.0
"""Time between two Events POWER."""
FRAME_UJ = 10_000
"""Energy of each frame."""
_MDPT_PER_S = 20_000

_REQUESTS = (
    MessageType.GET_MANIFEST, MessageType.CONFIGURE, MessageType.CAPTURE, MessageType.STREAM,
    MessageType.STOP, MessageType.FLUSH, MessageType.CHALLENGE, MessageType.TEST,
    MessageType.SET_SETTINGS, MessageType.GET_CALIBRATION, MessageType.SET_BUDGET,
)  # fmt: skip

Rectangle = tuple[int, int, int, int]


class State(enum.Enum):
    """What a stream is doing; the transitions stand at the head of this file."""

    UNCONFIGURED = "unconfigured"
    CONFIGURED = "configured"
    STREAMING = "streaming"


class Refused(Exception):
    """A request is answered with Error."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass
class Stream:
    """A stream: its state, its configuration, and the request that it serves."""

    state: State = State.UNCONFIGURED
    plan: Configured | None = None
    request: int = 0
    remaining: int = 0
    """Frames that a Capture still asks for; -1 for a running stream."""
    interval_s: float = 0.0
    next_start: float = 0.0
    values: dict[int, int] = field(default_factory=dict)
    """The settings that last, by control."""
    single: dict[tuple[int, int], int] = field(default_factory=dict)
    """The settings of single frames, by control and frame."""
    begun: int = 0
    """Frames of the request whose exposure has begun."""
    unexposed: int = 0
    """Frames of the request whose exposure has not begun; -1 for a running stream."""
    last_start: float | None = None
    """When the readout of the last frame of the request began."""


@dataclass
class Exposure:
    """The next frame: what it is exposed with, and when."""

    stream: int
    number: int
    values: dict[int, int]
    """The values applied, by control. FOCUS is absent if the lens stays where it is."""
    flags: int
    begin: float
    end: float


@dataclass
class Lens:
    """A lens that moves at a constant speed, and an iris that takes a while."""

    before: float = 0.0
    after: float = 0.0
    since: float = 0.0
    iris_end: float = 0.0
    aperture: int = RANGES[ControlId.APERTURE][2]
    iris_s: float = 0.005
    """The time of a move of the iris."""

    def position(self, time: float) -> float:
        way = max(0.0, (time - self.since) * _MDPT_PER_S)
        if self.after > self.before:
            return min(self.after, self.before + way)
        return max(self.after, self.before - way)

    def move(self, values: dict[int, int], time: float) -> None:
        if ControlId.FOCUS in values:
            self.before, self.since = self.position(time), time
            self.after = float(values[ControlId.FOCUS])
        aperture = values.get(ControlId.APERTURE, self.aperture)
        if aperture != self.aperture:
            self.aperture, self.iris_end = aperture, time + self.iris_s

    def settled_at(self) -> float:
        """Return when the move in progress ends."""
        return max(self.since + abs(self.after - self.before) / _MDPT_PER_S, self.iris_end)


@dataclass
class Item:
    """A packet that waits to be sent, without sequence and CRCs."""

    kind: int
    payload: bytes
    number: int = 0
    stream: int = 0
    flags: int = 0
    rectangle: Rectangle = (0, 0, 0, 0)
    is_barrier: bool = False
    waits_for: Collection[int] | None = None
    """The streams whose data a barrier waits for; None for all that is before it."""


@dataclass
class Frame:
    """A frame that has begun: what has been read of it, and what is still held."""

    number: int
    stream: int
    plan: Configured
    start: bytes
    rectangles: list[Rectangle]
    """All tiles in the order of readout."""
    pixels: NDArray[np.uint16]
    read: int = 0
    """Tiles read so far."""
    sent_tiles: int = 0
    held: dict[Rectangle, bytes] = field(default_factory=dict)
    end: bytes | None = None


@dataclass
class Session:
    """What is remembered of a session for Query."""

    nonce: int
    last_request: int = 0
    outcomes: dict[int, Outcome] = field(default_factory=dict)


class PlainModule:
    """A wire to the module. Time passes only inside :meth:`receive`."""

    lanes = 2
    capabilities = int(Capability.LOG | Capability.RESEND | Capability.AUTH | Capability.EVENTS)
    event_frame = 0
    answers_kept = 4
    sessions_kept = 2
    frames_kept = 6
    tiles_kept = 60
    stall_s = STALL_MS / 1000
    depth = 12
    """Bits of a pixel."""

    def __init__(self) -> None:
        self.time = 1.0
        self.is_attached = True
        self.past: list[Session] = []
        self.next_frame = 0
        self.next_event = 0.0
        self.ended_frames = 0
        self.lens = Lens()
        self.connect()

    def connect(self) -> None:
        """Begin a new connection: nothing is buffered, and no session is open."""
        self.session: Session | None = None
        self.is_refused = False
        self.buffer = bytearray()
        self.last_byte = 0.0
        self.newest_sequence = 0
        self.output: list[deque[bytes]] = [deque() for _ in range(self.lanes)]
        self.alive = [True] * self.lanes
        self.turn = itertools.count()
        self.reset_session()

    def reset_session(self) -> None:
        """Forget what lasts as long as a session: streams, credits, sequences, frames, answers."""
        self.used_lanes = 1
        self.used_capabilities = 0
        self.opening = b""
        """The payload of the session's HelloReply."""
        self.max_payload = 0
        self.streams = [Stream() for _ in range(MAX_STREAMS)]
        self.exposure: Exposure | None = None
        self.is_previews_turn = False
        """A frame of the ROI began since the last one of the preview."""
        self.readout: Frame | None = None
        self.frames: list[Frame] = []
        self.data: list[Item] = []
        self.sequences = [0] * self.lanes
        self.limits = [0] * MAX_STREAMS
        self.sent = [0] * MAX_STREAMS
        self.begun = [0] * MAX_STREAMS
        self.heartbeat_times = (0, 0)
        """``time_us`` of the newest Heartbeat, and when it was received."""
        self.budget_mw = NO_BUDGET
        self.answers: list[tuple[int, bytes, int]] = []
        self.previous_request = 0

    # --- Wire -----------------------------------------------------------------------------

    def now(self) -> float:
        return self.time

    def send(self, data: bytes, lane: int = 0) -> None:
        del lane
        self.buffer += data
        self.last_byte = self.time
        self.parse_buffer()

    def receive(self, seconds: float) -> bytes:
        end = self.time + max(_STEP_S, seconds)
        while not self.output[0] and self.time < end:
            self.time = min(end, self.time + _STEP_S)
            self.step()
        data = b"".join(self.output[0])
        self.output[0].clear()
        return data

    def receive_lane(self, lane: int) -> bytes:
        data = b"".join(self.output[lane])
        self.output[lane].clear()
        return data

    def end_lane(self, lane: int) -> bool:
        self.alive[lane] = False
        self.output[lane].clear()
        return True

    def set_attached(self, seated: bool) -> bool:
        self.is_attached = seated
        if not seated and self.session is not None and not self.is_refused:
            self.send_control(Close(CloseReason.DETACH))
            self.end_session()
        return True

    def reopen(self) -> bool:
        self.end_session()
        self.connect()
        return True

    def close(self) -> None:
        """Nothing is held."""

    # --- packets in -----------------------------------------------------------------------

    def parse_buffer(self) -> None:
        """Take every whole packet out of the buffer and handle it."""
        while True:
            at = self.buffer.find(MAGIC)
            if at < 0:
                del self.buffer[: max(0, len(self.buffer) - len(MAGIC) + 1)]
                return
            del self.buffer[:at]
            if len(self.buffer) < HEADER_BYTES:
                return
            header = Header._make(HEADER.unpack_from(self.buffer)[1:])
            if not self.is_header_sound(header):
                del self.buffer[0]
                continue
            if len(self.buffer) < HEADER_BYTES + header.length:
                return
            payload = bytes(self.buffer[HEADER_BYTES : HEADER_BYTES + header.length])
            if not self.is_payload_sound(header, payload):
                self.on_damaged_payload(header)
                continue
            del self.buffer[: HEADER_BYTES + header.length]
            self.on_packet(header, payload)

    def is_header_sound(self, header: Header) -> bool:
        if crc32(self.buffer[: HEADER_BYTES - 4]) != header.header_crc:
            return False
        known = header.version >> 4 == VERSION_MAJOR or header.type == MessageType.HELLO
        return known and header.length <= MAX_CONTROL

    def is_payload_sound(self, header: Header, payload: bytes) -> bool:
        return crc32(payload) == header.payload_crc

    def on_damaged_payload(self, header: Header) -> None:
        """Use up the sequence, and search the payload: only the header is thrown away."""
        if self.session is not None and header.nonce == self.session.nonce:
            self.use_sequence(header.sequence)
        del self.buffer[:HEADER_BYTES]

    def use_sequence(self, sequence: int) -> bool:
        """Return True and remember the sequence if it comes after the newest one."""
        step = (sequence - self.newest_sequence) & MASK_32
        if step == 0 or step >= _HALF:
            return False
        self.newest_sequence = sequence
        return True

    def check_stall(self) -> None:
        """Give up a packet that stopped inside for STALL_MS, and search what came of it."""
        while self.buffer and self.time - self.last_byte >= self.stall_s:
            if len(self.buffer) >= HEADER_BYTES:
                self.on_stalled(Header._make(HEADER.unpack_from(self.buffer)[1:]))
            del self.buffer[0]
            self.parse_buffer()

    def on_stalled(self, header: Header) -> None:
        """Use up the sequence of a packet that is given up."""
        is_believed = self.buffer.startswith(MAGIC) and self.is_header_sound(header)
        if is_believed and self.session is not None and header.nonce == self.session.nonce:
            self.use_sequence(header.sequence)

    def on_packet(self, header: Header, payload: bytes) -> None:
        if header.type == MessageType.HELLO:
            self.on_hello(header, payload)
            return
        if self.is_refused and header.type == MessageType.CLOSE:
            self.on_refused_close(header, payload)
            return
        if not self.is_of_session(header) or not self.use_sequence(header.sequence):
            return
        if header.type == MessageType.CLOSE:
            self.on_close(payload)
        elif header.type >= VENDOR_FIRST:
            return
        elif header.type in (MessageType.HEARTBEAT, MessageType.RESEND, MessageType.QUERY):
            try:
                message = self.decode(header.type, payload)
            except Malformed:
                return
            self.on_unnumbered(header, message)
        else:
            self.on_request(header, payload)

    def is_of_session(self, header: Header) -> bool:
        return (
            self.session is not None and header.nonce == self.session.nonce and not self.is_refused
        )

    def decode(self, kind: int, payload: bytes) -> AnyMessage:
        return BY_TYPE[kind].decode(payload)

    def on_unnumbered(self, header: Header, message: AnyMessage) -> None:
        if isinstance(message, Heartbeat):
            self.on_heartbeat(header, message)
        elif isinstance(message, Query):
            self.send_control(QueryReply(self.outcome_of(message)), header.frame)
        elif isinstance(message, Resend):
            self.on_resend(header, message)

    # --- session --------------------------------------------------------------------------

    def on_hello(self, header: Header, payload: bytes) -> None:
        if not self.is_attached:
            return
        try:
            message = self.decode(MessageType.HELLO, payload)
        except Malformed:
            self.on_malformed_hello(header)
            return
        assert isinstance(message, Hello)
        if self.session is None or header.nonce != self.session.nonce:
            self.end_session()
            self.session = Session(header.nonce)
            self.newest_sequence = header.sequence
        elif not self.use_sequence(header.sequence):
            return
        elif not self.is_refused:
            # The session is open: this Hello changes nothing, whatever it offers.
            self.emit(Item(MessageType.HELLO_REPLY, self.opening, header.frame))
            return
        self.session.last_request = header.frame
        if not self.is_version_shared(header, message):
            self.is_refused = True
            self.answer(header.frame, Error(ErrorCode.VERSION, b"this module speaks version 1"))
            return
        self.is_refused = False
        self.used_capabilities = message.capabilities & self.capabilities
        self.used_lanes = max(1, min(message.lanes, self.lanes))
        self.max_payload = message.max_payload
        reply = self.hello_reply(message)
        self.opening = reply.encode()
        self.answer(header.frame, reply)
        self.log("session open")
        self.next_event = self.time + EVENT_S
        self.send_first_events()

    def on_malformed_hello(self, header: Header) -> None:
        """Use up the sequence of a malformed Hello under the session's nonce."""
        if self.session is not None and header.nonce == self.session.nonce:
            self.use_sequence(header.sequence)

    def is_version_shared(self, header: Header, message: Hello) -> bool:
        del header
        return message.version_min <= VERSION <= message.version_max

    def hello_reply(self, message: Hello) -> HelloReply:
        version = min(message.version_max, VERSION)
        size, up = len(self.manifest_bytes()), round(self.time * 1e6)
        return HelloReply(
            version, self.used_lanes, 0, self.used_capabilities, MAX_CONTROL, size, 1, up
        )

    def on_close(self, payload: bytes) -> None:
        try:
            self.decode(MessageType.CLOSE, payload)
        except Malformed:
            return
        self.end_session()

    def on_refused_close(self, header: Header, payload: bytes) -> None:
        """End the state in which a Hello was refused."""
        is_own = self.session is not None and header.nonce == self.session.nonce
        if is_own and self.use_sequence(header.sequence):
            self.on_close(payload)

    def end_session(self) -> None:
        """Forget the session but for its last requests, which Query may ask about."""
        if self.session is not None and not self.is_refused:
            for stream in self.streams:
                if stream.state is State.STREAMING and not self.has_begun(stream):
                    self.session.outcomes[stream.request] = Outcome.NOT_DONE
            self.past.insert(0, self.session)
            del self.past[self.sessions_kept :]
        self.session = None
        self.is_refused = False
        self.reset_session()

    def has_begun(self, stream: Stream) -> bool:
        """Return True if a frame of the stream's request has begun."""
        index = self.streams.index(stream)
        requests = [FrameStart.decode(each.start).request for each in self.frames
                    if each.stream == index]  # fmt: skip
        return stream.request in requests

    def outcome_of(self, message: Query) -> Outcome:
        sessions = [self.session, *self.past] if self.session is not None else self.past
        for session in sessions:
            if session is not None and session.nonce == message.session:
                if message.request in session.outcomes:
                    return session.outcomes[message.request]
                if message.request == session.last_request:
                    return Outcome.UNKNOWN
                # Ids rise: a request in a gap above the oldest remembered one never arrived.
                oldest = next(iter(session.outcomes), session.last_request)
                is_above = (message.request - oldest) & MASK_32 < _HALF
                return Outcome.NOT_DONE if is_above else Outcome.UNKNOWN
        return Outcome.UNKNOWN

    def on_heartbeat(self, header: Header, message: Heartbeat) -> None:
        self.raise_limits(message)
        self.heartbeat_times = (message.time_us, self.now_us())
        self.send_control(self.heartbeat_reply(), header.frame)

    def raise_limits(self, message: Heartbeat) -> None:
        self.limits = [max(old, new) for old, new in zip(self.limits, message.limit, strict=True)]

    def heartbeat_reply(self) -> HeartbeatReply:
        preview, still, roi = zip(self.sent, self.begun, strict=True)
        sent, begun = zip(preview, still, roi, strict=True)
        return HeartbeatReply(self.now_us(), sent, begun, *self.heartbeat_times)

    def now_us(self) -> int:
        """Return the module's clock in microseconds."""
        return round(self.time * 1e6)

    # --- requests -------------------------------------------------------------------------

    def on_request(self, header: Header, payload: bytes) -> None:
        number = header.frame
        assert self.session is not None
        if header.type not in _REQUESTS:
            self.send_control(Error(ErrorCode.UNKNOWN_REQUEST, b""), number)
            return
        if self.repeat_answer(number):
            return
        self.previous_request, self.session.last_request = self.session.last_request, number
        try:
            self.execute(number, self.decode(header.type, payload))
        except Malformed:
            self.answer(number, Error(ErrorCode.MALFORMED, b""))
        except Refused as refusal:
            self.answer(number, Error(refusal.code, b""))

    def repeat_answer(self, number: int) -> bool:
        """Answer a request that was executed before; return False for a new one."""
        for known, payload, kind in self.answers:
            if known == number:
                self.emit(Item(kind, payload, number))
                return True
        assert self.session is not None
        if any(each.number == number and each.is_barrier for each in self.data):
            return True
        if (number - self.session.last_request) & MASK_32 >= _HALF or (
            number == self.session.last_request
        ):
            self.send_control(Error(ErrorCode.REPEATED, b""), number)
            return True
        return False

    def execute(self, number: int, message: AnyMessage) -> None:
        match message:
            case GetManifest():
                self.on_get_manifest(number, message)
            case GetCalibration():
                self.answer(number, self.calibration_piece(message))
            case Configure():
                self.on_configure(number, message)
            case Capture():
                self.read_list(message.settings, message.count)
                if message.count == 0:
                    raise Refused(ErrorCode.UNSUPPORTED)
                self.on_start(number, message, message.count, 0)
            case StartStream():
                self.on_start(number, message, -1, message.interval_us)
            case SetSettings():
                self.on_set_settings(number, message)
            case SetBudget():
                self.on_set_budget(number, message)
            case Stop():
                self.on_stop(number, message)
            case Flush():
                self.on_flush(number)
            case Challenge():
                self.on_challenge(number, message)
            case _:
                # Test, which a session of this module never has.
                raise Refused(ErrorCode.UNSUPPORTED)

    def answer(self, number: int, message: AnyMessage) -> None:
        """Answer a request, and remember the answer."""
        self.remember(number, message.encode(), message.TYPE)
        self.emit(Item(message.TYPE, message.encode(), number))

    def remember(self, number: int, payload: bytes, kind: int) -> None:
        self.answers.append((number, payload, kind))
        del self.answers[: -self.answers_kept]
        assert self.session is not None
        refused = kind == MessageType.ERROR
        self.session.outcomes[number] = Outcome.NOT_DONE if refused else Outcome.DONE

    def on_get_manifest(self, number: int, message: GetManifest) -> None:
        data = self.manifest_bytes()
        if message.offset >= len(data):
            raise Refused(ErrorCode.UNSUPPORTED)
        piece = data[message.offset :][: self.piece_bytes()]
        self.answer(number, ManifestPiece(message.offset, len(data), piece))

    def calibrations(self) -> dict[int, bytes]:
        """Return the bytes of each calibration that the manifest lists."""
        noise = Noise(tuple((1000 * n, 10_000 * n, 100 * n * n) for n in range(1, 33)))
        return {CalibrationKind.NOISE: encode_calibration(noise)}

    def calibration(self, kind: int) -> bytes | None:
        return self.calibrations().get(kind)

    def calibration_piece(self, message: GetCalibration) -> CalibrationPiece:
        data = self.calibration(message.kind)
        if data is None or message.offset >= len(data):
            raise Refused(ErrorCode.UNSUPPORTED)
        piece = data[message.offset :][: self.piece_bytes()]
        return CalibrationPiece(message.kind, message.offset, len(data), piece)

    def crc_of(self, data: bytes) -> int:
        return crc32(data)

    def piece_bytes(self) -> int:
        return 200

    def stream_at(self, index: int) -> Stream:
        if index >= MAX_STREAMS:
            raise Refused(ErrorCode.UNSUPPORTED)
        return self.streams[index]

    def on_configure(self, number: int, message: Configure) -> None:
        stream = self.stream_at(message.stream)
        self.check_configurable(stream)
        if not self.is_mode(message.mode):
            raise Refused(ErrorCode.UNSUPPORTED)
        message = self.complete_crop(message)
        self.check_crop(message)
        plan = self.plan_of(message)
        if not message.flags & ConfigureFlag.TEST_ONLY:
            self.apply_plan(stream, plan)
        self.answer(number, plan)

    def check_configurable(self, stream: Stream) -> None:
        if stream.state is State.STREAMING:
            raise Refused(ErrorCode.STATE)

    def is_mode(self, mode: int) -> bool:
        return mode in MODES

    def complete_crop(self, message: Configure) -> Configure:
        """Return the message with the crop of the whole mode, if it names none."""
        if message.x or message.y or message.width or message.height:
            return message
        return replace(message, width=WIDTH, height=HEIGHT)

    def check_crop(self, message: Configure) -> None:
        """Refuse a crop that is not one of the mode."""
        numbers = (message.x, message.y, message.width, message.height)
        is_inside = message.x + message.width <= WIDTH and message.y + message.height <= HEIGHT
        if any(each % 2 for each in numbers) or 0 in numbers[2:] or not is_inside:
            raise Refused(ErrorCode.UNSUPPORTED)

    def apply_plan(self, stream: Stream, plan: Configured) -> None:
        stream.plan = plan
        stream.state = State.CONFIGURED
        self.set_crop(stream, plan)

    def set_crop(self, stream: Stream, plan: Configured) -> None:
        """Set ROI_X and ROI_Y to the place that was configured."""
        stream.values[ControlId.ROI_X] = plan.x
        stream.values[ControlId.ROI_Y] = plan.y

    def plan_of(self, message: Configure) -> Configured:
        """Return the configuration that answers *message*."""
        form = self.chosen_format(message)
        limit = self.chosen_tile_bytes(message, form)
        differs = message.pixel_format not in (0, form.code)
        differs = differs or message.tile_bytes not in (0, limit)
        flags = message.flags & ConfigureFlag.TEST_ONLY
        if differs:
            flags |= ConfigureFlag.ADJUSTED
        stride = form.count_bytes(message.width)
        return Configured(
            message.stream, flags, message.mode, form.code, message.width, message.height, stride,
            stride * message.height, limit, message.x, message.y,
        )  # fmt: skip

    def formats(self) -> list[Layout]:
        packings = list_packings(self.depth)
        return [find_layout(find_pixel_format(each, self.depth, Cfa.RGGB)) for each in packings]

    def chosen_format(self, message: Configure) -> Layout:
        found = [each for each in self.formats() if each.code == message.pixel_format]
        return found[0] if found else self.formats()[0]

    def chosen_tile_bytes(self, message: Configure, form: Layout) -> int:
        """Return the longest tile, in whole groups of pixels."""
        limit = min(_MAX_TILE, self.max_payload, message.tile_bytes or _MAX_TILE)
        return max(form.count_bytes(form.group), limit)

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        settings = self.read_list(message.settings, max(count, 0))
        stream = self.stream_at(message.stream)
        self.check_startable(stream)
        self.check_controls(settings)
        self.check_budget(stream)
        stream.values[ControlId.SETTLED] = 1 if count > 0 else 0
        stream.single = {}
        self.take_settings(stream, settings)
        stream.begun, stream.unexposed, stream.last_start = 0, count, None
        stream.state = State.STREAMING
        stream.request = number
        stream.remaining = count
        stream.interval_s = interval_us / 1e6
        stream.next_start = self.time
        self.answer(number, Accepted(message.stream, self.next_frame))

    def on_set_settings(self, number: int, message: SetSettings) -> None:
        settings = self.read_list(message.settings, 0)
        stream = self.stream_at(message.stream)
        self.check_changeable(stream)
        self.check_controls(settings)
        first = self.change_settings(stream, settings)
        self.answer(number, Accepted(message.stream, first))

    def check_changeable(self, stream: Stream) -> None:
        if stream.state is State.UNCONFIGURED or stream.unexposed > 0 or stream.remaining > 0:
            raise Refused(ErrorCode.STATE)

    def change_settings(self, stream: Stream, settings: list[Setting]) -> int:
        """Change the settings of a stream. Return the number of the first frame that has them."""
        self.take_settings(stream, settings)
        waiting = self.exposure
        if (
            waiting is None
            or waiting.begin <= self.time
            or self.streams[waiting.stream] is not stream
        ):
            return self.next_frame
        self.exposure = self.plan_exposure(waiting.stream, stream, waiting.number)
        return waiting.number

    def check_startable(self, stream: Stream) -> None:
        if stream.state is not State.CONFIGURED:
            raise Refused(ErrorCode.STATE)

    def read_list(self, data: bytes, frames: int) -> list[Setting]:
        """Return the entries of a settings list; raise Malformed if it breaks a rule."""
        return read_settings(data, frames)

    def check_controls(self, settings: list[Setting]) -> None:
        """Refuse what this module does not have."""
        for control, _, value in settings:
            if control == ControlId.SETTLED and value not in (0, 1):
                raise Refused(ErrorCode.UNSUPPORTED)

    def take_settings(self, stream: Stream, settings: list[Setting]) -> None:
        """Keep the settings of a request."""
        for control, frame, value in settings:
            if control not in self.controls():
                continue
            if frame == EVERY_FRAME:
                stream.values[control] = value
            else:
                stream.single[control, frame] = value

    def controls(self) -> dict[int, tuple[int, int, int]]:
        return RANGES

    def asked_value(self, stream: Stream, control: int) -> int | None:
        """Return the value that was asked for the next frame of a stream, or None."""
        single = stream.single.get((control, stream.begun))
        return stream.values.get(control) if single is None else single

    def nearest_value(self, control: int, value: int) -> int:
        least, most, _ = self.controls()[control]
        return min(max(value, least), most)

    def nearest_place(self, stream: Stream, control: int, value: int) -> int:
        """Return the valid first column or row of the crop that is nearest to a value."""
        plan = stream.plan
        assert plan is not None
        most = WIDTH - plan.width if control == ControlId.ROI_X else HEIGHT - plan.height
        return min(max(value, 0), most) & ~1

    def choose_values(self, stream: Stream) -> tuple[dict[int, int], int]:
        """Return the values of the next frame, and the flag ADJUSTED if one differs."""
        values, flags = {}, 0
        for control, (_, _, initial) in self.controls().items():
            asked = self.asked_value(stream, control)
            if asked is not None and control in _CROP_SIDES:
                values[control] = self.nearest_place(stream, control, asked)
            elif asked is not None:
                values[control] = self.nearest_value(control, asked)
            if asked is not None:
                if values[control] != asked:
                    flags = int(FrameFlag.ADJUSTED)
            elif control != ControlId.FOCUS:
                values[control] = initial
        return values, flags

    def on_set_budget(self, number: int, message: SetBudget) -> None:
        if message.budget_mw < self.idle_need_mw():
            raise Refused(ErrorCode.POWER)
        self.budget_mw = message.budget_mw
        ended = self.running_streams()
        self.stop_what_needs_more()
        ended -= self.running_streams()
        self.answer_in_order(number, Accepted(0, self.next_frame), ended)

    def running_streams(self) -> set[int]:
        return {at for at, each in enumerate(self.streams) if each.state is State.STREAMING}

    def stop_what_needs_more(self) -> None:
        for index, stream in enumerate(self.streams):
            if stream.state is State.STREAMING and self.budget_mw < self.need_mw(stream):
                self.stop(index)

    def idle_need_mw(self) -> int:
        """Return what the module may draw without a frame."""
        return IDLE_MW + MOTOR_MW

    def need_mw(self, stream: Stream) -> int:
        """Return what the module may draw with a frame of a stream."""
        assert stream.plan is not None
        return MODES[stream.plan.mode] + MOTOR_MW

    def check_budget(self, stream: Stream) -> None:
        """Refuse frames for which the budget is too low."""
        if self.budget_mw < self.need_mw(stream):
            raise Refused(ErrorCode.POWER)

    def on_stop(self, number: int, message: Stop) -> None:
        self.stop(message.stream)
        self.answer_in_order(number, Accepted(message.stream, self.next_frame), {message.stream})

    def on_flush(self, number: int) -> None:
        for index in self.flushed_streams():
            self.stop(index)
        self.answer_in_order(number, Flushed(self.used_lanes, self.previous_request, (0, 0, 0, 0)))

    def flushed_streams(self) -> list[int]:
        return list(range(MAX_STREAMS))

    def answer_in_order(
        self, number: int, message: AnyMessage, streams: Collection[int] | None = None
    ) -> None:
        """Answer a request behind the data of some streams that waits, or behind all data."""
        item = Item(message.TYPE, message.encode(), number, is_barrier=True, waits_for=streams)
        self.data.append(item)

    def stop(self, index: int) -> None:
        """End a stream and its frame under way; tiles that wait are dropped."""
        stream = self.stream_at(index)
        if stream.state is State.STREAMING:
            stream.state = State.CONFIGURED
        if self.exposure is not None and self.exposure.stream == index:
            self.exposure = None
        unsent = [each for each in self.data if self.is_dropped_by_stop(each, index)]
        self.data = [each for each in self.data if each not in unsent]
        readout = self.readout
        if readout is not None and readout.stream == index:
            self.end_frame(readout, EndStatus.ABORTED)
        for each in self.data:
            if each.kind == MessageType.FRAME_END and each.stream == index and unsent:
                end = FrameEnd.decode(each.payload)
                each.payload = FrameEnd(
                    EndStatus.ABORTED,
                    end.lanes,
                    end.tiles,
                    end.readout_us,
                    end.last_sequence,
                    FRAME_UJ,
                ).encode()

    def is_dropped_by_stop(self, item: Item, index: int) -> bool:
        return item.kind == MessageType.TILE and item.stream == index

    def on_challenge(self, number: int, message: Challenge) -> None:
        if not self.used_capabilities & Capability.AUTH:
            raise Refused(ErrorCode.UNSUPPORTED)
        if message.scheme == AuthScheme.HMAC_SHA256 and self.is_challenge(message.challenge):
            proof = self.hmac_of(message.challenge)
        elif message.scheme == TOY_SCHEME:
            proof = self.proof_of(message.challenge)
        else:
            raise Refused(ErrorCode.UNSUPPORTED)
        self.answer(number, Proof(message.scheme, proof))

    def is_challenge(self, challenge: bytes) -> bool:
        """Return True if a challenge of HMAC_SHA256 has the right length."""
        return len(challenge) == AUTH_BYTES

    def hmac_of(self, challenge: bytes) -> bytes:
        assert self.session is not None
        return make_proof(KEY, challenge, self.session.nonce, SERIAL, FIRMWARE)

    def proof_of(self, challenge: bytes) -> bytes:
        return b"toy" + crc32(challenge).to_bytes(4, "little")

    # --- asking again ---------------------------------------------------------------------

    def on_resend(self, header: Header, message: Resend) -> None:
        number, index = header.frame, header.stream
        if not self.used_capabilities & Capability.RESEND or not self.is_resend_sound(message):
            return
        rectangles = self.rectangles_of(message)
        found = self.frame_of(index, number)
        items: list[Item] = []
        flags, state, gone = 0, FrameState.UNKNOWN, list(rectangles)
        if found is not None:
            state = FrameState.UNDER_WAY if found.end is None else FrameState.ENDED
            if any(each.kind == MessageType.FRAME_END and each.number == number
                   for each in self.data):  # fmt: skip
                state = FrameState.UNDER_WAY
            if message.flags & ResendFlag.START:
                flags |= ResendFlag.START
                items.append(Item(MessageType.FRAME_START, found.start, number, index))
            again = self.tiles_again(found, rectangles)
            items += again
            gone = self.gone_of(found, rectangles)
            if message.flags & ResendFlag.END and state is FrameState.ENDED:
                flags |= ResendFlag.END
        tail = b"".join(struct.pack("<4H", *each) for each in gone)
        resent = Resent(flags, state, len(gone), tail)
        items.append(Item(MessageType.RESENT, resent.encode(), number, index))
        if flags & ResendFlag.END and found is not None and found.end is not None:
            items.append(Item(MessageType.FRAME_END, found.end, number, index))
        are_sent = [each.flags & 1 or each.kind == MessageType.RESENT for each in self.data]
        index = max((i + 1 for i, is_resent in enumerate(are_sent) if is_resent), default=0)
        self.data[index:index] = items

    def is_resend_sound(self, message: Resend) -> bool:
        return message.count <= MAX_RANGES and len(message.ranges) >= 8 * message.count

    def rectangles_of(self, message: Resend) -> list[Rectangle]:
        count = min(message.count, MAX_RANGES, len(message.ranges) // 8)
        found = [struct.unpack_from("<4H", message.ranges, 8 * i) for i in range(count)]
        return [(x, y, width, height) for x, y, width, height in found]

    def frame_of(self, index: int, number: int) -> Frame | None:
        for each in self.frames:
            if each.number == number and each.stream == index:
                return each
        return None

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        """Return the tiles that are held and meet the rectangles, whole.

        What waits to be sent for the first time is not among them: it comes by itself.
        """
        waiting = {
            each.rectangle
            for each in self.data
            if each.kind == MessageType.TILE and each.number == frame.number and not each.flags
        }
        return [
            Item(MessageType.TILE, payload, frame.number, frame.stream, 1, rectangle)
            for rectangle, payload in frame.held.items()
            if rectangle not in waiting and any(do_meet(rectangle, each) for each in rectangles)
        ]

    def gone_of(self, frame: Frame, rectangles: list[Rectangle]) -> list[Rectangle]:
        """Return what was asked for, has been read, and is no longer held."""
        # What was not read is still to come, unless the frame has ended.
        read = frame.read if frame.end is None else len(frame.rectangles)
        lost = [each for each in frame.rectangles[:read] if each not in frame.held]
        gone = [each for each in lost if any(do_meet(each, asked) for asked in rectangles)]
        return gone[:MAX_RANGES]

    # --- frames ---------------------------------------------------------------------------

    def step(self) -> None:
        """Do what is due: give up a stalled packet, read tiles, send what may be sent."""
        self.check_stall()
        if self.session is not None and not self.is_refused and self.time >= self.next_event:
            self.next_event = self.time + EVENT_S
            self.send_event(EventKind.POWER)
        self.begin_frame()
        self.read_tiles()
        self.send_data()

    def begin_frame(self) -> None:
        """Expose the next frame, and begin its readout."""
        if self.readout is not None:
            return
        if self.exposure is None:
            index = self.next_stream()
            if index is not None:
                self.exposure = self.expose(index, self.streams[index])
        exposure = self.exposure
        if exposure is not None and self.time >= exposure.end:
            self.exposure = None
            self.readout = self.new_frame(exposure)

    def next_stream(self) -> int | None:
        """Return the stream of the next frame, or None if no frame is due."""
        due = [
            index
            for index in (1, 2, 0)
            if self.streams[index].state is State.STREAMING
            and self.streams[index].unexposed
            and self.time >= self.streams[index].next_start
        ]
        bursts = [i for i in due if self.streams[i].unexposed > 0 and self.streams[i].begun]
        if self.is_previews_turn and 0 in due and 2 in due:
            due.remove(2)
        return next(iter(bursts + due), None)

    def expose(self, index: int, stream: Stream) -> Exposure:
        """Begin the exposure of a stream's next frame."""
        exposure = self.plan_exposure(index, stream, self.next_number())
        if index != 1:
            self.is_previews_turn = index == 2
        stream.begun += 1
        stream.unexposed -= stream.unexposed > 0
        return exposure

    def plan_exposure(self, index: int, stream: Stream, number: int) -> Exposure:
        """Choose the values of a stream's next frame and its time, and move lens and iris."""
        values, flags = self.choose_values(stream)
        self.lens.move(values, self.time)
        begin = max(self.time, self.lens.settled_at()) if self.waits(values) else self.time
        if self.lens.settled_at() > begin:
            flags |= FrameFlag.MOVING
        end = begin + self.exposure_time(values)
        return Exposure(index, number, values, flags, begin, end)

    def waits(self, values: dict[int, int]) -> bool:
        """Return True if the exposure waits for lens and iris."""
        return values.get(ControlId.SETTLED, 1) == 1

    def exposure_time(self, values: dict[int, int]) -> float:
        return values[ControlId.EXPOSURE] / 1e6

    def new_frame(self, exposure: Exposure) -> Frame:
        index, number = exposure.stream, exposure.number
        stream = self.streams[index]
        stream.next_start = self.time + stream.interval_s
        plan = stream.plan
        assert plan is not None
        start = self.frame_start(stream, plan, exposure).encode()
        stream.last_start = self.time
        rectangles = self.rectangles_to_read(plan)
        x, y = exposure.values.get(ControlId.ROI_X, 0), exposure.values.get(ControlId.ROI_Y, 0)
        pixels = self.picture(number)[y : y + plan.height, x : x + plan.width]
        frame = Frame(number, index, plan, start, rectangles, pixels)
        self.frames.append(frame)
        del self.frames[: -self.frames_kept]
        self.data.append(Item(MessageType.FRAME_START, start, number, index))
        return frame

    def next_number(self) -> int:
        self.next_frame += 1
        return self.next_frame - 1

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        values = exposure.values
        time_us = round(self.time * 1e6)
        before = stream.last_start
        interval = 0 if before is None else time_us - round(before * 1e6)
        focus = round(self.lens.position((exposure.begin + exposure.end) / 2))
        return FrameStart(
            plan.mode, stream.request, time_us, plan.width, plan.height, 0, 1, self.depth,
            plan.pixel_format, plan.stride, (1 << self.depth) - 1, exposure.flags, (64_000,) * 4,
            values[ControlId.EXPOSURE], values[ControlId.GAIN], focus,
            values.get(ControlId.APERTURE, 0), interval, 0, 0, 0, 0, 25_000,
            values.get(ControlId.ROI_X, 0), values.get(ControlId.ROI_Y, 0),
        )  # fmt: skip

    def picture(self, number: int) -> NDArray[np.uint16]:
        pixels = np.arange(WIDTH * HEIGHT, dtype=np.uint32) * 13 + number
        return (pixels & (1 << self.depth) - 1).astype(np.uint16).reshape(HEIGHT, WIDTH)

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        """Cut a frame into tiles: strips of whole rows, or whole groups of one row."""
        form = find_layout(plan.pixel_format)
        rows, width, height = plan.tile_bytes // plan.stride, plan.width, plan.height
        if rows:
            return [(0, y, width, min(rows, height - y)) for y in range(0, height, rows)]
        columns = plan.tile_bytes * 8 // form.bits // form.group * form.group
        columns = max(form.group, columns)
        return [
            (x, y, min(columns, width - x), 1)
            for y in range(height)
            for x in range(0, width, columns)
        ]

    def read_tiles(self) -> None:
        frame = self.readout
        if frame is None:
            return
        for _ in range(_TILES_A_STEP):
            waiting = sum(each.kind == MessageType.TILE for each in self.data)
            if frame.read == len(frame.rectangles) or waiting >= _QUEUED_TILES:
                break
            rectangle = frame.rectangles[frame.read]
            frame.read += 1
            payload = self.pack_tile(frame, rectangle)
            frame.held[rectangle] = payload
            self.drop_oldest_tiles()
            item = Item(MessageType.TILE, payload, frame.number, frame.stream, 0, rectangle)
            self.data.append(item)
        if frame.read == len(frame.rectangles):
            self.end_frame(frame, EndStatus.OK)

    def drop_oldest_tiles(self) -> None:
        total = sum(len(each.held) for each in self.frames)
        for each in self.frames:
            while total > self.tiles_kept and each.held:
                each.held.pop(next(iter(each.held)))
                total -= 1

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        x, y, width, height = rectangle
        form, pixels = self.packing_of(frame), frame.pixels[y : y + height, x : x + width]
        packed = pack(pixels, form).tobytes()
        if form.packing != Packing.RICE:
            return packed
        code = self.code_tile(pixels.tolist(), form.depth)
        return code if len(code) < len(packed) else packed

    def code_tile(self, rows: list[list[int]], bits: int) -> bytes:
        return encode_tile(rows, bits)

    def packing_of(self, frame: Frame) -> Layout:
        return find_layout(frame.plan.pixel_format)

    def end_frame(self, frame: Frame, status: EndStatus) -> None:
        self.readout = None
        self.ended_frames += 1
        lost = sum(
            each.kind == MessageType.TILE and each.number == frame.number and not each.flags
            for each in self.data
        )
        tiles = frame.sent_tiles + (lost if status is EndStatus.OK else 0)
        energy_uj = self.frame_energy_uj()
        message = FrameEnd(status, self.used_lanes, tiles, 1000, (0, 0, 0, 0), energy_uj)
        frame.end = message.encode()
        self.data.append(Item(MessageType.FRAME_END, frame.end, frame.number, frame.stream))
        stream = self.streams[frame.stream]
        if stream.remaining > 0:
            stream.remaining -= 1
            if stream.remaining == 0 and stream.state is State.STREAMING:
                stream.state = self.state_after_capture()

    def state_after_capture(self) -> State:
        return State.CONFIGURED

    # --- packets out ----------------------------------------------------------------------

    def send_data(self) -> None:
        """Send what waits in order, as far as credits go. A barrier waits for all before it."""
        blocked: set[int] = set()
        for item in list(self.data):
            if item.is_barrier:
                before = self.data[: self.data.index(item)]
                if item.waits_for is None:
                    if before:
                        return
                elif any(not each.is_barrier and each.stream in item.waits_for for each in before):
                    continue
            elif item.stream in blocked:
                continue
            elif item.kind == MessageType.TILE and not self.has_credit(item):
                blocked.add(item.stream)
                continue
            self.data.remove(item)
            if item.is_barrier:
                self.remember(item.number, item.payload, item.kind)
            self.emit(item)

    def has_credit(self, item: Item) -> bool:
        return self.sent[item.stream] + len(item.payload) <= self.limits[item.stream]

    def count_tile(self, item: Item) -> None:
        self.sent[item.stream] += len(item.payload)
        frame = self.frame_of(item.stream, item.number)
        if frame is not None and not item.flags:
            frame.sent_tiles += 1

    def send_control(self, message: AnyMessage, number: int = 0) -> None:
        self.emit(Item(message.TYPE, message.encode(), number))

    def log(self, text: str) -> None:
        if self.used_capabilities & Capability.LOG:
            self.send_control(Log(2, round(self.time * 1e6), text.encode()))

    def has_events(self) -> bool:
        """Return True if the session has EVENTS."""
        return bool(self.used_capabilities & Capability.EVENTS)

    def send_first_events(self) -> None:
        for kind in EventKind:
            self.send_event(kind)

    def send_event(self, kind: EventKind) -> None:
        if self.has_events():
            self.send_control(self.make_event(kind), self.event_frame)

    def make_event(self, kind: EventKind) -> Event:
        counter, value = 0, 0
        if kind == EventKind.POWER:
            counter, value = self.count_energy_uj(), 5000
        elif kind == EventKind.CONTACTS:
            value = ContactState.ATTACHED
        return Event(kind, value, self.now_us(), counter & MASK_32, counter >> 32)

    def count_energy_uj(self) -> int:
        """Return the energy since the start, in microjoules."""
        return round(self.time * IDLE_MW * 1000) + self.ended_frames * FRAME_UJ

    def frame_energy_uj(self) -> int:
        """Return the energy that FrameEnd states."""
        return FRAME_UJ

    def lane_of(self, item: Item) -> int:
        """Return the lane for a packet: tiles take turns over the lanes that are alive."""
        if item.kind != MessageType.TILE:
            return 0
        lanes = [lane for lane in range(self.used_lanes) if self.alive[lane]]
        return lanes[next(self.turn) % len(lanes)]

    def emit(self, item: Item) -> None:
        """Give an item its sequence and CRCs, and put it on its lane."""
        lane = self.lane_of(item)
        if item.kind == MessageType.TILE:
            self.count_tile(item)
        elif item.kind == MessageType.FRAME_START:
            self.begun[item.stream] = max(self.begun[item.stream], item.number + 1)
        self.put(lane, self.encode(item, lane))

    def put(self, lane: int, packet: bytes) -> None:
        if self.alive[lane]:
            self.output[lane].append(packet)

    def encode(self, item: Item, lane: int) -> bytes:
        payload = item.payload
        if item.kind in (MessageType.FRAME_END, MessageType.FLUSHED):
            message = BY_TYPE[item.kind].decode(payload)
            assert isinstance(message, (FrameEnd, Flushed))
            one, two, three, four = self.last_sequences()
            payload = replace(message, last_sequence=(one, two, three, four)).encode()
        sequence = self.sequences[lane]
        self.sequences[lane] = (sequence + 1) & MASK_32
        assert self.session is not None
        return encode_packet(
            item.kind, payload, nonce=self.session.nonce, sequence=sequence, frame=item.number,
            stream=item.stream, flags=item.flags, place=item.rectangle,
        )  # fmt: skip

    def last_sequences(self) -> list[int]:
        found = [(each - 1) & MASK_32 for each in self.sequences]
        return found + [MASK_32] * (4 - len(found))

    # --- manifest -------------------------------------------------------------------------

    def list_schemes(self) -> list[int]:
        """Return the authentication schemes that the manifest lists."""
        return [TOY_SCHEME, AuthScheme.HMAC_SHA256]

    def manifest_bytes(self) -> bytes:
        texts = (
            (ManifestKey.MAKER, "LensLink"),
            (ManifestKey.MODEL, "plain"),
            (ManifestKey.SERIAL, SERIAL),
            (ManifestKey.FIRMWARE, FIRMWARE),
            (ManifestKey.BOARD, "none"),
        )
        white = (1 << self.depth) - 1
        sensor = SensorEntry(WIDTH, HEIGHT, self.depth, 0, 1, white, (64_000,) * 4)
        name = b"small".ljust(16, b"\0")
        modes = [
            ModeEntry(each, WIDTH, HEIGHT, 1, 3, (0, 0, HEIGHT, WIDTH), name, active_mw)
            for each, active_mw in MODES.items()
        ]
        entries = [(key, text.encode()) for key, text in texts]
        entries += [
            (ManifestKey.SENSOR, sensor.encode()),
            (ManifestKey.COLOR, ColorEntry.FIXED.pack(21, 0, *[1] * 24)),
            *((ManifestKey.MODE, each.encode()) for each in modes),
        ]
        entries += [
            (ManifestKey.FORMAT, FormatEntry(each.code).encode()) for each in self.formats()
        ]
        entries += [
            (
                ManifestKey.CONTROL,
                ControlEntry(
                    control, 1, least, most, 2 if control in _CROP_SIDES else 1, initial
                ).encode(),
            )
            for control, (least, most, initial) in self.controls().items()
        ]
        entries.append((ManifestKey.POWER, PowerEntry(IDLE_MW, MOTOR_MW).encode()))
        entries.append((ManifestKey.DELAY, DelayEntry(1).encode()))
        entries += [
            (ManifestKey.CALIBRATION, CalibrationEntry(kind, len(data), self.crc_of(data)).encode())
            for kind, data in self.calibrations().items()
        ]
        entries += [(ManifestKey.AUTH, AuthEntry(each).encode()) for each in self.list_schemes()]
        return b"".join(encode_entry(key, value) for key, value in entries)


def do_meet(a: Rectangle, b: Rectangle) -> bool:
    """Return True if two rectangles have a pixel in common."""
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
