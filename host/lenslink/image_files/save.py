"""Saving a frame under a name whose extension chooses the format."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lenslink.errors import StorageError, UsageError
from lenslink.frame import Frame
from lenslink.image_files.atomic_file import (
    format_path,
    make_exists_error,
    make_storage_error,
    publish,
)
from lenslink.image_files.describe import make_caption, make_metadata_json
from lenslink.image_files.dng import count_strip_rows, iterate_strips, write_dng
from lenslink.image_files.render import render, render_preview

FORMATS = {
    ".dng": "RAW and preview, for any RAW converter",
    ".tiff": "RAW mosaic, 16 bit, with the metadata as JSON in its description",
    ".tif": "the same as .tiff",
    ".npy": "RAW mosaic as a numpy array, pixels only",
    ".png": "rendered colour, 8 bit sRGB, upright",
}
"""What can be written: the extension (in any case) and what it gives."""


def check_output(path: Path, force: bool) -> None:
    """Refuse, before a picture is taken, a name that :func:`save` could not write.

    Raises UsageError when the extension is not one of FORMATS. Raises StorageError when the file
    exists and ``force`` is not given, when ``path`` is no regular file, and when its folder is
    missing or cannot be written.
    """
    _writer(path)
    try:
        mode = path.parent.stat().st_mode
    except OSError as error:
        raise make_storage_error(path, error) from error
    if not stat.S_ISDIR(mode):
        raise StorageError(
            f"cannot write {format_path(path)}: {format_path(path.parent)} is not a folder"
        )
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        pass
    except OSError as error:
        raise make_storage_error(path, error) from error
    else:
        if stat.S_ISDIR(mode):
            raise StorageError(f"cannot write {format_path(path)}: it is a folder")
        if not force:
            raise make_exists_error(path)
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise StorageError(f"cannot write {format_path(path)}: it is a device, pipe or socket")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise StorageError(f"cannot write {format_path(path)}: its folder cannot be written")


def save(frame: Frame, path: Path, force: bool) -> int:
    """Write ``frame`` to ``path`` in the format of its extension; return the bytes written.

    The file appears whole or not at all, and without ``force`` never in another's place (see
    :func:`lenslink.image_files.atomic_file.publish`).
    A DNG whose preview LibRaw refuses to render is written
    without one: the RAW is what must not be lost. An incomplete frame is written as it is; DNG,
    TIFF and PNG say so in their description.

    Raises UsageError for an unknown extension, StorageError when the file cannot be written.
    """
    write = _writer(path)
    with publish(path, force) as file:
        write(frame, file)
        return file.seek(0, os.SEEK_END)


def _software() -> str:
    try:
        return f"LensLink {version('lenslink')}"
    except PackageNotFoundError:  # run from its source folder, not installed
        return "LensLink"


def _write_dng(frame: Frame, file: BinaryIO) -> None:
    try:
        preview = render_preview(frame)
    except StorageError:
        preview = None
    write_dng(frame, file, preview, _software())


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
            software=_software(),
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
    info.add_text("Software", _software())
    # Level 1 takes a fifth of the default's time for a file a sixth larger.
    Image.fromarray(render(frame)).save(file, format="PNG", pnginfo=info, compress_level=1)


_WRITERS: dict[str, Callable[[Frame, BinaryIO], None]] = {
    ".dng": _write_dng,
    ".tiff": _write_tiff,
    ".tif": _write_tiff,
    ".npy": _write_npy,
    ".png": _write_png,
}


def _writer(path: Path) -> Callable[[Frame, BinaryIO], None]:
    try:
        return _WRITERS[path.suffix.lower()]
    except KeyError:
        kind = f"the extension {path.suffix!r}" if path.suffix else "no extension"
        raise UsageError(
            f"{format_path(path)} has {kind}; known are {', '.join(FORMATS)}"
        ) from None
