"""BENCHMARKS.md out of the figures: each command writes its own part, and leaves the other's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lenslink.errors import UsageError
from lenslink.image_files.atomic_file import publish

from .plot import label

_TITLE = """# Benchmarks

Written by `make bench`, `make bench-peers` and `lenslink bench link`, not by hand. Each part names
its machine, date and commit. Absolute figures are that machine's, at that moment; the ratios, whose
two sides were measured alternately in one run, are what is worth comparing.
"""
_PARTS = ("host", "peers", "link")


def write(path: Path, part: str, text: str) -> None:
    """Put *text* in the place of its part of the report at *path*, which may not be there yet.

    Raises :exc:`~lenslink.errors.UsageError` for a file that is no such report, and
    :exc:`~lenslink.errors.StorageError`.
    """
    found = {**check(path), part: text.strip() + "\n"}
    parts = [name for name in _PARTS if name in found]
    body = "".join(f"\n<!-- {name} -->\n\n{found[name]}\n<!-- end -->\n" for name in parts)
    with publish(path, True) as file:
        file.write((_TITLE + body).encode())


def check(path: Path) -> dict[str, str]:
    """The parts of the report at *path*, if there is one."""
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    parts = dict(re.findall(r"<!-- (\w+) -->\n\n(.*?)\n<!-- end -->", text, re.DOTALL))
    if not parts:
        raise UsageError(f"{path} is not a report of lenslink bench: it will not be replaced")
    return parts


def machine_lines(machine: dict[str, Any]) -> Iterator[str]:
    """What the figures belong to."""
    memory = machine["memory_bytes"]
    size = f", {memory / 2**30:.0f} GiB" if memory else ""
    load = machine["load"]
    yield f"- {machine['cpu']}, {machine['cores']} cores{size}; {machine['system']}"
    yield f"- {machine['python']}, isal {machine['isal']}, numpy {machine['numpy']}"
    yield f"- LensLink {machine['lenslink']}, commit {machine['commit'] or 'unknown'}"
    busy = f"; load at the start {load[0]:.1f}" if load else ""
    yield f"- {machine['date']}{busy}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown; all but the first column are numbers."""
    yield f"| {' | '.join(header)} |"
    yield f"|---|{'---:|' * (len(header) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def markdown(result: dict[str, Any]) -> str:
    """The part of ``lenslink bench host``."""
    return "\n".join(_lines(result))


def _lines(result: dict[str, Any]) -> Iterator[str]:
    yield f"## The driver (`lenslink bench host{' --quick' if result['quick'] else ''}`)"
    yield ""
    yield from machine_lines(result["machine"])
    yield ""
    yield from _targets(result)
    yield from _throughput(result["series"])
    yield from _memory(result["series"])
    yield from _latency(result["latency"])
    yield from _method(result)


def _targets(result: dict[str, Any]) -> Iterator[str]:
    yield "### Held against its bounds"
    yield ""
    rows = []
    for each in result["targets"]:
        sign = "at most" if each["at_most"] else "at least"
        verdict = "met" if each["met"] else "**not met**"
        rows.append((each["name"], f"{each['value']:.2f}", f"{sign} {each['bound']:g}", verdict))
    yield from table(("", "this run", "bound", ""), rows)


def _throughput(series: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "### Throughput"
    yield ""
    yield "GB per CPU-second, user and system, of every process of the host; in brackets the least"
    yield "and the most of the repetitions. 10 Gbit/s are 1.25 GB/s."
    yield ""
    rows = []
    for each in series:
        low, high = each["spread"]["driver"]
        rows.append(
            (
                label(each),
                f"{each['tile_bytes']}",
                f"{each['gb_per_cpu_s']:.2f} ({low:.2f}-{high:.2f})",
                f"{each['bare_gb_per_cpu_s']:.2f}",
                f"{each['crc_gb_per_cpu_s']:.1f}",
                f"{each['copy_gb_per_cpu_s']:.1f}",
                f"{each['ratio_bare']:.2f}",
                f"{each['ratio_bound']:.2f}",
                f"{each['wall_gb_per_s']:.2f}",
                f"{each['discarded']}",
            )
        )
    header = (
        "", "tile, B", "driver", "bare", "CRC", "copy", "of bare", "of bare + CRC", "wall, GB/s",
        "discarded",
    )  # fmt: skip
    yield from table(header, rows)
    stalls = sum(each["credit_stalls"] for each in series)
    waited = sum(each["credit_stalled_s"] for each in series)
    yield f"The modules waited for credit {stalls} times, {waited:.2f} s in all."
    yield ""


def _memory(series: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "### Memory of the host"
    yield ""
    rows = []
    for each in series:
        above = each["peak_rss_bytes"] - each["idle_rss_bytes"]
        if each["nominal_tile_bytes"] != 262144:
            continue
        rows.append(
            (
                label(each),
                f"{each['frame_bytes'] / 1e6:.1f}",
                f"{each['idle_rss_bytes'] / 1e6:.0f}",
                f"{each['peak_rss_bytes'] / 1e6:.0f}",
                f"{above / each['frame_bytes'] / each['modules']:.2f}",
                _handed(each, "memory"),
                _handed(each, "rate"),
            )
        )
    header = (
        "", "frame, MB", "idle, MB", "peak, MB", "above idle, frames a module",
        "the same with a ring of 2", "GB per CPU-s with it and its reader",
    )  # fmt: skip
    yield from table(header, rows)


def _handed(each: dict[str, Any], what: str) -> str:
    """What the hand-off through a ring cost, where that was measured."""
    if "ring_gb_per_cpu_s" not in each:
        return ""
    if what == "rate":
        return f"{each['ring_gb_per_cpu_s']:.2f}"
    above = each["ring_peak_rss_bytes"] - each["ring_idle_rss_bytes"]
    return f"{above / each['frame_bytes'] / each['modules']:.2f}"


def _latency(timed: dict[str, Any]) -> Iterator[str]:
    yield "### Latency"
    yield ""
    tile = timed["tile_bytes"]
    yield f"{timed['transport']}, tiles of {tile} bytes, frames of {timed['frame_bytes']} bytes;"
    yield "microseconds. The ping is a byte to the source and the bytes of a first tile back, over"
    yield "a plain socket. Paced: 30 frames a second. Loaded: frames back to back."
    yield ""
    rows = []
    for name in ("paced", "loaded"):
        found = timed[name]
        for key, what in (
            ("first_tile_us", "first tile to the ISP"),
            ("last_tile_us", "last tile to the ISP"),
            ("driver_first_tile_us", "first tile to the driver"),
            ("ping_us", "ping"),
        ):
            values = (f"{found[key][q]:.0f}" for q in ("p50", "p99", "max"))
            rows.append((f"{name}: {what}", *values))
    yield from table(("", "p50", "p99", "max"), rows)
    for name in ("paced", "loaded"):
        found = timed[name]
        lead = found["first_tile_before_second_half_us"]["p50"]
        yield f"- {name}: the module takes {found['device_us']:.0f} us before it sends; of the"
        yield f"  first tile's time the wire takes {found['wire_us']:.0f} (half a ping), the host"
        yield f"  {found['host_us']:.0f}; the ISP began on it before the second half was sent in"
        yield f"  {found['began_before_second_half']:.0%} of frames, {lead:.0f} us before;"
        yield f"  {found['credit_stalls']} waits for credit, {found['credit_stalled_s']:.3f} s."
    contact = timed["contact"]
    if "first_tile_ms" in contact:
        took = contact["first_tile_ms"]
        yield f"- From contact to the first tile of a simulated module: {took:.0f} ms."
    else:
        yield f"- From contact to the first tile: NOT RUN ({contact['not_run']})."
    yield ""


def _method(result: dict[str, Any]) -> Iterator[str]:
    yield "### How it was measured, and what it does not say"
    yield ""
    yield "- The sender is the firmware's module in a process of its own, with packets that were"
    yield "  made ahead; nothing of it counts. No silicon is involved: the wire is the kernel."
    yield "- Over shm: it writes its pixels to the host's frames, as a sensor's DMA does: that copy"
    yield "  is the module's, as the kernel's copy into a socket is. The bare transport is the"
    yield "  ring, with the reader's copy. The bound is a share of the bare ring. The CRC alone"
    yield "  reads its own core's caches: its rate depends on the processor, not on the driver."
    yield "- Driver, bare transport, CRC and copy alternate in one process, over the same memory:"
    yield "  as many frames in turns as the driver took. A ratio is the median of all repetitions."
    yield "- Every timed run holds a damaged tile under the CRC of the original and a repeated one:"
    yield "  both are rejected, the first is asked for again, and the frame's pixels are checked."
    yield "- Senders share the cores with the host, so wall figures of several modules are low; CPU"
    yield "  figures are not touched by that, but by caches that others use, and by a busy machine."
    yield "- For latency the source keeps to core 0, host and ISP to core 1, as module and phone"
    yield "  share no core; so do both ends of the ping. The kernel would put a process that a"
    yield "  sender wakes on the sender's core, where it waits until the sender pauses. The ISP"
    yield "  shares the driver's core, so the scheduler may let it wait until the driver pauses."
    for each in result["series"]:
        if "disturbed" in each:
            yield f"- Measured a second time: {label(each)}, since {each['disturbed']}."
    for each in result["not_run"]:
        yield f"- NOT RUN: {each['series']}: {each['why']}"
    yield ""
