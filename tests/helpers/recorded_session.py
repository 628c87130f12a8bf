"""Records a session of three frames in virtual time, damages it, and plays it to a host.

The property tests of the receive path flip, drop and repeat bytes of this recording.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from helpers import module_world
from lenslink.receive.frame_pool import Buffer, Pool
from lenslink.receive.reassembly import Reassembly
from lenslink_hil.virtual_time import Line, VirtualLinks
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import DiscardReason, MessageType
from lenslink_protocol.link import Link
from lenslink_protocol.messages import HEADER, MAGIC, Capture, Configure, Configured, GetManifest
from lenslink_protocol.messages import Header as Head
from lenslink_protocol.params import HEADER_BYTES

FRAMES = 3
SIDE = 16
RATE = 1e6
LATENCY_S = 0.0002
OLD = encode_packet(MessageType.TILE, bytes(8), nonce=0x01D01D01, sequence=3, place=(0, 0, 4, 1))


def picture(number: int) -> bytes:
    """Return the rows of a frame: noise that contains MAGIC and a packet of an older session."""
    pixels = np.random.default_rng([77, number]).integers(0, 65536, SIDE * SIDE, dtype="<u2")
    rows = bytearray(pixels.tobytes())
    rows[40:44] = MAGIC
    rows[301:304] = MAGIC[:3]
    rows[130 : 130 + len(OLD)] = OLD
    # No tile ends with a byte that begins a packet. Else a fault could belong to either packet.
    rows[7::8] = bytes(byte & 0x7F for byte in rows[7::8])
    return bytes(rows)


def bench(tile_bytes: int, up: Line | None = None, down: Line | None = None) -> VirtualLinks:
    """Return a module and a host that are not connected yet."""
    config = module_world.configuration(
        tile_bytes=max(tile_bytes, 4), in_flight=3, bits=16, held=45
    )
    return VirtualLinks(config, picture, up or Line(RATE, LATENCY_S), down or Line(RATE, LATENCY_S))


def shake_hands(live: VirtualLinks, tile_bytes: int) -> bool:
    """Open, read the manifest and configure; return True if everything was answered."""
    if not live.open() or live.call(GetManifest(0)) is None:
        return False
    answer = live.call(Configure(0, 0, 1, 0, tile_bytes))
    if not isinstance(answer, Configured):
        return False
    live.configurations[0] = answer
    return True


def shoot(live: VirtualLinks, limit_s: float = 5.0) -> bool:
    """Capture FRAMES frames; return True if all of them came, complete or not."""
    if live.call(Capture(0, FRAMES)) is None:
        return False
    return live.run(lambda: len(live.frames.finished_frames) == FRAMES, limit_s)


@dataclass(frozen=True)
class Recording:
    """The module's packets, and the configuration that they were sent for."""

    nonce: int
    plan: Configured
    packets: tuple[bytes, ...]

    @cached_property
    def data(self) -> bytes:
        return b"".join(self.packets)

    @cached_property
    def headers(self) -> list[Head]:
        return [Head._make(HEADER.unpack_from(packet)[1:]) for packet in self.packets]

    @cached_property
    def frames(self) -> dict[int, set[int]]:
        """The indices of the packets of each frame."""
        own: dict[int, set[int]] = {}
        kinds = (MessageType.FRAME_START, MessageType.TILE, MessageType.FRAME_END)
        for index, header in enumerate(self.headers):
            if header.type in kinds:
                own.setdefault(header.frame, set()).add(index)
        return own


def record(tile_bytes: int) -> tuple[Recording, bytes]:
    """Run a session; return the module's packets and the host's bytes."""
    up: list[bytes] = []
    down: list[bytes] = []

    def keep(packets: list[bytes]):
        def outcome(packet: bytes) -> list[bytes]:
            packets.append(packet)
            return [packet]

        return outcome

    live = bench(tile_bytes, Line(RATE, LATENCY_S, keep(up)), Line(RATE, LATENCY_S, keep(down)))
    assert shake_hands(live, tile_bytes)
    assert shoot(live)
    live.link.send_close(0)
    live.run(lambda: False, 0.02)
    assert not live.discards
    assert all(packet[-1] != MAGIC[0] for packet in up)
    return Recording(live.link.nonce, live.configurations[0], tuple(up)), b"".join(down)


def rectangles(recording: Recording) -> Recording:
    """Return the same pictures in tiles of 8 x 8 pixels."""
    packets = []
    sequence = 0
    for packet, header in zip(recording.packets, recording.headers, strict=True):
        payloads = [(packet[HEADER_BYTES:], (0, 0, 0, 0))]
        if header.type == MessageType.TILE:
            # All new tiles replace the first tile; the other tiles are dropped.
            rows = np.frombuffer(picture(header.frame), "<u2").reshape(SIDE, SIDE)
            places = [(x, y, 8, 8) for y in (0, 8) for x in (0, 8)] if header.y == 0 else []
            payloads = [(rows[y : y + 8, x : x + 8].tobytes(), (x, y, 8, 8)) for x, y, *_ in places]
        for payload, place in payloads:
            packets.append(
                encode_packet(
                    header.type, payload, nonce=header.nonce, sequence=sequence,
                    frame=header.frame, stream=header.stream, place=place,
                )
            )  # fmt: skip
            sequence += 1
    return Recording(recording.nonce, recording.plan, tuple(packets))


def mixed(strips: Recording, segments: Recording) -> Recording:
    """Return a recording of one frame of strips, one of segments and one of rectangles."""
    packets: list[bytes] = []
    for recording, frame in ((strips, 0), (segments, 1), (rectangles(strips), 2)):
        own = recording.frames
        first = min(own[0])
        chosen = range(first) if frame == 0 else ()
        for index in (*chosen, *sorted(own[frame])):
            packet, header = recording.packets[index], recording.headers[index]
            packets.append(renumbered(packet, header, len(packets)))
    return Recording(strips.nonce, strips.plan, tuple(packets))


def renumbered(packet: bytes, header: Head, sequence: int) -> bytes:
    """Return the same packet with another sequence number."""
    place = (header.x, header.y, header.width, header.height)
    return encode_packet(
        header.type, packet[HEADER_BYTES:], nonce=header.nonce, sequence=sequence,
        frame=header.frame, stream=header.stream, place=place,
    )  # fmt: skip


def damaged(data: bytes, at: int, what: str, chance: random.Random) -> bytes:
    """Return *data* with one byte flipped, dropped, inserted before *at*, or duplicated."""
    byte, before, after = data[at], data[:at], data[at + 1 :]
    if what == "flip a bit":
        return before + bytes([byte ^ 1 << chance.randrange(8)]) + after
    if what == "flip all bits":
        return before + bytes([byte ^ 0xFF]) + after
    if what == "drop":
        return before + after
    if what == "insert":
        return before + bytes([chance.randrange(256)]) + data[at:]
    return before + bytes([byte]) + data[at:]


FAULTS = ("flip a bit", "flip all bits", "drop", "insert", "duplicate")


class Poisoned(Pool):
    """A pool whose buffers are full of other values, as if of another frame."""

    def acquire(self, size: int, frame: int = -1) -> Buffer:
        buffer = super().acquire(size, frame)
        buffer[:] = 0xEE
        return buffer


class Listener(Link):
    """A host that stores the sequence numbers of the packets that framing accepted."""

    def __init__(self, recording: Recording) -> None:
        discards: Counter[DiscardReason] = Counter()
        frames = Reassembly(Poisoned(), discards, {0: recording.plan}.get)
        super().__init__(recording.nonce, frames, discards)
        self.frames = frames
        self.out: list[int] = []

    def on_packet(self, header, *rest):
        self.out.append(header.sequence)
        super().on_packet(header, *rest)

    def play(self, data: bytes) -> None:
        """Feed all of *data*, then let time pass until the host waits for nothing."""
        self.receiver.feed(data, 0.0)
        now = 0.0
        for seconds in (0.3, 0.3, 0.3, 3.0):
            now += seconds
            self.poll(now)
