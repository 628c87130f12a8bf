"""RAW files as scenes: bit-exact, with what they say about themselves."""

from __future__ import annotations

import numpy as np
import pytest
import rawpy
import tifffile
from helpers.dng_scene import MATRIX, NEUTRAL, noise_rows, write_dng

from lenslink.errors import UsageError
from lenslink.settings import Settings
from lenslink_hil.plant.binning import bin2x2
from lenslink_hil.plant.raw_file import tags_from_libraw
from lenslink_hil.plant.scene import SceneOptions, open_scene


def opened(path, **options):
    return open_scene(SceneOptions(scene=str(path), **options))


def frame(scene, mode=0, exposure_us=10_000):
    return scene.rows(mode, 1, Settings(exposure_us, 1000, 0))


def flat(pairs):
    return tuple(number for pair in pairs for number in pair)


@pytest.mark.parametrize("sub_ifd", [False, True])
def test_a_dng_is_taken_as_it_is(tmp_path, sub_ifd):
    rows = noise_rows()
    scene = opened(write_dng(tmp_path / "small one.dng", rows, sub_ifd=sub_ifd))
    for exposure_us in (1, 10_000, 10**9):
        assert np.array_equal(frame(scene, exposure_us=exposure_us), rows)
    sensor = scene.sensor
    assert (sensor.maker, sensor.model) == ("Tester", "Little One")
    assert (sensor.width, sensor.height, sensor.bits, sensor.cfa) == (128, 96, 16, "RGGB")
    assert sensor.black == (100.0, 100.5, 120.0, 130.0)
    assert (sensor.white, sensor.orientation, sensor.illuminant) == (4000, 6, 21)
    assert flat(sensor.color_matrix) == MATRIX
    assert flat(sensor.neutral) == NEUTRAL
    (mode,) = sensor.modes
    assert (mode.name, mode.use) == ("full", {"preview", "still"})
    assert mode.active_area == (2, 4, 94, 124)


def test_a_real_dng_is_taken_as_it_is(data):
    path = data("colorchart.dng")
    scene = opened(path)
    with rawpy.imread(str(path)) as raw:
        assert np.array_equal(frame(scene), raw.raw_image)
    sensor = scene.sensor
    assert (sensor.maker, sensor.model) == ("Canon", "Canon EOS Kiss X4")
    assert (sensor.width, sensor.height, sensor.bits, sensor.cfa) == (1888, 1182, 14, "RGGB")
    assert (sensor.black, sensor.white, sensor.orientation) == ((2056.0,) * 4, 15000, 1)
    assert flat(sensor.color_matrix) == MATRIX
    assert flat(sensor.neutral) == (1000, 1000, 2477, 1000, 1462, 1000)
    assert [m.name for m in sensor.modes] == ["full"]  # half of 1182 is odd
    assert sensor.modes[0].active_area == (26, 152, 1182, 1886)


def test_a_dng_is_binned(tmp_path):
    rows = noise_rows(128, 192)
    area = (4, 4, (2, 4, 126, 188))
    scene = opened(write_dng(tmp_path / "x.dng", rows, ActiveArea=area), mode="binned")
    full, binned = scene.sensor.modes
    assert (binned.width, binned.height, binned.active_area) == (96, 64, (1, 2, 63, 94))
    assert (full.use, binned.use) == (frozenset(), {"preview", "still"})
    assert np.array_equal(frame(scene, 1), bin2x2(rows))


@pytest.mark.parametrize(("top", "left"), [(0, 0), (1, 0), (0, 1), (3, 5)])
@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_phase_and_black_are_counted_from_the_full_frame(tmp_path, top, left, cfa):
    path = write_dng(
        tmp_path / "x.dng",
        noise_rows(),
        ActiveArea=(4, 4, (top, left, 96, 128)),
        CFAPattern=(1, 4, bytes("RGB".index(colour) for colour in cfa)),
        BlackLevel=(3, 4, (10, 20, 30, 40)),
    )
    sensor = opened(path).sensor
    for y in (0, 1):
        for x in (0, 1):
            # The file's own pattern begins at the ActiveArea.
            site = 2 * ((y - top) % 2) + (x - left) % 2
            assert sensor.cfa[2 * y + x] == cfa[site]
            assert sensor.black[2 * y + x] == (10, 20, 30, 40)[site]


def test_libraws_own_knowledge_agrees_with_the_tags(tmp_path):
    """It stands in for the tags where a camera's RAW is no DNG."""
    path = write_dng(
        tmp_path / "x.dng",
        noise_rows(),
        # One that LibRaw has a matrix for.
        Make=(2, 0, "Canon"),
        Model=(2, 0, "Canon EOS 550D"),
        BlackLevel=(3, 4, (10, 20, 30, 40)),
        ActiveArea=(4, 4, (2, 4, 96, 128)),
    )
    with rawpy.imread(str(path)) as raw:
        assert raw.raw_image is not None  # reads the pixels, and the levels with them
        tags = tags_from_libraw(raw)
    assert tags["BlackLevel"] == [10, 20, 30, 40]
    assert tags["WhiteLevel"] == 4000
    assert tags["ActiveArea"] == (2, 4, 96, 128)
    assert tags["Orientation"] == 6
    assert tags["ColorMatrix1"] == [6941, *MATRIX[1:]]  # Adobe's; the other camera's has a typo
    assert tags["AsShotNeutral"] == [5000, 10000, 10000, 10000, 6667, 10000]


def test_defaults_of_absent_tags(tmp_path):
    absent = ("BlackLevel", "BlackLevelRepeatDim", "WhiteLevel", "ActiveArea", "Orientation")
    absent += ("AsShotNeutral", "CalibrationIlluminant1", "Make", "Model")
    sensor = opened(write_dng(tmp_path / "x.dng", noise_rows(), without=absent)).sensor
    assert (sensor.black, sensor.white) == ((0.0,) * 4, 65535)
    assert (sensor.orientation, sensor.illuminant) == (1, 0)
    assert (sensor.maker, sensor.model) == (None, "Tester Little One")
    assert sensor.modes[0].active_area == (0, 0, 96, 128)
    # What the matrix makes of D65.
    white = np.array(MATRIX[::2]).reshape(3, 3) @ (0.95047, 1, 1.08883)
    got = [num / den for num, den in sensor.neutral]
    assert got == pytest.approx(white / white[1], abs=1e-4)


def test_one_black_level_for_all(tmp_path):
    path = write_dng(
        tmp_path / "x.dng", noise_rows(), BlackLevel=(3, 1, 64), without=("BlackLevelRepeatDim",)
    )
    assert opened(path).sensor.black == (64.0,) * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 640}, "width=640 contradicts the RAW file {path}: it has 128"),
        ({"height": 64}, "height=64 contradicts the RAW file {path}: it has 96"),
        ({"bits": 12}, "bits=12 contradicts the RAW file {path}: it has 16"),
        ({"cfa": "BGGR"}, "cfa=BGGR contradicts the RAW file {path}: it has RGGB"),
        ({"mode": "binned"}, "mode=binned: this sensor's modes are full"),
    ],
)
def test_options_that_contradict_the_file(tmp_path, options, message):
    path = write_dng(tmp_path / "x.dng", noise_rows())
    with pytest.raises(UsageError) as caught:
        opened(path, **options)
    assert str(caught.value) == message.format(path=path)
    opened(path, width=128, height=96, bits=16, cfa="RGGB", mode="full", seed=5)


def refused(path):
    with pytest.raises(UsageError) as caught:
        opened(path)
    message = str(caught.value)
    assert message.startswith(f"scene {path}: ")
    assert "\n" not in message
    return message.removeprefix(f"scene {path}: ")


@pytest.mark.parametrize("keep", [4, 100, 0.3, 0.9, -1])
def test_truncated_dng(tmp_path, keep, capfd):
    path = write_dng(tmp_path / "x.dng", noise_rows())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    message = refused(path)
    # With its directory whole, we know what is missing without asking LibRaw.
    assert message.startswith("truncated") == (keep not in {4, 100})
    assert capfd.readouterr().err == ""


def test_raw_files_that_the_bench_cannot_carry(tmp_path, capfd):
    path = tmp_path / "x.dng"
    write_dng(path, noise_rows(), without=("ColorMatrix1",))
    assert "no ColorMatrix1" in refused(path)
    area = (4, 4, (0, 0, 95, 128))
    write_dng(path, noise_rows(95, 128), ActiveArea=area)
    assert refused(path).startswith("its size 128x95: width and height must be even, from 64x64")
    write_dng(path, noise_rows(62, 128), ActiveArea=(4, 4, (0, 0, 62, 128)))
    assert refused(path).startswith("its size 128x62: width and height must be even, from 64x64")
    x_trans = bytes(int(c) for c in "110112110112201021112110112110021201")
    write_dng(path, noise_rows(), CFARepeatPatternDim=(3, 2, (6, 6)), CFAPattern=(1, 36, x_trans))
    assert "not a 2x2 Bayer pattern" in refused(path)
    write_dng(path, noise_rows(), AsShotNeutral=(5, 2, (1, 1, 1, 2)))
    assert "AsShotNeutral is not 3 rational numbers" in refused(path)
    write_dng(path, noise_rows(), CalibrationIlluminant1=(3, 2, (21, 17)))
    assert "tags make no sense" in refused(path)
    write_dng(path, noise_rows(), ActiveArea=(4, 4, (0, 0, 96, 1280)))
    assert "damaged" in refused(path)
    assert capfd.readouterr().err == ""


def test_a_mosaic_that_libraw_finds_damaged(tmp_path, capfd):
    path = write_dng(tmp_path / "x.dng", noise_rows())
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        # By this its pixels end early enough, so that only LibRaw meets the end of the file.
        tiff.pages.first.tags["StripByteCounts"].overwrite(1000)
    path.write_bytes(path.read_bytes()[:-5000])
    message = refused(path)
    assert message.startswith("damaged")
    assert capfd.readouterr().err == ""
