"""Find the fastest settings of one link: ``lenslink bench link URL --sweep``.

A sweep measures the link as it is opened without options. Then it varies one setting at a time, in
this order: lanes, packings, tile sizes. Each setting keeps its fastest value while the next one is
varied. The settings are compared by frames a second, since packings differ in the bytes of a frame.

:func:`search` and :func:`choose` decide what is measured next and what is pinned; they do no I/O.
:class:`Sweep` opens the module and measures with :func:`.link.measure`, on the link's own clock.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final, Protocol

from lenslink import Device
from lenslink.context import ClosesOnExit
from lenslink.errors import LensLinkError
from lenslink.transports import load_opener, parse
from lenslink_protocol.packings import find_layout
from lenslink_protocol.params import MAX_LANES, MAX_PAYLOAD

from .link_rate import Effort, Say, measure
from .machine_info import describe_machine

SCHEMA: Final = "lenslink.bench.sweep/1"
GAIN: Final = 1.03
"""Another value of a setting is chosen only if it is this much faster."""
CONFIRMED: Final = 3
"""The chosen point is measured this often before it is printed."""
LEAST_TILE_BYTES: Final = 2048
"""Shorter tiles are not tried: their headers alone cost 2 %."""


@dataclass(frozen=True, slots=True)
class Point:
    """One combination of settings. None and 0 leave a setting as it is without a sweep."""

    lanes: int | None = None
    packing: str | None = None
    tile_bytes: int = 0


START: Final = Point()
"""What a user gets who pins nothing."""


class MeasuredLink(Protocol):
    """The link that :func:`search` measures."""

    def list_lane_counts(self) -> Iterable[int]:
        """Return the other numbers of lanes that can be opened."""

    def list_packings(self) -> Iterable[str]:
        """Return the module's other packings."""

    def list_tile_sizes(self, point: Point) -> Iterable[int]:
        """Return the other tile sizes that the module offers for *point*."""

    def measure(self, point: Point) -> float:
        """Return the frames a second at *point*; 0 if *point* does not work."""


def search(link: MeasuredLink, rates: dict[Point, list[float]]) -> None:
    """Measure *link* point by point, and add each rate to *rates* as soon as it is known."""

    def visit(points: Iterable[Point]) -> None:
        for point in points:
            rate = link.measure(point)
            rates.setdefault(point, []).append(rate)

    visit([START])
    visit([replace(START, lanes=lanes) for lanes in link.list_lane_counts()])
    best = choose(rates)
    visit([replace(best, packing=packing) for packing in link.list_packings()])
    best = choose(rates)
    visit([replace(best, tile_bytes=size) for size in link.list_tile_sizes(best)])
    # One measurement may be a lucky one: repeat the chosen point in turns with the start.
    while len(rates[best := choose(rates)]) < CONFIRMED:
        visit([START] if best == START else [START, best])


def choose(rates: Mapping[Point, Sequence[float]]) -> Point:
    """Return the point to pin; START if none gains enough.

    Points are compared in the order of measurement. A later point is chosen only if it gains
    enough over the one chosen before: so no option is pinned that gains next to nothing.
    """
    best = START
    for point in rates:
        rate, least = median(rates[point]), median(rates[best])
        if rate > least and rate >= GAIN * least:
            best = point
    return best


class Sweep(ClosesOnExit):
    """Measures the points of the link at *url*: a context manager.

    *open_url* opens a module as a context manager. *effort* is what each point takes; its packing
    and its tile size are not varied if they are named.
    """

    def __init__(
        self,
        url: str,
        effort: Effort,
        open_url: Callable[[str], AbstractContextManager[Device]],
        say: Say,
    ) -> None:
        self.url = url
        self.effort = effort
        self.rates: dict[Point, list[float]] = {}
        self.results: dict[Point, dict[str, Any]] = {}
        """The first measurement of each point, as ``lenslink bench link --json`` has it."""
        self.not_run: list[dict[str, Any]] = []
        self.wrong_pixels = 0
        self._open_url = open_url
        self._say = say
        self._stack = ExitStack()
        self._device: Device | None = None
        self._lanes: int | None = None

    def run(self) -> None:
        """Measure all points. Whatever interrupts it leaves what has been measured in place.

        Raises what opening and streaming raise if the first point does not work.
        """
        search(self, self.rates)

    # --- the link of a search -------------------------------------------------------------

    def list_lane_counts(self) -> list[int]:
        """Return the other numbers of lanes that *url* may name.

        A module that is started for this URL has as many lanes as the URL says. Any other module
        offers what it offers: the first opening took all of them, or its transport has one.
        """
        device = self._open(None)
        url = parse(self.url)
        if "lanes" in url.options or "lanes" not in load_opener(url.scheme).options:
            return []
        own = device.session_info.lanes
        most = MAX_LANES if device.private else own
        return [lanes for lanes in range(1, most + 1) if lanes != own]

    def list_packings(self) -> list[str]:
        """Return the packings in the module's manifest but for its own choice."""
        if self.effort.packing is not None:
            return []
        known = [find_layout(code).packing.value for code in self._open(None).manifest.formats]
        return [packing for packing in known if packing != self.results[START]["packing"]]

    def list_tile_sizes(self, point: Point) -> list[int]:
        """Return the longest tile that the module takes, its half, its quarter and so on."""
        if self.effort.tile_bytes:
            return []
        found: list[int] = []
        size = asked = self._ask_tile_bytes(point, MAX_PAYLOAD)
        while asked >= LEAST_TILE_BYTES:
            if size not in (*found, self.results[point]["tile_bytes"]):
                found.append(size)
            asked //= 2
            size = self._ask_tile_bytes(point, asked)
        return found

    def _ask_tile_bytes(self, point: Point, tile_bytes: int) -> int:
        """Return how long a tile the module would make if *tile_bytes* were asked for."""
        answer = self._open(point.lanes).configure(
            mode=self.effort.mode,
            packing=point.packing or self.effort.packing,
            tile_bytes=tile_bytes,
            test_only=True,
        )
        return answer.tile_bytes

    def measure(self, point: Point) -> float:
        """Return the frames a second at *point*; 0, and an entry of ``not_run``, if it fails."""
        effort = replace(
            self.effort,
            packing=point.packing or self.effort.packing,
            tile_bytes=point.tile_bytes or self.effort.tile_bytes,
        )
        try:
            device = self._open(point.lanes)
            result = measure(device, effort, self._say)
            plan = device.configuration()
        except LensLinkError as error:
            self.close()
            if not self.results:
                raise
            self.not_run.append({**_settings_of(point), "why": str(error)})
            return 0.0
        assert plan is not None
        result["packing"] = find_layout(plan.pixel_format).packing.value
        self.results.setdefault(point, result)
        self.wrong_pixels += result["wrong_pixels"]
        return _compute_rate(result)

    # --- the module -----------------------------------------------------------------------

    def _open(self, lanes: int | None) -> Device:
        """Return the module opened with so many lanes."""
        if self._device is None or self._lanes != lanes:
            self.close()
            self._device = self._stack.enter_context(self._open_url(add_lanes(self.url, lanes)))
            self._lanes = lanes
        return self._device

    def close(self) -> None:
        self._device = None
        self._stack.close()

    # --- the result -----------------------------------------------------------------------

    def report(self, interrupted: bool) -> dict[str, Any]:
        """Return what ``--json`` prints; at least one point must have been measured."""
        chosen = choose(self.rates)
        first = self.results[START]
        best = self.results[chosen]
        url_options = {} if chosen.lanes is None else {"lanes": chosen.lanes}
        stream_options: dict[str, str | int] = {}
        if self.effort.mode is not None:
            stream_options["mode"] = self.effort.mode
        if chosen.packing is not None or self.effort.packing is not None:
            stream_options["packing"] = best["packing"]
        if chosen.tile_bytes or self.effort.tile_bytes:
            stream_options["tile_bytes"] = best["tile_bytes"]
        same = ("model", "serial", "firmware", "image_sha256", "bus", "clock")
        pinned = add_lanes(self.url, chosen.lanes)
        return {
            "schema": SCHEMA,
            "machine": describe_machine(),
            "url": self.url,
            **{key: first[key] for key in same},
            "interrupted": interrupted,
            "points": [
                self._make_row(each, each == chosen) for each in self.rates if each in self.results
            ],
            "not_run": self.not_run,
            "checked": self.effort.check,
            "wrong_pixels": self.wrong_pixels,
            "gain": 1.0 if chosen == START else _compute_gain(self.rates, chosen),
            "url_options": url_options,
            "stream_options": stream_options,
            "command": _format_command(pinned, stream_options),
            "python": _format_python(pinned, stream_options),
        }

    def _make_row(self, point: Point, chosen: bool) -> dict[str, Any]:
        result, rates = self.results[point], self.rates[point]
        rate, first = median(rates), _compute_rate(result)
        # The bytes of a frame, headers included, are the same in each measurement of the point.
        factor = rate / first if first else 1.0
        share = result["of_ceiling"]
        return {
            "lanes": result["lanes"],
            "packing": result["packing"],
            "tile_bytes": result["tile_bytes"],
            "frames_per_s": rate,
            "measurements": len(rates),
            "wire_bytes_per_s": result["wire_bytes_per_s"] * factor,
            "of_ceiling": None if share is None else share * factor,
            "default": point == START,
            "chosen": chosen,
        }


def _compute_rate(result: Mapping[str, Any]) -> float:
    """Return the rate of a measurement; whole frames would be too coarse for a slow link."""
    rate: float = result["pixel_bytes_per_s"] / result["frame_bytes"]
    return rate


def _compute_gain(rates: Mapping[Point, Sequence[float]], point: Point) -> float | None:
    """Return how many times faster than the start *point* is; None if the start stands still."""
    start = median(rates[START])
    return median(rates[point]) / start if start else None


def add_lanes(url: str, lanes: int | None) -> str:
    """Return *url*, which names no number of lanes, with the option ``lanes``."""
    return url if lanes is None else f"{url}{'&' if '?' in url else '?'}lanes={lanes}"


def _settings_of(point: Point) -> dict[str, Any]:
    return {"lanes": point.lanes, "packing": point.packing, "tile_bytes": point.tile_bytes}


def format_settings(settings: Mapping[str, Any]) -> str:
    """Return an entry of ``not_run`` as words: the settings that differ from the start."""
    named = [f"{name}={settings[name]}" for name in ("lanes", "packing", "tile_bytes")]
    return ", ".join(text for text in named if not text.endswith(("=None", "=0")))


def _format_command(url: str, options: Mapping[str, str | int]) -> str:
    words = ["lenslink", "stream", url]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _format_python(url: str, options: Mapping[str, str | int]) -> str:
    arguments = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f"lenslink.open({url!r}).stream({arguments})"


HEADER: Final = ("", "lanes", "packing", "tile, B", "frames/s", "wire, B/s", "of ceiling")


def format_rows(report: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """Yield the lines of a table for people: one for each point, in the order of measurement."""
    for point in report["points"]:
        marks = ["chosen"] * point["chosen"] + ["default"] * point["default"]
        share = point["of_ceiling"]
        yield (
            ", ".join(marks),
            str(point["lanes"]),
            point["packing"],
            f"{point['tile_bytes']:,}",
            f"{point['frames_per_s']:,.2f}",
            f"{point['wire_bytes_per_s']:,.0f}",
            "unknown" if share is None else f"{share:.3f}",
        )


def format_summary(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what to pin, for people: below the table."""
    if report["interrupted"]:
        yield "interrupted: the fastest of what was measured until then"
    clock = " (emulated time)" if report["clock"] == "emulated" else ""
    if any(point["chosen"] and point["default"] for point in report["points"]):
        yield f"gain       none{clock}: nothing is {GAIN - 1:.0%} faster than the default"
    elif report["gain"] is not None:
        yield f"gain       {report['gain']:.2f} times the frames of the default{clock}"
    if report["checked"] is not None:
        wrong = report["wrong_pixels"]
        verdict = f"{wrong} WRONG" if wrong else "every one right"
        yield f"checked    pixels against '{report['checked']}': {verdict}"
    yield f"command    {report['command']}"
    yield f"Python     {report['python']}"
