"""One fault at every byte of a session of three frames: what it costs, and what it does not.

The value of the bit or byte is random; its seed is printed. CI tries each third byte of two
sessions. LENSLINK_NIGHTLY=1 tries all, in sessions of every shape.
"""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest
from helpers import recorded_session
from helpers.nightly_scale import NIGHTLY, choose, say
from helpers.recorded_session import FAULTS, FRAMES, Listener, Recording, damaged, renumbered

from lenslink_protocol.ids import DiscardReason, MessageType
from lenslink_protocol.params import HEADER_BYTES

# Tiles of a session: four strips a frame; rows cut into two segments; 8 x 8 rectangles, which no
# board sends yet; and a frame of each.
TILES = {"strips": 12, "mixed": 40, "segments": 96, "rectangles": 12}
SHAPES = list(TILES)
SWEPT = SHAPES if NIGHTLY else ["strips", "mixed"]
# Packets begin at every remainder of three, so each byte of a header is hit in some tile.
STEP = choose(3, 1)


@cache
def session(shape: str) -> Recording:
    if shape == "mixed":
        return recorded_session.mixed(session("strips"), session("segments"))
    recorded, _ = recorded_session.record(24 if shape == "segments" else 128)
    return recorded_session.rectangles(recorded) if shape == "rectangles" else recorded


@cache
def source(number: int) -> np.ndarray:
    side = recorded_session.SIDE
    return np.frombuffer(recorded_session.picture(number), "<u2").reshape(side, side)


def check_frames(host: Listener, untouched: set[int], where: str) -> None:
    """Frames that were not touched are whole; no frame shows a wrong pixel as good."""
    whole = set()
    for assembly in host.frames.finished_frames:
        number = assembly.number
        missing_ranges = assembly.missing_ranges
        shown = assembly.unpack_pixels()
        mask = np.ones(shown.size, dtype=bool)
        for start, end in missing_ranges:
            mask[start // 2 : (end + 1) // 2] = False
        mask = mask.reshape(shown.shape)
        assert (shown[mask] == source(number)[mask]).all(), where
        assert not shown[~mask].any(), where
        if assembly.received_ranges.is_complete:
            assert mask.all()
            whole.add(number)
    assert len(host.frames.finished_frames) == len(
        {a.number for a in host.frames.finished_frames}
    ), where
    assert untouched <= whole, where


def test_the_session_is_what_it_should_be():
    for shape in SHAPES:
        recorded = session(shape)
        kinds = [header.type for header in recorded.headers]
        assert kinds[0] == MessageType.HELLO_REPLY
        assert {MessageType.MANIFEST, MessageType.CONFIGURED, MessageType.LOG} <= set(kinds)
        assert sorted(recorded.frames) == [0, 1, 2]
        assert kinds.count(MessageType.TILE) == TILES[shape]
        host = Listener(recorded)
        host.play(recorded.data)
        assert host.out == [header.sequence for header in recorded.headers]
        check_frames(host, {0, 1, 2}, "no fault")
        assert len(host.frames.finished_frames) == FRAMES


@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("shape", SWEPT)
def test_one_fault_at_every_byte(shape, what, seed, capsys):
    recorded = session(shape)
    data = recorded.data
    chance = random.Random(seed)
    start = tried = 0
    # Other bytes for each fault: every byte of a packet that comes once is hit by some of them.
    first = (seed + list(FAULTS).index(what)) % STEP
    for index, packet in enumerate(recorded.packets):
        for at in range(start, start + len(packet)):
            if at % STEP != first:
                continue
            tried += 1
            # What is put in front of a packet touches none.
            hit = None if at == start and what == "insert" else index
            where = f"{what} at byte {at - start} of packet {index}, seed {seed}"
            host = Listener(recorded)
            try:
                host.play(damaged(data, at, what, chance))
            except Exception as error:
                raise AssertionError(where) from error
            check_fault(recorded, host, hit, where)
        start += len(packet)
    assert start == len(data)
    assert tried >= len(data) // STEP
    say(capsys, f"{shape}: {what} at {tried} of {len(data)} bytes, seed {seed}")


def check_fault(recorded: Recording, host: Listener, hit: int | None, where: str) -> None:
    """What a fault in packet *hit* may cost, and that it is counted."""
    sequences = [header.sequence for header in recorded.headers]
    most = set() if hit is None else set(sequences[hit : hit + 2])
    assert len(host.out) == len(set(host.out)), where
    assert set(host.out) <= set(sequences), where
    assert set(sequences) - set(host.out) <= most, where
    # The answers are unexpected: this host has asked nothing.
    assert host.discards.total() > host.discards[DiscardReason.UNEXPECTED], where
    frames = recorded.frames.items()
    check_frames(host, {number for number, own in frames if hit not in own}, where)
    handed_on = {assembly.number for assembly in host.frames.finished_frames}
    assert handed_on == begun(recorded, host.out), where


def begun(recorded: Recording, out: list[int]) -> set[int]:
    """Frames whose frame-start is among the packets of those sequences."""
    starts = (h for h in recorded.headers if h.type == MessageType.FRAME_START)
    return {header.frame for header in starts if header.sequence in out}


def pieces_with(recorded: Recording, index: int, extra: bytes) -> bytes:
    """The session with something put behind a packet."""
    return b"".join((*recorded.packets[: index + 1], extra, *recorded.packets[index + 1 :]))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_packet_that_comes_twice_changes_nothing(shape):
    recorded = session(shape)
    for index, packet in enumerate(recorded.packets):
        host = Listener(recorded)
        host.play(pieces_with(recorded, index, packet))
        assert host.out == [header.sequence for header in recorded.headers]
        assert host.discards[DiscardReason.SEQUENCE] == 1
        assert host.discards.total() == 1 + host.discards[DiscardReason.UNEXPECTED]
        check_frames(host, {0, 1, 2}, f"packet {index} twice")


def spread(recorded: Recording) -> Recording:
    """The session with every other sequence left out, so that a packet fits between two."""
    pairs = zip(recorded.packets, recorded.headers, strict=True)
    packets = (renumbered(packet, header, 2 * header.sequence) for packet, header in pairs)
    return Recording(recorded.nonce, recorded.plan, tuple(packets))


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_damaged_duplicate_after_a_good_tile_changes_nothing(shape, fresh, seed):
    recorded = spread(session(shape))
    chance = random.Random(seed)
    for index, header in enumerate(recorded.headers):
        if header.type != MessageType.TILE:
            continue
        packet = recorded.packets[index]
        again = bytearray(renumbered(packet, header, header.sequence + 1) if fresh else packet)
        for _ in range(3):
            again[chance.randrange(HEADER_BYTES, len(again))] ^= 1 << chance.randrange(8)
        host = Listener(recorded)
        host.play(pieces_with(recorded, index, bytes(again)))
        where = f"tile {index}, seed {seed}"
        assert host.out == [each.sequence for each in recorded.headers], where
        assert host.discards[DiscardReason.PAYLOAD_CRC] >= 1, where
        check_frames(host, {0, 1, 2}, where)


@pytest.mark.parametrize("shape", SHAPES)
def test_another_tile_for_covered_ground_changes_nothing(shape):
    """Sound, of this session, and with other pixels: what was there first stays."""
    recorded = spread(session(shape))
    for index, header in enumerate(recorded.headers):
        if header.type != MessageType.TILE:
            continue
        packet = recorded.packets[index]
        lies = packet[:HEADER_BYTES] + bytes(len(packet) - HEADER_BYTES)
        again = renumbered(lies, header, header.sequence + 1)
        host = Listener(recorded)
        host.play(pieces_with(recorded, index, again))
        assert host.discards[DiscardReason.DUPLICATE] + host.discards[DiscardReason.LATE] == 1
        check_frames(host, {0, 1, 2}, f"tile {index}")
