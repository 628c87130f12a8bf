"""Cases for modules: pixels in bytes (SPEC.md, 6.3)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from lenslink_protocol.ids import ConfigureFlag, ManifestKey
from lenslink_protocol.manifest import iterate_entries
from lenslink_protocol.messages import Configure, Configured
from lenslink_protocol.packings import Layout, Packing, find_layout

from .cases import Cases, NotClaimed, check
from .host_peer import PLENTY, STILL, HostPeer, read_frame_start
from .module_steps import Rectangle
from .pixel_rules import decode_coded_tile, find_spare_bits, unpack_row, unpack_rules

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_ROWS = 12
"""Rows of a frame that are decoded to find out how its pixels are packed."""


def _list_formats(peer: HostPeer) -> list[Layout]:
    """The formats that the manifest lists, and this kit knows."""
    if ManifestKey.FORMAT not in dict(iterate_entries(peer.read_manifest_bytes())):
        raise NotClaimed("the manifest lists no pixel formats")
    return [find_layout(code) for code in peer.read_manifest().formats]


def _configure_format(
    peer: HostPeer,
    form: Layout,
    tile_bytes: int = 0,
    mode: int | None = None,
    crop: Rectangle = (0, 0, 0, 0),
) -> Configured:
    if mode is None:
        mode = peer.find_smallest_mode().id
    return peer.call(Configure(STILL, 0, mode, form.code, tile_bytes, *crop), Configured)


@CASES.add("M-PACK-1")
def formats_that_are_listed(peer: HostPeer) -> None:
    """Each format of the manifest is applied as it is asked for."""
    peer.open_session()
    for form in _list_formats(peer):
        answer = _configure_format(peer, form)
        applied = answer.pixel_format
        check(applied == form.code, f"{form.code.name} is asked for, {applied:#x} applied")
        adjusted = answer.flags & ConfigureFlag.ADJUSTED
        check(not adjusted, f"{form.code.name} is listed, and called adjusted")


def _open_and_list_formats(peer: HostPeer) -> list[Layout]:
    peer.open_session()
    return _list_formats(peer)


def _check_format(who: str, form: Layout, width: int, pixel_format: int, stride: int) -> None:
    wanted = (form.code, form.count_bytes(width))
    said = (pixel_format, stride)
    check(
        said == wanted, f"{who} of {form.code.name} states format and stride {said}, not {wanted}"
    )


@CASES.add("M-PACK-2")
def bytes_of_a_row(peer: HostPeer) -> None:
    """In each format the stride is what its pixels fill."""
    for number in range(len(_open_and_list_formats(peer))):
        fresh = peer.start_session()
        fresh.open_session()
        form = _list_formats(fresh)[number]
        answer = _configure_format(fresh, form)
        _check_format("Configured", form, answer.width, answer.pixel_format, answer.stride)
        frame = answer.stride * answer.height
        check(answer.frame_bytes == frame, f"{answer.frame_bytes} bytes a frame, not {frame}")
        fresh.grant_credits(PLENTY, PLENTY)
        fresh.start_capture()
        start = read_frame_start(fresh.wait_for_frame())
        _check_format("FrameStart", form, start.width, start.pixel_format, start.stride)
        fresh.close()


class _Rows(NamedTuple):
    """Some rows of a still as bytes, and what its FrameStart says."""

    rows: list[bytes]
    white: int
    bits: int
    width: int


def _take_rows(
    peer: HostPeer, form: Layout, mode: int | None = None, crop: Rectangle = (0, 0, 0, 0)
) -> _Rows:
    """Take a still in a format, of the smallest mode if no other is named. Return some rows.

    *crop* is a part of the mode; four zeros are the whole mode.
    """
    session = peer.start_session()
    session.open_session()
    answer = _configure_format(session, form, mode=mode, crop=crop)
    session.grant_credits(PLENTY, PLENTY)
    session.start_capture()
    picture = session.wait_for_frame()
    frame = bytearray(answer.stride * answer.height)
    for tile in picture.tiles:
        head = tile.header
        size = form.count_bytes(head.width)
        payload = tile.payload
        if form.packing == Packing.RICE and head.length < size * head.height:
            payload = decode_coded_tile(payload, head.width, head.height, form.depth)
        for row in range(head.height):
            at = (head.y + row) * answer.stride + form.count_bytes(head.x)
            frame[at : at + size] = payload[row * size : (row + 1) * size]
    session.close()
    # Some rows from all over the frame are enough, and soon decoded.
    step = max(1, answer.height // _ROWS)
    tops = range(0, answer.height, step)
    rows = [bytes(frame[y * answer.stride :][: answer.stride]) for y in tops]
    start = read_frame_start(picture)
    return _Rows(rows, start.white, start.bits, start.width)


def _mean_difference(rows: list[list[int]], scene: list[list[int]]) -> float:
    """Return how far apart two frames are, in DN a pixel."""
    pairs = [pair for a, b in zip(rows, scene, strict=True) for pair in zip(a, b, strict=True)]
    return sum(abs(a - b) for a, b in pairs) / len(pairs)


def _unpack_words(row: bytes, width: int) -> list[int]:
    return list(struct.unpack(f"<{len(row) // 2}H", row))[:width]


def _compare_packing(
    form: Layout, frames: list[_Rows], scenes: list[_Rows], has_same_depth: bool
) -> None:
    """Fail if the frames of a packed format contradict those of an unpacked one."""
    # Formats of other depths have other white levels.
    width = frames[0].width
    shown = [
        [
            [pixel * frames[0].white // each.white for pixel in _unpack_words(row, width)]
            for row in each.rows
        ]
        for each in scenes
    ]
    rules = {
        rule: [[unpack_row(row, rule, form.depth, width) for row in each.rows] for each in frames]
        for rule in unpack_rules(form.depth)
    }
    pairs = ((0, 1), (0, 2), (1, 2))
    change = max(_mean_difference(shown[a], shown[b]) for a, b in pairs)
    away = {
        rule: min(_mean_difference(rows, scene) for rows in decoded for scene in shown)
        for rule, decoded in rules.items()
    }
    own = away.pop(form.row_packing)
    best = min(away, key=lambda rule: away[rule])
    said = f"{form.code.name} is {own:.1f} DN away from the scene, which changes by {change:.1f}"
    is_other = own > 4 * away[best] + 8 and away[best] <= 2 * change + 2
    check(not is_other, f"{said}; read as {best.value}, it is {away[best]:.1f} DN away")
    if not has_same_depth:
        return
    check(own <= 4 * change + 8, said)
    is_still = change == 0 and frames[0].rows == frames[1].rows
    check(not is_still or own == 0, f"{said}")


@CASES.add("M-PACK-2", "M-PACK-3")
def pixels_in_their_packing(peer: HostPeer) -> None:
    """Decoded by the table of 6.3, each format shows the scene of the unpacked format.

    Nobody can tell the module what to show, and frames of one scene may differ. So the case takes
    frames of the unpacked format before and after those of a packed one. How much these differ
    is what the scene changes by itself. The case fails only where the bytes leave no doubt:

    - The scene does not change at all, and the packed frames, which are equal too, show another.
    - A packed frame is much further from the scene than the scene changes by itself.
    - Another rule shows the scene as well as the unpacked format does, and the format's own does
      not. This is all that formats without an unpacked one of their depth are judged by.
    """
    forms = _open_and_list_formats(peer)
    plain = [form for form in forms if form.packing == Packing.UNPACKED]
    packed = [form for form in forms if form.packing != Packing.UNPACKED]
    if not plain:
        raise NotClaimed("the module lists no unpacked format to compare with")
    for depth in sorted({form.depth for form in packed}):
        same = [form for form in plain if form.depth == depth]
        scene = (same or plain)[0]
        before = [_take_rows(peer, scene), _take_rows(peer, scene)]
        taken = [
            (form, [_take_rows(peer, form), _take_rows(peer, form)])
            for form in packed
            if form.depth == depth
        ]
        scenes = [*before, _take_rows(peer, scene)]
        for form, frames in taken:
            _compare_packing(form, frames, scenes, bool(same))


@CASES.add("M-PACK-3")
def tiles_of_whole_groups(peer: HostPeer) -> None:
    """In each format, tiles that are shorter than a row are cut where groups are."""
    for number in range(len(_open_and_list_formats(peer))):
        fresh = peer.start_session()
        fresh.open_session()
        form = _list_formats(fresh)[number]
        width = fresh.find_smallest_mode().width
        answer = _configure_format(fresh, form, form.count_bytes(width) * 2 // 3)
        fresh.grant_credits(PLENTY, PLENTY)
        fresh.start_capture()
        for tile in fresh.wait_for_frame().tiles:
            head = tile.header
            cut = not form.is_aligned(head.x, head.width, answer.width)
            place = f"{head.width} columns from {head.x}"
            check(not cut, f"a tile of {form.code.name} has {place}")
        fresh.close()


@CASES.add("M-PACK-3")
def spare_bits_are_0(peer: HostPeer) -> None:
    """The spare bits at the end of a row are 0, in each format and in each kind of row's end.

    A crop of 14 or 2 columns ends inside a group of each packing that has groups of 4 pixels.
    """
    forms = _open_and_list_formats(peer)
    # The modes with the fewest pixels of each kind of end: a group has at most four pixels.
    modes = sorted(peer.read_manifest().modes, key=lambda mode: mode.width * mode.height)
    chosen = {mode.width % 4: mode for mode in reversed(modes)}
    for form in forms:
        if form.packing == Packing.UNPACKED:
            continue
        wholes = [(mode.id, (0, 0, 0, 0)) for mode in chosen.values()]
        crops = [(modes[0].id, crop) for crop in ((2, 2, 14, 8), (0, 0, 2, 4))]
        for mode, crop in wholes + crops:
            taken = _take_rows(peer, form, mode, crop)
            for row in taken.rows:
                spare = find_spare_bits(row, form.row_packing, form.depth, taken.width)
                said = f"{form.code.name}, {taken.width} columns: a row ends in {row[-3:].hex()}"
                check(not spare, f"{said}, so its spare bits are {spare:#x}")


def _decode(form: Layout, row: bytes, width: int) -> list[int]:
    """Return the pixels of a row by the table of 6.3."""
    if form.packing == Packing.UNPACKED:
        return _unpack_words(row, width)
    return unpack_row(row, form.row_packing, form.depth, width)


@CASES.add("M-PACK-3")
def pixels_below_their_bits(peer: HostPeer) -> None:
    """In each format every pixel is below 2^bits of FrameStart, unpacked ones too."""
    for form in _open_and_list_formats(peer):
        taken = _take_rows(peer, form)
        for row in taken.rows:
            pixels = _decode(form, row, taken.width)
            said = (
                f"a pixel of {form.code.name} is {max(pixels)}, FrameStart says {taken.bits} bits"
            )
            check(max(pixels) < 1 << taken.bits, said)
