"""Ports of MicroPython's Unix port on a pseudo-terminal: no pins, and a sensor that is computed.

``machine`` is a stand-in that lensfw/flash/simulated_chip.py installs.
"""

import select
import sys

from .. import power
from . import pins


class Machine(pins.Machine):
    """The process, for ``boot`` and ``board``."""

    def __init__(self, configuration):
        super().__init__(configuration, Ports)
        self._poll = select.poll()
        self._poll.register(sys.stdin, 0)

    def feed_watchdog(self):
        """End the process once its serial port has gone, as the supply of a board on USB does."""
        for _, event in self._poll.ipoll(0):
            if event & select.POLLHUP:
                sys.exit()

    def stop_watchdog(self):
        """Do nothing: there is no watchdog."""


class Ports(pins.PinPorts):
    """The ports of a board with nothing wired to it, in a room of 25 degrees."""

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
            self._queue_sample(channel, pins.convert_to_tmp36(25000))
