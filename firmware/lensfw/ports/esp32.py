"""Ports of an ESP32-S2, ESP32-S3 or ESP32-P4. Compiled for them, but never run on one."""

import esp32
import machine

from .. import power
from . import pins


class Machine(pins.Machine):
    """The chip, for ``boot`` and ``board``."""

    def __init__(self, configuration):
        super().__init__(configuration, Ports)

    def stop_watchdog(self):
        """Feed the watchdog from a soft timer while the REPL runs: it cannot be stopped here."""
        if self._dog is not None:
            dog, self._dog = self._dog, None
            machine.Timer(0).init(period=1000, callback=lambda _: dog.feed())


class Ports(pins.PinPorts):
    """The ports of the board, as ``pins.PinPorts`` describes them."""

    def __init__(self, configuration):
        super().__init__(configuration)
        self._supply = pins.Supply(configuration["pins"])

    def sample(self, channel):
        if channel == power.VBUS_CHANNEL:
            self._queue_sample(channel, self._supply.read_counts())
        elif channel == power.LEAKAGE_CHANNEL:
            self._sample_leakage(channel)
        elif channel == power.ENERGY_CHANNEL:
            self._sample_energy(channel)
        else:
            self._queue_sample(channel, pins.convert_to_tmp36(esp32.mcu_temperature() * 1000))
