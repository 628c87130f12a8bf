"""Whether the USB controller has locked up (RP2040, erratum E15), and its recovery.

A host that has configured the device sends a start of frame every millisecond, whatever else it
does or leaves alone: an idle one and one that does not read do too. One that suspends the bus
stops, and the controller says so after 3 ms. So a frame counter that stands still, on a configured
device whose bus is not suspended, is a controller that hears nothing any more. Nothing but a reset
of the peripheral helps then.
"""

SAMPLE_MS = 5
# In a row. Were the main loop away for exactly the 2048 ms in which the counter comes round, the
# next sample would differ.
SAMPLES = 5

_TICKS = 0x3FFFFFFF


class Lockup:
    """``controller`` has frame(), suspended() and recover()."""

    def __init__(self, controller):
        self.recoveries = 0
        self._controller = controller
        self._at = 0
        self._frame = -1
        self._still = 0

    def poll(self, ms, configured):
        """Called with time.ticks_ms(), as often as may be; True once it has recovered one."""
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
