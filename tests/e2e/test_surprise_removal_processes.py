"""The module's process is killed at byte N of a session, in either direction.

The host must know within 200 ms, let go of everything, and the next module must open.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from helpers import bench_scale
from helpers.nightly_scale import choose, say
from helpers.slowdown import patience
from helpers.undisturbed import Moment

import lenslink
from lenslink import Device, FrameStatus
from lenslink.transports.base import Transport
from lenslink_hil.faults.fault_plan import Direction, Fault, FaultPlan, Kind, Plug
from lenslink_hil.faults.faulty_link import FaultyTransport
from lenslink_protocol.ids import ModeUse

OFFSETS = choose(10, 200)
KNOWN_S = patience(0.2)
# A session that ends before the offset is reached counts for nothing.
MOST_SESSIONS = 3
FRAMES = 2
SIZE = {"scene": "prbs", "width": 64, "height": 64}


class LetGo(FaultyTransport):
    """Notes when the driver lets go of it; ending a bench's processes then takes its time."""

    at: Moment | None = None

    def close(self) -> None:
        self.at = self.at or Moment.take()
        super().close()


class SurpriseRemoval:
    """Kills the firmware once the plan says so, and notes when."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self.plug = Plug(self._kill)
        self.killed: Moment | None = None
        self.faulty: LetGo | None = None

    def __call__(self, transport: Transport) -> Transport:
        self._module = transport.module
        self.faulty = LetGo(transport, self.plan, plug=self.plug)
        return self.faulty

    def _kill(self) -> None:
        self.killed = Moment.take()
        bench_scale.cut_supply(self._module)


def session(device: Device) -> None:
    """Two frames and a control."""
    with closing(device.stream()) as frames:
        for frame in itertools.islice(frames, FRAMES):
            with frame:
                assert frame.status is FrameStatus.COMPLETE
    device.configure(1, device.find_mode(None, ModeUse.STILL).name, test_only=True)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
@pytest.mark.timeout(choose(120, 1200))
def test_a_yank_at_sampled_bytes(
    own_url: Callable[..., str],
    scale: bench_scale.Scale,
    seed: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = own_url(**SIZE)
    whole = SurpriseRemoval(FaultPlan())
    with lenslink.open(url, wrap=whole) as device:
        session(device)
    assert whole.faulty is not None
    lengths = {
        Direction.UP: whole.faulty.up.position,
        Direction.DOWN: whole.faulty.down.position,
    }
    chance = random.Random(seed)
    # What earlier tests left to the collector must not go while we count.
    gc.collect()
    before = descriptors()
    # Other tests' helpers may live as long as the whole run.
    others = set(children())
    known = []
    began = time.monotonic()
    offsets = scale.count(OFFSETS)
    for index in range(MOST_SESSIONS * offsets):
        if len(known) == offsets:
            break
        direction = Direction.DOWN if index % 4 == 0 else Direction.UP
        plan = FaultPlan((Fault(Kind.UNPLUG, direction, chance.randrange(lengths[direction])),))
        surprise_removal = SurpriseRemoval(plan)
        try:
            with lenslink.open(url, wrap=surprise_removal, timeout=scale.seconds(5)) as device:
                session(device)
                # A stream sends at least as much as it did; answers may come in another order.
                device.flush()
        except lenslink.Disconnected:
            assert surprise_removal.killed is not None, plan.to_json()
            assert surprise_removal.faulty is not None and surprise_removal.faulty.at is not None
            known.append(surprise_removal.faulty.at.since(surprise_removal.killed))
            assert known[-1] < KNOWN_S, plan.to_json()
        else:
            assert not surprise_removal.plug.is_pulled, plan.to_json()
            # The session was shorter than the first: a busy host stops its stream later.
            assert surprise_removal.faulty is not None
            sent = {
                Direction.UP: surprise_removal.faulty.up,
                Direction.DOWN: surprise_removal.faulty.down,
            }
            lengths[direction] = min(lengths[direction], sent[direction].position)
        assert descriptors() == before, plan.to_json()
        assert set(children()) <= others, plan.to_json()
    # The last one that opens does all that the first did.
    with lenslink.open(url) as device:
        session(device)
    assert len(known) == offsets
    say(
        capsys,
        f"{len(known)} surprise removals at {offsets} offsets (seed {seed}): known after "
        f"{1000 * sorted(known)[len(known) // 2]:.0f} ms, at worst {1000 * max(known):.0f} ms; "
        f"{time.monotonic() - began:.0f} s",
    )


def children() -> list[int]:
    """Our child processes, ended ones that nobody waited for too."""
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    return [int(pid) for pid in text.split()]
