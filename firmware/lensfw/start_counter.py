"""Count failed starts, so that a board that hangs or fails at its start does not do so for ever.

The count is in memory that a reset does not clear. The first good start clears it. After MOST
failed starts in a row the board comes up as plain MicroPython, once. Then the user can repair its
files. ``boot`` and ``board`` call this module.
"""

MOST = 3
# A board that has run for this long without a fault has started well, even without a session.
WELL_US = 10000000


class Starts:
    """Count starts in *store*. It has read() and write() of a small number; 0 after power-on."""

    def __init__(self, store):
        self._store = store
        self._is_forgiven = False

    def count_start(self):
        """Count a start. Return False if too many starts in a row have failed."""
        count = self._store.read()
        if count >= MOST:
            self._store.write(0)
            return False
        self._store.write(count + 1)
        return True

    def poll(self, uptime_us, in_session):
        """Clear the count once the board has started well. Called by the main loop."""
        if not self._is_forgiven and (in_session or uptime_us >= WELL_US):
            self._is_forgiven = True
            self._store.write(0)
