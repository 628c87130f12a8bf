"""How fast the owner of a module answers its clients, and what that costs: ``bench control``.

The owner is a process of its own, ``lenslink stream URL -o ring:NAME``. This process is its client.
Three kinds of spells take turns in one run: without a client, with two clients that ask for the
state, and with a client that changes settings. The frames of the spells give the ratio of rates.
Changes of settings also cost the module, so the limit is for the clients that ask.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from lenslink import ModuleClient
from lenslink.errors import RigError

from .machine_info import describe_machine

SCHEMA: Final = "lenslink.bench.control/1"
LIMIT_MS: Final = 2.0
"""The most that the owner may add to what the module takes, at the 99th percentile."""
LEAST_RATIO: Final = 0.95
"""The least rate of frames with clients, of the rate without."""

_START_S = 30.0
_END_S = 10.0
# A viewfinder asks for the state and changes the settings once a frame, at 30 frames a second.
_ASK_INTERVAL_S = 1 / 30
_GAINS_MILLI = (1000, 1500)

_KINDS: Final = ("quiet", "asking", "setting")

Report = Callable[[str], None]


def measure(url: str, spells: int, spell_s: float, report: Report) -> dict[str, Any]:
    """Return latencies and rates.

    Args:
        url: of the module.
        spells: of each kind.
        spell_s: how long a spell lasts, in seconds.
        report: called with what is measured next.
    """
    name = f"bench-{os.getpid()}"
    state_ms: list[float] = []
    set_ms: list[float] = []
    frames = dict.fromkeys(_KINDS, 0)
    seconds = dict.fromkeys(_KINDS, 0.0)
    with _own(url, name):
        _count_frames(name)
        for spell in range(spells):
            for kind in _KINDS:
                report(f"{kind} spell {spell + 1} of {spells}")
                before, since = _count_frames(name), time.monotonic()
                match kind:
                    case "quiet":
                        time.sleep(spell_s)
                    case "asking":
                        state_ms += _ask(name, spell_s)
                    case "setting":
                        set_ms += _set(name, spell_s)
                frames[kind] += _count_frames(name) - before
                seconds[kind] += time.monotonic() - since
    rates = {kind: frames[kind] / seconds[kind] for kind in frames}
    return {
        "schema": SCHEMA,
        "machine": describe_machine(),
        "url": url,
        "state_ms": _summarise(state_ms),
        "set_ms": _summarise(set_ms),
        "frames_s": rates,
        "ratio": rates["asking"] / rates["quiet"] if rates["quiet"] else 0.0,
    }


def format_summary(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines for people."""
    for name in ("state", "set"):
        found = result[f"{name}_ms"]
        beyond = " beyond the module's own answer" if name == "set" else ""
        yield (
            f"{name}: p50 {found['p50']:.2f} ms, p99 {found['p99']:.2f} ms{beyond}, "
            f"{found['count']} requests (limit: p99 {LIMIT_MS:g} ms)"
        )
    rates = result["frames_s"]
    yield (
        f"frames: {rates['asking']:.1f}/s with two clients that ask, "
        f"{rates['quiet']:.1f}/s without: {result['ratio']:.3f} (limit: {LEAST_RATIO:g}); "
        f"{rates['setting']:.1f}/s with a client that sets"
    )


def is_within_limits(result: dict[str, Any]) -> bool:
    """Return True if latencies and the ratio keep to their limits."""
    is_fast = all(result[f"{name}_ms"]["p99"] <= LIMIT_MS for name in ("state", "set"))
    return is_fast and bool(result["ratio"] >= LEAST_RATIO)


@contextmanager
def _own(url: str, name: str) -> Iterator[None]:
    """Let a process own the module and serve it."""
    command = [sys.executable, "-m", "lenslink", "stream", url, "--quiet", "-o", f"ring:{name}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as owner:
        try:
            _wait_for(owner, name)
            yield
        finally:
            owner.terminate()
            try:
                owner.communicate(timeout=_END_S)
            except subprocess.TimeoutExpired:
                owner.kill()
                owner.communicate()


def _wait_for(owner: subprocess.Popen[str], name: str) -> None:
    """Wait until the first frame has begun."""
    with ModuleClient(name, wait=_START_S) as client:
        end = time.monotonic() + _START_S
        while not client.state.begun_frames:
            if owner.poll() is not None or time.monotonic() > end:
                raise RigError("the process that owns the module sends no frames")
            time.sleep(_ASK_INTERVAL_S)


def _count_frames(name: str) -> int:
    with ModuleClient(name) as client:
        return client.state.begun_frames


def _ask(name: str, seconds: float) -> list[float]:
    """Ask for the state as two clients; return the latencies in milliseconds."""
    found: list[float] = []
    end = time.monotonic() + seconds
    with ModuleClient(name) as viewer, ModuleClient(name) as isp:
        while time.monotonic() < end:
            for client in (viewer, isp):
                began = time.monotonic()
                _ = client.state
                found.append((time.monotonic() - began) * 1000)
            time.sleep(_ASK_INTERVAL_S)
    return found


def _set(name: str, seconds: float) -> list[float]:
    """Change the gain; return the latencies without the module's own answer, in milliseconds."""
    found: list[float] = []
    end = time.monotonic() + seconds
    with ModuleClient(name) as client:
        while (began := time.monotonic()) < end:
            module_ms = client.time_set(gain_milli=_GAINS_MILLI[len(found) % 2])
            found.append((time.monotonic() - began) * 1000 - module_ms)
            time.sleep(_ASK_INTERVAL_S)
    return found


def _summarise(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        "count": len(ordered),
        "p50": ordered[last // 2],
        "p99": ordered[math.ceil(last * 0.99)],
        "max": ordered[-1],
    }
