"""Modules that break a clause on pixels in bytes (SPEC.md, 6.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lenslink.receive.unpacking import pack
from lenslink_protocol.ids import PixelFormat
from lenslink_protocol.messages import Configure, Configured
from lenslink_protocol.packings import Layout, Packing, find_layout
from lenslink_protocol.rice import encode_tile

from .broken_steps import OtherPlan
from .plain_module import HEIGHT, WIDTH, Frame, PlainModule, Rectangle


class AlwaysUnpacked(PlainModule):
    """Applies its first format, whatever Configure names."""

    def chosen_format(self, message: Configure) -> Layout:
        del message
        return self.formats()[0]


class _OtherPacking(PlainModule):
    wrong: tuple[Packing, Packing] | None = None
    """A packing, and the one that is sent instead."""

    def packing_of(self, frame: Frame) -> Layout:
        form = super().packing_of(frame)
        if self.wrong is None or form.packing != self.wrong[0]:
            return form
        return next(each for each in self.formats() if each.packing == self.wrong[1])


class MipiAsLsb(_OtherPacking):
    """Sends MIPI formats with the bytes of lsb."""

    wrong = (Packing.MIPI, Packing.LSB)


class LegacyAsMipi(_OtherPacking):
    """Sends the legacy format with the bytes of MIPI."""

    wrong = (Packing.LEGACY, Packing.MIPI)


class CodesRowsAlone(PlainModule):
    """Codes each row of a tile as if the tile began there."""

    def code_tile(self, rows: list[list[int]], bits: int) -> bytes:
        return b"".join(encode_tile([row], bits) for row in rows)


class CutsCodes(PlainModule):
    """Shows a smooth scene, and ends the code of a tile a byte too early."""

    def picture(self, number: int) -> NDArray[np.uint16]:
        y, x = np.indices((HEIGHT, WIDTH), np.uint16)
        return 700 + 3 * x + 5 * y + np.uint16(number % 100)

    def code_tile(self, rows: list[list[int]], bits: int) -> bytes:
        return super().code_tile(rows, bits)[:-1]


class FrameBytesOfWords(OtherPlan):
    """States the bytes of an unpacked frame for each format."""

    def change(self, plan: Configured) -> Configured:
        return replace(plan, frame_bytes=2 * WIDTH * HEIGHT)


class UnlistedDefault(OtherPlan):
    """States a format that its manifest does not list."""

    def change(self, plan: Configured) -> Configured:
        if find_layout(plan.pixel_format).packing == Packing.LSB:
            return replace(plan, pixel_format=PixelFormat.GR12p)
        return plan


class LosesAPixelOfMipi(PlainModule):
    """Shows a scene that stands still, and not the first pixel of it in MIPI formats."""

    def picture(self, number: int) -> NDArray[np.uint16]:
        return super().picture(100)

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        data = super().pack_tile(frame, rectangle)
        if self.packing_of(frame).packing != Packing.MIPI or rectangle[:2] != (0, 0):
            return data
        return b"\0" + data[1:]


class BigEndianWords(PlainModule):
    """Sends 16-bit words with the high byte first."""

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        data = super().pack_tile(frame, rectangle)
        if self.packing_of(frame).packing != Packing.UNPACKED:
            return data
        return np.frombuffer(data, "<u2").astype(">u2").tobytes()


class CutsInsideGroups(PlainModule):
    """Cuts tiles at odd columns."""

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        found = super().rectangles_to_read(plan)
        if found[0][2] == WIDTH or find_layout(plan.pixel_format).group == 1:
            return found
        return [place for y in range(HEIGHT) for place in ((0, y, 7, 1), (7, y, WIDTH - 7, 1))]

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        x, y, width, height = rectangle
        rows = frame.pixels[y : y + height, x : x + width]
        return pack(np.ascontiguousarray(rows), self.packing_of(frame)).tobytes()


class EndsInsideGroups(PlainModule):
    """Ends a tile inside a group, and begins the next one with the same group."""

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        found = super().rectangles_to_read(plan)
        if found[0][2] == WIDTH or find_layout(plan.pixel_format).group == 1:
            return found
        return [place for y in range(HEIGHT) for place in ((0, y, 31, 1), (31, y, WIDTH - 31, 1))]


class HighBits(PlainModule):
    """Puts unpacked pixels into the high bits of their words."""

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        data = super().pack_tile(frame, rectangle)
        form = self.packing_of(frame)
        if form.packing != Packing.UNPACKED:
            return data
        words = np.frombuffer(data, "<u2") << (16 - form.depth)
        return words.astype("<u2").tobytes()


class SetsSpareBits(PlainModule):
    """Has 10 bits and 62 columns, so rows end inside a group. Sets the spare bits there."""

    depth = 10

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        data = super().pack_tile(frame, rectangle)
        if self.packing_of(frame).packing != Packing.LSB or rectangle[0] + rectangle[2] < WIDTH:
            return data
        rows = np.frombuffer(data, np.uint8).reshape(rectangle[3], -1).copy()
        rows[:, -1] |= 0xF0
        return rows.tobytes()


class SetsSpareBitsOfCrops(PlainModule):
    """Has 10 bits, and sets the spare bits of a row that a crop has cut inside a group."""

    depth = 10

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        data = super().pack_tile(frame, rectangle)
        width = frame.plan.width
        is_cut = width < WIDTH and width % 4 and rectangle[0] + rectangle[2] == width
        if self.packing_of(frame).packing != Packing.LSB or not is_cut:
            return data
        rows = np.frombuffer(data, np.uint8).reshape(rectangle[3], -1).copy()
        rows[:, -1] |= 0xF0
        return rows.tobytes()


class LowBitsOfWholeGroups(SetsSpareBits):
    """Puts the low bits of a cut MIPI group where a whole group has those of its last pixels."""

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        data = PlainModule.pack_tile(self, frame, rectangle)
        if self.packing_of(frame).packing != Packing.MIPI or rectangle[0] + rectangle[2] < WIDTH:
            return data
        rows = np.frombuffer(data, np.uint8).reshape(rectangle[3], -1).copy()
        rows[:, -1] <<= 4
        return rows.tobytes()


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-PACK-1": (AlwaysUnpacked,),
    "M-PACK-2": (
        MipiAsLsb,
        LegacyAsMipi,
        CodesRowsAlone,
        CutsCodes,
        FrameBytesOfWords,
        UnlistedDefault,
        LosesAPixelOfMipi,
    ),
    "M-PACK-3": (
        BigEndianWords,
        CutsInsideGroups,
        EndsInsideGroups,
        HighBits,
        SetsSpareBits,
        SetsSpareBitsOfCrops,
        LowBitsOfWholeGroups,
    ),
}
"""The plain modules that break a clause."""
