"""Cases for modules: controls and settings lists (SPEC.md, 5.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from lenslink_protocol.controls import CONTROLS, Setting, encode_settings
from lenslink_protocol.ids import ControlId, ErrorCode, FrameFlag, MessageType
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
from lenslink_protocol.params import MAX_BRACKET, MAX_SETTING, MAX_SETTINGS

from .cases import Cases, Failed, check
from .host_peer import (
    PATIENCE_S,
    PLENTY,
    PREVIEW,
    STILL,
    HostPeer,
    Picture,
    read_frame_end,
    read_frame_start,
)
from .module_steps import (
    ALL_STREAMS,
    NEAR_MDPT,
    SESSION_ENDS,
    every,
    find_control,
    other_value,
    replace_session,
    take_frame,
)
from .packets import Packet
from .settings_steps import (
    check_values,
    configure_crops,
    make_lists,
    read_values,
    take_starts,
)

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_UNKNOWN = 0x7FF0
"""A control that no version has."""

_FIELDS = {
    each.id: each.reported_by
    for each in CONTROLS
    if each.is_adjusted and each.id not in {ControlId.ROI_X, ControlId.ROI_Y}
}
"""The field of FrameStart for each control. Of a crop the values depend on the configuration."""

_MORE_ROUNDS = 20


def _open(peer: HostPeer, *streams: int) -> None:
    peer.open_session()
    for stream in streams or (STILL,):
        peer.configure(stream)
    peer.grant_credits(PLENTY, PLENTY)


def _check_refused(peer: HostPeer, data: bytes, code: ErrorCode, what: str, count: int = 1) -> None:
    """Check that a list is refused, and that a sound setting before it has had no effect."""
    answer = peer.try_call(Capture(STILL, count, data))
    got = getattr(answer, "code", None)
    check(got == code, f"{what} is answered with {answer}, not with Error {code.name}")


@CASES.add("M-SET-1")
def malformed_lists(peer: HostPeer) -> None:
    """Each list that breaks a rule is MALFORMED."""
    _open(peer)
    one = encode_settings([every(_UNKNOWN, 1)])
    for data, count, what in (
        (one[:-1], 1, "a list that ends inside an entry"),
        (one + b"\0\0\0\0", 1, "a list of one entry and a half"),
        (one + one, 1, "a control that is set twice"),
        (encode_settings([Setting(_UNKNOWN, 0, 1)] * 2), 1, "a control set twice for a frame"),
        (encode_settings([every(_UNKNOWN, MAX_SETTING + 1)]), 1, "a value that is too large"),
        (encode_settings([every(_UNKNOWN, -MAX_SETTING - 1)]), 1, "a value that is too small"),
        (encode_settings([Setting(_UNKNOWN, 1, 1)]), 1, "a setting for the second frame of one"),
        (
            encode_settings([Setting(_UNKNOWN, 0, 1)]),
            MAX_BRACKET + 1,
            "a bracket that is too long",
        ),
        (
            encode_settings([every(_UNKNOWN + at, 1) for at in range(MAX_SETTINGS + 1)]),
            1,
            "a list that is too long",
        ),
    ):
        _check_refused(peer, data, ErrorCode.MALFORMED, what, count)


@CASES.add("M-SET-1")
def single_frames_of_a_stream(peer: HostPeer) -> None:
    """A setting for a single frame is MALFORMED in StartStream."""
    _open(peer, PREVIEW)
    data = encode_settings([Setting(_UNKNOWN, 0, 1)])
    peer.expect_error(StartStream(PREVIEW, 20000, data), ErrorCode.MALFORMED)


def _of(packets: list[Packet], stream: int) -> list[Packet]:
    kinds = (MessageType.FRAME_START, MessageType.FRAME_END)
    return [p for p in packets if p.kind in kinds and p.header.stream == stream]


def _take(
    peer: HostPeer, count: int = 1, settings: Iterable[Setting] = (), stream: int = STILL
) -> list[tuple[int, FrameStart]]:
    """Capture, and return the number and the FrameStart of each frame."""
    mark = len(peer.log)
    request = peer.start_capture(count, settings, stream)
    found: list[tuple[int, FrameStart]] = []
    for _ in range(count):
        ended = sum(p.kind == MessageType.FRAME_END for p in _of(peer.log[mark:], stream))
        if ended == count:
            break
        peer.wait_for(
            lambda p: p.kind == MessageType.FRAME_END and p.header.stream == stream,
            10.0,
            len(peer.log),
        )
    for packet in _of(peer.log[mark:], stream):
        if packet.kind == MessageType.FRAME_START:
            start = read_frame_start(Picture(start=packet))
            if start.request == request:
                found.append((packet.id, start))
    check(len(found) == count, f"{len(found)} frames begin after a Capture of {count}")
    return found


@CASES.add("M-SET-1")
def a_refused_list_has_no_effect(peer: HostPeer) -> None:
    """The settings before a wrong entry, and behind it, have no effect."""
    _open(peer)
    control = ControlId.GAIN
    value = other_value(peer, control)
    ((_, before),) = _take(peer)
    wrong = every(_UNKNOWN, MAX_SETTING + 1)
    for settings in ([every(control, value), wrong], [wrong, every(control, value)]):
        data = encode_settings(settings)
        _check_refused(peer, data, ErrorCode.MALFORMED, "a list with a wrong entry")
        ((_, after),) = _take(peer)
        same = after.gain_milli == before.gain_milli
        check(same, f"gain {after.gain_milli} after a list that was refused")


@CASES.add("M-SET-1")
def the_longest_list(peer: HostPeer) -> None:
    """A list of MAX_SETTINGS entries, with the largest values and a bracket of MAX_BRACKET."""
    _open(peer)
    entries = [every(_UNKNOWN + at, MAX_SETTING) for at in range(MAX_SETTINGS - 1)]
    entries.append(Setting(_UNKNOWN, MAX_BRACKET - 1, -MAX_SETTING))
    _take(peer, MAX_BRACKET, entries)


@CASES.add("M-SET-2")
def unknown_controls(peer: HostPeer) -> None:
    """An unknown control is skipped, whatever its value; the others of the list count."""
    _open(peer)
    control = ControlId.GAIN
    value = other_value(peer, control)
    strange = [every(_UNKNOWN, -MAX_SETTING), Setting(0xFFFF, 0, 7)]
    ((_, start),) = _take(peer, 1, [strange[0], every(control, value), strange[1]])
    check(start.gain_milli == value, f"gain {value} beside unknown controls: {start.gain_milli}")


@CASES.add("M-SET-2")
def values_that_are_refused(peer: HostPeer) -> None:
    """SETTLED is 0 or 1, and a control that the manifest does not list is UNSUPPORTED."""
    _open(peer)
    manifest = peer.get_manifest()
    for each in CONTROLS:
        entry = manifest.find_control(each.id)
        if entry is None:
            data = encode_settings([every(each.id, 1)])
            what = f"{each.id.name}, which the manifest does not list,"
            _check_refused(peer, data, ErrorCode.UNSUPPORTED, what)
        elif not each.is_adjusted:
            for value in (entry.minimum - 1, entry.maximum + 1):
                data = encode_settings([every(each.id, value)])
                what = f"{each.id.name} {value}"
                _check_refused(peer, data, ErrorCode.UNSUPPORTED, what)
    ((_, start),) = _take(peer)
    check(not start.flags & FrameFlag.ADJUSTED, "ADJUSTED after a setting that was refused")


@CASES.add("M-SET-3")
def settings_last(peer: HostPeer) -> None:
    """A setting lasts, also over another Configure, until the session ends."""
    _open(peer)
    control = ControlId.GAIN
    value = other_value(peer, control)
    initial = find_control(peer, control).initial
    ((_, start),) = _take(peer)
    check(start.gain_milli == initial, f"gain {start.gain_milli} at first, initial is {initial}")
    _take(peer, 1, [every(control, value)])
    ((_, start),) = _take(peer, 1, [every(_UNKNOWN, 1)])
    check(start.gain_milli == value, f"gain {start.gain_milli} after {value} was set")
    peer.call(Configure(STILL, 0, peer.find_smallest_mode().id, 0, 0), Configured)
    ((_, start),) = _take(peer)
    check(start.gain_milli == value, f"gain {start.gain_milli} after a second Configure")
    peer.close()
    again = peer.start_session()
    _open(again)
    ((_, start),) = _take(again)
    check(start.gain_milli == initial, f"gain {start.gain_milli} in the next session")
    again.close()


@CASES.add("M-SET-3")
def streams_have_their_own(peer: HostPeer) -> None:
    """The settings of a still do not reach the preview that runs beside it."""
    _open(peer, PREVIEW, STILL)
    one = other_value(peer, ControlId.GAIN)
    other = other_value(peer, ControlId.GAIN, 0.25)
    peer.start_stream(20000, [every(ControlId.GAIN, one)])
    peer.wait_for_frame(PREVIEW)
    ((_, still),) = _take(peer, 1, [every(ControlId.GAIN, other)])
    check(still.gain_milli == other, f"the still has gain {still.gain_milli}, not {other}")
    mark = len(peer.log)
    for _ in range(2):
        start = read_frame_start(peer.wait_for_frame(PREVIEW, mark))
        check(start.gain_milli == one, f"the preview has gain {start.gain_milli} after a still")
        mark = len(peer.log)
    peer.call(Stop(PREVIEW), Accepted)


@CASES.add("M-SET-3")
def single_frames_do_not_last(peer: HostPeer) -> None:
    """A setting for one frame wins there; the frames beside it and the next request have theirs."""
    _open(peer)
    lasting = other_value(peer, ControlId.GAIN)
    single = other_value(peer, ControlId.GAIN, 0.25)
    settings = [Setting(ControlId.GAIN, 1, single), every(ControlId.GAIN, lasting)]
    gains = [start.gain_milli for _, start in _take(peer, 3, settings)]
    check(gains == [lasting, single, lasting], f"gains {gains} of three frames")
    ((_, start),) = _take(peer)
    check(start.gain_milli == lasting, f"gain {start.gain_milli} after a bracket")


@CASES.add("M-SET-3")
def each_stream_has_its_own_controls(peer: HostPeer) -> None:
    """No control of one stream reaches another, set by Capture or by SetSettings, in any order."""
    session = peer
    session.open_session()
    for order, is_change in ((ALL_STREAMS, False), (ALL_STREAMS[::-1], True)):
        configure_crops(session)
        lists = make_lists(session)
        values: dict[int, dict[int, int]] = {}
        initial = read_values(take_frame(session, order[0]), lists[order[0]])
        # Without FOCUS the lens stays where another stream has left it.
        initial.pop(ControlId.FOCUS, None)
        for stream in order:
            found = read_values(take_frame(session, stream), lists[stream])
            check_values(found, initial, f"stream {stream}, which has no settings,")
            settings = lists[stream]
            if is_change:
                session.call(SetSettings(stream, encode_settings(settings)), Accepted)
                settings = []
            start = take_frame(session, stream, settings)
            values[stream] = read_values(start, lists[stream])
        for stream in order:
            found = read_values(take_frame(session, stream), lists[stream])
            check_values(found, values[stream], f"stream {stream} behind frames of the others")
        session = replace_session(session, SESSION_ENDS[0])
    session.close()


@CASES.add("M-SET-3")
def settings_end_with_their_session(peer: HostPeer) -> None:
    """However a session ends, its settings do not reach the next one, on any stream."""
    session = peer
    session.open_session()
    configure_crops(session)
    lists = make_lists(session)
    initial = read_values(take_frame(session, STILL), lists[STILL])
    initial.pop(ControlId.FOCUS, None)
    for how in SESSION_ENDS:
        for stream in ALL_STREAMS:
            take_frame(session, stream, lists[stream])
        session = replace_session(session, how)
        configure_crops(session)
        for stream in ALL_STREAMS:
            found = read_values(take_frame(session, stream), lists[stream])
            check_values(found, initial, f"after {how}, stream {stream}")
    session.close()


@CASES.add("M-SET-3")
def focus_of_a_single_frame(peer: HostPeer) -> None:
    """Behind a frame with a FOCUS of its own the lens stays, or goes where FOCUS lasts."""
    peer.open_session()
    configure_crops(peer)
    single, lasting = (other_value(peer, ControlId.FOCUS, share) for share in (0.1, 0.2))
    first = Setting(ControlId.FOCUS, 0, single)
    for settings, wanted in (
        ([first], [single, single]),
        ([first, every(ControlId.FOCUS, lasting)], [single, lasting]),
        ([], [lasting, lasting]),
    ):
        found = [start.focus_mdpt for start in take_starts(peer, 2, settings, STILL)]
        is_near = all(abs(a - b) <= NEAR_MDPT for a, b in zip(found, wanted, strict=True))
        check(is_near, f"two frames are focused on {found}, not {wanted}")


def _take_gains(peer: HostPeer, count: int, settings: list[Setting]) -> list[int]:
    return [start.gain_milli for start in take_starts(peer, count, settings, STILL)]


@CASES.add("M-SET-3")
def no_single_frame_lasts(peer: HostPeer) -> None:
    """A setting for the first, the last or the only frame of a Capture does not last."""
    peer.open_session()
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    initial = find_control(peer, ControlId.GAIN).initial
    single = other_value(peer, ControlId.GAIN)
    for count, at in ((3, 0), (3, 2), (1, 0)):
        gains = _take_gains(peer, count, [Setting(ControlId.GAIN, at, single)])
        wanted = [single if each == at else initial for each in range(count)]
        check(gains == wanted, f"gains {gains}, and frame {at} alone was to have {single}")
        gains = _take_gains(peer, 1, [])
        said = f"gain {gains[0]} behind a Capture of {count} whose frame {at} had {single}"
        check(gains == [initial], said)


@CASES.add("M-SET-4")
def applied_as_asked(peer: HostPeer) -> None:
    """A value within the range is applied as it is, and is not ADJUSTED."""
    _open(peer)
    manifest = peer.get_manifest()
    for control in (ControlId.EXPOSURE, ControlId.GAIN):
        if manifest.find_control(control) is None:
            continue
        for share in (1.0, 0.5, 0.25):
            value = other_value(peer, control, share)
            ((_, start),) = _take(peer, 1, [every(control, value)])
            got = getattr(start, _FIELDS[control])
            check(got == value, f"{control.name} {value} was asked for, {got} applied")
            said = f"{control.name} {value} is within its range, and ADJUSTED"
            check(not start.flags & FrameFlag.ADJUSTED, said)


@CASES.add("M-SET-4")
def nearest_values(peer: HostPeer) -> None:
    """A value out of range becomes the nearest one, and is ADJUSTED; the next frame is not."""
    _open(peer)
    manifest = peer.get_manifest()
    for control, field in _FIELDS.items():
        entry = manifest.find_control(control)
        if entry is None:
            continue
        tolerance = NEAR_MDPT if control == ControlId.FOCUS else 0
        # The longest exposure takes too long.
        ends = [(entry.minimum - 1, entry.minimum)]
        if control != ControlId.EXPOSURE:
            ends.append((entry.maximum + 1, entry.maximum))
        for value, nearest in ends:
            ((_, start),) = _take(peer, 1, [every(control, value)])
            got = getattr(start, field)
            said = f"{control.name} {value} becomes {got}, and {nearest} is the nearest"
            check(abs(got - nearest) <= tolerance, said)
            said = f"{control.name} {value} becomes {got} without ADJUSTED"
            check(start.flags & FrameFlag.ADJUSTED, said)
        ((_, start),) = _take(peer, 1, [every(control, entry.minimum)])
        said = f"{control.name} {entry.minimum} is within its range, and ADJUSTED"
        check(not start.flags & FrameFlag.ADJUSTED, said)


@CASES.add("M-SET-4")
def aperture_of_a_moving_iris(peer: HostPeer) -> None:
    """A frame that does not wait for the iris states the f-number to which the iris moves."""
    _open(peer, STILL)
    entry = find_control(peer, ControlId.APERTURE)
    hasty = every(ControlId.SETTLED, 0)
    for value in (entry.maximum, entry.minimum):
        settings = [every(ControlId.APERTURE, value)]
        starts = [take_frame(peer, STILL, each) for each in ([*settings, hasty], settings)]
        got, wanted = ((each.aperture_milli, each.flags & FrameFlag.ADJUSTED) for each in starts)
        said = f"aperture and ADJUSTED of {value} are {got} while the iris moves, {wanted} later"
        check(got == wanted, said)


@CASES.add("M-SET-4")
def adjusted_frame_by_frame(peer: HostPeer) -> None:
    """In a bracket only the frame whose value is out of range is ADJUSTED."""
    peer.open_session()
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    entry = find_control(peer, ControlId.GAIN)
    values = (entry.maximum + 1, entry.initial, entry.minimum - 1, entry.minimum)
    settings = [Setting(ControlId.GAIN, at, value) for at, value in enumerate(values)]
    flags = [
        bool(each.flags & FrameFlag.ADJUSTED) for each in take_starts(peer, 4, settings, STILL)
    ]
    wanted = [not entry.minimum <= value <= entry.maximum for value in values]
    check(flags == wanted, f"gains {values} are ADJUSTED: {flags}")


@CASES.add("M-SET-5")
def nine_consecutive_frames(peer: HostPeer) -> None:
    """Nine frames of a bracket have consecutive numbers and their own settings."""
    _open(peer, PREVIEW, STILL)
    exposures = [other_value(peer, ControlId.EXPOSURE, number / 10) for number in range(9)]
    peer.start_stream(0)
    peer.wait_for_frame(PREVIEW)
    settings = [Setting(ControlId.EXPOSURE, at, value) for at, value in enumerate(exposures)]
    frames = _take(peer, 9, settings)
    numbers = [number for number, _ in frames]
    wanted = [(numbers[0] + at) & 0xFFFFFFFF for at in range(9)]
    check(numbers == wanted, f"the frames of a bracket have the numbers {numbers}")
    got = [start.exposure_us for _, start in frames]
    check(got == exposures, f"exposures {exposures} were asked for, {got} applied")
    peer.call(Stop(PREVIEW), Accepted)


@CASES.add("M-SET-5")
def a_bracket_of_the_preview(peer: HostPeer) -> None:
    """A Capture of the preview keeps the still out, which streams beside it."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_capture()
    still = peer.wait_for_frame(STILL)
    took_us = read_frame_start(still).exposure_us + read_frame_end(still).readout_us
    # Often enough to come between, and with time left for the preview, which comes second.
    peer.call(StartStream(STILL, 3 * took_us), Accepted)
    mark = len(peer.log)
    peer.start_capture(8, stream=PREVIEW)
    for _ in range(8):
        end = peer.wait_for_frame(PREVIEW, mark).end
        assert end is not None
        mark = peer.log.index(end) + 1
    peer.call(Stop(STILL), Accepted)
    starts = [p for p in peer.log if p.kind == MessageType.FRAME_START]
    numbers = [p.id for p in starts if p.header.stream == PREVIEW]
    wanted = [(numbers[0] + at) & 0xFFFFFFFF for at in range(8)]
    check(numbers == wanted, f"the frames of a Capture of the preview are numbered {numbers}")


@CASES.add("M-SET-6")
def a_capture_waits_for_the_lens(peer: HostPeer) -> None:
    """The frames of a focus bracket are sharp where they should be, and none is MOVING."""
    _open(peer)
    entry = find_control(peer, ControlId.FOCUS)
    places = [entry.minimum, entry.maximum, (entry.minimum + entry.maximum) // 2]
    settings = [Setting(ControlId.FOCUS, at, value) for at, value in enumerate(places)]
    for (_, start), place in zip(_take(peer, 3, settings), places, strict=True):
        said = f"focus {place} was asked for, and the lens was at {start.focus_mdpt}"
        check(abs(start.focus_mdpt - place) <= NEAR_MDPT, said)
        check(not start.flags & FrameFlag.MOVING, f"a frame that waits for {place} is MOVING")


@CASES.add("M-SET-6")
def a_preview_does_not_wait(peer: HostPeer) -> None:
    """A preview with SETTLED 0 says MOVING while the lens moves, and not after that."""
    _open(peer, PREVIEW)
    entry = find_control(peer, ControlId.FOCUS)
    _take(peer, 1, [every(ControlId.FOCUS, entry.minimum)], PREVIEW)
    mark = len(peer.log)
    peer.start_stream(0, [every(ControlId.FOCUS, entry.maximum)])
    peer.collect(0.6)

    def has_arrived(packet: Packet) -> bool:
        if packet.kind != MessageType.FRAME_START:
            return False
        start = read_frame_start(Picture(start=packet))
        return start.focus_mdpt >= entry.maximum - NEAR_MDPT

    # Of a slow module, too few frames may have come until now.
    peer.wait_for(has_arrived, PATIENCE_S, mark)
    peer.call(Stop(PREVIEW), Accepted)
    packets = [p for p in peer.log[mark:] if p.kind == MessageType.FRAME_START]
    starts = [read_frame_start(Picture(start=packet)) for packet in packets]
    if not starts:
        raise Failed("no frame of a preview")
    places = [start.focus_mdpt for start in starts]
    between = [
        start
        for start in starts
        if entry.minimum + NEAR_MDPT < start.focus_mdpt < entry.maximum - NEAR_MDPT
    ]
    still = [bool(start.flags & FrameFlag.MOVING) for start in between]
    check(all(still), f"frames at {places} are not all MOVING")
    check(places[-1] >= entry.maximum - NEAR_MDPT, f"the lens ends at {places[-1]}")
    check(not starts[-1].flags & FrameFlag.MOVING, "MOVING long after the lens has arrived")
    check(between, "no frame was exposed while the lens moved")


@CASES.add("M-SET-7")
def frames_take_their_time(peer: HostPeer) -> None:
    """From start to start passes the exposure, and ``interval_us`` says how long it was."""
    _open(peer)
    longest = find_control(peer, ControlId.EXPOSURE).maximum
    exposures = [min(longest, each) for each in (40_000, 80_000, 20_000, 60_000)]
    settings = [Setting(ControlId.EXPOSURE, at, value) for at, value in enumerate(exposures)]
    starts = [start for _, start in _take(peer, 4, settings)]
    check(starts[0].interval_us == 0, f"interval_us {starts[0].interval_us} of a first frame")
    for before, after in pairwise(starts):
        apart = after.timestamp_us - before.timestamp_us
        said = f"{apart} us after the frame before comes one with {after.exposure_us} us"
        check(apart >= after.exposure_us, said)
        said = f"interval_us {after.interval_us} of frames that are {apart} us apart"
        check(after.interval_us == apart, said)


@CASES.add("M-SET-7")
def each_request_has_a_first_frame(peer: HostPeer) -> None:
    """``interval_us`` is 0 for the first frame of every request, not for a stream's first alone."""
    peer.open_session()
    configure_crops(peer)
    for stream in ALL_STREAMS:
        capture = Capture(stream, 2)
        for message in (capture, StartStream(stream, 20000), capture):
            mark = len(peer.log)
            peer.call(message, Accepted)
            intervals = []
            for _ in range(2):
                picture = peer.wait_for_frame(stream, mark)
                assert picture.end is not None
                mark = peer.log.index(picture.end) + 1
                intervals.append(read_frame_start(picture).interval_us)
            said = f"{type(message).__name__} of stream {stream} has intervals {intervals}"
            check(intervals[0] == 0 < intervals[1], said)
            peer.call(Stop(stream), Accepted)


@CASES.add("M-SET-7")
def a_long_exposure(peer: HostPeer) -> None:
    """An exposure of 0.4 s takes 0.4 s."""
    _open(peer)
    exposure = min(find_control(peer, ControlId.EXPOSURE).maximum, 400_000)
    began = peer.wire.now()
    ((_, start),) = _take(peer, 1, [every(ControlId.EXPOSURE, exposure)])
    took = peer.wire.now() - began
    check(start.exposure_us == exposure, f"exposure {exposure} becomes {start.exposure_us}")
    check(took >= exposure / 1e6, f"a frame of {exposure} us comes after {took:.3f} s")


@CASES.add("M-SET-8")
def lists_of_a_change(peer: HostPeer) -> None:
    """SetSettings with a wrong list is refused as a whole, whether the stream runs or not."""
    _open(peer, PREVIEW)
    gain = other_value(peer, ControlId.GAIN)
    sound = every(ControlId.GAIN, gain)
    manifest = peer.get_manifest()
    lists = [
        (encode_settings([sound, each]), ErrorCode.MALFORMED)
        for each in (sound, Setting(_UNKNOWN, 0, 1), every(_UNKNOWN, MAX_SETTING + 1))
    ]
    lists.append((encode_settings([sound]) + b"\0", ErrorCode.MALFORMED))
    many = [every(_UNKNOWN + at, 1) for at in range(MAX_SETTINGS)]
    lists.append((encode_settings([sound, *many]), ErrorCode.MALFORMED))
    for control in CONTROLS:
        entry = manifest.find_control(control.id)
        if entry is None:
            data = encode_settings([sound, every(control.id, 1)])
            lists.append((data, ErrorCode.UNSUPPORTED))
        elif not control.is_adjusted:
            data = encode_settings([sound, every(control.id, entry.maximum + 1)])
            lists.append((data, ErrorCode.UNSUPPORTED))
    for data, code in lists:
        peer.expect_error(SetSettings(PREVIEW, data), code)
    peer.start_stream(20000)
    for data, code in lists:
        peer.expect_error(SetSettings(PREVIEW, data), code)
    mark = len(peer.log)
    for _ in range(3):
        start = read_frame_start(peer.wait_for_frame(PREVIEW, mark))
        check(start.gain_milli != gain, f"gain {gain} after a SetSettings that was refused")
        mark = len(peer.log)
    peer.call(Stop(PREVIEW), Accepted)


@CASES.add("M-SET-8")
def a_change_of_a_configured_stream(peer: HostPeer) -> None:
    """SetSettings of a CONFIGURED stream holds from its next frame on, for that stream alone."""
    _open(peer, PREVIEW, STILL)
    gain = other_value(peer, ControlId.GAIN)
    ((number, start),) = _take(peer)
    initial = start.gain_milli
    data = encode_settings([every(ControlId.GAIN, gain), every(_UNKNOWN, 1)])
    accepted = peer.call(SetSettings(STILL, data), Accepted)
    check(accepted.stream == STILL, f"Accepted of stream {accepted.stream}")
    said = f"first_frame {accepted.first_frame} after frame {number} was the last"
    check(accepted.first_frame == (number + 1) & 0xFFFFFFFF, said)
    for _ in range(2):
        ((_, start),) = _take(peer)
        check(start.gain_milli == gain, f"gain {start.gain_milli} after {gain} was set")
    ((_, start),) = _take(peer, 1, (), PREVIEW)
    check(start.gain_milli == initial, f"the other stream has gain {start.gain_milli}")


def _begins(packet: Packet, answer: Accepted) -> bool:
    """Return True for the FrameStart of a frame that has the change."""
    return packet.kind == MessageType.FRAME_START and packet.id >= answer.first_frame


def _list_pair(exposure_us: int, gain_milli: int) -> list[Setting]:
    return [every(ControlId.EXPOSURE, exposure_us), every(ControlId.GAIN, gain_milli)]


@CASES.add("M-SET-9")
def changes_of_a_running_stream(peer: HostPeer) -> None:
    """Each frame has the settings of the change that names it, and none has two of them."""
    _open(peer, PREVIEW)
    delay = peer.get_manifest().settings_delay
    pairs = [
        (other_value(peer, ControlId.EXPOSURE, share), other_value(peer, ControlId.GAIN, share))
        for share in (0.5, 0.25, 0.4, 0.1)
    ]
    request = peer.start_stream(0, _list_pair(*pairs[0]))
    mark = len(peer.log)
    peer.wait_for_frame(PREVIEW)
    changes = [(0, 0)]
    for at, pair in enumerate(pairs[1:] * 2, 1):
        answer = peer.call(SetSettings(PREVIEW, encode_settings(_list_pair(*pair))), Accepted)
        done_us = peer.grant_credits(PLENTY, PLENTY).uptime_us
        changes.append((answer.first_frame, done_us))
        peer.collect(0.15 + 0.03 * at)
        # A slow module needs longer for two frames that have the change.
        for _ in range(_MORE_ROUNDS):
            starts = [each for each in _of(peer.log[mark:], PREVIEW) if _begins(each, answer)]
            if len(starts) >= 2:
                break
            peer.collect(0.1)
    peer.call(Stop(PREVIEW), Accepted)
    numbers = []
    old_ones = [0] * len(changes)
    asked = [pairs[0], *pairs[1:] * 2]
    for packet in _of(peer.log[mark:], PREVIEW):
        if packet.kind != MessageType.FRAME_START:
            continue
        start = read_frame_start(Picture(start=packet))
        check(start.request == request, f"a frame of request {start.request} after a change")
        numbers.append(packet.id)
        now = max(at for at, (first, _) in enumerate(changes) if packet.id >= first)
        got = (start.exposure_us, start.gain_milli)
        said = f"frame {packet.id} has {got}, and first_frame of {asked[now]} is {changes[now][0]}"
        check(got == asked[now], said)
        for at, (first, done_us) in enumerate(changes):
            if start.timestamp_us > done_us and packet.id < first:
                old_ones[at] += 1
    gaps = [number for number, after in pairwise(numbers) if after != number + 1]
    check(not gaps, f"no frame follows {gaps} in a stream whose settings change")
    check(max(old_ones) <= delay, f"{old_ones} frames begin after changes, settings_delay {delay}")
    wanted = len(changes) * 2
    check(len(numbers) >= wanted, f"{len(numbers)} frames of a stream whose settings change")


@CASES.add("M-SET-9")
def what_a_change_does_not_name(peer: HostPeer) -> None:
    """SetSettings keeps the settings that it does not name, and a repeated one does nothing."""
    _open(peer, PREVIEW)
    exposure = other_value(peer, ControlId.EXPOSURE)
    gains = [other_value(peer, ControlId.GAIN, share) for share in (0.5, 0.25)]
    peer.start_stream(20000, [every(ControlId.EXPOSURE, exposure)])
    peer.wait_for_frame(PREVIEW)
    first = SetSettings(PREVIEW, encode_settings([every(ControlId.GAIN, gains[0])]))
    number = peer.send_request(first)
    answer = peer.wait_for_answer(number)
    second = SetSettings(PREVIEW, encode_settings([every(ControlId.GAIN, gains[1])]))
    accepted = peer.call(second, Accepted)
    peer.send(first, number)
    mark = len(peer.log)
    peer.collect(0.2)
    again = [p for p in peer.log[mark:] if p.kind == MessageType.ACCEPTED]
    same = answer is not None and bool(again) and again[0].payload == answer.payload
    check(same, "a repeated SetSettings is not answered as before")
    for _ in range(3):
        picture = peer.wait_for_frame(PREVIEW, mark)
        start = read_frame_start(picture)
        if start.gain_milli != gains[1]:
            assert picture.end is not None
            said = f"frame {picture.end.id} has gain {start.gain_milli}, not {gains[1]}"
            check(picture.end.id < accepted.first_frame, said)
        said = f"exposure {start.exposure_us} after a change of the gain"
        check(start.exposure_us == exposure, said)
        assert picture.end is not None
        mark = peer.log.index(picture.end) + 1
    peer.call(Stop(PREVIEW), Accepted)
    ((_, start),) = _take(peer, 1, (), PREVIEW)
    check(start.gain_milli == gains[1], f"gain {start.gain_milli} in the request after a change")
