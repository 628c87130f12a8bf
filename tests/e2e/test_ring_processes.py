"""Test frame rings between processes: a receiving writer, readers in Python and C, and killed ones.

The writer is ``lenslink stream -o ring:NAME``. The readers are ``lenslink ring``, the C example,
and this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.cli_process import Cli, assert_gone, children, finish, firmware, objects
from helpers.frame_rings import fresh_name
from helpers.nightly_scale import choose, say
from helpers.slowdown import patience
from helpers.undisturbed import Moment

import lenslink
from lenslink import FrameRing, FrameRingReader, FrameStatus, SharedFrame
from lenslink.cli.doctor import _check_frame_rings
from lenslink.errors import Disconnected, Timeout
from lenslink.frame_ring import segment
from lenslink_hil.plant.patterns import make_pattern

MOMENTS = choose(2, 50)
MOMENT_S = 0.1
NOTICED_S = patience(1.0)
PATIENCE_S = patience(30.0)
TRIES = 5


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with Cli(tmp_path) as processes:
        yield processes


@pytest.fixture
def name() -> Iterator[str]:
    """Yield a ring's name, and check that nothing of that name is left."""
    name = fresh_name()
    yield name
    assert not segment.path_of(name).exists(), "a ring was left in shared memory"


@pytest.fixture(scope="module")
def ring_sum(tool: Callable[[str], str], root: Path, tmp_path_factory) -> Path:
    """Compile the C example with strict warnings."""
    program = tmp_path_factory.mktemp("c") / "ring_sum"
    source = root / "host/lenslink/frame_ring/lenslink_ring_sum.c"
    flags = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2"]
    subprocess.run([tool("gcc"), *flags, str(source), "-o", str(program)], check=True)
    return program


def oracle(frame: SharedFrame, scene: str, seed: int = 0) -> np.ndarray:
    size = (frame.width, frame.height)
    about = {"bits": frame.bits, "cfa": frame.cfa, "seed": seed, "frame_number": frame.number}
    return make_pattern(scene, *size, **about)


def until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds: another process needs a moment."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.002)


# --- pixels ------------------------------------------------------------------------------------


def test_readers_see_exactly_what_the_writer_received(own_url, name: str, ring_sum: Path):
    """Zero-copy views in two processes and in C equal the oracle; dropped frames are counted."""
    url = own_url(scene="prbs", width=640, height=480, seed=3)
    sums = []
    with FrameRing(name, 8) as ring:
        c = _start_c(ring_sum, name, "every")
        assert next(c) == "ready"
        with FrameRingReader(name, "every") as reader, lenslink.open(url, ring=ring) as device:
            stream = device.stream()
            for _ in range(20):
                with next(stream) as frame:
                    with reader.next() as seen:
                        assert np.array_equal(seen.pixels, frame.pixels)
                        assert np.array_equal(seen.pixels, oracle(seen, "prbs", 3))
                        assert seen.number == frame.number
                        assert seen.nonce == frame.nonce == device.nonce
                        assert seen.metadata == frame.metadata
                        assert seen.active_area == frame.active_area
                        assert seen.status is frame.status is FrameStatus.COMPLETE
                    assert not frame.packed.flags.writeable
                    sums.append((frame.number, zlib.adler32(frame.packed)))
            stream.close()
            with device.capture() as still, reader.next() as seen:
                assert seen.stream == still.stream == 1
                assert seen.metadata == still.metadata
                assert np.array_equal(seen.pixels, still.pixels)
                sums.append((still.number, zlib.adler32(still.packed)))
            assert (reader.delivered_frames, reader.dropped_frames) == (21, 0)
    lines = list(c)
    assert lines[-1].startswith("taken ")
    found = {int(line[2]): int(line[6], 16) for line in map(str.split, lines[:-1])}
    dropped = int(lines[-1].split()[5])
    missing = [number for number, value in sums if found.get(number) != value]
    assert len(missing) <= dropped, (missing, lines)
    assert len(found) >= 21 - dropped


def _start_c(program: Path, name: str, *options: str) -> Iterator[str]:
    """Yield the lines of the C reader; the first comes once it reads."""
    path = segment.path_of(name)

    def lines() -> Iterator[str]:
        arguments = [str(program), str(path), *options]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            yield from (line.strip() for line in process.stdout)
            assert process.wait(PATIENCE_S) == 0

    return lines()


def test_c_reads_rows_as_they_arrive(own_url, name: str, ring_sum: Path):
    url = own_url(scene="ramp", width=2048, height=1536)
    with FrameRing(name) as ring, lenslink.open(url, ring=ring) as device:
        c = _start_c(ring_sum, name, "every", "early")
        assert next(c) == "ready"
        with device.capture("full") as frame:
            expected = zlib.adler32(frame.packed)
        line = next(c).split()
        assert int(line[6], 16) == expected
        assert int(line[5]) == 0
        assert 0 < int(line[7]) < int(line[4]), "the last row was on the wire"
        ring.close()
        assert list(c)[-1].startswith("taken 1 ")


def test_an_isp_starts_before_the_last_row_has_arrived(own_url, name: str):
    """Rows are correct while the writer still waits for the frame in another thread."""
    url = own_url(scene="ramp", width=2048, height=1536)
    taken: list = []
    with (
        FrameRing(name) as ring,
        lenslink.open(url, ring=ring) as device,
        FrameRingReader(name, early=True) as reader,
    ):

        def capture() -> None:
            with device.capture("full") as frame:
                taken.append(frame.status)

        thread = threading.Thread(target=capture)
        thread.start()
        try:
            with reader.next() as frame:
                first = frame.rows_ready
                assert 0 < first < frame.height
                early = frame.pixels.copy()
                seen = [first]
                while seen[-1] < frame.height:
                    seen.append(frame.wait_rows(seen[-1] + 1))
                    expected = oracle(frame, "ramp")[: seen[-1]]
                    assert np.array_equal(frame.pixels[: seen[-1]], expected)
                frame.wait()
                assert np.array_equal(early, frame.pixels[: len(early)])
                assert np.array_equal(frame.pixels, oracle(frame, "ramp"))
                assert len(seen) > 3
                assert frame.begin_ns <= frame.first_rows_ns < frame.end_ns
        finally:
            thread.join()
    assert taken == [FrameStatus.COMPLETE]


def test_missing_rows_show_no_other_frame(own_url, name: str):
    """With a lossy link into slots that are full of old pixels, missing bytes are 0."""
    from lenslink_hil.faults.fault_plan import Direction, Fault, FaultPlan, Kind
    from lenslink_hil.faults.faulty_link import FaultyTransport

    url = own_url(scene="prbs", width=640, height=480, seed=9)
    plan = FaultPlan(
        [Fault(Kind.FLIP, Direction.UP, 2_000_000 + 150_000 * index) for index in range(40)]
    )
    incomplete = 0
    with (
        FrameRing(name, 4) as ring,
        FrameRingReader(name, "every") as reader,
        lenslink.open(
            url, ring=ring, wrap=lambda transport: FaultyTransport(transport, plan)
        ) as device,
    ):
        device._session.frames.can_resend = False
        for number, frame in enumerate(device.stream()):
            with frame, reader.next() as seen:
                expected = oracle(seen, "prbs", 9)
                mask = np.ones(seen.pixels.size * 2, bool)
                for start, end in seen.missing_ranges:
                    mask[start:end] = False
                mask = mask[::2].reshape(expected.shape)
                assert np.array_equal(seen.pixels, np.where(mask, expected, 0))
                assert (seen.status is FrameStatus.COMPLETE) == mask.all()
                assert seen.missing_ranges == frame.missing_ranges
                incomplete += not mask.all()
            if number == 15:
                break
    assert incomplete > 2


# --- pace --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("only_sim")
def test_a_sleeping_reader_skips_frames_and_delays_nobody(cli: Cli, name: str):
    writer = cli.start("stream", "sim:?scene=bars", "-o", f"ring:{name}", "--json")
    with (
        FrameRingReader(name, wait=PATIENCE_S) as sleeper,
        FrameRingReader(name, "every") as every,
    ):
        held = sleeper.next()
        before = held.pixels.copy()
        numbers = []
        for frame in every:
            numbers.append(frame.sequence)
            if len(numbers) == 20:
                break
        assert numbers == list(range(numbers[0], numbers[0] + 20))
        assert every.dropped_frames == 0
        assert np.array_equal(held.pixels, before), "what is held stays"
        held.release()
        with sleeper.next() as frame:
            assert frame.sequence >= numbers[-1]
        assert sleeper.skipped_frames >= 18
        # A reader sees a frame a moment before its writer has counted it.
        for _ in range(20):
            writer.stdout.readline()
        writer.send_signal(signal.SIGINT)
        with pytest.raises(Disconnected, match="closed by its writer"):
            while True:
                every.next().release()
    code, out, _ = finish(writer)
    assert code == 130
    summary = objects(out)[-1]
    assert summary["incomplete"] == 0
    assert summary["frames"] >= 20


@pytest.mark.usefixtures("only_sim")
def test_an_every_reader_that_stops_costs_frames_but_not_the_link(cli: Cli, name: str):
    writer = cli.start("stream", "sim:?scene=bars", "-o", f"ring:{name}", "--json")
    with FrameRingReader(name, "every", wait=PATIENCE_S) as stuck, FrameRingReader(name) as other:
        lines = (json.loads(line) for line in writer.stdout)
        # The ring is full after some; the link goes on.
        for line in lines:
            if line["number"] >= 25:
                break
        sequences = []
        while not stuck.dropped_frames:
            with stuck.next() as frame:
                sequences.append(frame.sequence)
        assert sequences[-1] - sequences[0] + 1 == len(sequences) + stuck.dropped_frames
        assert stuck.delivered_frames == len(sequences)
        with other.next() as frame:
            assert frame.sequence >= 25, "others go on"
    writer.send_signal(signal.SIGTERM)
    assert finish(writer)[0] == 143


# --- death -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("only_sim")
@pytest.mark.timeout(choose(120, 1200))
@pytest.mark.parametrize("victim", ["reader", "writer", "module"])
def test_killed_at_any_moment(
    victim: str,
    cli: Cli,
    name: str,
    seed: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The surviving processes go on or get an error, and nothing is left."""
    kill = {"reader": _kill_a_reader, "writer": _kill_the_writer, "module": _kill_the_module}
    chance = random.Random(seed)
    for _ in range(MOMENTS):
        kill[victim](cli, name, chance)
        assert not segment.path_of(name).exists(), f"seed {seed}"
    say(capsys, f"the {victim} killed at {MOMENTS} moments, seed {seed}")


def _start(cli: Cli, name: str) -> subprocess.Popen[bytes]:
    url = "sim:?scene=bars&width=640&height=480"
    return cli.start("stream", url, "-o", f"ring:{name}")


def _isp(cli: Cli, name: str, chance: random.Random) -> subprocess.Popen[bytes]:
    """A reader that has read something."""
    policy = ["--policy", chance.choice(["latest", "every"])]
    early = ["--early"] if chance.random() < 0.5 else []
    process = cli.start("ring", name, "--json", *policy, *early)
    assert json.loads(process.stdout.readline())["schema"] == "lenslink.ring.frame/1"
    return process


def _kill_a_reader(cli: Cli, name: str, chance: random.Random) -> None:
    writer = _start(cli, name)
    with FrameRingReader(name, "every", wait=PATIENCE_S) as watcher:
        victim, other = _isp(cli, name, chance), _isp(cli, name, chance)
        _until_a_moment(watcher, chance)
        victim.kill()
        victim.communicate()
        # What they held comes back: the ring has fewer slots than frames that come now.
        _let_pass(watcher, 30)
        with FrameRingReader(name) as late:
            late.next().release()
    writer.send_signal(signal.SIGINT)
    assert finish(writer)[0] == 130
    code, out, err = finish(other)
    assert code == 0, err
    summary = objects(out)[-1]
    assert sum(summary[each] for each in ("frames", "skipped", "dropped")) >= 30, "others go on"


def _until_a_moment(watcher: FrameRingReader, chance: random.Random) -> None:
    """Read until some time has passed, most likely in the midst of a frame."""
    moment = time.monotonic() + chance.uniform(0, MOMENT_S)
    with contextlib.suppress(Timeout):
        while True:
            watcher.next(max(0.0, moment - time.monotonic())).release()


def _let_pass(watcher: FrameRingReader, count: int) -> None:
    for _ in range(count):
        watcher.next().release()


def _kill_the_writer(cli: Cli, name: str, chance: random.Random) -> None:
    writer = _start(cli, name)
    with FrameRingReader(name, chance.choice(["latest", "every"]), wait=PATIENCE_S) as watcher:
        reader = _isp(cli, name, chance)
        _until_a_moment(watcher, chance)
        held = watcher.next()
        pids = [writer.pid, *children(writer.pid)]
        writer.kill()
        killed = Moment.take()
        writer.communicate()
        with pytest.raises(Disconnected, match="lost its writer"):
            while True:
                watcher.next().release()
        assert Moment.take().since(killed) < NOTICED_S
        code, _, err = finish(reader)
        assert code == 5, err
        assert int(held.pixels.max()) > 0, "what is held stays readable"
        if chance.random() < 0.5:
            with FrameRing(name, 2):
                # The name is free at once.
                assert segment.path_of(name).exists()
    assert_gone(pids)


def _kill_the_module(cli: Cli, name: str, chance: random.Random) -> None:
    """The firmware's process: what the module is to its host."""
    writer = _start(cli, name)
    with FrameRingReader(name, chance.choice(["latest", "every"]), wait=PATIENCE_S) as watcher:
        reader = _isp(cli, name, chance)
        pids = children(writer.pid)
        _until_a_moment(watcher, chance)
        os.kill(firmware(writer.pid), signal.SIGKILL)
        killed = Moment.take()
        with pytest.raises(Disconnected, match="closed by its writer"):
            while True:
                with watcher.next() as frame:
                    # A frame that was cut off says so, and shows nothing where nothing came.
                    assert (frame.status is FrameStatus.COMPLETE) == (not frame.missing_ranges)
                    for start, end in frame.missing_ranges:
                        assert not frame.packed.reshape(-1)[start:end].any()
        assert Moment.take().since(killed) < NOTICED_S
    code, _, err = finish(writer)
    assert code == 5, err
    assert err[-1] == "lenslink: error: the firmware was killed by signal 9"
    code, _, err = finish(reader)
    assert code == 0, err
    assert_gone(pids)


@pytest.mark.usefixtures("only_sim")
def test_a_killed_writer_without_readers_is_cleaned_up_by_doctor(cli: Cli, name: str) -> None:
    """Every host that opens a module removes the ring too: check at once, and more than once."""
    for _ in range(TRIES):
        left = _leave_a_ring(cli, name)
        check = _check_frame_rings()
        assert check.ok
        assert_gone(left)
        assert not segment.path_of(name).exists()
        if "removed" in check.detail:
            break
    assert ", removed " in check.detail
    done = cli.run("doctor", "--json")
    [listed] = [c for c in json.loads(done.stdout)["checks"] if c["name"] == "frame rings"]
    assert listed["ok"]


def _leave_a_ring(cli: Cli, name: str) -> list[int]:
    """Kill a writer, which leaves its ring; return the writer's processes."""
    writer = _start(cli, name)
    until(segment.path_of(name).exists)
    with FrameRingReader(name, wait=PATIENCE_S) as reader:
        reader.next().release()
    pids = [writer.pid, *children(writer.pid)]
    writer.kill()
    writer.communicate()
    return pids
