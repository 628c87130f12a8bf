"""Where the pixels of a stream go: a pipe, a file, a frame ring, or nowhere.

``stream`` opens one sink before it opens the module, and writes each frame to it.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from lenslink.errors import UsageError

if TYPE_CHECKING:
    from lenslink import Frame, FrameRing

STDOUT = "-"
RING = "ring:"


class ReaderClosed(Exception):
    """Raised by :meth:`Sink.write` when the reader of the pipe is gone."""


class Sink(Protocol):
    """Takes frames, one after the other."""

    ring: FrameRing | None
    """The frame ring that the driver receives into, or None."""

    def write(self, frame: Frame) -> None:
        """Write the frame's pixels. This may change the pixels in the frame's own memory.

        Raises:
            ReaderClosed: nobody reads the pipe any more.
        """

    def describe_format(self, frame: Frame) -> str | None:
        """Return how a player reads what is written; None if no pixels are written."""


@contextmanager
def open_sink(target: str | None, force: bool, scale16: bool = False) -> Iterator[Sink]:
    """Open the sink that ``-o`` names. A file gets its name at the end of the context.

    If the context ends with an exception, no file appears.

    Args:
        target: ``-`` for stdout, None for nowhere, ``ring:NAME`` for a frame ring, else a ``.raw``
            file.
        force: overwrite a file that exists.
        scale16: shift pixels up to 16 bits.

    Raises:
        UsageError: *target* is no name of a sink.
        StorageError: the file cannot be written.
    """
    if target is None:
        yield _NoPixels()
    elif target == STDOUT:
        yield _PipeSink(scale16)
    elif target.startswith(RING):
        from lenslink import FrameRing

        with FrameRing(target.removeprefix(RING)) as ring:
            yield _NoPixels(ring)
    else:
        path = Path(target)
        if path.suffix.lower() != ".raw" or target.endswith(os.sep):
            raise UsageError(
                f"{target}: a stream is written to '-' (stdout), to ring:NAME or to a file *.raw"
            )
        # Imports numpy, which --help does not need.
        from lenslink.image_files.atomic_file import check_target, publish

        check_target(path, force)
        with publish(path, force) as file:
            yield _FileSink(file, scale16)


class _NoPixels:
    """Writes nothing: frames are only counted, or the ring's readers take them."""

    def __init__(self, ring: FrameRing | None = None) -> None:
        self.ring = ring

    def write(self, frame: Frame) -> None:
        pass

    def describe_format(self, frame: Frame) -> str | None:
        return None


class _PixelSink:
    """The common part of the sinks that write uint16 little-endian pixels, row by row."""

    ring: FrameRing | None = None

    def __init__(self, scale16: bool) -> None:
        self._scale16 = scale16

    def describe_format(self, frame: Frame) -> str | None:
        """Return ffmpeg's options, and a hint where the pixels look dark."""
        text = (
            f"for ffmpeg: -f rawvideo -pixel_format bayer_{frame.cfa.lower()}16le "
            f"-video_size {frame.width}x{frame.height}"
        )
        if frame.bits < 16 and not self._scale16:
            text += f" (pixels have {frame.bits} bits and look dark: --scale16 shifts them up)"
        return text

    def _view_bytes(self, frame: Frame) -> memoryview:
        """Return the frame's own memory, shifted up in place if ``--scale16`` was given."""
        pixels = frame.pixels
        if self._scale16 and frame.bits < 16:
            pixels <<= 16 - frame.bits
        # A view as bytes, because the buffer protocol knows only the machine's byte order.
        return pixels.reshape(-1).view("u1").data


class _FileSink(_PixelSink):
    def __init__(self, file: BinaryIO, scale16: bool) -> None:
        super().__init__(scale16)
        self._file = file

    def write(self, frame: Frame) -> None:
        end = self._file.tell()
        try:
            self._file.write(self._view_bytes(frame))
        except BaseException:
            # The file may be kept all the same, so it must hold whole frames only.
            self._file.seek(end)
            self._file.truncate()
            raise


class _PipeSink(_PixelSink):
    def __init__(self, scale16: bool) -> None:
        super().__init__(scale16)
        if sys.stdout.isatty():
            raise UsageError(
                "'-o -' would write raw pixels to the terminal: pipe them into a program"
            )
        sys.stdout.flush()
        self._descriptor = sys.stdout.fileno()

    def write(self, frame: Frame) -> None:
        rest = self._view_bytes(frame)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # the parent process made the pipe non-blocking
                select.select([], [self._descriptor], [])
            except BrokenPipeError:
                raise ReaderClosed from None
