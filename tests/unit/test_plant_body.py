"""Test the plant's body on a clock of the test: contacts, supply, heat, motor, ring."""

from __future__ import annotations

import tomllib

import pytest

from lenslink.errors import RigError
from lenslink_hil.benches.board_profile import FIRMWARE
from lenslink_hil.plant.body import Body
from lenslink_hil.plant.body_constants import load_body_constants, parse_body_constants
from lenslink_hil.plant.constants import FILE
from lenslink_hil.plant.dock import DockState
from lenslink_hil.plant.housing import Housing
from lenslink_hil.plant.motor import Motor
from lenslink_hil.plant.pin_records import END_STOP, RECORD, Kind, Record, RecordReader
from lenslink_hil.plant.spring_contacts import (
    SHORT,
    WATER,
    make_attach_edges,
    make_pull_off_edges,
)

SECOND = 1_000_000
CONSTANTS = load_body_constants()
CONTACTS = CONSTANTS.contacts
SOURCE_MOHM = 100
"""Of converter and two contacts, as constants.toml says."""
POWER, DETECT, RELEASE, FAULT = range(4)


def settled(seed=0):
    """Return a body with closed contacts and 5 V, and the time."""
    body = Body(seed, 0)
    body.take_due_records(SECOND)
    assert body.dock.state is DockState.POWERED
    return body, SECOND


def run(body, now, until):
    """Return (time, pin, level) of each CONTACT record until a time."""
    found = []
    while (at := body.get_next_event_us()) is not None and at <= until:
        records = body.take_due_records(at)
        found += [(at, each.channel, each.value) for each in records if each.channel != END_STOP]
    assert all(now <= at for at, _, _ in found)
    return found


# --- constants --------------------------------------------------------------------------------


def test_every_constant_has_a_source():
    assert CONSTANTS.heat.resistance_k_w == 12
    assert CONSTANTS.heat.time_constant_s == 1020
    assert CONSTANTS.supply.source_resistance_mohm + 2 * CONTACTS.resistance_mohm == SOURCE_MOHM


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("bounce =", "bounces =", "unknown bounces_us"),
        ('unit = "K/W"', 'unit = "K"', "unknown resistance_k"),
        ('confidence = "specified"', 'confidence = "sure"', "none of standard"),
        ("value = 47000", 'value = "47000"', "no number"),
        ("[heat]", "[warmth]", "unknown warmth"),
        ("bounce =", "# bounce =", "missing bounce_us"),
        (', confidence = "specified"', "", "needs value, unit, source and confidence"),
        ("[heat]", "[heat", "constants.toml"),
    ],
)
def test_the_file_is_strict(before, after, message):
    text = FILE.read_text("utf-8")
    assert before in text
    with pytest.raises(RigError, match=message):
        parse_body_constants(text.replace(before, after, 1))


# --- contacts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_contacts_bounce_and_close(seed):
    edges = make_attach_edges(seed, CONSTANTS)
    assert edges == make_attach_edges(seed, CONSTANTS)
    assert edges == sorted(edges)
    # The supply pins are 0.3 mm longer, which is 3 ms at 100 mm/s.
    for pin, start in ((POWER, CONTACTS.first_touch_us), (DETECT, CONTACTS.first_touch_us + 3000)):
        levels = [level for _, each, level in edges if each == pin]
        assert len(levels) >= 7
        assert levels == [n % 2 for n in range(1, len(levels) + 1)]  # edges, not repeats
        assert levels[-1] == 1
        times = [at for at, each, _ in edges if each == pin]
        assert start <= times[0] and times[-1] < start + CONTACTS.bounce_us


def test_bounces_differ_by_seed():
    assert len({tuple(make_attach_edges(seed, CONSTANTS)) for seed in range(20)}) == 20


@pytest.mark.parametrize("speed_mm_s", [1, 30, 1000, 10_000])
def test_detect_opens_before_the_supply(speed_mm_s):
    for seed in range(20):
        edges = make_pull_off_edges(seed, CONSTANTS, speed_mm_s)
        ends = {pin: max(at for at, each, _ in edges if each == pin) for pin in (POWER, DETECT)}
        first_power = min(at for at, each, _ in edges if each == POWER)
        assert first_power >= 300_000 // speed_mm_s
        assert ends[DETECT] <= first_power or speed_mm_s > 1000
        for pin in (POWER, DETECT):
            levels = [level for _, each, level in edges if each == pin]
            assert levels == [n % 2 for n in range(len(levels))]


def test_detect_is_seen_as_it_moves_and_power_after_the_tests():
    body = Body(3, 500)
    edges = make_attach_edges(3, CONSTANTS)
    seen = run(body, 500, SECOND)
    assert [each for each in seen if each[1] == DETECT] == [
        (500 + at, pin, level) for at, pin, level in edges if pin == DETECT
    ]
    # 20 ms after the last edge the dock tests for 2 ms, then charges 47 uF to 5 V with 1 A.
    last = 500 + max(at for at, _, _ in edges)
    assert [each for each in seen if each[1] == POWER] == [(last + 20_000 + 2_000 + 235, POWER, 1)]
    assert body.dock.state is DockState.POWERED


def test_half_seated_has_no_power():
    for pin in (POWER, DETECT):
        body = Body(0, 0, attach=False)
        body.plan_contacts([(0, pin, 1)], 0)
        run(body, 0, SECOND)
        assert body.dock.state is DockState.HALF_SEATED
        assert body.supply.get_voltage_mv() == 0
        body.plan_contacts([(0, POWER + DETECT - pin, 1)], SECOND)
        run(body, SECOND, 2 * SECOND)
        assert body.dock.state is DockState.POWERED


@pytest.mark.parametrize(("contact", "state"), [(SHORT, DockState.SHORTED), (WATER, DockState.WET)])
def test_no_power_onto_a_short_or_water(contact, state):
    body = Body(1, 0, attach=False)
    body.plan_contacts([(0, contact, 1), (1000, POWER, 1), (4000, DETECT, 1)], 0)
    seen = run(body, 0, SECOND)
    assert POWER not in [pin for _, pin, _ in seen]
    assert body.dock.state is state or body.dock.state is DockState.TESTING
    assert body.dock.entries[DockState.RAMPING] == 0
    assert body.supply.energy_uj == 0
    # It is tested again twice a second, so a dry contact gets power without a hand.
    body.plan_contacts([(0, contact, 0)], SECOND)
    run(body, SECOND, 2 * SECOND)
    assert body.dock.state is DockState.POWERED


def test_a_short_is_cut_and_named():
    body, now = settled()
    body.handle(Record(Kind.LOAD, 0, 280), now)
    body.plan_contacts([(0, SHORT, 1)], now)
    seen = run(body, now, now + SECOND // 4)
    assert seen == [(now, FAULT, 1), (now, POWER, 0)]
    assert body.dock.state is DockState.SHORTED
    assert body.dock.last_cut_us == now + 1000
    body.plan_contacts([(0, SHORT, 0)], now + SECOND // 4)
    seen = run(body, now, now + SECOND)
    assert [(pin, level) for _, pin, level in seen] == [(FAULT, 0), (POWER, 1)]


def test_too_large_a_load_is_cut_and_tried_again():
    body, now = settled()
    body.handle(Record(Kind.LOAD, 0, 1100), now)
    assert run(body, now, now + 100_000) == [(now + 1000, POWER, 0)]
    assert body.dock.state is DockState.OVERLOADED
    run(body, now, now + SECOND)
    assert body.dock.state is DockState.POWERED


def test_power_survives_an_interruption_of_detect():
    body, now = settled()
    body.plan_contacts([(0, DETECT, 0), (200_000, DETECT, 1)], now)
    seen = run(body, now, now + SECOND)
    assert [(pin, level) for _, pin, level in seen] == [(DETECT, 0), (DETECT, 1)]
    assert body.dock.entries[DockState.HOLDING] == 1
    now += SECOND
    body.plan_contacts([(0, DETECT, 0)], now)
    assert run(body, now, now + SECOND) == [(now, DETECT, 0), (now + 250_000, POWER, 0)]
    assert body.dock.state is DockState.HALF_SEATED


def test_a_lost_supply_comes_back_after_new_tests():
    body, now = settled()
    body.plan_contacts([(0, POWER, 0), (15_000, POWER, 1)], now)
    assert run(body, now, now + SECOND) == [(now, POWER, 0), (now + 15_000, POWER, 1)]
    assert body.dock.entries[DockState.TESTING] == 1
    now += SECOND
    body.plan_contacts([(0, POWER, 0), (100_000, POWER, 1)], now)
    # The hold of 25 ms has ended, so the contacts are tested again.
    assert run(body, now, now + SECOND) == [(now, POWER, 0), (now + 122_235, POWER, 1)]


def test_a_module_that_opens_its_switch_is_tested_again():
    body, now = settled()
    body.plan_contacts([(0, WATER, 1)], now)
    run(body, now, now + 1000)
    assert body.dock.state is DockState.POWERED  # 1 mA more is not seen
    assert sample(body, 3, now + 1000) == round(5000 * 5100 / 10100 / 3300 * 4095)
    assert body.handle(Record(Kind.SWITCH, 0, 0), now + 1000) == [Record(Kind.CONTACT, POWER, 0)]
    run(body, now, now + 4000)
    assert body.dock.state is DockState.WET


def sample(body, channel, now):
    (answer,) = body.handle(Record(Kind.SAMPLE, channel, 0), now)
    assert (answer.kind, answer.channel) == (Kind.ADC, channel)
    return answer.value


# --- supply and heat --------------------------------------------------------------------------


def test_supply_reads_through_its_divider():
    body, now = settled()
    assert sample(body, 0, now) == round(2500 / 3300 * 4095)
    body.set_supply_mv(4600, now)
    assert sample(body, 0, now) == round(2300 / 3300 * 4095)
    body.handle(Record(Kind.LOAD, 0, 1000), now)
    assert sample(body, 0, now) == round(2250 / 3300 * 4095)  # sagged by 100 mV
    assert sample(body, 3, now) == 0
    body.set_supply_mv(20_000, now)
    assert sample(body, 0, now) == 4095
    body.plan_contacts([(0, 0, 0)], now)
    body.take_due_records(now)
    assert sample(body, 0, now) == 0


def test_supply_is_off_before_the_contacts_touch():
    assert sample(Body(0, 0), 0, 0) == 0


def test_dirty_contacts_end_in_a_brown_out():
    body, now = settled()
    body.set_contact_mohm(1800, now)
    assert body.handle(Record(Kind.LOAD, 0, 250), now) == []
    assert body.supply.get_voltage_mv() == pytest.approx(5000 - 250 * 3.64)
    assert body.handle(Record(Kind.LOAD, 0, 310), now) == [Record(Kind.CONTACT, POWER, 0)]
    assert body.supply.get_load_ma() == 0
    # The converter starts again by itself, and the module with it: without a load.
    assert run(body, now, now + SECOND) == [(now + 2_000, POWER, 1)]


def test_energy_is_the_integral_of_voltage_and_current():
    body, now = settled()
    assert body.supply.energy_uj == 0
    body.handle(Record(Kind.LOAD, 0, 200), now)
    body.handle(Record(Kind.LOAD, 0, 20), now + 3 * SECOND)
    body.supply.update(now + 10 * SECOND)
    assert body.supply.energy_uj == pytest.approx(200 * 4.98 * 3e3 + 20 * 4.998 * 7e3, rel=1e-12)
    assert body.supply.peak_mw == pytest.approx(996)


def test_load_heats_the_housing_with_a_lag():
    housing = Housing(CONSTANTS.heat, 0)
    start = 100 * SECOND
    assert housing.get_temperature_c(start) == pytest.approx(25)
    housing.set_power(1.4, start)
    assert housing.get_temperature_c(start) == pytest.approx(25)
    # After one time constant: 63 %, however often the temperature is read.
    for part in range(1, 1020, 7):
        housing.get_temperature_c(start + part * SECOND)
    assert housing.get_temperature_c(start + 1020 * SECOND) == pytest.approx(25 + 16.8 * 0.632121)
    assert housing.get_temperature_c(start + 40_000 * SECOND) == pytest.approx(41.8)
    housing.set_ambient(35, start + 40_000 * SECOND)
    assert housing.get_temperature_c(start + 40_000 * SECOND) == pytest.approx(41.8)
    housing.set_power(0, start + 40_000 * SECOND)
    assert housing.get_temperature_c(start + 80_000 * SECOND) == pytest.approx(35)


def test_a_pulse_of_energy_heats_like_power():
    pulses, steady = Housing(CONSTANTS.heat, 0), Housing(CONSTANTS.heat, 0)
    steady.set_power(0.5, 0)
    for at in range(0, 10 * SECOND, 1000):
        pulses.add_heat(0.0005, at)
    assert pulses.get_temperature_c(10 * SECOND) == pytest.approx(
        steady.get_temperature_c(10 * SECOND), abs=1e-4
    )


def test_the_body_heats_its_temperature_sensor():
    body, now = settled()
    body.handle(Record(Kind.LOAD, 0, 280), now)
    hours = now + 20_000 * SECOND
    final = 25 + 12 * 0.28 * (5 - 0.028)
    assert sample(body, 1, hours) == round((500 + 10 * final) / 3300 * 4095)
    assert body.report(hours)["housing_c"] == pytest.approx(final, abs=1e-6)


# --- motor and ring ---------------------------------------------------------------------------

MOTOR = CONSTANTS.motor
STILL = 10 * SECOND
"""So long after the last step nothing rings."""


def focus(motor, temperature_c=25.0):
    return motor.get_focus_mdpt(STILL, temperature_c)


def test_motor_stops_at_its_ends():
    motor = Motor(MOTOR, 0)
    assert motor.is_at_end_stop
    assert motor.step(-5, 0) == 0
    assert motor.step(40, 0) == 40
    assert not motor.is_at_end_stop
    assert focus(motor) == 0
    assert motor.step(1000, 0) == 1000
    assert focus(motor) == 1590
    assert motor.step(1100, SECOND) == 1040
    assert focus(motor) == pytest.approx(3300 + 40 * 1.74)
    assert motor.step(-1, SECOND) == 1
    assert motor.lost_steps == 5 + 60


def test_the_curve_is_that_of_the_firmwares_calibration():
    motor = load_board_motor()
    assert motor["steps"] == MOTOR.travel_steps and motor["stop"] == MOTOR.stop_steps
    pitch = MOTOR.travel_steps // (len(MOTOR.curve_mdpt) - 1)
    assert motor["calibration"] == [[n * pitch, mdpt] for n, mdpt in enumerate(MOTOR.curve_mdpt)]


def load_board_motor():
    return tomllib.loads((FIRMWARE / "modules/ll-100.toml").read_text("utf-8"))["motor"]


def test_backlash_is_40_mdpt():
    motor = Motor(MOTOR, 0)
    motor.step(1040, 0)
    motor.step(-24, 0)
    assert focus(motor) == pytest.approx(1590)
    motor.step(-24, 0)
    # From above the lens stands 40 milli-dioptres nearer than the gear says.
    assert focus(motor) == pytest.approx(1590 + 40 - 48 * 1.62, abs=1)
    motor.step(24, 0)
    assert focus(motor) == pytest.approx(1590 + 40 - 48 * 1.62, abs=1)
    motor.step(24, 0)
    assert focus(motor) == pytest.approx(1590)


def test_the_lens_rings_and_is_still_after_15_ms():
    motor = Motor(MOTOR, 0)
    motor.step(1040, SECOND)
    swings = [motor.get_focus_mdpt(SECOND + at, 25) - 1590 for at in range(0, 30_000, 100)]
    assert max(map(abs, swings[:10])) > 10
    assert all(abs(swing) <= 2 for swing in swings[150:])
    # A single step moves the lens by its own distance and half of it more, at most.
    motor.step(1, 3 * SECOND)
    assert abs(motor.get_focus_mdpt(3 * SECOND, 25) - 1590 - 1.68) <= 0.83


def test_the_lens_drifts_by_1_mdpt_a_kelvin():
    motor = Motor(MOTOR, 0)
    assert focus(motor, 45) - focus(motor, 25) == pytest.approx(20)


def test_steps_are_lost_when_a_test_demands_it_or_when_they_are_too_fast():
    motor = Motor(MOTOR, 0)
    motor.lose_steps(3)
    assert motor.step(2, 0) == 0
    assert motor.step(2, 0) == 1
    motor.step(-1, 0)
    # The driver holds 2,200 pulses and makes 9,600 a second of them.
    assert motor.step(2000, SECOND) == 2000
    assert motor.step(-2000, SECOND) == 200
    assert motor.step(-2000, SECOND + 100_000) == 960


def test_step_records_move_the_motor_and_unknown_ones_nothing():
    body, now = settled()
    before = body.motor.gear
    answers = body.handle(Record(Kind.STEP, 0, 30), now)
    assert answers == [Record(Kind.CONTACT, END_STOP, 0)]
    assert body.handle(Record(Kind.STEP, 0, -10), now) == []
    assert body.handle(Record(200, 0, 99), now) == []
    assert body.motor.gear == before + 20
    assert body.supply.energy_uj == 40 * MOTOR.step_energy_uj
    body.plan_contacts([(0, POWER, 0)], now)
    run(body, now, now)
    assert body.handle(Record(Kind.STEP, 0, 30), now) == []
    assert body.motor.gear == before + 20, "without a supply it does not move"


def decode(records):
    """Count ticks as a quadrature decoder does; each edge must change exactly one line."""
    a = b = ticks = 0
    order = [(0, 0), (1, 0), (1, 1), (0, 1)]
    for record in records:
        assert record.kind == Kind.RING
        before = order.index((a, b))
        assert record.value != (a, b)[record.channel]
        a, b = (record.value, b) if record.channel == 0 else (a, record.value)
        step = (order.index((a, b)) - before) % 4
        ticks += {1: 1, 3: -1}[step]
    return ticks


@pytest.mark.parametrize("ticks", [1, 5, -1, -7])
def test_ring_emits_quadrature(ticks):
    body, now = settled()
    body.turn_ring(ticks, now)
    records = body.take_due_records(now + SECOND)
    assert len(records) == abs(ticks)
    assert decode(records) == ticks == body.ring_ticks


def test_turns_follow_each_other_at_2000_ticks_a_second():
    body, now = settled()
    body.turn_ring(8, now)
    body.turn_ring(-20, now)
    first = body.take_due_records(now + 8 * 500 - 1)
    assert (len(first), decode(first)) == (8, 8)
    assert decode(first + body.take_due_records(now + SECOND)) == -12
    body.turn_ring(3, now + SECOND, 10)
    assert len(body.take_due_records(now + SECOND + 199_999)) == 2


def test_records_are_cut_from_any_pieces():
    assert Record(18, 1, -2).pack() == bytes([18, 1, 0, 0, 0xFE, 0xFF, 0xFF, 0xFF])
    assert RECORD.size == 8
    records = [Record(16, 0, -7), Record(17, 0, 250), Record(18, 1, 0)]
    data = b"".join(record.pack() for record in records)
    for size in range(1, len(data) + 1):
        reader = RecordReader()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [record for piece in pieces for record in reader.feed(piece)] == records
