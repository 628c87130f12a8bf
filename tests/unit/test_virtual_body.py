"""Test module and body together in simulated time: attaching, half-seated, wet, shorted."""

from __future__ import annotations

import random

import pytest
from helpers import module_world

from lensfw import contacts
from lenslink_hil.plant.body_constants import load_body_constants
from lenslink_hil.plant.dock import DockState
from lenslink_hil.plant.pin_records import DETECT_PIN, POWER_PINS, RELEASE_BUTTON
from lenslink_hil.plant.spring_contacts import (
    SHORT,
    WATER,
    make_attach_edges,
    make_pull_off_edges,
)
from lenslink_hil.virtual_body import VirtualBody

CONSTANTS = load_body_constants()
MS = 1000
SECOND = 1_000_000
ATTACHMENTS = 200


def gradient(number):
    return bytes(module_world.gradient(number, 1))


def make_world(seed=0, *, attach=False, **options):
    return VirtualBody(
        module_world.configuration(), seed, picture=gradient, attach=attach, **options
    )


def attached(seed=0):
    world = make_world(seed, attach=True)
    assert world.run(world.module.is_attached, SECOND)
    return world


def test_every_attachment_is_reported_in_time(record_property):
    """Stable contact to the module's answer, for any speed, bounce and clean resistance."""
    chance = random.Random(12)
    delays = []
    world = make_world()
    for seed in range(ATTACHMENTS):
        now = world.clock.us
        speed = chance.choice([3, 30, 100, 300])
        world.body.set_contact_mohm(chance.randint(10, 200), now)
        edges = make_attach_edges(seed, CONSTANTS, speed)
        world.body.plan_contacts(edges, now)
        stable = now + max(at for at, _, _ in edges)
        assert world.run(world.module.is_attached, SECOND), seed
        delays.append(world.clock.us - stable)
        # Never before the dock has tested, and never without a good supply.
        assert world.body.dock.state is DockState.POWERED
        assert world.body.supply.get_voltage_mv() > 4600
        edges = make_pull_off_edges(seed, CONSTANTS, speed)
        world.body.plan_contacts(edges, world.clock.us)
        assert world.run(lambda: world.body.dock.state is DockState.EMPTY, SECOND), seed
        assert world.run(lambda: world.module.contacts.state == contacts.DETACHED, SECOND)
    record_property("attached after stable contact, us", (min(delays), max(delays)))
    assert max(delays) <= 100 * MS
    # 20 ms of the dock, its test, 20 ms of the module's debounce.
    assert min(delays) >= 42 * MS


@pytest.mark.parametrize("pin", [POWER_PINS, DETECT_PIN])
def test_half_seated_is_named_by_the_dock(pin):
    world = make_world()
    world.body.plan_contacts([(0, pin, 1)], 0)
    assert world.run(lambda: world.body.dock.state is DockState.HALF_SEATED, SECOND)
    assert world.clock.us == 20 * MS
    assert not world.run(world.module.is_attached, SECOND)
    world.body.plan_contacts([(0, POWER_PINS + DETECT_PIN - pin, 1)], world.clock.us)
    assert world.run(world.module.is_attached, 100 * MS)


def test_half_seated_is_named_by_the_module_while_it_has_power():
    world = attached()
    world.body.plan_contacts([(0, DETECT_PIN, 0)], world.clock.us)
    assert world.run(lambda: world.module.contacts.state == contacts.HALF_SEATED, 26 * MS)
    assert world.body.dock.state is DockState.HOLDING
    assert world.run(lambda: world.module.contacts.state == contacts.DETACHED, 300 * MS)
    assert world.body.dock.state is DockState.HALF_SEATED


@pytest.mark.parametrize(("contact", "state"), [(SHORT, DockState.SHORTED), (WATER, DockState.WET)])
def test_what_is_wrong_before_power_is_named_by_the_dock(contact, state):
    world = make_world()
    world.body.plan_contacts([(0, contact, 1)], 0)
    world.body.plan_contacts(make_attach_edges(1, CONSTANTS), 0)
    assert world.run(lambda: world.body.dock.state is state, 100 * MS)
    assert not world.run(world.module.is_attached, SECOND)
    assert world.body.supply.peak_mw == 0
    world.body.plan_contacts([(0, contact, 0)], world.clock.us)
    assert world.run(world.module.is_attached, SECOND)


def test_water_in_operation_is_named_by_both():
    world = attached()
    world.body.plan_contacts([(0, WATER, 1)], world.clock.us)
    assert world.run(lambda: world.module.contacts.state == contacts.WET, 250 * MS)
    assert not world.body.supply.is_up
    assert world.run(lambda: world.body.dock.state is DockState.WET, 5 * MS)
    assert not world.run(world.module.is_attached, 2 * SECOND)
    world.body.plan_contacts([(0, WATER, 0)], world.clock.us)
    assert world.run(world.module.is_attached, SECOND)


@pytest.mark.parametrize("is_streaming", [False, True])
def test_a_short_cuts_the_power_within_5_ms(is_streaming):
    """On the plant's clock: by the dock's hardware, and by the module at the first edge."""
    chance = random.Random(5)
    world = attached()
    host = module_world.Peer(world.module, world.clock)
    for _ in range(50):
        world.module.power.set_active(is_streaming)
        # At any moment between two samples of the supply.
        world.clock.us += chance.randrange(100 * MS)
        world.step()
        short = world.clock.us
        world.body.plan_contacts([(0, SHORT, 1)], short)
        world.ports.switch_actions.clear()
        world.step()
        assert world.ports.switch_actions == [(short, False)]
        assert world.module.contacts.state == contacts.SHORTED
        assert world.body.supply.get_load_ma() == 0
        assert world.run(lambda: world.body.dock.state is DockState.SHORTED, 5 * MS)
        assert world.body.dock.last_cut_us - short <= 5 * MS
        world.body.plan_contacts([(0, SHORT, 0)], world.clock.us)
        assert world.run(lambda: world.body.dock.state is DockState.POWERED, SECOND)
        assert world.run(world.module.is_attached, SECOND)
    assert host.hello() != [], "no session needs a hand"


def test_interruptions_of_any_length_heal():
    chance = random.Random(1)
    world = attached()
    for _ in range(200):
        pin, gap = chance.choice([POWER_PINS, DETECT_PIN]), chance.randint(1, 200) * MS
        world.body.plan_contacts([(0, pin, 0), (gap, pin, 1)], world.clock.us)
        world.run(lambda: False, gap + chance.randrange(50 * MS))
        assert world.run(world.module.is_attached, 200 * MS), (pin, gap)
        assert world.body.dock.state is DockState.POWERED


def test_the_release_button_is_an_early_warning():
    world = attached()
    host = module_world.Peer(world.module, world.clock)
    host.hello()
    world.body.plan_contacts([(0, RELEASE_BUTTON, 1)], world.clock.us)
    world.ports.advance()
    said = host.turn()
    assert module_world.only(said, module_world.wire.T_NOTICE)[0] == 1
    assert world.module.is_attached()
