"""Good modules of every kind of scene and sensor pass the cases that look at pixels."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from lenslink_hil.conformance.broken_module_packing import LosesAPixelOfMipi
from lenslink_hil.conformance.pixel_rules import find_spare_bits
from lenslink_hil.conformance.plain_module import HEIGHT, WIDTH, PlainModule
from lenslink_hil.conformance.verdicts import FAILED, PASSED, find_cases, run_module_case
from lenslink_protocol.ids import Cfa
from lenslink_protocol.packings import (
    Layout,
    Packing,
    find_layout,
    find_pixel_format,
    list_packings,
)


class Still(PlainModule):
    """Shows the same scene in every frame."""

    def picture(self, number: int) -> NDArray[np.uint16]:
        return super().picture(100)


class Moving(PlainModule):
    """Shows a scene that moves far from frame to frame."""

    def picture(self, number: int) -> NDArray[np.uint16]:
        return super().picture(37 * number)


class Noise(PlainModule):
    """Shows frames that have nothing in common."""

    def picture(self, number: int) -> NDArray[np.uint16]:
        source = np.random.default_rng(number)
        return source.integers(0, 1 << self.depth, (HEIGHT, WIDTH), np.uint16)


class Smooth(PlainModule):
    """Shows a scene whose code is much shorter than its pixels."""

    def picture(self, number: int) -> NDArray[np.uint16]:
        y, x = np.indices((HEIGHT, WIDTH), np.uint16)
        return 700 + 3 * x + 5 * y + np.uint16(number % 100)

    def code_tile(self, rows: list[list[int]], bits: int) -> bytes:
        code = super().code_tile(rows, bits)
        assert len(code) * 8 < bits * len(rows) * WIDTH
        return code


class TenBits(Still):
    """Has 62 columns of 10 bits, so each row of a packed format ends inside a group."""

    depth = 10


class TwoDepths(Moving):
    """Lists packed formats of 10 bits, which have nothing of the scene of its 12-bit format."""

    def formats(self) -> list[Layout]:
        plain = find_layout(find_pixel_format(Packing.UNPACKED, 12, Cfa.RGGB))
        packed = [each for each in list_packings(10) if each != Packing.UNPACKED]
        return [plain, *(find_layout(find_pixel_format(each, 10, Cfa.RGGB)) for each in packed)]

    def picture(self, number: int) -> NDArray[np.uint16]:
        return super().picture(number) & 0x3FF


@pytest.mark.parametrize("module", [Still, Moving, Noise, Smooth, TenBits, TwoDepths])
@pytest.mark.parametrize("case", ["pixels_in_their_packing", "spare_bits_are_0"])
def test_a_good_module_passes(module: type[PlainModule], case: str) -> None:
    found = next(each for each in find_cases("M-PACK-3") if each.name == case)
    result = run_module_case(found, module(), random.Random(1))
    assert result.verdict == PASSED, result


def test_one_wrong_pixel_of_a_scene_that_stands_still_is_found() -> None:
    found = next(each for each in find_cases("M-PACK-2") if each.name == "pixels_in_their_packing")
    result = run_module_case(found, LosesAPixelOfMipi(), random.Random(1))
    assert result.verdict == FAILED
    assert "RG12Mipi" in result.detail


@pytest.mark.parametrize(
    ("row", "packing", "depth", "width", "spare"),
    [
        ("ffffff0f", Packing.LSB, 14, 2, 0),
        ("ffffff1f", Packing.LSB, 14, 2, 1),
        ("8b8b09", Packing.MIPI, 10, 2, 0),
        ("8b8b90", Packing.MIPI, 10, 2, 9),
        ("0102030405", Packing.MIPI, 10, 4, 0),
        ("abfc", Packing.LEGACY, 12, 1, 15),
        ("abfcde", Packing.LEGACY, 12, 2, 0),
    ],
)
def test_spare_bits(row: str, packing: Packing, depth: int, width: int, spare: int) -> None:
    assert find_spare_bits(bytes.fromhex(row), packing, depth, width) == spare
