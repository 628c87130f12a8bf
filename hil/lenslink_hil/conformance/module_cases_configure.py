"""Cases for modules: a stream's states, and Configure (SPEC.md, 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

from lenslink_protocol.controls import encode_settings
from lenslink_protocol.ids import ConfigureFlag, ControlId, ErrorCode, MessageType, PixelFormat
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Configure,
    Configured,
    Error,
    Flush,
    Flushed,
    FrameStart,
    SetBudget,
    SetSettings,
    StartStream,
    Stop,
)
from lenslink_protocol.packings import find_layout
from lenslink_protocol.params import MAX_CONTROL, MAX_STREAMS

from .cases import Cases, Failed, check
from .host_peer import PLENTY, PREVIEW, STILL, HostPeer, read_frame_start
from .module_steps import (
    ALL_STREAMS,
    CAPTURE_A_STILL,
    START_50_FPS,
    check_cover,
    does_limit_allow,
    every,
    find_control,
    other_value,
)
from .packets import describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()


@CASES.add("M-STATE-1")
def states(peer: HostPeer) -> None:
    """What a stream's state does not allow is refused, and it goes back to CONFIGURED."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    start = StartStream(PREVIEW, 20000)
    peer.expect_error(start, ErrorCode.STATE)
    peer.expect_error(Capture(STILL, 1), ErrorCode.STATE)
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream()
    peer.expect_error(start, ErrorCode.STATE)
    peer.expect_error(Configure(PREVIEW, 0, mode, 0, 0), ErrorCode.STATE)
    peer.try_call(Stop(PREVIEW))
    peer.configure(PREVIEW)


@CASES.add("M-STATE-1")
def configured_again_after_a_capture(peer: HostPeer) -> None:
    """After its last frame a Capture leaves its stream CONFIGURED: the next one is accepted."""
    peer.open_session()
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    for _ in range(3):
        mark = len(peer.log)
        answer = peer.try_call(CAPTURE_A_STILL)
        check(isinstance(answer, Accepted), f"the next Capture gets {describe(answer)}")
        peer.wait_for_frame(STILL, mark)
    peer.configure(STILL)


@CASES.add("M-STATE-1")
def configured_again_after_stop(peer: HostPeer) -> None:
    """After Stop and after Flush a stream is CONFIGURED: it starts without a new Configure."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    for ending in (Stop(PREVIEW), Flush()):
        answer = peer.try_call(START_50_FPS)
        check(isinstance(answer, Accepted), f"StartStream gets {describe(answer)}")
        peer.wait_for_frame(PREVIEW, len(peer.log))
        peer.try_call(ending)
    peer.call(START_50_FPS, Accepted)
    peer.wait_for_frame(PREVIEW, len(peer.log))
    peer.call(Stop(PREVIEW), Accepted)


@CASES.add("M-STATE-1")
def streams_have_states_of_their_own(peer: HostPeer) -> None:
    """The still is configured, captured and stopped while the preview streams, which goes on."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(20000)
    peer.expect_error(CAPTURE_A_STILL, ErrorCode.STATE)
    peer.configure(STILL)
    peer.call(CAPTURE_A_STILL, Accepted)
    peer.wait_for_frame(STILL)
    peer.call(Stop(STILL), Accepted)
    peer.wait_for_frame(PREVIEW, len(peer.log))
    peer.expect_error(START_50_FPS, ErrorCode.STATE)
    peer.expect_error(Configure(PREVIEW, 0, peer.find_smallest_mode().id, 0, 0), ErrorCode.STATE)
    peer.call(Stop(PREVIEW), Accepted)


@CASES.add("M-STATE-1")
def every_row_of_the_state_table(peer: HostPeer) -> None:
    """Each stream answers each request in each state as the table says."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    for stream in ALL_STREAMS:
        starts = (Capture(stream, 1), StartStream(stream, 20000))
        trial = Configure(stream, ConfigureFlag.TEST_ONLY, mode, 0, 0)
        change = SetSettings(stream, b"")
        for message in (*starts, change):
            peer.expect_error(message, ErrorCode.STATE)
        peer.call(Stop(stream), Accepted)
        peer.call(Flush(), Flushed)
        peer.call(trial, Configured)
        peer.expect_error(starts[0], ErrorCode.STATE)
        peer.configure(stream)
        peer.call(Stop(stream), Accepted)
        peer.call(Flush(), Flushed)
        peer.call(trial, Configured)
        peer.call(change, Accepted)
        mark = len(peer.log)
        peer.call(starts[1], Accepted)
        for refused in (*starts, trial, replace(trial, flags=0)):
            peer.expect_error(refused, ErrorCode.STATE)
        peer.call(change, Accepted)
        peer.wait_for_frame(stream, mark)
        peer.call(Stop(stream), Accepted)
        mark = len(peer.log)
        peer.call(starts[0], Accepted)
        peer.wait_for_frame(stream, mark)
        peer.configure(stream)


@CASES.add("M-STATE-1", "M-STATE-4")
def checks_in_their_order(peer: HostPeer) -> None:
    """Where two checks fail, the first one decides the Error; after an Error nothing changed."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    peer.expect_error(Capture(STILL, 0), ErrorCode.UNSUPPORTED)
    before = peer.configure(STILL, 4 * mode.width)
    peer.expect_error(Configure(STILL, 0, 65000, 0, 2 * mode.width), ErrorCode.UNSUPPORTED)
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream(20000)
    peer.expect_error(Configure(PREVIEW, 0, 65000, 0, 0), ErrorCode.STATE)
    peer.expect_error(Capture(PREVIEW, 0), ErrorCode.UNSUPPORTED)
    start = read_frame_start(peer.wait_for_frame(PREVIEW))
    # A refused request must not leave its settings behind.
    settings = [every(ControlId.GAIN, other_value(peer, ControlId.GAIN))]
    refused = Capture(PREVIEW, 1, encode_settings(settings))
    peer.expect_error(refused, ErrorCode.STATE)
    later = read_frame_start(peer.wait_for_frame(PREVIEW, len(peer.log)))
    kept = (later.exposure_us, later.gain_milli) == (start.exposure_us, start.gain_milli)
    check(kept, "a Capture that was refused has changed the settings")
    peer.call(Stop(PREVIEW), Accepted)
    mark = len(peer.log)
    peer.start_capture()
    longest = max(tile.header.length for tile in peer.wait_for_frame(STILL, mark).tiles)
    said = f"tiles of {longest} bytes, {before.tile_bytes} before a Configure that was refused"
    check(longest <= before.tile_bytes, said)


@CASES.add("M-STATE-1")
def every_mode_of_every_stream(peer: HostPeer) -> None:
    """Each mode of the manifest is configured on each stream, with its own size."""
    peer.open_session()
    for mode in peer.get_manifest().modes:
        for stream in ALL_STREAMS:
            answer = peer.call(Configure(stream, 0, mode.id, 0, 0), Configured)
            got = (answer.stream, answer.mode, answer.width, answer.height)
            wanted = (stream, mode.id, mode.width, mode.height)
            check(got == wanted, f"mode {mode.id} of stream {stream} gets {describe(answer)}")
            size = answer.stride * answer.height
            check(answer.frame_bytes == size, f"{answer.frame_bytes} bytes a frame, not {size}")


@CASES.add("M-STATE-1")
def each_stream_does_both(peer: HostPeer) -> None:
    """StartStream of the still and Capture of the preview work, and end as the others do."""
    peer.open_session()
    peer.configure(PREVIEW)
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    peer.call(StartStream(STILL, 20000), Accepted)
    peer.expect_error(Capture(STILL, 1), ErrorCode.STATE)
    for _ in range(2):
        peer.wait_for_frame(STILL, len(peer.log))
    peer.call(Stop(STILL), Accepted)
    mark = len(peer.log)
    peer.call(Capture(PREVIEW, 2), Accepted)
    first = peer.wait_for_frame(PREVIEW, mark)
    assert first.end is not None
    peer.wait_for_frame(PREVIEW, peer.log.index(first.end) + 1)
    peer.collect(0.1)
    count = sum(p.kind == MessageType.FRAME_END for p in peer.log[mark:])
    check(count == 2, f"a Capture of two frames of the preview sends {count}")
    peer.call(Capture(PREVIEW, 1), Accepted)


@CASES.add("M-STATE-1")
def the_newest_configuration_counts(peer: HostPeer) -> None:
    """A second Configure of a stream replaces the first one."""
    peer.open_session()
    width = peer.find_smallest_mode().width
    peer.configure(STILL, 8 * width)
    second = peer.configure(STILL, 2 * width)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_capture()
    picture = peer.wait_for_frame()
    check_cover(second, picture)
    mark = len(peer.log)
    third = peer.configure(STILL, 8 * width)
    peer.start_capture()
    picture = peer.wait_for_frame(STILL, mark)
    check_cover(third, picture)
    longest = max(tile.header.length for tile in picture.tiles)
    said = f"tiles of {longest} bytes, {third.tile_bytes} are configured"
    check(longest > second.tile_bytes or second.tile_bytes == third.tile_bytes, said)


@CASES.add("M-STATE-1")
def states_of_a_change(peer: HostPeer) -> None:
    """SetSettings is refused without a configuration, during a Capture, and without a stream."""
    peer.open_session()
    data = encode_settings([every(ControlId.GAIN, find_control(peer, ControlId.GAIN).maximum)])
    peer.expect_error(SetSettings(STILL, data), ErrorCode.STATE)
    peer.expect_error(SetSettings(MAX_STREAMS, data), ErrorCode.UNSUPPORTED)
    peer.configure(STILL)
    peer.grant_credits(PLENTY, PLENTY)
    exposure = min(find_control(peer, ControlId.EXPOSURE).maximum, 200_000)
    mark = len(peer.log)
    peer.start_capture(2, [every(ControlId.EXPOSURE, exposure)])
    peer.expect_error(SetSettings(STILL, data), ErrorCode.STATE)
    starts = []
    for _ in range(2):
        picture = peer.wait_for_frame(STILL, mark)
        starts.append(read_frame_start(picture))
        assert picture.end is not None
        mark = peer.log.index(picture.end) + 1
    check(starts[0].gain_milli == starts[1].gain_milli, "a refused SetSettings has an effect")


@CASES.add("M-STATE-2")
def test_only(peer: HostPeer) -> None:
    """A configuration that is only tried is answered like a real one, and not applied."""
    peer.open_session()
    message = Configure(STILL, ConfigureFlag.TEST_ONLY, peer.find_smallest_mode().id, 0, 0)
    answer = peer.call(message, Configured)
    check(answer.flags & ConfigureFlag.TEST_ONLY, f"TEST_ONLY is answered with {describe(answer)}")
    peer.expect_error(Capture(STILL, 1), ErrorCode.STATE)


@CASES.add("M-STATE-2")
def a_trial_changes_nothing(peer: HostPeer) -> None:
    """TEST_ONLY on a configured stream leaves its configuration as it was."""
    peer.open_session()
    width = peer.find_smallest_mode().width
    before = peer.configure(STILL, 8 * width)
    trial = Configure(STILL, ConfigureFlag.TEST_ONLY, before.mode, before.pixel_format, 2 * width)
    answer = peer.call(trial, Configured)
    check(answer.flags & ConfigureFlag.TEST_ONLY, f"TEST_ONLY is answered with {describe(answer)}")
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_capture()
    picture = peer.wait_for_frame()
    longest = max(tile.header.length for tile in picture.tiles)
    said = f"tiles of {longest} bytes after a trial, {before.tile_bytes} were configured"
    check(longest > answer.tile_bytes or before.tile_bytes == answer.tile_bytes, said)
    check_cover(before, picture)


@CASES.add("M-STATE-2")
def a_trial_without_a_configuration(peer: HostPeer) -> None:
    """TEST_ONLY of a stream that is not configured leaves it so; a wrong mode is refused."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    for stream in ALL_STREAMS:
        trial = Configure(stream, ConfigureFlag.TEST_ONLY, mode, 0, 0)
        answer = peer.call(trial, Configured)
        check(answer.flags & ConfigureFlag.TEST_ONLY, f"a trial gets {describe(answer)}")
        peer.expect_error(replace(trial, mode=65000), ErrorCode.UNSUPPORTED)
        peer.expect_error(Capture(stream, 1), ErrorCode.STATE)
        plain = peer.call(Configure(stream, 0, mode, 0, 0), Configured)
        said = f"{describe(plain)} says TEST_ONLY"
        check(not plain.flags & ConfigureFlag.TEST_ONLY, said)
        alike = replace(plain, flags=0) == replace(answer, flags=0)
        check(alike, f"a trial said {describe(answer)}, and {describe(plain)} is applied")


@CASES.add("M-STATE-3")
def adjusted(peer: HostPeer) -> None:
    """Another pixel format, or tiles of another length than the limit allows, are ADJUSTED."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    rows = 4 * peer.configure().width
    tried = product((0, 0x01100031, 0x0110000C), (0, 1, rows, 2 * rows + 6, 0xFFFFFFFF))
    for pixel_format, tile_bytes in tried:
        answer = peer.try_call(Configure(STILL, 0, mode, pixel_format, tile_bytes))
        if isinstance(answer, Error):
            continue
        if not isinstance(answer, Configured):
            raise Failed(f"Configure is answered with {describe(answer)}")
        differs = pixel_format not in (0, answer.pixel_format) or not does_limit_allow(
            tile_bytes, answer
        )
        said = answer.flags & ConfigureFlag.ADJUSTED
        asked = f"format {pixel_format:#x} and tiles of {tile_bytes} bytes"
        check(said or not differs, f"{asked} get {describe(answer)}, which is not ADJUSTED")


@CASES.add("M-STATE-3")
def the_limit_of_a_tile(peer: HostPeer) -> None:
    """Without ADJUSTED the limit is kept: whole rows if a row fits, and as many as fit."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    for rows in (1, 2, 3, 8):
        for extra in (0, 6):
            limit = 2 * mode.width * rows + extra
            answer = peer.call(Configure(STILL, 0, mode.id, 0, limit), Configured)
            if answer.flags & ConfigureFlag.ADJUSTED:
                continue
            said = f"a limit of {limit} bytes gives {answer.tile_bytes}, which is not ADJUSTED"
            check(does_limit_allow(limit, answer), said)


@CASES.add("M-STATE-3")
def tiles_that_the_host_bounds(peer: HostPeer) -> None:
    """Tiles that are shorter than their limit, because of the host's max_payload, are ADJUSTED."""
    session = peer
    for bound in (MAX_CONTROL, 2 * MAX_CONTROL + 6):
        session.max_payload = bound
        session.open_session()
        mode = session.find_smallest_mode().id
        for stream, limit in product(ALL_STREAMS, (0, bound, 8 * MAX_CONTROL)):
            answer = session.call(Configure(stream, 0, mode, 0, limit), Configured)
            asked = f"stream {stream}, max_payload {bound} and a limit of {limit} bytes"
            check(answer.tile_bytes <= bound, f"{asked} get {describe(answer)}")
            is_adjusted = bool(answer.flags & ConfigureFlag.ADJUSTED)
            said = f"{asked} get {describe(answer)}, which is not ADJUSTED"
            check(is_adjusted or does_limit_allow(limit, answer), said)
        session.close()
        session = session.start_session()


@CASES.add("M-STATE-4")
def unsupported(peer: HostPeer) -> None:
    """A stream, a mode and a number of frames that there are not."""
    peer.open_session()
    modes = {mode.id for mode in peer.get_manifest().modes}
    absent = next(number for number in range(65535, 0, -1) if number not in modes)
    peer.expect_error(Configure(STILL, 0, absent, 0, 0), ErrorCode.UNSUPPORTED)
    peer.expect_error(Configure(MAX_STREAMS, 0, min(modes), 0, 0), ErrorCode.UNSUPPORTED)
    peer.configure()
    peer.expect_error(Capture(STILL, 0), ErrorCode.UNSUPPORTED)
    peer.expect_error(Capture(MAX_STREAMS, 1), ErrorCode.UNSUPPORTED)


@CASES.add("M-STATE-4")
def nothing_beyond_the_last(peer: HostPeer) -> None:
    """StartStream, Capture, Stop and Configure of a stream from MAX_STREAMS, and of mode 0."""
    peer.open_session()
    mode = peer.find_smallest_mode().id
    peer.configure(STILL)
    peer.configure(PREVIEW)
    for stream in (MAX_STREAMS, MAX_STREAMS + 1, 255):
        for message in (
            Configure(stream, 0, mode, 0, 0),
            StartStream(stream, 0),
            Capture(stream, 1),
            Stop(stream),
        ):
            peer.expect_error(message, ErrorCode.UNSUPPORTED)
    for stream in (STILL, PREVIEW):
        peer.expect_error(Capture(stream, 0), ErrorCode.UNSUPPORTED)


@CASES.add("M-STATE-3", "M-GROW-2")
def nothing_to_adjust(peer: HostPeer) -> None:
    """What the module chooses is its first format, not ADJUSTED; unknown flags have no effect."""
    peer.open_session()
    manifest = peer.get_manifest()
    mode = peer.find_smallest_mode().id
    first = manifest.formats[0] if manifest.formats else None
    for stream in ALL_STREAMS:
        for pixel_format in (0, *manifest.formats[-2:]):
            peer.call(Configure(stream, 0, mode, pixel_format, 0), Configured)
            for flags in (0, ConfigureFlag.TEST_ONLY, 0xFC, 0xFC | ConfigureFlag.TEST_ONLY):
                answer = peer.call(Configure(stream, flags, mode, 0, 0), Configured)
                said = f"Configure with the flags {int(flags):#x} gets {describe(answer)}"
                check(answer.flags == flags & ConfigureFlag.TEST_ONLY, said)
                check(answer.stream == stream, said)
                said = f"no format is named, and {answer.pixel_format:#x} is applied"
                check(first in (None, answer.pixel_format), said)


@CASES.add("M-STATE-2")
def a_trial_of_everything(peer: HostPeer) -> None:
    """A trial of another mode, crop, format and length leaves each of them as it was."""
    peer.open_session()
    manifest = peer.get_manifest()
    mode = peer.find_smallest_mode().id
    other = next((each.id for each in manifest.modes if each.id != mode), mode)
    formats: list[int] = list(manifest.formats) or [0]
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    for stream in ALL_STREAMS:
        before = peer.call(Configure(stream, 0, mode, formats[0], 0, 2, 2, 16, 16), Configured)
        trial = Configure(stream, ConfigureFlag.TEST_ONLY, other, formats[-1], 64, 4, 4, 12, 8)
        peer.call(trial, Configured)
        mark = len(peer.log)
        peer.call(Capture(stream, 1), Accepted)
        picture = peer.wait_for_frame(stream, mark)
        check_cover(before, picture)
        start = read_frame_start(picture)
        got = (start.mode, start.pixel_format, start.crop_x, start.crop_y)
        wanted = (before.mode, before.pixel_format, 2, 2)
        check(got == wanted, f"mode, format and place are {got} behind a trial, not {wanted}")


@CASES.add("M-STATE-1")
def first_frame_of_each_answer(peer: HostPeer) -> None:
    """``first_frame`` of each Accepted is the number of the next frame of any stream."""
    peer.open_session()
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    for stream in ALL_STREAMS:
        peer.configure(stream)
    mark = len(peer.log)
    peer.start_capture()
    end = peer.wait_for_frame(STILL, mark).end
    assert end is not None
    messages: list[AnyMessage] = [Stop(stream) for stream in ALL_STREAMS]
    messages += [SetSettings(stream, b"") for stream in ALL_STREAMS]
    for message in (*messages, SetBudget(0xFFFFFFFF), Capture(PREVIEW, 1)):
        answer = peer.call(message, Accepted)
        said = f"{describe(message)} behind frame {end.id} gets {describe(answer)}"
        check(answer.first_frame == (end.id + 1) & 0xFFFFFFFF, said)


@CASES.add("M-STATE-1")
def state_before_other_errors(peer: HostPeer) -> None:
    """Where the state of the stream forbids a request, its settings are not looked at."""
    peer.open_session()
    wrong = encode_settings([every(ControlId.SETTLED, 2)])
    for stream in ALL_STREAMS:
        for message in (Capture(stream, 1, wrong), StartStream(stream, 0, wrong)):
            peer.expect_error(message, ErrorCode.STATE)
        peer.expect_error(SetSettings(stream, wrong), ErrorCode.STATE)
    peer.configure(PREVIEW)
    peer.call(START_50_FPS, Accepted)
    for message in (Capture(PREVIEW, 1, wrong), StartStream(PREVIEW, 0, wrong)):
        peer.expect_error(message, ErrorCode.STATE)
    peer.expect_error(SetSettings(PREVIEW, wrong), ErrorCode.UNSUPPORTED)
    crop = Configure(PREVIEW, 0, peer.find_smallest_mode().id, 0, 0, 1, 1, 1, 1)
    peer.expect_error(crop, ErrorCode.STATE)
    peer.call(Stop(PREVIEW), Accepted)


@CASES.add("M-STATE-1")
def the_first_of_two_refusals(peer: HostPeer) -> None:
    """Of two reasons to refuse a request, the one that Table 6 names first decides."""
    peer.open_session()
    cut, wrong = b"\0", encode_settings([every(ControlId.SETTLED, 2)])
    for stream in (*ALL_STREAMS, MAX_STREAMS):
        for message in (
            Capture(stream, 0, cut),
            Capture(stream, 1, cut),
            StartStream(stream, 0, cut),
            SetSettings(stream, cut),
        ):
            peer.expect_error(message, ErrorCode.MALFORMED)
        peer.expect_error(Capture(stream, 0, wrong), ErrorCode.UNSUPPORTED)
    manifest, mode = peer.get_manifest(), peer.find_smallest_mode()
    if manifest.power is None or not mode.active_mw:
        return
    peer.call(SetBudget(manifest.power.idle_mw + manifest.power.motor_mw), Accepted)
    for stream in ALL_STREAMS:
        starts = (Capture(stream, 1), StartStream(stream, 0))
        for message in (*starts, Capture(stream, 1, wrong)):
            peer.expect_error(message, ErrorCode.STATE)
        peer.configure(stream)
        for message in (
            Capture(stream, 0),
            Capture(stream, 1, wrong),
            StartStream(stream, 0, wrong),
        ):
            peer.expect_error(message, ErrorCode.UNSUPPORTED)
        for message in starts:
            peer.expect_error(message, ErrorCode.POWER)
    peer.call(SetBudget(0xFFFFFFFF), Accepted)
    for stream in ALL_STREAMS:
        peer.call(StartStream(stream, 20000), Accepted)
        for flags in (0, ConfigureFlag.TEST_ONLY):
            peer.expect_error(Configure(stream, flags, 65000, 0, 0), ErrorCode.STATE)
        peer.call(Stop(stream), Accepted)


def _check_start(peer: HostPeer, plan: Configured, start: FrameStart, what: str) -> None:
    """Check FrameStart against Configured, the manifest and Table 9."""
    sensor = peer.get_manifest().sensor
    got = (start.mode, start.width, start.height, start.pixel_format, start.stride)
    wanted = (plan.mode, plan.width, plan.height, plan.pixel_format, plan.stride)
    check(got == wanted, f"{what}: mode, size, format and stride are {got}, not {wanted}")
    check(start.cfa == sensor.cfa, f"{what}: cfa {start.cfa}, the sensor has {sensor.cfa}")
    depth = find_layout(plan.pixel_format).depth
    said = f"{what}: bits {start.bits} of a format of {depth}, white {start.white}"
    check(8 <= start.bits <= depth and 1 <= start.white < 1 << start.bits, said)
    said = f"{what}: black_milli {start.black_milli}, white {start.white}"
    check(all(black < 1000 * start.white for black in start.black_milli), said)
    check(1 <= start.orientation <= 8, f"{what}: orientation {start.orientation}")


@CASES.add("M-PACK-1", "M-CAM-2")
def streams_side_by_side(peer: HostPeer) -> None:
    """Each stream has the mode, the crop, the format and the tiles that were configured for it."""
    peer.open_session()
    manifest = peer.get_manifest()
    formats: list[int] = list(manifest.formats) or [0]
    modes = sorted(manifest.modes, key=lambda mode: mode.width * mode.height)[:2]
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    plans = {}
    for stream in ALL_STREAMS:
        form, mode = formats[-1 - stream % len(formats)], modes[stream % len(modes)].id
        limit, x = 256 >> stream, 2 * stream
        message = Configure(stream, 0, mode, form, limit, x, 2, min(32, modes[0].width - x) & ~1, 8)
        plans[stream] = peer.call(message, Configured)
    for stream, plan in plans.items():
        mark = len(peer.log)
        peer.call(Capture(stream, 1), Accepted)
        picture = peer.wait_for_frame(stream, mark)
        check_cover(plan, picture)
        _check_start(peer, plan, read_frame_start(picture), f"stream {stream} beside others")


@CASES.add("M-STATE-3", "M-STATE-2", "M-PACK-2")
def limits_of_crops_and_formats(peer: HostPeer) -> None:
    """A limit holds for the rows of the crop in their format, and a trial says what is applied."""
    peer.open_session()
    manifest = peer.get_manifest()
    mode = peer.find_smallest_mode()
    width = min(40, mode.width) & ~1
    formats: list[int] = list(manifest.formats) or [0]
    # A format of each length of a row.
    kinds = {find_layout(form).bits: form for form in formats if form} or {0: 0}
    for stream, form in product(ALL_STREAMS, kinds.values()):
        whole = Configure(stream, 0, mode.id, form, 0, 0, 0, width, 8)
        stride = peer.call(whole, Configured).stride
        for limit in (1, stride * 2 // 3, stride, stride + 8, 2 * stride + 2, 5 * stride):
            message = replace(whole, tile_bytes=limit)
            trial = peer.call(replace(message, flags=ConfigureFlag.TEST_ONLY), Configured)
            answer = peer.call(message, Configured)
            said = f"a trial said {describe(trial)}, and {describe(answer)} is applied"
            check(replace(trial, flags=trial.flags & ~ConfigureFlag.TEST_ONLY) == answer, said)
            is_adjusted = answer.flags & ConfigureFlag.ADJUSTED
            said = f"a limit of {limit} bytes gets {describe(answer)}, which is not ADJUSTED"
            check(is_adjusted or does_limit_allow(limit, answer), said)
            size = answer.stride * answer.height
            check(answer.frame_bytes == size, f"{answer.frame_bytes} bytes a frame, not {size}")


@CASES.add("M-STATE-3", "M-PACK-2", "M-STATE-2")
def formats_that_are_not_listed(peer: HostPeer) -> None:
    """A format that the manifest does not list is refused, or another one applied with ADJUSTED."""
    peer.open_session()
    listed = set(peer.get_manifest().formats)
    mode = peer.find_smallest_mode().id
    strange = [code for code in PixelFormat if code not in listed]
    depths = {find_layout(code).depth for code in listed}
    # Other phases of the formats that it lists are the ones that a module may take for its own.
    near = [code for code in strange if find_layout(code).depth in depths]
    tried: list[int] = [*near[:4], *strange[:2], *strange[-2:], 1, 0xFFFFFFFF]
    for stream, code in product(ALL_STREAMS, tried):
        message = Configure(stream, 0, mode, code, 0)
        answers = []
        for flags in (ConfigureFlag.TEST_ONLY, 0):
            answer = peer.try_call(replace(message, flags=flags))
            said = f"the format {code:#x}, which is not listed, gets {describe(answer)}"
            if isinstance(answer, Configured):
                check(not listed or answer.pixel_format in listed, said)
                # A module that lists none has one all the same.
                differs = answer.pixel_format != code
                check(not differs or answer.flags & ConfigureFlag.ADJUSTED, said)
            else:
                code_of = answer.code if isinstance(answer, Error) else None
                check(code_of == ErrorCode.UNSUPPORTED, said)
            answers.append(replace(answer, flags=0) if isinstance(answer, Configured) else None)
        check(answers[0] == answers[1], f"a trial of the format {code:#x} is answered differently")
