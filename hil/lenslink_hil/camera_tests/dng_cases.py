"""Camera test of the DNG: what stands in the file is what the module reported."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lenslink import Frame
from lenslink.image_files.save import save

from ..conformance.cases import Cases, check
from .camera_under_test import CameraTest, CameraUnderTest

CASES: Cases[CameraTest] = Cases()

_COLORS = "RGB"
_EXACT = 1e-4


@CASES.add("dng_says_what_was_reported")
def dng_says_what_was_reported(camera: CameraUnderTest) -> str:
    """A DNG of a frame has its pixels, none of them above the white level, and its levels, colour
    filter, noise profile, colours, exposure, gain, f-number and names are those that the module
    reported.
    """
    settings = camera.scale(exposure=1.0)
    frame = camera.device.capture(camera.mode.name, settings=settings)
    with frame, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.dng"
        save(frame, path, force=False)
        tags, pixels = _read(path)
        check(np.array_equal(pixels, frame.pixels), "the pixels of the DNG are not the frame's")
        brightest = int(frame.pixels.max())
        check(
            brightest <= frame.white,
            f"a pixel is {brightest}, above the reported white level {frame.white}",
        )
        expected = _list_expected(frame)
    for name, value in expected.items():
        check(name in tags, f"the DNG has no tag {name}")
        found = tags[name]
        is_equal = (
            found == value if isinstance(value, str) else np.allclose(found, value, rtol=_EXACT)
        )
        check(is_equal, f"the DNG's {name} is {_show(found)}, the frame reports {_show(value)}")
    return f"{len(expected)} tags and {pixels.size} pixels are those of the frame"


def _list_expected(frame: Frame) -> dict[str, Any]:
    """Return the value of each tag, from the frame."""
    top, left = frame.active_area[:2]
    # The tags count from the corner of the active area.
    places = [2 * ((top + y) % 2) + (left + x) % 2 for y in (0, 1) for x in (0, 1)]
    found: dict[str, Any] = {
        "Make": frame.identity.maker,
        "Model": frame.identity.model,
        "CameraSerialNumber": frame.identity.serial,
        "ActiveArea": frame.active_area,
        "CFAPattern": [_COLORS.index(frame.cfa[place]) for place in places],
        "BlackLevel": [frame.black[place] for place in places],
        "WhiteLevel": frame.white,
        "ColorMatrix1": [top / bottom for top, bottom in frame.color.matrix],
        "AsShotNeutral": [top / bottom for top, bottom in frame.color.neutral],
        "CalibrationIlluminant1": frame.color.illuminant,
        "Orientation": frame.orientation,
        "ExposureTime": frame.exposure_us / 1e6,
        "ISOSpeedRatings": min(round(frame.gain_milli / 10), 65535),
    }
    if frame.noise_profile is not None:
        found["NoiseProfile"] = frame.noise_profile
    if frame.aperture_milli:
        found["FNumber"] = frame.aperture_milli / 1000
    if frame.focus_mdpt:
        found["SubjectDistance"] = 1000 / frame.focus_mdpt
    if frame.optics is not None:
        found["FocalLength"] = frame.optics.focal_um / 1000
    return found


def _read(path: Path) -> tuple[dict[str, Any], Any]:
    """Return the tags of a DNG by their names, with rationals as numbers, and its mosaic."""
    import tifffile

    tags: dict[str, Any] = {}
    with tifffile.TiffFile(path) as tiff:
        pages = [each for page in tiff.pages for each in (page.aspage(), *(page.pages or ()))]
        for page in pages:
            for tag in page.tags:
                tags[tag.name] = _read_value(tag.value, int(tag.dtype))
            exif = page.tags.get("ExifTag")
            for name, value in exif.value.items() if exif is not None else ():
                pair = isinstance(value, tuple) and len(value) == 2
                tags[name] = value[0] / value[1] if pair else value
        (mosaic,) = [
            page.asarray() for page in pages if page.photometric == tifffile.PHOTOMETRIC.CFA
        ]
    side = np.asarray(tags["BlackLevel"], float).reshape(-1)
    tags["BlackLevel"] = np.broadcast_to(side, 4) if side.size == 1 else side
    return tags, mosaic


def _read_value(value: Any, kind: int) -> Any:
    """Return a tag's value. Rationals are pairs of numbers, and bytes are small numbers."""
    if isinstance(value, bytes):
        return list(value)
    if kind in (5, 10):  # RATIONAL and SRATIONAL
        flat = np.asarray(value, float).reshape(-1, 2)
        return flat[:, 0] / flat[:, 1]
    return value


def _show(value: Any) -> str:
    if isinstance(value, str):
        return value
    numbers = np.asarray(value, float).reshape(-1)
    return " ".join(f"{number:g}" for number in numbers)
