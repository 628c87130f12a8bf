"""A board unplugged at random moments, at either end: noticed at once, usable after it."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from helpers.slowdown import patience

import lenslink
from lenslink import Device, Disconnected, FrameStatus
from lenslink.deadline import Deadline
from lenslink_hil.kernel import guest_boards
from lenslink_protocol.params import SILENCE_MS

# Half of the departures are noticed within the first time, and each of them before silence would
# show it. The emulated machine stands still now and then, while the host is busy.
NOTICE_S = patience(0.2)
SILENCE_S = patience(SILENCE_MS / 1000)
# Frames, and the time between them.
WINDOW_S = 0.4
PATIENCE_S = 20.0

Choose = Callable[[int, int], int]
Shown = Callable[[lenslink.Frame], np.ndarray]


def stream(device: Device, shown: Shown) -> None:
    with closing(device.stream("full")) as frames:
        for frame in frames:
            with frame:
                assert frame.status is FrameStatus.COMPLETE
                np.testing.assert_array_equal(frame.pixels, shown(frame))


def ask(device: Device, shown: Shown) -> None:
    del shown
    while True:
        device.configure(1, "full", test_only=True)


def start_and_stop(device: Device, shown: Shown) -> None:
    while True:
        with closing(device.stream("full")) as frames, next(frames) as frame:
            np.testing.assert_array_equal(frame.pixels, shown(frame))


@pytest.mark.timeout(240)
def test_unplugged_at_random_points(
    slot: guest_boards.Slot,
    seed: int,
    shown: Shown,
    choose: Choose,
    request: pytest.FixtureRequest,
) -> None:
    chance = random.Random(seed)
    unplugs = choose(20, 50)
    notice_times: dict[str, list[float]] = {"at the host": [], "by the board's end": []}
    descriptors, boots = set(), []
    for number in range(unplugs):
        url = slot.plug(guest_boards.SCENE)
        # The board keeps its supply, and does not restart, if the host's end is unplugged.
        end = "by the board's end" if number % 5 == 4 else "at the host"
        unplug_times: list[float] = []

        def unplug(end: str = end, unplug_times: list[float] = unplug_times) -> None:
            unplug_times.append(time.monotonic())
            if end == "at the host":
                slot.start_detach()
            else:
                slot.cut_supply()

        device = lenslink.open(url, timeout=PATIENCE_S)
        boots.append(device.session_info.boot_count)
        with closing(device.stream("full")) as frames, next(frames) as first:
            np.testing.assert_array_equal(first.pixels, shown(first), f"seed {seed}: {number}")
        use = chance.choice([stream, stream, ask, start_and_stop])
        timer = threading.Timer(chance.uniform(0, WINDOW_S), unplug)
        timer.start()
        try:
            with pytest.raises(Disconnected) as caught, device:
                use(device, shown)
            notice_times[end].append(time.monotonic() - unplug_times[0])
        finally:
            timer.join()
        assert "no sign of life" not in str(caught.value), f"seed {seed}: {number}"
        with pytest.raises(Disconnected):
            device.configure()
        slot.wait_until_free()
        descriptors.add(len(list(Path("/proc/self/fd").iterdir())))
    times = [each for some in notice_times.values() for each in some]
    for end, some in notice_times.items():
        ordered = sorted(1000 * each for each in some)
        text = f"{len(some)}: {ordered[len(some) // 2]:.0f} ms, at worst {ordered[-1]:.0f} ms"
        request.node.user_properties.append((f"unplugged {end} (seed {seed})", text))
    assert len(times) == unplugs
    assert statistics.median(times) < NOTICE_S, f"seed {seed}: {notice_times}"
    assert max(times) < SILENCE_S, f"seed {seed}: {notice_times}"
    # The board restarts only if its supply was cut.
    assert boots[-1] == boots[0] + len(notice_times["by the board's end"]) - 1
    assert len(descriptors) <= 2, "descriptors grow"
    assert not Path("/dev/ttyACM1").exists(), "an old port is still there"


def test_the_first_call_after_an_unplug_raises(slot: guest_boards.Slot, url: str) -> None:
    """The call may be a request, a write, or a read of frames received before."""
    for call in ("configure", "send", "frame"):
        slot.plug(guest_boards.SCENE)
        with lenslink.open(url, timeout=PATIENCE_S) as device:
            frames = device.stream("full")
            next(frames).release()
            slot.start_detach()
            slot.wait_until_free()
            start = time.monotonic()
            with pytest.raises(Disconnected, match="unplugged"):
                if call == "configure":
                    device.configure()
                elif call == "send":
                    while True:
                        device._transport.send(bytes(64), Deadline(1.0))
                else:
                    for frame in frames:
                        frame.release()
            assert time.monotonic() - start < SILENCE_S
