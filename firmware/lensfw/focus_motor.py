"""The focus motor: dioptres to steps, ramps, backlash, homing, and the position at a given time.

=========  ========================================  ===============================  =========
state      meaning                                   event                            next state
=========  ========================================  ===============================  =========
UNHOMED    the position is unknown                   home()                           HOMING
HOMING     it drives into the end stop               the travel and more has passed,  MOVING
                                                     or the end stop was closed
AT_REST    it stands still at its target             move_to(), turn_ring()           MOVING
AT_REST    it stands still at its target             park()                           PARKING
MOVING     it is on its way, in one leg or several   the last leg ends                SETTLING
SETTLING   it has stopped, and the lens still rings  SETTLE_US has passed             AT_REST
SETTLING   it has stopped, and the lens still rings  move_to(), turn_ring()           MOVING
PARKING    it drives into the end stop               it has arrived                   PARKED
PARKED     it rests at the end stop                  unpark()                         MOVING
any        any                                       lose()                           UNHOMED
=========  ========================================  ===============================  =========

In UNHOMED, HOMING, PARKING and PARKED a new target is kept for later.

A motor whose configuration names no end stop is never UNHOMED: it starts AT_REST at step 0.

A leg accelerates, cruises and brakes. Its position is a function of the time alone, so steps do not
depend on how often poll() runs. A new target during a leg changes the leg's end if the motor can
still stop there in the same direction. Otherwise the leg ends as soon as it can, and another one
follows. The last leg always goes towards larger steps, by more than the backlash.
"""

# The end stop's switch, as a channel of CONTACT.
END_STOP_PIN = 4

UNHOMED = 0
HOMING = 1
AT_REST = 2
MOVING = 3
SETTLING = 4
PARKING = 5
PARKED = 6

# The ring has the lens for so long after its last tick. Moves that the host asks for are ignored.
RING_HOLD_US = 300000
# A ring that is turned slowly moves the lens one step a tick. (interval of ticks in us, steps)
_RING_STEPS = ((5000, 1), (2000, 2), (0, 4))
# Steps into the end stop, so that it is reached for certain.
_INTO_STOP = 40
# Steps beyond the backlash that are taken up with it.
_MARGIN = 2


def _isqrt(value):
    root = 1
    while True:
        following = (root + value // root) >> 1
        if abs(following - root) <= 1:
            return following
        root = following


class Focus:
    """A stepper motor between two end stops. Step 0 is infinity.

    *motor* is the configuration's: ``steps``, ``steps_per_s``, and optionally ``steps_per_s2``,
    ``settle_us``, ``backlash`` and ``stop`` (both in steps), and ``calibration``, a list of [step,
    milli-dioptres] that rises in both. Without a calibration the travel is linear up to
    *closest_mdpt*. The end stop is *stop* steps before infinity.
    """

    def __init__(self, ports, motor, closest_mdpt):
        self._ports = ports
        self._steps = motor["steps"]
        self._table = motor.get("calibration") or [[0, 0], [self._steps, closest_mdpt]]
        self._interval_us = 1000000 // motor["steps_per_s"]
        acceleration = motor.get("steps_per_s2", 0)
        # A ramp of e microseconds has e * e // _k steps.
        self._k = 2000000000000 // acceleration if acceleration else 1
        self._ramp_us = 1000000 * motor["steps_per_s"] // acceleration if acceleration else 0
        self._ramp_steps = self._ramp_us * self._ramp_us // self._k
        self._settle_us = motor.get("settle_us", 0)
        self._backlash = motor.get("backlash", 0)
        self._stop = motor.get("stop", 0)
        self.state = UNHOMED if self._stop else AT_REST
        self.position = 0
        self.target = 0
        # Counts steps in both directions, and wraps.
        self.step_count = 0
        self.is_end_stop_closed = False
        # Steps towards larger ones that move the motor and not yet the lens.
        self._slack = 0
        self._settled_at = 0
        self._ring_until = None
        self._ring_at = 0
        # The leg: where and when it began, its direction, its steps, and those made so far.
        self._from = 0
        self._leg_slack = 0
        self._began = 0
        self._sign = 1
        self._distance = 0
        self._duration = 0
        # The duration of each of its two ramps.
        self._leg_ramp_us = 0
        self._made = 0

    # --- milli-dioptres -------------------------------------------------------------------

    @property
    def mdpt(self):
        """The position in milli-dioptres."""
        return self._convert(self.position + self._slack)

    def _convert(self, step):
        """Return the milli-dioptres of a step, by the calibration."""
        table = self._table
        step = min(max(step, 0), self._steps)
        index = 1
        while step > table[index][0]:
            index += 1
        first, low = table[index - 1]
        last, high = table[index]
        return low + ((step - first) * (high - low) + (last - first) // 2) // (last - first)

    def _find_step(self, mdpt):
        """Return the step nearest to a distance. Beyond the ends of the travel it is the end."""
        table = self._table
        mdpt = min(max(mdpt, table[0][1]), table[-1][1])
        index = 1
        while mdpt > table[index][1]:
            index += 1
        first, low = table[index - 1]
        last, high = table[index]
        return first + ((mdpt - low) * (last - first) + (high - low) // 2) // (high - low)

    def get_mdpt_at(self, time):
        """Return the lens' position in milli-dioptres at a *time* during this leg or after it."""
        count = self._made
        if self._is_stepping():
            count = self._travel(max(time - self._began, 0))
        if self._sign > 0:
            slack = max(self._leg_slack - count, 0)
        else:
            slack = min(self._leg_slack + count, self._backlash)
        return self._convert(self._from + self._sign * count + slack)

    # --- moves ----------------------------------------------------------------------------

    def has_to_move(self, mdpt):
        """Return True if move_to() would change the target."""
        return self._ring_until is None and self._find_step(mdpt) != self.target

    def move_to(self, mdpt, now):
        """Set the target in milli-dioptres. Return False if the focus ring has the lens."""
        if self._has_ring(now):
            return False
        self._set_target(self._find_step(mdpt), now)
        return True

    def turn_ring(self, ticks, now):
        """Move by ticks of the focus ring since the last call. This ends a move of the host."""
        interval = (now - self._ring_at) // abs(ticks)
        for least, steps in _RING_STEPS:
            if interval >= least:
                break
        base = self.target
        if not self._has_ring(now) and self._is_stepping():
            base = self.position + self._slack
        self._ring_at = now
        self._ring_until = now + RING_HOLD_US
        self._set_target(min(max(base + ticks * steps, 0), self._steps), now)

    def home(self, now):
        """Find the end stop. It is found already if its switch is closed."""
        if self._stop:
            self.state = HOMING
            steps = 0 if self.is_end_stop_closed else self._steps + self._stop + _INTO_STOP
            self._begin_leg(-1, steps, now)

    def park(self, now):
        """Drive to the end stop, because the supply is about to go. unpark() goes back."""
        if AT_REST <= self.state < PARKING:
            self._enter(PARKING, now)

    def unpark(self, now):
        """Go back to the target."""
        if self.state >= PARKING:
            self._enter(MOVING, now)

    def lose(self):
        """Stop without a ramp: the motor has no supply, and its position is unknown."""
        self._ring_until = None
        if self._stop:
            self.state = UNHOMED
        else:
            self.state = AT_REST
            self.target = self.position

    @property
    def is_settled(self):
        """The lens stands still. Without a supply it does, too."""
        state = self.state
        return state == AT_REST or state == PARKED or state == UNHOMED

    @property
    def is_parked(self):
        """The lens is at its end stop, or on its way there, and a target is kept for later."""
        return self.state >= PARKING

    def poll(self, now):
        """Step the motor if steps are due."""
        if self._ring_until is not None and now >= self._ring_until:
            self._ring_until = None
        if self.state == AT_REST:
            return
        while self._is_stepping():
            elapsed = now - self._began
            self._step_to(self._travel(elapsed))
            if elapsed < self._duration:
                return
            self._follow(self._began + self._duration)
        if self.state == SETTLING and now >= self._settled_at:
            self.state = AT_REST

    def _has_ring(self, now):
        return self._ring_until is not None and now < self._ring_until

    def _is_stepping(self):
        state = self.state
        return state == MOVING or state == HOMING or state == PARKING

    def _set_target(self, step, now):
        self.target = step
        if AT_REST <= self.state < PARKING:
            self._enter(MOVING, now)

    def _enter(self, state, now):
        """Go on towards the target or the end stop, from a leg or from rest."""
        was_stepping = self._is_stepping()
        self.state = state
        if not was_stepping:
            self._follow(now)
        elif state == PARKING or not self._redirect(now):
            # Let the leg end as soon as the motor can brake.
            self._set_distance(self._find_brake(now))

    # --- legs -----------------------------------------------------------------------------

    def _follow(self, now):
        """Begin the next leg at a time when the motor stands still, or end the move."""
        if self.state == HOMING:
            # Pulses against the stop are lost.
            self.position = -self._stop
            self._slack = self._backlash
            self.state = MOVING
        if self.state == PARKING:
            if self.position <= -self._stop:
                self.position = -self._stop
                self.state = PARKED
                return
            self._begin_leg(-1, self.position + self._stop + _INTO_STOP, now)
            return
        ahead = self.target - self.position
        if not ahead and not self._slack:
            self.state = SETTLING
            self._settled_at = now + self._settle_us
        elif ahead >= self._slack:
            self._begin_leg(1, ahead, now)
        else:
            self._begin_leg(-1, self._backlash + _MARGIN - ahead if self._backlash else -ahead, now)

    def _begin_leg(self, sign, distance, now):
        self._from = self.position
        self._leg_slack = self._slack
        self._began = now
        self._sign = sign
        self._made = 0
        self._set_distance(distance)

    def _set_distance(self, distance):
        self._distance = distance
        cruise = distance - 2 * self._ramp_steps
        if cruise >= 0:
            self._leg_ramp_us = self._ramp_us
            self._duration = 2 * self._ramp_us + cruise * self._interval_us
        else:
            self._leg_ramp_us = _isqrt(distance * self._k // 2)
            self._duration = 2 * self._leg_ramp_us

    def _find_brake(self, now):
        """Return the steps after which the leg can end, at the earliest."""
        elapsed = now - self._began
        made = self._travel(elapsed)
        if elapsed >= self._duration - self._leg_ramp_us:
            return self._distance
        if not self._ramp_us:
            return made
        if elapsed < self._ramp_us:
            return min(2 * made + 2, self._distance)
        return min(made + self._ramp_steps + 1, self._distance)

    def _redirect(self, now):
        """Let the leg end at the new target. Return False if that is not possible."""
        least = self._find_brake(now)
        if least == self._distance:
            return False
        ahead = self.target - self._from
        if self._sign > 0:
            wanted = ahead if ahead >= self._leg_slack else 0
        else:
            wanted = (self._backlash + _MARGIN if self._backlash else 0) - ahead
        if wanted < least:
            return False
        self._set_distance(wanted)
        return True

    def _travel(self, elapsed):
        """Return the steps of the leg after a time."""
        distance, ramp = self._distance, self._leg_ramp_us
        left = self._duration - elapsed
        if left <= 0:
            return distance
        if elapsed < ramp:
            return min(elapsed * elapsed // self._k, distance)
        if left <= ramp:
            return max(distance - left * left // self._k, 0)
        return min(self._ramp_steps + (elapsed - ramp) // self._interval_us, distance)

    def _step_to(self, made):
        count = made - self._made
        if count <= 0:
            return
        self._made = made
        self._ports.step(count if self._sign > 0 else -count)
        self.step_count = (self.step_count + count) & 0xFFFF
        if self._sign > 0:
            self.position += count
            self._slack = max(self._slack - count, 0)
        else:
            self.position -= count
            self._slack = min(self._slack + count, self._backlash)
