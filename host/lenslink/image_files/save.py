"""Saves a frame in the format of its file's extension.

``lenslink capture`` and the demo call :func:`check_output` before the picture is taken, and
:func:`save` afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lenslink.errors import StorageError, UsageError
from lenslink.frame import Frame
from lenslink.image_files.atomic_file import check_target, format_path, publish
from lenslink.image_files.describe import make_caption, make_metadata_json
from lenslink.image_files.dng import count_strip_rows, iterate_strips, write_dng
from lenslink.image_files.opcodes import Corrections
from lenslink.image_files.render import render, render_preview

FORMATS = {
    ".dng": "RAW and preview, for any RAW converter",
    ".tiff": "RAW mosaic, 16 bit, with the metadata as JSON in its description",
    ".tif": "the same as .tiff",
    ".npy": "RAW mosaic as a numpy array, pixels only",
    ".png": "rendered colour, 8 bit sRGB, upright",
    ".jpg": "developed by lenslink_isp, 8 bit sRGB, upright; needs the extra isp",
}
"""The extensions that can be written, and what each file holds."""


def check_output(path: Path, force: bool) -> None:
    """Raise the error that :func:`save` would raise for *path*, before a picture is taken.

    Raises:
        UsageError: the extension is not one of FORMATS.
        StorageError: the file exists and *force* is False; or *path* is no regular file; or its
            folder is missing or cannot be written.
    """
    _find_writer(path)
    check_target(path, force)


def save(frame: Frame, path: Path, force: bool, corrections: Corrections | None = None) -> int:
    """Write *frame* to *path* in the format of its extension; return the file's size in bytes.

    The file appears whole or not at all. If LibRaw refuses to render the preview of a DNG, the DNG
    is written without a preview, because the RAW must not be lost. An incomplete frame is written
    as it is; the description in a DNG, TIFF or PNG states that it is incomplete.

    Args:
        frame: the frame; it stays unchanged.
        path: the file; its extension is one of FORMATS.
        force: replace a file that exists.
        corrections: of the lens, for a DNG; see :func:`.opcodes.find_corrections`.

    Raises:
        UsageError: the extension is not one of FORMATS.
        StorageError: the file exists or cannot be written.

    >>> save(frame, Path("photo.dng"), force=False)  # doctest: +SKIP
    25430112
    """
    write = _find_writer(path)
    if write is _write_dng:
        write = partial(_write_dng, corrections=corrections)
    with publish(path, force) as file:
        write(frame, file)
        return file.seek(0, os.SEEK_END)


def get_software() -> str:
    """Return the name and version of this program, for a file."""
    try:
        return f"LensLink {version('lenslink')}"
    except PackageNotFoundError:  # runs from its source folder, not installed
        return "LensLink"


def _write_dng(frame: Frame, file: BinaryIO, corrections: Corrections | None = None) -> None:
    try:
        preview = render_preview(frame)
    except StorageError:
        preview = None
    write_dng(frame, file, preview, get_software(), corrections)


def _write_tiff(frame: Frame, file: BinaryIO) -> None:
    import tifffile

    with tifffile.TiffWriter(file, byteorder="<") as tiff:
        tiff.write(
            iterate_strips(frame.pixels),
            shape=frame.pixels.shape,
            dtype=np.uint16,
            photometric=tifffile.PHOTOMETRIC.MINISBLACK,
            rowsperstrip=count_strip_rows(frame.width),
            description=make_metadata_json(frame),
            software=get_software(),
            datetime=True,
            metadata=None,
        )


def _write_npy(frame: Frame, file: BinaryIO) -> None:
    np.save(file, frame.pixels, allow_pickle=False)


def _write_png(frame: Frame, file: BinaryIO) -> None:
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add(b"sRGB", b"\x00")  # colours are sRGB, perceptual intent
    info.add_text("Description", make_caption(frame))
    info.add_text("Software", get_software())
    # Level 1 takes a fifth of the default's time; the file is a sixth larger.
    Image.fromarray(render(frame)).save(file, format="PNG", pnginfo=info, compress_level=1)


_WRITERS: dict[str, Callable[[Frame, BinaryIO], None]] = {
    ".dng": _write_dng,
    ".tiff": _write_tiff,
    ".tif": _write_tiff,
    ".npy": _write_npy,
    ".png": _write_png,
}


def _find_writer(path: Path) -> Callable[[Frame, BinaryIO], None]:
    suffix = path.suffix.lower()
    writer = _WRITERS.get(suffix) or _load_writer(suffix)
    if writer is None:
        kind = f"the extension {path.suffix!r}" if path.suffix else "no extension"
        raise UsageError(f"{format_path(path)} has {kind}; known are {', '.join(FORMATS)}")
    return writer


def _load_writer(suffix: str) -> Callable[[Frame, BinaryIO], None] | None:
    """Return the writer that another package has registered for *suffix*; None if there is none.

    Raises:
        MissingExtra: the writer needs a package that is not installed.
    """
    writers = entry_points(group="lenslink.image_formats")
    if suffix not in writers.names:
        return None
    load: Callable[[Frame, BinaryIO], None] = writers[suffix].load()
    return load
