"""The same payload through other software, in one run with the driver.

A peer is a module with ``NAME``, ``NEEDS`` (the packages to install), ``BYTES`` (the payload of
about one second), ``NOTE`` (what the figure includes) and ``prepare(payload)``. ``prepare`` makes
the wire bytes, and returns a function that receives all of them once and checks the payload.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from lenslink.errors import RigError
from lenslink.installation import make_install_hint

from ..document import format_machine, format_table
from ..machine_info import describe_machine
from ..series import QUICK, Case, Say, measure
from ..workers import make_folder

SCHEMA = "lenslink.bench.peers/1"
PEERS = ("openmv", "serialtransfer", "mavlink", "cobs", "definition", "aravis")
_ROUNDS = 3
_SEED = 20260101


Receive = Callable[[], tuple[int, float]]
"""Receives the payload once, and returns the bytes that arrived and the CPU seconds."""


def time_calls(receive: Callable[[], int]) -> Receive:
    """Return a :data:`Receive` that measures the CPU time of *receive*."""

    def run() -> tuple[int, float]:
        began = time.process_time()
        count = receive()
        return count, time.process_time() - began

    return run


@dataclass(frozen=True, slots=True)
class Need:
    """A package that a peer imports: its import name, its package name, how to install it."""

    imports: str
    package: str
    how: str = field(default_factory=lambda: make_install_hint("bench"))

    @property
    def is_missing(self) -> bool:
        try:
            return find_spec(self.imports) is None
        except ModuleNotFoundError:
            return True

    @property
    def version(self) -> str:
        try:
            return version(self.package)
        except PackageNotFoundError:
            return ""


def load_peer(name: str) -> ModuleType:
    """Return a peer by the name of its module."""
    return import_module(f"{__name__}.{name}")


def find_lack(peer: ModuleType) -> str | None:
    """Return why a peer cannot run here and the cure, None if it can."""
    for need in peer.NEEDS:
        if need.is_missing:
            return f"{need.package} is not installed ({need.how})"
    return None


def measure_all(say: Say) -> dict[str, Any]:
    """Measure the driver and every installed peer, and return what ``--json`` prints."""
    noise = np.random.default_rng(_SEED).integers(0, 1 << 12, 64 << 20, dtype="<u2").tobytes()
    runs: dict[str, Receive] = {}
    found: dict[str, ModuleType] = {}
    not_run = []
    for name in PEERS:
        peer = load_peer(name)
        why = find_lack(peer)
        if why is None:
            say(f"{peer.NAME}: preparing")
            try:
                runs[name] = peer.prepare(noise[: peer.BYTES])
                found[name] = peer
            except RigError as error:
                why = str(error)
        if why is not None:
            not_run.append({"name": peer.NAME, "why": why})
    rates: dict[str, list[float]] = {name: [] for name in runs}
    driver: list[dict[str, Any]] = []
    with make_folder() as place:
        for round_ in range(_ROUNDS):
            # All take turns, so that other work of the machine changes all of them.
            driver.append(measure(Case("unix", 65536), QUICK, place, say))
            for name, receive in runs.items():
                say(f"{found[name].NAME}: {round_ + 1} of {_ROUNDS}")
                rates[name].append(_measure_rate(found[name], receive))
    entries = [
        {
            "name": "LensLink",
            "mb_per_cpu_s": round(statistics.median(d["gb_per_cpu_s"] for d in driver) * 1000, 1),
            "spread": sorted(round(d["gb_per_cpu_s"] * 1000, 1) for d in driver),
            "note": "the driver over AF_UNIX, kernel included; 64 KiB, CRC-32, into the frame",
            "version": "",
        }
    ]
    entries += [_make_entry(found[name], rates[name]) for name in runs]
    return {"schema": SCHEMA, "machine": describe_machine(), "peers": entries, "not_run": not_run}


def _measure_rate(peer: ModuleType, receive: Receive) -> float:
    """Return the MB per CPU-second of one run."""
    count, spent = receive()
    if count < peer.BYTES:
        raise RigError(f"bench: {peer.NAME} received {count} of {peer.BYTES} bytes")
    return count / spent / 1e6


def _make_entry(peer: ModuleType, rates: list[float]) -> dict[str, Any]:
    return {
        "name": peer.NAME,
        "mb_per_cpu_s": round(statistics.median(rates), 1),
        "spread": sorted(round(rate, 1) for rate in rates),
        "note": peer.NOTE,
        "version": ", ".join(f"{n.package} {n.version}".strip() for n in peer.NEEDS),
    }


def format_peers(result: dict[str, Any]) -> str:
    """Return the part of ``lenslink bench peers``."""
    return "\n".join(_format_lines(result))


def _format_lines(result: dict[str, Any]) -> Iterator[str]:
    yield "## Beside others (`lenslink bench peers`)"
    yield ""
    yield from format_machine(result["machine"])
    yield ""
    yield "All receive the same noise of 12 bits a pixel. The figures are MB of payload per"
    yield f"CPU-second of the receiver: the median of {_ROUNDS} rounds in which all took turns, and"
    yield "the extremes. All peers but Aravis read from memory. The driver's figure includes the"
    yield "kernel, theirs do not."
    yield ""
    rows = []
    for each in result["peers"]:
        rate = f"{each['mb_per_cpu_s']:.1f} ({each['spread'][0]:.1f}-{each['spread'][-1]:.1f})"
        rows.append((each["name"], rate, each["version"], each["note"]))
    yield from format_table(("", "MB per CPU-s", "version", ""), rows)
    yield "Only Aravis comes close or is ahead. Aravis is written in C and checks no CRC of the"
    yield "payload, so it hands out damaged pixels as good ones. A parser that is slow in this"
    yield "table is fast enough for the serial lines that it was made for."
    yield ""
    for each in result["not_run"]:
        yield f"- NOT RUN: {each['name']}: {each['why']}"
    yield ""
