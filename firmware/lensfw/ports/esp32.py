"""An ESP32-S3 or ESP32-P4: as rp2, with what Espressif's port has. Compiled; never run."""

import time

import esp32
import machine

from .. import power, recovery
from . import pins

_MARK = b"LK"


class Memory:
    """The RTC's memory: a reset leaves it alone, a loss of supply does not."""

    def __init__(self):
        self._rtc = machine.RTC()

    def read(self):
        kept = self._rtc.memory()
        return kept[2] if len(kept) == 3 and kept[:2] == _MARK else 0

    def write(self, value):
        self._rtc.memory(_MARK + bytes([value]))


class Machine:
    """The chip, for boot and board."""

    def __init__(self, configuration):
        self._pins = configuration["pins"]
        self._watchdog_ms = configuration.get("watchdog_ms", 0)
        self._dog = None
        self._ports = None
        self._configuration = configuration
        self.starts = recovery.Starts(Memory())

    @property
    def ports(self):
        if self._ports is None:
            self._ports = Ports(self._configuration)
        return self._ports

    def guarded(self):
        """Whether the guard pin is held low."""
        return pins.guarded(self._pins.get("guard"))

    def usb_device(self):
        """machine.USBDevice's one object; None where it is missing."""
        found = getattr(machine, "USBDevice", None)
        return found() if found is not None else None

    def usb_addressed(self):
        """Not looked at: nothing is known to go wrong there."""
        return ()

    def controller(self):
        """Its USB controller has no lock-up that is known."""
        return

    def watch(self):
        """From now on feed() has to be called."""
        if self._watchdog_ms:
            self._dog = machine.WDT(timeout=self._watchdog_ms)

    def feed(self):
        if self._dog is not None:
            self._dog.feed()

    def unwatch(self):
        """It cannot be stopped here: a soft timer feeds it, for as long as the REPL runs."""
        if self._dog is not None:
            dog, self._dog = self._dog, None
            machine.Timer(0).init(period=1000, callback=lambda _: dog.feed())

    def idle(self):
        time.sleep_ms(1)


class Ports(pins.PinPorts):
    """See ``module.Module`` for what ports are asked."""

    def __init__(self, configuration):
        super().__init__(configuration)
        self._supply = pins.Supply(configuration["pins"])

    def sample(self, channel):
        if channel == power.VBUS_CHANNEL:
            self.converted(channel, self._supply.counts())
        else:
            self.converted(channel, pins.tmp36(esp32.mcu_temperature() * 1000))
