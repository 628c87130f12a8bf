"""Cases for modules: packed pixels (SPEC.md, 6.3)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.ids import ConfigureFlag, ManifestKey
from lenslink_protocol.manifest import iterate_entries
from lenslink_protocol.messages import Configure, Configured
from lenslink_protocol.packings import Layout, find_layout

from .cases import Cases, NotClaimed, check
from .host_peer import PLENTY, STILL, HostPeer, read_frame_start

CASES: Cases[Callable[[HostPeer], None]] = Cases()


def _listed(peer: HostPeer) -> list[Layout]:
    """The formats that the manifest lists, and this kit knows."""
    if ManifestKey.FORMAT not in dict(iterate_entries(peer.read_manifest_bytes())):
        raise NotClaimed("the manifest lists no pixel formats")
    return [find_layout(code) for code in peer.read_manifest().formats]


def _configured(peer: HostPeer, form: Layout, tile_bytes: int = 0) -> Configured:
    message = Configure(STILL, 0, peer.find_smallest_mode().id, form.code, tile_bytes)
    return peer.call(message, Configured)


@CASES.add("M-PACK-1")
def formats_that_are_listed(peer: HostPeer) -> None:
    """Each format of the manifest is applied as it is asked for."""
    peer.open_session()
    for form in _listed(peer):
        answer = _configured(peer, form)
        applied = answer.pixel_format
        check(applied == form.code, f"{form.code.name} is asked for, {applied:#x} applied")
        adjusted = answer.flags & ConfigureFlag.ADJUSTED
        check(not adjusted, f"{form.code.name} is listed, and called adjusted")


@CASES.add("M-PACK-2")
def bytes_of_a_row(peer: HostPeer) -> None:
    """In each format the stride is what its pixels fill."""
    for number in range(len(_formats_of(peer))):
        fresh = peer.start_session()
        fresh.open_session()
        form = _listed(fresh)[number]
        answer = _configured(fresh, form)
        _agrees("Configured", form, answer.width, answer.pixel_format, answer.stride)
        frame = answer.stride * answer.height
        check(answer.frame_bytes == frame, f"{answer.frame_bytes} bytes a frame, not {frame}")
        fresh.grant_credits(PLENTY, PLENTY)
        fresh.start_capture()
        start = read_frame_start(fresh.wait_for_frame())
        _agrees("FrameStart", form, start.width, start.pixel_format, start.stride)
        fresh.close()


def _formats_of(peer: HostPeer) -> list[Layout]:
    peer.open_session()
    return _listed(peer)


def _agrees(who: str, form: Layout, width: int, pixel_format: int, stride: int) -> None:
    wanted = (form.code, form.count_bytes(width))
    said = (pixel_format, stride)
    check(
        said == wanted, f"{who} of {form.code.name} states format and stride {said}, not {wanted}"
    )


@CASES.add("M-PACK-3")
def tiles_of_whole_groups(peer: HostPeer) -> None:
    """In each format, tiles that are shorter than a row are cut where groups are."""
    for number in range(len(_formats_of(peer))):
        fresh = peer.start_session()
        fresh.open_session()
        form = _listed(fresh)[number]
        width = fresh.find_smallest_mode().width
        answer = _configured(fresh, form, form.count_bytes(width) * 2 // 3)
        fresh.grant_credits(PLENTY, PLENTY)
        fresh.start_capture()
        for tile in fresh.wait_for_frame().tiles:
            head = tile.header
            cut = not form.is_aligned(head.x, head.width, answer.width)
            place = f"{head.width} columns from {head.x}"
            check(not cut, f"a tile of {form.code.name} has {place}")
        fresh.close()
