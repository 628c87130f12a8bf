"""Starts, stops, openings and interrupted contacts without end: both sides end where they began.

Descriptors, threads, processes and memory, of the host and of the module's two processes.
"""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers import bench_scale
from helpers.discards import count_discards
from helpers.nightly_scale import choose, say
from helpers.slowdown import patience

import lenslink
from lenslink import Device, FrameStatus
from lenslink.deadline import Deadline
from lenslink_hil.plant.patterns import make_pattern
from lenslink_hil.plant.pin_records import DETECT_PIN, POWER_PINS

STARTS = choose(40, 1000)
OPENINGS = choose(5, 100)
INTERRUPTIONS = choose(20, 1000)
# A board's heap, which is so small that a module that leaks runs out of it. MicroPython touches all
# of its heap before it collects what is free: a large one only seems to grow.
SIZE = {"scene": "prbs", "width": 64, "height": 64, "board": "pico"}
# Allocators keep some of what they were given back.
GROWTH_KB = 4096
SETTLED_S = patience(0.06)

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks into Linux' /proc"),
    pytest.mark.timeout(choose(180, 3600)),
]


@dataclass(frozen=True)
class Use:
    """What a process holds."""

    descriptors: int
    threads: int
    memory_kb: int

    @classmethod
    def of(cls, pid: int | str) -> Use:
        folder = Path(f"/proc/{pid}")
        status = dict(
            line.split(":", 1) for line in (folder / "status").read_text("ascii").splitlines()
        )
        return cls(
            len(list((folder / "fd").iterdir())),
            int(status["Threads"]),
            int(status["VmRSS"].split()[0]),
        )

    def assert_no_more_than(self, before: Use, what: str) -> None:
        assert self.descriptors == before.descriptors, what
        assert self.threads == before.threads, what
        assert self.memory_kb <= before.memory_kb + GROWTH_KB, what


def both_sides(device: Device) -> dict[str, Use]:
    gc.collect()
    others = bench_scale.processes_of(device._session._transport.module)
    return {name: Use.of(pid) for name, pid in (("host", "self"), *others.items())}


def assert_even(after: dict[str, Use], before: dict[str, Use]) -> None:
    for name, use in after.items():
        use.assert_no_more_than(before[name], f"{name}: {before[name]}, then {use}")


def children() -> int:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    return len(text.split())


def one_frame(device: Device) -> None:
    with closing(device.stream("full")) as frames, next(frames) as frame:
        assert frame.status is FrameStatus.COMPLETE
        expected = make_pattern(
            "prbs", 64, 64, bits=12, cfa=frame.cfa, frame_number=frame.number, seed=0
        )
        assert np.array_equal(frame.pixels, expected)


def one_frame_once_seated(device: Device, scale: bench_scale.Scale) -> None:
    """Take a frame when the module's contacts are closed for it too: its clock may lag ours."""
    deadline = Deadline(patience(scale.seconds(5)), "the contacts")
    while True:
        try:
            one_frame(device)
        except lenslink.Disconnected:
            device.renew(timeout=deadline.remaining())
        except lenslink.DeviceError as error:
            assert "supply" in str(error), error
            deadline.check()
            time.sleep(0.005)
        else:
            return


def test_starts_and_stops(
    own_url: Callable[..., str], scale: bench_scale.Scale, capsys: pytest.CaptureFixture[str]
) -> None:
    starts = scale.count(STARTS)
    with lenslink.open(own_url(**SIZE)) as device:
        for _ in range(20):
            one_frame(device)
        before = both_sides(device)
        began = time.monotonic()
        for _ in range(starts):
            one_frame(device)
        passed = time.monotonic() - began
        assert_even(both_sides(device), before)
        session = device._session
        assert not session.frames.finished_frames
        assert not session.frames._open
        assert not count_discards(device.stats, scale.repeated)
    say(capsys, f"{starts} starts and stops in {passed:.1f} s")


def test_openings(
    own_url: Callable[..., str], scale: bench_scale.Scale, capsys: pytest.CaptureFixture[str]
) -> None:
    openings = scale.count(OPENINGS)
    url = own_url(**SIZE)
    for _ in range(3):
        with lenslink.open(url) as device:
            one_frame(device)
    gc.collect()
    before, processes, threads = Use.of("self"), children(), threading.active_count()
    began = time.monotonic()
    for _ in range(openings):
        with lenslink.open(url) as device:
            one_frame(device)
    passed = time.monotonic() - began
    gc.collect()
    Use.of("self").assert_no_more_than(before, "host")
    assert children() == processes
    assert threading.active_count() == threads
    say(capsys, f"{openings} openings in {passed:.1f} s")


def test_interrupted_contacts(
    own_url: Callable[..., str],
    scale: bench_scale.Scale,
    seed: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """1 to 200 ms, either pin, at any moment of a stream: no corrupt frame, and nothing left."""
    chance = random.Random(seed)
    frames_seen = renewals = 0
    interruptions = scale.count(INTERRUPTIONS)
    with lenslink.open(own_url(**SIZE)) as device:
        plant = device._session._transport.module

        def interrupt() -> None:
            nonlocal frames_seen, renewals
            gap_us = chance.randint(1000, 200_000)
            delay_us = chance.randint(0, 5000)
            pin = chance.choice([POWER_PINS, DETECT_PIN])
            plant.command(contacts=[[delay_us, pin, 0], [delay_us + gap_us, pin, 1]])
            over = time.monotonic() + scale.seconds((delay_us + gap_us) / 1e6 + SETTLED_S)
            while time.monotonic() < over:
                try:
                    with closing(
                        device.stream("full", timeout=patience(scale.seconds(5)))
                    ) as frames:
                        for frame in frames:
                            with frame:
                                frames_seen += 1
                                assert_covered_is_right(frame)
                            if time.monotonic() >= over:
                                break
                except lenslink.Disconnected:
                    renewals += 1
                    device.renew(timeout=patience(scale.seconds(5)))
                except lenslink.DeviceError as error:
                    # Half-seated: the module answers, and says that it has no supply.
                    assert "supply" in str(error), error
                    time.sleep(0.005)

        for _ in range(5):
            interrupt()
        one_frame_once_seated(device, scale)
        before = both_sides(device)
        began = time.monotonic()
        for _ in range(interruptions):
            interrupt()
        one_frame_once_seated(device, scale)
        passed = time.monotonic() - began
        assert_even(both_sides(device), before)
    assert renewals > interruptions // 2
    say(
        capsys,
        f"{interruptions} interruptions, {renewals} sessions, {frames_seen} frames, "
        f"{passed:.0f} s, seed {seed}",
    )


def assert_covered_is_right(frame: lenslink.Frame) -> None:
    expected = make_pattern(
        "prbs", 64, 64, bits=12, cfa=frame.cfa, frame_number=frame.number, seed=0
    )
    mask = frame.mask
    assert np.array_equal(frame.pixels[mask], expected[mask])
