"""A board that hangs or falls over as it starts must not do so for ever.

Starts are counted where a reset does not reach, and forgiven by the first that goes well. After
MOST in a row that did not, the board comes up as plain MicroPython: its supply has to be cut, or
its files put right.
"""

MOST = 3
# That it has run for so long without a fault is as good as a session.
WELL_US = 10000000


class Starts:
    """``store`` has read() and write(), of a small number; 0 after a loss of supply."""

    def __init__(self, store):
        self._store = store
        self._is_forgiven = False

    def count_start(self):
        """A start: whether it may be tried."""
        count = self._store.read()
        if count >= MOST:
            self._store.write(0)
            return False
        self._store.write(count + 1)
        return True

    def poll(self, uptime_us, in_session):
        """Called now and then by what runs; forgives once."""
        if not self._is_forgiven and (in_session or uptime_us >= WELL_US):
            self._is_forgiven = True
            self._store.write(0)
