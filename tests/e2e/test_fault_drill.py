"""Break a rig in every way, and look that each run ends in time, in the right outcome.

Each drill is a pytest of its own, on simulated boards whose power a switch cuts. The suite itself
runs none of the drilled tests. ``LENSLINK_NIGHTLY=1`` drills more often.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.inner_pytest import InnerPytest
from helpers.nightly_scale import choose, say
from helpers.rig_harness import RigHarness
from helpers.slowdown import patience

from lenslink_hil.plugin.rig_outcomes import EXIT_RIG
from lenslink_hil.rig.board_lock import BoardLock, make_lock_path
from lenslink_hil.rig.taken_board import take_board

COMMON = """
import ctypes, os, signal, time
from pathlib import Path
import pytest
from lenslink.deadline import Deadline
from lenslink_hil.rig.switch_sim import send_command

def tell(board, command):
    send_command(os.environ["DRILL_FOLDER"] + f"/{board.name}.power", command, Deadline(60))
"""


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RigHarness]:
    with RigHarness(tmp_path_factory.mktemp("a rig"), ["left", "right"], timeout=60) as found:
        yield found


@pytest.fixture(autouse=True)
def healthy(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the boards as they were: powered, plugged and answering."""
    yield
    if "harness" in request.fixturenames:
        harness = request.getfixturevalue("harness")
        harness.mood = "obeys"
        harness.write()
        for name in harness.names:
            harness.command(name, "plug")
            harness.command(name, "on")


@pytest.fixture(autouse=True)
def runtime_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Share the locks with the runs."""
    if "LENSLINK_RUNTIME_DIR" not in os.environ:
        folder = tmp_path_factory.mktemp("rt")
        folder.chmod(0o700)
        monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(folder))


HANGS = """
def test_before():
    pass
def test_sleeps_for_ever():
    time.sleep(1000)
def test_holds_the_gil():
    ctypes.PyDLL(None).sleep(1000)
def test_ignores_sigterm():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)
@pytest.fixture
def hanging():
    yield
    time.sleep(1000)
def test_hangs_in_its_teardown(hanging):
    pass
def test_after():
    pass
"""


def test_nothing_outlives_its_deadline(tmp_path: Path) -> None:
    deadline = max(2.0, patience(0.5))
    began = time.monotonic()
    run = InnerPytest(tmp_path, COMMON + HANGS, "--lens", "sim:", "--lens-deadline", f"{deadline}")
    assert run.wait() == pytest.ExitCode.TESTS_FAILED
    # Four deadlines, and the start of pytest and of five workers.
    assert time.monotonic() - began < 4 * (deadline + patience(5)) + patience(5)
    outcomes = run.outcomes()
    # A worker dies between tests that it has reported. None is lost, and none is said to pass.
    hanging = {name: outcome for name, outcome in outcomes.items() if outcome != "passed"}
    assert len(hanging) == 4, run.text
    assert set(hanging.values()) == {"failure"}
    assert {"test_before", "test_after"} <= set(outcomes)
    assert f"did not end within {deadline:g} s" in run.text
    assert "in test_sleeps_for_ever" in run.text
    assert "in test_holds_the_gil" in run.text


LOST = """
def test_passes(lens):
    lens.capture().release()
def test_is_wedged(lens, lens_board):
    tell(lens_board, "wedge")
    lens.capture(timeout=1)
def test_is_well_again(lens):
    lens.capture().release()
def test_is_unplugged(lens, lens_board):
    tell(lens_board, "unplug")
    lens.capture()
def test_is_gone(lens):
    lens.capture()
"""


def test_a_wedged_board_is_recovered_and_an_unplugged_one_is_a_rig_error(
    harness: RigHarness, tmp_path: Path
) -> None:
    run = InnerPytest(
        tmp_path, COMMON + LOST, "--lens", f"rig:left?file={harness.file}",
        DRILL_FOLDER=str(harness.folder),
    )  # fmt: skip
    # The wedge is the module's own failure. So the run has failed, whatever the rig did.
    assert run.wait() == pytest.ExitCode.TESTS_FAILED, run.text
    assert run.outcomes() == {
        "test_passes": "passed",
        "test_is_wedged": "failure",
        "test_is_well_again": "passed",
        "test_is_unplugged": "error",
        "test_is_gone": "error",
    }
    assert "1 failed, 2 passed, 2 rig-error" in run.text
    assert "boards that had to be recovered before a test: left: 1" in run.text
    assert "tried: session, port, power" in run.text
    assert "check its cable and its power" in run.text


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("typo", "unknown key 'powr'; did you mean 'power'?"),
        ("firmware", "rig.toml expects lensfw 9.*; flash the board"),
        ("switch", "answered 500"),
        ("locked", "no board is free within 0.5 s (left): held by process"),
    ],
)
def test_a_fault_of_the_rig_alone_exits_with_11(
    harness: RigHarness, tmp_path: Path, kind: str, said: str
) -> None:
    with contextlib.ExitStack() as stack:
        if kind == "typo":
            harness.file.write_text(harness.file.read_text().replace("power = ", "powr = ", 1))
        elif kind == "firmware":
            harness.write('firmware = "lensfw 9.*"')
        elif kind == "switch":
            harness.mood = "answers 500"
        else:
            rig = harness.load()
            stack.enter_context(take_board([rig.boards["left"]], 0, rig=rig))
        run = InnerPytest(
            tmp_path, "def test_one(lens):\n    pass\ndef test_two(lens_power):\n    pass\n",
            "--lens", f"rig:left?file={harness.file}", "--lens-wait", "0.5s",
        )  # fmt: skip
        assert run.wait() == EXIT_RIG, run.text
    assert set(run.outcomes().values()) <= {"error", "passed"}
    (line,) = (line for line in run.text.splitlines() if line.startswith("RIG ERROR: "))
    assert said in line


FULL = """
from lenslink import StorageError
from lenslink_hil.recording import lcap

@pytest.fixture
def full_disk(monkeypatch):
    def refuse(*_):
        raise StorageError("/disk/x.lcap: No space left on device")
    monkeypatch.setattr(lcap.Writer, "create", refuse)

def test_passes(lens):
    pass
def test_finds_the_disk_full(full_disk, lens):
    pass
"""


def test_a_full_disk_is_a_rig_error(tmp_path: Path) -> None:
    run = InnerPytest(tmp_path, COMMON + FULL, "--lens", "sim:?scene=ramp&width=64&height=64")
    assert run.wait() == EXIT_RIG, run.text
    assert run.outcomes() == {"test_passes": "passed", "test_finds_the_disk_full": "error"}
    assert "cannot record: /disk/x.lcap: No space left on device; free some space" in run.text


WAITS = """
def test_waits(lens):
    Path(os.environ["DRILL_MARK"]).touch()
    time.sleep(1000)
"""


@pytest.mark.parametrize("number", choose([signal.SIGKILL], [signal.SIGTERM, signal.SIGKILL]))
def test_a_job_that_is_killed_leaves_its_board_free_and_its_power_at_rest(
    harness: RigHarness, tmp_path: Path, number: signal.Signals
) -> None:
    harness.write(rest="off")
    mark = tmp_path / "mark"
    run = InnerPytest(
        tmp_path, COMMON + WAITS, "--lens", f"rig:left?file={harness.file}", DRILL_MARK=str(mark)
    )  # fmt: skip
    _wait_until(mark.exists, f"the test did not begin: {run.text}")
    rig = harness.load()
    path = make_lock_path(rig.boards["left"].address, rig.locks)
    assert BoardLock.is_taken(path)
    run.process.send_signal(number)
    status = run.wait()
    assert status == (128 + number if number is signal.SIGTERM else -number)
    _wait_until(lambda: not BoardLock.is_taken(path), "the board is still taken")
    assert harness.command("left", "state") == "off"
    if number is signal.SIGTERM:
        assert "the run was abandoned: SIGTERM" in run.text


def _wait_until(is_done: object, problem: str) -> None:
    end = time.monotonic() + patience(40)
    while not is_done():  # type: ignore[operator]
        assert time.monotonic() < end, problem
        time.sleep(0.05)


SHARED = """
@pytest.mark.parametrize("n", range(int(os.environ["DRILL_TESTS"])))
def test_has_the_board_alone(lens, lens_board, n):
    folder = Path(os.environ["DRILL_FOLDER"])
    while not (folder / "go").exists():
        time.sleep(0.05)
    mark = folder / f"{lens_board.name}.used"
    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    lens.capture().release()
    mark.unlink()
"""


def test_a_board_is_never_shared(
    harness: RigHarness, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = choose(3, 50)
    runs = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        runs.append(
            InnerPytest(
                folder, COMMON + SHARED,
                "--lens", f"rig:?file={harness.file}", "--lens-wait", "10m",
                DRILL_FOLDER=str(tmp_path), DRILL_TESTS=str(tests),
            )
        )  # fmt: skip
    # Two runs hold the boards until the third one waits for them.
    waits = "waiting for a board, which is held by process"
    try:
        _wait_until(
            lambda: any(waits in run.text or run.process.poll() is not None for run in runs),
            "no run waits for a board",
        )
    finally:
        (tmp_path / "go").touch()
    assert [run.wait() for run in runs] == [0, 0, 0], runs[0].text + runs[1].text + runs[2].text
    assert sum(len(run.outcomes()) for run in runs) == 3 * tests
    assert any(waits in run.text for run in runs)
    say(capsys, f"2 boards, 3 processes, {tests} tests each: never shared")
