"""Ports of the simulated module: the plant behind streams.

``rows`` carry the sensor's rows, a stream for each channel of the sensor; ``pins`` everything else
as records of eight bytes. Their layouts are the plant's (lenslink_hil.plant).
"""

import struct

_PIN = "<BBHi"
_PIN_BYTES = 8
_REQUEST = "<IHHQIiIHH"
_WITH_CRCS = 1


def _ended(count):
    """None is nothing yet; 0 is the end of the world."""
    if count is None:
        return 0
    raise EOFError("the plant has ended")


class SimRows:
    """One channel of the sensor."""

    def __init__(self, rows, crcs):
        self._rows = rows
        self._flags = _WITH_CRCS if crcs else 0
        self._skip = 0
        self._scrap = memoryview(bytearray(4096))

    def request_rows(self, number, mode, settings, pixel_format, tile):
        """Expose and read out a frame; settings are exposure_us, gain_milli, focus_mdpt.

        Its rows come packed as *pixel_format* says. Where the sensor computes CRCs, that of each
        *tile*, columns and rows, follows the tile's rows, four bytes.
        """
        exposure, gain, distance = settings
        self._rows.write(
            struct.pack(
                _REQUEST,
                number,
                mode,
                self._flags,
                exposure,
                gain,
                distance,
                pixel_format,
                tile[0],
                tile[1],
            )  # fmt: skip
        )

    def read_rows(self, view):
        """Bytes of rows now in *view*; 0 if none are there yet."""
        while self._skip:
            count = self._rows.readinto(self._scrap[: min(self._skip, len(self._scrap))])
            if not count:
                return _ended(count)
            self._skip -= count
        count = self._rows.readinto(view)
        return count or _ended(count)

    def skip_rows(self, count):
        """Throw *count* bytes away that the sensor still owes."""
        self._skip += count


class SimPorts:
    """See ``module.Module`` for what ports are asked."""

    CONTACT = 1
    ADC = 2
    RING = 3
    _STEP = 16
    _LOAD = 17
    _SAMPLE = 18

    def __init__(self, rows, pins, crcs=False):
        self.channels = [SimRows(each, crcs) for each in rows]
        self._pins = pins
        self._record = bytearray(_PIN_BYTES)
        self._record_view = memoryview(self._record)
        self._have = 0

    def take_event(self):
        """The next (kind, channel, value), or None."""
        count = self._pins.readinto(self._record_view[self._have :])
        if not count:
            _ended(count)
            return None
        self._have += count
        if self._have < _PIN_BYTES:
            return None
        self._have = 0
        kind, channel, _, value = struct.unpack(_PIN, self._record)
        return kind, channel, value

    def sample(self, channel):
        self._pins.write(struct.pack(_PIN, self._SAMPLE, channel, 0, 0))

    def step(self, count):
        self._pins.write(struct.pack(_PIN, self._STEP, 0, 0, count))

    def set_load(self, milliamperes):
        self._pins.write(struct.pack(_PIN, self._LOAD, 0, 0, milliamperes))
