"""The ring of frames under any interleaving: nobody is shown what is being overwritten.

Writer and readers run in one process. Where the order of the two sides matters, others may do
something: between a reader's look at the slots and its claim, between that and its second look,
between the writer's looks at who holds what and its new mark, before a sleep. Memory is poisoned
whenever the writer takes it.
"""

from __future__ import annotations

import contextlib

from helpers.frame_rings import (
    HEIGHT,
    SIZE,
    STRIDE,
    assert_pixels,
    begin,
    description,
    fill,
    fresh_name,
    value_of,
)
from helpers.nightly_scale import choose
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lenslink import FrameRing, FrameRingReader, FrameStatus
from lenslink.errors import Timeout, UsageError
from lenslink.frame_ring import reader as reader_module
from lenslink.frame_ring import segment
from lenslink.frame_ring import writer as ring_module

READERS = 3
DEPTH = 2


class OpenRing(FrameRing):
    """A writer that others can interrupt."""

    turn = staticmethod(lambda: None)

    def _is_held(self, slot):
        held = super()._is_held(slot)
        self.turn()
        return held


class OpenReader(FrameRingReader):
    """A reader that others can interrupt."""

    turn = staticmethod(lambda: None)

    def _claim(self, found, hold):
        self.turn()
        return super()._claim(found, hold)


class Party:
    """A reader, what it holds, and what it has had of each stream."""

    def __init__(self, ring: FrameRing, policy: str, early: bool, under_way: list) -> None:
        # The last frame of each stream that had ended before it came: of those after it, each ends
        # while it is there.
        self.first = [
            min([ring.count(stream), *(s.sequence - 1 for s in under_way if s.stream == stream)])
            for stream in (0, 1)
        ]
        self.reader = OpenReader(ring.name, policy, early=early, timeout=0)
        self.held: list = []
        self.had: dict[int, list[int]] = {0: [], 1: []}
        self.busy = False


class Interleaving(RuleBasedStateMachine):
    """Rules do one thing; ``plan`` says what others do in the midst of it."""

    @initialize(slots=st.sampled_from([1, 1, 2, 3, 6]))
    def make(self, slots):
        self.patched = [(module, module.fence) for module in (ring_module, reader_module)]
        for module, _ in self.patched:
            module.fence = self.fence
        self.plan: list[tuple[int, int]] = []
        self.depth = 0
        self.writing = False
        self.ring = OpenRing(fresh_name(), slots, frame_bytes=SIZE)
        self.ring.turn = self.fence
        self.parties: list[Party] = []
        self.open: list = []
        self.rows: dict[int, int] = {}
        self.aborted: set[tuple[int, int]] = set()

    def fence(self):
        """Others' turn."""
        if self.plan and self.depth < DEPTH:
            self.depth += 1
            action, which = self.plan.pop()
            self.do(action, which)
            self.depth -= 1

    # What can be done at any moment, by whoever is not in the midst of something.

    def do_write(self, which):
        """The writer goes on: begins, starts, brings rows, finishes or gives up."""
        if self.writing:
            return
        self.writing = True
        slot = self.open[which % len(self.open)] if self.open else None
        if slot is None or which % 5 == 0:
            stream = which // 5 % 2
            slot = begin(self.ring, stream)
            if slot is not None:
                self.open.append(slot)
                self.rows[slot.index] = -1
        elif self.rows[slot.index] < 0:
            slot.start(description(slot.sequence))
            self.rows[slot.index] = 0
        elif which % 5 == 1:
            self.open.remove(slot)
            self.aborted.add((slot.stream, slot.sequence))
            slot.let_go()
        elif self.rows[slot.index] < HEIGHT and which % 5 < 4:
            self.rows[slot.index] += 1
            fill(slot, self.rows[slot.index])
        elif not any(s.stream == slot.stream and s.sequence < slot.sequence for s in self.open):
            # Frames of a stream end in their order.
            self.open.remove(slot)
            slot.memory[:] = value_of(slot.stream, slot.sequence)
            slot.finish(True, SIZE, (), HEIGHT)
            slot.let_go()
        self.writing = False

    def do_publish(self, which):
        """The writer has whole frames, one after the other."""
        if self.writing:
            return
        self.writing = True
        for _ in range(which % 3 + 1):
            if self.open:
                break
            slot = begin(self.ring, which % 2)
            if slot is None:
                break
            slot.start(description(slot.sequence))
            fill(slot, HEIGHT)
            slot.finish(True, SIZE, (), HEIGHT)
            slot.let_go()
        self.writing = False

    def do_take(self, which):
        """A reader asks for its next frame."""
        free = [party for party in self.parties if not party.busy]
        if not free:
            return
        party = free[which % len(free)]
        party.busy = True
        with contextlib.suppress(Timeout, UsageError):
            frame = party.reader.next()
            assert frame.number == frame.sequence
            party.held.append(frame)
            had = party.had[frame.stream]
            assert not had or frame.sequence > had[-1]
            had.append(frame.sequence)
            assert_pixels(frame.packed, frame.stream, frame.sequence)
        party.busy = False

    def do_release(self, which):
        """A reader is done with a frame."""
        parties = [party for party in self.parties if party.held]
        if parties:
            party = parties[which % len(parties)]
            party.held.pop(which // 7 % len(party.held)).release()

    # Rules.

    @rule(
        action=st.integers(0, 3),
        which=st.integers(0, 50),
        plan=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=8),
    )
    def act(self, action, which, plan):
        self.plan = plan
        self.do(action, which)
        self.plan = []

    def do(self, action, which):
        (self.do_write, self.do_take, self.do_release, self.do_publish)[action](which)

    @rule(
        which=st.integers(0, 50),
        plan=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), min_size=1, max_size=4),
    )
    def meet(self, which, plan):
        """A frame is there, the writer wants its slot, and readers come at that moment."""
        while self.open:
            slot = self.open.pop()
            self.aborted.add((slot.stream, slot.sequence))
            slot.let_go()
        self.do_publish(which)
        self.plan = [*plan, (1, which)]
        self.do_write(0)
        self.plan = []

    @rule(policy=st.sampled_from(["latest", "every"]), early=st.booleans())
    def join(self, policy, early):
        if len(self.parties) < READERS:
            party = Party(self.ring, policy, early, self.open)
            party.reader.turn = self.fence
            self.parties.append(party)

    @rule(which=st.integers(0, 10), orderly=st.booleans())
    def leave(self, which, orderly):
        if self.parties:
            party = self.parties.pop(which % len(self.parties))
            if orderly:
                party.reader.close()
            else:
                # As the kernel does when a process dies: the lock goes, the entry stays.
                segment.unlock(party.reader._descriptor, 8 * party.reader._entry)
                party.reader._closed = True

    @invariant()
    def what_is_held_is_what_it_was(self):
        for party in getattr(self, "parties", []):
            for frame in party.held:
                assert_pixels(frame.packed, frame.stream, frame.sequence)
                assert frame.packed.shape == (frame.rows_ready, STRIDE)
                if frame.finished and frame.rows_ready == HEIGHT:
                    assert frame.status in FrameStatus

    def teardown(self):
        if not hasattr(self, "ring"):
            return
        for module, fence in self.patched:
            module.fence = fence
        self.plan = []
        while self.open:
            slot = self.open.pop()
            self.aborted.add((slot.stream, slot.sequence))
            slot.let_go()
        # Each frame that began since an `every` reader came, came to it or was counted.
        for party in self.parties:
            reader = party.reader
            while party.held:
                party.held.pop().release()
            with contextlib.suppress(Timeout):
                while True:
                    with reader.next() as frame:
                        party.had[frame.stream].append(frame.sequence)
            if reader.policy.name == "EVERY":
                assert reader.skipped == 0
                assert all(list(each) == sorted(set(each)) for each in party.had.values())
                missed = {
                    (stream, each)
                    for stream, had in party.had.items()
                    for each in range(party.first[stream] + 1, reader._last[stream] + 1)
                    if each not in had
                }
                assert len(missed - self.aborted) <= reader.dropped <= len(missed)
            else:
                assert reader.dropped == 0
            reader.close()
        self.ring.close()
        assert not self.ring.path.exists()


TestInterleaving = Interleaving.TestCase
TestInterleaving.settings = settings(
    max_examples=choose(60, 5000), stateful_step_count=40, deadline=None
)
