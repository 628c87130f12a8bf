"""RAW files as scenes: bit-exact, with what they say about themselves."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import rawpy
import tifffile
from helpers.dng_scene import MATRIX, NEUTRAL, noise_rows, write_dng

from lenslink.errors import UsageError
from lenslink.raw_files.raw_kind import read_camera_name
from lenslink.raw_files.raw_mosaic import tags_from_libraw
from lenslink.settings import Settings
from lenslink_hil.plant.binning import bin2x2
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
    assert (binned.width, binned.height, binned.active_area) == (96, 64, (2, 2, 62, 94))
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


# --- a RAW file is never a picture ----------------------------------------------------------


def thumbnail(path, tags=(), **options):
    """Write a TIFF with a small RGB picture, as the first directory of most RAW files has it."""
    picture = np.full((120, 160, 3), 200, np.uint8)
    with tifffile.TiffWriter(path, **options) as file:
        file.write(picture, photometric="rgb", metadata=None, extratags=list(tags))
    return path


def set_signature(path, offset, signature):
    data = bytearray(path.read_bytes())
    data[offset : offset + len(signature)] = signature
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("tags", "mark"),
    [
        ([(50706, 1, 4, b"\1\4\0\0", True)], "a DNG"),
        ([(271, 2, 0, "NIKON CORPORATION", True)], "the maker NIKON CORPORATION"),
    ],
)
@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_tiff_with_a_raw_mark_is_not_taken_for_a_picture(tmp_path, tags, mark, bigtiff, capfd):
    path = thumbnail(tmp_path / "x.tif", tags, bigtiff=bigtiff)
    message = refused(path)
    assert message.startswith(("a RAW file", "not a Bayer RAW", "damaged, or no camera's RAW"))
    assert mark in message or not message.startswith("a RAW file that")
    assert capfd.readouterr().err == ""


def test_a_tiff_with_a_sub_directory_is_not_taken_for_a_picture(tmp_path):
    path = tmp_path / "x.nef"
    with tifffile.TiffWriter(path) as file:
        picture = np.full((120, 160, 3), 200, np.uint8)
        file.write(picture, photometric="rgb", subifds=1, metadata=None)
        file.write(noise_rows(), photometric="minisblack", metadata=None)
    # LibRaw takes the second directory for a mosaic, of which it knows no colours.
    assert refused(path) == "it has no ColorMatrix1, so its colours are unknown"


def test_a_tiff_with_an_unknown_compression_is_not_taken_for_a_picture(tmp_path):
    path = thumbnail(tmp_path / "x.tif")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.first.tags["Compression"].overwrite(34713)
    assert "a RAW file" in refused(path)
    assert "Nikon NEF" in refused(path)


@pytest.mark.parametrize(
    ("offset", "signature", "maker"),
    [
        (0, b"IIRO", "Olympus"),
        (0, b"IIU\0", "Panasonic"),
        (8, b"CR\2\0", "Canon CR2"),
        (8, b"IIII", "Phase One IIQ"),
    ],
)
def test_a_signature_of_a_raw_file_is_enough(tmp_path, offset, signature, maker):
    path = set_signature(thumbnail(tmp_path / "x.raw"), offset, signature)
    message = refused(path)
    if message != "its TIFF directory is damaged":  # the signature lies in the directory
        assert message.startswith(("a RAW file that LibRaw cannot decode", "damaged, or no"))
        assert maker in message or message.startswith("damaged")


def test_a_tiff_without_a_mark_is_a_picture(tmp_path):
    assert opened(thumbnail(tmp_path / "x.tif")).sensor.maker is None
    assert opened(thumbnail(tmp_path / "big.tif", bigtiff=True)).sensor.maker is None


def test_a_raw_file_that_libraw_cannot_decode_is_called_that(tmp_path, capfd):
    path = write_dng(tmp_path / "x.gpr", noise_rows())
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.first.tags["Compression"].overwrite(9)
    expected = "a RAW file whose compression LibRaw cannot decode (GoPro VC-5)"
    assert refused(path) == expected
    assert capfd.readouterr().err == ""


# --- carried through, or refused in words ----------------------------------------------------

A_XY, D65_XY = (0.44757, 0.40745), (0.31271, 0.32902)
WARM = tuple(
    n for v in (7034, -804, -1014, -4420, 12564, 2058, -851, 1994, 5758) for n in (v, 10000)
)
IDENTITY = (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)


def as_array(pairs):
    flat = np.array(pairs, float).reshape(-1, 2)
    return (flat[:, 0] / flat[:, 1]).reshape(3, 3)


def white(matrix, xy):
    """Return the AsShotNeutral of a light with this chromaticity, as millionths."""
    x, y = xy
    camera = as_array(matrix) @ (x / y, 1, (1 - x - y) / y)
    return tuple(n for v in camera / camera.max() for n in (round(v * 10**6), 10**6))


def two_matrices(path, neutral, **tags):
    more = {"ColorMatrix2": (50722, 10, 9, MATRIX), "CalibrationIlluminant2": (50779, 3, 1, 21)}
    return write_dng(
        path,
        noise_rows(),
        ColorMatrix1=(10, 9, WARM),
        CalibrationIlluminant1=(3, 1, 17),
        AsShotNeutral=(5, 3, neutral),
        more=more | tags,
    )


@pytest.mark.parametrize(
    ("matrix", "xy", "illuminant"), [(WARM, A_XY, 17), (MATRIX, D65_XY, 21)], ids=["A", "D65"]
)
def test_of_two_matrices_the_one_of_the_light_is_carried(tmp_path, matrix, xy, illuminant):
    sensor = opened(two_matrices(tmp_path / "x.dng", white(matrix, xy))).sensor
    assert as_array(flat(sensor.color_matrix)) == pytest.approx(as_array(matrix), abs=3e-3)
    assert sensor.illuminant in (illuminant, 0)


def test_between_two_lights_the_matrices_are_mixed_by_inverse_temperature(tmp_path):
    # D50, whose correlated colour temperature is 5003 K; the matrices are for 2850 K and 6500 K.
    weight = (1 / 5003 - 1 / 6500) / (1 / 2850 - 1 / 6500)
    mixed = weight * as_array(WARM) + (1 - weight) * as_array(MATRIX)
    x, y = 0.34567, 0.35850
    camera = mixed @ (x / y, 1, (1 - x - y) / y)
    neutral = tuple(n for v in camera / camera.max() for n in (round(v * 10**6), 10**6))
    sensor = opened(two_matrices(tmp_path / "x.dng", neutral)).sensor
    assert as_array(flat(sensor.color_matrix)) == pytest.approx(mixed, abs=2e-3)
    assert flat(sensor.neutral) == neutral
    assert sensor.illuminant == 0


def test_calibration_and_balance_become_part_of_the_matrix(tmp_path):
    calibration = tuple(n for v in (11, 0, 1, 0, 10, 0, -1, 0, 9) for n in (v, 10))
    more = {
        "CameraCalibration1": (50723, 10, 9, calibration),
        "AnalogBalance": (50727, 5, 3, (2, 1, 1, 1, 3, 2)),
    }
    path = write_dng(tmp_path / "x.dng", noise_rows(), more=more)
    expected = np.diag([2, 1, 1.5]) @ as_array(calibration) @ as_array(MATRIX)
    assert as_array(flat(opened(path).sensor.color_matrix)) == pytest.approx(expected, abs=1e-4)
    # A calibration for another profile is not for this one.
    more["CameraCalibrationSignature"] = (50931, 2, 0, "another profile")
    write_dng(path, noise_rows(), more=more)
    expected = np.diag([2, 1, 1.5]) @ as_array(MATRIX)
    assert as_array(flat(opened(path).sensor.color_matrix)) == pytest.approx(expected, abs=1e-4)


def test_a_matrix_without_calibration_stays_exact(tmp_path):
    more = {
        "CameraCalibration1": (50723, 10, 9, IDENTITY),
        "AnalogBalance": (50727, 5, 3, (1, 1, 1, 1, 1, 1)),
    }
    path = write_dng(tmp_path / "x.dng", noise_rows(), more=more)
    assert flat(opened(path).sensor.color_matrix) == MATRIX


def test_two_matrices_without_known_lights_are_refused(tmp_path):
    path = two_matrices(
        tmp_path / "x.dng", (1, 1, 1, 1, 1, 1), CalibrationIlluminant2=(50779, 3, 1, 255)
    )
    assert "their illuminants are unknown" in refused(path)


@pytest.mark.parametrize("value", [(0, 1), (0, 0), (1, 1000)])
def test_a_baseline_exposure_of_nothing_is_accepted(tmp_path, value):
    more = {"BaselineExposure": (50730, 10, 1, value)}
    opened(write_dng(tmp_path / "x.dng", noise_rows(), more=more))


def test_a_baseline_exposure_is_refused_with_the_cure(tmp_path):
    path = tmp_path / "x.dng"
    write_dng(path, noise_rows(), more={"BaselineExposure": (50730, 10, 1, (-35, 100))})
    message = refused(path)
    assert "BaselineExposure is -0.35 EV" in message
    assert "exiftool -BaselineExposure=" in message


def test_masked_areas_give_the_black_level_that_the_file_does_not_state(tmp_path):
    rows = np.full((96, 128), 3000, np.uint16)
    rows[:, :4] = np.tile(np.array([[100, 110], [120, 130]], np.uint16), (48, 2))
    path = write_dng(
        tmp_path / "x.dng",
        rows,
        ActiveArea=(4, 4, (0, 4, 96, 128)),
        without=("BlackLevel", "BlackLevelRepeatDim"),
        more={"MaskedAreas": (50830, 4, 4, (0, 0, 96, 4))},
    )
    assert opened(path).sensor.black == (100.0, 110.0, 120.0, 130.0)


@pytest.mark.parametrize(
    ("origin", "size", "area"),
    [
        # Eight pixels around the crop stay, as far as the active area has them.
        ((20, 12), (60, 50), (2 + 4, 4 + 12, 2 + 4 + 66, 4 + 12 + 76)),
        ((0, 0), (120, 92), (2, 4, 94, 124)),
        ((3, 2), (114, 88), (2, 4, 94, 124)),
    ],
)
def test_a_crop_reduces_the_active_area(tmp_path, origin, size, area):
    more = {"DefaultCropOrigin": (50719, 4, 2, origin), "DefaultCropSize": (50720, 4, 2, size)}
    sensor = opened(write_dng(tmp_path / "x.dng", noise_rows(), more=more)).sensor
    assert sensor.modes[0].active_area == area
    # Phase and black levels are still counted from the full frame.
    assert sensor.cfa == "RGGB"
    assert sensor.black == (100.0, 100.5, 120.0, 130.0)


def test_a_crop_beyond_the_active_area_is_refused(tmp_path):
    more = {"DefaultCropOrigin": (50719, 4, 2, (8, 8)), "DefaultCropSize": (50720, 4, 2, (120, 80))}
    path = write_dng(tmp_path / "x.dng", noise_rows(), more=more)
    assert "DefaultCrop is not within its ActiveArea" in refused(path)


@pytest.mark.parametrize(("code", "carried"), [(0, 1), (9, 1), (8, 8)])
def test_an_unknown_orientation_is_upright(tmp_path, code, carried):
    path = write_dng(tmp_path / "x.dng", noise_rows(), Orientation=(3, 1, code))
    assert opened(path).sensor.orientation == carried


def test_what_a_manifest_cannot_carry_is_refused(tmp_path, capfd):
    path = tmp_path / "x.dng"
    write_dng(path, noise_rows(), Orientation=(3, 1, 10))
    assert refused(path) == "its Orientation 10 is not 1 to 8"
    write_dng(path, noise_rows(), WhiteLevel=(4, 1, 70000))
    assert refused(path) == "its WhiteLevel 70000 needs more than 16 bits"
    write_dng(path, noise_rows(), WhiteLevel=(4, 1, 90))
    assert refused(path) == "its black level 130 is not below its white 90"
    write_dng(path, noise_rows(), Model=(2, 0, "M" * 256))
    assert refused(path) == "its Model has 256 bytes, a manifest holds 255"
    write_dng(path, noise_rows().astype(np.float32) / 4096)
    assert "floating-point" in refused(path)
    assert capfd.readouterr().err == ""


def test_a_truncated_dng_in_tiles_is_noticed_behind_its_preview(tmp_path, capfd):
    path = write_dng(tmp_path / "x.dng", noise_rows(128, 128), sub_ifd=True, tile=(64, 64))
    assert opened(path).sensor.width == 128
    path.write_bytes(path.read_bytes()[:-3000])
    assert refused(path).startswith("truncated")
    assert capfd.readouterr().err == ""


def test_a_note_names_what_the_module_does_not_report(tmp_path):
    more = {"NoiseProfile": (51041, 12, 2, (1e-4, 1e-6)), "OpcodeList3": (51022, 7, 4, b"\0\0\0\0")}
    scene = opened(write_dng(tmp_path / "x.dng", noise_rows(), more=more))
    expected = "the module does not report the RAW file's noise profile, opcode lists"
    assert scene.note == expected
    assert opened(write_dng(tmp_path / "y.dng", noise_rows())).note is None


# --- the camera's name where the RAW file is no TIFF -----------------------------------------


def directory(magic, order, maker, model):
    """Return a TIFF with maker and model only."""
    texts = [maker.encode() + b"\0", model.encode() + b"\0"]
    start, values = 8, 8 + 2 + 2 * 12 + 4
    entries = b""
    for code, text in zip((271, 272), texts, strict=True):
        entries += struct.pack(f"{order}HHII", code, 2, len(text), values)
        values += len(text)
    head = magic + struct.pack(f"{order}I", start) + struct.pack(f"{order}H", 2)
    return head + entries + bytes(4) + b"".join(texts)


def crw(maker, model):
    """Return a CIFF file whose camera record lies two heaps deep."""
    text = maker.encode() + b"\0" + model.encode() + b"\0"

    def heap(data, kind):
        table = struct.pack("<HHII", 1, kind, len(data), 0)
        return data + table + struct.pack("<I", len(data))

    inner = heap(heap(heap(text, 0x080A), 0x2807), 0x300A)
    return b"II" + struct.pack("<I", 26) + b"HEAPCCDR" + bytes(12) + inner


def mrw(maker, model):
    block = directory(b"MM\0*", ">", maker, model)
    blocks = b"\0PRD" + struct.pack(">I", 24) + bytes(24)
    blocks += b"\0TTW" + struct.pack(">I", len(block)) + block
    return b"\0MRM" + struct.pack(">I", len(blocks)) + blocks


@pytest.mark.parametrize(
    "data",
    [
        crw("Canon", "Canon EOS D60"),
        mrw("Canon", "Canon EOS D60"),
        directory(b"IIU\0", "<", "Canon", "Canon EOS D60"),
        directory(b"IIRO", "<", "Canon", "Canon EOS D60"),
    ],
    ids=["CRW", "MRW", "RW2", "ORF"],
)
def test_the_camera_names_itself_in_a_raw_file_that_is_no_tiff(tmp_path, data):
    path = tmp_path / "x.raw"
    path.write_bytes(data)
    assert read_camera_name(path) == ("Canon", "Canon EOS D60")
    path.write_bytes(data[:20])
    assert read_camera_name(path) == (None, None)
