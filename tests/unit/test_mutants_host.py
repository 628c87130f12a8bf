"""The host's framing, link and reassembly, exactly: what mutation testing asked for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lenslink.pool import Pool
from lenslink.reassembly import Assembly, Reassembly
from lenslink_protocol import link as host_link
from lenslink_protocol.framing import Receiver, encode_packet
from lenslink_protocol.ids import (
    Capability,
    CloseReason,
    EndStatus,
    Flag,
    FrameState,
    MessageType,
    Reject,
    ResendFlag,
)
from lenslink_protocol.link import WINDOW, Link, Missing
from lenslink_protocol.messages import (
    BY_TYPE,
    HEADER,
    Accepted,
    Busy,
    Capture,
    Close,
    Configured,
    Error,
    FrameEnd,
    FrameStart,
    Header,
    Heartbeat,
    HeartbeatReply,
    HelloReply,
    Log,
    Notice,
    Pending,
    Resend,
    Resent,
)
from lenslink_protocol.params import HEADER_BYTES, MAX_CONTROL, MAX_RANGES, RESEND_TRIES, STALL_MS

NONCE = 0xABCD0123
TILE, LOG = MessageType.TILE, MessageType.LOG


def packet(kind: int = LOG, payload: bytes = b"", sequence: int = 0, **more: object) -> bytes:
    return encode_packet(kind, payload, **{"nonce": NONCE, "sequence": sequence, **more})


class Kept:
    """A sink that keeps what it is given; ``memory`` is where tiles go."""

    def __init__(self, memory: bytearray | None = None) -> None:
        self.memory = memory
        self.got: list[tuple[int, bytes, bool]] = []

    def place(self, header: Header) -> memoryview | None:
        return None if self.memory is None else memoryview(self.memory)[: header.length]

    def packet(self, header: Header, payload: memoryview, in_place: bool) -> None:
        self.got.append((header.sequence, bytes(payload), in_place))


def receiver(
    memory: bytearray | None = None, most: int = 4096
) -> tuple[Receiver, Kept, Counter[Reject]]:
    sink, rejects = Kept(memory), Counter[Reject]()
    return Receiver(sink, NONCE, rejects, most), sink, rejects


# --- framing --------------------------------------------------------------------------------------


def test_a_packet_has_the_fields_that_it_was_given():
    data = packet(TILE, b"abc", (1 << 32) + 7, frame=9, stream=1, place=(2, 3, 4, 5), flags=1)
    header = Header._make(HEADER.unpack_from(data)[1:])
    assert header[:12] == (0x10, TILE, 1, 1, NONCE, 7, 9, 2, 3, 4, 5, 3)
    assert len(data) == HEADER_BYTES + 3


@pytest.mark.parametrize("size", [1, 7, 39, 40, 41, 1000])
def test_packets_come_however_they_are_cut(size):
    made, sink, rejects = receiver(bytearray(100))
    payloads = [b"", b"x", bytes(range(90)), b"tail"]
    data = b"".join(packet(TILE, p, n) for n, p in enumerate(payloads))
    for at in range(0, len(data), size):
        made.feed(data[at : at + size], 1.0)
    assert [got[1] for got in sink.got] == payloads
    assert all(got[2] for got in sink.got)
    assert not any(rejects.values())
    assert made.in_sync
    assert not made.inside
    assert (made.last_sequence, made.settled_sequence, made.lost) == (3, 3, 0)


def test_inside_is_from_the_first_byte_to_the_last():
    made, _, _ = receiver()
    data = packet(LOG, b"ab")
    for byte in data[:-1]:
        made.feed(bytes([byte]), 0)
        assert made.inside
    made.feed(data[-1:], 0)
    assert not made.inside


def test_only_tiles_are_asked_for_a_place():
    made, sink, _ = receiver(bytearray(100))
    made.feed(packet(LOG, b"log") + packet(TILE, b"tile", 1), 0)
    assert [got[2] for got in sink.got] == [False, True]


def test_without_a_place_scratch_grows_to_the_packet():
    made, sink, _ = receiver(None, 1 << 16)
    long = bytes(range(256)) * 20
    made.feed(packet(TILE, long) + packet(TILE, b"short", 1), 0)
    assert [got[1:] for got in sink.got] == [(long, False), (b"short", False)]


@pytest.mark.parametrize(
    ("kind", "length", "rejected"),
    [(TILE, 2000, 0), (TILE, 2001, 1), (LOG, MAX_CONTROL, 0), (LOG, MAX_CONTROL + 1, 1)],
)
def test_the_bound_of_a_length(kind, length, rejected):
    made, sink, rejects = receiver(None, 2000)
    made.feed(packet(kind, bytes(length)), 0)
    assert rejects[Reject.LENGTH] == rejected
    assert len(sink.got) == 1 - rejected


def test_another_minor_version_is_taken_and_another_major_is_not():
    made, sink, rejects = receiver()
    made.feed(packet(version=0x1F), 0)
    assert len(sink.got) == 1
    made.feed(packet(version=0x20, sequence=1), 0)
    assert len(sink.got) == 1
    assert rejects[Reject.VERSION] == 1
    assert not made.in_sync


@pytest.mark.parametrize(
    ("step", "taken"),
    [(0, False), (1, True), ((1 << 31) - 1, True), (1 << 31, False), (-1, False)],
)
@pytest.mark.parametrize("first", [0, 5, 0xFFFFFFFF])
def test_what_is_fresh(first, step, taken):
    made, sink, rejects = receiver()
    made.feed(packet(sequence=first) + packet(sequence=(first + step) & 0xFFFFFFFF), 0)
    assert len(sink.got) == 1 + taken
    assert rejects[Reject.SEQUENCE] == (not taken)
    assert made.lost == (step - 1 if taken else 0)
    assert made.last_sequence == ((first + step) & 0xFFFFFFFF if taken else first)


def test_another_nonce_is_rejected_and_moves_nothing():
    made, sink, rejects = receiver()
    made.feed(packet(nonce=NONCE ^ 1, sequence=7), 0)
    assert not sink.got
    assert made.last_sequence is None
    assert +rejects == {Reject.NONCE: 1}


def test_a_sequence_is_settled_once_its_packet_is_over():
    made, _, _ = receiver(bytearray(10))
    made.feed(packet(TILE, b"one", 4), 0)
    data = packet(TILE, b"two", 5)
    made.feed(data[:-1], 0)
    assert (made.last_sequence, made.settled_sequence) == (5, 4)
    made.feed(bytes([data[-1] ^ 1]), 0)
    assert made.settled_sequence == 5


def test_damage_in_a_payload_costs_that_packet_only():
    made, sink, rejects = receiver()
    data = bytearray(packet(LOG, b"payload") + packet(LOG, b"next", 1))
    data[HEADER_BYTES] ^= 1
    made.feed(data, 0)
    assert [got[1] for got in sink.got] == [b"next"]
    assert +rejects == {Reject.PAYLOAD_CRC: 1, Reject.NOISE: 1}
    assert made.in_sync


def test_a_packet_inside_a_damaged_payload_is_found():
    made, sink, rejects = receiver()
    inner = packet(LOG, b"inner", 9)
    outer = bytearray(packet(LOG, inner + b"rest", 8))
    outer[-1] ^= 1
    made.feed(outer, 0)
    assert [got[1] for got in sink.got] == [b"inner"]
    assert rejects[Reject.PAYLOAD_CRC] == 1


def test_a_magic_in_noise_and_a_header_that_is_damaged():
    made, sink, rejects = receiver()
    bad = bytearray(packet(LOG, b"", 0))
    bad[20] ^= 1
    made.feed(b"\x8aLL" + b"\x8aLLK" + bytes(bad) + packet(LOG, b"good", 1), 0)
    assert [got[1] for got in sink.got] == [b"good"]
    assert rejects[Reject.HEADER_CRC] == 2
    assert made.in_sync


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_a_magic_may_be_cut_at_the_end_of_noise(keep):
    made, sink, _ = receiver()
    good = packet(LOG, b"good")
    made.feed(bytes(50) + good[:keep], 0)
    assert made.inside
    assert not made.in_sync
    made.feed(good[keep:], 0)
    assert [got[1] for got in sink.got] == [b"good"]
    assert made.in_sync


@pytest.mark.parametrize("cut", [1, 20, 39, 40, 41, 45])
def test_a_stall_gives_up_what_has_begun_and_searches_it(cut):
    made, sink, rejects = receiver()
    stall = STALL_MS / 1000
    made.feed(packet(LOG, b"payload")[:cut], 1.0)
    made.poll(1.0 + stall - 0.001)
    assert not any(rejects.values())
    made.poll(1.0 + stall)
    assert rejects[Reject.STALL] == 1
    made.poll(1.0 + stall)
    assert rejects[Reject.STALL] == 1
    made.feed(packet(LOG, b"next", 1), 2.0)
    assert [got[1] for got in sink.got] == [b"next"]
    assert made.in_sync


def test_time_away_is_no_stall():
    made, _, rejects = receiver()
    made.feed(packet(LOG, b"payload")[:-1], 1.0)
    made.resume(10.0)
    made.poll(11.2)
    assert not rejects[Reject.STALL]
    made.poll(11.25)
    assert rejects[Reject.STALL] == 1


def test_an_end_of_noise_that_becomes_nothing_is_given_up():
    made, _, rejects = receiver()
    made.feed(bytes(60) + b"\x8aLL", 1.0)
    before = rejects[Reject.NOISE]
    made.poll(1.25)
    assert rejects[Reject.NOISE] == before + 1
    assert made.in_sync
    assert not made.inside


def test_the_buffers_are_the_payload_and_then_the_next_header():
    made, _, _ = receiver(bytearray(64))
    assert [len(each) for each in made.buffers()] == [HEADER_BYTES]
    made.feed(packet(TILE, bytes(64))[: HEADER_BYTES + 10], 0)
    assert [len(each) for each in made.buffers()] == [54, HEADER_BYTES]


def test_in_place_is_said_of_a_tile_that_is_being_received_in_place():
    made, _, _ = receiver(bytearray(64))
    assert made.in_place is False
    data = packet(TILE, b"abcd")
    made.feed(data[:42], 0)
    assert made.in_place is True
    made.feed(data[42:], 0)
    assert made.in_place is False


# --- link -----------------------------------------------------------------------------------------


class Frames:
    """A frame sink that writes down what it is told."""

    def __init__(self) -> None:
        self.lanes: object = ()
        self.told: list[tuple[object, ...]] = []
        self.wanted: list[Missing] = []

    def place(self, header, lane):
        del header, lane

    def release(self, lane):
        self.told.append(("release", lane))

    def start(self, header, message, now):
        self.told.append(("start", header.frame, message, now))

    def tile(self, header, payload, in_place, now, lane):
        self.told.append(("tile", header.frame, bytes(payload), in_place, now, lane))

    def end(self, header, message, now):
        self.told.append(("end", header.frame, message, now))

    def poll(self, now):
        self.told.append(("poll", now))

    def resume(self, away):
        self.told.append(("resume", away))

    def begun(self, stream, number, now):
        self.told.append(("begun", stream, number, now))

    def resent(self, header, message, now):
        self.told.append(("resent", header.frame, message, now))

    def missing(self, now):
        del now
        wanted, self.wanted = self.wanted, []
        return wanted


class Host:
    """A link, and the module's side of its wire by hand."""

    def __init__(self, lanes: int = 1, capabilities: int = 3, *, opened: bool = True) -> None:
        self.frames = Frames()
        self.rejects: Counter[Reject] = Counter()
        self.link = Link(NONCE, self.frames, self.rejects, lanes)
        self.sequences = [0] * lanes
        self.hello = self.link.hello(0.0)
        if opened:
            self.say(HelloReply(0x10, lanes, 0, capabilities, 1024, 100, 1, 0), 1, 0.0)

    def say(self, message, frame=0, now=0.0, *, stream=0, lane=0, kind=None, payload=None):
        data = encode_packet(
            message.TYPE if kind is None else kind,
            message.encode() if payload is None else payload,
            nonce=NONCE,
            sequence=self.sequences[lane],
            frame=frame,
            stream=stream,
        )
        self.sequences[lane] += 1
        self.raw(data, now, lane)

    def raw(self, data, now=0.0, lane=0):
        rest = memoryview(data)
        while rest:
            taken = 0
            for buffer in self.link.lanes[lane].receiver.buffers():
                piece = rest[: len(buffer)]
                buffer[: len(piece)] = piece
                rest = rest[len(piece) :]
                taken += len(piece)
            self.link.received(taken, now, lane)

    def sent(self):
        """What the host has sent, as (header, message)."""
        found = []
        while self.link.outgoing:
            data = self.link.outgoing.popleft()
            header = Header._make(HEADER.unpack_from(data)[1:])
            found.append((header, BY_TYPE[header.type].decode(data[HEADER_BYTES:])))
        return found

    def kinds(self):
        return [type(message).__name__ for _, message in self.sent()]


def test_hello_says_what_the_host_can_and_opens():
    host = Host(2, opened=False)
    [(header, hello)] = host.sent()
    assert (header.nonce, header.sequence, header.frame, header.stream) == (NONCE, 0, 1, 0)
    assert (hello.version_min, hello.version_max, hello.lanes) == (0x10, 0x10, 2)
    assert hello.capabilities == Capability.LOG | Capability.RESEND | Capability.AUTH
    assert host.link.session is None
    assert not host.link.is_silent(100.0)
    host.link.poll(50.0)
    assert "Heartbeat" not in host.kinds()


def test_the_reply_to_hello_brings_the_first_grant():
    host = Host()
    assert host.hello.done
    assert host.link.session == host.hello.reply
    _, (header, grant) = host.sent()
    assert grant == Heartbeat((WINDOW, WINDOW))
    assert header.sequence == 1
    assert header.frame == 0


def test_a_request_is_repeated_under_its_id_until_it_is_answered():
    host = Host()
    host.sent()
    request = host.link.request(Capture(0, 1, 0, 0, -1), 1.0)
    assert request.id == 2
    assert host.kinds() == ["Capture"]
    host.link._next_heartbeat = 1e9
    host.link.poll(1.39)
    assert host.kinds() == []
    assert host.link.next_timeout(1.39) == pytest.approx(0.01)
    host.link.poll(1.4)
    [(header, message)] = host.sent()
    assert (header.frame, message) == (2, request.message)
    host.link.poll(1.5)
    assert host.kinds() == []
    host.say(Accepted(0, 0), 2, 1.5)
    assert request.done
    assert request.reply == Accepted(0, 0)
    host.link.poll(10.0)
    assert host.kinds() == []
    assert host.link.next_timeout(10.0) == 0.05


def test_hello_is_repeated_sooner():
    host = Host(opened=False)
    host.sent()
    host.link.poll(0.09)
    assert host.kinds() == []
    host.link.poll(0.1)
    assert host.kinds() == ["Hello"]


def test_a_request_that_is_forgotten_is_not_repeated_and_its_answer_unexpected():
    host = Host()
    request = host.link.request(Capture(0, 1, 0, 0, -1), 0.0)
    host.link.forget(request)
    host.link.forget(request)
    host.sent()
    host.link._next_heartbeat = 1e9
    host.link.poll(5.0)
    assert host.kinds() == []
    host.say(Accepted(0, 0), 2)
    assert host.rejects[Reject.UNEXPECTED] == 1
    assert not request.done


def test_an_answer_of_another_kind_is_unexpected_and_an_error_is_not():
    host = Host()
    request = host.link.request(Capture(0, 1, 0, 0, -1), 0.0)
    host.say(Resent(0, 0, 0, b""), 2)
    host.say(HelloReply(0x10, 1, 0, 0, 1, 1, 1, 1), 2)
    assert host.rejects[Reject.UNEXPECTED] == 1
    assert not request.done
    host.say(Error(4, b"no"), 2)
    assert request.reply == Error(4, b"no")


def test_pending_postpones_and_never_hastens():
    host = Host()
    request = host.link.request(Capture(0, 1, 0, 0, -1), 0.0)
    host.link._next_heartbeat = 1e9
    host.say(Pending(2000), 2, 1.0)
    assert request.next_try == 3.0
    host.say(Pending(1), 2, 1.0)
    assert request.next_try == 3.0
    host.say(Pending(60000), 2, 1.0)
    assert request.next_try == 11.0
    host.say(Pending(1), 99, 1.0)
    assert host.rejects[Reject.UNEXPECTED] == 1


def test_heartbeats_are_sent_in_time_and_not_more_often():
    host = Host()
    host.sent()
    host.link.poll(0.099)
    assert host.kinds() == []
    host.link.poll(0.1)
    assert host.kinds() == ["Heartbeat"]
    host.link.poll(0.15)
    assert host.kinds() == []
    host.link.poll(0.2)
    assert host.kinds() == ["Heartbeat"]


def test_a_quarter_of_the_window_brings_a_grant():
    host = Host()
    host.sent()
    host.link._arrived[0] = WINDOW // 4 - 3
    host.say(None, 0, 0.0, kind=TILE, payload=b"ab")
    assert host.kinds() == []
    host.say(None, 0, 0.0, kind=TILE, payload=b"c")
    [(_, grant)] = host.sent()
    assert grant == Heartbeat((WINDOW + WINDOW // 4, WINDOW))
    host.say(None, 0, 0.0, kind=TILE, payload=b"c")
    assert host.kinds() == []


def test_tiles_count_for_their_stream_and_a_foreign_stream_for_none():
    host = Host()
    host.say(None, 3, 0.5, kind=TILE, payload=b"abcd", stream=1)
    host.say(None, 4, 0.5, kind=TILE, payload=b"x", stream=2)
    assert host.link._arrived == [0, 4]
    assert host.frames.told == [
        ("tile", 3, b"abcd", False, 0.5, 0),
        ("tile", 4, b"x", False, 0.5, 0),
    ]


def test_what_a_heartbeat_reply_says_is_lost_is_granted_again():
    host = Host()
    host.sent()
    host.say(HeartbeatReply(0, (1000, 7), (0, 6)), 0, 0.5)
    assert host.link._arrived == [1000, 7]
    assert host.frames.told == [("begun", 1, 5, 0.5)]
    # Fewer than arrived change nothing, more than was granted cannot have been sent.
    host.say(HeartbeatReply(0, (10, 1 << 60), (0, 0)), 0, 0.5)
    assert host.link._arrived == [1000, WINDOW]
    host.link.poll(1.0)
    assert host.sent()[0][1] == Heartbeat((1000 + WINDOW, 2 * WINDOW))


def test_silence_is_counted_from_the_last_packet_and_from_the_end_of_a_lease():
    host = Host()
    host.say(Log(1, 0, b""), 0, 10.0)
    assert not host.link.is_silent(10.89)
    assert host.link.is_silent(10.91)
    host.say(Busy(1, 2000), 0, 10.5)
    assert host.link.busy == Busy(1, 2000)
    assert not host.link.is_silent(13.39)
    assert host.link.is_silent(13.41)
    # A shorter lease does not end a longer one, a long one is cut.
    host.say(Busy(1, 0), 0, 10.5)
    assert not host.link.is_silent(13.39)
    host.say(Busy(1, 60000), 0, 10.5)
    assert host.link.is_silent(10.5 + 10 + 0.91)
    assert not host.link.is_silent(10.5 + 10 + 0.89)


def test_any_valid_byte_is_a_sign_of_life_and_noise_is_not():
    host = Host()
    host.link.received(0, 5.0)
    assert host.link.is_silent(5.0)
    host.raw(b"\x8aL", 6.0)
    assert not host.link.is_silent(6.5)
    host.raw(bytes(100), 7.0)
    assert host.link.is_silent(7.5)


def test_resume_moves_all_that_is_measured():
    host = Host()
    host.say(Log(1, 0, b""), 0, 1.0)
    host.link.resume(11.0)
    assert host.frames.told[-1] == ("resume", 10.0)
    assert not host.link.is_silent(11.85)
    assert host.link.is_silent(12.0)
    host.link.resume(12.0)
    assert host.frames.told[-1] == ("resume", 1.0)


@pytest.mark.parametrize(("capabilities", "asks"), [(3, 1), (1, 0), (2, 1)])
def test_what_is_missing_is_asked_for_if_the_module_can(capabilities, asks):
    host = Host(capabilities=capabilities)
    host.sent()
    host.frames.wanted = [Missing(1, 7, ResendFlag.END, ((1, 2, 3, 4), (5, 6, 7, 8)))]
    host.link.poll(0.01)
    found = host.sent()
    assert len(found) == asks
    if asks:
        header, message = found[0]
        assert (header.frame, header.stream) == (7, 1)
        ranges = np.array([1, 2, 3, 4, 5, 6, 7, 8], "<u2").tobytes()
        assert message == Resend(ResendFlag.END, 2, ranges)


def test_each_message_goes_where_it_belongs():
    host = Host()
    start = FrameStart(0, 3, 4, 6, 0, 1, 12, 1, 8, 4095, (0, 0, 0, 0), 0, 0, 0, 0, 0)
    end = FrameEnd(0, 1, 3, 0, (0, 0, 0, 0))
    resent = Resent(0, 1, 0, b"")
    host.say(start, 5, 1.0)
    host.say(end, 5, 2.0)
    host.say(resent, 5, 3.0)
    assert host.frames.told == [
        ("start", 5, start, 1.0),
        ("end", 5, end, 2.0),
        ("resent", 5, resent, 3.0),
    ]
    host.say(Log(1, 2, b"line"))
    host.say(Notice(1, 5))
    assert host.link.closed is None
    host.say(Close(CloseReason.DETACH))
    assert list(host.link.logs) == [Log(1, 2, b"line")]
    assert list(host.link.notices) == [Notice(1, 5)]
    assert host.link.closed == Close(CloseReason.DETACH)
    assert not any(host.rejects.values())


def test_unknown_types_and_malformed_payloads_are_counted_and_the_vendors_are_not():
    host = Host()
    host.say(None, kind=0x7F, payload=b"")
    assert +host.rejects == {Reject.UNKNOWN_TYPE: 1}
    host.say(None, kind=0xE0, payload=b"")
    host.say(None, kind=0xFF, payload=b"zz")
    host.say(None, kind=LOG, payload=b"z")
    assert +host.rejects == {Reject.UNKNOWN_TYPE: 1, Reject.MALFORMED: 1}


@pytest.mark.parametrize("placed", [True, False])
def test_what_was_placed_for_a_lane_that_stalls_is_released_once(placed):
    host = Host()
    memory = bytearray(64)
    host.frames.place = lambda header, lane: memoryview(memory)[:4] if placed else None
    host.raw(packet(TILE, b"abcd", 1)[:-1], 1.0)
    host.link.poll(1.1)
    assert ("release", 0) not in host.frames.told
    host.link.poll(1.3)
    host.link.poll(1.4)
    assert host.frames.told.count(("release", 0)) == placed


def test_polling_passes_time_on():
    host = Host()
    host.raw(packet(LOG, b"xx", 1)[:-1], 1.0)
    host.link.poll(1.3)
    assert host.rejects[Reject.STALL] == 1
    assert ("poll", 1.3) in host.frames.told


def test_lanes_are_counted_together_and_lost_alone():
    host = Host(3)
    assert host.frames.lanes is host.link.lanes
    assert host.link.receiver is host.link.lanes[0].receiver
    host.sequences = [3, 5, 0]
    for lane in (0, 1):
        host.say(Log(1, 0, b""), lane=lane)
    host.sequences[1] = 9
    host.say(Log(1, 0, b""), lane=1)
    assert host.link.lost == 2 + 3
    assert [lane.number for lane in host.link.lanes] == [0, 1, 2]
    assert host.link.lanes[1].last_sequence == 9
    host.link.lane_lost(2)
    assert [lane.alive for lane in host.link.lanes] == [True, True, False]
    assert host.frames.told[-1] == ("release", 2)


def test_close_is_said_with_its_reason():
    host = Host()
    host.sent()
    host.link.close(CloseReason.ORDERLY)
    [(header, message)] = host.sent()
    assert message == Close(CloseReason.ORDERLY)
    assert (header.frame, header.sequence) == (0, 2)


# --- reassembly -----------------------------------------------------------------------------------

W, H = 4, 6
STRIDE = 2 * W
SIZE = STRIDE * H
PLAN = Configured(0, 0, 1, 0x1100010, W, H, STRIDE, SIZE, 2 * STRIDE)
OK_END = FrameEnd(EndStatus.OK, 1, 3, 0, (0, 0, 0, 0))


class Lane:
    """As much of a lane as the reassembly sees."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.alive = True
        self.last_sequence: int | None = None


class Bench:
    def __init__(self, lanes: int = 1, *, resend: bool = True, plan: Configured | None = PLAN):
        self.rejects: Counter[Reject] = Counter()
        self.pool = Pool()
        self.made = Reassembly(self.pool, self.rejects, {0: plan, 1: None}.get)
        self.made.lanes = [Lane(number) for number in range(lanes)]
        self.made.resend = resend

    def header(self, kind, frame=0, stream=0, place=(0, 0, 0, 0), length=0, flags=0):
        return Header(0x10, kind, flags, stream, NONCE, 0, frame, *place, length, 0, 0)

    def start(self, frame=0, now=0.0, stream=0, **changes):
        fields = {
            "mode": 1, "request": 3, "width": W, "height": H, "cfa": 0, "orientation": 1,
            "bits": 12, "pixel_format": 0x1100010, "stride": STRIDE, "white": 4095,
            "black_milli": (0, 0, 0, 0), "timestamp_us": 0, "exposure_us": 0, "gain_milli": 0,
            "focus_mdpt": 0, "temperature_mc": 0, **changes,
        }  # fmt: skip
        self.made.start(
            self.header(MessageType.FRAME_START, frame, stream), FrameStart(**fields), now
        )

    def tile(self, row, rows=2, frame=0, now=0.0, lane=0, *, x=0, width=W, flags=0, stream=0,
             value=None, length=None):  # fmt: skip
        """A tile arrives as the receiver does it: in place if there is one."""
        size = 2 * width * rows if length is None else length
        header = self.header(TILE, frame, stream, (x, row, width, rows), size, flags)
        payload = bytes([row + 1 if value is None else value]) * size
        place = self.made.place(header, lane)
        if place is not None:
            place[:] = payload
        self.made.tile(
            header, memoryview(payload) if place is None else place, place is not None, now, lane
        )
        return place is not None

    def end(self, frame=0, now=0.0, message=OK_END, stream=0):
        self.made.end(self.header(MessageType.FRAME_END, frame, stream), message, now)

    def resent(self, state=FrameState.ENDED, gone=(), frame=0, now=0.0, count=None, stream=0):
        tail = b"".join(np.array(each, "<u2").tobytes() for each in gone)
        message = Resent(0, state, len(gone) if count is None else count, tail)
        self.made.resent(self.header(MessageType.RESENT, frame, stream), message, now)

    @property
    def done(self) -> list[Assembly]:
        return list(self.made.finished)


def test_a_frame_of_three_tiles():
    bench = Bench()
    bench.start(now=1.0)
    assert [bench.tile(row, now=2.0) for row in (0, 2, 4)] == [True] * 3
    assert not bench.done
    bench.end(now=3.0)
    [frame] = bench.done
    assert frame.coverage.complete
    assert frame.number == 0
    assert bench.made.bytes == SIZE
    assert bench.made.first_tile == 2.0
    assert bench.made.aborted == 0
    assert bytes(frame.buffer) == b"".join(bytes([r + 1]) * 2 * STRIDE for r in (0, 2, 4))
    assert not any(bench.rejects.values())
    bench.end()
    assert bench.rejects[Reject.LATE] == 1


@pytest.mark.parametrize(
    "changes",
    [{"width": 5}, {"height": 5}, {"stride": 9}, {"cfa": 4}, {"bits": 7}, {"bits": 17},
     {"orientation": 0}, {"orientation": 9}, {"white": 0}, {"white": 65536}],
)  # fmt: skip
def test_an_impossible_start_is_rejected(changes):
    bench = Bench()
    bench.start(**changes)
    assert +bench.rejects == {Reject.GEOMETRY: 1}
    assert not bench.made._open


@pytest.mark.parametrize(
    "changes",
    [{"cfa": 3}, {"bits": 8}, {"bits": 16}, {"orientation": 8}, {"white": 1}, {"white": 65535}],
)
def test_a_start_at_the_bounds_is_taken(changes):
    bench = Bench()
    bench.start(**changes)
    assert not +bench.rejects
    assert list(bench.made._open) == [0]


def test_a_second_start_is_a_repeat():
    bench = Bench()
    bench.start(request=3)
    bench.start(request=4)
    assert +bench.rejects == {Reject.COVERED: 1}
    assert bench.made._open[0].start.request == 3


@pytest.mark.parametrize(
    ("x", "row", "width", "rows", "length"),
    [(0, 5, 4, 2, None), (1, 0, 4, 2, None), (0, 0, 0, 2, 0), (0, 0, 4, 0, 0), (0, 0, 4, 2, 15),
     (0, 0, 4, 2, 17)],
)  # fmt: skip
def test_a_tile_that_fits_not_is_rejected(x, row, width, rows, length):
    bench = Bench()
    bench.start()
    assert not bench.tile(row, rows, x=x, width=width, length=length)
    assert +bench.rejects == {Reject.GEOMETRY: 1}
    assert bench.made._open[0].coverage.count == 0


def test_a_rectangle_is_copied_row_by_row():
    bench = Bench()
    bench.start()
    assert not bench.tile(1, 2, x=1, width=2, value=7)
    assembly = bench.made._open[0]
    assert assembly.coverage.count == 8
    assert assembly.coverage.gaps(0, SIZE) == [(0, 10), (14, 18), (22, SIZE)]
    assert bytes(assembly.buffer[10:14]) == b"\7" * 4
    assert bytes(assembly.buffer[18:22]) == b"\7" * 4


def test_a_segment_of_one_row_is_received_in_place():
    bench = Bench()
    bench.start()
    assert bench.tile(1, 1, x=2, width=2)
    assert bench.made._open[0].coverage.gaps(0, 16) == [(0, 12)]


def test_covered_ground_is_not_written_again():
    bench = Bench()
    bench.start()
    bench.tile(0, value=1)
    assert not bench.tile(0, value=9)
    assert bench.rejects[Reject.COVERED] == 1
    assert not bench.tile(1, value=5)
    assembly = bench.made._open[0]
    assert bytes(assembly.buffer[:24]) == b"\1" * 16 + b"\5" * 8
    assert bench.rejects[Reject.COVERED] == 1


def test_what_one_lane_receives_no_other_touches():
    bench = Bench(2)
    bench.start()
    place = bench.made.place(bench.header(TILE, 0, 0, (0, 0, W, 2), 16), 0)
    assert place is not None
    assert bench.made._open[0].reserved == {0: (0, 16)}
    assert not bench.tile(0, lane=1, value=9)
    assert bench.made._open[0].coverage.count == 0
    assert not bench.tile(1, lane=1, value=9)
    assert bench.made._open[0].coverage.gaps(0, SIZE) == [(0, SIZE)]
    # Beside it there is room.
    assert bench.tile(2, lane=1, value=9)
    bench.made.release(0)
    assert bench.made._open[0].reserved == {}
    assert bench.tile(0, lane=1, value=8)


def test_a_frame_waits_while_it_is_received_into():
    bench = Bench(2)
    bench.start()
    for row in (0, 2):
        bench.tile(row)
    header = bench.header(TILE, 0, 0, (0, 4, W, 2), 16)
    assert bench.made.place(header, 1) is not None
    bench.end(message=FrameEnd(EndStatus.ABORTED, 2, 3, 0, (0, 0, 0, 0)))
    bench.made.poll(100.0)
    assert not bench.done
    bench.made.lanes[0].last_sequence = bench.made.lanes[1].last_sequence = 0
    bench.made.release(1)
    assert bench.made.aborted == 1


def test_the_other_stream_has_no_place():
    bench = Bench()
    bench.tile(0, stream=1)
    bench.start(stream=1)
    assert +bench.rejects == {Reject.NO_FRAME: 1, Reject.GEOMETRY: 1}
    bench.start()
    assert bench.made.place(bench.header(TILE, 0, 1, (0, 0, W, 2), 16), 0) is None
    bench.end(stream=1)
    assert bench.rejects[Reject.GEOMETRY] == 2


def test_frames_are_handed_on_in_their_order():
    bench = Bench()
    for frame in (0, 1):
        bench.start(frame)
        for row in (0, 2, 4):
            if (frame, row) != (0, 4):
                bench.tile(row, frame=frame)
        bench.end(frame)
    assert not bench.done
    bench.tile(4, frame=0, flags=Flag.RESENT)
    assert [each.number for each in bench.done] == [0, 1]


def test_an_older_frame_does_not_come_back():
    bench = Bench()
    bench.tile(0, frame=5)
    bench.tile(0, frame=4)
    assert bench.rejects[Reject.LATE] == 1
    assert list(bench.made._open) == [5]


def test_at_most_four_frames_are_open():
    bench = Bench()
    for frame in range(4):
        bench.start(frame)
    assert list(bench.made._open) == [0, 1, 2, 3]
    bench.start(4)
    assert list(bench.made._open) == [1, 2, 3, 4]
    assert [each.number for each in bench.done] == [0]
    bench.made.place(bench.header(TILE, 1, 0, (0, 0, W, 2), 16), 0)
    bench.start(5)
    assert list(bench.made._open) == [1, 2, 3, 4]
    assert bench.rejects[Reject.NO_FRAME] == 1


def test_without_resend_the_next_frame_ends_the_one_before():
    bench = Bench(resend=False)
    bench.start(0)
    bench.tile(0)
    bench.start(1)
    [frame] = bench.done
    assert frame.coverage.count == 16
    assert frame.clear_gaps() == ((16, SIZE),)
    assert not frame.buffer[16:].any()


def test_without_resend_the_end_ends_a_frame_with_a_gap():
    bench = Bench(resend=False)
    bench.start()
    bench.tile(0)
    bench.made.lanes[0].last_sequence = 0
    bench.end()
    assert len(bench.done) == 1


def missing(bench, now):
    return [(m.frame, m.flags, m.rectangles) for m in bench.made.missing(now)]


def test_a_gap_is_asked_for_once_something_came_beyond_it():
    bench = Bench()
    bench.start(now=0.0)
    bench.tile(0)
    assert missing(bench, 0.0) == []
    bench.tile(4)
    assert missing(bench, 0.0) == [(0, 0, ((0, 2, W, 2),))]
    assert missing(bench, 0.049) == []
    assert missing(bench, 0.05) == [(0, 0, ((0, 2, W, 2),))]
    bench.resent(FrameState.UNDER_WAY, now=0.05)
    bench.tile(2, flags=Flag.RESENT, now=0.05)
    assert missing(bench, 0.1) == []
    # What was sent again says nothing of where the lane is.
    assert bench.made._position == {(0, 0): (0, 4 * STRIDE)}


def test_the_end_proves_what_is_missing_and_quiet_does():
    bench = Bench()
    bench.start()
    bench.tile(0)
    bench.made.lanes[0].last_sequence = 0
    bench.end()
    assert missing(bench, 0.0) == [(0, 0, ((0, 2, W, 4),))]
    bench = Bench()
    bench.tile(0, now=1.0)
    assert missing(bench, 1.09) == [(0, ResendFlag.START, ())]
    assert missing(bench, 1.2) == [(0, ResendFlag.START | ResendFlag.END, ((0, 2, W, 4),))]


def test_parts_of_rows_are_asked_for_as_such():
    bench = Bench()
    bench.start()
    bench.tile(0, 1, x=0, width=1)
    bench.tile(2, 1, x=1, width=2)
    bench.tile(5, 1)
    found = missing(bench, 0.0)[0][2]
    assert found == ((1, 0, 3, 1), (0, 1, 4, 1), (0, 2, 1, 1), (3, 2, 1, 1), (0, 3, 4, 2))


def test_tries_end_and_an_answer_begins_them_anew():
    bench = Bench()
    bench.start()
    bench.tile(4)
    for turn in range(RESEND_TRIES):
        assert missing(bench, 0.06 * turn), turn
    bench.resent(FrameState.UNDER_WAY, now=0.5)
    for turn in range(RESEND_TRIES):
        assert missing(bench, 0.5 + 0.06 * turn), turn
    assert not bench.done
    assert missing(bench, 1.1) == []
    assert len(bench.done) == 1


def test_what_is_gone_is_not_asked_for_again():
    bench = Bench()
    bench.start()
    bench.tile(0)
    bench.resent(FrameState.ENDED, [(0, 2, W, 2)])
    assert missing(bench, 0.0) == [(0, 0, ((0, 4, W, 2),))]
    bench.resent(FrameState.ENDED, [(0, 4, W, 2)])
    [frame] = bench.done
    assert frame.coverage.count == 16
    assert frame.gone.count == 32


def test_a_frame_that_the_module_does_not_know_is_given_up():
    bench = Bench()
    bench.start()
    bench.tile(0)
    bench.resent(FrameState.UNKNOWN)
    assert len(bench.done) == 1
    bench = Bench()
    bench.tile(0)
    bench.resent(FrameState.UNKNOWN)
    assert bench.made.aborted == 1
    assert not bench.done


def test_an_answer_for_another_frame_or_one_that_lies():
    bench = Bench()
    bench.start()
    bench.resent(FrameState.UNKNOWN, frame=3)
    bench.resent(FrameState.UNKNOWN, stream=1)
    assert not bench.done
    bench.resent(FrameState.ENDED, [(0, 0, W, 2)], count=2)
    assert +bench.rejects == {Reject.MALFORMED: 1}
    bench.resent(FrameState.ENDED, [(0, 0, 1, 1)] * (MAX_RANGES + 1))
    assert +bench.rejects == {Reject.MALFORMED: 2}
    bench.resent(FrameState.ENDED, [(0, 9, W, 2)])
    assert bench.made._open[0].gone.count == 0
    bench.resent(FrameState.ENDED, [(0, 0, 1, 1)] * MAX_RANGES)
    assert bench.made._open[0].gone.count == 2


def test_a_whole_frame_does_not_wait_for_its_end_for_ever():
    bench = Bench()
    bench.start()
    for row in (0, 2, 4):
        bench.tile(row, now=1.0)
    bench.made.poll(1.09)
    assert not bench.done
    bench.made.poll(1.11)
    assert len(bench.done) == 1


def test_an_incomplete_frame_is_stale_after_its_time():
    bench = Bench()
    bench.start(now=1.0)
    bench.tile(0, now=1.0)
    bench.made.poll(3.0)
    assert not bench.done
    bench.made.resume(1.0)
    bench.made.poll(4.0)
    assert not bench.done
    bench.made.poll(4.01)
    assert len(bench.done) == 1


def test_an_aborted_frame_is_dropped_unless_it_is_whole():
    aborted = FrameEnd(EndStatus.ABORTED, 1, 3, 0, (0, 0, 0, 0))
    bench = Bench()
    bench.made.lanes[0].last_sequence = 0
    bench.start()
    bench.tile(0)
    bench.end(message=aborted)
    assert not bench.done
    assert bench.made.aborted == 1
    bench.start(1)
    for row in (0, 2, 4):
        bench.tile(row, frame=1)
    bench.end(1, message=aborted)
    assert [each.number for each in bench.done] == [1]


@pytest.mark.parametrize(
    ("last", "at", "waits"),
    [(5, 5, False), (5, 4, True), (5, 6, False), (5, None, True), (0xFFFFFFFF, None, False),
     (2, 0xFFFFFFFF, True), (0x80000005, 5, False), (0x80000004, 5, True)],
)  # fmt: skip
def test_an_end_waits_for_stragglers_of_each_lane(last, at, waits):
    bench = Bench(2)
    bench.start()
    bench.tile(0)
    bench.made.lanes[0].last_sequence = 7
    bench.made.lanes[1].last_sequence = at
    bench.end(message=FrameEnd(EndStatus.OK, 2, 3, 0, (7, last, 0, 0)))
    assert bool(missing(bench, 0.0)) is not waits
    bench.made.lanes[1].alive = False
    assert missing(bench, 0.06)


def test_a_lane_that_the_module_does_not_use_is_not_waited_for():
    bench = Bench(2)
    bench.start()
    bench.tile(0)
    bench.made.lanes[0].last_sequence = 7
    bench.end(message=FrameEnd(EndStatus.OK, 1, 3, 0, (7, 99, 0, 0)))
    assert missing(bench, 0.0)


def test_a_frame_that_was_begun_unseen_is_asked_for():
    bench = Bench()
    bench.made.begun(0, 3, 1.0)
    assert list(bench.made._open) == [3]
    assert missing(bench, 1.0) == [(3, ResendFlag.START, ())]
    bench.made.begun(0, 3, 1.0)
    bench.made.begun(0, 2, 1.0)
    bench.made.begun(1, 9, 1.0)
    assert list(bench.made._open) == [3]


def test_abandon_gives_the_memory_back_unless_it_is_received_into():
    bench = Bench()
    bench.start(0)
    bench.start(1)
    bench.made.place(bench.header(TILE, 1, 0, (0, 0, W, 2), 16), 0)
    bench.made.abandon(1)
    assert list(bench.made._open) == [0, 1]
    bench.made.abandon(0)
    assert not bench.made._open
    assert len(bench.pool._free) == 1
    bench = Bench()
    bench.start()
    for row in (0, 2, 4):
        bench.tile(row)
    bench.end()
    bench.made.abandon(1)
    assert len(bench.done) == 1
    bench.made.abandon(0)
    assert not bench.done
    assert len(bench.pool._free) == 1


def test_a_start_that_is_missing_is_waited_for():
    bench = Bench()
    for row in (0, 2, 4):
        bench.tile(row)
    bench.end()
    assert not bench.done
    bench.start()
    [frame] = bench.done
    assert frame.start is not None
    assert host_link.REPLIES[MessageType.STOP] is Accepted


def test_what_a_stalled_packet_holds_has_stalled_with_it():
    """Found by fuzzing: each header inside one that had stalled was given a stall's time anew."""
    rejects: Counter[Reject] = Counter()
    receiver = Receiver(Kept(), 1, rejects)
    nested = [
        encode_packet(0x60, bytes(1000), nonce=1, sequence=n)[:HEADER_BYTES] for n in range(4)
    ]
    receiver.feed(b"".join(nested), 0.0)
    receiver.poll(STALL_MS / 1000)
    assert not receiver.inside
    assert rejects == {Reject.STALL: 4}
