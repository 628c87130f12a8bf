"""Test module and body together in simulated time: contacts, motor, focus ring."""

from __future__ import annotations

import random
import tomllib

import pytest
from helpers import module_world

from lensfw import contacts
from lenslink_hil.benches.board_profile import FIRMWARE
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
PRODUCT = tomllib.loads((FIRMWARE / "modules/ll-100.toml").read_text("utf-8"))
STOPS = PRODUCT["optics"]["stops_milli"]


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


# --- motor and ring ---------------------------------------------------------------------------


def camera_configuration():
    """Return the configuration with the shipped motor and iris."""
    return module_world.configuration() | {key: PRODUCT[key] for key in ("motor", "optics")}


def camera_world(seed=0):
    world = VirtualBody(camera_configuration(), seed, picture=gradient)
    assert world.run(world.module.is_attached, SECOND)
    return world, world.module.focus_motor


def settle(world, motor):
    assert world.run(lambda: motor.is_settled, SECOND)


def test_a_parked_lens_is_ready_40_ms_after_attaching():
    world, motor = camera_world()
    began = world.clock.us
    settle(world, motor)
    assert world.clock.us - began <= 40 * MS
    assert world.body.motor.gear == motor.position == 0
    assert abs(world.body.get_focus_mdpt(world.clock.us)) <= 2


def test_a_lens_that_was_left_anywhere_is_homed():
    for steps in (1, 500, 2080):
        world = VirtualBody(camera_configuration(), attach=False)
        world.body.motor.step(steps, 0)
        world.body.plan_contacts(make_attach_edges(1, CONSTANTS), 0)
        assert world.run(world.module.is_attached, SECOND)
        began = world.clock.us
        settle(world, world.module.focus_motor)
        assert world.clock.us - began < 330 * MS
        assert world.body.motor.gear == 0


def test_every_move_ends_within_2_mdpt_of_its_target():
    """By the plant's lens, with backlash and ringing, from either side, when it says settled."""
    chance = random.Random(3)
    world, motor = camera_world()
    settle(world, motor)
    for _ in range(200):
        wanted = chance.randrange(3301)
        motor.move_to(wanted, world.clock.us)
        settle(world, motor)
        drift = world.body.housing.get_temperature_c(world.clock.us) - 25
        found = world.body.get_focus_mdpt(world.clock.us) - drift
        # Half a step, and what still rings.
        assert abs(found - wanted) <= 0.87 + 2
        assert abs(motor.mdpt - wanted) <= 1
        # A few turns on the way must not end anywhere else.
        if chance.random() < 0.3:
            motor.move_to(chance.randrange(3301), world.clock.us)
            world.run(lambda: False, chance.randrange(60) * MS)


def test_the_position_at_mid_exposure_is_the_plants():
    world, motor = camera_world()
    settle(world, motor)
    for target in (3300, 0, 1650, 100):
        motor.move_to(target, world.clock.us)
        for _ in range(30):
            world.run(lambda: False, 10 * MS)
            said = motor.get_mdpt_at(world.clock.us)
            lens = world.body.motor.lens
            truth = world.body.motor._convert(min(max(lens, 0), 2000))
            # A step and a half of rounding: the backlash is no whole number of steps.
            assert abs(said - truth) <= 3, target


def test_lost_steps_are_found_by_homing():
    world, motor = camera_world()
    settle(world, motor)
    world.body.motor.lose_steps(30)
    motor.move_to(1590, world.clock.us)
    settle(world, motor)
    assert world.body.motor.gear == 970
    world.body.plan_contacts([(0, POWER_PINS, 0), (300 * MS, POWER_PINS, 1)], world.clock.us)
    world.run(lambda: not world.module.is_attached(), SECOND)
    assert world.run(world.module.is_attached, SECOND)
    settle(world, motor)
    assert world.body.motor.gear == motor.position == 1000


def test_the_release_button_parks_the_lens_and_closes_the_iris_before_the_contacts_open():
    world, motor = camera_world()
    motor.move_to(3300, world.clock.us)
    settle(world, motor)
    assert world.body.aperture_milli == STOPS[0]
    pressed = world.clock.us
    # A hand needs 0.3 s from the button to the contacts.
    world.body.plan_contacts([(0, RELEASE_BUTTON, 1), (400 * MS, RELEASE_BUTTON, 0)], pressed)
    edges = [(at + 300 * MS, pin, level) for at, pin, level in make_pull_off_edges(1, CONSTANTS)]
    world.body.plan_contacts(edges, pressed)
    assert world.run(lambda: world.body.motor.is_at_end_stop, 300 * MS)
    assert world.body.aperture_milli == STOPS[-1]
    assert world.module.iris.is_settled(world.clock.us)
    assert world.body.dock.state is DockState.POWERED, "the contacts are still closed"
    world.run(lambda: False, 3 * SECOND)
    assert not world.body.supply.is_up
    assert world.body.aperture_milli == STOPS[-1], "it stays closed"
    # The next attachment needs no travel.
    world.body.plan_contacts(make_attach_edges(2, CONSTANTS), world.clock.us)
    assert world.run(world.module.is_attached, SECOND)
    assert world.body.aperture_milli == STOPS[0]
    moved = world.body.motor.lost_steps
    world.run(lambda: False, 30 * MS)
    assert world.body.motor.lost_steps == moved


def test_a_false_warning_ends_after_2_s():
    world, motor = camera_world()
    motor.move_to(1590, world.clock.us)
    settle(world, motor)
    world.body.plan_contacts(
        [(0, RELEASE_BUTTON, 1), (100 * MS, RELEASE_BUTTON, 0)], world.clock.us
    )
    assert world.run(lambda: world.body.motor.is_at_end_stop, 200 * MS)
    assert world.body.aperture_milli == STOPS[-1]
    assert world.run(lambda: world.body.motor.gear == 1000, 2500 * MS)
    assert world.body.aperture_milli == STOPS[0]


def test_no_tick_of_a_minute_at_2000_a_second_is_lost():
    """In runs in both directions, while the lens moves."""
    chance = random.Random(9)
    world, _ = camera_world()
    left, total = 120_000, 0
    while left:
        ticks = min(left, chance.randint(1, 4000))
        left -= ticks
        ticks = chance.choice([-ticks, ticks])
        total += ticks
        world.body.turn_ring(ticks, world.clock.us)
    began = world.clock.us
    # The main loop of a board reads a tile between two looks, which takes 13 ms.
    while world.clock.us < began + 61 * SECOND:
        world.step()
        world.clock.us += 13 * MS
    world.step()
    assert world.body.ring_ticks == total
    assert world.module.focus_ring.position == total
