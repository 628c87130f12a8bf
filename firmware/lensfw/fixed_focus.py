"""A lens without a focus motor. It answers as ``focus_motor`` does, and never moves."""

from .focus_motor import AT_REST


class FixedFocus:
    """A lens that is focused on *mdpt* milli-dioptres for good."""

    state = AT_REST
    is_settled = True
    # It keeps its focus when the module is about to be removed: nothing waits for unpark().
    is_parked = False
    is_end_stop_closed = False
    step_count = 0

    def __init__(self, mdpt):
        self.mdpt = mdpt

    def get_mdpt_at(self, time):
        """Return the position at any time."""
        return self.mdpt

    def has_to_move(self, mdpt):
        """Return False: nothing can move."""
        return False

    def move_to(self, mdpt, now):
        """Do nothing, and return False."""
        return False

    def turn_ring(self, ticks, now):
        """Do nothing."""

    def home(self, now):
        """Do nothing."""

    def park(self, now):
        """Do nothing."""

    def unpark(self, now):
        """Do nothing."""

    def lose(self):
        """Do nothing."""

    def poll(self, now):
        """Do nothing."""
