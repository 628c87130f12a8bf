"""The spring contacts: is the module seated, dry and without a short? Edges are debounced.

===========  ===================================  ==========================================
state        levels and measurements              what the module does
===========  ===================================  ==========================================
DETACHED     power open                           nothing; the supply is gone or about to go
HALF_SEATED  power closed, detect open            no session
WET          both closed, and a leakage current   no session; it opens its power switch
SHORTED      fault closed                         no session; it opens its power switch
ATTACHED     both closed, dry, no fault           answers the host
===========  ===================================  ==========================================

=========  ===========================================  ======================
state      event                                        next state
=========  ===========================================  ======================
any        fault closes                                 SHORTED, at once
ATTACHED   WET_SAMPLES samples in a row with a leakage  WET, at once
any        all levels were stable for SETTLE_US         as the table above says
=========  ===========================================  ======================

The phone's side of the contacts detects the module before it gives power. Ground and power touch
first, detect last. So the data link, which needs ATTACHED, is the last to start.
"""

DETACHED = 0
HALF_SEATED = 1  # power without detect: one pin touches
ATTACHED = 2
WET = 3
SHORTED = 4
NAMES = ("detached", "half-seated", "attached", "wet", "shorted")

POWER_PIN = 0
DETECT_PIN = 1
# The button that unlocks the module. It announces that the contacts will open.
RELEASE_PIN = 2
# Closed while a short is between the supply pins.
FAULT_PIN = 3

# What an edge demands at once.
NOTHING = 0
RELEASED = 1
FAULT = 2

# Springs bounce for about 15 ms. The state must be known 100 ms after the contact is stable.
SETTLE_US = 20000
# A button bounces too. No hand presses it twice within this time.
RELEASE_US = 100000
# Counts of the voltage at the detect pin. It is 0 while the contacts are dry.
WET_COUNTS = 1600
# One sample may be taken while a contact moves.
WET_SAMPLES = 2


class Contacts:
    """Debounce the contacts. ``bounces`` counts the edges since the start."""

    def __init__(self, settle_us=SETTLE_US):
        self.state = DETACHED
        self.bounces = 0
        self._settle_us = settle_us
        self._levels = [0, 0, 0, 0]
        self._since = 0
        self._pressed = None
        self._wet_samples = 0

    @property
    def has_power(self):
        """The power contact is closed. This level is not debounced."""
        return self._levels[POWER_PIN] != 0

    def add_edge(self, pin, level, now):
        """Take an edge of a pin. Return RELEASED, FAULT or NOTHING: what it demands at once.

        A short demands action without debouncing. The first edge of the fault input counts.
        """
        if pin == RELEASE_PIN:
            if not level or (self._pressed is not None and now - self._pressed < RELEASE_US):
                return NOTHING
            self._pressed = now
            return RELEASED
        if self._levels[pin] == level:
            return NOTHING
        self._levels[pin] = level
        self._since = now
        if pin != FAULT_PIN:
            self.bounces += 1
        elif level:
            self.state = SHORTED
            return FAULT
        return NOTHING

    def add_leakage(self, counts):
        """Take a sample of the detect pin's voltage. Return True if the contacts become wet."""
        if counts < WET_COUNTS:
            self._wet_samples = 0
            return False
        self._wet_samples = min(self._wet_samples + 1, WET_SAMPLES)
        if self._wet_samples < WET_SAMPLES or self.state != ATTACHED:
            return False
        self.state = WET
        return True

    def poll(self, now):
        """Set the state if the levels are stable. Return True if it has just changed."""
        if now - self._since < self._settle_us:
            return False
        power, detect, _, fault = self._levels
        if fault:
            state = SHORTED
        elif not power:
            state = DETACHED
        elif not detect:
            state = HALF_SEATED
        else:
            state = ATTACHED if self._wet_samples < WET_SAMPLES else WET
        if state == self.state:
            return False
        self.state = state
        return True
