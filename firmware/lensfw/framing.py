"""Parse the host's packets out of a stream of bytes, and write the headers of the module's packets.

A transport puts bytes into a Receiver. ``link`` takes packets from it. The host sends only short
packets, so one buffer of two packets is enough.
"""

import binascii
import struct

from . import wire
from .arch import append_crc

_PACKET = wire.HEADER_BYTES + wire.MAX_CONTROL
_VERSION = wire.VERSION_MAJOR << 4 | wire.VERSION_MINOR
# A header ends with these two. They are written as bytes: as numbers they would allocate.
_HEADER_CRC = wire.HEADER_BYTES - 4
_PAYLOAD_CRC = wire.HEADER_BYTES - 8
_UP_TO_LENGTH = wire.HEADER[:-2]
# Parts of the header: flags and stream; nonce and sequence; from the frame to the length.
_FLAGS_AT = 6
_NONCE_AT = 8
_NUMBER = "<II"
_FRAME_AT = 16
_RECTANGLE = "<I4HI"


class Receiver:
    """Find packets in received bytes, and search on after damage.

    ``discards`` counts by the discard reasons of SPEC.md. ``on_damage`` is called with the fields
    of a sound header whose payload is damaged or does not arrive.
    """

    def __init__(self, discards, on_damage=None):
        self.discards = discards
        self._on_damage = on_damage
        self._buffer = bytearray(2 * _PACKET)
        self._view = memoryview(self._buffer)
        self._count = 0
        self._progress = 0
        self._used = 0

    def get_space(self):
        """Return the view for the next received bytes. It is never empty."""
        if self._used:
            left = self._count - self._used
            self._buffer[:left] = self._buffer[self._used : self._count]
            self._count = left
            self._used = 0
        return self._view[self._count :]

    def add_received(self, count, now):
        """Take *count* bytes that were written to get_space() at the time *now*."""
        self._count += count
        self._progress = now

    def has_bytes(self):
        """Return True if there are bytes that parse_packet() has not used."""
        return self._used != self._count

    def count_discard(self, cause):
        """Count a discard by its reason."""
        self.discards[cause] = self.discards.get(cause, 0) + 1

    def parse_packet(self, now):
        """Return the next sound packet as (header fields, payload), or None if bytes are missing.

        Damaged bytes are discarded and counted. The payload is a view that is valid until the next
        call of get_space().
        """
        while True:
            if self._used == self._count:
                return None
            start = self._buffer.find(wire.MAGIC, self._used, self._count)
            if start < 0:
                # The last three bytes may begin a magic.
                start = max(self._used, self._count - 3)
                if start > self._used:
                    self.count_discard("noise")
                    self._used = start
                return None
            if start > self._used:
                self.count_discard("noise")
                self._used = start
            left = self._count - start
            if left < wire.HEADER_BYTES:
                if self._give_up_stalled(now):
                    continue
                return None
            body = start + wire.HEADER_BYTES
            header = struct.unpack_from(wire.HEADER, self._buffer, start)
            length, payload_crc, header_crc = header[12:15]
            if binascii.crc32(self._view[start : body - 4]) != header_crc:
                self.count_discard("header_crc")
                self._used = start + 1
                continue
            if header[1] >> 4 != wire.VERSION_MAJOR and header[2] != wire.T_HELLO:
                self.count_discard("version")
                self._used = start + 1
                continue
            if length > wire.MAX_CONTROL:
                self.count_discard("length")
                self._used = start + 1
                continue
            if left < wire.HEADER_BYTES + length:
                if self._give_up_stalled(now):
                    self._report_damage(header)
                    continue
                return None
            payload = self._view[body : body + length]
            if binascii.crc32(payload) != payload_crc:
                # Bytes may be missing: the next packet may lie in what looks like the payload.
                self.count_discard("payload_crc")
                self._report_damage(header)
                self._used = body
                continue
            self._used = body + length
            return header, payload

    def _report_damage(self, header):
        if self._on_damage is not None:
            self._on_damage(header)

    def _give_up_stalled(self, now):
        """Discard the first byte of a packet that has stalled. Return False if it has not stalled.

        The search then goes on inside that packet.
        """
        if now - self._progress < wire.STALL_MS * 1000:
            return False
        self.count_discard("stall")
        self._used += 1
        return True


def append_payload_crc(packet, length):
    """Write the CRC of a packet's payload into its header."""
    append_crc(packet, wire.HEADER_BYTES, length, _PAYLOAD_CRC)


def write_header(packet, length, kind, flags, stream, nonce, sequence, frame):
    """Write the header of a packet without a rectangle. The payload's CRC is there already."""
    struct.pack_into(
        _UP_TO_LENGTH, packet, 0,
        wire.MAGIC, _VERSION, kind, flags, stream, nonce, sequence, frame, 0, 0, 0, 0, length,
    )  # fmt: skip
    append_crc(packet, 0, _HEADER_CRC, _HEADER_CRC)


# A tile's header is written in parts, as its fields become known. These functions do not allocate.


def make_tile_packet(size):
    """Return the memory of a tile packet with up to *size* bytes of pixels."""
    packet = bytearray(wire.HEADER_BYTES + size)
    write_header(packet, 0, wire.T_TILE, 0, 0, 0, 0, 0)
    return packet


def write_rectangle(packet, frame, x, y, columns, rows, length):
    """Write the fields of a tile that are known when it is read from the sensor."""
    struct.pack_into(_RECTANGLE, packet, _FRAME_AT, frame, x, y, columns, rows, length)


def read_rectangle(packet):
    """Return x, y, columns and rows of a tile packet."""
    return struct.unpack_from(_RECTANGLE, packet, _FRAME_AT)[1:5]


def finish_header(packet, item, nonce, sequence):
    """Write the fields that are known when a tile is sent, and the header's CRC.

    *item* has the flags and the stream.
    """
    packet[_FLAGS_AT] = item.flags
    packet[_FLAGS_AT + 1] = item.stream
    struct.pack_into(_NUMBER, packet, _NONCE_AT, nonce, sequence)
    append_crc(packet, 0, _HEADER_CRC, _HEADER_CRC)
