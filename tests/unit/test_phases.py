"""A parallel run: each test runs once, and an exclusive one runs when one worker is left."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter, deque
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.phases import (
    Phase,
    SharedThenAlone,
    file_of,
    read_durations,
    write_durations,
)

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
FILES = 7
PER_FILE = 5
NAMES = [f"test_{file}.py::test_{n}" for file in range(FILES) for n in range(PER_FILE)]


class FakeWorker:
    """A worker as xdist's: it holds its last test back until it knows that none follows."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.shutting_down = False
        self.queue: deque[int] = deque()

    def send_runtest_some(self, indices):
        assert not self.shutting_down
        self.queue.extend(indices)

    def shutdown(self):
        self.shutting_down = True

    @property
    def can_run(self):
        return len(self.queue) > 1 or (self.shutting_down and bool(self.queue))

    @property
    def can_end(self):
        return self.shutting_down and not self.queue


class Run:
    """A run of pytest-xdist's session, in which a random worker is the next to do something."""

    def __init__(
        self,
        folder: Path,
        workers: int,
        exclusive: set[int],
        chance: random.Random,
        durations: dict[str, float] | None = None,
    ):
        self.folder = folder
        self.exclusive = exclusive
        self.chance = chance
        self.scheduler = SharedThenAlone(workers, folder, durations)
        self.ran: Counter[int] = Counter()
        self.order: list[str] = []
        self.died_in: list[str] = []
        self.workers: list[FakeWorker] = []
        for _ in range(workers):
            self.start()
        for worker in self.workers:
            self.collect(worker)

    def start(self) -> FakeWorker:
        worker = FakeWorker(f"gw{len(list(self.folder.iterdir()))}")
        (self.folder / worker.gateway.id).mkdir()
        self.workers.append(worker)
        self.scheduler.add_node(worker)
        return worker

    def collect(self, worker: FakeWorker) -> None:
        path = self.folder / worker.gateway.id / "exclusive.json"
        path.write_text(json.dumps(sorted(self.exclusive)))
        self.scheduler.add_node_collection(worker, NAMES)
        if self.scheduler.collection_is_completed:
            self.scheduler.schedule()

    def step(self) -> None:
        worker = self.chance.choice([w for w in self.workers if w.can_run or w.can_end])
        if worker.can_end:
            self.workers.remove(worker)
            assert self.scheduler.remove_node(worker) is None
            return
        index = worker.queue.popleft()
        if index in self.exclusive:
            assert self.workers == [worker], "an exclusive test beside another worker"
        self.ran[index] += 1
        self.order.append(file_of(NAMES[index]))
        self.scheduler.mark_test_complete(worker, index)
        if self.scheduler.tests_finished:
            for each in self.workers:
                each.shutdown()

    def crash(self) -> None:
        """A worker dies in the test that it runs, and another takes its place."""
        worker = self.chance.choice([w for w in self.workers if w.can_run])
        self.workers.remove(worker)
        self.ran[worker.queue[0]] += 1
        died_in = self.scheduler.remove_node(worker)
        assert died_in == NAMES[worker.queue[0]]
        self.died_in.append(died_in)
        self.collect(self.start())

    def finish(self) -> None:
        while self.workers:
            self.step()
        assert self.ran == Counter(range(len(NAMES)))
        assert self.scheduler.tests_finished
        assert not self.scheduler.has_pending


@pytest.mark.parametrize("workers", [1, 2, 3, 9])
@pytest.mark.parametrize(
    "exclusive", [set(), {3}, {0, 1, 17, 34}, set(range(len(NAMES)))], ids=["none", "1", "4", "all"]
)
def test_each_test_runs_once_and_exclusive_ones_alone(tmp_path, workers, exclusive, seed):
    Run(tmp_path, workers, exclusive, random.Random(seed)).finish()


def test_a_file_stays_on_one_worker(tmp_path, seed):
    run = Run(tmp_path, 2, set(), random.Random(seed))
    seen = [{NAMES[index].partition("::")[0] for index in w.queue} for w in run.workers]
    assert [len(files) for files in seen] == [1, 1]
    assert not seen[0] & seen[1]


def test_the_longest_files_run_first(tmp_path, seed):
    durations = {"test_5.py": 9.0, "test_2.py": 70, "test_6.py": 8}
    run = Run(tmp_path, 1, {0}, random.Random(seed), durations)
    run.finish()
    files = [*dict.fromkeys(run.order)]
    assert files[:3] == ["test_2.py", "test_5.py", "test_6.py"]
    assert files[3:] == ["test_0.py", "test_1.py", "test_3.py", "test_4.py"]
    assert run.order[-1] == "test_0.py", "the exclusive test"


def make_report(name: str, seconds: float, *keywords: str) -> pytest.TestReport:
    about = {"location": ("", 0, ""), "longrepr": None, "outcome": "passed", "when": "call"}
    return pytest.TestReport(
        nodeid=name, keywords=dict.fromkeys(keywords, 1), duration=seconds, **about
    )


def test_durations_are_those_of_the_shared_tests_of_a_file(tmp_path):
    path = tmp_path / "durations.json"
    reports = [
        make_report("a.py::test_1", 0.4),
        make_report("a.py::test_2", 0.3),
        make_report("b.py::test_1", 1.5),
        make_report("b.py::test_1", 1.2),
        make_report("c.py::test_1[x::y]", 7.6),
        make_report("c.py::test_2", 100.0, "exclusive"),
    ]
    write_durations(path, reports)
    assert [*read_durations(path).items()] == [("c.py", 8), ("b.py", 3)]


def test_the_table_of_durations_names_files_that_exist():
    assert not [file for file in read_durations() if not (ROOT / file).is_file()]
    assert len(read_durations()) > 20


@pytest.mark.parametrize("crashes", [1, 4])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_is_replaced(tmp_path, workers, crashes, seed):
    chance = random.Random(seed)
    run = Run(tmp_path, workers, {0, 1, 17, 34}, chance)
    for _ in range(crashes):
        for _ in range(chance.randrange(8)):
            run.step()
        run.crash()
    run.finish()
    assert len(run.died_in) == crashes


def test_a_worker_that_dies_in_an_exclusive_test_is_replaced(tmp_path, seed):
    run = Run(tmp_path, 2, {0, 1, 17, 34}, random.Random(seed))
    while run.scheduler.phase is not Phase.ALONE or len(run.workers[0].queue) > 3:
        run.step()
    run.crash()
    run.finish()
    assert run.died_in[0] in {NAMES[index] for index in run.exclusive}


def test_workers_that_collect_different_tests_are_an_error(tmp_path, seed):
    run = Run(tmp_path, 2, set(), random.Random(seed))
    with pytest.raises(pytest.UsageError, match="different tests"):
        run.scheduler.add_node_collection(run.start(), NAMES[1:])


SAMPLE = """
import os
import pytest

def test_seed(seed, record_property):
    record_property("seed", seed)

@pytest.mark.exclusive
def test_alone():
    with open("log", "a") as log:
        log.write("alone " + os.environ["PYTEST_XDIST_WORKER"] + os.linesep)

@pytest.mark.parametrize("n", range(3))
def test_shared(n):
    with open("log", "a") as log:
        log.write("shared" + os.linesep)

def test_skipped():
    pytest.skip("needs a board")
"""


def run_sample(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Return exit status and lines of a pytest of its own, with two workers and four files."""
    for name in "abcd":
        (folder / f"test_{name}.py").write_text(SAMPLE)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = exclusive: runs alone\n")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "LENSLINK"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "helpers.run_hooks", "-n", "2", *arguments],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def test_a_real_run_has_one_total_one_list_and_one_seed(tmp_path: Path) -> None:
    status, lines = run_sample(tmp_path, "--junitxml=r.xml", "--lens-seed=77")
    assert status == 0
    assert " 20 passed, 4 skipped in " in lines[-1]
    assert [line for line in lines if "NOT RUN" in line][1:] == ["NOT RUN: 4 tests: needs a board"]
    assert len([line for line in lines if line.startswith("time limits: times ")]) == 1
    assert (tmp_path / "r.xml").read_text().count('<property name="seed" value="77" />') == 4
    log = (tmp_path / "log").read_text().splitlines()
    assert log[:12] == ["shared"] * 12
    assert len(set(log[12:])) == 1 and len(log) == 16


def test_a_real_run_that_executes_nothing_fails(tmp_path: Path) -> None:
    status, lines = run_sample(tmp_path, "-k", "skipped")
    assert " 4 skipped in " in lines[-1]
    assert status == pytest.ExitCode.NO_TESTS_COLLECTED
