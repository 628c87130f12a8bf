"""Where the pixels of a stream go: a pipe, a file, a ring that others read, or nowhere."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from lenslink.errors import StorageError, UsageError

if TYPE_CHECKING:
    from lenslink import Frame, FrameRing

RING = "ring:"


class Closed(Exception):
    """Raised by :meth:`Sink.write` when the reader of the pipe is gone."""


class Sink(Protocol):
    """Takes frames one after the other."""

    ring: FrameRing | None
    """What they are received into, where others read them."""

    def write(self, frame: Frame, left_justify: bool) -> None:
        """Write uint16 little-endian pixels, row by row; the frame's own memory is what is written.

        With *left_justify* they are shifted in that memory first, so that white is near 65535
        whatever the sensor's bits. Raises :exc:`Closed`.
        """


@contextmanager
def open_sink(target: str | None, force: bool) -> Iterator[Sink]:
    """The sink for ``-o``: ``-`` is stdout, None nowhere, ``ring:NAME`` a ring, a file ``*.raw``.

    What cannot be written shows here, before a module is opened, as
    :exc:`~lenslink.errors.UsageError` or :exc:`~lenslink.errors.StorageError`. The file appears at
    the end of the context, and not at all if that ends with an exception.
    """
    if target is None:
        yield _Nowhere()
    elif target == "-":
        yield _Stdout()
    elif target.startswith(RING):
        from lenslink import FrameRing

        with FrameRing(target.removeprefix(RING)) as ring:
            yield _Nowhere(ring)
    else:
        path = Path(target)
        if path.suffix.lower() != ".raw":
            raise UsageError(
                f"{target}: a stream is written as '-' (stdout), to ring:NAME or to a file *.raw"
            )
        # Loads numpy, which --help has no use for.
        from lenslink.image_files.atomic_file import make_exists_error, publish

        if path.is_dir():
            raise StorageError(f"cannot write {target}: it is a folder")
        if not force and os.path.lexists(path):
            raise make_exists_error(path)
        with publish(path, force) as file:
            yield _File(file)


class _Nowhere:
    """What becomes of frames is the ring's business, where there is one."""

    def __init__(self, ring: FrameRing | None = None) -> None:
        self.ring = ring

    def write(self, frame: Frame, left_justify: bool) -> None:
        pass


class _File:
    ring: FrameRing | None = None

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, frame: Frame, left_justify: bool) -> None:
        whole = self._file.tell()
        try:
            self._file.write(_memory(frame, left_justify))
        except BaseException:
            # The file may be kept all the same: it holds whole frames only.
            self._file.seek(whole)
            self._file.truncate()
            raise


class _Stdout:
    ring: FrameRing | None = None

    def __init__(self) -> None:
        if sys.stdout.isatty():
            raise UsageError(
                "'-o -' would write raw pixels to the terminal: pipe them into a program"
            )
        sys.stdout.flush()
        self._descriptor = sys.stdout.fileno()

    def write(self, frame: Frame, left_justify: bool) -> None:
        rest = _memory(frame, left_justify)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # whoever gave us the pipe made it so
                select.select([], [self._descriptor], [])
            except BrokenPipeError:
                raise Closed from None


def _memory(frame: Frame, left_justify: bool) -> memoryview:
    pixels = frame.pixels
    if left_justify and frame.bits < 16:
        pixels <<= 16 - frame.bits
    # The buffer protocol knows no byte order but the machine's; bytes have none.
    return pixels.reshape(-1).view("u1").data
