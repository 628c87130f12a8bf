"""The module's housing: a body of first order that the module's power heats."""

from __future__ import annotations

import math

from .body_constants import HeatConstants


class Housing:
    """Its temperature follows ambient + power x resistance, with one time constant."""

    def __init__(self, constants: HeatConstants, now_us: int) -> None:
        self._constants = constants
        self._ambient_c = constants.ambient_degc
        self._rise_k = 0.0
        self._watts = 0.0
        self._updated_us = now_us

    def set_ambient(self, degrees_c: float, now_us: int) -> None:
        """Set the temperature around the housing. The housing follows with its time constant."""
        temperature = self.get_temperature_c(now_us)
        self._ambient_c = degrees_c
        self._rise_k = temperature - degrees_c

    def settle(self, watts: float, now_us: int) -> None:
        """Let the housing be in equilibrium with a power, as after hours."""
        self._watts = watts
        self._rise_k = watts * self._constants.resistance_k_w
        self._updated_us = now_us

    def set_power(self, watts: float, now_us: int) -> None:
        """Set the power that heats the housing from now on."""
        self._update(now_us)
        self._watts = watts

    def add_heat(self, joules: float, now_us: int) -> None:
        """Take a pulse of heat."""
        self._update(now_us)
        constants = self._constants
        self._rise_k += joules * constants.resistance_k_w / constants.time_constant_s

    def get_temperature_c(self, now_us: int) -> float:
        """Return the housing's temperature in degrees Celsius."""
        self._update(now_us)
        return self._ambient_c + self._rise_k

    def _update(self, now_us: int) -> None:
        elapsed_s = (now_us - self._updated_us) / 1e6
        remaining = math.exp(-elapsed_s / self._constants.time_constant_s)
        final_k = self._watts * self._constants.resistance_k_w
        self._rise_k = self._rise_k * remaining + final_k * (1 - remaining)
        self._updated_us = now_us
