"""The host's link machine on virtual time: requests, answers, credits, signs of life."""

from __future__ import annotations

import struct
from collections import Counter
from itertools import pairwise

import pytest

from lenslink_protocol import link as link_module
from lenslink_protocol.framing import VERSION, encode_packet
from lenslink_protocol.ids import Capability, CloseReason, MessageType, Reject, ResendFlag
from lenslink_protocol.link import CAPABILITIES, WINDOW, Link, Missing
from lenslink_protocol.messages import (
    BY_TYPE,
    HEADER,
    Accepted,
    Busy,
    Close,
    Error,
    Flush,
    Flushed,
    FrameEnd,
    GetManifest,
    Header,
    Heartbeat,
    HeartbeatReply,
    Hello,
    HelloReply,
    Log,
    ManifestPiece,
    Notice,
    Pending,
    Resend,
    Resent,
    Stop,
)
from lenslink_protocol.params import (
    HEADER_BYTES,
    HEARTBEAT_MS,
    HELLO_RETRY_MS,
    MAX_BUSY_MS,
    MAX_CONTROL,
    MAX_PAYLOAD,
    REQUEST_RETRY_MS,
    SILENCE_MS,
)

NONCE = 0x12345678
REPLY = HelloReply(VERSION, 1, 0, int(CAPABILITIES), MAX_CONTROL, 10, 1, 5)


class Frames:
    """In place of a reassembly: what it was told."""

    def __init__(self):
        self.calls = []
        self.lost = []
        self.lanes = ()

    def place(self, header, lane=0):
        self.calls.append(("place", header.frame))

    def start(self, header, message, now):
        self.calls.append(("start", header.frame))

    def tile(self, header, payload, in_place, now, lane=0):
        self.calls.append(("tile", header.frame, bytes(payload), lane))

    def end(self, header, message, now):
        self.calls.append(("end", header.frame))

    def poll(self, now):
        self.calls.append(("poll", now))

    def resume(self, away):
        self.calls.append(("resume", away))

    def begun(self, stream, number, now):
        self.calls.append(("begun", stream, number))

    def resent(self, header, message, now):
        self.calls.append(("resent", header.frame, message.state))

    def release(self, lane):
        self.calls.append(("release", lane))

    def missing(self, now):
        lost, self.lost = self.lost, []
        return lost

    def told(self, *kinds):
        return [call for call in self.calls if call[0] in kinds]


class Host:
    """A link, what it sent since last asked, and a module that says what it is told to."""

    def __init__(self, lanes=1):
        self.rejects = Counter()
        self.frames = Frames()
        self.link = Link(NONCE, self.frames, self.rejects, lanes)
        self._sequences = [0] * lanes

    def sent(self):
        """(header, message) of each packet that went out."""
        found = []
        while self.link.outgoing:
            packet = self.link.outgoing.popleft()
            header = Header._make(HEADER.unpack_from(packet)[1:])
            found.append((header, BY_TYPE[header.type].decode(packet[HEADER_BYTES:])))
        return found

    def messages(self):
        return [message for _, message in self.sent()]

    def hear(self, kind, payload=b"", now=0.0, lane=0, **header):
        """A packet from the module, through its lane."""
        sequence = self._sequences[lane]
        self._sequences[lane] += 1
        data = encode_packet(kind, payload, nonce=NONCE, sequence=sequence, **header)
        self.bytes(data, now, lane)

    def bytes(self, data, now, lane=0):
        rest = memoryview(data)
        while rest:
            taken = 0
            for buffer in self.link.lanes[lane].receiver.buffers():
                piece = rest[: len(buffer)]
                buffer[: len(piece)] = piece
                rest = rest[len(piece) :]
                taken += len(piece)
            self.link.received(taken, now, lane)

    def say(self, message, number=0, now=0.0):
        self.hear(message.TYPE, message.encode(), now, frame=number)


def opened(reply=REPLY, lanes=1):
    host = Host(lanes)
    request = host.link.hello(0.0)
    host.say(reply, request.id)
    host.sent()
    return host


# --- requests --------------------------------------------------------------------------------


def test_hello():
    host = Host(lanes=3)
    request = host.link.hello(1.0)
    [(header, message)] = host.sent()
    assert message == Hello(VERSION, VERSION, 3, int(CAPABILITIES), MAX_PAYLOAD)
    assert (header.nonce, header.sequence, header.frame) == (NONCE, 0, request.id)
    assert request.id >= 1
    assert host.link.session is None
    host.say(REPLY, request.id)
    assert host.link.session == request.reply == REPLY
    assert request.done


@pytest.mark.parametrize(
    ("ask", "retry_ms"),
    [
        (lambda link: link.hello(10.0), HELLO_RETRY_MS),
        (lambda link: link.request(Flush(), 10.0), REQUEST_RETRY_MS),
    ],
)
def test_a_request_is_repeated_until_it_is_answered(ask, retry_ms):
    host = Host()
    request = ask(host.link)
    [(first, message)] = host.sent()
    now = 10.0
    for turn in range(1, 4):
        host.link.poll(now + retry_ms / 1000 - 0.001)
        assert host.sent() == []
        now += retry_ms / 1000 + 0.001
        host.link.poll(now)
        [(again, same)] = host.sent()
        assert same == message
        assert (again.frame, again.nonce) == (first.frame, first.nonce)
        assert again.sequence == first.sequence + turn
    answer = REPLY if isinstance(message, Hello) else Flushed(1, 0, (0, 0, 0, 0))
    host.say(answer, request.id, now=20.0)
    assert request.reply == answer
    host.sent()
    host.link.poll(20.0 + 0.05)
    assert not [m for m in host.messages() if isinstance(m, (Hello, Flush))]


def test_ids_rise():
    host = Host()
    ids = [host.link.request(Flush(), 0.0).id for _ in range(3)]
    assert ids == sorted(set(ids))
    assert [header.frame for header, _ in host.sent()] == ids


def test_a_forgotten_request_is_not_repeated():
    host = Host()
    request = host.link.request(Flush(), 0.0)
    host.sent()
    host.link.forget(request)
    host.link.forget(request)
    host.link.poll(10.0)
    assert host.sent() == []
    host.say(Flushed(1, 0, (0, 0, 0, 0)), request.id)
    assert not request.done
    assert host.rejects == {Reject.UNEXPECTED: 1}


def test_answers_go_to_their_requests_in_any_order():
    host = Host()
    first = host.link.request(Stop(0), 0.0)
    second = host.link.request(GetManifest(0), 0.0)
    host.say(ManifestPiece(0, 3, b"abc"), second.id)
    assert second.done and not first.done
    host.say(Accepted(0, 7), first.id)
    assert first.reply == Accepted(0, 7)


def test_an_error_answers_any_request():
    host = Host()
    request = host.link.request(GetManifest(0), 0.0)
    host.say(Error(4, b"no"), request.id)
    assert request.reply == Error(4, b"no")


def test_a_wrong_kind_of_answer_is_none():
    host = Host()
    request = host.link.request(GetManifest(0), 0.0)
    host.say(Accepted(0, 7), request.id)
    assert not request.done
    assert host.rejects == {Reject.UNEXPECTED: 1}
    host.link.poll(1.0)
    assert GetManifest(0) in host.messages(), "still asked"


def test_an_answer_that_comes_twice_is_unexpected():
    host = Host()
    request = host.link.request(Stop(0), 0.0)
    host.say(Accepted(0, 7), request.id)
    host.say(Accepted(0, 8), request.id)
    assert request.reply == Accepted(0, 7)
    assert host.rejects == {Reject.UNEXPECTED: 1}


def test_an_unexpected_hello_reply_opens_nothing():
    host = Host()
    host.link.request(Stop(0), 0.0)
    host.say(REPLY, 1)
    assert host.link.session is None
    assert host.rejects == {Reject.UNEXPECTED: 1}


def test_what_is_pending_is_not_asked_for_before_its_lease_is_over():
    host = Host()
    request = host.link.request(Flush(), 0.0)
    host.sent()
    host.say(Pending(2000), request.id, now=0.1)
    host.link.poll(2.099)
    assert host.sent() == []
    host.link.poll(2.1)
    assert host.messages() == [Flush()]


def test_a_lease_is_bounded_and_never_shortens_the_wait():
    host = Host()
    request = host.link.request(Flush(), 0.0)
    host.sent()
    host.say(Pending(0), request.id)
    host.link.poll(REQUEST_RETRY_MS / 1000 - 0.001)
    assert host.sent() == []
    host.say(Pending(65535), request.id)
    host.link.poll(MAX_BUSY_MS / 1000)
    assert host.messages() == [Flush()]
    host.say(Pending(10), 99)
    assert host.rejects == {Reject.UNEXPECTED: 1}


def test_close():
    host = opened()
    host.link.close(CloseReason.ORDERLY)
    assert host.messages() == [Close(0)]
    assert host.link.closed is None
    host.say(Close(CloseReason.DETACH))
    assert host.link.closed == Close(1)


def test_the_next_timeout():
    host = Host()
    assert host.link.next_timeout(0.0) == 0.05
    host.link.hello(0.0)
    assert host.link.next_timeout(0.07) == pytest.approx(0.03)
    assert host.link.next_timeout(0.2) == 0.0


def test_time_goes_on_to_the_frames_and_the_lanes():
    host = Host(lanes=2)
    host.bytes(encode_packet(MessageType.LOG, b"x" * 20, nonce=NONCE, sequence=0)[:-1], 0.0, 1)
    host.link.poll(1.0)
    assert host.frames.told("poll") == [("poll", 1.0)]
    assert host.rejects[Reject.STALL] == 1


# --- packets ---------------------------------------------------------------------------------


def test_unknown_types_are_counted_and_vendors_skipped():
    host = Host()
    for kind in (0x00, 0x3F, 0xDF):
        host.hear(kind, b"what")
    assert host.rejects == {Reject.UNKNOWN_TYPE: 3}
    for kind in (0xE0, 0xFF):
        host.hear(kind, b"what")
    assert host.rejects == {Reject.UNKNOWN_TYPE: 3}


def test_malformed_messages_are_counted():
    host = Host()
    host.hear(MessageType.LOG, b"\x0c\x00")
    assert host.rejects == {Reject.MALFORMED: 1}
    assert not host.link.logs


def test_logs_and_notices_are_kept_and_bounded():
    host = Host()
    for line in range(300):
        host.say(Log(2, line, b"line"))
        host.say(Notice(1, 100))
    assert len(host.link.logs) == len(host.link.notices) == 256
    assert host.link.logs[-1] == Log(2, 299, b"line")


def test_frames_get_what_is_theirs():
    host = Host()
    end = FrameEnd(0, 1, 1, 0, (0, 0, 0, 0))
    host.hear(MessageType.TILE, b"tile", frame=3)
    host.hear(MessageType.FRAME_END, end.encode(), frame=3)
    host.hear(MessageType.RESENT, Resent(0, 2, 0, b"").encode(), frame=3)
    assert host.frames.calls == [
        ("place", 3),
        ("tile", 3, b"tile", 0),
        ("end", 3),
        ("resent", 3, 2),
    ]


def test_each_lane_has_its_own_sequence_and_number():
    host = Host(lanes=2)
    host.hear(MessageType.TILE, b"one", lane=0, frame=1)
    host.hear(MessageType.TILE, b"two", lane=1, frame=1)
    assert host.frames.told("tile") == [("tile", 1, b"one", 0), ("tile", 1, b"two", 1)]
    assert not host.rejects
    host.hear(MessageType.LOG, b"", lane=1)
    assert [lane.last_sequence for lane in host.link.lanes] == [0, 1]


def test_lost_packets_of_all_lanes():
    host = Host(lanes=2)
    for lane in (0, 1):
        for sequence in (0, 3):
            data = encode_packet(0xE0, b"", nonce=NONCE, sequence=sequence)
            host.bytes(data, 0.0, lane)
    assert host.link.lost == 4


def test_a_lane_that_is_lost():
    host = Host(lanes=2)
    host.link.lane_lost(1)
    assert [lane.alive for lane in host.link.lanes] == [True, False]
    assert host.frames.told("release") == [("release", 1)]


# --- credits ---------------------------------------------------------------------------------


def grants(host):
    return [message.limit for message in host.messages() if isinstance(message, Heartbeat)]


def test_nothing_is_granted_before_the_session_and_a_window_at_once():
    host = Host()
    request = host.link.hello(0.0)
    host.link.poll(0.05)
    assert grants(host) == []
    host.say(REPLY, request.id)
    assert grants(host) == [(WINDOW, WINDOW)]


def test_grants_are_repeated():
    host = opened()
    times = []
    for turn in range(1000):
        host.link.poll(turn / 1000)
        times += [turn / 1000 for _ in grants(host)]
    assert len(times) in (9, 10)
    for one, other in pairwise(times):
        assert HEARTBEAT_MS <= round(1000 * (other - one)) <= HEARTBEAT_MS + 1


def tiles(host, stream, size, count):
    for _ in range(count):
        host.hear(MessageType.TILE, bytes(size), stream=stream, now=0.0)


def test_what_has_arrived_is_granted_again(monkeypatch):
    monkeypatch.setattr(link_module, "WINDOW", 8000)
    monkeypatch.setattr(link_module, "_GRANTS", 8)
    host = opened()
    tiles(host, 0, 500, 1)
    assert grants(host) == [], "an eighth of the window is not used up"
    tiles(host, 0, 500, 1)
    assert grants(host) == [(9000, 8000)]
    tiles(host, 1, 1000, 1)
    assert grants(host) == [(9000, 9000)]


def test_what_was_sent_and_is_lost_is_granted_again(monkeypatch):
    monkeypatch.setattr(link_module, "WINDOW", 8000)
    host = opened()
    tiles(host, 0, 300, 1)
    host.say(HeartbeatReply(0, (5000, 200), (0, 0)))
    host.link.poll(1.0)
    assert grants(host) == [(13000, 8200)]
    # What a module claims beyond its grants is not believed.
    host.say(HeartbeatReply(0, (1 << 60, 0), (0, 0)), now=1.0)
    host.link.poll(2.0)
    assert grants(host) == [(13000 + 8000, 8200)]
    # Nor is anything taken back.
    host.say(HeartbeatReply(0, (0, 0), (0, 0)), now=2.0)
    host.link.poll(3.0)
    assert grants(host) == [(13000 + 8000, 8200)]


def test_a_tile_of_no_stream_is_not_counted():
    host = opened()
    host.hear(MessageType.TILE, b"x", stream=200)
    assert host.frames.told("tile")


def test_frames_that_have_begun_are_told():
    host = opened()
    host.say(HeartbeatReply(0, (0, 0), (0, 8)))
    assert host.frames.told("begun") == [("begun", 1, 7)]


# --- resends ---------------------------------------------------------------------------------


def test_what_is_missing_is_asked_for():
    host = opened()
    host.frames.lost = [Missing(1, 9, ResendFlag.END, ((1, 2, 3, 4), (5, 6, 7, 8)))]
    host.link.poll(0.01)
    [(header, message)] = [item for item in host.sent() if isinstance(item[1], Resend)]
    assert (header.stream, header.frame) == (1, 9)
    assert message == Resend(2, 2, struct.pack("<8H", *range(1, 9)))


def test_without_the_capability_nothing_is_asked_for():
    host = opened(HelloReply(VERSION, 1, 0, int(Capability.LOG), MAX_CONTROL, 10, 1, 5))
    host.frames.lost = [Missing(1, 9, ResendFlag.END, ())]
    host.link.poll(0.01)
    assert not [m for m in host.messages() if isinstance(m, Resend)]


def test_nothing_is_asked_for_while_the_line_stands_still():
    host = opened()
    host.frames.lost = [Missing(1, 9, ResendFlag.END, ())]
    host.link.poll(0.5)
    assert not [m for m in host.messages() if isinstance(m, Resend)]
    host.say(Log(2, 0, b""), now=0.5)
    host.link.poll(0.51)
    assert [m for m in host.messages() if isinstance(m, Resend)]


def test_nothing_is_asked_for_again_before_anything_has_come_since():
    host = opened()
    asks = []
    for turn in range(1, 15):
        host.frames.lost = [Missing(1, 9, ResendFlag.END, ())]
        if turn == 10:
            host.say(Log(2, 0, b""), now=turn / 100)
        host.link.poll(turn / 100 + 0.001)
        asks.append(len([m for m in host.messages() if isinstance(m, Resend)]))
    assert asks == [1, *8 * [0], 1, *4 * [0]], "once at first, once after the line went on"


# --- signs of life ---------------------------------------------------------------------------

SILENCE_S = SILENCE_MS / 1000


def test_silence():
    host = Host()
    assert not host.link.is_silent(1000.0), "nobody has spoken yet"
    host = opened()
    assert not host.link.is_silent(SILENCE_S)
    assert host.link.is_silent(SILENCE_S + 0.001)


def test_any_byte_in_sync_is_a_sign_of_life():
    host = opened()
    data = encode_packet(
        MessageType.LOG, Log(2, 0, b"long" * 100).encode(), nonce=NONCE, sequence=1
    )
    host.bytes(data[:100], 5.0)
    assert not host.link.is_silent(4.999 + SILENCE_S)


def test_noise_is_none():
    host = opened()
    host.bytes(bytes(4000), 5.0)
    assert host.link.is_silent(5.0)


def test_the_time_nobody_listened_is_no_silence():
    host = opened()
    host.link.poll(0.5)
    host.link.resume(1000.0)
    assert not host.link.is_silent(1000.0 + SILENCE_S - 0.5)
    assert host.link.is_silent(1000.0 + SILENCE_S - 0.5 + 0.001)
    assert host.frames.told("resume") == [("resume", 999.5)]


def test_busy_is_no_silence_until_the_lease_is_over():
    host = opened()
    host.say(Busy(1, 3000), now=1.0)
    assert host.link.busy == Busy(1, 3000)
    assert not host.link.is_silent(3.999 + SILENCE_S)
    assert host.link.is_silent(4.001 + SILENCE_S)


def test_a_busy_lease_is_bounded():
    host = opened()
    host.say(Busy(1, 65535), now=0.0)
    assert host.link.is_silent(MAX_BUSY_MS / 1000 + SILENCE_S + 0.001)
    # A shorter one does not end it.
    host.say(Busy(1, 1), now=0.0)
    assert not host.link.is_silent(MAX_BUSY_MS / 1000)
