"""Read frames from a frame ring without a copy, as they arrive.

A program creates a :class:`FrameRingReader`. It chooses a slot, pins it, and delivers a
:class:`.shared_frame.SharedFrame`. A reader uses each of its pins so::

    state     event                                          next state
    --------  ---------------------------------------------  ---------------------------------
    FREE      next() has chosen a slot                       CLAIMED (the pin is stored)
    CLAIMED   the slot has the same generation, and the      PINNED (the frame is delivered)
              state STARTED or FINISHED
    CLAIMED   otherwise: the writer has taken the slot       FREE
    PINNED    SharedFrame.release() or close()               FREE

The package's docstring has the states of a slot. :mod:`lenslink_protocol.ringlayout` explains why
a claimed slot must be looked at twice.
"""

from __future__ import annotations

import logging
import operator
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from lenslink_protocol.params import MAX_STREAMS
from lenslink_protocol.ringlayout import (
    GENERATION_SHIFT,
    HEADER,
    PINS,
    READER,
    READERS,
    SLOT,
    Asleep,
    Policy,
    SlotState,
)

from ..context import ClosesOnExit
from ..deadline import Deadline
from ..errors import DeviceBusy, Disconnected, UsageError
from ..settings import PREVIEW, STILL
from . import segment
from .mapped_ring import DOORBELL, MappedRing
from .shared_frame import ENDED, ROWS, STATE_MASK, SharedFrame
from .sync import fence, order

# Numbers and word indices, looked up once: lookups in enumerations and tables of offsets are slow
# and would add to the time from a frame's first rows to their delivery.
_STARTED, _FINISHED, _MAX_STATE = map(int, (SlotState.STARTED, SlotState.FINISHED, max(SlotState)))
_AT = {name: offset // 8 for name, offset in READER.at.items()}
_GENERATION = HEADER.at["generation_counter"] // 8
_FRAME_COUNTS = HEADER.at["frame_counts"] // 8
_STREAM, _SEQUENCE = SLOT.at["stream"] // 4, SLOT.at["sequence"] // 8
# Repeat a scan this often if slots changed meanwhile, and a choice if its slot was taken meanwhile.
_MAX_TRIES = 8
# Sequences in the memory may be nonsense. The reader's own counts must still fit a word.
_MAX_COUNT = (1 << 63) - 1

_log = logging.getLogger(__name__)


class _SlotView(NamedTuple):
    """What a scan has read from slot number *slot*."""

    slot: int
    state_word: int
    stream: int
    sequence: int
    state: int


class FrameRingReader(ClosesOnExit):
    """Read a frame ring (:class:`lenslink.FrameRing`) of this machine: a context manager.

    With the policy ``latest``, a slow reader skips frames (``skipped_frames``), and its first frame
    is the newest there is. With ``every``, each frame that ends from now on waits for the reader
    in its slot. Frames wait in all slots but three. When more frames end, the reader loses the
    newest of them (``dropped_frames``). Other readers still see those, until their slots are taken.

    Args:
        name: The ring's name.
        policy: ``latest`` or ``every``.
        early: Deliver frames as soon as their first rows are there: see
            :meth:`SharedFrame.wait_rows`.
        streams: The streams to read: 0 is the preview, 1 the still. All by default.
        timeout: The time limit of each call, in seconds.
        wait: How long to wait for the ring to appear, in seconds.

    Raises:
        NotFound: The ring does not exist.
        DeviceBusy: The ring has no entry for another reader.
        VersionMismatch: The ring has another version.
        ProtocolError: The file is no frame ring.

    In a loop, ``for frame in reader`` hands out frames until the ring ends. :class:`SharedFrame`
    has an example with frames.

    >>> lenslink.FrameRingReader("nosuch")
    Traceback (most recent call last):
    lenslink.errors.NotFound: ...
    """

    def __init__(
        self,
        name: str,
        policy: Literal["latest", "every"] = "latest",
        *,
        early: bool = False,
        streams: tuple[int, ...] = tuple(range(MAX_STREAMS)),
        timeout: float = 30.0,
        wait: float = 0.0,
    ) -> None:
        policies = {each.name.lower(): each for each in Policy}
        if policy not in policies:
            raise UsageError(f"a reader's policy is {' or '.join(policies)}, not '{policy}'")
        if not streams or not set(streams) <= set(range(MAX_STREAMS)):
            raise UsageError(f"streams are 0 to {MAX_STREAMS - 1}, not {streams}")
        self.name = name
        self.path: Path = segment.path_of(name)
        self.policy = policies[policy]
        self.delivered_frames = 0
        """Frames that :meth:`next` returned."""
        self.skipped_frames = 0
        """Frames that this reader was too slow for (``latest``)."""
        self.dropped_frames = 0
        """Frames that this reader lost because slots were short (``every``)."""
        self._is_latest = self.policy is Policy.LATEST
        self._early = early
        self._streams = tuple(sorted(set(streams)))
        self._recent_stream = PREVIEW
        self._timeout = timeout
        self._last_sequences = dict.fromkeys(self._streams, 0)
        deadline = Deadline(wait, f"waiting for the frame ring {name}")
        self._ring = MappedRing(name, self.path, deadline)
        # The shared control data as 64-bit words and as 32-bit words.
        self._words64, self._words32 = self._ring.q, self._ring.i
        try:
            self._join()
        except BaseException:
            segment.close(self._ring.descriptor)
            raise

    @property
    def payload_bytes(self) -> int:
        """The number of bytes that a slot can hold."""
        return self._ring.payload_bytes

    def _join(self) -> None:
        """Take a free entry, and fill it in."""
        ring = self._ring
        for number in range(READERS):
            at = ring.readers_at + number * ring.reader_bytes
            if segment.try_lock(ring.descriptor, at):
                break
        else:
            raise DeviceBusy(f"the frame ring {self.name} has {READERS} readers, the most it takes")
        self._number, self._entry_word = number, at // 8
        for index in range(READER.size // 8):
            self._words64[self._entry_word + index] = 0
        self._put("pid", os.getpid())
        self._put("streams", sum(1 << stream for stream in self._streams))
        if self.policy == Policy.EVERY:
            # The writer keeps each frame that ends behind the reader's last sequence. Store the
            # newest sequence and the policy first, so that every frame that begins from now on is
            # kept. Then set the sequence back to before the frames that are still under way.
            for stream in self._streams:
                self._set_last_sequence(stream, self._words64[_FRAME_COUNTS + stream])
            self._put("policy", self.policy)
            fence()
            under_way = [view for view in self._scan() if view.state not in ENDED]
            for stream in self._streams:
                before = [view.sequence - 1 for view in under_way if view.stream == stream]
                self._set_last_sequence(stream, min([self._last_sequences[stream], *before]))
        self._put("policy", self.policy)
        fence()
        _log.debug("frame ring %s: joined as reader %d, %s", self.name, number, self.policy.name)

    def _put(self, name: str, value: int, index: int = 0) -> None:
        """Store word *index* of the field *name* in the reader's entry."""
        self._words64[self._entry_word + _AT[name] + index] = value

    def _set_last_sequence(self, stream: int, sequence: int) -> None:
        self._last_sequences[stream] = sequence
        self._put("last_sequences", sequence, stream)

    # --- frames ---------------------------------------------------------------------------

    def next(self, timeout: float | None = None) -> SharedFrame:
        """Pin and return the next frame; release it, or use it as a context manager.

        Finished frames are delivered also after the writer's end.

        Args:
            timeout: The time limit in seconds; None for the reader's.

        Raises:
            Disconnected: The writer is gone, and no frame is left.
            UsageError: The reader has pinned as many frames as it may.
            Timeout: No frame came in time.
        """
        seconds = self._timeout if timeout is None else timeout
        deadline = Deadline(seconds, "the frame ring's next frame")
        pin = self._find_free_pin()
        ring = self._ring
        is_last_look = False
        while True:
            doorbell = self._words32[DOORBELL]
            frame = self._pick(pin)
            if frame is not None:
                return frame
            if is_last_look:
                raise ring.make_disconnected()
            # The writer may have finished a frame between the pick and its end: look once more.
            is_last_look = ring.is_over()
            if not is_last_look:
                deadline.check()
                asleep = Asleep.ROWS if self._early else Asleep.FRAME
                ring.sleep(self._number, doorbell, deadline, asleep)

    def __iter__(self) -> Iterator[SharedFrame]:
        """Yield frames until the writer ends the ring; each is released before the next.

        If the reader is closed or the writer died, the error of :meth:`next` is raised.
        """
        while True:
            try:
                frame = self.next()
            except Disconnected:
                if self._ring.is_closed or not self._ring.has_ended:
                    raise
                return
            with frame:
                yield frame

    def _find_free_pin(self) -> int:
        if self._ring.is_closed:
            raise UsageError(f"the reader of the frame ring {self.name} is closed")
        first = self._entry_word + _AT["pins"]
        most = 2 if self._is_latest else PINS
        for pin in range(first, first + most):
            if not self._words64[pin]:
                return pin
        raise UsageError(f"{most} frames of the frame ring {self.name} are held: release one first")

    def _scan(self) -> list[_SlotView]:
        """Read all slots, at one moment if possible."""
        q, i, last = self._words64, self._words32, self._last_sequences
        views: list[_SlotView] = []
        for _ in range(_MAX_TRIES):
            before = q[_GENERATION]
            order()
            views = []
            for slot, word in self._ring.slot_words:
                state_word = q[word]
                order()
                state = state_word & STATE_MASK
                if 0 < state <= _MAX_STATE:
                    stream = i[2 * word + _STREAM]
                    if stream in last:
                        sequence = q[word + _SEQUENCE]
                        views.append(_SlotView(slot, state_word, stream, sequence, state))
            order()
            if q[_GENERATION] == before:
                break
        return views

    def _pick(self, pin: int) -> SharedFrame | None:
        """Choose a slot, pin it and return its frame; None if no frame is ready."""
        for _ in range(_MAX_TRIES):
            choice = self._choose()
            if choice is None:
                return None
            frame = self._claim(choice, pin)
            if frame is not None:
                return frame
        return None

    def _choose(self) -> _SlotView | None:
        """Return the slot to read next, or None. Stills come first, since they are rare.

        The other streams take turns. With the policy ``every``, this passes over the frames that
        the writer aborted.
        """
        views = self._scan()
        for stream in self._list_turns():
            last = self._last_sequences[stream]
            unread = [view for view in views if view.stream == stream and view.sequence > last]
            if len(unread) > 1:
                unread.sort(key=_by_sequence, reverse=self._is_latest)
            for view in unread:
                if self._is_ready(view):
                    return view
                if not self._is_latest:
                    if view.state != SlotState.ABORTED:
                        break
                    self._advance_to(view, delivered=False)
        return None

    def _list_turns(self) -> list[int]:
        """Return the streams in the order in which to look for a frame."""
        recent = self._recent_stream
        return sorted(self._streams, key=lambda each: (each != STILL, each <= recent, each))

    def _is_ready(self, view: _SlotView) -> bool:
        if view.state == _FINISHED:
            return True
        rows = self._ring.slot_words[view.slot][1] + ROWS
        return self._early and view.state == _STARTED and self._words64[rows] > 0

    def _claim(self, view: _SlotView, pin: int) -> SharedFrame | None:
        """Pin the slot, or return None if the writer has taken it meanwhile."""
        self._words64[pin] = view.slot + 1
        fence()
        word = self._words64[self._ring.slot_words[view.slot][1]]
        order()
        is_same = word >> GENERATION_SHIFT == view.state_word >> GENERATION_SHIFT
        if not is_same or word & STATE_MASK not in (_STARTED, _FINISHED):
            _log.debug("slot %d was taken while it was claimed", view.slot)
            self._words64[pin] = 0
            return None
        try:
            frame = SharedFrame(self._ring, view.slot, pin, self._number, self._timeout)
        except BaseException:
            self._words64[pin] = 0
            raise
        finally:
            # Advance past a damaged frame too, or the reader would choose it again for ever.
            self._advance_to(view, delivered=True)
        return frame

    def _advance_to(self, view: _SlotView, *, delivered: bool) -> None:
        """Store the frame's sequence as the last one.

        Count the frames between the two, and this one if it is *delivered*.
        """
        missed = view.sequence - self._last_sequences[view.stream] - 1
        if missed and not self._is_latest:
            self.dropped_frames = min(self.dropped_frames + missed, _MAX_COUNT)
            self._put("dropped_frames", self.dropped_frames)
        elif missed and self._last_sequences[view.stream]:
            self.skipped_frames = min(self.skipped_frames + missed, _MAX_COUNT)
            self._put("skipped_frames", self.skipped_frames)
        if delivered:
            self.delivered_frames += 1
            self._recent_stream = view.stream
            self._put("delivered_frames", self.delivered_frames)
        self._set_last_sequence(view.stream, view.sequence)

    def close(self) -> None:
        """Clear all pins and leave the ring. Idempotent.

        If the writer died, this removes its file. Arrays that were taken from frames stay readable,
        but their contents may change.
        """
        if self._ring.is_closed:
            return
        for index in range(READER.size // 8 - 1, -1, -1):
            self._words64[self._entry_word + index] = 0
        segment.unlock(self._ring.descriptor, 8 * self._entry_word)
        self._ring.close()
        _log.debug("frame ring %s: reader %d has left", self.name, self._number)


_by_sequence = operator.attrgetter("sequence")
