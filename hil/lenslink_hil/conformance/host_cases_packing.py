"""Cases for hosts: pixels in bytes (SPEC.md, 6.3)."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import numpy as np

from lenslink.receive.unpacking import pack
from lenslink_protocol.ids import ManifestKey, MessageType, PixelFormat
from lenslink_protocol.manifest import encode_entry, iterate_entries
from lenslink_protocol.messages import (
    Configure,
    Configured,
    FormatEntry,
    FrameEnd,
    FrameStart,
    ModeEntry,
    SensorEntry,
)
from lenslink_protocol.packings import find_layout
from lenslink_protocol.rice import encode_tile

from .cases import Cases, NotClaimed, check
from .module_peer import HEIGHT, MODE, PIXELS, ROWS, WIDTH, HostResult, Item, Script
from .packets import Packet

CASES: Cases[type[Script]] = Cases()

_FORM = find_layout(PixelFormat.RG12p)
_ROWS = pack(np.frombuffer(PIXELS, "<u2").reshape(HEIGHT, WIDTH), _FORM)
_STRIDE = _FORM.count_bytes(WIDTH)


class _TenBits(Script):
    """A module of one odd width that sends 10-bit pixels, so that rows end inside a group."""

    width, height, rows = 66, 16, 4
    form = find_layout(PixelFormat.RG10p)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        count = self.width * self.height
        pixels = np.array([(17 * i + 3) & 0x3FF for i in range(count)], "<u2")
        self.pixels = pixels.reshape(self.height, self.width)
        self.stride = self.form.count_bytes(self.width)

    def make_manifest(self) -> bytes:
        size = (self.width, self.height)
        area = (0, 0, self.height, self.width)
        changed = {
            ManifestKey.SENSOR: SensorEntry(*size, 10, 0, 1, 1023, (0, 0, 0, 0)).encode(),
            ManifestKey.MODE: ModeEntry(
                MODE, *size, 1, 3, area, b"odd".ljust(16, b"\0"), 0
            ).encode(),
        }
        data = b""
        for key, value in iterate_entries(super().make_manifest()):
            data += encode_entry(key, changed.get(ManifestKey(key), value))
        return data + encode_entry(ManifestKey.FORMAT, FormatEntry(self.form.code).encode())

    def make_configured(self, message: Configure) -> Configured:
        return replace(
            super().make_configured(message),
            pixel_format=self.form.code,
            width=self.width,
            height=self.height,
            stride=self.stride,
            frame_bytes=self.stride * self.height,
            tile_bytes=self.stride * self.rows,
        )

    def make_start_item(self) -> Item:
        item = super().make_start_item()
        message = replace(
            FrameStart.decode(item.payload),
            pixel_format=self.form.code,
            width=self.width,
            height=self.height,
            stride=self.stride,
            bits=10,
            white=1023,
        )
        return replace(item, payload=message.encode())

    def cut(self, x: int, y: int, width: int) -> Item:
        """Return a tile of a part of one row."""
        payload = pack(self.pixels[y : y + 1, x : x + width], self.form).tobytes()
        return Item(MessageType.TILE, payload, (x, y, width, 1))

    def make_items(self) -> list[Item]:
        parts = ((0, 32), (32, 32), (64, 2))
        tiles = [self.cut(x, y, width) for y in range(self.height) for x, width in parts]
        count = FrameEnd(0, 1, len(tiles), 1000, (0, 0, 0, 0), 0)
        return [self.make_start_item(), *tiles, Item(MessageType.FRAME_END, count.encode())]

    def check_whole_frame(self, result: HostResult) -> None:
        check(result.ok, f"the host has no whole frame: {result.detail or 'no reason given'}")
        if result.pixels is not None:
            same = result.pixels == self.pixels.tobytes()
            check(same, "the host's frame differs from what was sent")


@CASES.add("H-PACK-1")
class EndOfTheRow(_TenBits):
    """Rows end inside a group, and so do the tiles there: they are taken."""


@CASES.add("H-PACK-1")
class InsideWiderGroups(_TenBits):
    """Tiles of one, two or three pixels, or from the third pixel on, of groups of four."""

    def make_items(self) -> list[Item]:
        start, *rest = super().make_items()
        wrong = [
            Item(MessageType.TILE, b"\xa5" * self.form.count_bytes(width), (x, 0, width, 1))
            for x, width in ((0, 1), (0, 2), (0, 6), (2, 4), (3, 1), (62, 4), (60, 5))
        ]
        return [start, *wrong, *rest]


class Packed(Script):
    """A module that sends nothing but 12-bit pixels in PFNC's packing."""

    form = _FORM

    def make_manifest(self) -> bytes:
        entry = FormatEntry(self.form.code).encode()
        return super().make_manifest() + encode_entry(ManifestKey.FORMAT, entry)

    def make_configured(self, message: Configure) -> Configured:
        return replace(
            super().make_configured(message),
            pixel_format=self.form.code,
            stride=_STRIDE,
            frame_bytes=_STRIDE * HEIGHT,
            tile_bytes=_STRIDE * ROWS,
        )

    def make_start_item(self) -> Item:
        item = super().make_start_item()
        message = FrameStart.decode(item.payload)
        packed = replace(message, pixel_format=self.form.code, stride=_STRIDE)
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


@CASES.add("H-CAM-3")
class CodedTiles(Packed):
    """Coded tiles, behind damaged ones: cut, with a bit too much, and of pixels that do not fit.

    The module's choice is the rice format. A host that names the other format knows no codes.
    """

    form = find_layout(PixelFormat.RG12Rice)

    def make_manifest(self) -> bytes:
        other = FormatEntry(PixelFormat.RG12).encode()
        return super().make_manifest() + encode_entry(ManifestKey.FORMAT, other)

    def on_configure(self, packet: Packet, message: Configure) -> None:
        if message.pixel_format == PixelFormat.RG12:
            raise NotClaimed("the host does not take coded tiles")
        super().on_configure(packet, message)

    def make_items(self) -> list[Item]:
        start, *packed, end = super().make_items()
        pixels = np.frombuffer(PIXELS, "<u2").reshape(HEIGHT, WIDTH)
        tiles = []
        for tile in packed:
            top = tile.place[1]
            code = encode_tile(pixels[top : top + ROWS].tolist(), 12)
            # Every other tile stays as it is.
            is_coded = top // ROWS % 2 == 0 and len(code) < len(tile.payload)
            tiles.append(replace(tile, payload=code) if is_coded else tile)
        code = tiles[0].payload
        # The prediction 4095 and then a difference of 2, at the third pixel.
        high = bytes.fromhex("0f00ff0f00ff14") + bytes(WIDTH * ROWS)
        wrong = (code[:-1], code[: len(code) // 2], code + b"\x80", high)
        return [start, *(replace(tiles[0], payload=each) for each in wrong), *tiles, end]


@CASES.add("H-PACK-2")
class FormatsToChooseFrom(Script):
    """The manifest lists an unpacked format and an unknown one: Configure names no other."""

    codes = (PixelFormat.RG12, 0x0112FFFF)

    def make_manifest(self) -> bytes:
        entries = [encode_entry(ManifestKey.FORMAT, struct.pack("<I", code)) for code in self.codes]
        return super().make_manifest() + b"".join(entries)

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = message.pixel_format
        check(asked in (0, *self.codes), f"Configure asks for pixel format {asked:#x}")
        super().on_configure(packet, message)


@CASES.add("H-PACK-2")
class ListedFormats(Packed):
    """What Configure names is 0 or stands in the manifest."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = message.pixel_format
        check(asked in (0, _FORM.code), f"Configure asks for pixel format {asked:#x}")
        super().on_configure(packet, message)


@CASES.add("H-PACK-2")
class NoFormats(Script):
    """The manifest lists no pixel format: Configure leaves the choice to the module."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = message.pixel_format
        check(
            asked == 0, f"Configure asks for pixel format {asked:#x}, and the manifest lists none"
        )
        super().on_configure(packet, message)
