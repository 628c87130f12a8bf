"""How much slower this machine is now than a quiet reference machine, and time limits that say so.

A time limit in a test is meant for a quiet machine. ``patience(seconds)`` stretches it by the
slowdown, which is measured once at the start of a run. Processes that the run starts inherit the
figure through the environment, xdist's workers among them.
"""

from __future__ import annotations

import os
import time
from functools import cache

import pytest

VARIABLE = "LENSLINK_TEST_SLOWDOWN"
"""Give this to a run instead of a measurement, for example 5."""

_MEASURED = f"{VARIABLE}_MEASURED"
"""Set beside it if nobody gave it."""

MOST = 20.0
_ROUNDS = 15_000_000
# What the loop takes on an idle core of the reference machine, a 2-core x86-64 server.
_REFERENCE_S = 0.25


@cache
def slowdown() -> float:
    """Return the slowdown of this run, from 1 (a quiet machine) to 20; measure it if need be."""
    text = os.environ.get(VARIABLE)
    if text is None:
        found = limit(max(measure_loop(), load_of(os.getloadavg()[0], os.cpu_count() or 1)))
        text = os.environ[VARIABLE] = f"{found:.1f}"
        os.environ[_MEASURED] = "1"
    try:
        return limit(float(text))
    except ValueError:
        raise pytest.UsageError(f"{VARIABLE}={text} is not a number") from None


def share_cores(workers: int) -> float:
    """Return the slowdown of a run with so many *workers*, and hand it on. A given one stays."""
    began = slowdown()
    share = workers / (os.cpu_count() or 1)
    if _MEASURED in os.environ and share > 1:
        os.environ[VARIABLE] = f"{limit(began * share):.1f}"
        slowdown.cache_clear()
    return slowdown()


def current_slowdown() -> float:
    """Return the slowdown of this run, or of now if the load has grown. A given one stays."""
    began = slowdown()
    if _MEASURED not in os.environ:
        return began
    return limit(max(began, load_of(os.getloadavg()[0], os.cpu_count() or 1)))


def patience(seconds: float) -> float:
    """Return the time limit for what takes *seconds* at most on a quiet machine."""
    return seconds * slowdown()


def measure_loop() -> float:
    """Return how often slower than on the reference machine a fixed loop runs now."""
    began = time.perf_counter()
    value = 0
    for number in range(_ROUNDS):
        value ^= number
    return (time.perf_counter() - began) / _REFERENCE_S


def load_of(load: float, cores: int) -> float:
    """Return how many processes want each core.

    The loop alone can miss a load that comes and goes: the load average covers a minute.
    """
    return load / cores


def limit(value: float) -> float:
    """Return *value* within 1 and :data:`MOST`."""
    return min(max(value, 1.0), MOST)
