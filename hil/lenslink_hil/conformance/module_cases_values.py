"""Cases for modules: which value of a control a frame has, and what changes it (SPEC.md, 5.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lenslink_protocol.controls import Setting, encode_settings
from lenslink_protocol.ids import ConfigureFlag, ControlFlag, ControlId, FrameFlag
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Configure,
    Configured,
    Flush,
    Flushed,
    SetBudget,
    SetSettings,
    StartStream,
    Stop,
)
from lenslink_protocol.params import MAX_SETTING

from .cases import Cases, NotClaimed, check
from .host_peer import PREVIEW, ROI, STILL, HostPeer, Picture, read_frame_start
from .module_steps import (
    ALL_STREAMS,
    NEAR_MDPT,
    every,
    find_control,
    is_frame_start,
    other_value,
    take_frame,
)
from .settings_steps import (
    CROP,
    REPORTED,
    check_values,
    configure_crops,
    make_exact_list,
    make_lists,
    read_values,
    take_starts,
)

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_SOON_S = 0.1
_PLACES = (ControlId.ROI_X, ControlId.ROI_Y)
_WITH_INITIAL = (ControlId.EXPOSURE, ControlId.GAIN, ControlId.APERTURE)


@CASES.add("M-SET-3")
def initial_values(peer: HostPeer) -> None:
    """The first frame of each stream has the initial value of each control, and says no ADJUSTED.

    FOCUS has no initial value.
    """
    peer.open_session()
    manifest = peer.get_manifest()
    configure_crops(peer)
    for stream in ALL_STREAMS:
        start = take_frame(peer, stream)
        for control in _WITH_INITIAL:
            entry = manifest.find_control(control)
            got = getattr(start, REPORTED[control])
            if entry is not None:
                said = f"{control.name} of stream {stream} is {got} at first, not {entry.initial}"
                check(got == entry.initial, said)
        said = f"the first frame of stream {stream} is ADJUSTED without a setting"
        check(not start.flags & FrameFlag.ADJUSTED, said)


@CASES.add("M-SET-3")
def what_leaves_settings_alone(peer: HostPeer) -> None:
    """No Stop, no Flush, no trial, no budget and no request without a list changes a setting."""
    peer.open_session()
    configure_crops(peer)
    manifest = peer.get_manifest()
    settings = make_lists(peer)[STILL]
    if not settings:
        raise NotClaimed("no control of the module has two values")
    wanted = read_values(take_frame(peer, STILL, settings), settings)
    mode = peer.find_smallest_mode().id
    crop = Configure(STILL, 0, mode, 0, 0, 0, 0, CROP, CROP)
    trial = replace(crop, flags=ConfigureFlag.TEST_ONLY, x=8, y=8)
    change = SetSettings(STILL, encode_settings(settings[:1]))

    def run(stream: int) -> None:
        mark = len(peer.log)
        peer.call(StartStream(stream, 20000), Accepted)
        peer.wait_for_frame(stream, mark)

    def stop_early() -> None:
        peer.call(Capture(STILL, 3), Accepted)
        peer.call(Stop(STILL), Accepted)

    def grant_little() -> None:
        if manifest.power is None or not peer.find_smallest_mode().active_mw:
            return
        run(STILL)
        peer.call(SetBudget(manifest.power.idle_mw + manifest.power.motor_mw), Accepted)
        peer.call(SetBudget(0xFFFFFFFF), Accepted)

    for event, act in (
        ("Stop", lambda: peer.call(Stop(STILL), Accepted)),
        ("Flush", lambda: peer.call(Flush(), Flushed)),
        ("a trial", lambda: peer.call(trial, Configured)),
        ("Configure of the ROI", lambda: peer.call(replace(crop, stream=ROI), Configured)),
        ("SetSettings of the ROI", lambda: peer.call(SetSettings(ROI, b""), Accepted)),
        ("an empty SetSettings", lambda: peer.call(SetSettings(STILL, b""), Accepted)),
        ("SetSettings of one control", lambda: peer.call(change, Accepted)),
        ("StartStream", lambda: run(STILL)),
        ("Stop of a stream", lambda: peer.call(Stop(STILL), Accepted)),
        ("StartStream of the preview", lambda: run(PREVIEW)),
        ("Flush of streams", lambda: peer.call(Flush(), Flushed)),
        ("a Capture that was stopped", stop_early),
        ("a budget that ends the stream", grant_little),
    ):
        act()
        if event == "StartStream":
            continue
        # The preview has no FOCUS of its own, so the lens stays where it is.
        found = read_values(take_frame(peer, STILL), settings)
        check_values(found, wanted, f"after {event}, a frame")
    for each in manifest.modes:
        peer.call(replace(crop, mode=each.id), Configured)
        found = read_values(take_frame(peer, STILL), settings)
        held = {key: value for key, value in wanted.items() if key not in _PLACES}
        check_values(found, held, f"after Configure of mode {each.id}, a frame")


@CASES.add("M-SET-3")
def settings_of_a_stopped_request(peer: HostPeer) -> None:
    """A Capture that Stop ends leaves its lasting settings, and none of its single frames."""
    peer.open_session()
    configure_crops(peer)
    for stream in ALL_STREAMS:
        lasting, single = (
            [each for each in make_exact_list(peer, other) if each.control != ControlId.FOCUS]
            for other in (stream, (stream + 1) % len(ALL_STREAMS))
        )
        # The first frame has begun when Stop comes, or not.
        tail = [Setting(each.control, at, each.value) for at in (1, 2) for each in single]
        peer.start_capture(3, [*lasting, *tail], stream)
        peer.call(Stop(stream), Accepted)
        wanted = {each.control: each.value for each in lasting}
        for start in take_starts(peer, 3, [], stream):
            check_values(read_values(start, lasting), wanted, f"after Stop, stream {stream}")


@CASES.add("M-SET-3")
def each_control_of_a_single_frame(peer: HostPeer) -> None:
    """On each stream, each control has a value of its own for one frame of a Capture."""
    peer.open_session()
    configure_crops(peer)
    manifest = peer.get_manifest()
    for stream in ALL_STREAMS:
        settings = []
        for each in make_exact_list(peer, stream):
            entry = manifest.find_control(ControlId(each.control))
            if entry is not None and entry.flags & ControlFlag.PER_FRAME:
                settings.append(each)
        singles = [Setting(each.control, 1, each.value) for each in settings]
        starts = take_starts(peer, 3, singles, stream)
        wanted = {each.control: each.value for each in settings}
        check_values(read_values(starts[1], settings), wanted, f"frame 1 of stream {stream}")
        # Behind a frame with a FOCUS of its own the lens stays.
        before = read_values(starts[0], settings)
        before.pop(ControlId.FOCUS, None)
        check_values(read_values(starts[2], settings), before, f"frame 2 of stream {stream}")


def _take_stream(peer: HostPeer, stream: int, settings: list[Setting]) -> list[bool]:
    """Start a stream, and tell of its first three frames whether they are ADJUSTED."""
    mark = len(peer.log)
    peer.call(StartStream(stream, 0, encode_settings(settings)), Accepted)
    return _read_flags(peer, stream, mark)


def _read_flags(peer: HostPeer, stream: int, mark: int) -> list[bool]:
    found = []
    for _ in range(3):
        picture = peer.wait_for_frame(stream, mark)
        assert picture.end is not None
        mark = peer.log.index(picture.end) + 1
        found.append(bool(read_frame_start(picture).flags & FrameFlag.ADJUSTED))
    return found


@CASES.add("M-SET-4")
def adjusted_as_long_as_it_lasts(peer: HostPeer) -> None:
    """Each later frame with a value out of range is ADJUSTED too, until a value within it."""
    peer.open_session()
    configure_crops(peer)
    entry = find_control(peer, ControlId.GAIN)
    out, within = every(ControlId.GAIN, entry.maximum + 1), every(ControlId.GAIN, entry.minimum)
    for stream in ALL_STREAMS:
        start = take_frame(peer, stream, [out])
        for what in ("the next request", "the one behind it"):
            check(start.flags & FrameFlag.ADJUSTED, f"stream {stream} is not ADJUSTED in {what}")
            start = take_frame(peer, stream)
        flags = _take_stream(peer, stream, [])
        check(all(flags), f"frames of stream {stream} out of range are ADJUSTED: {flags}")
        answer = peer.call(SetSettings(stream, encode_settings([within])), Accepted)
        _expect_flags(peer, stream, answer, False)
        answer = peer.call(SetSettings(stream, encode_settings([out])), Accepted)
        _expect_flags(peer, stream, answer, True)
        peer.call(Stop(stream), Accepted)
        start = take_frame(peer, stream, [within])
        said = f"stream {stream} is ADJUSTED behind a value out of range"
        check(not start.flags & FrameFlag.ADJUSTED, said)


def _expect_flags(peer: HostPeer, stream: int, answer: Accepted, is_wanted: bool) -> None:
    """Check ADJUSTED of the first frame that has the settings of a change."""
    mark = len(peer.log)
    picture = peer.wait_for_frame(stream, mark)
    while picture.end is not None and picture.end.id < answer.first_frame:
        mark = peer.log.index(picture.end) + 1
        picture = peer.wait_for_frame(stream, mark)
    is_adjusted = bool(read_frame_start(picture).flags & FrameFlag.ADJUSTED)
    said = f"ADJUSTED is {is_adjusted} behind a SetSettings of stream {stream}, not {is_wanted}"
    check(is_adjusted == is_wanted, said)


@CASES.add("M-SET-4")
def values_far_out_of_range(peer: HostPeer) -> None:
    """Negative values, and values of more than 16 bits, become the nearest ones too."""
    peer.open_session()
    configure_crops(peer)
    manifest = peer.get_manifest()
    asked: list[tuple[ControlId, int, int, bool]] = []
    for control in (*_WITH_INITIAL, ControlId.FOCUS):
        entry = manifest.find_control(control)
        if entry is None:
            continue
        tried = [-MAX_SETTING, -1, -entry.maximum, entry.minimum]
        # The longest exposure takes too long.
        if control != ControlId.EXPOSURE:
            near = 0x10000 + entry.minimum
            tried += [MAX_SETTING, near, 0x1000000 + entry.minimum, entry.maximum]
        for value in tried:
            nearest = min(max(value, entry.minimum), entry.maximum)
            asked.append((control, value, nearest, value != nearest))
    for control, value, nearest, is_out in asked:
        start = take_frame(peer, STILL, [every(control, value)])
        got = getattr(start, REPORTED[control])
        near = NEAR_MDPT if control == ControlId.FOCUS else 0
        said = f"{control.name} {value} becomes {got}, and {nearest} is the nearest"
        check(abs(got - nearest) <= near, said)
        is_adjusted = bool(start.flags & FrameFlag.ADJUSTED)
        said = f"{control.name} {value} becomes {got}, and ADJUSTED is {is_adjusted}"
        check(is_adjusted == is_out, said)
        # What lasts is the value that was asked for.
        peer.call(SetSettings(STILL, encode_settings([every(control, nearest)])), Accepted)


@CASES.add("M-SET-4")
def exact_values_of_each_stream(peer: HostPeer) -> None:
    """On each stream, exposure and gain of odd numbers are applied as they are."""
    peer.open_session()
    configure_crops(peer)
    for stream in ALL_STREAMS:
        for control, odd in ((ControlId.EXPOSURE, 12_347), (ControlId.GAIN, 1_013)):
            entry = find_control(peer, control)
            for value in (min(max(odd, entry.minimum), entry.maximum), entry.initial):
                aligned = value - (value - entry.initial) % entry.step
                start = take_frame(peer, stream, [every(control, aligned)])
                got = getattr(start, REPORTED[control])
                said = f"{control.name} {aligned} of stream {stream} becomes {got}"
                check(got == aligned and not start.flags & FrameFlag.ADJUSTED, said)


@CASES.add("M-SET-4")
def exposures_of_seconds(peer: HostPeer) -> None:
    """A very long exposure becomes no short one: no frame comes soon, or one of the longest."""
    peer.open_session()
    configure_crops(peer)
    longest = find_control(peer, ControlId.EXPOSURE).maximum
    # Their low 24 bits, and the low 32 bits of their nanoseconds, are short exposures.
    for value in (0x1000000 + 200, 4_294_968, MAX_SETTING):
        mark = len(peer.log)
        peer.start_capture(1, [every(ControlId.EXPOSURE, value)])
        found = peer.wait_for(is_frame_start, _SOON_S, mark)
        peer.call(Stop(STILL), Accepted)
        if found is None:
            continue
        got, nearest = read_frame_start(Picture(start=found)).exposure_us, min(value, longest)
        check(got == nearest, f"an exposure of {value} us becomes {got}, not {nearest}")


@CASES.add("M-SET-4")
def f_numbers_within_the_range(peer: HostPeer) -> None:
    """An f-number within the range is applied as it is, or ADJUSTED to a stop of the iris."""
    peer.open_session()
    configure_crops(peer)
    entry = find_control(peer, ControlId.APERTURE)
    for share in (0.1, 0.33, 0.51, 0.77, 1.0):
        value = other_value(peer, ControlId.APERTURE, share)
        start = take_frame(peer, STILL, [every(ControlId.APERTURE, value)])
        got, is_adjusted = start.aperture_milli, bool(start.flags & FrameFlag.ADJUSTED)
        said = f"f-number {value} becomes {got}, and ADJUSTED is {is_adjusted}"
        check(entry.minimum <= got <= entry.maximum and is_adjusted == (got != value), said)
