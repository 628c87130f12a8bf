"""The common part of all boards: the chip, its pins, and a sensor that is computed.

Inputs are pulled up, and a contact is closed while its pin is high. So a board with nothing wired
to it is seated. To unseat it, pull the pin to ground. Release button and fault input close to
ground.

The fault input is an interrupt. Its handler opens the module's power switch before anything else
runs, and then queues the edge as for every other input.
"""

import binascii
import time

import machine

from .. import contacts, focus_motor
from . import generated

_EDGES = 32
# In the slot that this firmware runs from.
_CALIBRATIONS = __file__.rsplit("/lensfw/", 1)[0] + "/lensfw.cal"
_REFERENCE_MV = 3300
# Full scale of the counts that ``power`` takes: 12 bits behind a divider by two.
_FULL_SCALE_MV = 6600


class Machine:
    """The chip, for ``boot`` and ``board``. *ports* is the class of its ports."""

    def __init__(self, configuration, ports):
        self._configuration = configuration
        self._make_ports = ports
        self._ports = None
        self._dog = None

    @property
    def ports(self):
        if self._ports is None:
            self._ports = self._make_ports(self._configuration)
        return self._ports

    def read_chip_number(self):
        """Return the number that the chip's maker gave it, as a serial number."""
        return binascii.hexlify(machine.unique_id()).decode().upper()

    def get_usb_device(self):
        """Return the object of machine.USBDevice, or None if the port has none."""
        found = getattr(machine, "USBDevice", None)
        return found() if found is not None else None

    def get_submit(self, usbd):
        """Return the function that starts a transfer; see ``transports.usb``."""
        return usbd.submit_xfer

    def get_controller(self):
        """Return the controller for ``controller_lockup``, or None if it cannot lock up."""
        return

    def start_watchdog(self):
        """Start the watchdog, if the configuration has one. Then feed_watchdog() is due."""
        timeout = self._configuration.get("watchdog_ms")
        if timeout:
            self._dog = machine.WDT(timeout=timeout)

    def feed_watchdog(self):
        if self._dog is not None:
            self._dog.feed()

    def sleep(self):
        time.sleep_ms(1)


class Supply:
    """The supply voltage, behind the board's divider and diode."""

    def __init__(self, pins):
        self._adc = machine.ADC(pins["vbus_adc"]) if "vbus_adc" in pins else None
        self._divider = pins.get("vbus_divider", 2)
        self._drop_mv = pins.get("vbus_drop_mv", 0)

    def read_counts(self):
        """Return counts as ``power`` takes them, or those of 5 V if nothing is wired."""
        millivolts = 5000
        if self._adc is not None:
            millivolts = self._adc.read_u16() * _REFERENCE_MV // 65535 * self._divider
            millivolts += self._drop_mv
        return (millivolts * 4096 + _FULL_SCALE_MV - 1) // _FULL_SCALE_MV


def _closes_to_ground(index):
    return contacts.RELEASE_PIN <= index <= focus_motor.END_STOP_PIN


def _make_ring_handler(ring, channel, pin):
    def on_edge(_):
        ring.add_edge(channel, pin.value())

    return on_edge


class ModelGauge:
    """A gauge of energy for boards without one: the load that the firmware has told, at 5 V."""

    def __init__(self):
        self._milliwatts = 0
        self._counts = 0
        self._rest = 0
        self._ticks = time.ticks_us()

    def set_load(self, milliamperes):
        self.read_counts()
        self._milliwatts = milliamperes * 5

    def read_counts(self):
        """Return microjoules, modulo 2^24."""
        ticks = time.ticks_us()
        # At most 0.1 s between two samples, so this is a small integer.
        spent = self._rest + self._milliwatts * time.ticks_diff(ticks, self._ticks)
        self._ticks = ticks
        self._rest = spent % 1000
        self._counts = (self._counts + spent // 1000) & 0xFFFFFF
        return self._counts


def convert_to_tmp36(millidegrees):
    """Return the counts of a TMP36: 500 mV at 0 degrees, 10 mV for each degree."""
    return (500 + millidegrees // 100) * 4096 // _REFERENCE_MV


# The inputs, by the channels of CONTACT.
_INPUTS = ("power", "contact", "release", "fault", "end_stop")
# The inputs that are closed if nothing is wired: a board without contacts is seated, and a lens
# without a motor is at its end stop.
_CLOSED = (contacts.POWER_PIN, contacts.DETECT_PIN, focus_motor.END_STOP_PIN)


class PinPorts(generated.GeneratedRows):
    """The ports: edges of pins, samples, steps, and the rows of a computed sensor.

    ``module`` calls take_event(), step(), set_iris(), set_load(), set_switch(), connect_ring(), and
    the methods of GeneratedRows; ``power`` calls sample(). Edges of contacts wait in a queue of
    fixed length. Those of the focus ring are decoded in their interrupts, so that none is lost
    while a tile is read. Handlers do not allocate, because on some chips they run at any moment
    (*irq_options*).
    """

    CONTACT = 1
    ADC = 2
    RING = 3

    irq_options = {}

    def __init__(self, configuration):
        super().__init__(configuration["sensor"], configuration["seed"])
        pins = configuration["pins"]
        self._queue = bytearray(_EDGES)
        self._head = 0
        self._tail = 0
        self._inputs = []
        self._samples = []
        self._gauge = ModelGauge()
        self._switch = None
        if "enable" in pins:
            self._switch = machine.Pin(pins["enable"], machine.Pin.OUT, value=1)
        self._leakage = machine.ADC(pins["leak_adc"]) if "leak_adc" in pins else None
        for index, name in enumerate(_INPUTS):
            number = pins.get(name)
            if number is None:
                self._queue_edge(index, 1 if index in _CLOSED else 0)
                continue
            pull = None if name == "power" else machine.Pin.PULL_UP
            pin = machine.Pin(number, machine.Pin.IN, pull)
            self._inputs.append(pin)
            level = self._read_level(index, pin)
            self._queue_edge(index, level)
            self._watch(pin, self._make_handler(index, pin))
            if self._read_level(index, pin) != level:
                # It changed before it had a handler.
                self._queue_edge(index, 1 - level)
        self._ring_pins = []
        if "ring_a" in pins:
            for name in ("ring_a", "ring_b"):
                pin = machine.Pin(pins[name], machine.Pin.IN, machine.Pin.PULL_UP)
                self._ring_pins.append(pin)
        self._step = self._direction = None
        if "step" in pins:
            self._step = machine.Pin(pins["step"], machine.Pin.OUT, value=0)
            self._direction = machine.Pin(pins["dir"], machine.Pin.OUT, value=0)

    def connect_ring(self, ring):
        """Let the interrupts of the ring's pins call *ring*.add_edge(channel, level)."""
        for channel, pin in enumerate(self._ring_pins):
            ring.set_level(channel, pin.value())
        for channel, pin in enumerate(self._ring_pins):
            self._watch(pin, _make_ring_handler(ring, channel, pin))

    def _watch(self, pin, handler):
        edges = machine.Pin.IRQ_RISING | machine.Pin.IRQ_FALLING
        pin.irq(handler, edges, **self.irq_options)

    def _read_level(self, index, pin):
        level = pin.value()
        return 1 - level if _closes_to_ground(index) else level

    def _make_handler(self, index, pin):
        def on_edge(_):
            self._queue_edge(index, self._read_level(index, pin))

        def on_fault(_):
            if not pin.value() and self._switch is not None:
                self._switch.value(0)
            self._queue_edge(index, self._read_level(index, pin))

        return on_fault if index == contacts.FAULT_PIN else on_edge

    def _queue_edge(self, index, level):
        following = (self._tail + 1) % _EDGES
        if following != self._head:
            self._queue[self._tail] = index << 1 | level
            self._tail = following

    def take_event(self):
        """Return the next event as (kind, channel, value), or None."""
        if self._samples:
            return self._samples.pop(0)
        if self._head == self._tail:
            return None
        entry = self._queue[self._head]
        self._head = (self._head + 1) % _EDGES
        return self.CONTACT, entry >> 1, entry & 1

    def _queue_sample(self, channel, counts):
        """Queue a sample, in counts as ``power`` takes them."""
        self._samples.append((self.ADC, channel, min(max(counts, 0), 4095)))

    def step(self, count):
        """Step the motor. Pulses take some 10 us; the motor's driver needs 2."""
        if self._step is None:
            return
        self._direction.value(count > 0)
        for _ in range(abs(count)):
            self._step.value(1)
            self._step.value(0)

    def set_iris(self, milli):
        """Do nothing: no iris is wired to any board yet."""

    def read_calibration(self, start, count):
        """Return up to *count* bytes of the calibrations on flash, from byte *start* on."""
        with open(_CALIBRATIONS, "rb") as file:
            file.seek(start)
            return file.read(count)

    def set_switch(self, closed):
        """Open or close the module's own power switch, if the board has one."""
        if self._switch is not None:
            self._switch.value(1 if closed else 0)

    def _sample_energy(self, channel):
        self._samples.append((self.ADC, channel, self._gauge.read_counts()))

    def _sample_leakage(self, channel):
        """Queue the voltage at the detect pin: 0, as of dry contacts, if nothing is wired."""
        counts = 0 if self._leakage is None else self._leakage.read_u16() >> 4
        self._queue_sample(channel, counts)

    def set_load(self, milliamperes):
        """Note the load, from which the gauge is computed: the supply of a board is real."""
        self._gauge.set_load(milliamperes)
