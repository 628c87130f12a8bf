"""The spring contacts: are we seated? Edges are debounced; half-seated is a state of its own."""

DETACHED = 0
HALF_SEATED = 1  # power, but no detect: one pin touches
ATTACHED = 2

NAMES = ("detached", "half-seated", "attached")

POWER_PIN = 0
DETECT_PIN = 1
# The button that unlocks the module. It says that the contacts will open, not that they have.
RELEASE_PIN = 2

# Springs bounce for some 15 ms; attached must be known within 100 ms of stable contact.
SETTLE_US = 20000
# A button bounces too, and a hand does not press twice within this.
RELEASE_US = 100000


class Contacts:
    """Levels that have been still for SETTLE_US make the state."""

    def __init__(self, settle_us=SETTLE_US):
        self.state = DETACHED
        self.bounces = 0
        self._settle_us = settle_us
        self._levels = [0, 0]
        self._since = 0
        self._pressed = None

    def add_edge(self, pin, level, now):
        """A contact has changed; True if that is the release button being pressed."""
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
        """True if the state has just changed."""
        if now - self._since < self._settle_us:
            return False
        power, detect = self._levels
        state = ATTACHED if power and detect else HALF_SEATED if power else DETACHED
        if state == self.state:
            return False
        self.state = state
        return True
