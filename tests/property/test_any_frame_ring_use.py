"""Under any interleaving, no reader of a frame ring sees memory that is being overwritten.

Writer and readers run in one process. Where the order of the two sides matters, others may act:
between a reader's look at the slots and its claim, between the claim and its second look, between
the writer's looks at the pins and its new state word, and before a sleep. Memory is poisoned
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
from lenslink.frame_ring import doorbell, mapped_ring, segment
from lenslink.frame_ring import reader as reader_module
from lenslink.frame_ring import writer as writer_module
from lenslink.frame_ring.reader_table import ReaderTable

READERS = 3
FENCED = (writer_module, doorbell, reader_module, mapped_ring)
DEPTH = 2


class OpenTable(ReaderTable):
    """A writer's table of readers whose look at the pins others can interrupt."""

    interrupt = staticmethod(lambda: None)

    def is_pinned(self, index):
        is_pinned = super().is_pinned(index)
        self.interrupt()
        return is_pinned


class OpenReader(FrameRingReader):
    """A reader whose claim others can interrupt."""

    interrupt = staticmethod(lambda: None)

    def _claim(self, view, pin):
        self.interrupt()
        return super()._claim(view, pin)


class Party:
    """A reader, the frames that it has pinned, and the sequences that it got of each stream."""

    def __init__(self, ring: FrameRing, policy: str, early: bool, under_way: list) -> None:
        # The last frame of each stream that had ended before the reader joined. All later frames
        # end while the reader is there.
        self.first = [
            min(
                [
                    ring._counts.begun[stream],
                    *(s.sequence - 1 for s in under_way if s.stream == stream),
                ]
            )
            for stream in (0, 1)
        ]
        self.reader = OpenReader(ring.name, policy, early=early, timeout=0)
        self.frames: list = []
        self.sequences: dict[int, list[int]] = {0: [], 1: []}
        self.is_busy = False


class Interleaving(RuleBasedStateMachine):
    """Each rule does one thing; ``plan`` says what others do in the middle of it."""

    @initialize(slots=st.sampled_from([1, 1, 2, 3, 6]))
    def make(self, slots):
        self.patched = [(module, module.fence) for module in FENCED]
        for module, _ in self.patched:
            module.fence = self.fence
        self.plan: list[tuple[int, int]] = []
        self.depth = 0
        self.writing = False
        self.ring = FrameRing(fresh_name(), slots, frame_bytes=SIZE)
        self.ring._readers.__class__ = OpenTable
        self.ring._readers.interrupt = self.fence
        self.parties: list[Party] = []
        self.open: list = []
        self.rows: dict[int, int] = {}
        self.aborted: set[tuple[int, int]] = set()

    def fence(self):
        """Let others act."""
        if self.plan and self.depth < DEPTH:
            self.depth += 1
            action, which = self.plan.pop()
            self.do(action, which)
            self.depth -= 1

    # Actions that are possible at any moment, for a party that is not in the middle of an action.

    def do_write(self, which):
        """Let the writer begin, start, fill, finish or give up a frame."""
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
        """Let the writer publish whole frames, one after the other."""
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
        """Let a reader ask for its next frame."""
        free = [party for party in self.parties if not party.is_busy]
        if not free:
            return
        party = free[which % len(free)]
        party.is_busy = True
        with contextlib.suppress(Timeout, UsageError):
            frame = party.reader.next()
            assert frame.number == frame.sequence
            party.frames.append(frame)
            sequences = party.sequences[frame.stream]
            assert not sequences or frame.sequence > sequences[-1]
            sequences.append(frame.sequence)
            assert_pixels(frame.packed, frame.stream, frame.sequence)
        party.is_busy = False

    def do_release(self, which):
        """Let a reader release a frame."""
        parties = [party for party in self.parties if party.frames]
        if parties:
            party = parties[which % len(parties)]
            party.frames.pop(which // 7 % len(party.frames)).release()

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
        """Let readers come at the moment when the writer takes a slot that holds a frame."""
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
            party.reader.interrupt = self.fence
            self.parties.append(party)

    @rule(which=st.integers(0, 10), orderly=st.booleans())
    def leave(self, which, orderly):
        if self.parties:
            party = self.parties.pop(which % len(self.parties))
            if orderly:
                party.reader.close()
            else:
                # When a process dies, the kernel releases its lock, and its entry stays.
                reader = party.reader
                segment.unlock(reader._ring.descriptor, 8 * reader._entry_word)
                reader._ring.is_closed = True

    @invariant()
    def pinned_frames_do_not_change(self):
        for party in getattr(self, "parties", []):
            for frame in party.frames:
                assert_pixels(frame.packed, frame.stream, frame.sequence)
                assert frame.packed.shape == (frame.rows_ready, STRIDE)
                if frame.is_finished and frame.rows_ready == HEIGHT:
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
        # Each frame that began after an `every` reader joined was delivered to it or counted.
        for party in self.parties:
            reader = party.reader
            while party.frames:
                party.frames.pop().release()
            with contextlib.suppress(Timeout):
                while True:
                    with reader.next() as frame:
                        party.sequences[frame.stream].append(frame.sequence)
            if reader.policy.name == "EVERY":
                assert reader.skipped_frames == 0
                assert all(list(each) == sorted(set(each)) for each in party.sequences.values())
                missed = {
                    (stream, each)
                    for stream, sequences in party.sequences.items()
                    for each in range(party.first[stream] + 1, reader._last_sequences[stream] + 1)
                    if each not in sequences
                }
                assert len(missed - self.aborted) <= reader.dropped_frames <= len(missed)
            else:
                assert reader.dropped_frames == 0
            reader.close()
        self.ring.close()
        assert not self.ring.path.exists()


TestInterleaving = Interleaving.TestCase
TestInterleaving.settings = settings(
    max_examples=choose(60, 5000), stateful_step_count=40, deadline=None
)
