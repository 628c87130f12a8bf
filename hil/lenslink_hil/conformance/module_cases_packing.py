"""Cases for modules: packed pixels (SPEC.md, 6.3)."""

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
from .pixel_rules import unpack_row, unpack_rules

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_ROWS = 12
"""Rows of a frame that are decoded to find out how its pixels are packed."""


def _list_formats(peer: HostPeer) -> list[Layout]:
    """The formats that the manifest lists, and this kit knows."""
    if ManifestKey.FORMAT not in dict(iterate_entries(peer.read_manifest_bytes())):
        raise NotClaimed("the manifest lists no pixel formats")
    return [find_layout(code) for code in peer.read_manifest().formats]


def _configure_format(peer: HostPeer, form: Layout, tile_bytes: int = 0) -> Configured:
    message = Configure(STILL, 0, peer.find_smallest_mode().id, form.code, tile_bytes)
    return peer.call(message, Configured)


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


def _open_and_list_formats(peer: HostPeer) -> list[Layout]:
    peer.open_session()
    return _list_formats(peer)


def _check_format(who: str, form: Layout, width: int, pixel_format: int, stride: int) -> None:
    wanted = (form.code, form.count_bytes(width))
    said = (pixel_format, stride)
    check(
        said == wanted, f"{who} of {form.code.name} states format and stride {said}, not {wanted}"
    )


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


@CASES.add("M-PACK-2", "M-PACK-3")
def pixels_in_their_packing(peer: HostPeer) -> None:
    """Decoded by the table of 6.3, each format shows the same scene, and no value has more bits.

    The scene may change a little between frames. A frame decoded by the wrong rule has nothing in
    common with the scene, so another rule must not fit better than the format's own.
    """
    forms = _open_and_list_formats(peer)
    plain = [form for form in forms if form.packing == Packing.UNPACKED]
    packed = [form for form in forms if form.packing != Packing.UNPACKED]
    if not plain:
        raise NotClaimed("the module lists no unpacked format to compare with")
    taken = _take_rows(peer, plain[0])
    pixels = [list(struct.unpack(f"<{len(row) // 2}H", row)) for row in taken.rows]
    most = max(max(row) for row in pixels)
    depth = plain[0].depth
    check(most < 1 << depth, f"a pixel of {plain[0].code.name} is {most}, with {depth} bits")
    for form in packed:
        data, white, _, _ = _take_rows(peer, form)
        width = len(pixels[0])
        # Formats of other depths have other white levels.
        scene = [[pixel * white // taken.white for pixel in row] for row in pixels]
        rules = {each: [unpack_row(row, each, form.depth, width) for row in data]
                 for each in unpack_rules(form.depth)}  # fmt: skip
        away = {each: _mean_difference(rows, scene) for each, rows in rules.items()}
        own = away[form.packing]
        best = min(away, key=lambda each: away[each])
        said = f"{form.code.name} fits {best.value} ({away[best]:.0f} DN away, not {own:.0f})"
        check(own <= 1.2 * away[best] + 2, said)


@CASES.add("M-PACK-3")
def pixels_below_their_bits(peer: HostPeer) -> None:
    """In each format every pixel is below 2^bits of FrameStart, unpacked ones too."""
    for form in _open_and_list_formats(peer):
        taken = _take_rows(peer, form)
        width = taken.width
        for row in taken.rows:
            if form.packing == Packing.UNPACKED:
                pixels = list(struct.unpack(f"<{width}H", row))
            else:
                pixels = unpack_row(row, form.packing, form.depth, width)
            said = (
                f"a pixel of {form.code.name} is {max(pixels)}, FrameStart says {taken.bits} bits"
            )
            check(max(pixels) < 1 << taken.bits, said)


class _Rows(NamedTuple):
    """Some rows of a still as bytes, and what its FrameStart says."""

    rows: list[bytes]
    white: int
    bits: int
    width: int


def _take_rows(peer: HostPeer, form: Layout) -> _Rows:
    """Take a still in a format, and return some of its rows."""
    session = peer.start_session()
    session.open_session()
    answer = _configure_format(session, form)
    session.grant_credits(PLENTY, PLENTY)
    session.start_capture()
    picture = session.wait_for_frame()
    frame = bytearray(answer.stride * answer.height)
    for tile in picture.tiles:
        head = tile.header
        size = form.count_bytes(head.width)
        for row in range(head.height):
            at = (head.y + row) * answer.stride + form.count_bytes(head.x)
            frame[at : at + size] = tile.payload[row * size : (row + 1) * size]
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
