"""Writes linear light as a DNG of floating-point numbers, with a preview in its head.

Merging and denoising write their results with it.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink.frame import ColorCalibration, Frame, Identity
from lenslink.image_files.atomic_file import check_target, format_path, publish
from lenslink.image_files.dng import write_dng
from lenslink.image_files.float_raw import FloatRaw
from lenslink.image_files.opcodes import Corrections
from lenslink.image_files.save import get_software
from lenslink.raw_files.file_exposure import read_exposure
from lenslink.raw_files.raw_mosaic import RawMosaic
from lenslink_isp.develop.still import Quality, StillSettings, develop_still
from lenslink_isp.raw_image import RawImage

_PREVIEW_SIDE = 1024


def check_dng(path: Path, force: bool) -> None:
    """Raise the error that :func:`save_linear` would raise for *path*, before the work is done.

    Raises:
        UsageError: the extension is not .dng.
        StorageError: the file exists and *force* is False, or it cannot be written.
    """
    if path.suffix.lower() != ".dng":
        raise UsageError(f"{format_path(path)}: linear RAW is written as .dng")
    check_target(path, force)


def save_linear(
    raw: RawImage,
    caption: str,
    origin: Frame | RawMosaic,
    path: Path,
    *,
    force: bool,
    corrections: Corrections | None = None,
) -> int:
    """Write linear light as a DNG; return the file's size in bytes.

    The file appears whole or not at all.

    Args:
        raw: the picture: float32, black is 0, and white is 1.
        caption: one ASCII line that says what the picture is.
        origin: the frame, or the file it was read from: camera, lens and exposure.
        path: the file, .dng.
        force: replace a file that exists.
        corrections: of the lens.

    Raises:
        UsageError: the extension is not .dng.
        StorageError: the file exists or cannot be written.
    """
    check_dng(path, force)
    if isinstance(origin, Frame):
        picture = _describe_frame(raw, caption, origin)
    else:
        picture = _describe_file(raw, caption, origin)
        found = [origin.tags.get(f"OpcodeList{number}") for number in (2, 3)]
        second, third = (each if isinstance(each, bytes) else None for each in found)
        corrections = Corrections(second, third)
    with publish(path, force) as file:
        write_dng(picture, file, _make_preview(raw), get_software(), corrections)
        return file.seek(0, os.SEEK_END)


def _describe_frame(raw: RawImage, caption: str, frame: Frame) -> FloatRaw:
    return FloatRaw(
        pixels=np.asarray(raw.mosaic, np.float32),
        cfa=raw.cfa,
        orientation=frame.orientation,
        color=frame.color,
        identity=frame.identity,
        caption=caption,
        noise_profile=raw.noise_profile,
        baseline_exposure=raw.baseline_exposure,
        exposure_us=frame.exposure_us,
        gain_milli=frame.gain_milli,
        focus_mdpt=frame.focus_mdpt,
        aperture_milli=frame.aperture_milli,
        optics=frame.optics,
    )


def _describe_file(raw: RawImage, caption: str, origin: RawMosaic) -> FloatRaw:
    exposure, colors = read_exposure(origin.tags), origin.colors
    serial = str(origin.tags.get("CameraSerialNumber", ""))
    return FloatRaw(
        pixels=np.asarray(raw.mosaic, np.float32),
        cfa=raw.cfa,
        orientation=raw.orientation,
        color=ColorCalibration(colors.matrix, colors.neutral, colors.illuminant),
        identity=Identity(origin.maker or "", origin.model or "", serial, ""),
        caption=caption,
        noise_profile=raw.noise_profile,
        baseline_exposure=raw.baseline_exposure,
        exposure_us=round(exposure.seconds * 1e6),
        gain_milli=round(exposure.iso * 10),
        focus_mdpt=exposure.focus_mdpt,
        aperture_milli=round(exposure.f_number * 1000),
    )


def _make_preview(raw: RawImage) -> NDArray[np.uint8]:
    """Return a small sRGB picture, not turned upright."""
    picture = develop_still(raw, StillSettings(Quality.FAST))
    high, wide = picture.shape[:2]
    scale = min(1.0, _PREVIEW_SIDE / max(high, wide))
    size = max(1, round(wide * scale)), max(1, round(high * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
