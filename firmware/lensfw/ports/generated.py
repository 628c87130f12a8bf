"""A sensor without a scene: its rows are computed and packed afresh, each time they are read.

What it delivers is the plant's pattern ``prbs``, seeded: a host computes every pixel that it
should have got, for every frame, mode and packing.
"""

from .. import arch

# Pixels that are computed at a time: their words have to lie somewhere before they are packed.
_RUN = 4096


class GeneratedRows:
    """Ports' rows_request(), rows_read() and rows_skip() for *sensor*, the configuration's."""

    def __init__(self, sensor, seed):
        self._modes = {mode["id"]: mode["width"] for mode in sensor["modes"]}
        self._prbs = arch.Prbs(sensor["bits"], seed)
        self._words = bytearray(2 * _RUN)
        self._width = 0
        self._bits = 16
        self._columns = 0
        self._rows = 0
        self._x = 0
        self._y = 0

    def rows_request(self, number, mode, settings, pixel_format, tile):
        """Begin a frame; *settings* change nothing. Rows come tile by tile, packed as asked."""
        self._prbs.frame(number)
        self._width = self._modes[mode]
        self._bits = pixel_format >> 16 & 0xFF
        self._columns, self._rows = tile
        self._x = 0
        self._y = 0

    def rows_read(self, view):
        """The next tile, which *view* has the bytes for."""
        width, bits = self._width, self._bits
        columns = min(self._columns, width - self._x)
        stride = (columns * bits + 7) // 8
        rows = len(view) // stride
        if columns == width and width * bits & 7 == 0:
            # Rows follow each other without a gap: they are one.
            self._run(view, 0, self._y * width, columns * rows)
        else:
            for row in range(rows):
                self._run(view, row * stride, (self._y + row) * width + self._x, columns)
        self._x += columns
        if self._x >= width:
            self._x = 0
            self._y += rows
        return stride * rows

    def _run(self, view, at, first, count):
        if self._bits == 16:
            self._prbs.pixels(view, at, first, count)
            return
        words = self._words
        while count:
            some = count if count < _RUN else _RUN
            self._prbs.pixels(words, 0, first, some)
            arch.pack12(view, at, words, some)
            at += some * 3 // 2
            first += some
            count -= some

    def rows_skip(self, count):
        """What is not read is never computed."""
