"""Packets out of a stream of bytes, without I/O: synchronisation, CRCs, resynchronisation.

A :class:`Receiver` serves one lane in one direction. It is driven as asyncio drives a buffered
protocol: ask :meth:`Receiver.buffers` where the next bytes shall go, put them there, say with
:meth:`Receiver.received` how many they were. A tile whose header is sound goes straight to where
its sink places it, so that nothing is copied between the transport and the frame.

Unusable input is counted by cause (:class:`~.ids.DiscardReason`), never silently dropped. After
damage every byte behind the damaged header is searched again, so at most the damaged packet and
one that ran into it are lost.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, Protocol

from .buffers import Data, feed
from .crc import crc32
from .ids import DiscardReason, MessageType
from .messages import HEADER, MAGIC, Header
from .params import (
    HEADER_BYTES,
    MAX_CONTROL,
    MAX_PAYLOAD,
    STALL_MS,
    VERSION_MAJOR,
    VERSION_MINOR,
)

VERSION = VERSION_MAJOR << 4 | VERSION_MINOR

_HUNT_BYTES = 65536
_HALF = 1 << 31
# A hostile peer could nest sound headers in payloads whose CRCs fail, so that every byte is
# searched again and again, or fill them with magics. So payloads are searched again for as many
# bytes as eight of the longest have, and for what has been received since; the rest is dropped.
_SEARCH_BYTES = 8 * MAX_PAYLOAD
# What a magic without a sound header costs, in bytes that could be searched meanwhile.
_REFUSAL_BYTES = 2048


class Sink(Protocol):
    """Where packets go."""

    def place(self, header: Header) -> memoryview | None:
        """Where the payload of this tile shall be received, or None: to scratch memory."""

    def packet(self, header: Header, payload: memoryview, in_place: bool) -> None:
        """A sound packet; ``payload`` is valid during the call only, unless it is in place."""


def encode_packet(
    kind: int,
    payload: bytes | bytearray | memoryview = b"",
    *,
    nonce: int,
    sequence: int,
    frame: int = 0,
    stream: int = 0,
    place: tuple[int, int, int, int] = (0, 0, 0, 0),
    flags: int = 0,
    version: int = VERSION,
) -> bytes:
    """A whole packet. ``place`` is x, y, width, height of a tile."""
    head = bytearray(HEADER_BYTES)
    HEADER.pack_into(
        head, 0, MAGIC, version, kind, flags, stream, nonce, sequence & 0xFFFFFFFF, frame,
        *place, len(payload), crc32(payload), 0,
    )  # fmt: skip
    head[-4:] = crc32(memoryview(head)[:-4]).to_bytes(4, "little")
    return bytes(head) + bytes(payload)


class ReceiverSnapshot(NamedTuple):
    """What a :class:`Receiver`'s future behaviour depends on, as an immutable value."""

    nonce: int
    max_payload: int
    last_sequence: int | None
    settled_sequence: int | None
    head: bytes
    """Bytes of a header that is not complete yet."""
    header: Header | None
    """Header of the packet whose payload is being received."""
    payload: bytes
    """Bytes of that payload that have arrived."""
    is_in_place: bool
    """The payload goes to memory of the sink."""
    is_wanted: bool
    """The sink gets the packet if the payload is sound."""
    backlog: bytes
    """Bytes that are searched for a header."""
    is_hunting: bool
    suspect: int
    """Bytes at the front of the backlog that are searched for the second time."""
    allowance: int
    """Bytes that may still be searched for the second time."""
    progress: float
    """When the last bytes arrived, in seconds."""


class Receiver:
    """One lane's packets; ``discards`` is shared with the layers above."""

    def __init__(
        self,
        sink: Sink,
        nonce: int,
        discards: Counter[DiscardReason],
        max_payload: int = MAX_PAYLOAD,
    ) -> None:
        self.sink = sink
        self.nonce = nonce
        self.discards = discards
        self.max_payload = max_payload
        self.last_sequence: int | None = None
        """Of the last header that was believed."""
        self.settled_sequence: int | None = None
        """The same, once that packet is inside no more: used, or rejected."""
        self.lost = 0
        """Packets missing from the lane's sequence."""
        self._head = memoryview(bytearray(HEADER_BYTES))
        self._have = 0
        self._header: Header | None = None
        self._payload = memoryview(b"")
        self._got = 0
        self._in_place = False
        self._wanted = False
        self._scratch = bytearray(MAX_CONTROL)
        self._backlog = bytearray()
        self._hunting = False
        self._landing = memoryview(bytearray(_HUNT_BYTES))
        # Bytes at the front of the backlog that are searched again, and how many more may be.
        self._suspect = 0
        self._allowance = _SEARCH_BYTES
        self._progress = 0.0

    @property
    def inside(self) -> bool:
        """Whether a packet has begun and not ended."""
        return self._header is not None or self._have > 0 or bool(self._backlog)

    @property
    def header(self) -> Header | None:
        """Of the packet whose payload is being received; None between two payloads."""
        return self._header

    @property
    def sound(self) -> bool:
        """Whether the payload that is being received, once its bytes are there, has its CRC."""
        return self._header is not None and crc32(self._payload) == self._header.payload_crc

    @property
    def in_place(self) -> bool:
        """Whether a payload is being received where the sink has placed it."""
        return self._header is not None and self._in_place

    @property
    def in_sync(self) -> bool:
        """Whether bytes are taken as part of packets, not searched."""
        return not self._hunting

    def buffers(self) -> list[memoryview]:
        """Where the next bytes of the lane shall go, in order. Never empty."""
        if self._header is not None:
            return [self._payload[self._got :], self._head]
        if self._hunting:
            return [self._landing]
        return [self._head[self._have :]]

    def received(self, count: int, now: float, checked: bool = False) -> None:
        """*count* bytes are in :meth:`buffers`; *now* is any monotonic time in seconds.

        *checked*: they end a payload that is known to be :attr:`sound`.
        """
        if count:
            self._progress = now
            self._allowance = min(_SEARCH_BYTES, self._allowance + count)
        if self._header is not None:
            into_payload = min(count, len(self._payload) - self._got)
            self._got += into_payload
            # The bytes of the next header, where there were any, are in _head already.
            self._have = count - into_payload
            if self._got < len(self._payload):
                return
            self._end_payload(checked)
        elif self._hunting:
            self._backlog += self._landing[:count]
        else:
            self._have += count
        if self._hunting:
            self._search()
        elif self._have == HEADER_BYTES:
            self._begin_packet()

    def feed(self, data: Data, now: float) -> None:
        """Receive *data* by copying: for tests and for transports that cannot read in place."""
        feed(data, self.buffers, lambda count: self.received(count, now))

    def passed(self, packets: int, count: int, now: float) -> None:
        """The next *packets*, of *count* bytes in all, were received and found sound elsewhere.

        Only in sync and not :attr:`inside`, after a first packet; their sequences follow its own.
        """
        assert self.last_sequence is not None
        self._progress = now
        self._allowance = min(_SEARCH_BYTES, self._allowance + count)
        self.last_sequence = (self.last_sequence + packets) & 0xFFFFFFFF
        self.settled_sequence = self.last_sequence

    def poll(self, now: float) -> None:
        """Give up a packet that has stalled: call it when no bytes came for a while."""
        if now - self._progress < STALL_MS / 1000:
            return
        # What a packet holds has stalled with it: the next that seems to begin there, too.
        while self.inside:
            self._give_up()
            self._search()
            if not self._backlog and self._header is None:
                self._hunting = False

    def _give_up(self) -> None:
        """The packet that has begun is none, or will never be whole."""
        if self._header is not None:
            self.discards[DiscardReason.STALL] += 1
            self._hunt(bytes(self._payload[: self._got]))
        elif self._hunting:
            # An end that might have become a header: it did not. Another may begin inside it.
            whole = self._backlog.startswith(MAGIC)
            self.discards[DiscardReason.STALL if whole else DiscardReason.NOISE] += 1
            self._drop(1 if whole else len(self._backlog))
        else:
            self.discards[DiscardReason.STALL] += 1
            self._hunt(bytes(self._head[1 : self._have]))

    def resume(self, away: float) -> None:
        """Nobody has listened for *away* seconds: they do not count as a stall."""
        self._progress += away

    def resynchronise(self) -> None:
        """Drop what has been received of a packet and search for the next header.

        For a caller that was interrupted while it received: bytes may be missing, and the state
        may be that of a half-finished call.
        """
        self._hunting = True
        self._header = None
        self._payload = memoryview(b"")
        self._in_place = False
        self._have = self._got = 0
        self._backlog = bytearray()
        self._suspect = 0
        self.settled_sequence = self.last_sequence

    def snapshot(self) -> ReceiverSnapshot:
        """Return everything that future behaviour depends on, as a hashable value.

        Two receivers with equal snapshots answer the same bytes in the same way. Memory that the
        next bytes overwrite and counters are left out.
        """
        is_inside = self._header is not None
        return ReceiverSnapshot(
            nonce=self.nonce,
            max_payload=self.max_payload,
            last_sequence=self.last_sequence,
            settled_sequence=self.settled_sequence,
            head=bytes(self._head[: self._have]),
            header=self._header,
            payload=bytes(self._payload[: self._got]) if is_inside else b"",
            is_in_place=is_inside and self._in_place,
            is_wanted=is_inside and self._wanted,
            backlog=bytes(self._backlog),
            is_hunting=self._hunting,
            suspect=self._suspect,
            allowance=self._allowance,
            progress=self._progress,
        )

    # --- a header -------------------------------------------------------------------------

    def _begin_packet(self) -> None:
        """The header buffer is full, in sync."""
        self._have = 0
        if self._head[:4] != MAGIC:
            self._hunt(bytes(self._head))
        elif not self._accept(self._head):
            self._hunt(bytes(self._head[1:]))
        elif not self._payload:
            self._end_payload()
        self._search()

    def _accept(self, head: memoryview) -> bool:
        """Believe a header that has its magic, and decide where its payload goes; or False."""
        header = Header._make(HEADER.unpack_from(head)[1:])
        if crc32(head[:-4]) != header.header_crc:
            self.discards[DiscardReason.HEADER_CRC] += 1
            return False
        if header.version >> 4 != VERSION_MAJOR:
            self.discards[DiscardReason.VERSION] += 1
            return False
        limit = self.max_payload if header.type == MessageType.TILE else MAX_CONTROL
        if header.length > limit:
            self.discards[DiscardReason.LENGTH] += 1
            return False
        self._wanted = self._is_fresh(header)
        place = None
        if self._wanted and header.type == MessageType.TILE:
            place = self.sink.place(header)
        self._in_place = place is not None
        if place is None:
            if len(self._scratch) < header.length:
                self._scratch = bytearray(header.length)
            place = memoryview(self._scratch)[: header.length]
        self._header = header
        self._payload = place
        self._got = 0
        return True

    def _is_fresh(self, header: Header) -> bool:
        if header.nonce != self.nonce:
            self.discards[DiscardReason.NONCE] += 1
            return False
        if self.last_sequence is not None:
            step = (header.sequence - self.last_sequence) & 0xFFFFFFFF
            if step == 0 or step >= _HALF:
                self.discards[DiscardReason.SEQUENCE] += 1
                return False
            self.lost += step - 1
        self.last_sequence = header.sequence
        return True

    # --- a payload ------------------------------------------------------------------------

    def _end_payload(self, checked: bool = False) -> None:
        header = self._header
        assert header is not None
        payload, self._payload = self._payload, memoryview(b"")
        self._header = None
        self.settled_sequence = self.last_sequence
        if not checked and crc32(payload) != header.payload_crc:
            self.discards[DiscardReason.PAYLOAD_CRC] += 1
            self._hunt(bytes(payload) + bytes(self._head[: self._have]))
            return
        if self._wanted:
            self.sink.packet(header, payload, self._in_place)

    # --- out of sync ----------------------------------------------------------------------

    def _hunt(self, suspect: bytes) -> None:
        """Search *suspect* again, ahead of what follows it."""
        self.settled_sequence = self.last_sequence
        self._header = None
        self._payload = memoryview(b"")
        self._have = 0
        self._hunting = True
        self._allowance -= len(suspect)
        if self._allowance < 0:
            self._allowance = 0
            self.discards[DiscardReason.NOISE] += 1
        else:
            self._backlog[:0] = suspect
            self._suspect += len(suspect)

    def _drop(self, count: int) -> None:
        """Take bytes off the backlog."""
        del self._backlog[:count]
        self._suspect = max(0, self._suspect - count)

    def _refuse(self) -> None:
        """The backlog begins with a magic that is none."""
        self._drop(1)
        if self._suspect:
            self._allowance -= _REFUSAL_BYTES
            if self._allowance < 0:
                self._allowance = 0
                self.discards[DiscardReason.NOISE] += 1
                self._drop(self._suspect)

    def _search(self) -> None:
        """Take packets from the backlog until it is used up or ends inside one."""
        noise = False
        while self._hunting:
            start = self._backlog.find(MAGIC)
            if start < 0:
                # The last bytes may be the beginning of a magic.
                start = len(self._backlog)
                for keep in (3, 2, 1):
                    if self._backlog.endswith(MAGIC[:keep]):
                        start -= keep
                        break
            if start > 0:
                noise = True
                self._drop(start)
            if len(self._backlog) < HEADER_BYTES:
                break
            if not self._accept(memoryview(bytes(self._backlog[:HEADER_BYTES]))):
                self._refuse()
                continue
            self._drop(HEADER_BYTES)
            self._take_from_backlog()
        if noise:
            self.discards[DiscardReason.NOISE] += 1

    def _take_from_backlog(self) -> None:
        """Move what the backlog has of an accepted packet to its place."""
        count = min(len(self._payload), len(self._backlog))
        self._payload[:count] = self._backlog[:count]
        self._drop(count)
        self._got = count
        if count < len(self._payload):
            # The backlog is used up: the rest comes from the lane.
            self._hunting = False
            return
        self._end_payload()
        if not self._backlog and self._header is None:
            self._hunting = False
