"""Order of a parallel run: tests that share nothing run on all workers, then the others run alone.

pytest-xdist asks :mod:`conftest` for a scheduler when pytest is given ``-n``. The scheduler here
deals out whole test files, because module fixtures are expensive to build twice. The files that
take longest are dealt out first (:func:`read_durations`), so that the workers end together. Tests
that are marked ``exclusive`` wait until all workers but one have ended. The whole remains one run
of pytest, with one total, one list of what did not run and one exit status.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

# A worker that holds fewer tests than this is given its next file. A worker starts a test only
# when it knows what follows, so it must hold two.
_ENOUGH = 2
_EXCLUSIVE_FILE = "exclusive.json"
DURATIONS = Path(__file__).with_name("durations.json")
"""How long the shared tests of each file take: ``make test ARGS=--write-durations`` writes it."""
_LISTED_S = 1.0


class Phase(Enum):
    """What a run is doing: see :class:`SharedThenAlone`."""

    COLLECT = auto()
    SHARED = auto()
    DRAIN = auto()
    ALONE = auto()


def write_exclusive(folder: Path, items: Sequence[pytest.Item]) -> None:
    """Write the indices of the exclusive tests in *items*, for the controlling process."""
    indices = [index for index, item in enumerate(items) if item.get_closest_marker("exclusive")]
    (folder / _EXCLUSIVE_FILE).write_text(json.dumps(indices), encoding="ascii")


def write_durations(path: Path, reports: Iterable[pytest.TestReport]) -> None:
    """Write the seconds of each file whose shared tests took a second or more, longest first."""
    seconds: Counter[str] = Counter()
    for report in reports:
        if "exclusive" not in report.keywords:
            seconds[file_of(report.nodeid)] += report.duration
    listed = {file: round(value) for file, value in seconds.most_common() if value >= _LISTED_S}
    path.write_text(json.dumps(listed, indent=2) + "\n", encoding="ascii")


def read_durations(path: Path = DURATIONS) -> dict[str, float]:
    """Return the seconds of each file that :func:`write_durations` wrote."""
    found: dict[str, float] = json.loads(path.read_text(encoding="ascii"))
    return found


def file_of(test: str) -> str:
    """Return the path in the name of a test, relative to the checkout."""
    return test.partition("::")[0]


class SharedThenAlone:
    """A scheduler for xdist, whose session calls the public methods as its workers report.

    ======= ============================================= =========================================
    phase   event                                         next phase
    ======= ============================================= =========================================
    COLLECT every worker has collected the same tests     SHARED: files are dealt out
    SHARED  no file is left to deal out                   DRAIN: all workers but one are told to end
    DRAIN   one worker is left                            ALONE: it gets the exclusive tests
    ALONE   its last test ends                            (xdist ends the run)
    any     a worker dies; its tests are queued again     SHARED: with the worker that replaces it
    ======= ============================================= =========================================

    The worker that is left in DRAIN still holds its last shared test, for it does not know yet
    what follows. It runs that test first in ALONE.

    Args:
        workers: How many workers the run begins with.
        folder: Has a folder for each worker, named by its id, with what :func:`write_exclusive`
            wrote there.
        durations: The seconds that files take. A file that has none is dealt out last.
    """

    def __init__(
        self, workers: int, folder: Path, durations: Mapping[str, float] | None = None
    ) -> None:
        self.phase = Phase.COLLECT
        self._workers = workers
        self._folder = folder
        self._durations = durations or {}
        self._tests: list[str] = []
        self._collections: dict[WorkerController, list[str]] = {}
        # The tests that each living worker was given and has not finished, in their order.
        self._held: dict[WorkerController, deque[int]] = {}
        self._files: deque[list[int]] = deque()
        self._exclusive: list[int] = []

    @property
    def nodes(self) -> list[WorkerController]:
        """The workers that have not ended."""
        return list(self._held)

    @property
    def collection_is_completed(self) -> bool:
        """Whether every worker of the beginning has collected its tests."""
        return len(self._collections) >= self._workers

    @property
    def has_pending(self) -> bool:
        """Whether any test has not finished."""
        return bool(self._files or self._exclusive or any(self._held.values()))

    @property
    def tests_finished(self) -> bool:
        """Whether no worker needs anything more than the word to end."""
        waiting = self._files or self._exclusive
        busy = any(len(held) >= _ENOUGH for held in self._held.values())
        return self.collection_is_completed and not waiting and not busy

    def add_node(self, node: WorkerController) -> None:
        """Take a worker that has started; it collects its tests next."""
        self._held[node] = deque()

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """Take the names of the tests that a worker has collected."""
        self._collections[node] = list(collection)
        if self._collections[node] != next(iter(self._collections.values())):
            raise pytest.UsageError("workers collected different tests: parameters have no order?")

    def schedule(self) -> None:
        """Begin to deal out the tests, or go on after a worker was replaced."""
        if self.phase is Phase.COLLECT:
            self._tests = next(iter(self._collections.values()))
            self._queue(range(len(self._tests)))
        self._continue()

    def mark_test_complete(
        self, node: WorkerController, item_index: int, duration: float = 0
    ) -> None:
        """Take the word that a worker has finished a test, and give out what follows."""
        self._held[node].remove(item_index)
        self._continue()

    def remove_node(self, node: WorkerController) -> str | None:
        """Forget a worker that has ended; return the test that it died in, if it died."""
        held = self._held.pop(node)
        died_in = self._tests[held.popleft()] if held else None
        self._queue(held)
        self._continue()
        return died_in

    def mark_test_pending(self, item: str) -> None:
        """Run a test once more: no plugin of ours asks for that."""
        raise NotImplementedError

    def remove_pending_tests_from_node(
        self, node: WorkerController, indices: Sequence[int]
    ) -> None:
        """Take tests back from a worker: this scheduler never asks a worker to give any back."""
        raise NotImplementedError

    # --- dealing out ----------------------------------------------------------------------

    def _queue(self, indices: Sequence[int]) -> None:
        """Queue tests that no worker holds; if there are any, the phase becomes SHARED."""
        if not indices:
            return
        exclusive = self._read_exclusive()
        files: dict[str, list[int]] = {}
        for index in indices:
            if index in exclusive:
                self._exclusive.append(index)
            else:
                files.setdefault(file_of(self._tests[index]), []).append(index)
        longest_first = sorted(files, key=lambda file: -self._durations.get(file, 0.0))
        self._files.extend(files[file] for file in longest_first)
        self.phase = Phase.SHARED

    def _read_exclusive(self) -> set[int]:
        # Every worker has written the same.
        worker = next(iter(self._collections))
        path = self._folder / worker.gateway.id / _EXCLUSIVE_FILE
        return set(json.loads(path.read_text(encoding="ascii")))

    def _continue(self) -> None:
        ready = [n for n in self._held if n in self._collections and not n.shutting_down]
        if self.phase is Phase.SHARED:
            self._deal_out(ready)
        if self.phase is Phase.DRAIN and ready:
            last, *others = ready
            for other in others:
                other.shutdown()
            if [*self._held] == [last]:
                self.phase = Phase.ALONE
                self._give(last, self._exclusive)
                self._exclusive = []
                last.shutdown()

    def _deal_out(self, ready: Sequence[WorkerController]) -> None:
        for node in ready:
            while self._files and len(self._held[node]) < _ENOUGH:
                self._give(node, self._files.popleft())
        if not self._files:
            self.phase = Phase.DRAIN

    def _give(self, node: WorkerController, indices: Sequence[int]) -> None:
        self._held[node].extend(indices)
        if indices:
            node.send_runtest_some(indices)
