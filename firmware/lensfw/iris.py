"""The iris: choose a stop, and wait until the blades stand still."""


def find_stop(stops, milli):
    """Return the f-number of *stops* that is nearest to *milli*."""
    best = stops[0]
    for stop in stops:
        if abs(stop - milli) < abs(best - milli):
            best = stop
    return best


class Iris:
    """An iris with click stops.

    *stops* are f-numbers in thousandths, the widest first. *settle_us* is the time of any move.
    """

    def __init__(self, ports, stops, settle_us):
        self._ports = ports
        self._stops = stops
        self._settle_us = settle_us
        self.aperture_milli = stops[0]
        self.move_count = 0
        self._settled_at = None

    def find_stop(self, milli):
        """Return the f-number of the stop that is nearest to *milli*."""
        return find_stop(self._stops, milli)

    def move_to(self, milli, now):
        """Move to a stop."""
        if milli != self.aperture_milli:
            self.aperture_milli = milli
            self.move_count = (self.move_count + 1) & 0xFFFF
            self._settled_at = now + self._settle_us
            self._ports.set_iris(milli)

    def is_settled(self, now):
        """Return True if the blades stand still."""
        if self._settled_at is not None and now >= self._settled_at:
            self._settled_at = None
        return self._settled_at is None
