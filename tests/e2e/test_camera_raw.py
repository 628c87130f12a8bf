"""Test that a camera's RAW passes firmware and link into a DNG without a difference."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import rawpy
import tifffile
from helpers.slowdown import patience

# Codes of the tags that must come back as they went in.
_ACTIVE_AREA = "ActiveArea"
_RATIONALS = ("ColorMatrix1", "AsShotNeutral", "BlackLevel")
_BYTES = "CFAPattern"
_NUMBERS = ("WhiteLevel", "Orientation")


def little_camera(path: Path) -> Path:
    """Write a DNG with every 14-bit value, with margins and different black levels."""
    rows = np.random.default_rng(7).integers(0, 1 << 14, (96, 130)).astype(np.uint16)
    tags = [
        (271, 2, 0, "Tester"),
        (272, 2, 0, "Little One"),
        (274, 3, 1, 1),
        (33421, 3, 2, (2, 2)),
        (33422, 1, 4, b"\1\2\0\1"),
        (50706, 1, 4, b"\1\4\0\0"),
        (50708, 2, 0, "Tester Little One"),
        (50713, 3, 2, (2, 2)),
        (50714, 5, 4, (1000, 1, 4002, 4, 1020, 1, 1030, 1)),
        (50717, 4, 1, 15800),
        (50721, 10, 9, (6461, 10000, -1164, 10000, -857, 10000, -3825, 10000, 11597, 10000,
                        2534, 10000, -416, 10000, 1540, 10000, 6039, 10000)),
        (50728, 5, 3, (10, 24, 1, 1, 100, 147)),
        (50778, 3, 1, 21),
        (50829, 4, 4, (2, 4, 94, 126)),
    ]  # fmt: skip
    with tifffile.TiffWriter(path) as file:
        extra = [(*tag, True) for tag in tags]
        file.write(rows, photometric=32803, metadata=None, extratags=extra)
    return path


@pytest.fixture(params=["generated", "colorchart.dng"])
def source(request: pytest.FixtureRequest, tmp_path: Path, data: Callable[[str], Path]) -> Path:
    if request.param == "generated":
        return little_camera(tmp_path / "little camera.dng")
    return data(request.param)


def _tags(path: Path) -> dict[str, object]:
    """Return the tags of the picture and, if it is in a SubIFD, of its parent."""
    with tifffile.TiffFile(path) as file:
        pages = [file.pages[0], *(file.pages[0].pages or [])]
        return {tag.name: tag.value for page in pages for tag in page.tags.values()}


def _fractions(value: object, signed_pairs: bool) -> list[Fraction]:
    numbers = list(value) if isinstance(value, tuple) else [value]
    if not signed_pairs:
        return [Fraction(number) for number in numbers]
    return [Fraction(a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]


def _rational(tags: dict[str, object], name: str) -> list[Fraction]:
    value = tags[name]
    # tifffile gives rationals as flat pairs, whole numbers as they are.
    pairs = name != "BlackLevel" or (isinstance(value, tuple) and len(value) in (2, 8))
    found = _fractions(value, pairs)
    return found * 4 if name == "BlackLevel" and len(found) == 1 else found


@pytest.fixture
def captured(source: Path, tmp_path: Path, lens_url: str) -> Path:
    bench = lens_url.partition("?")[0]
    if bench not in ("sim:", "usbip:"):
        pytest.skip("the scene of this bench cannot be chosen")
    out = tmp_path / "out.dng"
    url = f"{bench}?scene={quote(str(source))}"
    command = [sys.executable, "-m", "lenslink", "capture", url, "-o", str(out)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=patience(60), check=False
    )
    assert done.returncode == 0, done.stderr
    return out


def test_every_pixel_and_level_comes_back(source: Path, captured: Path) -> None:
    with rawpy.imread(str(source)) as before, rawpy.imread(str(captured)) as after:
        assert before.raw_image.shape == after.raw_image.shape
        np.testing.assert_array_equal(before.raw_image, after.raw_image)
        assert list(before.black_level_per_channel) == list(after.black_level_per_channel)
        assert before.white_level == after.white_level
        np.testing.assert_array_equal(before.raw_pattern, after.raw_pattern)
        # The rest is DNG's DefaultCrop, which a file need not have and ours always has.
        assert before.sizes[:10] == after.sizes[:10]
        np.testing.assert_array_equal(before.color_matrix, after.color_matrix)
        np.testing.assert_array_equal(before.rgb_xyz_matrix, after.rgb_xyz_matrix)
        assert before.camera_whitebalance == after.camera_whitebalance


def test_every_tag_agrees(source: Path, captured: Path) -> None:
    before, after = _tags(source), _tags(captured)
    assert after[_ACTIVE_AREA] == before[_ACTIVE_AREA]
    assert after[_BYTES] == before[_BYTES]
    for name in _NUMBERS:
        assert after[name] == before[name], name
    for name in _RATIONALS:
        assert _rational(after, name) == _rational(before, name), name
    assert str(after["Make"]).strip("\0") == str(before["Make"]).strip("\0")


def test_exiftool_has_no_complaint(captured: Path, tool: Callable[[str], str]) -> None:
    command = [tool("exiftool"), "-validate", "-warning", "-error", "-a", str(captured)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=patience(30), check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(":", 1)[1].strip() == "OK", done.stdout
