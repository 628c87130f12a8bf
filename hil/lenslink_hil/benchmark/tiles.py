"""The packets of a frame, made ahead. For each frame only a few header fields are written.

Headers and payloads lie in memory as they go over the wire, so that one call sends many packets.
Payloads and their CRCs are computed once. The CRC of a header is linear: the contributions of
nonce, sequence and frame number are looked up, and XORed with that of the other fields.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lenslink.transports.direct_placement import DirectFrame
from lenslink_protocol.crc import crc32
from lenslink_protocol.framing import VERSION, encode_packet
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import HEADER, MAGIC, Configured
from lenslink_protocol.params import HEADER_BYTES

_CHECKED = HEADER_BYTES - 4
# Offsets of the fields that differ between frames: nonce, sequence and frame, 32 bits each.
_NONCE, _SEQUENCE, _FRAME = 8, 12, 16


def _compute_contributions() -> NDArray[np.uint32]:
    """Return (36, 256) uint32: what each value of each header byte contributes to the CRC."""
    nothing = crc32(bytes(_CHECKED))
    table = np.zeros((_CHECKED, 256), dtype=np.uint32)
    for place in range(_NONCE, _FRAME + 4):
        for value in range(256):
            head = bytearray(_CHECKED)
            head[place] = value
            table[place, value] = crc32(head) ^ nothing
    return table


def make_payload(frame_bytes: int, seed: int) -> NDArray[np.uint8]:
    """Return (frame_bytes,) uint8: 12-bit noise, whatever the packing."""
    words = np.random.default_rng(seed).integers(0, 1 << 12, frame_bytes // 2, dtype=np.uint16)
    noise = np.zeros(frame_bytes, dtype=np.uint8)
    noise[: 2 * words.size] = words.view(np.uint8)
    return noise


class Tiles:
    """The tiles of a frame in order, each (x, y, columns, rows), as the firmware cuts them."""

    def __init__(self, plan: Configured) -> None:
        self.places: list[tuple[int, int, int, int]] = []
        lengths = []
        if plan.tile_bytes >= plan.stride:
            rows = plan.tile_bytes // plan.stride
            for y in range(0, plan.height, rows):
                count = min(rows, plan.height - y)
                self.places.append((0, y, plan.width, count))
                lengths.append(plan.stride * count)
        else:
            bits = plan.pixel_format >> 16 & 0xFF
            columns = plan.tile_bytes * 8 // bits
            row = [(x, min(columns, plan.width - x)) for x in range(0, plan.width, columns)]
            for y in range(plan.height):
                self.places += [(x, y, count, 1) for x, count in row]
                lengths += [(count * bits + 7) // 8 for _, count in row]
        self.lengths = np.array(lengths, dtype=np.int64)
        self.ends = np.cumsum(self.lengths)
        """Payload bytes from the start of the frame to the end of each tile."""
        self.at = self.ends - self.lengths + HEADER_BYTES * np.arange(len(lengths))
        """Offset of each packet."""
        if self.ends[-1] != plan.frame_bytes:
            raise ValueError(f"tiles of {self.ends[-1]} bytes for a frame of {plan.frame_bytes}")

    def __len__(self) -> int:
        return len(self.places)

    def packet_offset(self, index: int) -> int:
        """Return the offset of packet *index*; after the last packet, the end."""
        if index < len(self.places):
            return int(self.at[index])
        return int(self.ends[-1]) + HEADER_BYTES * len(self.places)


class Picture:
    """The packets of one frame in memory, with contents that *seed* chooses."""

    _table = _compute_contributions()

    def __init__(self, plan: Configured, tiles: Tiles, seed: int) -> None:
        self.tiles = tiles
        frame = make_payload(plan.frame_bytes, seed)
        self.crc = crc32(frame)
        """The CRC of the whole frame."""
        self.bytes = np.empty(tiles.packet_offset(len(tiles)), dtype=np.uint8)
        self.view = self.bytes.data
        checks = np.empty(len(tiles), dtype=np.uint32)
        start = 0
        for index, place in enumerate(tiles.places):
            end = int(tiles.ends[index])
            at = int(tiles.at[index])
            piece = frame[start:end]
            head = HEADER.pack(
                MAGIC, VERSION, MessageType.TILE, 0, plan.stream, 0, 0, 0, *place, len(piece),
                crc32(piece), 0,
            )  # fmt: skip
            self.bytes[at : at + HEADER_BYTES] = np.frombuffer(head, np.uint8)
            self.bytes[at + HEADER_BYTES : at + HEADER_BYTES + len(piece)] = piece
            checks[index] = crc32(head[:_CHECKED])
            start = end
        self._checks = checks

    def number_packets(
        self, first: int, last: int, nonce: int, sequence: int, frame: int
    ) -> memoryview:
        """Return packets [first, last) with this nonce, frame and sequences from *sequence*."""
        count = last - first
        fields = np.empty((count, 3), dtype="<u4")
        fields[:, 0] = nonce
        fields[:, 1] = (np.arange(count, dtype=np.int64) + sequence) & 0xFFFFFFFF
        fields[:, 2] = frame
        raw = fields.view(np.uint8)
        check = self._checks[first:last].copy()
        for place in range(12):
            check ^= self._table[_NONCE + place][raw[:, place]]
        where = self.tiles.at[first:last, np.newaxis]
        self.bytes[where + np.arange(_NONCE, _FRAME + 4)] = raw
        self.bytes[where + np.arange(_CHECKED, HEADER_BYTES)] = (
            check.astype("<u4").view(np.uint8).reshape(count, 4)
        )
        return self.view[self.tiles.packet_offset(first) : self.tiles.packet_offset(last)]

    def write_payloads(self, which: range, frame: DirectFrame) -> None:
        """Write the payloads of numbered packets to shared memory, and announce the tiles."""
        tiles = self.tiles
        for index in which:
            length = int(tiles.lengths[index])
            at = int(tiles.ends[index]) - length
            begin = int(tiles.at[index])
            packet = self.view[begin : begin + HEADER_BYTES + length]
            frame.memory[at : at + length] = packet[HEADER_BYTES:]
            frame.announce_tile(bytes(packet[:HEADER_BYTES]), at, length)

    def build_packet(self, index: int, nonce: int, sequence: int, frame: int, flags: int) -> bytes:
        """Return one tile as a packet with a header of its own."""
        at = int(self.tiles.at[index]) + HEADER_BYTES
        stream = int(self.bytes[int(self.tiles.at[index]) + 7])
        return encode_packet(
            MessageType.TILE,
            self.view[at : at + int(self.tiles.lengths[index])],
            nonce=nonce,
            sequence=sequence,
            frame=frame,
            stream=stream,
            place=self.tiles.places[index],
            flags=flags,
        )

    def toggle_damage(self, index: int) -> None:
        """Damage a tile's payload, or repair it. The CRC stays that of the good payload."""
        at = int(self.tiles.at[index]) + HEADER_BYTES + int(self.tiles.lengths[index]) // 2
        self.bytes[at] ^= 0x40
