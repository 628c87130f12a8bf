"""Ports of an RP2040 or RP2350: its pins, its watchdog, and the RP2040's USB controller."""

import sys
import time

import machine

from .. import power
from ..wire import const
from . import pins

_RP2040 = "RP2040" in sys.implementation._machine
# RP2040 datasheet, 4.7.6; RP2350 datasheet, 12.9.7. At an offset, a write clears bits.
_WATCHDOG = 0x40058000 if _RP2040 else 0x400D8000
_WATCHDOG_CTRL_CLEAR = _WATCHDOG + 0x3000
_WATCHDOG_ENABLE = 1 << 30
_ADC_TEMPERATURE = 4
_REFERENCE_MV = 3300

# RP2040 datasheet, 4.1.4 and 2.14.3. The device's address is in the same place on an RP2350.
_USB_ADDRESS = const(0x50110000)
_ADDRESS = const(0x7F)
_USB_SIE_STATUS = 0x50110050
_USB_SUSPENDED = 1 << 4
_USB_SOF = 0x50110048
# Muxing, power, interrupts, the controller, and last SIE_CTRL with the pull-up.
_USB_KEPT = (0x50110074, 0x50110078, 0x50110090, 0x50110040, 0x5011004C)
_RESETS_SET = 0x4000E000
_RESETS_CLEAR = 0x4000F000
_RESETS_DONE = 0x4000C008
_RESETS_USB = 1 << 24
_GONE_MS = 100  # a hub polls its ports about every 100 ms


class Controller:
    """The RP2040's USB controller, without TinyUSB; see ``controller_lockup``.

    Registers are read in 8 or 16 bits, because a larger integer would allocate.
    """

    def read_frame(self):
        return machine.mem16[_USB_SOF] & 0x7FF

    def is_suspended(self):
        return bool(machine.mem8[_USB_SIE_STATUS] & _USB_SUSPENDED)

    def recover(self):
        """Reset the controller and restore TinyUSB's settings. The board re-enumerates.

        The bus reset that follows restores TinyUSB's own state.
        """
        kept = [machine.mem32[register] for register in _USB_KEPT]
        machine.mem32[_RESETS_SET] = _RESETS_USB
        time.sleep_ms(_GONE_MS)
        machine.mem32[_RESETS_CLEAR] = _RESETS_USB
        while not machine.mem32[_RESETS_DONE] & _RESETS_USB:
            pass
        for register, value in zip(_USB_KEPT, kept):
            machine.mem32[register] = value


class Machine(pins.Machine):
    """The chip, for ``boot`` and ``board``."""

    def __init__(self, configuration):
        super().__init__(configuration, Ports)

    def get_submit(self, usbd):
        """Return the function that starts a transfer. It returns False after a bus reset.

        A bus reset sets the device's address to 0, and deletes TinyUSB's endpoints, both in an
        interrupt. A transfer on a deleted endpoint would make TinyUSB panic. So no interrupt may
        run between the look at the address and the start.
        """
        submit_xfer = usbd.submit_xfer

        def submit(address, buffer):
            interrupts = machine.disable_irq()
            try:
                return machine.mem8[_USB_ADDRESS] & _ADDRESS and submit_xfer(address, buffer)
            finally:
                machine.enable_irq(interrupts)

        return submit

    def get_controller(self):
        """Return the controller of an RP2040, or None: an RP2350 has no such erratum."""
        return Controller() if _RP2040 else None

    def stop_watchdog(self):
        """Stop the watchdog, because the REPL does not feed it."""
        if self._dog is not None:
            machine.mem32[_WATCHDOG_CTRL_CLEAR] = _WATCHDOG_ENABLE
            self._dog = None


class Ports(pins.PinPorts):
    """The ports of the board, as ``pins.PinPorts`` describes them."""

    # Handlers run in the interrupt itself, whatever the main loop does.
    irq_options = {"hard": True}

    def __init__(self, configuration):
        super().__init__(configuration)
        self._supply = pins.Supply(configuration["pins"])
        self._inside = machine.ADC(_ADC_TEMPERATURE)

    def sample(self, channel):
        if channel == power.VBUS_CHANNEL:
            self._queue_sample(channel, self._supply.read_counts())
            return
        if channel == power.LEAKAGE_CHANNEL:
            self._sample_leakage(channel)
            return
        if channel == power.ENERGY_CHANNEL:
            self._sample_energy(channel)
            return
        microvolts = self._inside.read_u16() * _REFERENCE_MV // 65535 * 1000
        # RP2040 datasheet, 4.9.5: 706 mV at 27 degrees, 1.721 mV less a degree.
        millidegrees = 27000 - (microvolts - 706000) * 1000 // 1721
        self._queue_sample(channel, pins.convert_to_tmp36(millidegrees))
