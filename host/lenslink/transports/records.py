"""Read the link's bytes from a ring of records, where payloads may already lie in their frame.

A module that uses direct placement (:mod:`.direct_placement`) writes records into its byte ring.
:class:`.shm.ShmEnd` reads them through :class:`RecordReader`. A record begins with a head of 16
bytes: kind and length as u32, then a place as u64. Padding fills it up to a multiple of 64 bytes.

========  ================================================================================
BYTES     *length* bytes of the link follow
TILE      a packet's header follows; its payload of *length* bytes lies in the frames' memory
          from byte *place* on
TAKEN     the module fills slot *length*, which was granted, with frame number *place*
RETURNED  the module writes no more to slot *length*
========  ================================================================================

The reader turns the records into an ordinary stream of bytes. If the reassembly asks for a payload
at the very address where that payload already lies, nothing is copied. If the reassembly wants the
payload elsewhere (in scratch memory, because those bytes were received before), it is copied.
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

from .byte_ring import ByteRingError, ByteRingReader

_STEP = 64
_HEAD = struct.Struct("=IIQ")
HEAD_BYTES = _HEAD.size
_TILE = struct.Struct(f"=IIQ{HEADER_BYTES}s{_STEP - _HEAD.size - HEADER_BYTES}x")


class Record(enum.IntEnum):
    """Name the kinds of records."""

    BYTES = 0
    TILE = 1
    TAKEN = 2
    RETURNED = 3


def encode_record(kind: Record, length: int, place: int = 0, contents: bytes = b"") -> bytes:
    """Return a record with its padding."""
    record = _HEAD.pack(kind, length, place) + contents
    return record + make_padding(len(contents))


def make_padding(length: int) -> bytes:
    """Return the padding that follows *length* bytes of a record's contents."""
    return bytes(-(_HEAD.size + length) % _STEP)


class SlotOwner(Protocol):
    """Keeps account of the slots: :class:`.direct_placement.DirectPlacementPool`."""

    memory: NDArray[np.uint8]

    def on_slot_taken(self, slot: int, frame: int) -> None:
        """Record that the module fills *slot*. Raise :exc:`ByteRingError` if it was not granted."""

    def on_slot_returned(self, slot: int) -> None:
        """Record that the module returns *slot*. Raise :exc:`ByteRingError` if it had none."""


class RecordReader:
    """Read the link's bytes from the records in *ring*.

    Raises :exc:`ByteRingError` for a record that makes no sense.
    """

    def __init__(self, ring: ByteRingReader, slots: SlotOwner) -> None:
        self._ring = ring
        self._slots = slots
        self._pixels = slots.memory.data
        self._begin: int = slots.memory.ctypes.data
        self._end = self._begin + slots.memory.size
        # The current record: how many bytes of the link are left, where they lie if they are in the
        # frames' memory, and the place of the payload that follows a header.
        self._left = 0
        self._place: int | None = None
        self._payload: tuple[int, int] | None = None
        self._padding = 0
        self._head = memoryview(bytearray(_HEAD.size))
        self._head_count = 0

    def estimate_bytes(self, buffers: Sequence[memoryview]) -> int:
        """Return how many ring bytes fill *buffers*, if these are headers and direct payloads."""
        return len(buffers) // 2 * _STEP

    def read_into(self, buffers: Sequence[memoryview]) -> tuple[int, bool]:
        """Fill *buffers* in order and free the ring bytes that were used.

        From the second buffer on, nothing is copied to or from the frames' memory. Those buffers
        are predictions made from earlier packets. Where another packet came, the memory may hold
        that packet's payload already, so reading stops there.

        Returns:
            The number of bytes read, and whether the writer wants to be notified.
        """
        ring = self._ring
        readable = ring.count_readable()
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
                padding = min(self._padding, readable - used)
                self._padding -= padding
                used += padding
                if not done and not self._head_count:
                    count, size = self._read_packets(used, readable, buffers, index)
                    if count:
                        used += count * _STEP
                        total += size
                        index += 2 * count
                        continue
                size = self._read_head(used, readable)
                if not size:
                    break
                used += size
                continue
            target = buffer[done : done + self._left]
            place = self._place
            if place is None:
                if len(target) > readable - used:
                    target = target[: readable - used]
                if not target or (index and self._is_frame_memory(target)):
                    break
                ring.copy_to(used, target)
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
        return total, ring.consume(used)

    def _read_packets(
        self, used: int, readable: int, buffers: Sequence[memoryview], index: int
    ) -> tuple[int, int]:
        """Read whole packets whose payloads lie where *buffers* want them.

        This is the usual case, and faster than record by record.

        Returns:
            The number of packets and the number of bytes.
        """
        most = min((readable - used) // _STEP, (len(buffers) - index) // 2)
        if not most:
            return 0, 0
        records = self._ring.get_view(used, most * _STEP)
        heads, payloads = buffers[index::2], buffers[index + 1 :: 2]
        # To look up an address takes longer than all else, so only two are looked up. Predicted
        # payloads lie at rising addresses: if their sizes add up, there is no gap.
        first, last = _address(payloads[0]), payloads[most - 1]
        sizes = list(map(len, payloads[:most]))
        if first + sum(sizes) != _address(last) + len(last):
            return 0, 0
        start = place = first - self._begin
        count, tile = 0, Record.TILE
        for record, head, size in zip(
            _TILE.iter_unpack(records[: len(records) // _STEP * _STEP]), heads, sizes, strict=False
        ):
            kind, length, at, header = record
            if kind != tile or length != size or at != place or len(head) != HEADER_BYTES:
                break
            head[:] = header
            place += size
            count += 1
        return count, place - start + count * HEADER_BYTES

    def _is_frame_memory(self, target: memoryview) -> bool:
        return self._begin <= _address(target) < self._end

    def _read_head(self, used: int, readable: int) -> int:
        """Read the available part of the next record's head, and return its size.

        A complete head takes effect at once, so all bytes before it must be used already.
        """
        size = min(_HEAD.size - self._head_count, readable - used)
        self._ring.copy_to(used, self._head[self._head_count : self._head_count + size])
        self._head_count += size
        if self._head_count == _HEAD.size:
            self._head_count = 0
            self._start_record(*_HEAD.unpack(self._head))
        return size

    def _start_record(self, kind: int, length: int, place: int) -> None:
        self._place = None
        if kind == Record.BYTES:
            self._left = length
        elif kind == Record.TILE:
            if place + length > self._slots.memory.size:
                raise ByteRingError(f"{length} bytes at {place} of the frames' memory")
            self._left = HEADER_BYTES
            self._payload = length, place
        elif kind == Record.TAKEN:
            self._slots.on_slot_taken(length, place)
        elif kind == Record.RETURNED:
            self._slots.on_slot_returned(length)
        else:
            raise ByteRingError(f"a record of kind {kind}")
        self._padding = len(make_padding(self._left))


def _address(buffer: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
