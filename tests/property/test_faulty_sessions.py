"""Sessions over lines that damage what they carry, on virtual time, each from its own seed.

A session that fails prints its plan; ``LENSLINK_PLAN='{"seed": ...}'`` runs that one alone.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import time
from collections import Counter

import pytest
from helpers.nightly_scale import choose, say
from helpers.virtual_sessions import FRAMES, FaultHarness, Outcome

from lenslink_hil.faults.fault_plan import (
    DAMAGE,
    Damage,
    Direction,
    Fault,
    FaultPlan,
    Kind,
    random_plan,
)
from lenslink_protocol.ids import DiscardReason

SESSIONS = choose(1_000, 1_000_000)
# Packets of a lane in a session without faults, up and down, and some more.
PACKETS = {1: (24, 9), 3: (10, 9)}
# A lane that says nothing for 250 ms while the others do is taken for one whose last packets were
# lost: there is no other sign of it.
LONGEST_S = {1: 0.6, 3: 0.24}
_MOST_BACKLOG = 1 << 16
# A bench is used for so many sessions: a failure needs no more than those to happen again.
_REUSE = 100


def complaint(bench: FaultHarness, plan: FaultPlan, outcome: Outcome) -> str | None:
    """What is wrong with a session, or None."""
    unplugged = bench.up.plug.is_pulled
    happened = bench.happened()
    if outcome.wrong:
        return f"wrong pixels delivered as good in frames {outcome.wrong}"
    if outcome.begun > FRAMES:
        return f"{outcome.begun} frames were read out: a request was executed twice"
    if not unplugged and not outcome.accepted:
        return "a request was never answered"
    if not unplugged:
        missing = {n for n in outcome.intact if not outcome.complete.get(n)}
        if missing:
            return f"frames {missing} arrived whole and were not delivered whole"
    if not any(fault.kind in DAMAGE for fault in happened) and any(
        (outcome.lost, *(n for cause, n in outcome.discards.items() if cause not in _LATE))
    ):
        calm = all(f.kind is not Kind.STALL or f.seconds < _SHORT_S for f in happened)
        if calm:
            return "nothing was damaged, but something was rejected"
    unknown = outcome.discards.keys() - {cause.value for cause in DiscardReason}
    if unknown:
        return f"rejected for no cause of the specification: {unknown}"
    if damaged_up(bench) and not outcome.discards and not outcome.lost and not unplugged:
        return "damage towards the host was not counted"
    return None


_SHORT_S = 0.1
# What a late or repeated answer is counted as, and what the session before has left behind.
_LATE = ("unexpected", "late", "duplicate", "nonce")


def damaged_up(bench: FaultHarness) -> bool:
    """Whether a packet between two sound ones was hit: only then can it be known already.

    On a lane that has stalled, what was sent after it may still be on its way.
    """
    late = {arrival[2] for arrival in bench._arrivals}
    return any(damaged(up.damage) for lane, up in bench.ups.items() if lane not in late)


def damaged(damage: Damage) -> bool:
    if any(fault.kind is Kind.DUPLICATE for fault in damage.applied_faults):
        return False  # the repeat may have been what came in its place
    sound = set(range(damage.packet)) - damage.damaged_packets
    return (
        any(min(sound) < number < max(sound) for number in damage.damaged_packets)
        if sound
        else False
    )


def bounds(bench: FaultHarness) -> str | None:
    """What the session left behind, if it is too much."""
    receiver = bench.link.receiver.snapshot()
    if len(receiver.backlog) > _MOST_BACKLOG:
        return f"the host's backlog holds {len(receiver.backlog)} bytes"
    if bench.link.snapshot().requests:
        return f"requests are repeated for ever: {bench.link.snapshot().requests}"
    out = bench.abandon()
    if out:
        return f"{out} frame buffers are not free"
    link = bench.module.link
    if link.nonce is None and link.outbox.take_next() is not None:
        return "the module holds packets of a session that is closed"
    return None


def run(bench: FaultHarness, plan: FaultPlan) -> Outcome:
    outcome = bench.session(plan)
    wrong = complaint(bench, plan, outcome) or bounds(bench)
    if wrong:
        pytest.fail(f"{wrong}\nLENSLINK_PLAN='{plan.to_json()}'\n{outcome}", pytrace=False)
    return outcome


@pytest.mark.timeout(0)
@pytest.mark.parametrize("lanes", [1, 3])
def test_random_faults(lanes: int, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """1,000 sessions, 1,000,000 in nightly; one in eight is unplugged, or loses a lane."""
    named = os.environ.get("LENSLINK_PLAN")
    if named:
        run(FaultHarness(lanes), FaultPlan.from_json(named))
        return
    sessions = SESSIONS if lanes == 1 else SESSIONS // 5
    began = time.monotonic()
    seeds = random.Random(seed)
    discards: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    complete = frames = blocks = 0
    bench = FaultHarness(lanes)
    for index in range(sessions):
        if index % _REUSE == 0:
            bench = FaultHarness(lanes)
        if index == min(2000, sessions // 2):
            gc.collect()
            blocks = sys.getallocatedblocks()
        plan = random_plan(
            seeds.getrandbits(32), PACKETS[lanes], lanes=lanes, longest_stall_s=LONGEST_S[lanes]
        )
        if index % 8 == 0:
            plan = FaultPlan((*plan.faults, end(seeds, lanes)), plan.seed)
        outcome = run(bench, plan)
        discards.update(outcome.discards)
        kinds.update(fault.kind for fault in bench.happened())
        frames += len(outcome.complete)
        complete += sum(outcome.complete.values())
    gc.collect()
    grown = sys.getallocatedblocks() - blocks
    say(
        capsys,
        f"{sessions} faulty sessions on {lanes} lanes, {frames} frames, {complete} complete, "
        f"{grown} blocks of memory more than at the beginning, "
        f"{time.monotonic() - began:.0f} s, seed {seed}\nfaults {dict(kinds)}\n"
        f"discards {dict(discards)}",
    )
    assert grown < 2000
    ends = {Kind.UNPLUG} if lanes == 1 else {Kind.UNPLUG, Kind.CUT}
    assert set(kinds) >= {*DAMAGE, Kind.SPLIT, Kind.STALL} | ends


def end(seeds: random.Random, lanes: int) -> Fault:
    """The end of a link, or of a lane that it can do without."""
    if lanes == 1 or seeds.random() < 0.2:
        return Fault(Kind.UNPLUG, Direction.UP, seeds.randrange(2600 // lanes))
    return Fault(Kind.CUT, Direction.UP, seeds.randrange(600), lane=seeds.randrange(1, lanes))


# Found by a million random sessions, and kept.
FOUND = {
    "two stalls in turn, each shorter than silence: the tries of a resend are not used up": (
        1,
        Fault(Kind.FLIP, Direction.DOWN, 17, packet=1, mask=218),
        Fault(Kind.STALL, Direction.UP, 48, packet=5, seconds=0.4829),
        Fault(Kind.STALL, Direction.UP, 13, packet=8, seconds=0.4585),
    ),
    "two stalls that add up, on one of several lanes": (
        3,
        Fault(Kind.STALL, Direction.UP, 0, packet=0, lane=1, seconds=0.0493),
        Fault(Kind.STALL, Direction.UP, 8, packet=0, lane=1, seconds=0.0707),
    ),
    "an answer that says what is gone overtakes a tile on another lane": (
        3,
        Fault(Kind.STALL, Direction.UP, 21, packet=0, lane=2, seconds=0.021),
        Fault(Kind.DROP, Direction.DOWN, 33, packet=4, count=232),
        Fault(Kind.TRUNCATE, Direction.DOWN, 4, packet=1),
    ),
}


@pytest.mark.parametrize("case", FOUND)
def test_what_random_faults_have_found(case: str) -> None:
    lanes, *faults = FOUND[case]
    bench = FaultHarness(lanes)
    run(bench, FaultPlan(tuple(faults)))
    assert len(bench.happened()) == len(faults)


# A tile of the first frame. A fault in it, and the causes under which the host counts it.
TILE = 6
CAUSES = [
    (Fault(Kind.FLIP, Direction.UP, 20, packet=TILE), {"header_crc", "noise"}),
    (Fault(Kind.FLIP, Direction.UP, 0, packet=TILE), {"noise"}),
    (Fault(Kind.FLIP, Direction.UP, 60, packet=TILE), {"payload_crc", "noise"}),
    (Fault(Kind.DROP, Direction.UP, 60, packet=TILE, count=1), {"payload_crc", "noise"}),
    (Fault(Kind.INSERT, Direction.UP, 0, packet=TILE, data="00" * 50), {"noise"}),
    (Fault(Kind.DUPLICATE, Direction.UP, 0, packet=TILE), {"sequence"}),
    (Fault(Kind.DROP, Direction.UP, 0, packet=TILE), set()),
    (Fault(Kind.STALL, Direction.UP, 60, packet=TILE, seconds=0.3), {"stall", "noise"}),
    (Fault(Kind.STALL, Direction.UP, 20, packet=TILE, seconds=0.3), {"stall", "noise"}),
    (Fault(Kind.STALL, Direction.UP, 0, packet=TILE, seconds=0.3), set()),
    (Fault(Kind.SPLIT, Direction.UP, 20, packet=TILE), set()),
]


@pytest.mark.parametrize(("fault", "causes"), CAUSES)
def test_each_is_counted_under_its_cause(fault: Fault, causes: set[str]) -> None:
    """And healed: the tile is asked for again while the module still holds it."""
    bench = FaultHarness()
    outcome = bench.session(FaultPlan((fault,)))
    assert bench.happened() == [fault]
    # The answers to what was asked again meanwhile come too.
    assert outcome.discards.keys() - {"duplicate", "late"} == causes
    assert not outcome.wrong
    assert len(outcome.complete) == FRAMES


@pytest.mark.parametrize("lane", [1, 2])
@pytest.mark.parametrize("kind", [Kind.FLIP, Kind.TRUNCATE, Kind.DROP])
def test_the_last_tile_of_a_lane_is_damaged(lane: int, kind: Kind) -> None:
    """Nothing follows it there that would tell; its memory must not stay reserved for it."""
    bench = FaultHarness(3)
    bench.session(FaultPlan())
    last = bench.ups[lane].damage.packet - 1
    assert last > 0
    outcome = bench.session(FaultPlan((Fault(kind, Direction.UP, 60, packet=last, lane=lane),)))
    assert len(bench.happened()) == 1
    assert len(outcome.complete) == FRAMES
    assert not outcome.wrong
    assert outcome.seconds < 2
