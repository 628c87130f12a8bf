"""Where the pixels of a stream go: a pipe, a file, a frame ring, or nowhere.

``stream`` opens one sink before it opens the module, and writes each frame to it.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from lenslink.errors import UsageError

from .pixel_formats import PixelFormat, make_pixel_format

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
def open_sink(
    target: str | None, force: bool, pixel_format: PixelFormat | None = None
) -> Iterator[Sink]:
    """Open the sink that ``-o`` names. A file gets its name at the end of the context.

    If the context ends with an exception, no file appears.

    Args:
        target: ``-`` for stdout, None for nowhere, ``ring:NAME`` for a frame ring, else a file with
            the extension of the format.
        force: overwrite a file that exists.
        pixel_format: how pixels are written; by default the mosaic as it is.

    Raises:
        UsageError: *target* is no name of a sink.
        StorageError: the file cannot be written.
    """
    pixel_format = pixel_format or make_pixel_format("raw", scale8=False, scale16=False)
    if target is None:
        yield _NoPixels()
    elif target == STDOUT:
        pipe = _PipeSink(pixel_format)
        yield pipe
        pipe.finish()
    elif target.startswith(RING):
        from lenslink import FrameRing

        with FrameRing(target.removeprefix(RING)) as ring:
            yield _NoPixels(ring)
    else:
        path = Path(target)
        suffix = pixel_format.suffix
        if path.suffix.lower() != suffix or target.endswith(os.sep):
            raise UsageError(
                f"{target}: a stream is written to '-' (stdout), ring:NAME or a file *{suffix}"
            )
        # Imports numpy, which --help does not need.
        from lenslink.image_files.atomic_file import check_target, publish

        check_target(path, force)
        with publish(path, force) as file:
            sink = _FileSink(file, pixel_format)
            yield sink
            sink.finish()


class _NoPixels:
    """Writes nothing: frames are only counted, or the ring's readers take them."""

    def __init__(self, ring: FrameRing | None = None) -> None:
        self.ring = ring

    def write(self, frame: Frame) -> None:
        pass

    def describe_format(self, frame: Frame) -> str | None:
        return None


class _PixelSink:
    """The common part of the sinks that write pixels."""

    ring: FrameRing | None = None

    def __init__(self, pixel_format: PixelFormat) -> None:
        self._format = pixel_format

    def describe_format(self, frame: Frame) -> str | None:
        """Return how a player reads what is written."""
        return self._format.describe(frame)


class _FileSink(_PixelSink):
    def __init__(self, file: BinaryIO, pixel_format: PixelFormat) -> None:
        super().__init__(pixel_format)
        self._file = file

    def write(self, frame: Frame) -> None:
        end = self._file.tell()
        try:
            self._file.write(self._format.encode(frame))
        except BaseException:
            # The file may be kept all the same, so it must hold whole frames only.
            self._file.seek(end)
            self._file.truncate()
            raise

    def finish(self) -> None:
        if rest := self._format.finish():
            self._file.write(rest)


class _PipeSink(_PixelSink):
    def __init__(self, pixel_format: PixelFormat) -> None:
        super().__init__(pixel_format)
        if sys.stdout.isatty():
            raise UsageError(
                "'-o -' would write raw pixels to the terminal: pipe them into a program"
            )
        sys.stdout.flush()
        self._descriptor = sys.stdout.fileno()

    def write(self, frame: Frame) -> None:
        self._write(memoryview(self._format.encode(frame)))

    def finish(self) -> None:
        with suppress(ReaderClosed):
            self._write(memoryview(self._format.finish()))

    def _write(self, rest: memoryview) -> None:
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # the parent process made the pipe non-blocking
                select.select([], [self._descriptor], [])
            except BrokenPipeError:
                raise ReaderClosed from None
