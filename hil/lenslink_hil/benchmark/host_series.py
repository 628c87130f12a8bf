"""All of ``lenslink bench host``: the series, the latency, and the bounds for the results."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lenslink.errors import RigError, UsageError

from . import latency
from .machine_info import describe_machine
from .series import FULL, NOMINAL, QUICK, RING_TILE, Case, Effort, Say, measure
from .workers import make_folder

SCHEMA = "lenslink.bench.host/2"
TRANSPORTS = ("unix", "tcp", "shm")
_LATENCY_TILE = 65536
_QUICK_S = 26.0
"""Seconds for all series of a quick run, which may take 40 in all."""
_START_S = 1.5


def list_cases(transports: Sequence[str], quick: bool) -> Iterator[Case]:
    """Yield every series; those of a quick run come first."""
    first, *others = transports
    for nominal in NOMINAL:
        yield Case(first, nominal)
    for transport in others:
        for nominal in (RING_TILE,) if quick else NOMINAL:
            yield Case(transport, nominal)
    if not quick:
        for megapixels in ("0.3", "100"):
            yield Case(first, RING_TILE, megapixels)
        for modules in (2, 3, 4):
            yield Case(first, RING_TILE, modules=modules)


def measure_all(transports: Sequence[str], quick: bool, say: Say) -> dict[str, Any]:
    """Measure all series and the latency, and return the object that ``--json`` prints."""
    effort = QUICK if quick else FULL
    series: list[dict[str, Any]] = []
    not_run: list[dict[str, str]] = []
    machine = describe_machine()
    todo = list(list_cases(transports, quick))
    end = time.monotonic() + _QUICK_S
    with make_folder() as place:
        for number, case in enumerate(todo):
            if quick:
                # On a busy machine a run has fewer repetitions, and does not take longer.
                share = (end - time.monotonic()) / (len(todo) - number)
                effort = replace(QUICK, seconds=min(QUICK.seconds, share - _START_S))
            try:
                series.append(_measure_twice(case, effort, place, say))
            except UsageError as error:
                # This system does not have the transport.
                not_run.append({"series": case.name, "why": str(error)})
        timed = latency.measure(_LATENCY_TILE, 30 if quick else 300, place, say)
    result = {
        "schema": SCHEMA,
        "machine": machine,
        "quick": quick,
        "series": series,
        "latency": timed,
        "not_run": not_run,
    }
    return {**result, "targets": [target.as_json() for target in compute_targets(result)]}


def _measure_twice(case: Case, effort: Effort, place: Path, say: Say) -> dict[str, Any]:
    """Measure a series, and measure again if the first try is disturbed.

    With more modules than cores on a busy machine, one module may be silent for too long.
    """
    try:
        return measure(case, effort, place, say)
    except RigError as error:
        disturbed = str(error)
        say(f"{case.name}: once more ({disturbed})")
    try:
        # The result says so, because the driver may have been at fault.
        return measure(case, effort, place, say) | {"disturbed": disturbed}
    except RigError as error:
        raise RigError(f"{error} ({case.name})") from None


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for the driver: a ratio of two figures of this run."""

    name: str
    value: float
    bound: float
    at_most: bool = False

    @property
    def is_met(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "bound": self.bound,
            "at_most": self.at_most,
            "met": self.is_met,
        }


def find_entry(result: dict[str, Any], case: Case) -> dict[str, Any] | None:
    """Return the entry of a case, or None."""
    wanted = (case.transport, case.nominal, case.megapixels, case.modules)
    for each in result["series"]:
        keys = ("transport", "nominal_tile_bytes", "megapixels", "modules")
        if tuple(each[key] for key in keys) == wanted:
            found: dict[str, Any] = each
            return found
    return None


def compute_targets(result: dict[str, Any]) -> list[Target]:
    """Return the bounds that the series of this run allow to check."""
    found = []
    by_size = {nominal: find_entry(result, Case("unix", nominal)) for nominal in NOMINAL}
    largest = by_size[1048576]
    if (entry := by_size[65536]) is not None:
        found.append(Target("unix, 64 KiB: of the bare transport", entry["ratio_bare"], 0.5))
    if (entry := by_size[262144]) is not None:
        name = "unix, 256 KiB: of 1 / (1/bare + 1/crc)"
        found.append(Target(name, entry["ratio_bound"], 0.8))
    for nominal, bound in ((16384, 0.3), (4096, 0.2)):
        entry = by_size[nominal]
        if entry is not None and largest is not None:
            name = f"unix, {nominal // 1024} KiB: of the bare transport at 1 MiB"
            found.append(Target(name, entry["gb_per_cpu_s"] / largest["bare_gb_per_cpu_s"], bound))
    if (entry := find_entry(result, Case("shm", RING_TILE))) is not None:
        found.append(Target("shm, 256 KiB: of the bare ring", entry["ratio_bare"], 0.75))
    large, usual = find_entry(result, Case("unix", RING_TILE, "100")), by_size[RING_TILE]
    if large is not None and usual is not None:
        cost = usual["gb_per_cpu_s"] / large["gb_per_cpu_s"]
        found.append(Target("100 MP: cost of a byte over that at 12 MP", cost, 1.15, True))
        for key, name in (("", ""), ("ring_", ", with a ring")):
            above = large[f"{key}peak_rss_bytes"] - large[f"{key}idle_rss_bytes"]
            frames = above / large["frame_bytes"]
            found.append(Target(f"100 MP: memory above idle, in frames{name}", frames, 3, True))
    paced = result["latency"]["paced"]
    name = "first tile, paced: p50 over that of the bare ping"
    found.append(Target(name, paced["first_tile_over_ping"], 5, True))
    return found
