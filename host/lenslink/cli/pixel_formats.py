"""The formats in which ``lenslink stream`` writes pixels.

A sink (:mod:`.sink`) passes each frame to :meth:`PixelFormat.encode`. RAW formats keep the mosaic.
Picture formats make one pixel of every 2 x 2 of it: half the size, but with the right colours, and
fast enough for a preview.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lenslink.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lenslink import Frame

FORMATS = ("raw", "rgb24", "y4m")
_DEFAULT_INTERVAL_US = 40_000


class PixelFormat(Protocol):
    """Encodes the frames of one stream."""

    suffix: str
    """The extension of a file in this format."""

    def encode(self, frame: Frame) -> memoryview | bytes:
        """Return the frame's bytes. This may change the pixels in the frame's own memory."""

    def finish(self) -> bytes:
        """Return the bytes that end the stream."""

    def describe(self, frame: Frame) -> str:
        """Return how a player reads the format."""


def make_pixel_format(name: str, scale8: bool, scale16: bool) -> PixelFormat:
    """Return the format that ``--format``, ``--scale8`` and ``--scale16`` choose.

    Raises:
        UsageError: the options contradict each other.
    """
    if scale8 and scale16:
        raise UsageError("--scale8 and --scale16 contradict each other: give one of them")
    if name != "raw" and (scale8 or scale16):
        raise UsageError(f"--format {name} has 8 bits always: leave out --scale8 and --scale16")
    if name == "rgb24":
        return _Rgb24()
    if name == "y4m":
        return _Y4m()
    return _Raw8() if scale8 else _Raw16(scale16)


class _Raw16:
    """The mosaic as uint16 little-endian words, row by row."""

    suffix = ".raw"

    def __init__(self, is_scaled: bool) -> None:
        self._is_scaled = is_scaled

    def encode(self, frame: Frame) -> memoryview:
        pixels = frame.pixels
        if self._is_scaled and frame.bits < 16:
            pixels <<= 16 - frame.bits
        # A view as bytes, because the buffer protocol knows only the machine's byte order.
        return pixels.reshape(-1).view("u1").data

    def finish(self) -> bytes:
        return b""

    def describe(self, frame: Frame) -> str:
        text = (
            f"for ffmpeg: -f rawvideo -pixel_format bayer_{frame.cfa.lower()}16le "
            f"-video_size {frame.width}x{frame.height}"
        )
        if frame.bits < 16 and not self._is_scaled:
            text += f" (pixels have {frame.bits} bits and look dark: --scale16 shifts them up)"
        return f"{text}; --format y4m has the right colours and speed"


class _Raw8:
    """The mosaic as bytes, row by row: the upper eight bits of each pixel."""

    suffix = ".raw"

    def encode(self, frame: Frame) -> bytes:
        return (frame.pixels >> (frame.bits - 8)).astype("u1").tobytes()

    def finish(self) -> bytes:
        return b""

    def describe(self, frame: Frame) -> str:
        return (
            f"for GStreamer: video/x-bayer,format={frame.cfa.lower()},"
            f"width={frame.width},height={frame.height}"
        )


class _Rgb24:
    """sRGB pictures of half the size, three bytes a pixel."""

    suffix = ".rgb"

    def encode(self, frame: Frame) -> bytes:
        from .quick_picture import make_quick_picture

        return make_quick_picture(frame).tobytes()

    def finish(self) -> bytes:
        return b""

    def describe(self, frame: Frame) -> str:
        size = f"{frame.width // 2}x{frame.height // 2}"
        return f"for ffmpeg: -f rawvideo -pixel_format rgb24 -video_size {size}"


class _Y4m:
    """YUV4MPEG2: pictures of half the size, with their size and rate in the header.

    The rate is that of the module's clock between the first two frames. So the first frame is
    written with the second one.
    """

    suffix = ".y4m"

    def __init__(self) -> None:
        self._first: tuple[int, NDArray[np.uint8]] | None = None
        self._has_header = False

    def encode(self, frame: Frame) -> bytes:
        from .quick_picture import make_quick_picture

        picture = make_quick_picture(frame)
        if self._has_header:
            return self._encode_picture(picture)
        if self._first is None:
            self._first = frame.timestamp_us, picture
            return b""
        moment, first = self._first
        self._has_header = True
        header = self._make_header(first, frame.timestamp_us - moment)
        return header + self._encode_picture(first) + self._encode_picture(picture)

    def finish(self) -> bytes:
        if self._has_header or self._first is None:
            return b""
        _, picture = self._first
        header = self._make_header(picture, _DEFAULT_INTERVAL_US)
        return header + self._encode_picture(picture)

    def describe(self, frame: Frame) -> str:
        del frame
        return "players and ffmpeg read this format without options"

    def _make_header(self, picture: NDArray[np.uint8], interval_us: int) -> bytes:
        height, width = picture.shape[:2]
        interval_us = interval_us if interval_us > 0 else _DEFAULT_INTERVAL_US
        rate = f"1000000:{interval_us}"
        return f"YUV4MPEG2 W{width} H{height} F{rate} Ip A1:1 C444\n".encode()

    def _encode_picture(self, picture: NDArray[np.uint8]) -> bytes:
        from .quick_picture import convert_to_yuv

        return b"FRAME\n" + convert_to_yuv(picture).tobytes()
