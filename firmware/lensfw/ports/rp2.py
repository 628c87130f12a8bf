"""An RP2040's or RP2350's pins, and the rest of the chip that a module needs.

Inputs are pulled up, and a contact is closed while its pin is high: a board with nothing wired to
it is seated. What takes it off pulls its pin to ground.
"""

import sys
import time

import machine

from .. import contacts, power, recovery
from . import generated

_SCRATCH = 0x4005800C
_WATCHDOG_CTRL_CLEAR = 0x4005B000
_WATCHDOG_ENABLE = 1 << 30
_MARK = 0x4C4B
_ADC_TEMPERATURE = 4
_REFERENCE_MV = 3300
# The counts that power.py has: a divider by two, 12 bits.
_FULL_SCALE_MV = 6600
_EDGES = 32

# RP2040 datasheet, 4.1.4 and 2.14.3.
_USB_SIE_STATUS = 0x50110050
_USB_SUSPENDED = 1 << 4
_USB_SOF = 0x50110048
# Muxing, power, interrupts and the controller; the pull-up, in SIE_CTRL, last.
_USB_KEPT = (0x50110074, 0x50110078, 0x50110090, 0x50110040, 0x5011004C)
_RESETS_SET = 0x4000E000
_RESETS_CLEAR = 0x4000F000
_RESETS_DONE = 0x4000C008
_RESETS_USB = 1 << 24
_GONE_MS = 100  # a hub looks every 100 ms or so


class Scratch:
    """A register of the watchdog: a reset leaves it alone, a loss of supply does not."""

    def read(self):
        value = machine.mem32[_SCRATCH]
        return value & 0xFF if value >> 8 == _MARK else 0

    def write(self, value):
        machine.mem32[_SCRATCH] = _MARK << 8 | value


class Controller:
    """The RP2040's USB controller, past TinyUSB; see lockup. Narrow reads: no large integers."""

    def frame(self):
        return machine.mem16[_USB_SOF] & 0x7FF

    def suspended(self):
        return bool(machine.mem8[_USB_SIE_STATUS] & _USB_SUSPENDED)

    def recover(self):
        """Reset it, and set it up as TinyUSB had: the host sees the board gone, and come back.

        What follows then, a bus reset, brings TinyUSB's own state in order.
        """
        kept = [machine.mem32[register] for register in _USB_KEPT]
        machine.mem32[_RESETS_SET] = _RESETS_USB
        time.sleep_ms(_GONE_MS)
        machine.mem32[_RESETS_CLEAR] = _RESETS_USB
        while not machine.mem32[_RESETS_DONE] & _RESETS_USB:
            pass
        for register, value in zip(_USB_KEPT, kept):
            machine.mem32[register] = value


class Machine:
    """The chip, for boot and board."""

    def __init__(self, configuration):
        self._pins = configuration["pins"]
        self._watchdog_ms = configuration.get("watchdog_ms", 0)
        self._dog = None
        self._ports = None
        self._configuration = configuration
        self.starts = recovery.Starts(Scratch())

    @property
    def ports(self):
        if self._ports is None:
            self._ports = Ports(self._configuration)
        return self._ports

    def guarded(self):
        """Whether the guard pin is held low."""
        number = self._pins.get("guard")
        if number is None:
            return False
        pin = machine.Pin(number, machine.Pin.IN, machine.Pin.PULL_UP)
        time.sleep_us(50)  # for the pull-up to be one
        return not pin.value()

    def usb_device(self):
        """machine.USBDevice's one object; None where it is missing."""
        found = getattr(machine, "USBDevice", None)
        return found() if found is not None else None

    def controller(self):
        """What lockup watches; None on a chip without the erratum."""
        return Controller() if "RP2040" in sys.implementation._machine else None

    def watch(self):
        """From now on feed() has to be called."""
        if self._watchdog_ms:
            self._dog = machine.WDT(timeout=self._watchdog_ms)

    def feed(self):
        if self._dog is not None:
            self._dog.feed()

    def unwatch(self):
        """The REPL feeds no watchdog."""
        if self._dog is not None:
            machine.mem32[_WATCHDOG_CTRL_CLEAR] = _WATCHDOG_ENABLE
            self._dog = None

    def idle(self):
        time.sleep_ms(1)


class Ports(generated.GeneratedRows):
    """See ``module.Module`` for what ports are asked. Edges wait in a queue of fixed length."""

    CONTACT = 1
    ADC = 2
    RING = 3

    def __init__(self, configuration):
        super().__init__(configuration["sensor"], configuration["seed"])
        pins = configuration["pins"]
        self._queue = bytearray(_EDGES)
        self._head = 0
        self._tail = 0
        self._levels = bytearray(6)
        self._inputs = [None] * 6
        self._adc = [None, None]
        self._samples = []
        self._vbus_pull_mv = pins.get("vbus_drop_mv", 0)
        self._vbus_divider = pins.get("vbus_divider", 2)
        if "vbus_adc" in pins:
            self._adc[power.VBUS_CHANNEL] = machine.ADC(pins["vbus_adc"])
        self._adc[power.TEMPERATURE_CHANNEL] = machine.ADC(_ADC_TEMPERATURE)
        for index, name in enumerate(("power", "contact", "release", "ring_a", "ring_b")):
            number = pins.get(name)
            if number is None:
                self._put(index, 0 if name == "release" else 1)
                continue
            pull = None if name == "power" else machine.Pin.PULL_UP
            pin = machine.Pin(number, machine.Pin.IN, pull)
            self._inputs[index] = pin
            pin.irq(self._handler(index, pin), machine.Pin.IRQ_RISING | machine.Pin.IRQ_FALLING)
            self._put(index, self._level(index, pin))
        self._step = self._direction = None
        if "step" in pins:
            self._step = machine.Pin(pins["step"], machine.Pin.OUT, value=0)
            self._direction = machine.Pin(pins["dir"], machine.Pin.OUT, value=0)

    def _level(self, index, pin):
        # The release button closes to ground.
        level = pin.value()
        return 1 - level if index == contacts.RELEASE_PIN else level

    def _handler(self, index, pin):
        def changed(_):
            self._put(index, self._level(index, pin))

        return changed

    def _put(self, index, level):
        following = (self._tail + 1) % _EDGES
        if following != self._head:
            self._queue[self._tail] = index << 1 | level
            self._tail = following

    def event(self):
        """The next (kind, channel, value), or None."""
        if self._samples:
            return self._samples.pop(0)
        if self._head == self._tail:
            return None
        entry = self._queue[self._head]
        self._head = (self._head + 1) % _EDGES
        index, level = entry >> 1, entry & 1
        if index < 3:
            return self.CONTACT, index, level
        return self.RING, index - 3, level

    def sample(self, channel):
        adc = self._adc[channel]
        if channel == power.VBUS_CHANNEL:
            millivolts = 5000
            if adc is not None:
                millivolts = adc.read_u16() * _REFERENCE_MV // 65535 * self._vbus_divider
                millivolts += self._vbus_pull_mv
            counts = (millivolts * 4096 + _FULL_SCALE_MV - 1) // _FULL_SCALE_MV
        else:
            microvolts = adc.read_u16() * _REFERENCE_MV // 65535 * 1000
            # RP2040 datasheet, 4.9.5: 706 mV at 27 degrees, 1.721 mV less a degree.
            millidegrees = 27000 - (microvolts - 706000) * 1000 // 1721
            counts = (500 + millidegrees // 100) * 4096 // _REFERENCE_MV
        self._samples.append((self.ADC, channel, min(counts, 4095)))

    def step(self, count):
        """Pulses of some 10 us: the motor's driver needs 2."""
        if self._step is None:
            return
        self._direction.value(count > 0)
        for _ in range(abs(count)):
            self._step.value(1)
            self._step.value(0)

    def load(self, milliamperes):
        """The supply is real: what is drawn is drawn."""
