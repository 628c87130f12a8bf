"""Test energy, budget and heat of module and body together, in simulated time."""

from __future__ import annotations

import math
import random
import tomllib

import pytest
from helpers import module_world

from lensfw import heat, wire
from lenslink_hil.benches.board_profile import FIRMWARE
from lenslink_hil.plant.body_constants import load_body_constants
from lenslink_hil.virtual_body import VirtualBody

MS = 1000
SECOND = 1_000_000
HEAT = load_body_constants().heat
LIMIT_C = 44.0
FULL_W, IDLE_W = 1.4, 0.15
PREVIEW, SMALL = 0, 1


class Session:
    """A host that streams, keeps its session alive, and notes what the module announces."""

    def __init__(self, seed: int = 0, readout_us: int = 400 * MS) -> None:
        shipped = tomllib.loads((FIRMWARE / "modules/ll-100.toml").read_text("utf-8"))
        # A frame is one tile, so that an hour has few steps.
        configuration = module_world.configuration(tile_bytes=512) | {
            "motor": shipped["motor"],
            "power": shipped["power"],
        }
        rows = bytes(module_world.gradient(0, SMALL))
        self.world = VirtualBody(
            configuration, seed, picture=lambda number: rows, readout_us=readout_us
        )
        self.notices: list[tuple[int, int, int]] = []
        """When, the heat state, and the milliseconds announced."""
        self.hottest_c = 0.0
        self._host = module_world.Peer(self.world.module, self.world.clock)
        self._beat_us = 0
        assert self.world.run(self.world.module.is_attached, SECOND)

    def open(self) -> None:
        self._host.hello()
        self._host.grant()
        self.send(wire.T_CONFIGURE, 2, (PREVIEW, 0, SMALL, 0, 0))

    def stream(self, number: int = 3) -> None:
        self.send(wire.T_STREAM, number, (PREVIEW, 0, 0, 0))

    def send(self, kind: int, number: int, values: tuple[int, ...]) -> list[int]:
        return module_world.kinds(self._host.send(kind, number, values))

    @property
    def frames(self) -> int:
        return self.world.ports.readouts

    def run(self, seconds: float) -> None:
        """Let time pass, with a heartbeat every 0.25 s."""
        world = self.world
        end_us = world.clock.us + round(seconds * 1e6)
        while world.clock.us < end_us:
            world.step()
            now_us = world.clock.us
            for header, payload in self._host.collect():
                if header[2] == wire.T_NOTICE:
                    reason, _, within_ms = wire.decode(wire.T_NOTICE, payload)
                    assert reason == wire.NOTICE_HEAT
                    self.notices.append((now_us, world.module.heat.state, within_ms))
                assert header[2] != wire.T_CLOSE
            if now_us >= self._beat_us:
                self._beat_us = now_us + 250 * MS
                self._host.grant()
                self._host.heard.clear()
                self.hottest_c = max(self.hottest_c, world.body.housing.get_temperature_c(now_us))
            world.clock.us = min(world.get_next_us(), end_us, self._beat_us)


def read_gauge(session):
    """Let the module count up to now. It samples the gauge every 100 ms by itself."""
    session.world.module.power.meter.poll()
    session.world.step()


def assert_energy_adds_up(session):
    """The parts are the whole, and the whole is the plant's integral within 0.1 %."""
    world, meter = session.world, session.world.module.power.meter
    read_gauge(session)
    world.body.supply.update(world.clock.us)
    truth = world.body.supply.energy_uj
    parts = meter.frames.microjoules + meter.idle.microjoules + meter.open_uj
    assert parts == meter.microjoules
    low, high = meter.get_words()
    assert (high << 32) + low == parts
    assert parts == pytest.approx(truth, rel=1e-3)
    return parts


@pytest.mark.parametrize("seed", range(3))
def test_energy_is_that_of_the_plant(seed):
    """Frames, pauses, moves of the lens, and changes of the supply, at random."""
    chance = random.Random(seed)
    session = Session(seed, readout_us=chance.choice([20, 100, 400]) * MS)
    session.open()
    module = session.world.module
    frames_uj = []
    for number in range(3, 60):
        act = chance.randrange(4)
        if act == 0:
            frames = chance.randint(1, 4)
            session.send(wire.T_CAPTURE, number, (PREVIEW, 0, frames))
        elif act == 1:
            module.focus_motor.move_to(chance.randrange(3300), session.world.clock.us)
        elif act == 2:
            session.world.body.set_supply_mv(chance.randint(4700, 5300), session.world.clock.us)
        session.run(chance.uniform(0.05, 2))
        frames_uj.append(module.power.meter.frames.microjoules)
    session.run(3)
    assert_energy_adds_up(session)
    assert frames_uj == sorted(frames_uj)
    assert module.power.meter.frames.microjoules > module.power.meter.last_frame_uj > 0


def test_a_frame_has_the_energy_of_its_readout():
    session = Session(readout_us=400 * MS)
    session.open()
    session.run(1)
    meter = session.world.module.power.meter
    read_gauge(session)
    frames, idle = meter.frames.microjoules, meter.idle.microjoules
    session.send(wire.T_CAPTURE, 3, (PREVIEW, 0, 1))
    session.run(2)
    read_gauge(session)
    # 1.4 W for 0.4 s, then 0.15 W. The load is whole milliamperes.
    assert meter.frames.microjoules - frames == meter.last_frame_uj
    assert meter.last_frame_uj == pytest.approx(560_000, rel=0.01)
    assert meter.idle.microjoules - idle == pytest.approx(240_000, rel=0.03)


def test_the_module_never_draws_above_its_budget():
    session = Session()
    session.open()
    world = session.world
    for budget in (500, 1699, 1700, 450):
        assert world.module.set_budget(budget) is not None
        world.body.supply.peak_mw = 0.0
        number = 10 + budget
        answer = session.send(wire.T_STREAM, number, (PREVIEW, 0, 0, 0))
        is_allowed = budget >= 1700
        assert (wire.T_ERROR in answer) is not is_allowed
        world.module.focus_motor.move_to(3300 * (budget % 2), world.clock.us)
        session.run(5)
        # Besides the motor's 0.3 W, which the plant counts by the step.
        assert world.body.supply.peak_mw + 300 <= budget + 1
        assert (world.body.supply.peak_mw > 1000) is is_allowed


def compute_optimal_frames(seconds, ambient_c, frame_s):
    """Return the frames of a schedule that knows the housing, in closed form.

    It runs at full rate until the housing has LIMIT_C, and then with the power that holds it there.
    """
    start_k = IDLE_W * HEAT.resistance_k_w
    end_k, final_k = LIMIT_C - ambient_c, FULL_W * HEAT.resistance_k_w
    full_s = HEAT.time_constant_s * math.log((final_k - start_k) / (final_k - end_k))
    duty = (end_k / HEAT.resistance_k_w - IDLE_W) / (FULL_W - IDLE_W)
    return (full_s + duty * (seconds - full_s)) / frame_s


def test_a_soak_of_30_minutes_at_35_degrees(record_property):
    session = Session(readout_us=400 * MS)
    world = session.world
    world.body.housing.set_ambient(35.0, world.clock.us)
    world.body.housing.settle(IDLE_W, world.clock.us)
    session.open()
    began, before = world.clock.us, session.frames
    session.stream()
    session.run(1800)
    assert world.clock.us - began == 1800 * SECOND
    delivered = session.frames - before
    optimal = compute_optimal_frames(1800, 35.0, 0.4)
    record_property("frames in 30 minutes at 35 degC", (delivered, round(optimal)))
    assert session.hottest_c <= LIMIT_C
    assert session.hottest_c > 43
    assert delivered <= optimal
    assert delivered >= 0.85 * optimal
    # It is throttled in steps, and each was announced a second before.
    states = [state for _, state, _ in session.notices]
    assert states[:3] == [heat.MODERATE, heat.SEVERE, heat.CRITICAL]
    assert {within for _, _, within in session.notices} == {1000}
    assert_energy_adds_up(session)
    # 20 degrees: back at full rate within 10 minutes.
    world.body.housing.set_ambient(20.0, world.clock.us)
    session.run(600)
    assert world.module.heat.state <= heat.LIGHT
    before = session.frames
    session.run(20)
    assert session.frames - before == 50


def test_steps_bite_no_earlier_than_announced():
    """The intervals of frames around each step."""
    session = Session(readout_us=40 * MS)
    world = session.world
    session.open()
    session.stream()
    session.run(2)
    for degrees, period in ((43.0, 1.5), (43.6, 2.0), (43.85, 4.0)):
        factor = {43.0: 1.0, 43.6: 1.5, 43.85: 2.0}[degrees]
        world.body.housing._rise_k = degrees - 25.0
        session.notices.clear()
        while not session.notices:
            session.run(0.02)
        before = session.frames
        session.run(0.9)
        assert session.frames - before >= 0.9 / (0.042 * factor) - 2
        session.run(0.5)
        before = session.frames
        world.body.housing._rise_k = degrees - 25.0
        session.run(1.6)
        assert session.frames - before <= 1.6 / (0.04 * period) + 1


def test_an_emergency_stops_the_frames_and_lets_the_stream_go_on():
    session = Session(readout_us=40 * MS)
    world = session.world
    session.open()
    session.stream()
    world.body.housing._rise_k = 44.2 - 25.0
    session.run(1.5)
    before = session.frames
    session.run(1)
    assert session.frames == before
    assert world.body.supply.get_load_ma() < 35
    world.body.housing._rise_k = 30.0 - 25.0
    session.run(1)
    assert session.frames >= before + 20
