"""Steps that many cases for modules take: a blocked frame, a Resend, a check of a frame's tiles."""

from __future__ import annotations

import struct
from itertools import pairwise

from lenslink_protocol.ids import Capability, EndStatus, MessageType
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Configured,
    GetManifest,
    ManifestPiece,
    Resend,
    Resent,
    StartStream,
)
from lenslink_protocol.packings import find_layout

from .cases import Failed, NotClaimed, check
from .host_peer import PLENTY, PREVIEW, QUIET_S, STILL, HostPeer, Picture, read_frame_end
from .packets import Packet, describe

Rectangle = tuple[int, int, int, int]
DATA = (MessageType.FRAME_START, MessageType.TILE, MessageType.FRAME_END)


def check_answers(peer: HostPeer) -> None:
    """Check that the module answers a request."""
    peer.call(GetManifest(0), ManifestPiece)


def expect_no_answer(peer: HostPeer, number: int, what: str) -> None:
    """Raise Failed if the request is answered. *what* names the request."""
    answer = peer.wait_for_answer(number, QUIET_S)
    check(answer is None, f"{what} is answered with {describe(answer)}")


def place_of(tile: Packet) -> Rectangle:
    """Return the rectangle that a tile names."""
    head = tile.header
    return head.x, head.y, head.width, head.height


def count_tile_bytes(packets: list[Packet], stream: int) -> int:
    """Return the bytes of the tiles of a stream."""
    tiles = (p for p in packets if p.kind == MessageType.TILE and p.header.stream == stream)
    return sum(tile.header.length for tile in tiles)


def check_sequences(packets: list[Packet]) -> None:
    """Check that the packets of lane 0 are numbered by one, from 0."""
    numbers = [packet.header.sequence for packet in packets if packet.lane == 0]
    check(numbers[0] == 0, f"the session begins with sequence {numbers[0]}")
    for before, after in pairwise(numbers):
        check((after - before) & 0xFFFFFFFF == 1, f"sequence {after} follows {before}")


def block_frame(peer: HostPeer, stream: int = PREVIEW, is_capture: bool = False) -> Configured:
    """Begin a frame that waits for credits after its first tile; return its plan.

    The frame is one of StartStream, or of a Capture of two frames.
    """
    peer.open_session()
    mode = peer.find_smallest_mode()
    configured = peer.configure(stream, 4 * mode.width)
    limits = [0, 0]
    limits[stream] = configured.tile_bytes
    peer.grant_credits(limits[0], limits[1])
    peer.call(Capture(stream, 2) if is_capture else StartStream(stream, 20000), Accepted)
    found = peer.wait_for(lambda p: p.kind == MessageType.TILE, 5.0)
    check(found is not None, "no tile within 5 s of the credit for it")
    return configured


def check_cover(configured: Configured, picture: Picture) -> None:
    """Check that a frame's tiles cover it exactly, each with the right length."""
    form = find_layout(configured.pixel_format)
    covered = bytearray(configured.width * configured.height)
    for tile in picture.tiles:
        x, y, width, height = place = place_of(tile)
        inside = x + width <= configured.width and y + height <= configured.height
        check(inside and width and height, f"a tile at {place}")
        size = form.count_bytes(width) * height
        check(tile.header.length == size, f"{tile.header.length} bytes at {place}, not {size}")
        check(tile.header.length <= configured.tile_bytes, f"{tile.header.length} bytes a tile")
        for row in range(y, y + height):
            at = row * configured.width + x
            check(not any(covered[at : at + width]), f"pixels twice: {place}")
            covered[at : at + width] = b"\1" * width
    status = read_frame_end(picture).status
    check(status == EndStatus.OK, f"the frame ends with status {status}")
    check(all(covered), f"{covered.count(0)} pixels of a frame that is OK were not sent")


def take_resendable_still(peer: HostPeer) -> tuple[Configured, Picture, int]:
    """Take a still of small tiles from a module with RESEND; return plan, frame and number."""
    if not peer.open_session().capabilities & Capability.RESEND:
        raise NotClaimed("the module does not send again (no RESEND)")
    mode = peer.find_smallest_mode()
    configured, picture = peer.take_still(4 * mode.width)
    assert picture.end is not None
    return configured, picture, picture.end.id


def ask_again(
    peer: HostPeer, number: int, flags: int, places: list[Rectangle], stream: int = STILL
) -> tuple[Resent, list[Packet]]:
    """Send Resend; return Resent and the packets of the frame that came before Resent."""
    mark = len(peer.log)
    ranges = b"".join(struct.pack("<4H", *place) for place in places)
    peer.send(Resend(flags, len(places), ranges), number, stream)
    found = peer.wait_for(lambda p: p.kind == MessageType.RESENT and p.id == number, 2.0, mark)
    if found is None:
        raise Failed("Resend is not answered within 2 s")
    message = found.message()
    assert isinstance(message, Resent)
    before = peer.log[mark : peer.log.index(found, mark)]
    return message, [p for p in before if p.kind in DATA and p.id == number]


def gone_rectangles(message: Resent) -> list[Rectangle]:
    """Return the rectangles that Resent calls gone."""
    check(len(message.gone) >= 8 * message.count, f"{message.count} rectangles announced")
    found = [struct.unpack_from("<4H", message.gone, 8 * i) for i in range(message.count)]
    return [(x, y, width, height) for x, y, width, height in found]


def cover(places: list[Rectangle], configured: Configured) -> bytearray:
    """Return a byte for each pixel of the frame: 1 if a rectangle covers the pixel."""
    covered = bytearray(configured.width * configured.height)
    for x, y, width, height in places:
        for row in range(y, y + height):
            at = row * configured.width + x
            covered[at : at + width] = b"\1" * width
    return covered


def open_lanes(peer: HostPeer) -> Configured:
    """Open a session over all lanes of the bench, and configure a still of small tiles."""
    peer.lanes = peer.wire.lanes
    if peer.wire.lanes < 2:
        raise NotClaimed("one lane is all there is")
    if peer.open_session().lanes < 2:
        raise NotClaimed("the module takes one lane of those that are offered")
    configured = peer.configure(STILL, 4 * peer.find_smallest_mode().width)
    peer.grant_credits(PLENTY, PLENTY)
    return configured


def does_limit_allow(limit: int, configured: Configured) -> bool:
    """Return True if a limit of Configure allows the tiles of Configured without ADJUSTED."""
    size, stride = configured.tile_bytes, configured.stride
    if limit == 0 or size > limit:
        return limit == 0
    least = limit - 2 * stride if limit >= stride else limit - 8
    return size == configured.frame_bytes or size > least
