"""Cases for hosts: packed pixels (SPEC.md, 6.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lenslink.receive.unpacking import pack
from lenslink_protocol.ids import ManifestKey, MessageType, PixelFormat
from lenslink_protocol.manifest import encode_entry
from lenslink_protocol.messages import Configure, Configured, FormatEntry, FrameStart
from lenslink_protocol.packings import find_layout

from .cases import Cases, check
from .module_peer import HEIGHT, PIXELS, ROWS, WIDTH, Item, Script
from .packets import Packet

CASES: Cases[type[Script]] = Cases()

_FORM = find_layout(PixelFormat.RG12p)
_ROWS = pack(np.frombuffer(PIXELS, "<u2").reshape(HEIGHT, WIDTH), _FORM)
_STRIDE = _FORM.count_bytes(WIDTH)


class Packed(Script):
    """A module that sends nothing but 12-bit pixels in PFNC's packing."""

    def make_manifest(self) -> bytes:
        entry = FormatEntry(_FORM.code).encode()
        return super().make_manifest() + encode_entry(ManifestKey.FORMAT, entry)

    def make_configured(self, message: Configure) -> Configured:
        return replace(
            super().make_configured(message),
            pixel_format=_FORM.code,
            stride=_STRIDE,
            frame_bytes=_STRIDE * HEIGHT,
            tile_bytes=_STRIDE * ROWS,
        )

    def make_start_item(self) -> Item:
        item = super().make_start_item()
        message = FrameStart.decode(item.payload)
        packed = replace(message, pixel_format=_FORM.code, stride=_STRIDE)
        return replace(item, payload=packed.encode())

    def make_items(self) -> list[Item]:
        tiles = [
            Item(MessageType.TILE, _ROWS[top : top + ROWS].tobytes(), (0, top, WIDTH, ROWS))
            for top in range(0, HEIGHT, ROWS)
        ]
        return [self.make_start_item(), *tiles, self.make_end_item()]


@CASES.add("H-PACK-1")
class InsideGroups(Packed):
    """Tiles that begin, or end, with the second pixel of two that share a byte.

    A tile that ends there comes with the bytes of its pixels, and with those of the whole group.
    """

    def make_items(self) -> list[Item]:
        begins = Item(MessageType.TILE, b"\xa5" * 3 * ROWS, (1, 0, 2, ROWS))
        ends = Item(MessageType.TILE, b"\xa5" * 2 * ROWS, (0, ROWS, 1, ROWS))
        filled = Item(MessageType.TILE, b"\xa5" * 3 * ROWS, (0, 2 * ROWS, 1, ROWS))
        start, *rest = super().make_items()
        return [start, begins, ends, filled, *rest]


@CASES.add("H-PACK-2")
class ListedFormats(Packed):
    """What Configure names is 0 or stands in the manifest."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = message.pixel_format
        check(asked in (0, _FORM.code), f"Configure asks for pixel format {asked:#x}")
        super().on_configure(packet, message)
