"""Writes BENCHMARKS.md: each ``lenslink bench`` command replaces its own part of the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lenslink.errors import UsageError
from lenslink.image_files.atomic_file import publish

from .plot import describe_series

_TITLE = """# Benchmarks

This file is written by `make bench`, `make bench-peers` and
`lenslink bench link | hdr | denoise | zoom`, not by hand.
Each part names its machine, date and commit. Compare the ratios: their two sides were measured in
turns, in one run. Absolute figures hold for that machine at that time only.
"""
_PARTS = ("host", "peers", "link", "hdr", "denoise", "zoom")


def write_part(path: Path, part: str, text: str) -> None:
    """Replace one part of the report at *path*, or create the report.

    Raises:
        UsageError: The file is not a report of ``lenslink bench``.
        StorageError: The file cannot be written.
    """
    found = {**read_parts(path), part: text.strip() + "\n"}
    parts = [name for name in _PARTS if name in found]
    body = "".join(f"\n<!-- {name} -->\n\n{found[name]}\n<!-- end -->\n" for name in parts)
    with publish(path, True) as file:
        file.write((_TITLE + body).encode())


def read_parts(path: Path) -> dict[str, str]:
    """Return the parts of the report at *path* by name; none if there is no file."""
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    parts = dict(re.findall(r"<!-- (\w+) -->\n\n(.*?)\n<!-- end -->", text, re.DOTALL))
    if not parts:
        raise UsageError(f"{path} is not a report of lenslink bench: it will not be replaced")
    return parts


def format_machine(machine: dict[str, Any]) -> Iterator[str]:
    """Yield the machine, the versions, the commit and the date of a result."""
    memory = machine["memory_bytes"]
    size = f", {memory / 2**30:.0f} GiB" if memory else ""
    load = machine["load"]
    yield f"- {machine['cpu']}, {machine['cores']} cores{size}; {machine['system']}"
    yield f"- {machine['python']}, isal {machine['isal']}, numpy {machine['numpy']}"
    yield f"- LensLink {machine['lenslink']}, commit {machine['commit'] or 'unknown'}"
    busy = f"; load at the start {load[0]:.1f}" if load else ""
    yield f"- {machine['date']}{busy}"


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table in Markdown. All columns but the first are numbers."""
    yield f"| {' | '.join(header)} |"
    yield f"|---|{'---:|' * (len(header) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def format_host(result: dict[str, Any]) -> str:
    """Return the part of ``lenslink bench host``."""
    return "\n".join(_host_lines(result))


def _host_lines(result: dict[str, Any]) -> Iterator[str]:
    yield f"## The driver (`lenslink bench host{' --quick' if result['quick'] else ''}`)"
    yield ""
    yield from format_machine(result["machine"])
    yield ""
    yield from _target_lines(result)
    yield from _throughput_lines(result["series"])
    yield from _memory_lines(result["series"])
    yield from _latency_lines(result["latency"])
    yield from _method_lines(result)


def _target_lines(result: dict[str, Any]) -> Iterator[str]:
    yield "### Bounds"
    yield ""
    rows = []
    for each in result["targets"]:
        sign = "at most" if each["at_most"] else "at least"
        verdict = "met" if each["met"] else "**not met**"
        rows.append((each["name"], f"{each['value']:.2f}", f"{sign} {each['bound']:g}", verdict))
    yield from format_table(("", "this run", "bound", ""), rows)


def _throughput_lines(series: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "### Throughput"
    yield ""
    yield "GB per CPU-second (user and system) of all processes of the host. In brackets: the"
    yield "lowest and the highest of the repetitions. 10 Gbit/s are 1.25 GB/s."
    yield ""
    rows = []
    for each in series:
        low, high = each["spread"]["driver"]
        rows.append(
            (
                describe_series(each),
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
    yield from format_table(header, rows)
    stalls = sum(each["credit_stalls"] for each in series)
    waited = sum(each["credit_stalled_s"] for each in series)
    yield f"The modules waited for credit {stalls} times, {waited:.2f} s in all."
    yield ""


def _memory_lines(series: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "### Memory of the host"
    yield ""
    rows = []
    for each in series:
        above = each["peak_rss_bytes"] - each["idle_rss_bytes"]
        if each["nominal_tile_bytes"] != 262144:
            continue
        rows.append(
            (
                describe_series(each),
                f"{each['frame_bytes'] / 1e6:.1f}",
                f"{each['idle_rss_bytes'] / 1e6:.0f}",
                f"{each['peak_rss_bytes'] / 1e6:.0f}",
                f"{above / each['frame_bytes'] / each['modules']:.2f}",
                _ring_cell(each, "memory"),
                _ring_cell(each, "rate"),
            )
        )
    header = (
        "", "frame, MB", "idle, MB", "peak, MB", "above idle, frames a module",
        "the same with a frame ring of 2", "GB per CPU-s with the ring and its reader",
    )  # fmt: skip
    yield from format_table(header, rows)


def _ring_cell(each: dict[str, Any], what: str) -> str:
    """Return the cost of the frame ring, "" for a series that was measured without one."""
    if "ring_gb_per_cpu_s" not in each:
        return ""
    if what == "rate":
        return f"{each['ring_gb_per_cpu_s']:.2f}"
    above = each["ring_peak_rss_bytes"] - each["ring_idle_rss_bytes"]
    return f"{above / each['frame_bytes'] / each['modules']:.2f}"


def _latency_lines(timed: dict[str, Any]) -> Iterator[str]:
    yield "### Latency"
    yield ""
    tile = timed["tile_bytes"]
    yield f"{timed['transport']}, tiles of {tile} bytes, frames of {timed['frame_bytes']} bytes."
    yield "All figures are microseconds. A ping sends one byte to the source over a plain socket,"
    yield "and the source answers with the bytes of a first tile. Paced: 30 frames a second."
    yield "Loaded: frames back to back."
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
    yield from format_table(("", "p50", "p99", "max"), rows)
    for name in ("paced", "loaded"):
        found = timed[name]
        lead = found["first_tile_before_second_half_us"]["p50"]
        early, waits = found["began_before_second_half"], found["credit_stalls"]
        yield f"- {name}: the module takes {found['device_us']:.0f} us before it sends. Of the time"
        yield f"  to the first tile the wire takes {found['wire_us']:.0f} us (half a ping) and the"
        yield f"  host {found['host_us']:.0f} us. In {early:.0%} of frames the ISP began before the"
        yield f"  second half was sent, by {lead:.0f} us (median). The module waited for credit"
        yield f"  {waits} times, {found['credit_stalled_s']:.3f} s."
    contact = timed["contact"]
    if "first_tile_ms" in contact:
        took = contact["first_tile_ms"]
        yield f"- From contact to the first tile of a simulated module: {took:.0f} ms."
    else:
        yield f"- From contact to the first tile: NOT RUN ({contact['not_run']})."
    yield ""


def _method_lines(result: dict[str, Any]) -> Iterator[str]:
    yield "### Method and limits"
    yield ""
    yield "- The sender is the firmware's module in a process of its own, with packets that were"
    yield "  made ahead. The sender's time does not count. The wire is the kernel: no board takes"
    yield "  part."
    yield "- Over shm: the module writes pixels to the host's frames, as a sensor's DMA does."
    yield "  That copy is the module's, as the kernel's copy into a socket is. The bare transport"
    yield "  is the shared byte ring with the reader's copy. The bound is a share of the bare"
    yield "  ring. The CRC alone reads its own core's caches, so its rate depends on the"
    yield "  processor, not on the driver."
    yield "- Driver, bare transport, CRC and copy take turns in one process and use as much"
    yield "  memory as the driver. A ratio is the median of all repetitions."
    yield "- Every timed run contains a damaged tile and a repeated tile. The driver must discard"
    yield "  both and ask for the first again, and the pixels of the frame are checked."
    yield "- Senders share the cores with the host, so wall figures of several modules are low. CPU"
    yield "  figures change only with shared caches and with a busy machine."
    yield "- For latency the source runs on core 0 and host and ISP on core 1, because a module"
    yield "  and a phone share no core. Both ends of the ping do the same. Otherwise the kernel"
    yield "  would wake the host on the sender's core, where the host waits until the sender"
    yield "  pauses. The ISP shares the driver's core, so the ISP may wait until the driver"
    yield "  pauses."
    for each in result["series"]:
        if "disturbed" in each:
            yield f"- Measured a second time: {describe_series(each)}, since {each['disturbed']}."
    for each in result["not_run"]:
        yield f"- NOT RUN: {each['series']}: {each['why']}"
    yield ""
