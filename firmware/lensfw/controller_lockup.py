"""Find a USB controller that has locked up (RP2040, erratum E15), and recover it.

A host that has configured the device sends a start of frame every millisecond, even while it is
idle or does not read. It stops only when it suspends the bus, and the controller reports that after
3 ms. So if the frame counter of a configured device stands still and the bus is not suspended, the
controller receives nothing any more. Only a reset of the peripheral helps. ``link_backends`` calls
this module.
"""

SAMPLE_MS = 5
# Equal samples in a row. If the main loop was away for exactly the 2048 ms in which the counter
# wraps, one sample is equal by chance, but not the next one.
SAMPLES = 5

_TICKS = 0x3FFFFFFF


class Lockup:
    """Watch a controller, which has read_frame(), is_suspended() and recover()."""

    def __init__(self, controller):
        self.recoveries = 0
        self._controller = controller
        self._at = 0
        self._frame = -1
        self._still = 0

    def poll(self, ms, configured):
        """Sample the frame counter and recover the controller if it has locked up.

        The main loop calls this as often as it can. *ms* is time.ticks_ms(). Return True if the
        controller was recovered just now.
        """
        if not configured:
            self._still = 0
            return False
        if ms - self._at & _TICKS < SAMPLE_MS:
            return False
        self._at = ms
        controller = self._controller
        frame = controller.read_frame()
        if frame != self._frame or controller.is_suspended():
            self._frame = frame
            self._still = 0
            return False
        self._still += 1
        if self._still < SAMPLES:
            return False
        self._still = 0
        self.recoveries += 1
        controller.recover()
        return True
