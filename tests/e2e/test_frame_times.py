"""Test the times of frames against the plant, which knows when each readout began."""

from __future__ import annotations

import json
import math
import random
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from helpers.bench_scale import Scale
from helpers.cli_process import Cli
from helpers.frame_rings import fresh_name
from helpers.nightly_scale import NIGHTLY, choose, say
from helpers.slowdown import current_slowdown

import lenslink
from lenslink import session
from lenslink.session import QUICK_HEARTBEATS
from lenslink_hil.faults.fault_plan import Direction, Fault, FaultPlan, Kind
from lenslink_hil.faults.faulty_link import FaultyTransport

EXPOSURE_US = 5000
SECONDS = choose(3, 60)
DRIFT = 100e-6
ASYMMETRY_S = 1e-3
QUEUE_S = 0.03


def drift_away(now: float) -> float:
    """Return what a clock that runs fast by DRIFT shows."""
    return now * (1 + DRIFT)


def make_uneven_ways(seed: int, slow: Direction, count: int) -> FaultPlan:
    """Return a plan with ASYMMETRY_S on one way, and queues of up to QUEUE_S on both.

    A queue begins with one packet in ten, and ends with one in three. Sessions open without one.
    """
    chance = random.Random(seed)
    faults = []
    for way in Direction:
        base_s = ASYMMETRY_S if way is slow else 0.0
        queue_s = 0.0
        for packet in range(count):
            before_s = queue_s
            if packet >= QUICK_HEARTBEATS:
                if queue_s and chance.random() < 1 / 3:
                    queue_s = 0.0
                elif not queue_s and chance.random() < 1 / 10:
                    queue_s = chance.uniform(0, QUEUE_S)
            if packet == 0 or queue_s != before_s:
                delay = Fault(Kind.LATENCY, way, 0, packet=packet, seconds=base_s + queue_s)
                faults.append(delay)
    return FaultPlan(tuple(faults), seed)


def measure(url: str, seconds: float, plan: FaultPlan) -> tuple[list[float], list[float]]:
    """Return the error of each frame's time, and the bound that was stated, in seconds."""
    errors, bounds = [], []
    with lenslink.open(url, wrap=lambda transport: FaultyTransport(transport, plan)) as module:
        plant = module._transport.inner.module  # type: ignore[attr-defined]
        module.start(exposure_us=EXPOSURE_US, interval_us=33_000)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            said = {}
            for _ in range(10):
                with module.next_frame() as frame:
                    said[frame.number] = frame.row_times[0], frame.time_error_s
            truth = dict(plant.request_report()["readouts"])
            for number, (time_s, bound_s) in said.items():
                if number in truth:
                    began_s = (truth[number] - EXPOSURE_US / 2) / 1e6
                    errors.append(abs(time_s - drift_away(began_s)))
                    bounds.append(bound_s)
        module.stop()
    return errors, bounds


@pytest.mark.usefixtures("only_sim")
@pytest.mark.timeout(choose(60, 300))
@pytest.mark.parametrize(("bench", "slow"), [("sim", Direction.UP), ("usbip", Direction.DOWN)])
def test_the_bound_covers_the_truth(bench, slow, seed, monkeypatch, record_property, capsys):
    """The host's clock drifts by 100 ppm, one way is 1 ms slower, and packets queue on both."""
    drifting = SimpleNamespace(monotonic=lambda: drift_away(time.monotonic()), sleep=time.sleep)
    monkeypatch.setattr(session, "time", drifting)
    plan = make_uneven_ways(seed, slow, 200 * SECONDS)
    errors, bounds = measure(f"{bench}:?width=64&height=64&scene=prbs", SECONDS, plan)
    covered = sum(e <= b for e, b in zip(errors, bounds, strict=True)) / len(errors)
    # The first heartbeats leave the clock less certain, as the bound says. Those few frames are
    # within the 1 % of a minute, and more than 1 % of a sample.
    known = errors if NIGHTLY else errors[10:]
    p99 = sorted(known)[math.ceil(len(known) * 0.99) - 1]
    record_property(
        "frames, p99 of the error in ms, covered", (len(errors), float(p99 * 1e3), float(covered))
    )
    say(
        capsys,
        f"{bench}: {len(errors)} frames, p99 of their times' error {p99 * 1e3:.2f} ms, "
        f"{covered:.1%} within the stated bound, the last of which is {bounds[-1] * 1e3:.2f} ms, "
        f"seed {seed}",
    )
    assert len(known) >= 20
    # On a quiet machine p99 is 1 ms. A busy one lets packets wait, more on one way than back: a few
    # frames of a sample then have a larger error, and nightly judges the share.
    assert covered >= choose(0.9, 0.99)
    judged = statistics.median(known) if not NIGHTLY else p99
    assert judged <= 0.001 * current_slowdown()


def test_a_frame_was_exposed_during_its_request(
    scene_url: Callable[..., str], scale: Scale
) -> None:
    """The times are on the clock of the bench, which is not the machine's for an emulated board."""
    with lenslink.open(scene_url(scene="prbs", **scale.size(64, 64))) as module:
        before = module.read_clock().seconds
        with module.capture(exposure_us=EXPOSURE_US) as frame:
            after = module.read_clock().seconds
            error = frame.time_error_s
            assert error <= scale.seconds(0.5) * current_slowdown()
            first = frame.row_times[0] - EXPOSURE_US / 2e6
            assert before - error <= first <= after + error


@pytest.mark.usefixtures("only_sim")
@pytest.mark.parametrize("beside_preview", [False, True])
def test_the_lag_from_press_to_exposure(beside_preview, record_property, capsys):
    """From the call to the first row's exposure, by the frame's own times."""
    interval_us = 33_333
    lags = []
    with lenslink.open("sim:?width=64&height=64&scene=prbs") as module:
        if beside_preview:
            module.start(exposure_us=10_000, interval_us=interval_us)
            module.next_frame().release()
        module.wait_for_events(5)
        for _ in range(choose(10, 200)):
            pressed = module.read_clock().seconds
            with module.capture(exposure_us=EXPOSURE_US) as frame:
                lag = frame.row_times[0] - EXPOSURE_US / 2e6 - pressed
                assert lag >= -frame.time_error_s
                lags.append(float(lag))
    lags.sort()
    median_ms, most_ms = 1e3 * lags[len(lags) // 2], 1e3 * lags[-1]
    record_property("press to exposure, ms", (median_ms, most_ms))
    beside = "beside a preview of 30 frames a second" if beside_preview else "alone"
    say(capsys, f"a still {beside} is exposed {median_ms:.1f} to {most_ms:.1f} ms after its call")
    # Of the preview it waits for the exposure under way, and for one that was chosen before.
    waits_s = 2 * interval_us / 1e6 if beside_preview else 0.0
    assert lags[len(lags) // 2] <= (0.02 + waits_s) * current_slowdown()


@pytest.mark.usefixtures("only_sim")
def test_a_reader_of_the_frame_ring_has_the_time_and_the_energy_of_the_owner():
    name = fresh_name()
    with (
        lenslink.FrameRing(name, frame_bytes=8192) as ring,
        lenslink.open("sim:?width=64&height=64&scene=prbs", ring=ring) as module,
        lenslink.FrameRingReader(name) as reader,
    ):
        module.wait_for_events(5)
        with module.capture(exposure_us=EXPOSURE_US) as mine, reader.next() as theirs:
            assert theirs.metadata == mine.metadata
            assert theirs.energy_uj == mine.energy_uj > 0
            assert 0 < theirs.time_bound_ns < 1e9
            assert theirs.row_times.tolist() == mine.row_times.tolist()


@pytest.mark.usefixtures("only_sim")
def test_the_energies_of_frames_are_of_the_counter():
    with lenslink.open("sim:?width=64&height=64&scene=prbs") as module:
        module.wait_for_events(5)
        before = module.power
        assert before.energy_uj is not None
        energies = []
        for _ in range(8):
            with module.capture(exposure_us=EXPOSURE_US) as frame:
                energies.append(frame.metadata.energy_uj)
        newest = module.power.energy_time_us
        while module.power.energy_time_us == newest:
            module.wait_for_events(5)
        after = module.power
        assert all(energies)
        assert sum(energies) <= after.energy_uj - before.energy_uj
        assert after.supply_mv > 4500
        assert after.heat.name == "NONE"


@pytest.mark.usefixtures("only_sim")
def test_a_grant_of_power():
    with lenslink.open("sim:?width=64&height=64&scene=prbs") as module:
        needs = module.power
        assert needs.budget_mw is None
        assert needs.idle_mw == 450
        assert needs.mode_mw["full"] == 1700
        with pytest.raises(lenslink.DeviceError, match="idle needs 450 of 449 mW"):
            module.grant_power(449)
        module.grant_power(1699)
        with pytest.raises(lenslink.DeviceError, match="needs 1700 of 1699 mW"):
            module.capture()
        module.grant_power(1700)
        module.capture().release()
        assert module.power.budget_mw == 1700


@pytest.mark.usefixtures("only_sim")
def test_the_command_measures_and_refuses(tmp_path):
    url = "sim:?width=64&height=64&scene=prbs"
    with Cli(tmp_path) as cli:
        report = json.loads(cli.run("power", url, "--session", "1", "--json").stdout)
        assert report["frames"] > 5
        assert report["frame_uj"] > 0 < report["still_uj"]
        assert 300 < report["preview_mw"] < 1800
        assert report["preview_hour_j"] == pytest.approx(report["preview_mw"] * 3.6, rel=0.01)
        refused = cli.run("power", url, "--budget", "1000")
        assert (refused.returncode, "needs 1700 of 1000 mW" in refused.stderr) == (10, True)
        assert cli.run("power", url, "-o", "power.txt").returncode == 2
        assert cli.files() == []
