"""Heat: seven states by the housing's temperature, and the rest that frames have to leave.

The names and their order are Android's. A state begins at its temperature, and ends HYSTERESIS_MC
below it. The housing must never be above 44 degrees.

=========  ==========  ===============================  ==================================
state      begins at   frames                           event
=========  ==========  ===============================  ==================================
NONE       -           at full rate
LIGHT      40.0 degC   at full rate
MODERATE   42.8 degC   take 2/3 of the time at most     } announced NOTICE_MS before the
SEVERE     43.4 degC   take 1/2 of the time at most     } frames become fewer; a state that
CRITICAL   43.7 degC   take 1/4 of the time at most     } is left has no effect at once
EMERGENCY  43.9 degC   none                             }
SHUTDOWN   45.0 degC   none, and no session             at once
=========  ==========  ===============================  ==================================

At CRITICAL the reference module cools at 35 degC ambient. EMERGENCY protects at any ambient.
"""

NONE = 0
LIGHT = 1
MODERATE = 2
SEVERE = 3
CRITICAL = 4
EMERGENCY = 5
SHUTDOWN = 6

NOTICE_MS = 1000

_BEGINS_MC = (-300000, 40000, 42800, 43400, 43700, 43900, 45000)
_HYSTERESIS_MC = 500
# A frame that took 4 units of time may be followed by the next one after so many; 0 is never.
_PERIODS = (4, 4, 6, 8, 16, 0, 0)


class Heat:
    """``state`` follows the temperature. Its effect on frames follows NOTICE_MS later."""

    def __init__(self):
        self.state = NONE
        # How often the state has changed since the start.
        self.changes = 0
        self._effective = NONE
        self._bites_at = 0
        self._rest_until = None

    def add_temperature(self, millidegrees, now):
        """Take a sample. Return True if the state has changed."""
        state = self.state
        while state < SHUTDOWN and millidegrees >= _BEGINS_MC[state + 1]:
            state += 1
        while state > NONE and millidegrees < _BEGINS_MC[state] - _HYSTERESIS_MC:
            state -= 1
        if state == self.state:
            return False
        self.changes += 1
        if state > self.state:
            self._bites_at = now + NOTICE_MS * 1000
        self.state = state
        if state <= self._effective or state == SHUTDOWN:
            self._effective = state
        return True

    def is_throttled(self):
        """Return True if the state lets less than the full rate through, or will soon."""
        return _PERIODS[self.state] != 4

    def may_begin(self, now):
        """Return True if a frame may begin."""
        if self._effective != self.state and now >= self._bites_at:
            self._effective = self.state
        if not _PERIODS[self._effective]:
            return False
        if self._rest_until is not None:
            if now < self._rest_until:
                return False
            self._rest_until = None
        return True

    def end_frame(self, began, now):
        """Note a frame that took the time from *began* on: the next one waits in proportion."""
        period = _PERIODS[self._effective]
        if period > 4:
            self._rest_until = began + ((now - began) * period >> 2)
