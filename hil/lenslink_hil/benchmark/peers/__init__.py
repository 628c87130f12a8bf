"""The same payload through what people would use instead, in one run with the driver.

A peer is a module with ``NAME``, ``NEEDS`` (what to import, and how to get it), ``BYTES`` (how much
payload takes it about a second), ``NOTE`` (what the figure holds and what it leaves out), and
``prepare(payload)``, which gives a function that receives all of it once. Wire bytes are made
beforehand; that all of it arrived right is checked.
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

from ..document import machine_lines, table
from ..machine_info import describe
from ..series import QUICK, Case, Say, measure
from ..workers import folder

SCHEMA = "lenslink.bench.peers/1"
PEERS = ("openmv", "serialtransfer", "mavlink", "cobs", "definition", "aravis")
_ROUNDS = 3
_SEED = 20260101


Receive = Callable[[], tuple[int, float]]
"""Receives the payload once: bytes that arrived, and the CPU seconds that it took."""


def timed(receive: Callable[[], int]) -> Receive:
    """*receive*, which returns the bytes that arrived, with all its time."""

    def run() -> tuple[int, float]:
        began = time.process_time()
        count = receive()
        return count, time.process_time() - began

    return run


@dataclass(frozen=True, slots=True)
class Need:
    """A package that a peer imports, its name where it is got, and how."""

    imports: str
    package: str
    how: str = field(default_factory=lambda: make_install_hint("bench"))

    @property
    def missing(self) -> bool:
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


def load(name: str) -> ModuleType:
    """A peer by its module's name."""
    return import_module(f"{__name__}.{name}")


def lacking(peer: ModuleType) -> str | None:
    """Why a peer cannot run here, and how it could; None if it can."""
    for need in peer.NEEDS:
        if need.missing:
            return f"{need.package} is not installed ({need.how})"
    return None


def run(say: Say) -> dict[str, Any]:
    """Measure the driver and every peer that is there; what ``--json`` prints."""
    noise = np.random.default_rng(_SEED).integers(0, 1 << 12, 64 << 20, dtype="<u2").tobytes()
    runs: dict[str, Receive] = {}
    found: dict[str, ModuleType] = {}
    not_run = []
    for name in PEERS:
        peer = load(name)
        why = lacking(peer)
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
    with folder() as place:
        for round_ in range(_ROUNDS):
            # One after the other, and again: what the machine does meanwhile is in all of them.
            driver.append(measure(Case("unix", 65536), QUICK, place, say))
            for name, receive in runs.items():
                say(f"{found[name].NAME}: {round_ + 1} of {_ROUNDS}")
                rates[name].append(_rate(found[name], receive))
    entries = [
        {
            "name": "LensLink",
            "mb_per_cpu_s": round(statistics.median(d["gb_per_cpu_s"] for d in driver) * 1000, 1),
            "spread": sorted(round(d["gb_per_cpu_s"] * 1000, 1) for d in driver),
            "note": "the driver over AF_UNIX, kernel included; 64 KiB, CRC-32, into the frame",
            "version": "",
        }
    ]
    entries += [_entry(found[name], rates[name]) for name in runs]
    return {"schema": SCHEMA, "machine": describe(), "peers": entries, "not_run": not_run}


def _rate(peer: ModuleType, receive: Receive) -> float:
    """MB per CPU-second of one run."""
    count, spent = receive()
    if count < peer.BYTES:
        raise RigError(f"bench: {peer.NAME} received {count} of {peer.BYTES} bytes")
    return count / spent / 1e6


def _entry(peer: ModuleType, rates: list[float]) -> dict[str, Any]:
    return {
        "name": peer.NAME,
        "mb_per_cpu_s": round(statistics.median(rates), 1),
        "spread": sorted(round(rate, 1) for rate in rates),
        "note": peer.NOTE,
        "version": ", ".join(f"{n.package} {n.version}".strip() for n in peer.NEEDS),
    }


def markdown(result: dict[str, Any]) -> str:
    """The part of ``lenslink bench peers``."""
    return "\n".join(_lines(result))


def _lines(result: dict[str, Any]) -> Iterator[str]:
    yield "## Beside others (`lenslink bench peers`)"
    yield ""
    yield from machine_lines(result["machine"])
    yield ""
    yield "The same noise of 12 bits a pixel; MB of payload per CPU-second of the receiver, the"
    yield f"median of {_ROUNDS} rounds in which all took turns, and the extremes. The peers, but"
    yield "for Aravis, read from memory and are spared the kernel, which the driver's figure holds:"
    yield "that favours them."
    yield ""
    rows = []
    for each in result["peers"]:
        rate = f"{each['mb_per_cpu_s']:.1f} ({each['spread'][0]:.1f}-{each['spread'][-1]:.1f})"
        rows.append((each["name"], rate, each["version"], each["note"]))
    yield from table(("", "MB per CPU-s", "version", ""), rows)
    yield "Aravis, where it runs, is the one that comes close or is ahead: it is C, and checks no"
    yield "CRC of the payload, so that a damaged pixel passes for a good one. A parser that is slow"
    yield "in this table is fast enough for the serial lines that it was made for."
    yield ""
    for each in result["not_run"]:
        yield f"- NOT RUN: {each['name']}: {each['why']}"
    yield ""
