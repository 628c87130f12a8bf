"""Test colours and orientation of a known picture after the sensor and LibRaw."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.made_frames import MATRIX, make_frame, noise

from lenslink.errors import StorageError
from lenslink.frame import ColorCalibration
from lenslink.image_files.render import PREVIEW_SIDE, render, render_preview

# Linear sRGB to CIE XYZ, D65 (IEC 61966-2-1).
XYZ_FROM_RGB = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
PATCHES = np.array(
    [
        [[200, 80, 70], [90, 150, 80], [60, 80, 160]],
        [[220, 190, 60], [128, 128, 128], [240, 240, 240]],
    ]
)
"""(2, 3, 3) sRGB, all different, so that a turned or mirrored picture is noticed."""
SIDE = 32
"""Width and height of a patch in pixels."""

# The effect of each EXIF orientation on a picture of rows and columns.
UPRIGHT = {
    1: lambda grid: grid,
    2: lambda grid: grid[:, ::-1],
    3: lambda grid: grid[::-1, ::-1],
    4: lambda grid: grid[::-1],
    5: lambda grid: grid.swapaxes(0, 1),
    6: lambda grid: np.rot90(grid, -1),
    7: lambda grid: grid[::-1, ::-1].swapaxes(0, 1),
    8: lambda grid: np.rot90(grid, 1),
}


def patch_frame(bits=12, cfa="RGGB", black=(64, 64, 64, 64), border=(0, 0), **changes):
    """Return what a sensor with MATRIX makes of PATCHES; white saturates."""
    matrix = np.array([[top / bottom for top, bottom in row] for row in MATRIX])
    srgb = PATCHES / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    camera = linear @ (matrix @ XYZ_FROM_RGB).T
    neutral = matrix @ XYZ_FROM_RGB.sum(axis=1)
    camera = (camera / neutral.max()).repeat(SIDE, axis=0).repeat(SIDE, axis=1)

    top, left = border
    # The border is white, so that a crop or a phase that is off by one is noticed.
    camera = np.pad(camera, ((top, top), (left, left), (0, 0)), constant_values=1.0)
    height, width = camera.shape[:2]
    white = 2**bits - 1
    pixels = np.empty((height, width), np.uint16)
    for place, (letter, level) in enumerate(zip(cfa, black, strict=True)):
        here = np.s_[place // 2 :: 2, place % 2 :: 2]
        pixels[here] = np.rint(camera[(*here, "RGB".index(letter))] * (white - level) + level)
    return make_frame(
        pixels,
        bits=bits,
        cfa=cfa,
        black=black,
        white=white,
        active_area=(top, left, height - top, width - left),
        color=ColorCalibration(
            tuple(pair for row in MATRIX for pair in row),
            tuple((round(part * 10**6), 10**6) for part in neutral / neutral.max()),
        ),
        **changes,
    )


def patches_of(picture, side):
    """Return the mean colour in the middle of each patch: (rows, columns, 3)."""
    rows, columns = round(picture.shape[0] / side), round(picture.shape[1] / side)
    middles = [
        picture[
            row * side + side // 4 : row * side + 3 * side // 4,
            column * side + side // 4 : column * side + 3 * side // 4,
        ].mean(axis=(0, 1))
        for row in range(rows)
        for column in range(columns)
    ]
    return np.array(middles).reshape(rows, columns, 3)


@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR"])
@pytest.mark.parametrize(
    ("bits", "tolerance"),
    # A pixel of 8 bits is linear: near black its one step is several of sRGB's, and LibRaw
    # takes black levels without their fraction.
    [(8, 9), (10, 2), (12, 1.5), (14, 1.5), (16, 1.5)],
)
def test_colours_come_back(bits, tolerance, cfa):
    black = tuple(level * 2 ** (bits - 8) for level in (4, 4.25, 4.5, 4.75))
    picture = render(patch_frame(bits, cfa, black))
    assert picture.dtype == np.uint8
    np.testing.assert_allclose(patches_of(picture, SIDE), PATCHES, atol=tolerance)


@pytest.mark.parametrize("border", [(2, 4), (3, 5), (1, 2), (2, 1)])
def test_the_dark_border_is_cut_off(border):
    # Levels as unlike as a sensor's can be: LibRaw scales all colours by the widest range.
    picture = render(patch_frame(black=(64, 72, 80, 88), border=border))
    # An odd corner costs a row or column (and the far edges stay).
    height, width = 2 * SIDE - border[0] % 2, 3 * SIDE - border[1] % 2
    assert picture.shape == (height, width, 3)
    np.testing.assert_allclose(patches_of(picture, SIDE), PATCHES, atol=1.5)
    assert picture[0, 0] == pytest.approx(PATCHES[0, 0], abs=8)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_the_picture_is_upright_and_the_preview_is_not_turned(orientation):
    frame = patch_frame(orientation=orientation)
    expected = UPRIGHT[orientation](PATCHES)
    np.testing.assert_allclose(patches_of(render(frame), SIDE), expected, atol=1.5)
    halved = render(frame, half=True)
    np.testing.assert_allclose(patches_of(halved, SIDE // 2), expected, atol=1.5)
    np.testing.assert_allclose(patches_of(render_preview(frame), SIDE), PATCHES, atol=1.5)


def test_brightness_does_not_depend_on_the_scene():
    """Half the light gives the picture of half the light, not a brightened one."""
    frame = patch_frame()
    bright = render(frame)
    frame.pixels[:] = (frame.pixels.astype(int) - 64) // 2 + 64
    grey = patches_of(render(frame), SIDE)[1, 1]
    # sRGB of half of grey 128's light (0.2159 / 2).
    np.testing.assert_allclose(grey, 92.3, atol=1.5)
    np.testing.assert_allclose(patches_of(bright, SIDE)[1, 1], 128, atol=1.5)


def test_white_balance_is_the_frames_own():
    """Grey under a light far from D65 is grey, because the frame's neutral describes the light."""
    neutral = ((9, 10), (1, 1), (3, 10))
    pixels = np.empty((64, 96), np.uint16)
    for place, (top, bottom) in zip(
        ((0, 0), (0, 1), (1, 0), (1, 1)),
        (neutral[0], neutral[1], neutral[1], neutral[2]),
        strict=True,
    ):
        pixels[place[0] :: 2, place[1] :: 2] = 64 + 1000 * top // bottom
    matrix = tuple(pair for row in MATRIX for pair in row)
    grey = render(make_frame(pixels, color=ColorCalibration(matrix, neutral)))[32, 48]
    grey = grey.astype(int)
    assert grey == pytest.approx([136, 136, 136], abs=1.5)  # sRGB of 1000 / 4031


def test_a_black_levels_fraction_is_rounded():
    """One step of 8 bits above black is 13 of sRGB's: 5 with a black level of 4.9 is black."""
    frame = make_frame(np.full((64, 64), 5, np.uint16), bits=8, white=255, black=(4.9,) * 4)
    assert render(frame).max() == 0


def test_missing_pixels_are_black():
    frame = patch_frame()
    frame.pixels[SIDE:] = 0
    assert patches_of(render(frame), SIDE)[1].max() < 1


def test_a_large_frames_preview_is_small():
    frame = make_frame(np.tile(noise(64, 64), (40, 20)))
    assert render_preview(frame).shape == (PREVIEW_SIDE, PREVIEW_SIDE // 2, 3)


def test_rendering_leaves_the_frame_alone():
    frame = patch_frame(orientation=6, border=(3, 5))
    pixels, area, identity = frame.pixels.copy(), frame.active_area, frame.identity
    render(frame)
    np.testing.assert_array_equal(frame.pixels, pixels)
    assert (frame.active_area, frame.identity) == (area, identity)


def test_an_area_too_small_for_libraw_is_one_clear_line():
    frame = make_frame(noise(), active_area=(8, 8, 16, 18))
    with pytest.raises(StorageError, match=r"^frame 12 \(10 x 8 pixels\) cannot be rendered: .*"):
        render(frame)
