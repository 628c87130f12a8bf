"""Ports of the simulated module: streams to the plant.

*rows* are streams with the rows of the sensor's channels. *pins* carries everything else as records
of eight bytes. ``lenslink_hil.plant`` defines both layouts. *calibrations* is a file, as on flash.
"""

import struct
import time

_PIN = "<BBHi"
_PIN_BYTES = 8
_REQUEST = "<IHHIIiIIHHHHHH"
_WITH_CRCS = 1
_WITH_TIME = 2
_TIME_BYTES = 8


def _ended(count):
    """Return 0 if nothing has arrived yet. Raise EOFError if the plant has ended."""
    if count is None:
        return 0
    raise EOFError("the plant has ended")


class SimRows:
    """One channel of the sensor."""

    def __init__(self, rows, clock, crcs):
        self._rows = rows
        self._clock = clock
        self._flags = _WITH_TIME | (_WITH_CRCS if crcs else 0)
        self._skip = 0
        # The time of the readout precedes its rows: how much of it has not arrived.
        self._time = bytearray(_TIME_BYTES)
        self._time_left = 0
        self._scrap = memoryview(bytearray(4096))

    def request_rows(self, number, mode, settings, pixel_format, tile, crop):
        """Read out a frame that was exposed with *settings*.

        They are exposure_us, gain_milli, focus_mdpt and aperture_milli. The rows are packed as
        *pixel_format* says. If the sensor computes CRCs, the four bytes of each tile's CRC follow
        the tile's rows. *tile* is columns and rows. *crop* is the part of the mode that is read:
        x, y, columns and rows.
        """
        exposure, gain, distance, aperture = settings
        self._time_left = _TIME_BYTES
        self._rows.write(
            struct.pack(
                _REQUEST,
                number,
                mode,
                self._flags,
                exposure,
                gain,
                distance,
                aperture,
                pixel_format,
                tile[0],
                tile[1],
                crop[0],
                crop[1],
                crop[2],
                crop[3],
            )  # fmt: skip
        )

    def read_rows(self, view):
        """Read rows into *view*. Return the number of bytes, 0 if none have arrived."""
        while self._skip:
            count = self._rows.readinto(self._scrap[: min(self._skip, len(self._scrap))])
            if not count:
                return _ended(count)
            self._skip -= count
        if self._time_left:
            count = self._rows.readinto(memoryview(self._time)[_TIME_BYTES - self._time_left :])
            if not count:
                return _ended(count)
            self._time_left -= count
            if self._time_left:
                return 0
        count = self._rows.readinto(view)
        return count or _ended(count)

    def get_start_us(self):
        """Return when the readout began on the module's clock, as the sensor has stamped it."""
        # Both processes read the machine's monotonic clock.
        began = time.ticks_add(0, struct.unpack("<Q", self._time)[0])
        return self._clock.now() - time.ticks_diff(time.ticks_us(), began)

    def skip_rows(self, count):
        """Discard *count* bytes that the sensor still delivers."""
        self._skip += count + self._time_left
        self._time_left = 0


class SimPorts:
    """The ports: events of pins, samples, steps, and the sensor's channels."""

    CONTACT = 1
    ADC = 2
    RING = 3
    _STEP = 16
    _LOAD = 17
    _SAMPLE = 18
    _SWITCH = 21
    _IRIS = 22

    def __init__(self, rows, pins, clock, crcs=False, calibrations=None):
        self._calibrations = calibrations
        self.channels = [SimRows(each, clock, crcs) for each in rows]
        self._pins = pins
        self._record = bytearray(_PIN_BYTES)
        self._record_view = memoryview(self._record)
        self._have = 0

    def take_event(self):
        """Return the next event as (kind, channel, value), or None."""
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
        """Ask the plant for a sample. It arrives as an event."""
        self._pins.write(struct.pack(_PIN, self._SAMPLE, channel, 0, 0))

    def step(self, count):
        """Step the motor."""
        self._pins.write(struct.pack(_PIN, self._STEP, 0, 0, count))

    def set_iris(self, milli):
        """Move the iris to an f-number in thousandths."""
        self._pins.write(struct.pack(_PIN, self._IRIS, 0, 0, milli))

    def set_load(self, milliamperes):
        """Tell the plant the current that the module draws."""
        self._pins.write(struct.pack(_PIN, self._LOAD, 0, 0, milliamperes))

    def set_switch(self, closed):
        """Open or close the module's own power switch."""
        self._pins.write(struct.pack(_PIN, self._SWITCH, 0, 0, 1 if closed else 0))

    def read_calibration(self, start, count):
        """Return up to *count* bytes of the calibrations, from byte *start* on."""
        self._calibrations.seek(start)
        return self._calibrations.read(count)
