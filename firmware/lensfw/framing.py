"""Packets from the host out of a stream of bytes. The host sends only short ones."""

import binascii
import struct

from . import wire
from .arch import seal_crc

_PACKET = wire.HEADER_BYTES + wire.MAX_CONTROL
_VERSION = wire.VERSION_MAJOR << 4 | wire.VERSION_MINOR
# A header ends with these two; a checksum that has been written is never a number.
_HEADER_CRC = wire.HEADER_BYTES - 4
_PAYLOAD_CRC = wire.HEADER_BYTES - 8
_UP_TO_LENGTH = wire.HEADER[:-2]
# Parts of it: flags and stream; nonce and sequence; from the frame on up to the length.
_FLAGS_AT = 6
_NONCE_AT = 8
_NUMBER = "<II"
_FRAME_AT = 16
_PLACE = "<I4HI"


class Receiver:
    """Keeps received bytes in one buffer, and searches on after damage.

    ``discards`` counts by cause; the causes are those of SPEC.md. ``spent`` is called with the
    fields of a sound header whose payload does not come, or not as it was.
    """

    def __init__(self, discards, spent=None):
        self.discards = discards
        self._spent = spent
        self._buffer = bytearray(2 * _PACKET)
        self._view = memoryview(self._buffer)
        self._count = 0
        self._progress = 0
        self._used = 0

    def space(self):
        """Where the next bytes shall go; never empty."""
        if self._used:
            left = self._count - self._used
            self._buffer[:left] = self._buffer[self._used : self._count]
            self._count = left
            self._used = 0
        return self._view[self._count :]

    def received(self, count, now):
        self._count += count
        self._progress = now

    def holds(self):
        """Whether there are bytes that next() has not taken: without, it need not be asked."""
        return self._used != self._count

    def reject(self, cause):
        self.discards[cause] = self.discards.get(cause, 0) + 1

    def next(self, now):
        """The next sound packet as (header fields, payload), or None when more bytes are needed.

        The payload is a view that is valid until the next call of space().
        """
        while True:
            if self._used == self._count:
                return None
            start = self._buffer.find(wire.MAGIC, self._used, self._count)
            if start < 0:
                # The last three bytes may be the beginning of a magic.
                start = max(self._used, self._count - 3)
                if start > self._used:
                    self.reject("noise")
                    self._used = start
                return None
            if start > self._used:
                self.reject("noise")
                self._used = start
            left = self._count - start
            if left < wire.HEADER_BYTES:
                if self._stalled(now):
                    continue
                return None
            body = start + wire.HEADER_BYTES
            header = struct.unpack_from(wire.HEADER, self._buffer, start)
            length, payload_crc, header_crc = header[12:15]
            if binascii.crc32(self._view[start : body - 4]) != header_crc:
                self.reject("header_crc")
                self._used = start + 1
                continue
            if header[1] >> 4 != wire.VERSION_MAJOR and header[2] != wire.T_HELLO:
                self.reject("version")
                self._used = start + 1
                continue
            if length > wire.MAX_CONTROL:
                self.reject("length")
                self._used = start + 1
                continue
            if left < wire.HEADER_BYTES + length:
                if self._stalled(now):
                    self._spend(header)
                    continue
                return None
            payload = self._view[body : body + length]
            if binascii.crc32(payload) != payload_crc:
                # Bytes may be missing: what looks like payload may hold the next packet.
                self.reject("payload_crc")
                self._spend(header)
                self._used = body
                continue
            self._used = body + length
            return header, payload

    def _spend(self, header):
        if self._spent is not None:
            self._spent(header)

    def _stalled(self, now):
        """Inside a packet: whether it is given up. What it holds has stalled with it."""
        if now - self._progress < wire.STALL_MS * 1000:
            return False
        self.reject("stall")
        self._used += 1
        return True


def seal_payload(packet, length):
    """Write the CRC of a packet's payload into its header."""
    seal_crc(packet, wire.HEADER_BYTES, length, _PAYLOAD_CRC)


def seal(packet, length, kind, flags, stream, nonce, sequence, frame):
    """Write the rest of the header of a packet that has no place, around the payload's CRC."""
    struct.pack_into(
        _UP_TO_LENGTH, packet, 0,
        wire.MAGIC, _VERSION, kind, flags, stream, nonce, sequence, frame, 0, 0, 0, 0, length,
    )  # fmt: skip
    seal_crc(packet, 0, _HEADER_CRC, _HEADER_CRC)


# A tile's header is written as it becomes known, by functions that allocate nothing.


def tile_packet(size):
    """The memory of a tile of up to *size* bytes."""
    packet = bytearray(wire.HEADER_BYTES + size)
    seal(packet, 0, wire.T_TILE, 0, 0, 0, 0, 0)
    return packet


def place(packet, frame, x, y, columns, rows, length):
    """What is known as a tile is read."""
    struct.pack_into(_PLACE, packet, _FRAME_AT, frame, x, y, columns, rows, length)


def place_of(packet):
    """Its x, y, columns and rows."""
    return struct.unpack_from(_PLACE, packet, _FRAME_AT)[1:5]


def number(packet, item, nonce, sequence):
    """What is known as it is sent: *item* has flags and stream."""
    packet[_FLAGS_AT] = item.flags
    packet[_FLAGS_AT + 1] = item.stream
    struct.pack_into(_NUMBER, packet, _NONCE_AT, nonce, sequence)
    seal_crc(packet, 0, _HEADER_CRC, _HEADER_CRC)
