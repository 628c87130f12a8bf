"""The spring contacts: is the module seated? Edges are debounced.

==============  ===========  ============
power contact   detect       state
==============  ===========  ============
open            any          DETACHED
closed          open         HALF_SEATED
closed          closed       ATTACHED
==============  ===========  ============

The state changes when both levels have been stable for SETTLE_US.
"""

DETACHED = 0
HALF_SEATED = 1  # power without detect: one pin touches
ATTACHED = 2

POWER_PIN = 0
DETECT_PIN = 1
# The button that unlocks the module. It announces that the contacts will open.
RELEASE_PIN = 2

# Springs bounce for about 15 ms. The state must be known 100 ms after the contact is stable.
SETTLE_US = 20000
# A button bounces too. No hand presses it twice within this time.
RELEASE_US = 100000


class Contacts:
    """Debounce the contacts. ``bounces`` counts the edges since the start."""

    def __init__(self, settle_us=SETTLE_US):
        self.state = DETACHED
        self.bounces = 0
        self._settle_us = settle_us
        self._levels = [0, 0]
        self._since = 0
        self._pressed = None

    def add_edge(self, pin, level, now):
        """Take an edge of a pin. Return True if the release button was pressed."""
        if pin == RELEASE_PIN:
            if not level or (self._pressed is not None and now - self._pressed < RELEASE_US):
                return False
            self._pressed = now
            return True
        if self._levels[pin] != level:
            self._levels[pin] = level
            self._since = now
            self.bounces += 1
        return False

    def poll(self, now):
        """Set the state if the levels are stable. Return True if it has just changed."""
        if now - self._since < self._settle_us:
            return False
        power, detect = self._levels
        state = ATTACHED if power and detect else HALF_SEATED if power else DETACHED
        if state == self.state:
            return False
        self.state = state
        return True
