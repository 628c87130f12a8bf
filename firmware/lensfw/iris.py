"""The iris: choose a stop, and wait until the blades stand still.

======  =======================================================  =======  ======
state   meaning                                                  event    next
======  =======================================================  =======  ======
CLOSED  at the smallest stop, where dust does the least harm:    open()   OPEN
        the module is not attached, or is about to be taken off
OPEN    at the stop that the frames ask for                      close()  CLOSED
======  =======================================================  =======  ======

In CLOSED a new stop is kept for later. After a start the blades may be anywhere, so open() moves
them. An iris with one stop has no blades that move: it is always OPEN.
"""


def find_stop(stops, milli):
    """Return the f-number of *stops* that is nearest to *milli*."""
    best = stops[0]
    for stop in stops:
        if abs(stop - milli) < abs(best - milli):
            best = stop
    return best


class Iris:
    """An iris with click stops.

    *stops* are f-numbers in thousandths, the widest first. *initial_milli* is the one to begin
    with. *settle_us* is the time of any move.
    """

    def __init__(self, ports, stops, initial_milli, settle_us):
        self._ports = ports
        self._stops = stops
        self._settle_us = settle_us
        self.is_closed = len(stops) > 1
        # Where the blades are, and the stop that the frames ask for.
        self.aperture_milli = stops[-1] if self.is_closed else initial_milli
        self._wanted_milli = initial_milli
        self.move_count = 0
        self._settled_at = None

    def find_stop(self, milli):
        """Return the f-number of the stop that is nearest to *milli*."""
        return find_stop(self._stops, milli)

    def move_to(self, milli, now):
        """Move to a stop, at once or when the iris opens."""
        self._wanted_milli = milli
        if not self.is_closed and milli != self.aperture_milli:
            self._move(milli, now)

    def close(self, now):
        """Move to the smallest stop, because the supply is about to go. open() goes back."""
        if not self.is_closed and len(self._stops) > 1:
            self.is_closed = True
            self._move(self._stops[-1], now)

    def open(self, now):
        """Go back to the stop that the frames ask for."""
        if self.is_closed:
            self.is_closed = False
            self._move(self._wanted_milli, now)

    def _move(self, milli, now):
        self.aperture_milli = milli
        self.move_count = (self.move_count + 1) & 0xFFFF
        self._settled_at = now + self._settle_us
        self._ports.set_iris(milli)

    def is_settled(self, now):
        """Return True if the blades stand still."""
        if self._settled_at is not None and now >= self._settled_at:
            self._settled_at = None
        return self._settled_at is None
