"""How long a tile takes to the ISP, where that time goes, and how soon a module is seen.

Source, driver and ISP (a reader of the driver's ring) are processes of one machine, whose monotonic
clock they share: a moment that one has noted is compared with one of another. The *ping* beside it
is a plain socket: a byte to the source, the bytes of a first tile back, under the same pacing. It
wakes two processes, as a tile on its way to the ISP does. The source keeps to one core, host and
ISP to another, since module and phone share none; else the kernel, which takes a sender for one
that is about to sleep, puts the host on the sender's. A phone's ISP has a core to itself; where
there are two in all it can only share one with a process that is at work when the first tile comes,
and the host's is the one that the ping is woken on too.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lenslink
from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError, RigError
from lenslink.transports import Transport

from .series import Case, Say, make_ring_name, start_source
from .workers import Worker

_PACED_US = 33_333
_PATIENCE_S = 60.0
_SIM = "sim:?scene=ramp&width=640&height=480"
_PINS = (0, 1)
_OFF_US = 300_000


def measure(nominal: int, count: int, folder: Path, say: Say) -> dict[str, Any]:
    """Measure ``latency``: *count* frames paced, and *count* frames back to back."""
    case = Case("unix", nominal)
    found: dict[str, Any] = {"transport": case.transport, "nominal_tile_bytes": nominal}
    with start_source(case, 0, 0, folder) as sender:
        ready = sender.wait_for_answer(Deadline(_PATIENCE_S))
        found |= {"tile_bytes": ready["tile_bytes"], "frame_bytes": ready["frame_bytes"]}
        with (
            Worker("receiver", [json.dumps(ready)], folder) as host,
            Worker("ring_reader", [], folder) as reader,
        ):
            sender.pin_to_core(0)
            host.pin_to_core(1)
            reader.pin_to_core(1)
            for name, interval_us in (("paced", _PACED_US), ("loaded", 0)):
                say(f"latency, {name}: ping")
                pinged = host.call(
                    Deadline(_PATIENCE_S), do="ping", count=count, interval_s=interval_us / 1e6
                )
                sender.wait_for_answer(Deadline(_PATIENCE_S))
                say(f"latency, {name}: {count} frames")
                ring = make_ring_name()
                reader.send_command(ring=ring)
                command = {"do": "latency", "tile": nominal, "count": count, "ring": ring}
                seen = host.call(Deadline(_PATIENCE_S), **command, interval_us=interval_us)["seen"]
                sent = sender.wait_for_answer(Deadline(_PATIENCE_S))
                read = reader.wait_for_answer(Deadline(_PATIENCE_S))
                found[name] = _condition(pinged["trips_s"], seen, read, sent)
    say("contact to first tile")
    found["contact"] = measure_contact()
    return found


def _condition(
    trips_s: Sequence[float],
    seen: dict[str, list[int]],
    read: dict[str, Any],
    sent: dict[str, Any],
) -> dict[str, Any]:
    stamps, reader = sent["stamps"], read["seen"]
    numbers = [number for number in seen if number in stamps and number in reader]
    if not numbers:
        raise RigError("bench: no frame has all its times")
    first = [(reader[n][0] - stamps[n][1]) / 1e3 for n in numbers]
    last = [(reader[n][1] - stamps[n][3]) / 1e3 for n in numbers]
    driver = [(seen[n][0] - stamps[n][1]) / 1e3 for n in numbers]
    device = [(stamps[n][1] - stamps[n][0]) / 1e3 for n in numbers]
    early = [(stamps[n][2] - reader[n][0]) / 1e3 for n in numbers]
    trips = [trip * 1e6 for trip in trips_s]
    wire = statistics.median(trips) / 2
    middle = statistics.median(first)
    return {
        "frames": len(numbers),
        "first_tile_us": compute_quantiles(first),
        "last_tile_us": compute_quantiles(last),
        "driver_first_tile_us": compute_quantiles(driver),
        "ping_us": compute_quantiles(trips),
        "skipped": read["skipped"],
        "first_tile_over_ping": round(middle / statistics.median(trips), 3),
        # How long the ISP had worked on the first rows when the second half was sent.
        "first_tile_before_second_half_us": {
            "least": round(min(early), 1),
            "p50": round(statistics.median(early), 1),
        },
        "began_before_second_half": round(sum(each > 0 for each in early) / len(early), 4),
        "device_us": round(statistics.median(device), 1),
        "wire_us": round(wire, 1),
        "host_us": round(middle - wire, 1),
        "credit_stalls": sent["stalls"],
        "credit_stalled_s": sent["stalled_s"],
    }


def compute_quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p99 and the largest. For few values the largest is the p99."""
    ordered = sorted(values)
    at = min(len(ordered) - 1, -(-99 * len(ordered) // 100) - 1)
    return {
        "p50": round(statistics.median(ordered), 1),
        "p99": round(ordered[at], 1),
        "max": round(ordered[-1], 1),
    }


def measure_contact() -> dict[str, Any]:
    """Return the milliseconds from contact of a simulated module to its first tile.

    The module is unseated and seated again. The time counts from its last contact, so it includes
    debouncing, the new session and the first exposure. It needs MicroPython.
    """
    kept: list[Transport] = []

    def keep(transport: Transport) -> Transport:
        kept.append(transport)
        return transport

    try:
        with lenslink.open(_SIM, timeout=20.0, wrap=keep) as device:
            device.start("full")
            device.next_frame().release()
            plant = kept[0].module  # type: ignore[attr-defined]
            off = [[0, pin, 0] for pin in _PINS]
            plant.command(contacts=[*off, *([_OFF_US, pin, 1] for pin in _PINS)])
            seated = time.monotonic() + _OFF_US / 1e6
            try:
                while True:
                    device.next_frame(2.0).release()
            except lenslink.Disconnected:
                device.renew(5.0)
            device.start("full")
            device.next_frame().release()
            first = device._session.frames.first_tile_time
    except LensLinkError as error:
        return {"bench": _SIM, "not_run": str(error)}
    return {"bench": _SIM, "first_tile_ms": round(((first or 0.0) - seated) * 1e3, 1)}
