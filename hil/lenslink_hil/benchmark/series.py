"""A series of the benchmark: one transport, tile size, frame size and number of modules.

In each repetition the driver's run is followed by the bare transport's, the CRC's and the memory's,
all in the same processes: what the machine does meanwhile is in all of them, and a ratio of figures
of one repetition has least of it. Stated is the median of the repetitions, with the extremes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenslink.deadline import Deadline
from lenslink.transports.shm import check_system

from .receiver import WARM_FRAMES
from .workers import Worker

NOMINAL = (4096, 16384, 65536, 262144, 1048576)
"""Tile sizes, bytes; a module takes the whole rows, or parts of one, that fit."""
FRAMES = {"0.3": (640, 480), "12": (5456, 2304), "100": (12288, 8192)}
"""Width and height by megapixels; that of 12 so that packed rows come close to every tile size."""
HANDED_OFF = 262144
"""The tile size at which frames go through a ring to another process besides."""
_PATIENCE_S = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """What a series measures."""

    transport: str
    nominal: int
    megapixels: str = "12"
    modules: int = 1

    @property
    def name(self) -> str:
        modules = f", {self.modules} modules" if self.modules > 1 else ""
        return f"{self.transport}, {self.nominal // 1024} KiB, {self.megapixels} MP{modules}"


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: bytes of a run, repetitions, and seconds after which two are enough."""

    run_bytes: int
    repetitions: int
    seconds: float


QUICK = Effort(80 << 20, 5, 2.0)
FULL = Effort(400 << 20, 9, 12.0)


def frames_of(case: Case, effort: Effort) -> int:
    """Frames of a run: enough bytes, and enough frames that starting is not what is measured."""
    width, height = FRAMES[case.megapixels]
    return max(WARM_FRAMES + 1, math.ceil(effort.run_bytes / (1.5 * width * height)))


def measure(case: Case, effort: Effort, folder: Path, say: Say) -> dict[str, Any]:
    """One entry of ``series``.

    Raises :exc:`~lenslink.errors.RigError` if a run goes wrong, and
    :exc:`~lenslink.errors.UsageError` for a transport that this system does not have.
    """
    if case.transport == "shm":
        check_system()
    frames = frames_of(case, effort)
    with contextlib.ExitStack() as stack:
        say(f"{case.name}: starting")
        # The sources first: a host starts faster than a source has made its packets.
        sources = [
            stack.enter_context(source(case, number, frames, folder))
            for number in range(case.modules)
        ]
        ready = [each.hear(Deadline(_PATIENCE_S)) for each in sources]
        hosts = [
            stack.enter_context(Worker("receiver", [json.dumps(each)], folder)) for each in ready
        ]
        readers = [
            stack.enter_context(Worker("ring_reader", [], folder))
            for _ in hosts
            if case.nominal == HANDED_OFF and case.transport == "unix"
        ]
        usual = _KINDS if readers else _KINDS[:-1]
        runs: dict[str, list[list[dict[str, Any]]]] = {kind: [] for kind in usual}
        stalls: list[dict[str, Any]] = []
        began = time.monotonic()
        for repetition in range(effort.repetitions):
            if repetition >= 2 and time.monotonic() - began > effort.seconds:
                break
            # To and fro, so that neither always follows the other.
            # The driver first of all: the memory of the others would hide its own.
            for kind in usual if repetition % 2 == 0 else reversed(usual):
                say(f"{case.name}: {kind}, {repetition + 1} of at most {effort.repetitions}")
                command: dict[str, Any] = {"do": kind, "frames": frames}
                if kind in ("driver", "ring"):
                    command |= {"tile": case.nominal, "damage_at": frames - 1}
                for number, host in enumerate(hosts):
                    if kind == "ring":
                        name = ring_name()
                        command["ring"] = name
                        readers[number].say(ring=name)
                    host.say(**command)
                heard = [host.hear(Deadline(_PATIENCE_S)) for host in hosts]
                if kind == "ring":
                    for run, reader in zip(heard, readers, strict=True):
                        isp = reader.hear(Deadline(_PATIENCE_S))
                        # It looks at each frame's state, not at its pixels: those are the ISP's.
                        run["cpu_s"] += isp["cpu_s"]
                        run["skipped"] = isp["skipped"]
                runs[kind].append(heard)
                if kind in ("driver", "ring", "bare"):
                    told = [each.hear(Deadline(_PATIENCE_S)) for each in sources]
                    if kind == "driver":
                        stalls += told
    return _entry(case, ready[0], frames * case.modules, runs, stalls)


_KINDS = ("driver", "bare", "crc", "copy", "ring")
_rings = itertools.count()


def ring_name() -> str:
    """A name that no other ring has."""
    return f"bench-{os.getpid()}-{next(_rings)}"


def source(case: Case, number: int, damage_every: int, folder: Path) -> Worker:
    """A process that sends what *case* asks for."""
    width, height = FRAMES[case.megapixels]
    url = "tcp:127.0.0.1:0" if case.transport == "tcp" else f"{case.transport}:{folder}/{number}"
    options = {
        "width": width,
        "height": height,
        "tile": case.nominal,
        "serial": f"BENCH-{number}",
        "damage-every": damage_every,
    }
    arguments = [url]
    for key, value in options.items():
        arguments += [f"--{key}", str(value)]
    # Its socket has to be free: the source before it may have left one.
    if case.transport != "tcp":
        (folder / str(number)).unlink(missing_ok=True)
    return Worker("source", arguments, folder)


def _entry(
    case: Case,
    ready: dict[str, Any],
    frames: int,
    runs: dict[str, list[list[dict[str, Any]]]],
    stalls: list[dict[str, Any]],
) -> dict[str, Any]:
    gigabytes = frames * ready["frame_bytes"] / 1e9
    rates = {
        kind: [gigabytes / sum(run["cpu_s"] for run in repetition) for repetition in runs[kind]]
        for kind in runs
    }
    walls = {
        kind: [gigabytes / max(run["wall_s"] for run in repetition) for repetition in runs[kind]]
        for kind in runs
    }
    driver, bare, crc = rates["driver"], rates["bare"], rates["crc"]
    bound = [1 / (1 / b + 1 / c) for b, c in zip(bare, crc, strict=True)]
    discards: Counter[str] = Counter()
    for repetition in runs["driver"]:
        for run in repetition:
            discards.update(run["discards"])
    first = runs["driver"][0]
    handed: dict[str, Any] = {}
    if "ring" in runs:
        handed = {
            "ring_gb_per_cpu_s": _median(rates["ring"]),
            "ring_peak_rss_bytes": sum(run["peak_rss_bytes"] for run in runs["ring"][0]),
            "ring_idle_rss_bytes": sum(run["idle_rss_bytes"] for run in runs["ring"][0]),
            "ring_skipped": sum(run["skipped"] for each in runs["ring"] for run in each),
        }
    return {
        "transport": case.transport,
        "nominal_tile_bytes": case.nominal,
        "tile_bytes": ready["tile_bytes"],
        "frame_bytes": ready["frame_bytes"],
        "megapixels": case.megapixels,
        "pixel_format": f"0x{ready['pixel_format']:08X}",
        "modules": case.modules,
        "gb_per_cpu_s": _median(driver),
        "bare_gb_per_cpu_s": _median(bare),
        "crc_gb_per_cpu_s": _median(crc),
        "copy_gb_per_cpu_s": _median(rates["copy"]),
        "bound_gb_per_cpu_s": _median(bound),
        "wall_gb_per_s": _median(walls["driver"]),
        "bare_wall_gb_per_s": _median(walls["bare"]),
        "peak_rss_bytes": sum(run["peak_rss_bytes"] for run in first),
        "idle_rss_bytes": sum(run["idle_rss_bytes"] for run in first),
        "discarded": discards["payload_crc"],
        "discards": dict(discards),
        "repaired": sum(run["repaired"] for repetition in runs["driver"] for run in repetition),
        "ratio_bare": _ratio(driver, bare),
        "ratio_crc": _ratio(driver, crc),
        "ratio_bound": _ratio(driver, bound),
        "spread": {kind: [_round(min(found)), _round(max(found))] for kind, found in rates.items()},
        "repetitions": len(driver),
        "run_bytes": frames * ready["frame_bytes"],
        "credit_stalls": sum(each["stalls"] for each in stalls),
        "credit_stalled_s": _round(sum(each["stalled_s"] for each in stalls)),
        **handed,
    }


def _median(values: list[float]) -> float:
    return _round(statistics.median(values))


def _ratio(values: list[float], others: list[float]) -> float:
    """The median of the ratios, each of one repetition."""
    return _median([a / b for a, b in zip(values, others, strict=True)])


def _round(value: float) -> float:
    return round(value, 4)
