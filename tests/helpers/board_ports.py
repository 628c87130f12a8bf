"""Test a board's ports and chip on a stand-in for ``machine``: ``board_ports.py rp2|esp32``.

MicroPython runs this script. It has plain asserts and prints "ok" at its end.
"""

import gc
import sys
import time

import machine

from lensfw import contacts, focus_motor, focus_ring, power

name = sys.argv[1]
port = __import__("lensfw.ports." + name, None, None, ("Machine",))
PINS = {
    "guard": 15, "power": 24, "contact": 14, "release": 13, "ring_a": 10, "ring_b": 11,
    "fault": 12, "enable": 7, "end_stop": 6, "step": 8, "dir": 9,
    "vbus_adc": 29, "vbus_divider": 3, "vbus_drop_mv": 280,
}  # fmt: skip
SENSOR = {"bits": 12, "modes": [{"id": 0, "width": 64}]}


def made(**pins):
    found = dict(PINS)
    found.update(pins)
    return port.Machine(
        {
            "pins": {key: value for key, value in found.items() if value is not None},
            "sensor": SENSOR,
            "seed": 1,
            "watchdog_ms": 8000,
        }
    )


def events(ports):
    found = []
    while True:
        event = ports.take_event()
        if event is None:
            return found
        found.append(event)


chip = made()
# The levels at the start are reported, then edges in their order. The button closes to ground.
machine.levels[24] = 1
ports = chip.ports
motor = machine.pins[8]
assert chip.ports is ports
contact = ports.CONTACT
first = events(ports)
levels = [(contact, 0, 1), (contact, 1, 1), (contact, 2, 0), (contact, 3, 0)]
end_stop = [(contact, focus_motor.END_STOP_PIN, 0)]
assert first == levels + end_stop, first
machine.drive(14, 0)
machine.drive(13, 0)
machine.drive(14, 1)
found = events(ports)
assert found == [
    (contact, contacts.DETECT_PIN, 0), (contact, contacts.RELEASE_PIN, 1),
    (contact, contacts.DETECT_PIN, 1),
], found  # fmt: skip

# A short opens the power switch in the interrupt itself, before anybody takes the event.
assert machine.pins[12].hard == (name == "rp2")
assert machine.levels[7] == 1
machine.drive(12, 0)
assert machine.levels[7] == 0
machine.drive(12, 1)
assert machine.levels[7] == 0, "only the firmware closes it again"
assert events(ports) == [(contact, contacts.FAULT_PIN, 1), (contact, contacts.FAULT_PIN, 0)]
ports.set_switch(True)
assert machine.levels[7] == 1

# A queue that is not emptied does not grow.
for i in range(1000):
    machine.drive(14, i & 1)
assert len(events(ports)) < 64
machine.drive(14, 1)
assert events(ports) == [(contact, 1, 1)]

# The ring's edges are decoded in their interrupts, as many as there are. Its first levels are none.
ring = focus_ring.FocusRing()
ports.connect_ring(ring)
assert machine.pins[10].hard == (name == "rp2")
assert ring.take_ticks() == 0
for _ in range(1000):
    for number, level in ((10, 0), (11, 0), (10, 1), (11, 1)):
        machine.drive(number, level)
assert ring.take_ticks() == 4000
machine.drive(11, 0)
assert ring.take_ticks() == -1 and ring.position == 3999
assert events(ports) == []

# A board with nothing wired is seated.
bare = made(contact=None, power=None, release=None, fault=None, end_stop=None)
end_stop = [(contact, focus_motor.END_STOP_PIN, 1)]
assert events(bare.ports) == levels + end_stop

# 5 V less the diode's drop, through a divider by three.
machine.counts[29] = (5000 - 280) * 65535 // 3 // 3300
ports.sample(power.VBUS_CHANNEL)
((kind, channel, counts),) = events(ports)
assert (kind, channel) == (ports.ADC, 0)
supply = power.Power(ports, 1, 1)
supply.add_sample(channel, counts)
assert 4980 <= supply.vbus_mv <= 5020, supply.vbus_mv
assert supply.is_good
machine.counts[4] = 706 * 65535 // 3300  # the RP2040's own sensor at 27 degrees
ports.sample(power.TEMPERATURE_CHANNEL)
supply.add_sample(*events(ports)[0][1:])
wanted = 27000 if name == "rp2" else 41000
assert abs(supply.temperature_mc - wanted) < 1000, supply.temperature_mc

# Nothing is wired to measure the leakage: the contacts are dry.
ports.sample(power.LEAKAGE_CHANNEL)
assert events(ports) == [(ports.ADC, power.LEAKAGE_CHANNEL, 0)]
machine.counts[26] = 48000
wet = made(leak_adc=26).ports
events(wet)
wet.sample(power.LEAKAGE_CHANNEL)
assert events(wet) == [(ports.ADC, power.LEAKAGE_CHANNEL, 3000)]

# An edge that comes while its pin gets a handler is not lost.
machine.on_irq = lambda: machine.levels.update({14: 0})
assert (contact, 1, 0) in events(made().ports)
machine.on_irq = None
machine.levels[14] = 1

# The gauge integrates the load that the firmware has told, at 5 V.
ports.set_load(200)
ports.sample(power.ENERGY_CHANNEL)
before = events(ports)[0][2]
time.sleep_ms(20)
ports.sample(power.ENERGY_CHANNEL)
((kind, channel, counts),) = events(ports)
assert (kind, channel) == (ports.ADC, power.ENERGY_CHANNEL)
assert 15000 <= counts - before < 200000, counts - before

# Steps are pulses, with the direction set before.
ports.step(3)
assert motor.edges == [1, 0] * 3 and machine.levels[9] == 1
ports.step(-2)
assert motor.edges == [1, 0] * 5 and machine.levels[9] == 0

# The watchdog is fed. For the REPL it is stopped (rp2) or fed on (esp32).
chip.start_watchdog()
chip.feed_watchdog()
assert machine.fed[:2] == [8000, "fed"], machine.fed
chip.stop_watchdog()
chip.feed_watchdog()
if name == "rp2":
    assert machine.mem32.writes[-1][1] == 1 << 30
    assert len(machine.fed) == 2
    controller = port.Controller()
    machine.mem16.values[0x50110048] = 0x1234
    assert controller.read_frame() == 0x234
    machine.mem8.values[0x50110050] = 0x15
    assert controller.is_suspended()
    machine.mem8.values[0x50110050] = 0x05
    assert not controller.is_suspended()
    # No interrupt can delete the endpoint between the look at the device's address and the start.
    started = []

    class Usb:
        @staticmethod
        def submit_xfer(address, buffer):
            assert not machine.are_interrupts_on
            if started:
                raise OSError(16)
            started.append((address, buffer))
            return True

    class QuietUsb:
        @staticmethod
        def submit_xfer(address, buffer):
            return True

    submit = chip.get_submit(Usb)
    machine.mem8.values[0x50110000] = 0x80
    assert not submit(3, b"ab") and not started, "there is no address yet"
    machine.mem8.values[0x50110000] = 0x81
    assert submit(3, b"ab") and started == [(3, b"ab")]
    assert machine.are_interrupts_on
    # It runs for each transfer, so it allocates nothing.
    quiet = chip.get_submit(QuietUsb)
    quiet(3, b"ab")
    gc.disable()
    before = gc.mem_alloc()
    for _ in range(100):
        quiet(3, b"ab")
    grown = gc.mem_alloc() - before
    gc.enable()
    assert grown < 100, grown
    try:
        raise AssertionError(submit(3, b"cd"))
    except OSError:
        pass
    assert machine.are_interrupts_on, "also after a refusal"
    # It is reset, awaited and restored, the pull-up last.
    machine.mem32.values[0x4000C008] = 1 << 24
    machine.mem32.values[0x5011004C] = 0x20010000
    machine.mem32.writes.clear()
    controller.recover()
    writes = machine.mem32.writes
    assert writes[:2] == [(0x4000E000, 1 << 24), (0x4000F000, 1 << 24)], writes
    assert writes[-1] == (0x5011004C, 0x20010000) and len(writes) == 7, writes
else:
    assert machine.fed[-1] == 1000
    assert chip.get_controller() is None
print("ok")
