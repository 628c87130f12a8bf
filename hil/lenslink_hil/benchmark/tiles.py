"""The packets of a frame, made ahead: what is left to do for each frame is a few header fields.

Header and payload lie one behind the other as they go over the wire, so that a stretch of packets
is sent by one call. Payloads and their CRCs are made once, as by a sensor whose hardware computes
them. The CRC of a header is linear: what nonce, sequence and frame contribute is looked up and
xored to what the rest of the header contributes.
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
# Offsets of what differs from frame to frame: nonce, sequence and frame, 32 bits each.
_NONCE, _SEQUENCE, _FRAME = 8, 12, 16


def _contributions() -> NDArray[np.uint32]:
    """(36, 256): what a byte of that value at that place adds to a header's CRC."""
    nothing = crc32(bytes(_CHECKED))
    table = np.zeros((_CHECKED, 256), dtype=np.uint32)
    for place in range(_NONCE, _FRAME + 4):
        for value in range(256):
            head = bytearray(_CHECKED)
            head[place] = value
            table[place, value] = crc32(head) ^ nothing
    return table


def payload(frame_bytes: int, seed: int) -> NDArray[np.uint8]:
    """(frame_bytes,) the bytes of a frame: noise of 12 bits a pixel, however it is packed."""
    words = np.random.default_rng(seed).integers(0, 1 << 12, frame_bytes // 2, dtype=np.uint16)
    noise = np.zeros(frame_bytes, dtype=np.uint8)
    noise[: 2 * words.size] = words.view(np.uint8)
    return noise


class Tiles:
    """The tiles of one frame, in order; each is (x, y, columns, rows) and a stretch of the frame.

    Whole rows where a tile holds two or more, else parts of a row, as the firmware cuts them.
    """

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
        """Payload bytes up to the end of each tile."""
        self.at = self.ends - self.lengths + HEADER_BYTES * np.arange(len(lengths))
        """Where each packet begins."""
        if self.ends[-1] != plan.frame_bytes:
            raise ValueError(f"tiles of {self.ends[-1]} bytes for a frame of {plan.frame_bytes}")

    def __len__(self) -> int:
        return len(self.places)

    def offset(self, index: int) -> int:
        """Where packet *index* begins; for one beyond the last, where that ends."""
        if index < len(self.places):
            return int(self.at[index])
        return int(self.ends[-1]) + HEADER_BYTES * len(self.places)


class Picture:
    """One frame's packets, of content *seed*, in memory of their own."""

    _table = _contributions()

    def __init__(self, plan: Configured, tiles: Tiles, seed: int) -> None:
        self.tiles = tiles
        frame = payload(plan.frame_bytes, seed)
        self.crc = crc32(frame)
        """Of the whole frame."""
        self.bytes = np.empty(tiles.offset(len(tiles)), dtype=np.uint8)
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

    def seal(self, first: int, last: int, nonce: int, sequence: int, frame: int) -> memoryview:
        """Packets [first, last) as those of a session; sequences count on from *sequence*."""
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
        return self.view[self.tiles.offset(first) : self.tiles.offset(last)]

    def place(self, which: range, frame: DirectFrame) -> None:
        """Write the payloads of these packets, which were sealed, to where they belong."""
        tiles = self.tiles
        for index in which:
            length = int(tiles.lengths[index])
            at = int(tiles.ends[index]) - length
            begin = int(tiles.at[index])
            packet = self.view[begin : begin + HEADER_BYTES + length]
            frame.memory[at : at + length] = packet[HEADER_BYTES:]
            frame.announce_tile(bytes(packet[:HEADER_BYTES]), at, length)

    def packet(self, index: int, nonce: int, sequence: int, frame: int, flags: int) -> bytes:
        """One tile as a packet of its own, with its header made anew."""
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

    def flip(self, index: int) -> None:
        """Damage a tile's payload, or mend it again: its CRC stays that of the original."""
        at = int(self.tiles.at[index]) + HEADER_BYTES + int(self.tiles.lengths[index]) // 2
        self.bytes[at] ^= 0x40
