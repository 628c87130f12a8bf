"""Turn the focus ring of a bench as fast as a hand can, and compare what the host learns of it."""

from __future__ import annotations

import random
from typing import Any

from lenslink import Device
from lenslink.deadline import Deadline
from lenslink.errors import Timeout
from lenslink_hil.faults.fault_plan import Direction, Fault, FaultPlan, Kind
from lenslink_protocol.ids import EventKind

TICKS_PER_S = 2000
INTERVAL_US = 200_000
"""Between two previews: tiles are read all the time, and the test remains cheap."""
_LONGEST_RUN = 4000
_FIRST_LOST = 40
"""The session opens without a loss, so that a slow machine does not give up."""


def lose_packets(share: float, seed: int, count: int) -> FaultPlan:
    """Return a plan that loses a share of the first *count* packets of both directions."""
    chance = random.Random(seed)
    return FaultPlan(
        tuple(
            Fault(Kind.DROP, direction, 0, packet=packet)
            for direction in Direction
            for packet in range(_FIRST_LOST, count)
            if chance.random() < share
        ),
        seed,
    )


def check_turns(device: Device, plant: Any, seconds: int, seed: int, patience_s: float) -> None:
    """Turn the ring to and fro at 2,000 ticks a second, and check that no tick is lost.

    *plant* takes commands and reports. The device must be open, and have no stream.
    """
    chance = random.Random(seed)
    deadline = Deadline(patience_s, "turning the focus ring")
    before = plant.request_report()
    assert before["ring_ticks"] == 0
    left, position = seconds * TICKS_PER_S, 0
    while left:
        ticks = min(left, chance.randint(1, _LONGEST_RUN))
        left -= ticks
        run = chance.choice([-ticks, ticks])
        position += run
        plant.command(ring=run)
    device.start(interval_us=INTERVAL_US, timeout=patience_s)
    moved = 0
    while plant.request_report()["ring_edges"] < seconds * TICKS_PER_S:
        with device.next_frame(deadline.remaining()) as frame:
            moved += frame.focus_ring != 0
    assert plant.request_report()["ring_ticks"] == position
    # A frame that began before the last tick may still be on its way, and one behind it.
    for _ in range(3):
        with device.next_frame(deadline.remaining()) as frame:
            found = frame.focus_ring
        if found == position:
            break
    assert found == position, f"of {position} ticks {found}"
    assert moved, "no frame was taken while the ring turned"
    device.stop()
    _check_events(device, plant, position, deadline)


def _check_events(device: Device, plant: Any, position: int, deadline: Deadline) -> None:
    """Check the position by Events too. One that was lost heals with the next one."""
    while True:
        events = [each for each in device.take_events() if each.kind == EventKind.RING]
        if events and events[-1].value == position:
            return
        position += 1
        plant.command(ring=1)
        try:
            found = device.wait_for_events(min(2.0, deadline.remaining()))
        except Timeout:
            found = []
        if any(each.kind == EventKind.RING and each.value == position for each in found):
            return
        deadline.check()
