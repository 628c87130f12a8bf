"""Runs the cases for modules on several modules at once, each with a share of the cases.

Most of a case is waiting, for instance for a time limit of the protocol to pass. So a bench that
makes a module of its own for each opening, as ``sim:`` does, is tested in less time by several.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence

from .verdicts import ModuleCase, Verdict

RunShare = Callable[[Sequence[ModuleCase]], Generator[Verdict]]

_Found = tuple[str, list[Verdict]]
_END_S = 1.0


def run_side_by_side(
    cases: Sequence[ModuleCase], jobs: int, run_share: RunShare
) -> Iterator[Verdict]:
    """Yield the verdicts of *cases*, in the order of the cases.

    Args:
        cases: The cases.
        jobs: How many modules are tested at once, at least 1.
        run_share: Yields the verdicts of some of the cases on a module of its own. It is called
            *jobs* times, each time in a thread of its own.

    Raises:
        BaseException: The first error of a share. The other shares end after their current case.

    Example:
        >>> list(run_side_by_side([], 2, lambda share: (each for each in ())))
        []
    """
    found: queue.SimpleQueue[_Found | BaseException | None] = queue.SimpleQueue()
    is_over = threading.Event()

    def work(share: Sequence[ModuleCase]) -> None:
        try:
            with contextlib.closing(run_share(share)) as verdicts:
                for case, group in itertools.groupby(verdicts, lambda each: each.case):
                    found.put((case, list(group)))
                    if is_over.is_set():
                        return
            found.put(None)
        except BaseException as error:
            found.put(error)

    threads = [
        threading.Thread(target=work, args=(cases[number::jobs],), name="conform", daemon=True)
        for number in range(jobs)
    ]
    for thread in threads:
        thread.start()
    try:
        yield from _in_order([each.name for each in cases], found, jobs)
    finally:
        is_over.set()
        for thread in threads:
            thread.join(_END_S)


def _in_order(
    names: Sequence[str], found: queue.SimpleQueue[_Found | BaseException | None], jobs: int
) -> Iterator[Verdict]:
    """Yield the verdicts of each case once those of all cases before it are there."""
    waiting: dict[str, list[Verdict]] = {}
    position = 0
    while jobs:
        each = found.get()
        if isinstance(each, BaseException):
            raise each
        if each is None:
            jobs -= 1
        else:
            # A module that is not fit for testing fails one case, in each of the shares.
            waiting.setdefault(*each)
        while position < len(names) and names[position] in waiting:
            yield from waiting.pop(names[position])
            position += 1
    for verdicts in waiting.values():
        yield from verdicts
