"""Cases for modules: crops, and the stream of a region of interest (SPEC.md, 5.6)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from itertools import pairwise

from lenslink_protocol.controls import Setting, encode_settings
from lenslink_protocol.ids import ConfigureFlag, ControlId, ErrorCode, FrameFlag, MessageType
from lenslink_protocol.manifest import Mode
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Configure,
    Configured,
    Flush,
    Flushed,
    FrameStart,
    SetSettings,
    StartStream,
    Stop,
)
from lenslink_protocol.packings import Packing, find_layout

from .cases import Cases, NotClaimed, check
from .host_peer import PLENTY, PREVIEW, ROI, STILL, HostPeer, read_frame_start
from .module_steps import check_cover, every, find_control
from .packets import Packet, describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_STREAMS = (PREVIEW, STILL, ROI)

Crop = tuple[int, int, int, int]


def _open(peer: HostPeer) -> Mode:
    """Open a session with credits for every stream, and return the smallest mode."""
    peer.open_session()
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    return peer.find_smallest_mode()


def _configure(peer: HostPeer, stream: int, mode: Mode, crop: Crop, flags: int = 0) -> Configured:
    """Configure a crop, and check that Configured states it."""
    answer = peer.call(Configure(stream, flags, mode.id, 0, 0, *crop), Configured)
    stated = (answer.x, answer.y, answer.width, answer.height)
    check(stated == crop, f"the crop {crop} of stream {stream} is answered with {stated}")
    stride = find_layout(answer.pixel_format).count_bytes(answer.width)
    said = f"stride {answer.stride} and {answer.frame_bytes} bytes for the crop {crop}"
    sizes = (answer.stride, answer.frame_bytes)
    check(sizes == (stride, stride * answer.height), said)
    return answer


def _start(peer: HostPeer, stream: int) -> None:
    peer.call(StartStream(stream, 0), Accepted)


@CASES.add("M-SET-5")
def bracket_beside_the_roi(peer: HostPeer) -> None:
    """The frames of a Capture are consecutive, also while a ROI runs, and those of a ROI too."""
    mode = _open(peer)
    for stream in _STREAMS:
        _configure(peer, stream, mode, (2, 2, 4, 4))
    for running, stream in ((ROI, STILL), (PREVIEW, ROI)):
        _start(peer, running)
        peer.wait_for_frame(running, len(peer.log))
        mark = len(peer.log)
        request = peer.start_capture(5, (), stream)
        for _ in range(5):
            picture = peer.wait_for_frame(stream, mark)
            assert picture.end is not None
            mark = peer.log.index(picture.end) + 1
        peer.call(Stop(running), Accepted)
        numbers = [
            p.id
            for p in peer.log
            if p.kind == MessageType.FRAME_START
            and p.header.stream == stream
            and getattr(p.message(), "request", None) == request
        ]
        are_consecutive = all(
            after == (number + 1) & 0xFFFFFFFF for number, after in pairwise(numbers)
        )
        said = f"the frames of a Capture on stream {stream} have the numbers {numbers}"
        check(are_consecutive, said)


@CASES.add("M-STOP-2")
def flush_ends_the_roi(peer: HostPeer) -> None:
    """Flush ends a ROI as it ends the other streams."""
    mode = _open(peer)
    _configure(peer, ROI, mode, (2, 2, 4, 4))
    _start(peer, ROI)
    peer.wait_for_frame(ROI)
    peer.call(Flush(), Flushed)
    mark = len(peer.log)
    late = [str(p) for p in peer.collect() if p.header.stream == ROI]
    check(not late, f"after Flushed comes {late[:3]}")
    peer.call(Capture(ROI, 1), Accepted)
    peer.wait_for_frame(ROI, mark)


@CASES.add("M-CREDIT-1", "M-LIVE-2")
def credits_of_the_roi(peer: HostPeer) -> None:
    """Tiles of the ROI need credits of their own, and HeartbeatReply counts them."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    peer.grant_credits(PLENTY, PLENTY)
    configured = _configure(peer, ROI, mode, (0, 2, mode.width & ~1, (mode.height - 2) & ~1))
    peer.start_capture(1, (), ROI)
    mark = len(peer.log)
    early = [p for p in peer.collect() if p.kind == MessageType.TILE]
    check(not early, f"{len(early)} tiles of the ROI without credits")
    reply = peer.grant_credits(PLENTY, PLENTY, configured.tile_bytes)
    check(not any(reply.sent), f"sent is {reply.sent} before any tile")
    peer.collect()
    sent = sum(p.header.length for p in peer.log[mark:] if p.kind == MessageType.TILE)
    check(sent <= configured.tile_bytes, f"{sent} bytes with {configured.tile_bytes} granted")
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    picture = peer.wait_for_frame(ROI, 0)
    check_cover(configured, picture)
    reply = peer.grant_credits(PLENTY, PLENTY, PLENTY)
    assert picture.end is not None
    count = sum(p.header.length for p in peer.log if p.kind == MessageType.TILE)
    check(reply.sent == (0, 0, count), f"sent is {reply.sent} after {count} bytes of the ROI")
    wanted = (0, 0, picture.end.id + 1)
    check(reply.begun == wanted, f"begun is {reply.begun} after frame {picture.end.id} of the ROI")


def _list_crops(mode: Mode) -> list[Crop]:
    """Return crops of a mode: in its corners and in its middle, small and large."""
    width, height = mode.width & ~1, mode.height & ~1
    return [
        (0, 0, 2, 2),
        (width - 2, height - 2, 2, 2),
        (2, 4, width // 2 & ~1, height // 2 & ~1),
        (2, 0, width - 2, height),
        (0, 2, width, height - 2),
        (0, 0, width, height),
    ]


@CASES.add("M-ROI-1")
def crops_of_each_stream(peer: HostPeer) -> None:
    """Each stream takes crops, states them, and sends frames of their size."""
    mode = _open(peer)
    for stream in _STREAMS:
        for crop in _list_crops(mode):
            _configure(peer, stream, mode, crop, ConfigureFlag.TEST_ONLY)
        for crop in _list_crops(mode)[1:3]:
            configured = _configure(peer, stream, mode, crop)
            mark = len(peer.log)
            peer.start_capture(1, (), stream)
            picture = peer.wait_for_frame(stream, mark)
            start = read_frame_start(picture)
            size = (start.width, start.height)
            check(size == crop[2:], f"a frame of {size} with the crop {crop}")
            check_cover(configured, picture)


def _get_place(start: FrameStart) -> tuple[int, int]:
    return start.crop_x, start.crop_y


def _take(
    peer: HostPeer, stream: int, settings: Iterable[Setting] = (), count: int = 1
) -> list[FrameStart]:
    """Capture, and return the FrameStart of each frame."""
    mark = len(peer.log)
    peer.start_capture(count, settings, stream)
    found = []
    for _ in range(count):
        picture = peer.wait_for_frame(stream, mark)
        found.append(read_frame_start(picture))
        assert picture.end is not None
        mark = peer.log.index(picture.end) + 1
    return found


@CASES.add("M-ROI-1")
def the_whole_mode(peer: HostPeer) -> None:
    """Four zeros are the whole mode, also after a crop."""
    mode = _open(peer)
    for stream in _STREAMS:
        for crop in ((0, 0, 0, 0), (2, 2, 4, 4), (0, 0, 0, 0)):
            answer = peer.call(Configure(stream, 0, mode.id, 0, 0, *crop), Configured)
        stated = (answer.x, answer.y, answer.width, answer.height)
        said = f"no crop of stream {stream} is answered with {stated}"
        check(stated == (0, 0, mode.width, mode.height), said)
        (start,) = _take(peer, stream)
        size = (start.width, start.height)
        check(size == (mode.width, mode.height), f"a frame of {size} without a crop")
        check(_get_place(start) == (0, 0), f"a whole frame at {_get_place(start)}")


@CASES.add("M-ROI-1")
def crops_that_are_none(peer: HostPeer) -> None:
    """A crop that is odd, empty, or not inside the mode is UNSUPPORTED, and changes nothing."""
    mode = _open(peer)
    width, height = mode.width & ~1, mode.height & ~1
    wrong = [
        (1, 0, 4, 4), (0, 1, 4, 4), (0, 0, 5, 4), (0, 0, 4, 5),
        (0, 0, 0, 4), (0, 0, 4, 0), (2, 2, 0, 0), (2, 0, 0, 0), (0, 2, 0, 0),
        (2, 0, width, 4), (0, 2, 4, height), (width, 0, 2, 2), (0, height, 2, 2),
        (0xFFFE, 0, 2, 2), (0, 0xFFFE, 2, 2), (4, 4, 0xFFFE, 0xFFFE),
    ]  # fmt: skip
    for stream in _STREAMS:
        _configure(peer, stream, mode, (2, 4, 8, 6))
        for crop in wrong:
            for flags in (0, ConfigureFlag.TEST_ONLY):
                message = Configure(stream, flags, mode.id, 0, 0, *crop)
                peer.expect_error(message, ErrorCode.UNSUPPORTED)
        (start,) = _take(peer, stream)
        got = (*_get_place(start), start.width, start.height)
        check(got == (2, 4, 8, 6), f"the crop (2, 4, 8, 6) is {got} after refused ones")


@CASES.add("M-ROI-2")
def where_a_crop_is(peer: HostPeer) -> None:
    """FrameStart states where the crop is, and Configure moves it."""
    mode = _open(peer)
    for stream in _STREAMS:
        for x, y in ((6, 4), (0, 2), (2, 0)):
            _configure(peer, stream, mode, (x, y, 4, 4))
            _configure(peer, stream, mode, (8, 8, 4, 4), ConfigureFlag.TEST_ONLY)
            (start,) = _take(peer, stream)
            place = _get_place(start)
            check(place == (x, y), f"stream {stream}: a crop at {(x, y)} begins at {place}")
            adjusted = start.flags & FrameFlag.ADJUSTED
            check(not adjusted, "the place that was configured is ADJUSTED")


@CASES.add("M-ROI-2")
def a_crop_of_its_own_for_each_frame(peer: HostPeer) -> None:
    """The frames of a Capture have the valid places nearest to those that were asked for."""
    mode = _open(peer)
    for control in (ControlId.ROI_X, ControlId.ROI_Y):
        find_control(peer, control)
    right, bottom = (mode.width - 8) & ~1, (mode.height - 4) & ~1
    places = (
        ((0, 0), (0, 0)), ((right, 2), (right, 2)), ((6, bottom), (6, bottom)),
        ((right + 2, 4), (right, 4)), ((4, bottom + 2), (4, bottom)), ((3, 2), (2, 2)),
        ((2, 7), (2, 6)), ((-2, 4), (0, 4)), ((4, -1000), (4, 0)), ((1 << 20, 1 << 29),
        (right, bottom)),
    )  # fmt: skip
    for stream in _STREAMS:
        _configure(peer, stream, mode, (2, 2, 8, 4))
        settings = []
        for at, ((x, y), _) in enumerate(places):
            settings += [Setting(ControlId.ROI_X, at, x), Setting(ControlId.ROI_Y, at, y)]
        for (asked, valid), start in zip(
            places, _take(peer, stream, settings, len(places)), strict=True
        ):
            place = _get_place(start)
            check(place == valid, f"stream {stream}: {asked} was asked for, and {place} applied")
            is_adjusted = bool(start.flags & FrameFlag.ADJUSTED)
            said = f"ADJUSTED is {is_adjusted} at {place}, where {asked} was asked for"
            check(is_adjusted == (asked != valid), said)
        (start,) = _take(peer, stream)
        said = f"a crop configured at (2, 2) is at {_get_place(start)} after a bracket"
        check(_get_place(start) == (2, 2), said)


@CASES.add("M-ROI-2")
def a_place_that_lasts(peer: HostPeer) -> None:
    """A place for every frame lasts, SetSettings changes it, and Configure sets it anew."""
    mode = _open(peer)
    find_control(peer, ControlId.ROI_X)
    for stream in _STREAMS:
        _configure(peer, stream, mode, (2, 2, 4, 4))
        for settings, wanted in (([every(ControlId.ROI_X, 6)], (6, 2)), ([], (6, 2))):
            (start,) = _take(peer, stream, settings)
            said = f"stream {stream}: the crop is at {_get_place(start)}, not at {wanted}"
            check(_get_place(start) == wanted, said)
        change = SetSettings(stream, encode_settings([every(ControlId.ROI_X, 4)]))
        peer.call(change, Accepted)
        (start,) = _take(peer, stream)
        said = f"stream {stream}: the crop is at {_get_place(start)} after SetSettings"
        check(_get_place(start) == (4, 2), said)
        _configure(peer, stream, mode, (0, 4, 4, 4))
        (start,) = _take(peer, stream)
        said = f"stream {stream}: a crop configured at (0, 4) is at {_get_place(start)}"
        check(_get_place(start) == (0, 4), said)
        _take(peer, stream, [every(ControlId.ROI_X, 8)])
        _configure(peer, stream, mode, (0, 4, 4, 4))
        (start,) = _take(peer, stream)
        said = f"stream {stream}: a crop configured at (0, 4) again is at {_get_place(start)}"
        check(_get_place(start) == (0, 4), said)


@CASES.add("M-ROI-2")
def no_place_without_a_crop(peer: HostPeer) -> None:
    """A stream without a crop has 0 only."""
    mode = _open(peer)
    find_control(peer, ControlId.ROI_X)
    peer.call(Configure(STILL, 0, mode.id, 0, 0), Configured)
    (start,) = _take(peer, STILL, [every(ControlId.ROI_X, 2)])
    check(_get_place(start) == (0, 0), f"a whole frame at {_get_place(start)}")
    check(bool(start.flags & FrameFlag.ADJUSTED), "a place without a crop is not ADJUSTED")


def _list_starts(packets: list[Packet]) -> list[tuple[int, int]]:
    """Return number and stream of each frame that begins."""
    return [(p.id, p.header.stream) for p in packets if p.kind == MessageType.FRAME_START]


@CASES.add("M-ROI-3")
def preview_beside_the_roi(peer: HostPeer) -> None:
    """A preview beside a ROI gets every other frame at least, and the ROI has frames too."""
    mode = _open(peer)
    for stream, crop in ((PREVIEW, (0, 0, 0, 0)), (ROI, (2, 2, 4, 4))):
        peer.call(Configure(stream, 0, mode.id, 0, 0, *crop), Configured)
        _start(peer, stream)
    mark = len(peer.log)
    for stream in (PREVIEW, ROI):
        peer.wait_for_frame(stream, mark)
    mark = len(peer.log)
    for _ in range(4):
        picture = peer.wait_for_frame(PREVIEW, mark)
        assert picture.end is not None
        mark = peer.log.index(picture.end) + 1
    starts = dict(_list_starts(peer.log))
    for stream in (PREVIEW, ROI):
        peer.call(Stop(stream), Accepted)
    both = max(number for number, stream in starts.items() if stream == PREVIEW)
    first = min(number for number, stream in starts.items() if stream == ROI)
    # A frame whose FrameStart was lost may be one of the preview.
    for number in range(first + 1, both):
        pair = (starts.get(number), starts.get(number + 1))
        check(pair != (ROI, ROI), f"frames {number} and {number + 1} are of the ROI")


_GAP_S = 0.06
_LATER_S = 0.004


def _check_turns(packets: list[Packet]) -> None:
    """Check that a frame of the preview is between each two of the ROI, also where stills are."""
    starts = dict(_list_starts(packets))
    since = -1
    for number in range(min(starts), max(starts) + 1):
        # A frame whose FrameStart was lost, or waits, may be one of the preview.
        stream = starts.get(number, PREVIEW)
        if stream == ROI:
            said = f"frames {since} and {number} are of the ROI, and none of the preview is between"
            check(since < 0, said)
        if stream != STILL:
            since = number if stream == ROI else -1


@CASES.add("M-ROI-3")
def turns_beside_stills_and_without_credits(peer: HostPeer) -> None:
    """The preview has its turn also if a still comes between, and while its tiles wait."""
    peer.open_session()
    mode = peer.find_smallest_mode()
    crop = (2, 2, 4, 4)
    for stream in _STREAMS:
        _configure(peer, stream, mode, crop)
    # The preview's tiles wait, and there is little of them.
    peer.grant_credits(0, PLENTY, PLENTY)
    for stream in (PREVIEW, ROI):
        _start(peer, stream)
    peer.collect(_GAP_S)
    peer.grant_credits(PLENTY, PLENTY, PLENTY)
    mark = len(peer.log)
    for stream in (ROI, PREVIEW):
        peer.wait_for_frame(stream, mark)
        peer.call(Stop(stream), Accepted)
    _check_turns(peer.log)
    mark = len(peer.log)
    for stream in (PREVIEW, ROI):
        _start(peer, stream)
    for _ in range(4):
        # Behind a frame of the preview comes one of the ROI, and behind that the still.
        start = len(peer.log)
        peer.wait_for_frame(PREVIEW, start)
        peer.collect(_LATER_S)
        peer.start_capture()
        peer.wait_for_frame(STILL, start)
    _check_turns(peer.log[mark:])
    peer.call(Stop(PREVIEW), Accepted)
    # A preview of one frame has its turn too.
    mark = len(peer.log)
    answer = peer.call(Capture(PREVIEW, 1), Accepted)
    picture = peer.wait_for_frame(PREVIEW, mark)
    assert picture.end is not None
    before = picture.end.id - answer.first_frame
    check(before <= 2, f"{before} frames of the ROI begin before that of a Capture of the preview")
    peer.call(Stop(ROI), Accepted)


_Rows = list[tuple[int, ...]]


def _read_rows(peer: HostPeer, plan: Configured, settings: Iterable[Setting] = ()) -> _Rows:
    """Take a still of unpacked pixels, and return its rows."""
    mark = len(peer.log)
    peer.start_capture(1, settings)
    picture = peer.wait_for_frame(STILL, mark)
    check_cover(plan, picture)
    frame = bytearray(2 * plan.width * plan.height)
    for tile in picture.tiles:
        head = tile.header
        for row in range(head.height):
            at = 2 * ((head.y + row) * plan.width + head.x)
            part = tile.payload[2 * head.width * row : 2 * head.width * (row + 1)]
            frame[at : at + len(part)] = part
    return list(struct.iter_unpack(f"<{plan.width}H", frame))


def _measure(rows: _Rows, whole: _Rows, x: int, y: int) -> float:
    """Return how far the pixels of a crop are from those of the whole frame at a place, in DN."""
    away = [
        abs(pixel - whole[y + row][x + column])
        for row, line in enumerate(rows)
        for column, pixel in enumerate(line)
    ]
    return sum(away) / len(away)


@CASES.add("M-ROI-1", "M-ROI-2")
def pixels_of_a_crop(peer: HostPeer) -> None:
    """A crop shows its part of the mode, where FrameStart says, and not another part.

    Nobody can tell the module what to show. So the case takes whole frames before and after the
    crop. It fails only if the crop is far from its part of them, and near to another part.
    """
    mode = _open(peer)
    formats = [find_layout(code) for code in peer.get_manifest().formats]
    plain = [form.code for form in formats if form.packing == Packing.UNPACKED]
    if formats and not plain:
        raise NotClaimed("the module lists no unpacked format to look at")
    form = plain[0] if plain else 0
    whole = peer.call(Configure(STILL, 0, mode.id, form, 0), Configured)
    scenes = [_read_rows(peer, whole)]
    width, height = min(32, mode.width // 2) & ~1, min(16, mode.height // 2) & ~1
    right, bottom = (mode.width - width) & ~1, (mode.height - height) & ~1
    middle = (right // 2 & ~1, bottom // 2 & ~1)
    shown: list[tuple[tuple[int, int], tuple[int, int], _Rows]] = []
    for place, moved in (((right, bottom), (right, bottom)), (middle, (right, 0))):
        message = Configure(STILL, 0, mode.id, form, 0, *place, width, height)
        plan = peer.call(message, Configured)
        stated = (plan.x, plan.y, plan.width, plan.height)
        check(stated == (*place, width, height), f"{describe(message)} is answered with {stated}")
        has_both = all(
            peer.get_manifest().find_control(each) for each in (ControlId.ROI_X, ControlId.ROI_Y)
        )
        settings = []
        if has_both and moved != place:
            settings = [every(ControlId.ROI_X, moved[0]), every(ControlId.ROI_Y, moved[1])]
        shown.append((place, moved if settings else place, _read_rows(peer, plan, settings)))
    peer.call(Configure(STILL, 0, mode.id, form, 0), Configured)
    scenes.append(_read_rows(peer, whole))
    for configured, (x, y), rows in shown:
        part = [line[x : x + width] for line in scenes[1][y : y + height]]
        change = _measure(part, scenes[0], x, y)
        own = min(_measure(rows, scene, x, y) for scene in scenes)
        for other in {(0, 0), configured, (y, x)} - {(x, y)}:
            if other[0] > right or other[1] > bottom:
                continue
            away = min(_measure(rows, scene, *other) for scene in scenes)
            said = f"a crop at {(x, y)} is {own:.1f} DN away from that part of the mode"
            is_other = own > 4 * change + 8 and own > 4 * away
            check(not is_other, f"{said}, and {away:.1f} DN from that at {other}")
