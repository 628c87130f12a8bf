"""Test the plant's body on a clock of the test: contacts, supply, heat, motor, ring."""

from __future__ import annotations

import pytest

from lenslink_hil.plant.body import (
    BOUNCE_STARTS_US,
    BOUNCE_US,
    RING_EDGE_US,
    Body,
    Motor,
    Supply,
    make_bounce_edges,
)
from lenslink_hil.plant.pin_records import RECORD, Kind, Record, RecordReader

SECOND = 1_000_000


def settled(seed=0):
    """Return a body with closed contacts, and the time."""
    body = Body(seed, 0)
    body.take_due_records(SECOND)
    return body, SECOND


@pytest.mark.parametrize("seed", range(20))
def test_contacts_bounce_and_close(seed):
    edges = make_bounce_edges(seed)
    assert edges == make_bounce_edges(seed)
    assert edges == sorted(edges)
    for pin in (0, 1):
        levels = [level for _, each, level in edges if each == pin]
        assert len(levels) >= 7
        assert levels == [n % 2 for n in range(1, len(levels) + 1)]  # edges, not repeats
        assert levels[-1] == 1
    assert all(BOUNCE_STARTS_US <= at < BOUNCE_STARTS_US + BOUNCE_US for at, _, _ in edges)


def test_bounces_differ_by_seed():
    assert len({tuple(make_bounce_edges(seed)) for seed in range(20)}) == 20


def test_edges_come_when_due():
    body = Body(3, 500)
    edges = make_bounce_edges(3)
    assert body.get_next_event_us() == 500 + edges[0][0]
    assert body.take_due_records(499 + edges[0][0]) == []
    seen = []
    while (at := body.get_next_event_us()) is not None:
        seen += [(at - 500, *record) for record in body.take_due_records(at)]
    assert seen == [(at, Kind.CONTACT, pin, level) for at, pin, level in edges]
    body.plan_contacts([(200, 1, 0), (100, 0, 0), (200, 1, 1)], 10_000)
    assert body.get_next_event_us() == 10_100
    assert body.take_due_records(10_300) == [
        Record(Kind.CONTACT, 0, 0),
        Record(Kind.CONTACT, 1, 0),
        Record(Kind.CONTACT, 1, 1),
    ]


def sample(body, channel, now):
    (answer,) = body.handle(Record(Kind.SAMPLE, channel, 0), now)
    assert (answer.kind, answer.channel) == (Kind.ADC, channel)
    return answer.value


def test_supply_reads_through_its_divider():
    body, now = settled()
    assert sample(body, 0, now) == round(2500 / 3300 * 4095)
    body.supply.set_vbus(4200, now)
    assert sample(body, 0, now) == round(2100 / 3300 * 4095)
    body.handle(Record(Kind.LOAD, 0, 1000), now)
    assert sample(body, 0, now) == round(2050 / 3300 * 4095)  # sagged by 100 mV
    body.supply.set_vbus(20_000, now)
    assert sample(body, 0, now) == 4095
    body.plan_contacts([(0, 0, 0)], now)
    body.take_due_records(now)
    assert sample(body, 0, now) == 0


def test_supply_is_off_before_the_contacts_touch():
    assert sample(Body(0, 0), 0, 0) == 0


def test_load_heats_the_housing_with_a_lag():
    supply = Supply(0)
    supply.set_contact(True, 0)
    assert supply.get_temperature_c(100 * SECOND) == pytest.approx(25)
    supply.set_load(400, 100 * SECOND)
    start = 100 * SECOND
    final = 25 + 15 * 0.4 * (5 - 0.04)
    assert supply.get_temperature_c(start) == pytest.approx(25)
    # After one time constant: 63 %, however often the temperature is read.
    for part in range(1, 60):
        supply.get_temperature_c(start + part * SECOND)
    one = supply.get_temperature_c(start + 60 * SECOND)
    assert one == pytest.approx(25 + (final - 25) * 0.63212, abs=1e-3)
    assert supply.get_temperature_c(start + 3600 * SECOND) == pytest.approx(final)
    assert supply.convert(1, start + 3600 * SECOND) == round((500 + 10 * final) / 3300 * 4095)
    supply.set_load(0, start + 3600 * SECOND)
    assert supply.get_temperature_c(start + 7200 * SECOND) == pytest.approx(25)


def test_motor_stops_at_its_ends():
    motor = Motor()
    assert motor.focus_mdpt == 0
    motor.step(-5)
    motor.step(1000)
    assert (motor.position, motor.focus_mdpt) == (1000, 1650)
    motor.step(5000)
    assert (motor.position, motor.focus_mdpt) == (2000, 3300)
    motor.step(-1)
    assert motor.position == 1999


def test_step_records_move_the_motor_and_unknown_ones_nothing():
    body, now = settled()
    assert body.handle(Record(Kind.STEP, 0, 30), now) == []
    assert body.handle(Record(Kind.STEP, 0, -10), now) == []
    assert body.handle(Record(200, 0, 99), now) == []
    assert body.motor.position == 20


def decode(records):
    """Count detents as a quadrature decoder does; each edge must change exactly one line."""
    a = b = quarters = 0
    order = [(0, 0), (1, 0), (1, 1), (0, 1)]
    for record in records:
        assert record.kind == Kind.RING
        before = order.index((a, b))
        assert record.value != (a, b)[record.channel]
        a, b = (record.value, b) if record.channel == 0 else (a, record.value)
        step = (order.index((a, b)) - before) % 4
        quarters += {1: 1, 3: -1}[step]
    return quarters / 4


@pytest.mark.parametrize("detents", [1, 5, -1, -7])
def test_ring_emits_quadrature(detents):
    body, now = settled()
    body.turn_ring(detents, now)
    records = body.take_due_records(now + SECOND)
    assert len(records) == 4 * abs(detents)
    assert decode(records) == detents


def test_turns_follow_each_other():
    body, now = settled()
    body.turn_ring(2, now)
    body.turn_ring(-5, now)
    first = body.take_due_records(now + 8 * RING_EDGE_US - 1)
    assert (len(first), decode(first)) == (8, 2)
    assert decode(first + body.take_due_records(now + SECOND)) == -3


def test_records_are_cut_from_any_pieces():
    assert Record(18, 1, -2).pack() == bytes([18, 1, 0, 0, 0xFE, 0xFF, 0xFF, 0xFF])
    assert RECORD.size == 8
    records = [Record(16, 0, -7), Record(17, 0, 250), Record(18, 1, 0)]
    data = b"".join(record.pack() for record in records)
    for size in range(1, len(data) + 1):
        reader = RecordReader()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [record for piece in pieces for record in reader.feed(piece)] == records
