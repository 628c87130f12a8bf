"""What cases for modules of several subjects share: constants, and steps such as a Resend."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from itertools import pairwise

from lenslink_protocol.controls import Setting
from lenslink_protocol.ids import (
    Capability,
    ControlId,
    EndStatus,
    ErrorCode,
    EventKind,
    FrameState,
    MessageType,
)
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Configured,
    ControlEntry,
    Error,
    Event,
    Flush,
    Flushed,
    FrameStart,
    GetManifest,
    Heartbeat,
    HeartbeatReply,
    HelloReply,
    ManifestPiece,
    Resend,
    Resent,
    StartStream,
)
from lenslink_protocol.packings import find_layout
from lenslink_protocol.params import EVERY_FRAME, MAX_STREAMS, SILENCE_MS, STALL_MS, VERSION_MAJOR

from .cases import Failed, NotClaimed, check
from .host_peer import (
    ALL,
    PLENTY,
    PREVIEW,
    QUIET_S,
    ROI,
    STILL,
    HostPeer,
    Picture,
    read_frame_end,
    read_frame_start,
)
from .packets import Packet, describe

START_FASTEST = StartStream(PREVIEW, 0)
START_50_FPS = StartStream(PREVIEW, 20000)
CAPTURE_A_STILL = Capture(STILL, 1)
ALL_STREAMS = (PREVIEW, STILL, ROI)
ALL_WITH_EVENTS = ALL | Capability.EVENTS
REFUSALS_OF_UNKNOWN = (ErrorCode.UNSUPPORTED, ErrorCode.UNKNOWN_REQUEST)
"""How a module refuses a request without its capability: it knows the request, or it does not."""

SESSION_ENDS = ("Close", "another Hello", "a refused Hello")
"""The ways in which a host can end a session without the end of its connection."""

ALIVE_S = SILENCE_MS / 2000
STALL_S = STALL_MS / 1000
SHORT_WAIT_S = 0.12
TEST_PENDING_MS = 700
"""The lease in cases of the test action PENDING."""
LONG_EXPOSURE_US = 30_000
NEAR_MDPT = 20
"""The tolerance of a lens' position."""
MIN_TIME_SHARE = 0.97
"""A module's time may be this much of the kit's. Time is counted from before the Test was sent."""
CLOCK_TOLERANCE_US = 150_000
"""On a busy machine, the clocks of kit and module may drift this much in tenths of a second."""

Rectangle = tuple[int, int, int, int]
DATA = (MessageType.FRAME_START, MessageType.TILE, MessageType.FRAME_END)


def check_answers(peer: HostPeer) -> None:
    """Check that the module answers a request."""
    peer.call(GetManifest(0), ManifestPiece)


def expect_no_answer(peer: HostPeer, number: int, what: str) -> None:
    """Raise Failed if the request is answered. *what* names the request."""
    answer = peer.wait_for_answer(number, QUIET_S)
    check(answer is None, f"{what} is answered with {describe(answer)}")


def place_of(tile: Packet) -> Rectangle:
    """Return the rectangle that a tile names."""
    head = tile.header
    return head.x, head.y, head.width, head.height


def count_tile_bytes(packets: list[Packet], stream: int) -> int:
    """Return the bytes of the tiles of a stream."""
    tiles = (p for p in packets if p.kind == MessageType.TILE and p.header.stream == stream)
    return sum(tile.header.length for tile in tiles)


def check_sequences(packets: list[Packet]) -> None:
    """Check that the packets of lane 0 are numbered by one, from 0."""
    numbers = [packet.header.sequence for packet in packets if packet.lane == 0]
    check(numbers[0] == 0, f"the session begins with sequence {numbers[0]}")
    for before, after in pairwise(numbers):
        check((after - before) & 0xFFFFFFFF == 1, f"sequence {after} follows {before}")


def open_next_connection(peer: HostPeer) -> HostPeer:
    """End the connection, make another one, and return a session on it.

    A module may notice the end of the connection later than the next Hello, and refuse that one as
    a second host's. So the Hello is tried again, on further connections, until SILENCE_MS / 2 has
    passed.

    Raises:
        NotClaimed: The bench has no other connection, or starts the module anew with it.
        Failed: The module does not answer with HelloReply.
    """
    before = peer.session
    end = peer.wire.now() + ALIVE_S
    while True:
        is_last = peer.wire.now() >= end
        if not peer.wire.reopen():
            raise NotClaimed("this bench cannot make a new connection")
        fresh = peer.start_session()
        answer = fresh.try_hello()
        is_busy = isinstance(answer, Error) and answer.code == ErrorCode.STATE
        if not is_busy or is_last:
            break
    if not isinstance(answer, HelloReply):
        raise Failed(f"Hello on a new connection is answered with {describe(answer)}")
    fresh.session = answer
    assert before is not None
    if answer.boot_count != before.boot_count or answer.uptime_us < before.uptime_us:
        raise NotClaimed("on this bench a new connection starts the module anew")
    return fresh


def block_frame(peer: HostPeer, stream: int = PREVIEW, is_capture: bool = False) -> Configured:
    """Begin a frame that waits for credits after its first tile; return its plan.

    The frame is one of StartStream, or of a Capture of two frames.
    """
    peer.open_session()
    mode = peer.find_smallest_mode()
    configured = peer.configure(stream, 4 * mode.width)
    limits = [0] * MAX_STREAMS
    limits[stream] = configured.tile_bytes
    peer.grant_credits(*limits)
    peer.call(Capture(stream, 2) if is_capture else StartStream(stream, 20000), Accepted)
    found = peer.wait_for(lambda p: p.kind == MessageType.TILE, 5.0)
    check(found is not None, "no tile within 5 s of the credit for it")
    return configured


def check_cover(configured: Configured, picture: Picture) -> None:
    """Check that a frame's tiles cover it exactly, each with the right length."""
    form = find_layout(configured.pixel_format)
    covered = bytearray(configured.width * configured.height)
    for tile in picture.tiles:
        x, y, width, height = place = place_of(tile)
        inside = x + width <= configured.width and y + height <= configured.height
        check(inside and width and height, f"a tile at {place}")
        size, length = form.count_bytes(width) * height, tile.header.length
        check(form.is_tile_length(length, size), f"{length} bytes at {place}, not {size}")
        check(tile.header.length <= configured.tile_bytes, f"{tile.header.length} bytes a tile")
        for row in range(y, y + height):
            at = row * configured.width + x
            check(not any(covered[at : at + width]), f"pixels twice: {place}")
            covered[at : at + width] = b"\1" * width
    status = read_frame_end(picture).status
    check(status == EndStatus.OK, f"the frame ends with status {status}")
    check(all(covered), f"{covered.count(0)} pixels of a frame that is OK were not sent")


def take_resendable_still(peer: HostPeer) -> tuple[Configured, Picture, int]:
    """Take a still of small tiles from a module with RESEND; return plan, frame and number."""
    if not peer.open_session().capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    mode = peer.find_smallest_mode()
    configured, picture = peer.take_still(4 * mode.width)
    assert picture.end is not None
    return configured, picture, picture.end.id


def ask_again(
    peer: HostPeer, number: int, flags: int, places: list[Rectangle], stream: int = STILL
) -> tuple[Resent, list[Packet]]:
    """Send Resend; return Resent and the packets of the frame that came before Resent."""
    mark = len(peer.log)
    ranges = b"".join(struct.pack("<4H", *place) for place in places)
    peer.send(Resend(flags, len(places), ranges), number, stream)
    found = peer.wait_for(lambda p: p.kind == MessageType.RESENT and p.id == number, 2.0, mark)
    if found is None:
        raise Failed("Resend is not answered within 2 s")
    message = found.message()
    assert isinstance(message, Resent)
    before = peer.log[mark : peer.log.index(found, mark)]
    return message, [p for p in before if p.kind in DATA and p.id == number]


def gone_rectangles(message: Resent) -> list[Rectangle]:
    """Return the rectangles that Resent calls gone."""
    check(len(message.gone) >= 8 * message.count, f"{message.count} rectangles announced")
    found = [struct.unpack_from("<4H", message.gone, 8 * i) for i in range(message.count)]
    return [(x, y, width, height) for x, y, width, height in found]


def cover(places: list[Rectangle], configured: Configured) -> bytearray:
    """Return a byte for each pixel of the frame: 1 if a rectangle covers the pixel.

    A rectangle may reach beyond the frame.
    """
    covered = bytearray(configured.width * configured.height)
    for x, y, width, height in places:
        columns = max(0, min(width, configured.width - x))
        for row in range(y, min(y + height, configured.height)):
            at = row * configured.width + x
            covered[at : at + columns] = b"\1" * columns
    return covered


def count_unanswered(
    configured: Configured, asked: list[Rectangle], message: Resent, came: list[Packet]
) -> int:
    """Return how many pixels that a Resend asked for are neither sent again nor gone."""
    again = [place_of(p) for p in came if p.kind == MessageType.TILE]
    answered = int.from_bytes(cover(again + gone_rectangles(message), configured))
    return (int.from_bytes(cover(asked, configured)) & ~answered).bit_count()


def open_lanes(peer: HostPeer) -> Configured:
    """Open a session over all lanes of the bench, and configure a still of small tiles."""
    peer.lanes = peer.wire.lanes
    if peer.wire.lanes < 2:
        raise NotClaimed("one lane is all there is")
    if peer.open_session().lanes < 2:
        raise NotClaimed("the module takes one lane of those that are offered")
    configured = peer.configure(STILL, 4 * peer.find_smallest_mode().width)
    peer.grant_credits(PLENTY, PLENTY)
    return configured


def does_limit_allow(limit: int, configured: Configured) -> bool:
    """Return True if a limit of Configure allows the tiles of Configured without ADJUSTED."""
    size, stride = configured.tile_bytes, configured.stride
    if limit == 0 or size > limit:
        return limit == 0
    least = limit - 2 * stride if limit >= stride else limit - 8
    return size == configured.frame_bytes or size > least


def grow(message: AnyMessage, tail: bytes = b"") -> bytes:
    """Return a payload whose fixed part has four more bytes than this version knows."""
    payload = message.encode()
    size = int.from_bytes(payload[:2], "little")
    grown = (size + 4).to_bytes(2, "little")
    return grown + payload[2:size] + b"\xa5\x5a\xff\x01" + payload[size:] + tail


def open_test_session(peer: HostPeer) -> None:
    """A session in which the module can be driven into states."""
    if not peer.open_session(ALL | Capability.TEST).capabilities & Capability.TEST:
        raise NotClaimed("the module does not let itself be driven into states (no TEST)")


def expect_refusal(peer: HostPeer, message: AnyMessage) -> None:
    """Fail unless the module refuses the message."""
    answer = peer.try_call(message)
    refused = isinstance(answer, Error) and answer.code in REFUSALS_OF_UNKNOWN
    check(
        refused,
        f"{describe(message)} gets {describe(answer)} in a session without the capability",
    )


def wait_for_type(peer: HostPeer, kind: int, since: int, seconds: float = 1.0) -> Packet | None:
    """Return the first packet of a type after position *since*, or None if it does not arrive."""
    return peer.wait_for(lambda p: p.kind == kind, seconds, since)


def replace_session(peer: HostPeer, how: str) -> HostPeer:
    """End a session in one of the ways of :data:`SESSION_ENDS`, and open the next one."""
    if how == "Close":
        peer.close()
    elif how == "a refused Hello":
        newer = (VERSION_MAJOR + 1) << 4
        answer = peer.start_session().try_hello(ALL, (newer, newer), version=newer)
        check(isinstance(answer, Error), f"Hello of the next major version gets {describe(answer)}")
    fresh = peer.start_session()
    fresh.open_session()
    return fresh


def check_nothing_left(before: HostPeer, fresh: HostPeer, frame: int, how: str) -> None:
    """Check that a session finds nothing of the one before it but what Table 5 keeps."""
    reply = fresh.grant_credits(0, 0)
    counts = (*reply.sent, *reply.begun)
    check(not any(counts), f"after {how} a session begins with {describe(reply)}")
    check(fresh.log[0].header.sequence == 0, f"after {how} sequences do not begin at 0")
    for stream in ALL_STREAMS:
        fresh.expect_error(StartStream(stream, 20000), ErrorCode.STATE)
        fresh.expect_error(Capture(stream, 1), ErrorCode.STATE)
    if fresh.session is not None and fresh.session.capabilities & Capability.RESEND:
        message, came = ask_again(fresh, frame, 3, [(0, 0, 2, 2)])
        said = f"after {how} a frame of the session before is {message.state}, not UNKNOWN"
        check(message.state == FrameState.UNKNOWN, said)
        check(not came, f"after {how} a frame of the session before comes again")
    fresh.configure(STILL)
    fresh.call(Capture(STILL, 1), Accepted)
    early = [p for p in fresh.collect() if p.kind == MessageType.TILE]
    check(not early, f"after {how} tiles come by the credits of the session before")
    last = fresh.next_id - 1
    flushed = fresh.call(Flush(), Flushed)
    said = f"after {how} last_request is {flushed.last_request}, not {last}"
    check(flushed.last_request == last, said)
    check(not fresh.strangers, f"after {how} packets of the session before come")
    del before


def find_control(peer: HostPeer, control: ControlId) -> ControlEntry:
    """Return a control of the module; NotClaimed if it has none."""
    entry = peer.get_manifest().find_control(control)
    if entry is None:
        raise NotClaimed(f"the manifest lists no {control.name}")
    return entry


def other_value(peer: HostPeer, control: ControlId, share: float = 0.5) -> int:
    """Return a value of a control that is not its initial one.

    *share* is where it lies between the initial value and the end that is farther off. Of an
    exposure it is a short one, so that the case takes no long time.
    """
    entry = find_control(peer, control)
    if entry.minimum == entry.maximum:
        raise NotClaimed(f"{control.name} has one value only")
    far = entry.maximum if control != ControlId.EXPOSURE else min(entry.maximum, 30_000)
    if far == entry.initial:
        far = entry.minimum
    value = entry.initial + round((far - entry.initial) * share)
    return value - (value - entry.initial) % entry.step


def every(control: int, value: int) -> Setting:
    """Return a setting for every frame."""
    return Setting(control, EVERY_FRAME, value)


def configure_all(peer: HostPeer) -> None:
    """Configure all streams in the smallest mode, and grant credits for all."""
    for stream in ALL_STREAMS:
        peer.configure(stream)
    peer.grant_credits(PLENTY, PLENTY, PLENTY)


def take_frame(peer: HostPeer, stream: int, settings: Iterable[Setting] = ()) -> FrameStart:
    """Capture a frame of a configured stream, and return its FrameStart."""
    mark = len(peer.log)
    peer.start_capture(1, settings, stream)
    return read_frame_start(peer.wait_for_frame(stream, mark))


def exchange_heartbeat(peer: HostPeer, time_us: int) -> HeartbeatReply:
    """Send a Heartbeat with a time, and return its answer."""
    mark = len(peer.log)
    peer.send(Heartbeat((PLENTY, PLENTY, PLENTY), time_us))
    return peer.wait_for_heartbeat_reply(mark)


def list_events(peer: HostPeer, kind: EventKind, since: int = 0) -> list[Event]:
    """Return the Events of a kind among the packets from number *since* on."""
    messages = [p.message() for p in peer.log[since:] if p.kind == MessageType.EVENT]
    return [each for each in messages if isinstance(each, Event) and each.kind == kind]


def get_event_count(event: Event) -> int:
    """Return the counter of an Event, 64 bits."""
    return event.counter | event.counter_high << 32


def make_event_test(kind: EventKind) -> Callable[[object], bool]:
    """Return a function that tells whether a packet is an Event of a kind."""

    def found(packet: object) -> bool:
        if getattr(packet, "kind", None) != MessageType.EVENT:
            return False
        message = packet.message()  # type: ignore[attr-defined]
        return isinstance(message, Event) and message.kind == kind

    return found


def is_frame_start(packet: Packet) -> bool:
    """Return True if the packet is a FrameStart."""
    return packet.kind == MessageType.FRAME_START
