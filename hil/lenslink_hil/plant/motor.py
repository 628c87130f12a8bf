"""The focus motor and its lens: end stops, backlash, ringing, lost steps, temperature drift.

The gear follows the step pulses. The lens follows the gear, behind the backlash. ``body`` passes
the pulses and asks where the lens is.
"""

from __future__ import annotations

import math

from .body_constants import MotorConstants

REFERENCE_C = 25.0
"""The temperature at which the cam's curve holds."""


class Motor:
    """A stepper motor between two hard stops. It starts parked, at the end stop before infinity.

    Positions are in steps. Step 0 is infinity.
    """

    def __init__(self, constants: MotorConstants, now_us: int) -> None:
        self.gear = -constants.stop_steps
        self.lens = float(self.gear)
        """Where the lens would be without ringing, in steps of the gear that comes from below."""
        self.lost_steps = 0
        """Pulses that did not move the gear: against a stop, too fast, or as a test demanded."""
        self._constants = constants
        self._to_lose = 0
        self._stopped_us = now_us
        self._excursion = 0.0
        self._budget = float(constants.slip_burst_steps)
        self._budget_us = now_us

    @property
    def is_at_end_stop(self) -> bool:
        """Return True if the gear is at the stop before infinity: the level of its switch."""
        return self.gear <= -self._constants.stop_steps

    def lose_steps(self, count: int) -> None:
        """Let the next *count* pulses be lost, as under a blow."""
        self._to_lose += count

    def step(self, steps: int, now_us: int) -> int:
        """Move by step pulses. Return how many moved the gear."""
        constants = self._constants
        wanted = abs(steps)
        passed = (now_us - self._budget_us) / 1e6
        self._budget = min(
            constants.slip_burst_steps, self._budget + passed * constants.slip_speed_steps_s
        )
        self._budget_us = now_us
        count = min(wanted, int(self._budget))
        self._budget -= count
        lost = min(count, self._to_lose)
        self._to_lose -= lost
        count -= lost
        before = self.gear
        top = constants.travel_steps + constants.stop_steps
        target = self.gear + (count if steps > 0 else -count)
        self.gear = min(max(target, -constants.stop_steps), top)
        moved = abs(self.gear - before)
        self.lost_steps += wanted - moved
        self._follow(now_us)
        return moved

    def get_focus_mdpt(self, now_us: int, temperature_c: float) -> float:
        """Return the distance on which the lens is focused, in milli-dioptres."""
        constants = self._constants
        elapsed = max(0, now_us - self._stopped_us)
        swing = math.exp(-elapsed / constants.ringing_decay_us) * math.cos(
            2 * math.pi * constants.ringing_frequency_hz * elapsed / 1e6
        )
        drift = constants.drift_mdpt_k * (temperature_c - REFERENCE_C)
        return self._convert(self.lens) + self._excursion * swing + drift

    def _follow(self, now_us: int) -> None:
        """Let the lens follow the gear. The backlash lies below the gear's position."""
        before = self.lens
        slope = self._constants.curve_mdpt[-1] / self._constants.travel_steps
        backlash = self._constants.backlash_mdpt / slope
        self.lens = min(max(self.lens, self.gear), self.gear + backlash)
        if self.lens != before:
            # What is left of earlier ringing, and the impulse of this stop.
            elapsed = max(0, now_us - self._stopped_us)
            left = self._excursion * math.exp(-elapsed / self._constants.ringing_decay_us)
            limit = self._constants.ringing_mdpt
            impulse = (self.lens - before) * slope / 2
            self._excursion = min(max(left + impulse, -limit), limit)
            self._stopped_us = now_us

    def _convert(self, steps: float) -> float:
        curve = self._constants.curve_mdpt
        pitch = self._constants.travel_steps / (len(curve) - 1)
        index = min(max(int(steps // pitch), 0), len(curve) - 2)
        return curve[index] + (curve[index + 1] - curve[index]) * (steps / pitch - index)
