"""Ctrl-C and time limits at random moments of any call: the session goes on, or is known to end.

After each interrupt a request is answered, or Disconnected is raised, at once. The next still is
the one that was asked for. In the end no process, lock, buffer or descriptor is left.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from helpers import nightly_scale
from helpers.cli_process import Cli
from helpers.interrupts import Interrupter, TimeLimit
from helpers.slowdown import patience
from helpers.undisturbed import Moment

import lenslink
from lenslink import Device, Disconnected, FrameStatus, LensLinkError
from lenslink.deadline import Deadline
from lenslink_hil.plant.patterns import make_pattern

pytestmark = [
    pytest.mark.usefixtures("only_sim"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks for descriptors in Linux' /proc"),
    # What an interrupt leaves to the garbage collection is closed there, and says so.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

INTERRUPTS = nightly_scale.choose(40, 2000)
# Opening takes as long as many calls: one interrupt of so many comes while a module opens.
OPENING = nightly_scale.choose(20, 10)
SIZE = "scene=prbs&width=160&height=120"
ANSWER_S = 0.2
USABLE = 0.95
# Of how long a call takes: an interrupt comes after the call's end in one case of six.
LONGEST = 1.2
LONGEST_OPENING_S = 0.6
TIMEOUT_S = 20.0


def stream_a_little(device: Device) -> None:
    with closing(device.stream(exposure_us=900)) as frames:
        for frame in itertools.islice(frames, 3):
            with frame:
                pass


def change_a_stream(device: Device) -> None:
    """Change the settings inside the loop over the frames; they come in the frame announced."""
    with closing(device.stream(exposure_us=900)) as frames:
        next(frames).release()
        first = device.set(exposure_us=700)
        for frame in frames:
            with frame:
                is_changed = frame.number >= first
                assert frame.exposure_us == (700 if is_changed else 900)
            if is_changed:
                break


CALLS: dict[str, Callable[[Device], object]] = {
    "capture": lambda device: device.capture(exposure_us=800).release(),
    "stream": stream_a_little,
    "set": change_a_stream,
    "configure": lambda device: device.configure(0, tile_bytes=2048),
    "flush": Device.flush,
    "stop": lambda device: device.stop(1),
    "manifest": lambda device: device._session.read_manifest(Deadline(TIMEOUT_S)),
}


class Session:
    """Opens modules, interrupts calls, and checks what is left of them."""

    def __init__(self, url: str, seed: int, interrupter: Interrupter) -> None:
        self.url = url
        self.chance = random.Random(seed)
        self.interrupter = interrupter
        self.counts: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.exposure_us = 1000
        self.device = self.open()

    def open(self) -> Device:
        """Open the module; wait while a served module has not noticed that the last host left."""
        deadline = Deadline(TIMEOUT_S, "opening")
        while True:
            try:
                return lenslink.open(self.url, timeout=TIMEOUT_S)
            except (lenslink.DeviceBusy, Disconnected):
                deadline.check()
                time.sleep(0.02)

    def interrupt(self, call: Callable[[], object], longest_s: float) -> float | None:
        """Call, and interrupt the call after a random time.

        Returns:
            How long the call took if the interrupt was too late, else None.
        """
        error = self.chance.choice([KeyboardInterrupt, TimeLimit])
        started = time.monotonic()
        try:
            with self.interrupter.armed(error, self.chance.uniform(0, longest_s)):
                call()
        except (KeyboardInterrupt, TimeLimit):
            self.counts["interrupted"] += 1
        except LensLinkError as other:
            # The interrupt was swallowed, or the call found the module gone.
            self.counts[type(other).__name__] += 1
        else:
            return time.monotonic() - started
        return None

    def interrupt_opening(self) -> None:
        """Close and open again; either may be interrupted."""
        self.interrupt(self.device.close, 0.01)
        self.device.close()

        def reopen() -> None:
            self.device = self.open()

        self.interrupt(reopen, LONGEST_OPENING_S)
        if not self.device._connection.is_open:
            gc.collect()
            reopen()

    def check(self) -> bool:
        """Ask for the manifest and take a still; False if the module is known to be gone."""
        began = Moment.take()
        try:
            self.device._session.read_manifest(Deadline(TIMEOUT_S))
        except Disconnected as error:
            self.counts[f"gone: {error}"] += 1
            return False
        finally:
            self.slowest_s = max(self.slowest_s, Moment.take().since(began))
        self.exposure_us += 1
        with self.device.capture(exposure_us=self.exposure_us) as frame:
            assert frame.status is FrameStatus.COMPLETE
            assert frame.exposure_us == self.exposure_us
            expected = make_pattern(
                "prbs", 160, 120, bits=12, cfa="RGGB", seed=0, frame_number=frame.number
            )
            assert np.array_equal(frame.pixels, expected)
        return True


def measure_calls(url: str) -> dict[str, float]:
    """Return how long each call takes on this bench and machine, in seconds: the median of five."""
    durations = {}
    with lenslink.open(url, timeout=TIMEOUT_S) as device:
        for name, call in CALLS.items():
            times = []
            for _ in range(5):
                start = time.monotonic()
                call(device)
                times.append(time.monotonic() - start)
            durations[name] = statistics.median(times)
    return durations


def descriptors() -> dict[str, str]:
    """Return what each of our open descriptors is."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        # That of the folder itself is closed by now.
        with contextlib.suppress(OSError):
            found[path.name] = str(path.readlink())
    return found


def children() -> set[int]:
    """Our child processes that run.

    One that has ended and was not waited for does not count: an interrupt inside of Popen() loses
    the process' number, and Python cannot wait for it then.
    """
    tasks = Path(f"/proc/self/task/{os.getpid()}/children")
    pids = [int(pid) for pid in tasks.read_text().split()]
    return {pid for pid in pids if is_running(pid)}


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state != "Z"


def settle(condition: Callable[[], bool]) -> bool:
    """Wait for processes that end by themselves."""
    end = time.monotonic() + patience(5)
    while not condition() and time.monotonic() < end:
        gc.collect()
        time.sleep(0.05)
    return condition()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("bench", ["sim", "lanes", "usbip", "shm"])
def test_an_interrupt_leaves_a_usable_or_a_closed_session(
    bench: str,
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Cli(tmp_path) as cli:
        monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(cli.runtime))
        check_bench(bench, seed, cli, capsys)


def check_bench(bench: str, seed: int, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    if bench == "shm":
        listen = f"shm:{cli.runtime}/lens"
        words = SIZE.replace("=", " ").replace("&", " --").split()
        cli.serve("--listen", listen, *(f"--{words[0]}", *words[1:]))
    url = {
        "sim": f"sim:?{SIZE}",
        "lanes": f"sim:?{SIZE}&lanes=2",
        "usbip": f"usbip:?{SIZE}",
        "shm": f"shm:{cli.runtime}/lens",
    }[bench]
    # What is made once and kept is made now.
    lenslink.open(url, timeout=TIMEOUT_S).close()
    gc.collect()
    before = children(), descriptors()
    usable = 0
    durations = measure_calls(url)
    with Interrupter().installed() as interrupter:
        session = Session(url, seed, interrupter)
        for number in range(INTERRUPTS):
            if number % OPENING == OPENING - 1:
                session.interrupt_opening()
            else:
                name = session.chance.choice(list(CALLS))
                longest_s = LONGEST * durations[name]
                took_s = session.interrupt(
                    lambda: CALLS[name](session.device),  # noqa: B023
                    longest_s,
                )
                if took_s is not None:
                    # The load of the machine changes, and how long a call takes with it.
                    durations[name] = min(took_s, durations[name])
            if session.check():
                usable += 1
            else:
                session.device.close()
                session.device = session.open()
        session.device.close()
        del session.device
    text = f"{bench}: {INTERRUPTS} calls, {usable} sessions usable, slowest answer "
    text += f"{session.slowest_s * 1000:.0f} ms, {dict(session.counts)}, seed {seed}"
    nightly_scale.say(capsys, text)
    assert session.slowest_s < patience(ANSWER_S)
    assert session.counts["interrupted"] > INTERRUPTS / 4
    assert usable >= USABLE * INTERRUPTS
    assert settle(lambda: children() <= before[0])
    settle(lambda: len(descriptors()) <= len(before[1]))
    left = descriptors()
    assert len(left) <= len(before[1]), {each: left[each] for each in left if each not in before[1]}
