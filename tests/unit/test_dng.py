"""Test the DNG with readers of other projects.

LibRaw and tifffile are always there. exiftool, darktable and RawTherapee are optional.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from datetime import datetime
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import rawpy
import tifffile
from helpers.made_frames import MATRIX, NEUTRAL, colorchart, make_frame, noise
from helpers.slowdown import patience
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lenslink.frame import ColorCalibration, FrameStatus, Identity
from lenslink.image_files.describe import make_caption, to_ascii
from lenslink.image_files.dng import write_dng
from lenslink.image_files.exif import to_rational
from lenslink.image_files.render import render_preview
from lenslink_protocol.ids import ModeUse
from lenslink_protocol.manifest import Mode
from lenslink_protocol.messages import OpticsEntry

EXIFTOOL = shutil.which("exiftool")
needs_exiftool = pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not on PATH")
CFAS = ("RGGB", "GRBG", "GBRG", "BGGR")


def dng(frame, preview=None) -> io.BytesIO:
    file = io.BytesIO()
    write_dng(frame, file, preview, "LensLink test")
    file.seek(0)
    return file


def exiftool(*arguments):
    return subprocess.run([EXIFTOOL, *arguments], capture_output=True, text=True, check=True).stdout


@st.composite
def frames(draw):
    bits = draw(st.sampled_from((8, 10, 12, 14, 16)))
    height, width = (2 * draw(st.integers(32, 60)) for _ in range(2))
    quarters = st.integers(0, 2 ** (bits - 2)).map(lambda count: count / 4)
    black = draw(st.one_of(quarters.map(lambda level: (level,) * 4), st.tuples(*[quarters] * 4)))
    # Even corners only; another test covers odd corners in LibRaw.
    top, left, bottom, right = (2 * draw(st.integers(0, 5)) for _ in range(4))
    return make_frame(
        noise(height, width, bits, draw(st.integers(0, 99))),
        bits=bits,
        cfa=draw(st.sampled_from(CFAS)),
        black=black,
        white=draw(st.integers(2 ** (bits - 1) + 1, 2**bits - 1)),
        active_area=(top, left, height - bottom, width - right),
        orientation=draw(st.integers(1, 8)),
    )


@settings(max_examples=40, deadline=None)
@given(frame=frames(), with_preview=st.booleans())
def test_every_frame_comes_back_exactly(frame, with_preview):
    preview = np.arange(20 * 30 * 3, dtype=np.uint16).reshape(20, 30, 3).astype(np.uint8)
    file = dng(frame, preview if with_preview else None)

    with rawpy.imread(file) as raw:
        np.testing.assert_array_equal(raw.raw_image, frame.pixels)
        assert raw.white_level == frame.white
        # LibRaw orders levels by colour (R, G, B, second G) and truncates fractions.
        levels = {
            int(number): black
            for number, black in zip(raw.raw_pattern.flat, frame.black, strict=True)
        }
        assert raw.black_level_per_channel == [int(levels[number]) for number in range(4)]
        letters = [raw.color_desc.decode()[number] for number in raw.raw_pattern.flat]
        assert "".join(letters) == frame.cfa
        top, left, bottom, right = frame.active_area
        sizes = raw.sizes
        assert (sizes.top_margin, sizes.left_margin) == (top, left)
        assert (sizes.height, sizes.width) == (bottom - top, right - left)
        assert sizes.flip == (0, 1, 3, 2, 4, 6, 7, 5)[frame.orientation - 1]

    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        first = tiff.pages.first
        page = first.pages[0] if with_preview else first
        if with_preview:
            np.testing.assert_array_equal(first.asarray(), preview)
            assert first.tags["NewSubfileType"].value == 1
        np.testing.assert_array_equal(page.asarray(), frame.pixels)
        tags = page.tags
        assert tags["NewSubfileType"].value == 0
        assert tags["BitsPerSample"].value == 16
        assert tags["Compression"].value == 1
        assert tags["PhotometricInterpretation"].value == 32803
        assert tags["CFARepeatPatternDim"].value == (2, 2)
        assert "".join("RGB"[number] for number in tags["CFAPattern"].value) == frame.cfa
        assert tags["CFAPlaneColor"].value == b"\0\1\2"
        assert tags["CFALayout"].value == 1
        assert tags["WhiteLevel"].value == frame.white
        assert tags["ActiveArea"].value == frame.active_area
        # Eight pixels on each side are for a converter's interpolation.
        border = min(8, (right - left) // 4, (bottom - top) // 4)
        assert tags["DefaultCropOrigin"].value == (border, border)
        width, height = right - left - 2 * border, bottom - top - 2 * border
        assert tags["DefaultCropSize"].value == (width, height)
        assert black_levels(tags) == list(frame.black)
        assert first.tags["Orientation"].value == frame.orientation


@pytest.mark.parametrize("cfa", CFAS)
@pytest.mark.parametrize(
    ("roi", "expected"),
    [
        ((0, 0, 32, 26), (4, 8, 26, 32)),  # across the first corner of the active area
        ((24, 16, 40, 32), (0, 0, 32, 40)),  # inside it
        ((64, 40, 32, 24), (0, 0, 22, 28)),  # across its last corner
    ],
)
def test_a_region_of_interest_is_a_picture_of_its_own(cfa, roi, expected):
    """A mode of 96 x 64 pixels has a border. A region keeps what it contains of that border."""
    mode = Mode(1, "full", 96, 64, 1, ModeUse.STILL, (4, 8, 62, 92))
    x, y, width, height = roi
    frame = make_frame(
        noise()[y : y + height, x : x + width],
        cfa=cfa,
        black=(10, 20, 30, 40),
        active_area=mode.find_active_area(*roi),
        crop_x=x,
        crop_y=y,
    )
    file = dng(frame)
    with rawpy.imread(file) as raw:
        np.testing.assert_array_equal(raw.raw_image, frame.pixels)
        letters = [raw.color_desc.decode()[number] for number in raw.raw_pattern.flat]
        assert "".join(letters) == cfa
        top, left, bottom, right = expected
        assert (raw.sizes.top_margin, raw.sizes.left_margin) == (top, left)
        assert (raw.sizes.height, raw.sizes.width) == (bottom - top, right - left)
        assert raw.postprocess(user_flip=0).shape[2] == 3
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages[0]
        np.testing.assert_array_equal(page.asarray(), frame.pixels)
        assert page.tags["ActiveArea"].value == expected
        assert black_levels(page.tags) == [10, 20, 30, 40]


def black_levels(tags):
    """Return the four levels, row by row, as exact numbers."""
    value = np.atleast_1d(tags["BlackLevel"].value).tolist()
    if tags["BlackLevel"].dtype == tifffile.DATATYPE.RATIONAL:
        value = [Fraction(*pair) for pair in zip(value[::2], value[1::2], strict=True)]
    assert len(value) == np.prod(tags["BlackLevelRepeatDim"].value)
    return value * (4 // len(value))


def test_camera_tags_hold_exact_rationals():
    frame = make_frame(noise())
    with tifffile.TiffFile(dng(frame, np.zeros((8, 12, 3), np.uint8))) as tiff:
        tags = tiff.pages.first.tags
        assert tags["ColorMatrix1"].value == tuple(chain(*chain(*MATRIX)))
        assert tags["ColorMatrix1"].dtype == tifffile.DATATYPE.SRATIONAL
        assert tags["AsShotNeutral"].value == tuple(chain(*NEUTRAL))
        assert tags["CalibrationIlluminant1"].value == 21
        assert tags["DNGVersion"].value == b"\1\4\0\0"
        assert tags["DNGBackwardVersion"].value == b"\1\1\0\0"
        assert tags["Make"].value == "LensLink"
        assert tags["Model"].value == "Bench One"
        assert tags["UniqueCameraModel"].value == "LensLink Bench One"
        assert tags["CameraSerialNumber"].value == "LL-0001"
        assert tags["Software"].value == "LensLink test"
        exif = tags["ExifTag"].value
        assert exif["ExposureTime"] == (1, 80)
        assert exif["ISOSpeedRatings"] == 200
        assert exif["SubjectDistance"] == (1000, 2000)


def test_strips_are_even_many_and_end_with_the_frame():
    """The frame is large enough for several strips with a shorter last one."""
    frame = make_frame(noise(1000, 514))
    with tifffile.TiffFile(dng(frame)) as tiff:
        page = tiff.pages.first
        assert len(page.dataoffsets) > 1
        assert page.rowsperstrip % 2 == 0
        assert page.databytecounts[-1] < page.databytecounts[0]
        assert not any(offset % 2 for offset in page.dataoffsets)
        np.testing.assert_array_equal(page.asarray(), frame.pixels)


@pytest.mark.parametrize("corner", [(0, 1), (1, 0), (1, 1)])
def test_patterns_begin_at_the_active_area(corner):
    """DNG counts the mosaic and the black levels from ActiveArea's corner, not the frame's."""
    top, left = corner
    frame = make_frame(noise(), black=(10, 20, 30, 40), active_area=(top, left, 64, 96))
    file = dng(frame)
    with tifffile.TiffFile(file) as tiff:
        tags = tiff.pages.first.tags
        there = np.roll(np.array([[0, 1], [2, 3]]), (-top, -left), axis=(0, 1)).ravel().tolist()
        pattern = "".join("RGB"[number] for number in tags["CFAPattern"].value)
        assert pattern == "".join("RGGB"[place] for place in there)
        assert black_levels(tags) == [10 * (place + 1) for place in there]
    file.seek(0)
    with rawpy.imread(file) as raw:
        # LibRaw moves the corner to the next even pixel, where the frame's own pattern begins.
        letters = [raw.color_desc.decode()[number] for number in raw.raw_pattern.flat]
        assert "".join(letters) == "RGGB"


@pytest.fixture
def awkward_frames():
    """Return frames whose tags are at the limits of TIFF."""
    return {
        "plain": make_frame(noise()),
        "border": make_frame(noise(), black=(1, 2.25, 3.5, 4.75), active_area=(3, 5, 63, 91)),
        "names": make_frame(
            noise(),
            identity=Identity("Zeiß\n", "", "1\0", "\x1b"),
            color=ColorCalibration(tuple(chain(*MATRIX)), NEUTRAL, 17),
        ),
        "infinite": make_frame(noise(), focus_mdpt=0, exposure_us=10**13, gain_milli=10**7),
        "zero": make_frame(noise(), exposure_us=0, gain_milli=0, focus_mdpt=-5),
        "part": make_frame(
            noise(),
            status=FrameStatus.INCOMPLETE,
            received_fraction=0.9739,
            missing_ranges=((0, 96),),
        ),
    }


@needs_exiftool
def test_exiftool_has_no_complaint(awkward_frames, tmp_path):
    for name, frame in awkward_frames.items():
        for kind, preview in (("with", render_preview(frame)), ("without", None)):
            write_dng(frame, tmp_path / f"{name}-{kind}.dng", preview, "LensLink 1.0")
    reports = json.loads(exiftool("-j", "-validate", "-warning", "-error", "-a", str(tmp_path)))
    assert len(reports) == 2 * len(awkward_frames)
    for report in reports:
        assert report.pop("Validate") == "OK", report
        assert set(report) == {"SourceFile"}, report


@needs_exiftool
def test_exiftool_reads_what_the_frame_says(tmp_path):
    path = tmp_path / "frame.dng"
    frame = make_frame(
        noise(),
        black=(64, 64.25, 63.5, 65),
        orientation=6,
        optics=OpticsEntry(20_000, 40_000, 1_700, 3300),
        noise_profile=(2e-4, 3e-7),
        aperture_milli=5600,
    )
    before = datetime.now().astimezone().replace(microsecond=0)
    write_dng(frame, path, render_preview(frame), "LensLink 1.0")
    after = datetime.now().astimezone()
    (tags,) = json.loads(exiftool("-j", "-n", "-G1", str(path)))
    assert tags["IFD0:SubfileType"] == 1
    assert tags["IFD0:Orientation"] == 6
    assert (tags["IFD0:ImageWidth"], tags["IFD0:ImageHeight"]) == (96, 64)  # not turned
    assert tags["SubIFD:SubfileType"] == 0
    assert (tags["SubIFD:ImageWidth"], tags["SubIFD:ImageHeight"]) == (96, 64)
    assert tags["SubIFD:BlackLevel"] == "64 64.25 63.5 65"
    assert tags["SubIFD:WhiteLevel"] == 4095
    assert tags["SubIFD:ActiveArea"] == "0 0 64 96"
    assert tags["SubIFD:CFAPattern2"] == "0 1 1 2"
    assert [float(word) for word in tags["IFD0:ColorMatrix1"].split()] == pytest.approx(
        [top / bottom for top, bottom in chain(*MATRIX)]
    )
    assert [float(word) for word in tags["IFD0:AsShotNeutral"].split()] == pytest.approx(
        [top / bottom for top, bottom in NEUTRAL]
    )
    assert tags["ExifIFD:ExposureTime"] == 0.0125
    assert tags["ExifIFD:ISO"] == 200
    assert tags["ExifIFD:SubjectDistance"] == 0.5
    assert tags["ExifIFD:FNumber"] == 5.6
    assert tags["ExifIFD:LensInfo"] == "20 20 1.7 1.7"
    assert tags["ExifIFD:FocalLength"] == 20
    assert tags["ExifIFD:FocalLengthIn35mmFormat"] == 40
    assert (tags["ExifIFD:LensMake"], tags["ExifIFD:LensModel"]) == ("LensLink", "Bench One")
    moment = f"{tags['ExifIFD:DateTimeOriginal']}{tags['ExifIFD:OffsetTimeOriginal']}"
    assert before <= datetime.strptime(moment, "%Y:%m:%d %H:%M:%S%z") <= after
    assert tags["IFD0:ModifyDate"] == tags["ExifIFD:DateTimeOriginal"]
    assert [float(word) for word in tags["SubIFD:NoiseProfile"].split()] == [2e-4, 3e-7]
    assert tags["SubIFD:DefaultCropOrigin"] == "8 8"
    assert tags["SubIFD:DefaultCropSize"] == "80 48"


def test_without_an_iris_the_f_number_is_the_lens_widest():
    frame = make_frame(noise(), optics=OpticsEntry(20_000, 40_000, 1_700, 3300))
    with tifffile.TiffFile(dng(frame)) as tiff:
        exif = tiff.pages.first.tags["ExifTag"].value
    assert exif["FNumber"] == (17, 10)
    assert exif["LensSpecification"] == (20, 1, 20, 1, 17, 10, 17, 10)


def test_a_frame_without_optics_has_no_tags_of_the_lens():
    with tifffile.TiffFile(dng(make_frame(noise()))) as tiff:
        exif = tiff.pages.first.tags["ExifTag"].value
    assert exif.keys().isdisjoint({"FNumber", "FocalLength", "LensModel"})
    assert exif["ExposureTime"] == (1, 80)


# --- converters, which are optional --------------------------------------------------------------


@pytest.fixture(params=[(66, 64), (480, 640)], ids=["66 x 64", "480 x 640"])
def developed_frame(request):
    """Return a frame with a red and a grey half, and the same frame's DNG size in pixels."""
    height, width = request.param
    pixels = np.full((height, width), 64, np.uint16)
    pixels[:, width // 2 :] = 1500
    pixels[0::2, 0::2] = 1500
    return make_frame(pixels, optics=OpticsEntry(20_000, 40_000, 1_700, 3300)), request.param


def run_converter(command, folder):
    """Run a converter without a display and with settings of its own; return its messages."""
    environment = os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config")}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=patience(120), env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def check_picture(path, shape):
    """Check a converter's picture: the size of the crop, red on the left, lighter on the right."""
    with Image.open(path) as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    height, width = shape[0] - 16, shape[1] - 16
    assert abs(picture.shape[0] - height) <= 16, picture.shape
    assert abs(picture.shape[1] - width) <= 16, picture.shape
    middle = picture[picture.shape[0] // 2]
    red, grey = middle[len(middle) // 4], middle[3 * len(middle) // 4]
    assert red[0] > red[2] + 20, red
    assert grey.sum() > red.sum(), (grey, red)


def test_darktable_develops_it(developed_frame, tmp_path, tool):
    frame, shape = developed_frame
    write_dng(frame, tmp_path / "a.dng", render_preview(frame), "LensLink 1.0")
    command = [tool("darktable-cli"), str(tmp_path / "a.dng"), str(tmp_path / "out.png")]
    command += ["--core", "--configdir", str(tmp_path / "dt"), "--library", ":memory:"]
    said = run_converter([*command, "--conf", "opencl=FALSE"], tmp_path)
    assert "error" not in said.lower(), said
    check_picture(tmp_path / "out.png", shape)


def test_rawtherapee_develops_it(developed_frame, tmp_path, tool):
    frame, shape = developed_frame
    write_dng(frame, tmp_path / "a.dng", render_preview(frame), "LensLink 1.0")
    command = [tool("rawtherapee-cli"), "-o", str(tmp_path / "out.png"), "-n", "-d", "-Y"]
    said = run_converter([*command, "-c", str(tmp_path / "a.dng")], tmp_path)
    assert "error" not in said.lower(), said
    check_picture(tmp_path / "out.png", shape)


def test_an_incomplete_frame_says_so():
    frame = make_frame(noise(), status=FrameStatus.INCOMPLETE, received_fraction=0.99999)
    with tifffile.TiffFile(dng(frame)) as tiff:
        text = tiff.pages.first.description
    assert text == "LensLink frame 12, 12 bit, incomplete: 99.9 % received"
    assert make_caption(make_frame(noise())) == "LensLink frame 12, 12 bit, complete"


def test_a_path_and_a_file_get_the_same_bytes(tmp_path):
    frame = make_frame(noise())
    write_dng(frame, tmp_path / "a.dng", None, "LensLink test")
    with tifffile.TiffFile(tmp_path / "a.dng") as one, tifffile.TiffFile(dng(frame)) as other:
        np.testing.assert_array_equal(one.asarray(), other.asarray())
        assert len(one.pages.first.tags) == len(other.pages.first.tags)


def test_text_fits_tiff():
    assert to_ascii("Zeiß\nIkon\0 ") == "Zei??Ikon?"
    assert to_ascii("  ") == "unknown"


@given(st.integers(0, 2**64 - 1))
def test_any_exposure_fits_a_rational(microseconds):
    top, bottom = to_rational(Fraction(microseconds, 10**6))
    assert 0 <= top < 2**32
    assert 0 < bottom < 2**32
    exact = min(Fraction(microseconds, 10**6), Fraction(2**32 - 1))
    assert abs(Fraction(top, bottom) - exact) <= exact / 10**8


def test_a_cameras_raw_goes_through_bit_exact(tmp_path):
    """Pixels and tags of a camera's file come back from the DNG of a frame made of them."""
    source: Path | None = colorchart()
    if source is None:
        pytest.skip("colorchart.dng is in neither $LENSLINK_DATA nor ../shared/data")
    with tifffile.TiffFile(source) as tiff:
        tags = tiff.pages.first.tags
        matrix, neutral = tags["ColorMatrix1"].value, tags["AsShotNeutral"].value
    color = ColorCalibration(
        tuple(zip(matrix[::2], matrix[1::2], strict=True)),
        tuple(zip(neutral[::2], neutral[1::2], strict=True)),
    )
    with rawpy.imread(str(source)) as theirs:
        frame = make_frame(
            theirs.raw_image.copy(),
            bits=14,
            black=(2056.0,) * 4,
            white=15000,
            active_area=(26, 152, 1182, 1886),
            color=color,
            identity=Identity("Canon", "Canon EOS Kiss X4", "1", "test"),
        )
        with rawpy.imread(dng(frame, render_preview(frame))) as ours:
            np.testing.assert_array_equal(ours.raw_image, theirs.raw_image)
            np.testing.assert_array_equal(ours.color_matrix, theirs.color_matrix)
            np.testing.assert_array_equal(ours.raw_pattern, theirs.raw_pattern)
            assert ours.camera_whitebalance == theirs.camera_whitebalance
            assert ours.black_level_per_channel == theirs.black_level_per_channel
            assert ours.white_level == theirs.white_level
            # The rest is DefaultCrop: in this file it is the whole ActiveArea, in ours it is not.
            assert ours.sizes[:10] == theirs.sizes[:10]
            assert ours.color_desc == theirs.color_desc
