"""A series of the benchmark: one transport, tile size, frame size and number of modules.

In each repetition the driver, the bare transport, the CRC and the copy run in turns, in the same
processes. So other work of the machine changes all of them, and a ratio within one repetition
changes least. The result is the median of the repetitions, with the extremes.
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
"""Tile sizes in bytes. A module uses as many whole rows, or as much of one row, as fit."""
FRAMES = {"0.3": (640, 480), "12": (5456, 2304), "100": (12288, 8192)}
"""Width and height by megapixels. Packed rows of 12 MP come close to every tile size."""
RING_TILE = 262144
"""The tile size at which frames also go through a frame ring to another process."""
_PATIENCE_S = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """The conditions of a series."""

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
    """How long to measure: bytes of a run, repetitions, and seconds after which 2 are enough."""

    run_bytes: int
    repetitions: int
    seconds: float


QUICK = Effort(80 << 20, 5, 2.0)
FULL = Effort(400 << 20, 9, 12.0)


def count_frames(case: Case, effort: Effort) -> int:
    """Return the frames of a run: enough that the start does not count."""
    width, height = FRAMES[case.megapixels]
    return max(WARM_FRAMES + 1, math.ceil(effort.run_bytes / (1.5 * width * height)))


def measure(case: Case, effort: Effort, folder: Path, say: Say) -> dict[str, Any]:
    """Measure one entry of ``series``.

    Raises:
        RigError: A run failed.
        UsageError: This system does not have the transport.
    """
    if case.transport == "shm":
        check_system()
    frames = count_frames(case, effort)
    with contextlib.ExitStack() as stack:
        say(f"{case.name}: starting")
        # The sources first: a host starts faster than a source has made its packets.
        sources = [
            stack.enter_context(start_source(case, number, frames, folder))
            for number in range(case.modules)
        ]
        ready = [each.wait_for_answer(Deadline(_PATIENCE_S)) for each in sources]
        hosts = [
            stack.enter_context(Worker("receiver", [json.dumps(each)], folder)) for each in ready
        ]
        readers = [
            stack.enter_context(Worker("ring_reader", [], folder))
            for _ in hosts
            if case.nominal == RING_TILE and case.transport == "unix"
        ]
        usual = _KINDS if readers else _KINDS[:-1]
        runs: dict[str, list[list[dict[str, Any]]]] = {kind: [] for kind in usual}
        stalls: list[dict[str, Any]] = []
        began = time.monotonic()
        for repetition in range(effort.repetitions):
            if repetition >= 2 and time.monotonic() - began > effort.seconds:
                break
            # The order alternates, so that no kind always follows another. The driver is the very
            # first, because the memory of the others would hide the driver's.
            for kind in usual if repetition % 2 == 0 else reversed(usual):
                say(f"{case.name}: {kind}, {repetition + 1} of at most {effort.repetitions}")
                command: dict[str, Any] = {"do": kind, "frames": frames}
                if kind in ("driver", "ring"):
                    command |= {"tile": case.nominal, "damage_at": frames - 1}
                for number, host in enumerate(hosts):
                    if kind == "ring":
                        name = make_ring_name()
                        command["ring"] = name
                        readers[number].send_command(ring=name)
                    host.send_command(**command)
                heard = [host.wait_for_answer(Deadline(_PATIENCE_S)) for host in hosts]
                if kind == "ring":
                    for run, reader in zip(heard, readers, strict=True):
                        isp = reader.wait_for_answer(Deadline(_PATIENCE_S))
                        # The reader looks at the state of each frame, not at its pixels.
                        run["cpu_s"] += isp["cpu_s"]
                        run["skipped"] = isp["skipped"]
                runs[kind].append(heard)
                if kind in ("driver", "ring", "bare"):
                    told = [each.wait_for_answer(Deadline(_PATIENCE_S)) for each in sources]
                    if kind == "driver":
                        stalls += told
    return _entry(case, ready[0], frames * case.modules, runs, stalls)


_KINDS = ("driver", "bare", "crc", "copy", "ring")
_rings = itertools.count()


def make_ring_name() -> str:
    """Return a name that no other frame ring has."""
    return f"bench-{os.getpid()}-{next(_rings)}"


def start_source(case: Case, number: int, damage_every: int, folder: Path) -> Worker:
    """Start a process that sends what *case* asks for."""
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
    # The source before this one may have left its socket.
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
    """Return the median of the ratios within each repetition."""
    return _median([a / b for a, b in zip(values, others, strict=True)])


def _round(value: float) -> float:
    return round(value, 4)
