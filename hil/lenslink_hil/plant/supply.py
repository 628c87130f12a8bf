"""The module's supply: its voltage, brown-out, and the energy that the module takes from it.

``body`` tells it every change of dock, contacts and load, with the time. Between two changes
voltage and current are constant, so the energy is exact.
"""

from __future__ import annotations

from .body_constants import BodyConstants
from .dock import Dock
from .housing import Housing
from .spring_contacts import SpringContacts

GAUGE_MASK = (1 << 24) - 1
"""The gauge counts microjoules in a register of 24 bits, which wraps."""


class Supply:
    """The supply between the dock's load switch and the module's converter."""

    def __init__(
        self,
        constants: BodyConstants,
        contacts: SpringContacts,
        dock: Dock,
        housing: Housing,
        now_us: int,
    ) -> None:
        self.is_up = False
        """The module's converter works: the level of its power input."""
        self.is_switch_closed = True
        """The module's own switch. Its firmware opens it after a fault; without power it closes."""
        self.energy_uj = 0.0
        """What the module has taken since the start, at its own pins."""
        self.peak_mw = 0.0
        self._voltage_mv = constants.supply.voltage_mv
        self._constants = constants
        self._contacts = contacts
        self._dock = dock
        self._housing = housing
        self._load_ma = 0
        self._restart_us: int | None = None
        self._updated_us = now_us

    def get_next_us(self) -> int | None:
        """Return when the converter may start again, or None."""
        return self._restart_us

    def set_open_circuit_mv(self, millivolts: int, now_us: int) -> None:
        """Set the phone's open-circuit voltage. Then update() judges it, as after each change."""
        self.update(now_us)
        self._voltage_mv = millivolts

    def set_load(self, milliamperes: int, now_us: int) -> None:
        """Set the current that the module draws while its converter works."""
        self.update(now_us)
        self._load_ma = max(0, milliamperes)

    def set_switch(self, closed: bool, now_us: int) -> None:
        """Open or close the module's own switch."""
        self.update(now_us)
        self.is_switch_closed = closed

    def get_load_ma(self) -> float:
        """Return the current that the module draws now."""
        return self._load_ma if self.is_up and self.is_switch_closed else 0

    def get_voltage_mv(self) -> float:
        """Return the voltage at the module's pins."""
        if not self._dock.has_ramped or not self._contacts.has_power:
            return 0.0
        if self._contacts.is_shorted:
            # The load switch limits the current; the short takes all of it.
            limit = self._constants.dock.current_limit_ma
            return limit * self._constants.contacts.short_resistance_mohm / 1000
        return max(0.0, self._voltage_mv - self.get_load_ma() * self.get_source_mohm() / 1000)

    def get_source_mohm(self) -> int:
        """Return the resistance between the phone's converter and the module."""
        return self._constants.supply.source_resistance_mohm + 2 * self._contacts.resistance_mohm

    def add_energy(self, microjoules: float, now_us: int) -> None:
        """Take a pulse of energy, as for a step of the motor."""
        if self.is_up:
            self.energy_uj += microjoules
            self._housing.add_heat(microjoules / 1e6, now_us)

    def get_gauge_counts(self, now_us: int) -> int:
        """Return the gauge's register: microjoules, modulo 2^24."""
        self.update(now_us)
        return int(self.energy_uj) & GAUGE_MASK

    def update(self, now_us: int) -> bool:
        """Integrate up to now, and judge the voltage. Return True if ``is_up`` has changed."""
        milliwatts = self.get_voltage_mv() * self.get_load_ma() / 1e3
        self.peak_mw = max(self.peak_mw, milliwatts)
        self.energy_uj += milliwatts * (now_us - self._updated_us) / 1e3
        self._housing.set_power(milliwatts / 1e3, now_us)
        self._updated_us = now_us
        constants = self._constants.supply
        if self._restart_us is not None:
            if now_us < self._restart_us:
                return False
            self._restart_us = None
        threshold = constants.brown_out_mv if self.is_up else constants.power_good_mv
        is_up = self.get_voltage_mv() >= threshold
        if is_up == self.is_up:
            return False
        self.is_up = is_up
        if not is_up:
            # The module stops, and with it its load. It starts with its switch closed.
            self._load_ma = 0
            self._restart_us = now_us + constants.restart_us
            self.is_switch_closed = True
            self._housing.set_power(0.0, now_us)
        return True
