"""The focus motor: convert dioptres to steps, and step at the rate that the motor can follow."""


class Focus:
    """A stepper motor between two end stops. Step 0 is infinity.

    *steps* and *closest_mdpt* are the other end of its linear travel, in steps and in
    milli-dioptres. *rate* is in steps per second.
    """

    def __init__(self, ports, steps, closest_mdpt, rate):
        self._ports = ports
        self._steps = steps
        self._closest = closest_mdpt
        self._interval_us = 1000000 // rate
        self.position = 0
        self.target = 0
        self._last = 0

    @property
    def mdpt(self):
        """The position in milli-dioptres."""
        return (self.position * self._closest + self._steps // 2) // self._steps

    def move_to(self, mdpt, now):
        """Set the target in milli-dioptres. A target beyond an end stop means the stop."""
        mdpt = min(max(mdpt, 0), self._closest)
        if self.is_settled:
            self._last = now
        self.target = (mdpt * self._steps + self._closest // 2) // self._closest

    def turn_ring(self, detents, now):
        """Move the target by detents of the focus ring. A detent is 1/80 of the travel."""
        if self.is_settled:
            self._last = now
        self.target = min(max(self.target + detents * self._steps // 80, 0), self._steps)

    @property
    def is_settled(self):
        return self.position == self.target

    def poll(self, now):
        """Step the motor if steps are due."""
        if self.is_settled:
            return
        due = (now - self._last) // self._interval_us
        if due <= 0:
            return
        self._last += due * self._interval_us
        left = self.target - self.position
        count = min(due, abs(left))
        if left < 0:
            count = -count
        self._ports.step(count)
        self.position += count
