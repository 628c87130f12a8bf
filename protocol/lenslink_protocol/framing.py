"""Cut a stream of bytes into packets, without I/O: synchronise, check CRCs, resynchronise.

A :class:`Receiver` serves one lane in one direction. It works like an asyncio ``BufferedProtocol``:
the caller asks :meth:`Receiver.get_buffers` where the next bytes go, puts them there and calls
:meth:`Receiver.on_received`. The receiver passes each packet with a good CRC to its :class:`Sink`.
The payload of a tile goes straight to the memory that the sink reserves, so nothing is copied
between the transport and the frame. :class:`lenslink_protocol.link.Link` owns one receiver for
each lane.

The receiver drops nothing silently: it counts discards by reason (:class:`~.ids.DiscardReason`).
After damage it searches every byte behind the damaged header again. So it loses the damaged packet
and at most one packet that ran into it.

States of a receiver:

======================  =============================================  =========
State                   Event                                          New state
======================  =============================================  =========
HEADER                  a valid header of a packet with payload        PAYLOAD
HEADER                  a valid header of a packet without payload     HEADER
HEADER                  40 bytes that are no valid header              SEARCH
PAYLOAD                 the last byte of the payload, the CRC is good  HEADER
PAYLOAD                 the last byte of the payload, the CRC is bad   SEARCH
HEADER, PAYLOAD         no byte for STALL_MS inside a packet           SEARCH
SEARCH                  a valid packet that ends with the backlog      HEADER
SEARCH                  a valid packet that exceeds the backlog        PAYLOAD
SEARCH                  no byte for STALL_MS, the backlog is empty     HEADER
======================  =============================================  =========
"""

from __future__ import annotations

import enum
import logging
from collections import Counter
from typing import Final, NamedTuple, Protocol

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
from .trace import TRACE

_log = logging.getLogger(__name__)

VERSION: Final = VERSION_MAJOR << 4 | VERSION_MINOR

_HUNT_BYTES = 65536
_HALF = 1 << 31
# A hostile peer can nest valid headers in payloads with bad CRCs, so that every byte is searched
# again and again, or fill payloads with magics. So the receiver searches a limited number of bytes
# again: eight of the longest payloads, and as many as it receives meanwhile. It drops the rest.
_SEARCH_BYTES = 8 * MAX_PAYLOAD
# A magic without a valid header costs as much time as searching this many bytes.
_REFUSAL_BYTES = 2048


class ReceiverState(enum.Enum):
    """What a receiver does with the next byte. See the table in the module's docstring."""

    HEADER = "header"
    """Add it to a header."""
    PAYLOAD = "payload"
    """Add it to the payload of a packet."""
    SEARCH = "search"
    """Add it to the backlog, and search the backlog for a header."""


# Reading a member of an enum takes ten times as long as a name of the module, and each packet reads
# several.
_HEADER, _PAYLOAD, _SEARCH = ReceiverState
_TILE: Final = int(MessageType.TILE)


class Sink(Protocol):
    """Receives the packets of one lane."""

    def reserve_buffer(self, header: Header) -> memoryview | None:
        """Return the memory that receives the payload of this tile.

        Return None if the payload goes to scratch memory.
        """

    def on_packet(self, header: Header, payload: memoryview, in_place: bool) -> None:
        """Use a packet whose CRCs are good.

        Args:
            header: Its header.
            payload: Its payload. Scratch memory is valid during the call only.
            in_place: The payload lies in the memory that :meth:`reserve_buffer` returned.
        """


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
    """Return a packet: a header with both CRCs, then *payload*.

    *place* is x, y, width and height of a tile, in pixels.
    """
    head = bytearray(HEADER_BYTES)
    HEADER.pack_into(
        head, 0, MAGIC, version, kind, flags, stream, nonce, sequence & 0xFFFFFFFF, frame,
        *place, len(payload), crc32(payload), 0,
    )  # fmt: skip
    head[-4:] = crc32(memoryview(head)[:-4]).to_bytes(4, "little")
    return bytes(head) + bytes(payload)


class ReceiverSnapshot(NamedTuple):
    """The state of a :class:`Receiver` that decides its future behaviour. Immutable."""

    nonce: int
    max_payload: int
    last_sequence: int | None
    settled_sequence: int | None
    state: ReceiverState
    head: bytes
    """Bytes of an incomplete header."""
    header: Header | None
    """Header of the packet whose payload is being received."""
    payload: bytes
    """Bytes of that payload that have arrived."""
    is_in_place: bool
    """The payload goes to memory of the sink."""
    is_wanted: bool
    """The sink gets the packet if the CRC of the payload is good."""
    backlog: bytes
    """Bytes that are searched for a header."""
    suspect: int
    """Bytes at the front of the backlog that are searched for the second time."""
    allowance: int
    """Bytes that may still be searched for the second time."""
    progress: float
    """When the last bytes arrived, in seconds."""


class _IncomingPacket:
    """A packet whose payload is being received."""

    def __init__(
        self, header: Header, payload: memoryview, is_in_place: bool, is_wanted: bool
    ) -> None:
        self.header = header
        self.payload = payload
        self.is_in_place = is_in_place
        self.is_wanted = is_wanted
        self.fill = 0
        """Bytes of the payload that have arrived."""


class _Backlog:
    """Bytes to search for a header, with a limit on searching the same byte twice."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.suspect_bytes = 0
        """Bytes at the front that are searched for the second time."""
        self.search_budget = _SEARCH_BYTES
        """Bytes that may still be searched for the second time."""

    def refill_budget(self, count: int) -> None:
        """Allow searching *count* more bytes again, because as many have arrived."""
        self.search_budget = min(_SEARCH_BYTES, self.search_budget + count)

    def prepend_suspect(self, suspect: bytes) -> bool:
        """Search *suspect* again, ahead of the backlog. Return False if the budget is used up."""
        self.search_budget -= len(suspect)
        if self.search_budget < 0:
            self.search_budget = 0
            return False
        self.data[:0] = suspect
        self.suspect_bytes += len(suspect)
        return True

    def clear(self) -> None:
        """Remove all bytes."""
        self.data = bytearray()
        self.suspect_bytes = 0

    def drop(self, count: int) -> None:
        """Remove *count* bytes from the front."""
        del self.data[:count]
        self.suspect_bytes = max(0, self.suspect_bytes - count)

    def drop_to_magic(self) -> bool:
        """Remove everything before the next magic. Return True if that is one byte or more.

        The last bytes stay if they may be the beginning of a magic.
        """
        start = self.data.find(MAGIC)
        if start < 0:
            start = len(self.data)
            for count in (3, 2, 1):
                if self.data.endswith(MAGIC[:count]):
                    start -= count
                    break
        if start > 0:
            self.drop(start)
        return start > 0

    def refuse_magic(self) -> bool:
        """Remove the first byte of a magic that begins no valid header.

        Return False if the search budget is used up. Then all suspect bytes are removed, too.
        """
        self.drop(1)
        if not self.suspect_bytes:
            return True
        self.search_budget -= _REFUSAL_BYTES
        if self.search_budget >= 0:
            return True
        self.search_budget = 0
        self.drop(self.suspect_bytes)
        return False


class Receiver:
    """Receives the packets of one lane.

    Args:
        sink: Gets the packets.
        nonce: Of the session. Packets with another nonce are discarded.
        discards: Counts discards by reason. The layers above share it.
        max_payload: The longest payload of a tile, in bytes.

    >>> class Printer:
    ...     def reserve_buffer(self, header):
    ...         return None
    ...     def on_packet(self, header, payload, in_place):
    ...         print(header.sequence, bytes(payload))
    >>> receiver = Receiver(Printer(), 5, Counter())
    >>> receiver.feed(encode_packet(MessageType.LOG, b"text", nonce=5, sequence=1), now=0.0)
    1 b'text'
    """

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
        """Sequence of the last valid header."""
        self.settled_sequence: int | None = None
        """Sequence of the last packet that was passed on or discarded as a whole."""
        self.lost_packets = 0
        """Packets missing from the lane's sequence."""
        self.valid_headers = 0
        """Headers whose CRC, version and length are right, whatever became of their payloads."""
        self._state = _HEADER
        self._head = memoryview(bytearray(HEADER_BYTES))
        self._head_fill = 0
        self._packet: _IncomingPacket | None = None
        self._backlog = _Backlog()
        self._scratch = bytearray(MAX_CONTROL)
        self._landing = memoryview(bytearray(_HUNT_BYTES))
        self._last_arrival = 0.0

    @property
    def is_inside_packet(self) -> bool:
        """A packet has begun and has not ended."""
        return self._packet is not None or self._head_fill > 0 or bool(self._backlog.data)

    @property
    def header(self) -> Header | None:
        """Header of the packet whose payload is being received. None between two payloads."""
        return None if self._packet is None else self._packet.header

    @property
    def is_payload_sound(self) -> bool:
        """The CRC of the payload being received is good, once all of its bytes are there."""
        packet = self._packet
        return packet is not None and crc32(packet.payload) == packet.header.payload_crc

    @property
    def is_in_place(self) -> bool:
        """A payload is being received into memory that the sink reserved."""
        return self._packet is not None and self._packet.is_in_place

    @property
    def is_in_sync(self) -> bool:
        """The receiver knows where the next packet begins. It does not search for a header."""
        return self._state is not _SEARCH

    def get_buffers(self) -> list[memoryview]:
        """Return where the next bytes of the lane go, in order. There is room for one or more."""
        if self._packet is not None:
            return [self._packet.payload[self._packet.fill :], self._head]
        if self._state is _SEARCH:
            return [self._landing]
        return [self._head[self._head_fill :]]

    def on_received(self, count: int, now: float, is_sound: bool = False) -> None:
        """Use *count* bytes that were put into :meth:`get_buffers`; may call the sink.

        Args:
            count: The number of bytes.
            now: The time in seconds, on any monotonic clock.
            is_sound: They complete a payload that is :attr:`is_payload_sound`.
        """
        if count:
            self._last_arrival = now
            self._backlog.refill_budget(count)
        packet = self._packet
        if packet is not None:
            into_payload = min(count, len(packet.payload) - packet.fill)
            packet.fill += into_payload
            # The transport has put the bytes behind the payload into the header already.
            self._head_fill = count - into_payload
            if packet.fill < len(packet.payload):
                return
            self._end_packet(is_sound)
        elif self._state is _SEARCH:
            self._backlog.data += self._landing[:count]
        else:
            self._head_fill += count
        if self._state is _SEARCH:
            self._search()
        elif self._head_fill == HEADER_BYTES:
            self._begin_packet()

    def feed(self, data: Data, now: float) -> None:
        """Receive *data* by copying it. For tests, and for transports that cannot fill buffers."""
        feed(data, self.get_buffers, lambda count: self.on_received(count, now))

    def record_packets(self, packets: int, count: int, now: float) -> None:
        """Advance the sequence by *packets*, which somebody else has received and checked.

        Call it only in sync, outside a packet and after a first packet. The sequences of the
        packets follow the sequence of the packet before them.

        Args:
            packets: The number of packets.
            count: Their bytes in all.
            now: The time in seconds.
        """
        assert self.last_sequence is not None
        self._last_arrival = now
        self._backlog.refill_budget(count)
        self.last_sequence = (self.last_sequence + packets) & 0xFFFFFFFF
        self.settled_sequence = self.last_sequence

    def poll(self, now: float) -> None:
        """Give up a packet that has stalled. Call it when no bytes have arrived for a while."""
        if now - self._last_arrival < STALL_MS / 1000:
            return
        # The next packet that seems to begin inside a stalled packet has stalled with it.
        while self.is_inside_packet:
            self._give_up()
            self._search()
            if not self._backlog.data and self._packet is None:
                self._set_state(_HEADER)

    def shift_timers(self, seconds: float) -> None:
        """Exclude *seconds* in which nobody has received from the time that makes a stall."""
        self._last_arrival += seconds

    def resynchronise(self) -> None:
        """Drop what has been received of a packet and search for the next header.

        For a caller that was interrupted while it received: bytes may be missing, and the state
        may be that of a half-finished call.
        """
        self._set_state(_SEARCH)
        self._packet = None
        self._head_fill = 0
        self._backlog.clear()
        self.settled_sequence = self.last_sequence

    def snapshot(self) -> ReceiverSnapshot:
        """Return everything that future behaviour depends on, as a hashable value.

        Two receivers with equal snapshots answer the same bytes in the same way. Memory that the
        next bytes overwrite and counters are left out.
        """
        packet = self._packet
        return ReceiverSnapshot(
            nonce=self.nonce,
            max_payload=self.max_payload,
            last_sequence=self.last_sequence,
            settled_sequence=self.settled_sequence,
            state=self._state,
            head=bytes(self._head[: self._head_fill]),
            header=None if packet is None else packet.header,
            payload=b"" if packet is None else bytes(packet.payload[: packet.fill]),
            is_in_place=packet is not None and packet.is_in_place,
            is_wanted=packet is not None and packet.is_wanted,
            backlog=bytes(self._backlog.data),
            suspect=self._backlog.suspect_bytes,
            allowance=self._backlog.search_budget,
            progress=self._last_arrival,
        )

    # --- a header -------------------------------------------------------------------------

    def _begin_packet(self) -> None:
        """Check the header that is complete, in sync, and begin its packet."""
        self._head_fill = 0
        if self._head[:4] != MAGIC:
            self._start_search(bytes(self._head))
        elif not self._accept_header(self._head):
            self._start_search(bytes(self._head[1:]))
        elif self._packet is not None and not self._packet.payload:
            self._end_packet()
        else:
            self._state = _PAYLOAD
        if self._state is _SEARCH:
            self._search()

    def _accept_header(self, head: memoryview) -> bool:
        """Check a header that begins with a magic, and choose the memory of its payload.

        Return False if the header is not valid.
        """
        header = Header._make(HEADER.unpack_from(head)[1:])
        if crc32(head[:-4]) != header.header_crc:
            self._discard(DiscardReason.HEADER_CRC, header)
            return False
        if header.version >> 4 != VERSION_MAJOR:
            self._discard(DiscardReason.VERSION, header)
            return False
        limit = self.max_payload if header.type == _TILE else MAX_CONTROL
        if header.length > limit:
            self._discard(DiscardReason.LENGTH, header)
            return False
        self.valid_headers += 1
        is_wanted = self._is_fresh(header)
        if is_wanted:
            self._advance_sequence(header.sequence)
        memory = None
        if is_wanted and header.type == _TILE:
            memory = self.sink.reserve_buffer(header)
        is_in_place = memory is not None
        if memory is None:
            if len(self._scratch) < header.length:
                self._scratch = bytearray(header.length)
            memory = memoryview(self._scratch)[: header.length]
        self._packet = _IncomingPacket(header, memory, is_in_place, is_wanted)
        return True

    def _is_fresh(self, header: Header) -> bool:
        """Return True if the packet is of this session and newer than the last. Count it if not."""
        if header.nonce != self.nonce:
            self._discard(DiscardReason.NONCE, header)
            return False
        if self.last_sequence is not None:
            step = (header.sequence - self.last_sequence) & 0xFFFFFFFF
            if step == 0 or step >= _HALF:
                self._discard(DiscardReason.SEQUENCE, header)
                return False
        return True

    def _advance_sequence(self, sequence: int) -> None:
        """Make *sequence* the last one, and count the packets that are missing before it."""
        if self.last_sequence is not None:
            missing = ((sequence - self.last_sequence) & 0xFFFFFFFF) - 1
            if missing:
                self.lost_packets += missing
                _log.debug("%d packets are missing before sequence %d", missing, sequence)
        self.last_sequence = sequence

    # --- a payload ------------------------------------------------------------------------

    def _end_packet(self, is_sound: bool = False) -> None:
        """Check the payload that is complete, and pass the packet to the sink."""
        packet = self._packet
        assert packet is not None
        header, payload = packet.header, packet.payload
        self._packet = None
        self.settled_sequence = self.last_sequence
        if not is_sound and crc32(payload) != header.payload_crc:
            self._discard(DiscardReason.PAYLOAD_CRC, header)
            self._start_search(bytes(payload) + bytes(self._head[: self._head_fill]))
            return
        if self._state is _PAYLOAD:
            self._state = _HEADER
        if packet.is_wanted:
            if _log.isEnabledFor(TRACE):
                _log.log(TRACE, "received %s", header)
            self.sink.on_packet(header, payload, packet.is_in_place)

    # --- out of sync ----------------------------------------------------------------------

    def _start_search(self, suspect: bytes) -> None:
        """Begin to search, or go on: *suspect* is searched ahead of the backlog."""
        self.settled_sequence = self.last_sequence
        self._packet = None
        self._head_fill = 0
        self._set_state(_SEARCH)
        if not self._backlog.prepend_suspect(suspect):
            self._discard(DiscardReason.NOISE)

    def _set_state(self, state: ReceiverState) -> None:
        """Change the state, and log that the receiver loses or regains synchronisation."""
        if state is not self._state:
            _log.debug("receiver: %s -> %s", self._state.name, state.name)
            self._state = state

    def _search(self) -> None:
        """Take packets from the backlog until it is used up or ends inside a packet."""
        backlog = self._backlog
        has_noise = False
        while self._state is _SEARCH:
            has_noise |= backlog.drop_to_magic()
            if len(backlog.data) < HEADER_BYTES:
                break
            if self._accept_header(memoryview(bytes(backlog.data[:HEADER_BYTES]))):
                backlog.drop(HEADER_BYTES)
                self._take_payload()
            elif not backlog.refuse_magic():
                self._discard(DiscardReason.NOISE)
        if has_noise:
            self._discard(DiscardReason.NOISE)

    def _take_payload(self) -> None:
        """Move the payload of an accepted header out of the backlog, as far as it is there."""
        packet = self._packet
        assert packet is not None
        count = min(len(packet.payload), len(self._backlog.data))
        packet.payload[:count] = self._backlog.data[:count]
        self._backlog.drop(count)
        packet.fill = count
        if count < len(packet.payload):
            self._set_state(_PAYLOAD)
            return
        self._end_packet()
        if not self._backlog.data and self._packet is None:
            self._set_state(_HEADER)

    def _give_up(self) -> None:
        """Discard a packet that has begun and stalled, and search its bytes."""
        packet = self._packet
        if packet is not None:
            self._discard(DiscardReason.STALL, packet.header)
            self._start_search(bytes(packet.payload[: packet.fill]))
        elif self._state is _SEARCH:
            backlog = self._backlog
            if backlog.data.startswith(MAGIC):
                # Another packet may begin inside this one.
                self._discard(DiscardReason.STALL)
                backlog.drop(1)
            else:
                self._discard(DiscardReason.NOISE)
                backlog.drop(len(backlog.data))
        else:
            # A packet has begun once its magic is whole, here as in a search: whether the receiver
            # is in sync depends on how the bytes were cut, and the counters must not.
            head = bytes(self._head[: self._head_fill])
            self._discard(DiscardReason.STALL if head.startswith(MAGIC) else DiscardReason.NOISE)
            self._start_search(head[1:])

    def _discard(self, reason: DiscardReason, header: Header | None = None) -> None:
        """Count and log something that was received and is not used."""
        self.discards[reason] += 1
        _log.debug("discarded (%s): %s", reason, header or "bytes without a valid header")
