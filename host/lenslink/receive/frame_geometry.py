"""Translate between rectangles of pixels and ranges of bytes in a frame.

A tile's header names a rectangle; :mod:`.assembly` keeps byte ranges; a Resend names rectangles
again.
"""

from __future__ import annotations

from collections.abc import Sequence

from lenslink_protocol.link import Rectangle
from lenslink_protocol.messages import Configured, Header
from lenslink_protocol.packings import Packing, find_layout
from lenslink_protocol.params import MAX_RANGES

from .received_ranges import ByteRange
from .rice_decoding import decode_tile


class FrameGeometry:
    """The rows and bytes of the frames of one configuration. Immutable."""

    def __init__(self, configuration: Configured) -> None:
        self.configuration = configuration
        self.layout = find_layout(configuration.pixel_format)

    def is_coded(self, header: Header) -> bool:
        """Return True if the payload of a tile is coded: a tile of ``rice`` that is shorter."""
        return self.layout.packing is Packing.RICE and header.length < self._count_tile(header)

    def decode_tile(self, header: Header, payload: memoryview) -> memoryview:
        """Return the bytes of a coded tile as the frame has them. Raise DamagedTile."""
        return decode_tile(payload, header.width, header.height, self.layout)

    def _count_tile(self, header: Header) -> int:
        """Return the bytes of a tile's pixels in the frame."""
        left = self.layout.count_bytes(header.x)
        return (self.layout.count_bytes(header.x + header.width) - left) * header.height

    def find_tile_ranges(self, header: Header) -> list[ByteRange] | None:
        """Return the bytes of the frame that a tile fills: one range, or one for each row.

        Return None if the tile does not fit the frame, or its length does not fit its rectangle.
        """
        if not self.layout.is_tile_length(header.length, self._count_tile(header)):
            return None
        return self.find_ranges((header.x, header.y, header.width, header.height))

    def find_ranges(self, rectangle: Rectangle) -> list[ByteRange] | None:
        """Return the bytes of a rectangle in the frame: one range, or one for each row.

        Return None if the rectangle is empty or leads outside, or if its edge lies between pixels
        that share a byte.
        """
        x, y, width, height = rectangle
        configuration = self.configuration
        if (
            not width
            or not height
            or x + width > configuration.width
            or y + height > configuration.height
        ):
            return None
        if not self.layout.is_aligned(x, width, configuration.width):
            return None
        left = self.layout.count_bytes(x)
        row_bytes = self.layout.count_bytes(x + width) - left
        first = y * configuration.stride + left
        if height == 1 or row_bytes == configuration.stride:
            return [(first, first + row_bytes * height)]
        last = first + height * configuration.stride
        return [(start, start + row_bytes) for start in range(first, last, configuration.stride)]

    def cover_ranges(
        self, ranges: Sequence[ByteRange]
    ) -> tuple[tuple[Rectangle, ...], list[ByteRange]]:
        """Return rectangles that cover byte ranges, from the first on: at most MAX_RANGES.

        The second value is the bytes that they cover.
        """
        rectangles: list[Rectangle] = []
        covered = []
        width, stride = self.configuration.width, self.configuration.stride
        for range_start, end in ranges:
            start = range_start
            while start < end and len(rectangles) < MAX_RANGES:
                row, left = divmod(start, stride)
                whole_rows = (end - start) // stride
                if left == 0 and whole_rows:
                    rectangles.append((0, row, width, whole_rows))
                    start += whole_rows * stride
                else:
                    stop = min(end, (row + 1) * stride)
                    x = self.layout.count_pixels(left)
                    right = self.layout.count_pixels(left + stop - start)
                    rectangles.append((x, row, right - x, 1))
                    start = stop
            if start > range_start:
                covered.append((range_start, start))
        return tuple(rectangles), covered
