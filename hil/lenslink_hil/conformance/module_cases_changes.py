"""Cases for modules: SetSettings, for each stream and each control (SPEC.md, 5.2)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.controls import Setting, encode_settings
from lenslink_protocol.ids import ControlId, MessageType
from lenslink_protocol.messages import Accepted, FrameStart, SetSettings, StartStream, Stop

from .cases import Cases, NotClaimed, check
from .host_peer import PREVIEW, STILL, HostPeer, Picture, read_frame_start
from .module_steps import ALL_STREAMS, NEAR_MDPT, every, find_control, other_value, take_frame
from .settings_steps import (
    check_values,
    configure_crops,
    make_exact_list,
    read_values,
)

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_TURN_US = 30_000
"""``interval_us`` of streams that run together: it leaves each of them time."""
_MOST_FRAMES = 100


def _list_without_focus(peer: HostPeer, stream: int) -> list[Setting]:
    """Return a value for each control of a stream's frame but FOCUS: all streams share the lens."""
    settings = make_exact_list(peer, stream)
    return [each for each in settings if each.control != ControlId.FOCUS]


def _read_starts(peer: HostPeer, stream: int, mark: int) -> list[tuple[int, FrameStart]]:
    packets = [p for p in peer.log[mark:] if p.kind == MessageType.FRAME_START]
    return [
        (packet.id, read_frame_start(Picture(start=packet)))
        for packet in packets
        if packet.header.stream == stream
    ]


def _wait_for_frames_from(peer: HostPeer, stream: int, mark: int, first: int) -> None:
    """Wait until a frame of a stream has ended that is not before number *first*."""
    for _ in range(_MOST_FRAMES):
        picture = peer.wait_for_frame(stream, mark)
        assert picture.end is not None
        if picture.end.id >= first:
            return
        mark = peer.log.index(picture.end) + 1


@CASES.add("M-SET-9", "M-SET-3")
def changes_of_streams_that_run_together(peer: HostPeer) -> None:
    """SetSettings changes each control of the stream that it names, and of no other one."""
    peer.open_session()
    configure_crops(peer)
    lists = {stream: _list_without_focus(peer, stream) for stream in ALL_STREAMS}
    if not lists[STILL]:
        raise NotClaimed("no control of the module has two values")
    requests: dict[int, int] = {}
    for stream in ALL_STREAMS:
        mark = len(peer.log)
        requests[stream] = peer.next_id
        peer.call(StartStream(stream, _TURN_US), Accepted)
        peer.wait_for_frame(stream, mark)
    ((_, start),) = _read_starts(peer, STILL, 0)[:1]
    values = {stream: read_values(start, lists[stream]) for stream in ALL_STREAMS}
    for stream in ALL_STREAMS:
        mark = len(peer.log)
        answer = peer.call(SetSettings(stream, encode_settings(lists[stream])), Accepted)
        check(answer.stream == stream, f"Accepted of stream {answer.stream}, not {stream}")
        new = {each.control: each.value for each in lists[stream]}
        for other in ALL_STREAMS:
            _wait_for_frames_from(peer, other, mark, answer.first_frame)
        for other in ALL_STREAMS:
            for number, start in _read_starts(peer, other, mark):
                is_new = other == stream and number >= answer.first_frame
                found = read_values(start, lists[other])
                said = f"after SetSettings of stream {stream}, frame {number} of stream {other}"
                check_values(found, new if is_new else values[other], said)
                named = start.request
                check(named == requests[other], f"frame {number} names request {named}")
        values[stream] = new
    for stream in ALL_STREAMS:
        peer.call(Stop(stream), Accepted)
    for stream in ALL_STREAMS:
        found = read_values(take_frame(peer, stream), lists[stream])
        check_values(found, values[stream], f"in the next request, stream {stream}")


@CASES.add("M-SET-9")
def focus_of_a_stream_that_runs(peer: HostPeer) -> None:
    """SetSettings of FOCUS moves the lens of a stream that runs, on each stream."""
    peer.open_session()
    configure_crops(peer)
    for stream, share in ((0, 0.1), (1, 0.05), (2, 0.15)):
        place = other_value(peer, ControlId.FOCUS, share)
        peer.call(StartStream(stream, _TURN_US), Accepted)
        peer.wait_for_frame(stream, len(peer.log))
        mark = len(peer.log)
        change = SetSettings(stream, encode_settings([every(ControlId.FOCUS, place)]))
        peer.call(change, Accepted)
        got = -1
        for _ in range(_MOST_FRAMES):
            picture = peer.wait_for_frame(stream, mark)
            assert picture.end is not None
            mark = peer.log.index(picture.end) + 1
            got = read_frame_start(picture).focus_mdpt
            if abs(got - place) <= NEAR_MDPT:
                break
        said = f"stream {stream}: FOCUS {place} was set, and the lens stays at {got}"
        check(abs(got - place) <= NEAR_MDPT, said)
        peer.call(Stop(stream), Accepted)


@CASES.add("M-SET-8")
def one_change_after_another(peer: HostPeer) -> None:
    """Of a CONFIGURED stream, SetSettings changes what it names, and the rest stays."""
    peer.open_session()
    configure_crops(peer)
    for stream in ALL_STREAMS:
        settings = make_exact_list(peer, stream)
        wanted: dict[int, int] = {}
        for each in settings:
            wanted[each.control] = each.value
            answer = peer.call(SetSettings(stream, encode_settings([each])), Accepted)
            said = f"SetSettings of stream {stream} is accepted for stream {answer.stream}"
            check(answer.stream == stream, said)
        found = read_values(take_frame(peer, stream), settings)
        check_values(found, wanted, f"after a change for each control, stream {stream}")


@CASES.add("M-SET-8", "M-SET-3")
def a_change_does_not_move_the_lens(peer: HostPeer) -> None:
    """SetSettings of a CONFIGURED stream moves no lens until that stream has a frame."""
    peer.open_session()
    configure_crops(peer)
    here = find_control(peer, ControlId.FOCUS).initial
    there = other_value(peer, ControlId.FOCUS, 0.2)
    take_frame(peer, STILL, [every(ControlId.FOCUS, here)])
    peer.call(SetSettings(STILL, encode_settings([every(ControlId.FOCUS, there)])), Accepted)
    peer.collect(0.05)
    for stream, place in ((PREVIEW, here), (STILL, there), (PREVIEW, there)):
        got = take_frame(peer, stream).focus_mdpt
        said = f"the lens is at {got} for a frame of stream {stream}, not at {place}"
        check(abs(got - place) <= NEAR_MDPT, said)
