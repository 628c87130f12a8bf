"""The link's bytes in records: those in the ring, and payloads that lie in their place already.

A module that writes pixels into the frames' memory itself (:mod:`.placed`) puts records into its
ring. Each begins with a head of 16 bytes, kind and length, u32, and a place, u64, and fills up to a
multiple of 64.

========  ================================================================================
BYTES     *length* bytes of the link follow
PLACED    the header of a packet follows, whose payload of *length* bytes lies in the frames'
          memory, from byte *place* on
TAKEN     slot *length*, which was granted, is being filled with frame number *place*
RETURNED  the module writes no more to slot *length*
========  ================================================================================

To whoever reads them they are a stream of bytes as any other. A placed payload for which the
frame's reassembly has found the very place where it lies is there without a copy; one that it wants
elsewhere (in scratch memory, since that ground is covered already) is copied.
"""

from __future__ import annotations

import ctypes
import enum
import struct
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.params import HEADER_BYTES

from .byte_ring import FrameRingError, FrameRingReader

_STEP = 64
_HEAD = struct.Struct("=IIQ")
HEAD_BYTES = _HEAD.size
_PLACED = struct.Struct(f"=IIQ{HEADER_BYTES}s{_STEP - _HEAD.size - HEADER_BYTES}x")


class Record(enum.IntEnum):
    """The kinds of records."""

    BYTES = 0
    PLACED = 1
    TAKEN = 2
    RETURNED = 3


def encode(kind: Record, length: int, place: int = 0, contents: bytes = b"") -> bytes:
    """A record."""
    record = _HEAD.pack(kind, length, place) + contents
    return record + padding(len(contents))


def padding(length: int) -> bytes:
    """What follows *length* bytes of a record's contents."""
    return bytes(-(_HEAD.size + length) % _STEP)


class Slots(Protocol):
    """Who keeps account of the frames' memory."""

    memory: NDArray[np.uint8]

    def taken(self, slot: int, frame: int) -> None:
        """The module fills that slot; :exc:`FrameRingError` if it was not granted."""

    def returned(self, slot: int) -> None:
        """The module has finished with it; :exc:`FrameRingError` if it did not have it."""


class RecordReader:
    """Reads the link's bytes out of *ring*; it raises :exc:`FrameRingError` over nonsense."""

    def __init__(self, ring: FrameRingReader, slots: Slots) -> None:
        self._ring = ring
        self._slots = slots
        self._pixels = slots.memory.data
        self._begin: int = slots.memory.ctypes.data
        self._end = self._begin + slots.memory.size
        # Of the record under way: bytes of the link that are left, where they are if placed, and
        # the payload that follows a header.
        self._left = 0
        self._place: int | None = None
        self._payload: tuple[int, int] | None = None
        # What comes before the next one's contents.
        self._padding = 0
        self._head = memoryview(bytearray(_HEAD.size))
        self._have = 0

    def expected(self, buffers: Sequence[memoryview]) -> int:
        """How many bytes of the ring fill *buffers*, if these are headers and placed payloads."""
        return len(buffers) // 2 * _STEP

    def read_into(self, buffers: Sequence[memoryview]) -> tuple[int, bool]:
        """Fill *buffers* in order: how many bytes came, and whether the writer wants to be woken.

        Behind the first buffer nothing is copied into the frames' memory or out of it: it ends
        before that. For what follows there was foreseen from the packets before, and where
        something else has come, that memory may be another packet's, which lies there already.
        """
        ring = self._ring
        available = ring.available()
        used = total = 0
        index = done = 0
        while index < len(buffers):
            buffer = buffers[index]
            if done == len(buffer):
                index += 1
                done = 0
                continue
            if not self._left:
                if self._payload is not None:
                    self._left, self._place = self._payload
                    self._payload = None
                    continue
                skipped = min(self._padding, available - used)
                self._padding -= skipped
                used += skipped
                if not done and not self._have:
                    count, size = self._packets(used, available, buffers, index)
                    if count:
                        used += count * _STEP
                        total += size
                        index += 2 * count
                        continue
                size = self._next(used, available)
                if not size:
                    break
                used += size
                continue
            target = buffer[done : done + self._left]
            place = self._place
            if place is None:
                if len(target) > available - used:
                    target = target[: available - used]
                if not target or (index and self._holds(target)):
                    break
                ring.copy(used, target)
                used += len(target)
            else:
                if _address(target) != self._begin + place:
                    if index:
                        break
                    target[:] = self._pixels[place : place + len(target)]
                self._place = place + len(target)
            self._left -= len(target)
            done += len(target)
            total += len(target)
        return total, ring.take(used)

    def _packets(
        self, used: int, available: int, buffers: Sequence[memoryview], index: int
    ) -> tuple[int, int]:
        """Take whole packets whose payloads are where they shall be: how many, and their bytes.

        The usual case, and quicker than record by record.
        """
        most = min((available - used) // _STEP, (len(buffers) - index) // 2)
        if not most:
            return 0, 0
        records = self._ring.view(used, most * _STEP)
        begin = self._begin
        count = size = 0
        heads, payloads = buffers[index::2], buffers[index + 1 :: 2]
        for record, head, payload in zip(
            _PLACED.iter_unpack(records[: len(records) // _STEP * _STEP]),
            heads,
            payloads,
            strict=False,
        ):
            kind, length, place, header = record
            if kind != Record.PLACED or length != len(payload) or len(head) != HEADER_BYTES:
                break
            if _address(payload) != begin + place:
                break
            head[:] = header
            size += length
            count += 1
        return count, size + count * HEADER_BYTES

    def _holds(self, target: memoryview) -> bool:
        return self._begin <= _address(target) < self._end

    def _next(self, used: int, available: int) -> int:
        """Take what is there of the next record's head; how many bytes that is.

        Only once all before it is used: what it says comes after that.
        """
        size = min(_HEAD.size - self._have, available - used)
        self._ring.copy(used, self._head[self._have : self._have + size])
        self._have += size
        if self._have == _HEAD.size:
            self._have = 0
            self._begin_record(*_HEAD.unpack(self._head))
        return size

    def _begin_record(self, kind: int, length: int, place: int) -> None:
        self._place = None
        if kind == Record.BYTES:
            self._left = length
        elif kind == Record.PLACED:
            if place + length > self._slots.memory.size:
                raise FrameRingError(f"{length} bytes at {place} of the frames' memory")
            self._left = HEADER_BYTES
            self._payload = length, place
        elif kind == Record.TAKEN:
            self._slots.taken(length, place)
        elif kind == Record.RETURNED:
            self._slots.returned(length)
        else:
            raise FrameRingError(f"a record of kind {kind}")
        self._padding = len(padding(self._left))


def _address(buffer: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
