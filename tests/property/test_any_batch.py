"""Packets received in batches, against packets received one by one: no difference but speed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from helpers import recorded_session
from helpers.nightly_scale import NIGHTLY, choose
from hypothesis import given, settings
from hypothesis import strategies as st

from lenslink.receive.batch import Batch
from lenslink.receive.frame_pool import Buffer, Pool
from lenslink.receive.reassembly import Reassembly
from lenslink_protocol.buffers import feed
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import (
    Capability,
    DiscardReason,
    EndStatus,
    Flag,
    FrameState,
    MessageType,
    PixelFormat,
)
from lenslink_protocol.link import Link
from lenslink_protocol.messages import (
    Configured,
    FrameEnd,
    FrameStart,
    HelloReply,
    Log,
    Resent,
)

NONCE = 0x5EED5EED
POISON = 0xA5
WIDTH, HEIGHT = 24, 12
FORMATS = {PixelFormat.RG12: 48, PixelFormat.RG12p: 36}
EVENTS = ["drop", "double", "again", "swap", "log", "unknown", "gone"]
# Strips, a row each, segments of a row, rectangles; some that do not divide the frame.
SHAPES = [
    (24, 2),
    (24, 1),
    (24, 5),
    (8, 1),
    (10, 1),
    (2, 1),
    (8, 4),
    (10, 5),
    (4, 2),
    (6, 12),
    (8, 11),
]


class Poisoned(Pool):
    """Memory as of another frame."""

    def acquire(self, size: int, frame: int = -1) -> Buffer:
        buffer = super().acquire(size, frame)
        buffer[:] = POISON
        return buffer


class Counting(Reassembly):
    """Knows how many bytes came in batches."""

    batched = 0

    def on_tiles(self, assembly, ranges, last, now, lane):
        self.batched += sum(end - start for start, end in ranges)
        super().on_tiles(assembly, ranges, last, now, lane)


class Host:
    """A host's end of a link in the middle of a session, *fast* by batches."""

    def __init__(self, plan: Configured, lanes: int, resend: bool, fast: bool) -> None:
        self.discards: Counter[DiscardReason] = Counter()
        self.frames = Counting(Poisoned(), self.discards, {0: plan, 1: plan}.get)
        self.frames.can_resend = resend
        self.link = Link(NONCE, self.frames, self.discards, lanes)
        known = HelloReply.decode(HelloReply.FIXED.size.to_bytes(HelloReply.FIXED.size, "little"))
        capabilities = Capability.RESEND if resend else Capability(0)
        self.link.session = replace(known, capabilities=capabilities)
        self.ends = [
            Batch(self.link, self.frames, lane) if fast else Slow(self.link, lane)
            for lane in range(lanes)
        ]
        self.now = 0.0
        self.asked: list[bytes] = []

    def deliver(self, lane: int, data: bytes) -> None:
        """*data* is there to be received at this moment."""
        end = self.ends[lane]
        feed(data, end.get_buffers, lambda count: end.on_received(count, self.now))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.link.poll(self.now)
        for packet in self.link.outgoing:
            if packet[5] == MessageType.RESEND:
                self.asked.append(packet[40:])
        self.link.outgoing.clear()

    def state(self) -> dict[str, object]:
        """All that a user or a module could see of it."""
        frames = []
        for each in self.frames.finished_frames:
            gaps = tuple(each.received_ranges.find_gaps(0, each.received_ranges.size))
            shown = each.buffer.copy()
            for start, end in gaps:
                shown[start:end] = 0
            frames.append(
                (each.stream, each.number, gaps, each.frame_start, each.frame_end, shown.tobytes())
            )
        # How often noise was counted depends on how the bytes were cut.
        discards = {cause: n for cause, n in self.discards.items() if cause != DiscardReason.NOISE}
        under_way = [
            (
                each.number,
                each.received_ranges.find_gaps(0, each.received_ranges.size),
                each.reservations,
            )
            for each in self.frames._open.values()
        ]
        return {
            "frames": frames,
            "under way": under_way,
            "discards": discards,
            "noise": self.discards[DiscardReason.NOISE] > 0,
            "lost": self.link.lost_packets,
            "bytes": self.frames.counters.tile_bytes,
            "counts": (self.frames.counters.aborted_frames, self.frames.counters.skipped_frames),
            "sequences": [lane.last_sequence for lane in self.link.lanes],
            "arrived": self.link.snapshot().settled_bytes,
            "positions": self.frames.snapshot().positions,
            "logs": list(self.link.logs),
            "asked": self.asked,
        }


class Slow:
    """A lane received packet by packet."""

    def __init__(self, link: Link, lane: int) -> None:
        self._link = link
        self._lane = lane

    def get_buffers(self):
        return self._link.lanes[self._lane].receiver.get_buffers()

    def on_received(self, count: int, now: float) -> None:
        self._link.on_received(count, now, self._lane)


@dataclass(frozen=True)
class Packet:
    lane: int
    kind: int
    payload: bytes
    frame: int
    stream: int
    place: tuple[int, int, int, int] = (0, 0, 0, 0)
    flags: int = 0


def plan_of(pixel_format: int) -> Configured:
    stride = FORMATS[PixelFormat(pixel_format)]
    return Configured(0, 0, 1, pixel_format, WIDTH, HEIGHT, stride, stride * HEIGHT, 0)


def picture(number: int, plan: Configured) -> np.ndarray:
    """(H, stride) uint8, none of it poison."""
    rows = np.random.default_rng([5, number]).integers(0, POISON, plan.frame_bytes, np.uint8)
    return rows.reshape(plan.height, plan.stride)


def frame_packets(
    number: int, stream: int, plan: Configured, shape: tuple[int, int], lanes: int
) -> list[Packet]:
    """A frame as a module sends it, its tiles in turns over the lanes."""
    width, height = shape
    bits = plan.stride * 8 // plan.width
    rows = picture(number, plan)
    start = FrameStart(
        1, 0, 0, plan.width, plan.height, 0, 1, 12, plan.pixel_format, plan.stride, 4095, 0,
        (0,) * 4, *range(10),
    )  # fmt: skip
    packets = [Packet(0, MessageType.FRAME_START, start.encode(), number, stream)]
    for index, (y, x) in enumerate(
        (y, x) for y in range(0, plan.height, height) for x in range(0, plan.width, width)
    ):
        right, bottom = min(x + width, plan.width), min(y + height, plan.height)
        data = rows[y:bottom, x * bits // 8 : right * bits // 8].tobytes()
        place = (x, y, right - x, bottom - y)
        packets.append(Packet(index % lanes, MessageType.TILE, data, number, stream, place))
    end = FrameEnd(EndStatus.OK, lanes, len(packets) - 1, 0, (0,) * 4, 0)
    return [*packets, Packet(0, MessageType.FRAME_END, end.encode(), number, stream)]


def encode(packets: list[Packet], first: int, lanes: int) -> list[tuple[int, bytes]]:
    """Lane and bytes of each packet, numbered; frame-ends say what was sent before them."""
    sequences = [first] * lanes
    coded = []
    for each in packets:
        payload = each.payload
        if each.kind == MessageType.FRAME_END:
            last = tuple((s - 1) & 0xFFFFFFFF for s in sequences) + (0,) * (4 - lanes)
            payload = replace(FrameEnd.decode(payload), last_sequence=last).encode()
        data = encode_packet(
            each.kind, payload, nonce=NONCE, sequence=sequences[each.lane], frame=each.frame,
            stream=each.stream, place=each.place, flags=each.flags,
        )  # fmt: skip
        sequences[each.lane] += 1
        coded.append((each.lane, data))
    return coded


def compare(coded, plan: Configured, lanes: int, resend: bool, cut) -> Host:
    """Both hosts get the same, and come to the same; the fast one."""
    fast, slow = (Host(plan, lanes, resend, way) for way in (True, False))
    streams = [bytearray() for _ in range(lanes)]
    for lane, data in coded:
        streams[lane] += data
    at = [0] * lanes
    turn = 0
    while left := [lane for lane in range(lanes) if at[lane] < len(streams[lane])]:
        lane, size, wait = cut(turn)
        turn += 1
        lane = left[lane % len(left)]
        piece = bytes(streams[lane][at[lane] : at[lane] + size])
        at[lane] += len(piece)
        for host in (fast, slow):
            host.deliver(lane, piece)
            host.wait(wait)
        assert fast.state() == slow.state()
    for wait in (0.06, 0.2, 0.3, 0.3, 3.0, 3.0):
        for host in (fast, slow):
            host.wait(wait)
        assert fast.state() == slow.state()
    for _, number, gaps, *_, shown in fast.state()["frames"]:
        mask = np.ones(plan.frame_bytes, bool)
        for start, end in gaps:
            mask[start:end] = False
        source = picture(number, plan).reshape(-1)
        assert (np.frombuffer(shown, np.uint8)[mask] == source[mask]).all()
    return fast


@st.composite
def sessions(draw, lanes=(1, 1, 2, 3), events=EVENTS):
    """Frames, then what may happen to packets and bytes on their way."""
    plan = plan_of(draw(st.sampled_from(list(FORMATS))))
    lanes = draw(st.sampled_from(lanes))
    packets: list[Packet] = []
    for number in range(draw(st.integers(1, 3))):
        shape = draw(st.sampled_from(SHAPES))
        packets += frame_packets(number, draw(st.sampled_from([0, 0, 1])), plan, shape, lanes)
    log = Packet(0, MessageType.LOG, Log(1, 2, b"line").encode(), 0, 0)
    unknown = Packet(0, 0x7D, b"?", 0, 0)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(packets) - 1))
        match draw(st.sampled_from(events)):
            case "drop":
                del packets[at]
            case "double":
                packets.insert(draw(st.integers(at, len(packets))), packets[at])
            case "again" if packets[at].kind == MessageType.TILE:
                again = replace(packets[at], flags=int(Flag.RESENT))
                packets.insert(draw(st.integers(0, len(packets))), again)
            case "swap":
                other = draw(st.integers(0, len(packets) - 1))
                packets[at], packets[other] = packets[other], packets[at]
            case "log":
                packets.insert(at, log)
            case "unknown":
                packets.insert(at, unknown)
            case "gone":
                state = draw(st.sampled_from(list(FrameState)))
                answer = Resent(0, state, 1, np.array([0, 2, WIDTH, 1], "<u2").tobytes())
                answered = Packet(0, MessageType.RESENT, answer.encode(), packets[at].frame, 0)
                packets.insert(at, answered)
        if not packets:
            packets.append(log)
    coded = encode(packets, draw(st.sampled_from([0, 7, 0xFFFFFFF0])), lanes)
    for _ in range(draw(st.integers(0, 3))):
        which = draw(st.integers(0, len(coded) - 1))
        lane, data = coded[which]
        at = draw(st.integers(0, max(0, len(data) - 1)))
        what = draw(st.sampled_from([*recorded_session.FAULTS, "cut", "copy"]))
        if what == "cut":
            data = data[:at]
        elif what == "copy":
            data += data
        elif data:
            data = recorded_session.damaged(data, at, what, draw(st.randoms(use_true_random=False)))
        coded[which] = (lane, data)
    sizes = st.sampled_from([1, 2, 39, 40, 41, 47, 90, 200, 500, 2000, 100000])
    waits = st.sampled_from([0.0, 0.0, 0.0, 0.001, 0.06, 0.3])
    cuts = draw(st.lists(st.tuples(st.integers(0, 2), sizes, waits), min_size=1, max_size=12))
    return plan, lanes, draw(st.booleans()), coded, cuts


@settings(max_examples=choose(100, 40_000), deadline=None)
@given(sessions())
def test_batches_give_the_same_result_as_single_packets(session):
    plan, lanes, resend, coded, cuts = session
    compare(coded, plan, lanes, resend, lambda turn: cuts[turn % len(cuts)])


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_most_of_an_undamaged_frame_is_received_in_batches(pixel_format, shape, lanes):
    plan = plan_of(pixel_format)
    packets = [p for number in range(4) for p in frame_packets(number, 0, plan, shape, lanes)]
    tiles = sum(p.kind == MessageType.TILE for p in packets)
    host = compare(encode(packets, 0, lanes), plan, lanes, True, lambda n: (n, 400, 0.0))
    assert not host.discards
    assert [frame[2] for frame in host.state()["frames"]] == [()] * 4
    if tiles >= 4 * 24 and lanes == 1:
        assert host.frames.batched > host.frames.counters.tile_bytes // 2


@pytest.mark.parametrize("what", recorded_session.FAULTS)
@pytest.mark.parametrize("size", [1, 97, 1 << 20])
def test_a_fault_at_any_byte_gives_the_same_result_in_batches(what, size, seed):
    """As the sweep over every byte, but held against what packet by packet gives."""
    plan = plan_of(PixelFormat.RG12)
    packets = frame_packets(0, 0, plan, (8, 1), 1) + frame_packets(1, 0, plan, (8, 4), 1)
    packets.insert(20, Packet(0, MessageType.LOG, Log(1, 2, b"line").encode(), 0, 0))
    data = b"".join(each for _, each in encode(packets, 0, 1))
    chance = random.Random(seed)
    count = len(data) if NIGHTLY else 30 if size > 1 else 2
    for at in sorted(chance.sample(range(len(data)), count)):
        hurt = recorded_session.damaged(data, at, what, random.Random(seed + at))
        compare([(0, hurt)], plan, 1, False, lambda turn: (0, size, 0.0))


def test_a_stall_behind_damage_is_counted_alike():
    """Hypothesis found it: the batch was in sync again when the bytes stopped inside a magic.

    A single search had the same bytes in its backlog, and counted noise instead of a stall.
    """
    plan = plan_of(PixelFormat.RG12p)
    packets = frame_packets(0, 0, plan, (4, 2), 1) + frame_packets(1, 1, plan, (24, 5), 1)
    [tile] = [each for each in packets if each.place == (12, 8, 4, 2)]
    [at] = [index for index, each in enumerate(packets) if each.place == (4, 10, 4, 2)]
    packets.insert(at, replace(tile, flags=int(Flag.RESENT)))
    coded = encode(packets, 7, 1)
    for index, place, byte in ((5, 26, b"\x07"), (11, 6, b"\xa0")):
        lane, data = coded[index]
        coded[index] = (lane, data[:place] + byte + data[place:])
    cuts = [(0, 2000, 0.001), (0, 41, 0.3), (0, 100_000, 0.001), (0, 41, 0.001)]
    compare(coded, plan, 1, True, lambda turn: cuts[turn % len(cuts)])


@pytest.mark.parametrize("size", [41, 60, 97, 200])
def test_the_low_tiles_at_a_frames_lower_edge_are_received_in_pieces(size):
    """A tile of one row is received in place by the receiver, but the batch had staged it."""
    plan = plan_of(PixelFormat.RG12)
    packets = [p for number in range(3) for p in frame_packets(number, 0, plan, (8, 11), 1)]
    host = compare(encode(packets, 0, 1), plan, 1, True, lambda turn: (0, size, 0.0))
    assert not host.discards
    assert [frame[2] for frame in host.state()["frames"]] == [()] * 3


@pytest.mark.parametrize("sound", [True, False])
def test_a_batch_does_not_overwrite_received_bytes(sound):
    """A tile came before its turn; when its turn comes, damaged or not, its pixels stay."""
    plan = plan_of(PixelFormat.RG12)
    packets = frame_packets(0, 0, plan, (8, 1), 1)
    early = 20
    packets.insert(8, replace(packets[early], flags=int(Flag.RESENT)))
    coded = encode(packets, 0, 1)
    lane, data = coded[early + 1]
    if not sound:
        coded[early + 1] = (lane, data[:-1] + bytes([data[-1] ^ 0xFF]))
    host = compare(coded, plan, 1, False, lambda turn: (0, 100_000, 0.0))
    assert host.frames.batched
    assert host.discards[DiscardReason.DUPLICATE if sound else DiscardReason.PAYLOAD_CRC] == 1
    assert host.state()["frames"][0][2] == ()


@pytest.mark.parametrize("state", list(FrameState))
def test_after_a_resent_any_tile_may_finish_a_frame(state):
    plan = plan_of(PixelFormat.RG12)
    packets = frame_packets(0, 0, plan, (8, 1), 1)
    answer = Resent(0, state, 1, np.array([0, 0, WIDTH, HEIGHT], "<u2").tobytes())
    packets.insert(12, Packet(0, MessageType.RESENT, answer.encode(), 0, 0))
    compare(encode(packets, 0, 1), plan, 1, True, lambda turn: (0, 100_000, 0.0))
