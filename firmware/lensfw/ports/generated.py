"""A sensor without a scene: its rows are computed and packed when they are read.

They are the plant's seeded pattern ``prbs``. So a host can compute every pixel of every frame, mode
and packing, and compare.
"""

from .. import arch

# Pixels that are computed at a time. Their words need memory before they are packed.
_RUN = 2048


class GeneratedRows:
    """The ports' request_rows(), read_rows() and skip_rows() for the configuration's *sensor*."""

    def __init__(self, sensor, seed):
        self._modes = {mode["id"]: mode["width"] for mode in sensor["modes"]}
        self._prbs = arch.Prbs(sensor["bits"], seed)
        self._words = bytearray(2 * _RUN)
        # Pixels from row to row of the mode, and in a row of the crop.
        self._pitch = 0
        self._width = 0
        self._bits = 16
        self._columns = 0
        self._x = 0
        # The number of the next tile's first pixel in the mode.
        self._first = 0
        self._joined = False

    def request_rows(self, number, mode, settings, pixel_format, tile, crop):
        """Begin a frame. Its rows are read tile by tile, in the given format.

        The *settings* change nothing. *crop* is x, y, columns and rows.
        """
        self._prbs.set_frame(number)
        self._pitch = self._modes[mode]
        self._width = crop[2]
        self._bits = pixel_format >> 16 & 0xFF
        self._columns = tile[0]
        self._x = 0
        self._first = crop[1] * self._pitch + crop[0]
        # Rows without a gap between them are computed as one run.
        self._joined = self._columns == self._pitch and not self._pitch * self._bits & 7

    def read_rows(self, view):
        """Write the next tile to *view*, which has its size. Return the number of bytes."""
        if not self._joined:
            return self._read_rows(view)
        rows = len(view) * 8 // (self._width * self._bits)
        self._run(view, 0, self._first, rows * self._width)
        self._first += rows * self._width
        return len(view)

    def _read_rows(self, view):
        width = self._width
        columns = min(self._columns, width - self._x)
        stride = (columns * self._bits + 7) // 8
        rows = len(view) // stride
        for row in range(rows):
            self._run(view, row * stride, self._first + row * self._pitch, columns)
        self._x += columns
        self._first += columns
        if self._x >= width:
            self._x = 0
            self._first += rows * self._pitch - width
        return stride * rows

    def _run(self, view, at, first, count):
        while count > _RUN:
            self._piece(view, at, first, _RUN)
            at += _RUN * self._bits // 8
            first += _RUN
            count -= _RUN
        self._piece(view, at, first, count)

    def _piece(self, view, at, first, count):
        if self._bits == 16:
            self._prbs.write_pixels(view, at, first, count)
        else:
            self._prbs.write_pixels(self._words, 0, first, count)
            arch.pack12(view, at, self._words, count)

    def skip_rows(self, count):
        """Do nothing: rows that are not read are never computed."""
