"""Measured times without what other programs on the machine took.

A test that asserts on real time takes a :class:`Moment` before and after. The time between them
counts, except while this process or one of its descendants was ready to run and waited for a core.
Linux counts that wait for each thread, in ``/proc/PID/task/TID/schedstat``. Elsewhere all time
counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Moment:
    """A time, and how long each thread of this process and its descendants had waited by then.

    >>> began = Moment.take()
    >>> Moment.take().since(began) < 1
    True
    """

    seconds: float
    waits_ns: dict[int, int]

    @classmethod
    def take(cls) -> Moment:
        """Return this moment."""
        seconds = time.monotonic()
        return cls(seconds, dict(_read_waits()))

    def since(self, earlier: Moment) -> float:
        """Return the seconds since *earlier* in which none of the processes waited for a core.

        The waits of several processes at the same time are all subtracted, so the result may be
        less than the time in which nothing was disturbed, and even less than 0.
        """
        waited_ns = sum(
            waits - earlier.waits_ns.get(thread, 0) for thread, waits in self.waits_ns.items()
        )
        return self.seconds - earlier.seconds - waited_ns / 1e9


def _read_waits() -> Iterator[tuple[int, int]]:
    """Yield the number of each thread, and the nanoseconds that it has waited for a core."""
    processes = [os.getpid()]
    while processes:
        # Threads and processes may end while we look.
        with suppress(OSError):
            for task in (_PROC / str(processes.pop()) / "task").iterdir():
                with suppress(OSError):
                    _, waited, _ = (task / "schedstat").read_text("ascii").split()
                    yield int(task.name), int(waited)
                    children = (task / "children").read_text("ascii")
                    processes.extend(int(pid) for pid in children.split())
