"""Cases for modules: settings lists, in every request that has one (SPEC.md, 5.2)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.controls import CONTROLS, Setting, encode_settings
from lenslink_protocol.ids import ControlId, ErrorCode, FrameFlag
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    SetBudget,
    SetSettings,
    StartStream,
    Stop,
)
from lenslink_protocol.params import MAX_BRACKET, MAX_SETTING, MAX_SETTINGS, MAX_STREAMS

from .cases import Cases, check
from .host_peer import PREVIEW, STILL, HostPeer
from .module_steps import ALL_STREAMS, every, find_control, take_frame
from .settings_steps import check_values, configure_crops, make_lists, read_values, take_starts

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_STRANGE = 0x7FF0
"""A control that no version has."""

_LAST_KNOWN = max(control.id for control in CONTROLS)


def _requests(stream: int, settings: bytes, count: int = 1) -> list[AnyMessage]:
    """Return each request that carries a settings list."""
    return [
        Capture(stream, count, settings),
        StartStream(stream, 20000, settings),
        SetSettings(stream, settings),
    ]


def _list_malformed() -> list[bytes]:
    """Return lists that are MALFORMED in every request, each for a reason of its own."""
    lists = [
        encode_settings([every(control, value)])
        for control in (ControlId.GAIN, ControlId.EXPOSURE, ControlId.FOCUS, _STRANGE)
        for value in (MAX_SETTING + 1, -MAX_SETTING - 1, -(1 << 31))
    ]
    for control in (ControlId.GAIN, _STRANGE):
        one, other = every(control, 1000), every(_STRANGE + 1, 1)
        lists.append(encode_settings([one, one]))
        lists.append(encode_settings([one, other, every(control, 2000)]))
        lists.append(encode_settings([one]) + b"\0")
        lists.append(encode_settings([other, one])[:-1])
    many = [every(_STRANGE + at, 1) for at in range(MAX_SETTINGS)]
    lists.append(encode_settings([*many, every(ControlId.GAIN, 1000)]))
    return lists


def _expect_malformed(peer: HostPeer, stream: int, count: int = 1) -> None:
    for data in _list_malformed():
        for message in _requests(stream, data, count):
            peer.expect_error(message, ErrorCode.MALFORMED)
    single = encode_settings([Setting(ControlId.GAIN, 0, 1000)])
    for message in _requests(stream, single)[1:]:
        peer.expect_error(message, ErrorCode.MALFORMED)
    for frames in (1, 2, MAX_BRACKET):
        late = encode_settings([Setting(ControlId.GAIN, frames, 1000)])
        peer.expect_error(Capture(stream, frames, late), ErrorCode.MALFORMED)


@CASES.add("M-SET-1", "M-SET-8")
def malformed_in_every_request(peer: HostPeer) -> None:
    """Each malformed list is MALFORMED in each request, and leaves no settings behind."""
    peer.open_session()
    configure_crops(peer)
    before = take_frame(peer, STILL)
    _expect_malformed(peer, STILL)
    settings = make_lists(peer)[STILL]
    wrong = every(_STRANGE, MAX_SETTING + 1)
    for entries in ([*settings, wrong], [wrong, *settings]):
        for message in _requests(STILL, encode_settings(entries)):
            peer.expect_error(message, ErrorCode.MALFORMED)
    after = take_frame(peer, STILL)
    check_values(
        read_values(after, settings), read_values(before, settings), "behind malformed lists, one"
    )


@CASES.add("M-SET-1", "M-STATE-1")
def malformed_before_other_errors(peer: HostPeer) -> None:
    """A malformed list is MALFORMED, whatever else is wrong with the request."""
    peer.open_session()
    twice = encode_settings([every(ControlId.SETTLED, 7), every(ControlId.SETTLED, 7)])
    for stream in (PREVIEW, MAX_STREAMS, 255):
        for message in (*_requests(stream, twice), Capture(stream, 0, twice)):
            peer.expect_error(message, ErrorCode.MALFORMED)
    configure_crops(peer)
    peer.call(StartStream(PREVIEW, 20000), Accepted)
    for message in (*_requests(PREVIEW, twice), Capture(PREVIEW, 0, twice)):
        peer.expect_error(message, ErrorCode.MALFORMED)
    peer.call(Stop(PREVIEW), Accepted)


@CASES.add("M-SET-1")
def long_captures_and_long_lists(peer: HostPeer) -> None:
    """Lists that keep the rules are taken: for many frames, for the last one, and together."""
    peer.open_session()
    configure_crops(peer)
    gain = find_control(peer, ControlId.GAIN).initial
    strange = [every(_STRANGE + at, MAX_SETTING - at) for at in range(MAX_SETTINGS - 1)]
    both = [every(ControlId.GAIN, gain), Setting(ControlId.GAIN, 0, gain)]
    lasting, last = every(ControlId.GAIN, gain), Setting(ControlId.GAIN, MAX_BRACKET - 1, gain)
    for count, entries in (
        (MAX_BRACKET + 1, [lasting]),
        (0xFFFF, [lasting]),
        (MAX_BRACKET, [last]),
        (1, both),
        (1, both[::-1]),
        (1, [*strange, lasting]),
    ):
        peer.call(Capture(STILL, count, encode_settings(entries)), Accepted)
        peer.call(Stop(STILL), Accepted)
    data = encode_settings([*strange, lasting])
    for message in _requests(STILL, data)[1:]:
        peer.call(message, Accepted)


@CASES.add("M-SET-2")
def controls_without_a_meaning(peer: HostPeer) -> None:
    """In each request unknown controls are skipped: near known ones, and with their low byte."""
    peer.open_session()
    configure_crops(peer)
    gain = find_control(peer, ControlId.GAIN)
    numbers = (0, _LAST_KNOWN + 1, 0x100 | ControlId.GAIN, 0x8000 | ControlId.GAIN, 0xFFFF)
    strange = [every(number, gain.maximum) for number in numbers]
    before = take_frame(peer, STILL)
    for message in _requests(STILL, encode_settings(strange)):
        answer = peer.call(message, Accepted)
        check(answer.stream == STILL, f"Accepted of stream {answer.stream}")
        peer.call(Stop(STILL), Accepted)
    singles = [Setting(number, 0, gain.maximum) for number in numbers]
    (after,) = take_starts(peer, 1, [*strange, *singles], STILL)
    said = f"gain {after.gain_milli} beside unknown controls, {before.gain_milli} before them"
    check(after.gain_milli == before.gain_milli, said)
    check(not after.flags & FrameFlag.ADJUSTED, "a control that is skipped makes a frame ADJUSTED")


@CASES.add("M-SET-2")
def refused_wherever_it_stands(peer: HostPeer) -> None:
    """A control or a value that is refused is UNSUPPORTED in each request, wherever it stands."""
    peer.open_session()
    configure_crops(peer)
    settings = make_lists(peer)[STILL]
    before = take_frame(peer, STILL)
    manifest = peer.get_manifest()
    absent = [c.id for c in CONTROLS if manifest.find_control(c.id) is None]
    refused = [(control, 1) for control in absent]
    if ControlId.SETTLED not in absent:
        refused += [(ControlId.SETTLED, value) for value in (2, -1, MAX_SETTING, 256)]
    for control, value in refused:
        wrong = every(control, value)
        for entries in ([every(_STRANGE, 1), wrong], [*settings, wrong], [wrong, *settings]):
            for message in _requests(STILL, encode_settings(entries)):
                peer.expect_error(message, ErrorCode.UNSUPPORTED)
        for entries in ([Setting(control, 1, value)], [Setting(control, 0, value), *settings]):
            message = Capture(STILL, 2, encode_settings(entries))
            peer.expect_error(message, ErrorCode.UNSUPPORTED)
    after = take_frame(peer, STILL)
    check_values(
        read_values(after, settings), read_values(before, settings), "behind refused lists, one"
    )


@CASES.add("M-STATE-1", "M-SET-1", "M-PWR-2")
def refused_requests_leave_no_settings(peer: HostPeer) -> None:
    """A request that is refused, whatever for, changes no settings and does not move the lens."""
    peer.open_session()
    lists = make_lists(peer)

    def refuse(stream: int, code: ErrorCode) -> None:
        for message in _requests(stream, encode_settings(lists[stream])):
            peer.expect_error(message, code)

    for stream in ALL_STREAMS:
        refuse(stream, ErrorCode.STATE)
    configure_crops(peer)
    manifest = peer.get_manifest()
    before = read_values(take_frame(peer, STILL), lists[STILL])
    if manifest.power is not None and peer.find_smallest_mode().active_mw:
        peer.call(SetBudget(manifest.power.idle_mw + manifest.power.motor_mw), Accepted)
        for stream in ALL_STREAMS:
            for message in _requests(stream, encode_settings(lists[stream]))[:2]:
                peer.expect_error(message, ErrorCode.POWER)
        peer.call(SetBudget(0xFFFFFFFF), Accepted)
    for stream in ALL_STREAMS:
        peer.expect_error(Capture(stream, 0, encode_settings(lists[stream])), ErrorCode.UNSUPPORTED)
        # Long enough to be under way until the requests are refused.
        long = [every(ControlId.EXPOSURE, 30_000)] if _has(peer, ControlId.EXPOSURE) else []
        peer.start_capture(MAX_BRACKET, long, stream)
        refuse(stream, ErrorCode.STATE)
        peer.call(Stop(stream), Accepted)
        found = read_values(take_frame(peer, stream), lists[stream])
        wanted = {key: each for key, each in before.items() if key != ControlId.EXPOSURE}
        check_values(found, wanted, f"behind refused requests of stream {stream}, one")


def _has(peer: HostPeer, control: ControlId) -> bool:
    return peer.get_manifest().find_control(control) is not None
