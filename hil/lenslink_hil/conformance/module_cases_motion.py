"""Cases for modules: what waits for lens and iris, and the times of frames (SPEC.md, 5.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from lenslink_protocol.controls import Setting, encode_settings
from lenslink_protocol.ids import ControlId, FrameFlag, MessageType
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Configure,
    Configured,
    FrameStart,
    SetSettings,
    StartStream,
    Stop,
)

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import PATIENCE_S, PLENTY, PREVIEW, ROI, STILL, HostPeer, Picture, read_frame_start
from .module_steps import ALL_STREAMS, NEAR_MDPT, every, find_control, other_value, take_frame
from .packets import Packet
from .settings_steps import CROP, configure_crops

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_HASTY, _PATIENT = every(ControlId.SETTLED, 0), every(ControlId.SETTLED, 1)
_SHARE = 0.3
"""The way of the lens, as a share of its range: long enough to be seen."""
_CREDIT_WAIT_S = 0.1
_ROUNDS = 3
_SHORT_US = 5000
_SLOW_IRIS_US = 10_000
"""The least time of an iris that a case can tell from the delays of a busy machine."""
_STREAM_US, _BETWEEN_US = 60_000, 120_000
"""Exposure of a stream, and ``interval_us`` of one: more than 16 bits."""


class _Lens:
    """Sends the lens to and fro, and tells of the frames whether they waited for it."""

    def __init__(self, peer: HostPeer) -> None:
        self.peer = peer
        find_control(peer, ControlId.SETTLED)
        self._places = [other_value(peer, ControlId.FOCUS, share) for share in (0.0, _SHARE)]
        self._turn = 0

    def turn(self) -> Setting:
        """Return the setting that sends the lens to the other place."""
        self._turn += 1
        return every(ControlId.FOCUS, self.place)

    @property
    def place(self) -> int:
        """Where the lens goes, or is."""
        return self._places[self._turn % 2]

    def check(self, start: FrameStart, does_wait: bool, what: str) -> None:
        """Check the first frame behind a turn."""
        is_moving = bool(start.flags & FrameFlag.MOVING)
        said = f"{what}: MOVING is {is_moving}, and the lens is at {start.focus_mdpt}"
        check(is_moving != does_wait, f"{said} on its way to {self.place}")
        check(not start.flags & FrameFlag.ADJUSTED, f"{said}; that is no reason for ADJUSTED")
        is_near = abs(start.focus_mdpt - self.place) <= NEAR_MDPT
        check(is_near or not does_wait, f"{said}, not at {self.place}")

    def capture(self, stream: int, does_wait: bool, what: str, *more: Setting) -> None:
        """Capture a frame that turns the lens, and wait until the lens is there."""
        self.check(take_frame(self.peer, stream, [self.turn(), *more]), does_wait, what)
        self.rest(stream)

    def stream(self, stream: int, does_wait: bool, what: str, *more: Setting) -> None:
        """Start a stream that turns the lens; end the stream."""
        mark = len(self.peer.log)
        data = encode_settings([self.turn(), *more])
        self.peer.call(StartStream(stream, 0, data), Accepted)
        self.check(read_frame_start(self.peer.wait_for_frame(stream, mark)), does_wait, what)
        self.peer.call(Stop(stream), Accepted)
        self.rest(stream)

    def rest(self, stream: int) -> None:
        """Wait until the lens stands still."""
        take_frame(self.peer, stream, [_PATIENT])


def _open_lens(peer: HostPeer) -> _Lens:
    """Return the lens. Raise NotClaimed if it moves too fast for a frame to see it."""
    peer.open_session()
    configure_crops(peer)
    lens = _Lens(peer)
    take_frame(peer, STILL, [every(ControlId.FOCUS, lens.place)])
    start = _take_first(peer, [lens.turn()])
    lens.rest(PREVIEW)
    if not start.flags & FrameFlag.MOVING:
        raise NotClaimed("no frame sees the lens move")
    return lens


@CASES.add("M-SET-6", "M-SET-3")
def who_waits_for_the_lens(peer: HostPeer) -> None:
    """SETTLED is 1 for each Capture and 0 for each StartStream, unless the request names it."""
    lens = _open_lens(peer)
    for stream in (PREVIEW, STILL):
        name = f"of stream {stream}"
        lens.stream(stream, True, f"StartStream {name} with SETTLED 1", _PATIENT)
        lens.stream(stream, False, f"StartStream {name} behind one with SETTLED 1")
        lens.capture(stream, False, f"Capture {name} with SETTLED 0", _HASTY)
        lens.capture(stream, True, f"Capture {name} behind one with SETTLED 0")
    single = Setting(ControlId.SETTLED, 0, 0)
    lens.capture(STILL, False, "a frame of its own SETTLED 0", single)
    lens.capture(STILL, False, "a frame of its own SETTLED 0", single, _PATIENT)
    peer.call(SetSettings(STILL, encode_settings([_HASTY])), Accepted)
    lens.capture(STILL, True, "Capture behind SetSettings of SETTLED 0")
    peer.call(SetSettings(STILL, encode_settings([_PATIENT])), Accepted)
    lens.stream(STILL, False, "StartStream behind SetSettings of SETTLED 1")


@CASES.add("M-SET-6")
def a_lens_that_is_there(peer: HostPeer) -> None:
    """A frame that names the place at which the lens is does not say MOVING."""
    peer.open_session()
    configure_crops(peer)
    for value in (
        other_value(peer, ControlId.FOCUS, 0.1),
        find_control(peer, ControlId.FOCUS).initial,
    ):
        focus = every(ControlId.FOCUS, value)
        take_frame(peer, STILL, [focus])
        for what, start in (
            ("a Capture", take_frame(peer, STILL, [focus, _HASTY])),
            ("a StartStream", _take_first(peer, [focus])),
        ):
            said = f"{what} that names the place of the lens says MOVING"
            check(not start.flags & FrameFlag.MOVING, said)


def _take_first(peer: HostPeer, settings: Iterable[Setting]) -> FrameStart:
    mark = len(peer.log)
    peer.start_stream(0, settings)
    start = read_frame_start(peer.wait_for_frame(PREVIEW, mark))
    peer.call(Stop(PREVIEW), Accepted)
    return start


@CASES.add("M-SET-6", "M-SET-9")
def a_stream_that_begins_to_wait(peer: HostPeer) -> None:
    """SetSettings of SETTLED changes it for the stream that runs."""
    lens = _open_lens(peer)
    peer.start_stream(0)
    for settled, does_wait in ((_PATIENT, True), (_HASTY, False)):
        peer.wait_for_frame(PREVIEW, len(peer.log))
        peer.call(SetSettings(PREVIEW, encode_settings([settled])), Accepted)
        mark = len(peer.log)
        change = SetSettings(PREVIEW, encode_settings([lens.turn()]))
        answer = peer.call(change, Accepted)
        starts = _wait_for_lens(peer, mark, answer.first_frame, lens.place)
        is_moving = any(start.flags & FrameFlag.MOVING for start in starts)
        said = f"a stream with SETTLED {settled.value}: MOVING is {is_moving} behind FOCUS"
        check(is_moving != does_wait, said)
    peer.call(Stop(PREVIEW), Accepted)


def _wait_for_lens(peer: HostPeer, mark: int, first: int, place: int) -> list[FrameStart]:
    """Return the starts of the preview's frames from *first* until the lens is at its place."""

    def is_there(packet: Packet) -> bool:
        if packet.kind != MessageType.FRAME_START or packet.id < first:
            return False
        start = read_frame_start(Picture(start=packet))
        near = abs(start.focus_mdpt - place) <= NEAR_MDPT
        return near and not start.flags & FrameFlag.MOVING

    if peer.wait_for(is_there, PATIENCE_S, mark) is None:
        raise Failed(f"SetSettings of FOCUS {place}, and no frame of the stream is there")
    packets = [p for p in peer.log[mark:] if p.kind == MessageType.FRAME_START and p.id >= first]
    return [read_frame_start(Picture(start=packet)) for packet in packets]


@CASES.add("M-SET-6")
def a_capture_waits_for_the_iris(peer: HostPeer) -> None:
    """No frame of an aperture bracket is MOVING."""
    peer.open_session()
    configure_crops(peer)
    entry = find_control(peer, ControlId.APERTURE)
    values = (entry.maximum, entry.minimum, entry.maximum, entry.initial)
    for stream in ALL_STREAMS:
        mark = len(peer.log)
        settings = [Setting(ControlId.APERTURE, at, value) for at, value in enumerate(values)]
        peer.start_capture(len(values), settings, stream)
        for value in values:
            picture = peer.wait_for_frame(stream, mark)
            assert picture.end is not None
            mark = peer.log.index(picture.end) + 1
            start = read_frame_start(picture)
            said = f"stream {stream}: f-number {start.aperture_milli}, {value} was asked for"
            check(start.aperture_milli == value, said)
            check(not start.flags & FrameFlag.MOVING, f"stream {stream} is MOVING in a bracket")


@CASES.add("M-SET-6")
def moving_tells_of_the_iris(peer: HostPeer) -> None:
    """A frame with SETTLED 0 that is exposed while the iris moves says MOVING.

    Nobody sees the iris. So the case measures how much longer the second frame of a Capture takes
    if it waits for the iris, from readout to readout. A frame that comes earlier, although it
    wants another f-number too, was exposed while the iris moved. The case is for an iris that
    takes long: the machine may delay single frames.
    """
    peer.open_session()
    configure_crops(peer)
    entry = find_control(peer, ControlId.APERTURE)
    if entry.minimum == entry.maximum:
        raise NotClaimed("APERTURE has one value only")
    same: list[FrameStart] = []
    waited: list[FrameStart] = []
    hasty: list[FrameStart] = []
    for _ in range(_ROUNDS):
        same.append(_take_second(peer, entry.minimum, entry.minimum, 1))
        waited.append(_take_second(peer, entry.minimum, entry.maximum, 1))
        hasty.append(_take_second(peer, entry.minimum, entry.maximum, 0))
    settled_us = min(start.interval_us for start in waited)
    slow = settled_us - max(start.interval_us for start in same)
    if slow < _SLOW_IRIS_US:
        raise NotClaimed("no frame sees the iris move")
    early = [start for start in hasty if start.interval_us < settled_us - slow // 2]
    check(early, "each frame with SETTLED 0 waits until the iris stands still")
    for start in early:
        said = f"{start.interval_us} us behind the frame before, where {settled_us} us are enough"
        check(start.flags & FrameFlag.MOVING, f"no MOVING at another f-number {said} for the iris")


def _take_second(peer: HostPeer, first: int, second: int, settled: int) -> FrameStart:
    """Take two frames at two f-numbers. Return the start of the second one."""
    mark = len(peer.log)
    settings = [
        Setting(ControlId.APERTURE, 0, first),
        Setting(ControlId.APERTURE, 1, second),
        Setting(ControlId.SETTLED, 0, 1),
        Setting(ControlId.SETTLED, 1, settled),
    ]
    if peer.get_manifest().find_control(ControlId.EXPOSURE) is not None:
        settings.append(every(ControlId.EXPOSURE, _SHORT_US))
    peer.start_capture(2, settings)
    end = peer.wait_for_frame(STILL, mark).end
    assert end is not None
    return read_frame_start(peer.wait_for_frame(STILL, peer.log.index(end) + 1))


@CASES.add("M-SET-5")
def a_capture_without_credits(peer: HostPeer) -> None:
    """While the tiles of a Capture wait, no frame of another stream comes between its frames."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    # The tiles of all frames are few, so that a small module can hold them.
    limit = CROP * CROP
    peer.configure(PREVIEW)
    still = peer.call(Configure(STILL, 0, mode, 0, limit, 0, 0, CROP, CROP), Configured)
    peer.grant_credits(PLENTY, still.tile_bytes)
    peer.start_stream(0)
    peer.wait_for_frame(PREVIEW)
    mark = len(peer.log)
    peer.start_capture(3)
    peer.collect(_CREDIT_WAIT_S)
    peer.grant_credits(PLENTY, PLENTY)
    _check_consecutive(peer, STILL, mark, 3)
    peer.call(Stop(PREVIEW), Accepted)


def _check_consecutive(peer: HostPeer, stream: int, mark: int, count: int) -> None:
    """Wait for the frames of a Capture, and check that their numbers are consecutive."""
    numbers = []
    for _ in range(count):
        picture = peer.wait_for_frame(stream, mark)
        assert picture.end is not None
        mark = peer.log.index(picture.end) + 1
        numbers.append(picture.end.id)
    are_consecutive = all(after == (before + 1) & 0xFFFFFFFF for before, after in pairwise(numbers))
    check(are_consecutive, f"the frames of a Capture of stream {stream} are numbered {numbers}")


@CASES.add("M-SET-5")
def captures_at_the_same_time(peer: HostPeer) -> None:
    """Two Captures take their frames one after the other, and each of them in one piece."""
    peer.open_session()
    configure_crops(peer)
    for pair in ((PREVIEW, STILL), (STILL, ROI), (ROI, PREVIEW)):
        mark = len(peer.log)
        for stream in pair:
            peer.call(Capture(stream, 5), Accepted)
        for stream in pair:
            _check_consecutive(peer, stream, mark, 5)
    # The still streams beside a Capture of the ROI, and leaves it time.
    peer.call(StartStream(STILL, _STREAM_US), Accepted)
    mark = len(peer.log)
    peer.call(Capture(ROI, 8), Accepted)
    _check_consecutive(peer, ROI, mark, 8)
    peer.call(Stop(STILL), Accepted)


@CASES.add("M-SET-7", "M-SET-9")
def intervals_of_two_streams(peer: HostPeer) -> None:
    """``interval_us`` is kept and stated for each stream by itself, also over SetSettings."""
    peer.open_session()
    configure_crops(peer)
    longest = find_control(peer, ControlId.EXPOSURE).maximum
    short = [every(ControlId.EXPOSURE, min(5000, longest))]
    slow = [every(ControlId.EXPOSURE, min(_STREAM_US, longest))]
    intervals = [0, 0, 0]
    for count, lazy, busy in ((3, PREVIEW, ROI), (1, ROI, PREVIEW), (1, STILL, PREVIEW)):
        mark = len(peer.log)
        intervals[lazy], intervals[busy] = _BETWEEN_US, 0
        peer.call(StartStream(lazy, _BETWEEN_US, encode_settings(short)), Accepted)
        peer.call(StartStream(busy, 0, encode_settings(slow)), Accepted)
        peer.wait_for_frame(lazy, mark)
        for _ in range(count):
            peer.call(SetSettings(lazy, encode_settings(short)), Accepted)
            peer.wait_for_frame(lazy, len(peer.log))
        for stream in (lazy, busy):
            peer.call(Stop(stream), Accepted)
            _check_intervals(peer, stream, intervals[stream], mark)


def _check_intervals(peer: HostPeer, stream: int, least: int, mark: int) -> None:
    """Check the times of a stream's frames. *least* is ``interval_us`` of StartStream."""
    packets = [p for p in peer.log[mark:] if p.kind == MessageType.FRAME_START]
    starts = [read_frame_start(Picture(start=p)) for p in packets if p.header.stream == stream]
    for before, after in pairwise(starts):
        apart = after.timestamp_us - before.timestamp_us
        said = f"stream {stream}: interval_us {after.interval_us} of frames {apart} us apart"
        check(after.interval_us == apart, said)
        least_us = max(least, after.exposure_us)
        said = f"stream {stream}: {apart} us from start to start, {least_us} us at least"
        check(apart >= least_us, said)
