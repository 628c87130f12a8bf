"""Test the player of the module's side, packet by packet, on a clock of the test."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenslink_hil.recording.host_player import ModuleOutput
from lenslink_hil.recording.lcap import Direction, Kind, Record, Recording
from lenslink_hil.recording.module_player import ModulePlayer
from lenslink_hil.recording.script import make_script, parse_valid_header
from lenslink_protocol.framing import VERSION, Receiver, encode_packet
from lenslink_protocol.ids import ErrorCode, MessageType
from lenslink_protocol.messages import (
    BY_TYPE,
    Accepted,
    Capture,
    Configure,
    Configured,
    Flush,
    FrameEnd,
    Heartbeat,
    HeartbeatReply,
    Hello,
    HelloReply,
    Stop,
)

THEN, NOW = 0x01D01D01, 0x0E1E1E1E
TILE = bytes(range(200))
HELLO = Hello(VERSION, VERSION, 1, 3, 4096)
REPLY = HelloReply(VERSION, 1, 0, 3, 1024, 0, 1, 5)


@dataclass
class Session:
    """Makes a recording with one millisecond between packets."""

    records: list = field(default_factory=list)
    sequences: Counter = field(default_factory=Counter)

    def put(self, direction, kind, payload, frame=0, stream=0, nonce=THEN):
        packet = encode_packet(
            kind, payload, nonce=nonce, sequence=self.sequences[direction], frame=frame,
            stream=stream, place=(0, 0, 10, 10) if kind == MessageType.TILE else (0, 0, 0, 0),
        )  # fmt: skip
        self.sequences[direction] += 1
        self.raw(direction, packet)
        return packet

    def raw(self, direction, data):
        moment = len(self.records) * 1_000_000
        self.records.append(Record(Kind.DATA, 0, direction, moment, data))

    def ask(self, message, number):
        self.put(Direction.TO_MODULE, message.TYPE, message.encode(), number)

    def say(self, message, frame=0, stream=0):
        return self.put(Direction.TO_HOST, message.TYPE, message.encode(), frame, stream)

    def tile(self, frame, stream):
        return self.put(Direction.TO_HOST, MessageType.TILE, TILE, frame, stream)

    def still(self, number, frame, stream):
        self.ask(Capture(stream, 1), number)
        self.say(Accepted(stream, frame), number)
        self.tile(frame, stream)
        self.say(FrameEnd(0, 1, 1, 9, (self.sequences[Direction.TO_HOST] - 1, 0, 0, 0), 0), frame)

    def player(self, speed=0.0):
        return ModulePlayer(make_script(Recording({"lanes": 1}, records=self.records)), speed)


class Host:
    """A host with a nonce of its own, which receives with the driver's receiver."""

    def __init__(self, player):
        self.player = player
        self.discards = Counter()
        self.receiver = Receiver(self, NOW, self.discards)
        self.got = []
        self.sequence = 0

    def reserve_buffer(self, header):
        return None

    def on_packet(self, header, payload, in_place):
        kind = BY_TYPE.get(header.type)
        message = bytes(payload) if kind is None else kind.decode(payload)
        self.got.append((header, message))

    def ask(self, message, number=0, now=0.0, stream=0):
        payload = message.encode()
        self.player.receive(
            encode_packet(
                message.TYPE,
                payload,
                nonce=NOW,
                sequence=self.sequence,
                frame=number,
                stream=stream,
            ),
            now,
        )
        self.sequence += 1

    def take(self, now=0.0):
        """Return the headers and messages that arrive until *now*."""
        while (head := self.player.peek(now)) is not None:
            data = bytes(head[1][:7])  # in small pieces, as a busy host does
            self.player.take(len(data), now)
            self.receiver.feed(data, now)
        got, self.got = self.got, []
        return got


@pytest.fixture
def greeted():
    """Return a session after its hello; the test adds the rest."""
    session = Session()
    session.ask(HELLO, 1)
    session.say(REPLY, 1)
    return session


def open_host(session, speed=0.0, capabilities=3):
    host = Host(session.player(speed))
    assert host.take() == []
    host.ask(Hello(VERSION, VERSION, 1, capabilities, 4096), 41)
    return host


def test_replies_are_of_this_session_and_answer_its_requests(greeted):
    host = open_host(greeted, capabilities=1)
    [(header, reply)] = host.take()
    assert (header.nonce, header.frame, header.sequence) == (NOW, 41, 0)
    assert reply == HelloReply(VERSION, 1, 0, 1, 1024, 0, 1, 5)
    assert not host.discards


def test_nothing_is_sent_before_its_request(greeted):
    greeted.still(2, 0, 0)
    greeted.still(3, 1, 0)
    host = open_host(greeted)
    assert len(host.take()) == 1
    for number, frame in ((50, 0), (60, 1)):
        assert host.take() == []
        host.ask(Capture(0, 1), number)
        accepted, tile, end = host.take()
        assert (accepted[0].frame, accepted[1]) == (number, Accepted(0, frame))
        assert (tile[0].frame, tile[1]) == (frame, TILE)
        assert end[1].tiles == 1
    assert not host.discards
    assert host.receiver.lost_packets == 0


def test_a_repeated_request_is_answered_once(greeted):
    greeted.still(2, 0, 0)
    greeted.ask(Capture(0, 1), 2)
    host = open_host(greeted)
    host.ask(HELLO, 41)
    assert len(host.take()) == 1
    host.ask(Capture(0, 1), 50)
    host.ask(Capture(0, 1), 50)
    assert len(host.take()) == 3
    assert host.player.is_over(0.0)


def test_a_request_that_the_host_skips_is_skipped_with_its_answers(greeted):
    """Sequence numbers and byte counts are those of a session without the skipped request."""
    greeted.still(2, 0, 0)
    greeted.say(HeartbeatReply(7, (200, 0, 0), (1, 0, 0), 0, 0))
    greeted.still(3, 1, 1)
    greeted.say(HeartbeatReply(8, (200, 200, 0), (1, 2, 0), 0, 0))
    host = open_host(greeted)
    host.take()
    host.ask(Capture(1, 1), 50)
    accepted, tile, end, alive = host.take()
    assert [each[0].sequence for each in (accepted, tile, end, alive)] == [1, 2, 3, 4]
    assert (accepted[0].frame, tile[0].stream) == (50, 1)
    assert end[1].last_sequence[0] == 2
    assert alive[1].sent == (0, 200, 0)
    assert not host.discards
    assert host.receiver.lost_packets == 0


def test_a_request_that_was_not_recorded_is_refused(greeted):
    greeted.still(2, 0, 0)
    host = open_host(greeted)
    host.ask(Flush(), 42)
    host.ask(Stop(0), 43)
    answers = host.take()
    assert len(answers) == 3
    codes = {h.frame: m.code for h, m in answers if h.type == MessageType.ERROR}
    assert codes == {42: ErrorCode.UNSUPPORTED, 43: ErrorCode.UNSUPPORTED}
    host.ask(Capture(0, 1), 50)
    assert [h.sequence for h, _ in host.take()] == [3, 4, 5]
    host.ask(Capture(0, 1), 51)
    [(header, error)] = host.take()
    assert (header.frame, error.detail) == (51, b"the recording has no further CAPTURE 0")
    assert not host.discards


def test_packets_of_another_session_are_ignored(greeted):
    greeted.still(2, 0, 0)
    host = open_host(greeted)
    host.take()
    stale = Capture(0, 1).encode()
    host.player.receive(
        encode_packet(MessageType.CAPTURE, stale, nonce=THEN, sequence=9, frame=50), 0.0
    )
    assert host.take() == []
    host.ask(Capture(0, 1), 51)
    assert host.take()[0][0].frame == 51


def test_a_mode_that_was_not_recorded_is_adjusted(greeted):
    greeted.ask(Configure(0, 0, 2, 0, 0), 2)
    greeted.say(Configured(0, 0, 2, 0, 8, 8, 16, 128, 128), 2)
    greeted.ask(Configure(0, 1, 2, 0, 0), 3)
    greeted.say(Configured(0, 1, 2, 0, 8, 8, 16, 128, 128), 3)
    host = open_host(greeted)
    host.take()
    host.ask(Configure(0, 0, 5, 0, 0), 42)
    assert host.take()[0][1].flags == 2
    host.ask(Configure(0, 1, 2, 0, 0), 43)
    assert host.take()[0][1].flags == 1


def test_heartbeats_are_answered_while_it_waits(greeted):
    greeted.say(HeartbeatReply(7, (200, 0, 0), (1, 0, 0), 0, 0))
    greeted.still(2, 0, 0)
    host = Host(greeted.player())
    host.ask(Heartbeat((9, 9, 9), 0))
    assert host.take() == []
    host.ask(HELLO, 41)
    host.take()
    host.ask(Heartbeat((9, 9, 9), 0))
    [(header, alive)] = host.take()
    assert (header.sequence, alive) == (2, HeartbeatReply(7, (200, 0, 0), (1, 0, 0), 0, 0))
    host.ask(Capture(0, 1), 50)
    accepted, _, end = host.take()
    assert accepted[0].sequence == 3
    assert end[1].last_sequence[0] == 4
    assert not host.discards


@pytest.mark.parametrize(("speed", "factor"), [(1.0, 1.0), (4.0, 0.25)])
def test_packets_keep_their_recorded_times(speed, factor, greeted):
    greeted.still(2, 0, 0)
    host = open_host(greeted, speed)
    # The answer came 1 ms after the hello.
    assert host.take(0.0009 * factor) == []
    assert len(host.take(0.001 * factor)) == 1
    host.ask(Capture(0, 1), 50, now=5.0)
    seen = [len(host.take(5.0 + ms * factor / 1000)) for ms in (0.9, 1.1, 1.9, 2.1, 2.9, 3.1)]
    assert seen == [0, 1, 0, 1, 0, 1]
    assert host.player.get_next_due(6.0) > 6.0


def test_stop_does_not_wait_for_the_frames_before_it(greeted):
    greeted.still(2, 0, 0)
    greeted.ask(Stop(0), 3)
    greeted.say(Accepted(0, 1), 3)
    host = open_host(greeted, 0.001)
    host.take(10.0)
    host.ask(Capture(0, 1), 50, now=10.0)
    assert host.take(10.1) == []
    host.ask(Stop(0), 51, now=10.2)
    assert [h.type for h, _ in host.take(10.2)][:3] == [
        MessageType.ACCEPTED, MessageType.TILE, MessageType.FRAME_END
    ]  # fmt: skip


def test_damage_stays_bit_for_bit(greeted):
    greeted.raw(Direction.TO_HOST, b"noise, then a stranger's")
    stranger = encode_packet(MessageType.STOP, b"\x03\0\0", nonce=THEN + 1, sequence=9)
    greeted.raw(Direction.TO_HOST, stranger)
    torn = bytearray(greeted.tile(0, 0))
    torn[60] ^= 1
    greeted.records[-1] = Record(Kind.DATA, 0, Direction.TO_HOST, 0, bytes(torn))
    host = Host(greeted.player())
    host.ask(HELLO, 41)
    played = b""
    while (head := host.player.peek(0.0)) is not None:
        played += bytes(head[1])
        host.player.take(len(head[1]), 0.0)
    assert len(played) == 70 + 24 + len(stranger) + len(torn)
    assert played[70:94] == b"noise, then a stranger's"
    assert played[94 : 94 + len(stranger)] == stranger
    sealed = played[94 + len(stranger) :]
    # Only its nonce and the CRC that covers it; the payload's CRC still does not hold.
    differ = {i for i, (a, b) in enumerate(zip(sealed, torn, strict=True)) if a != b}
    assert differ <= {8, 9, 10, 11, 36, 37, 38, 39}
    host.receiver.feed(played, 0.0)
    assert host.discards["payload_crc"] == 1
    assert host.discards["nonce"] == 1


def test_after_damage_the_host_is_given_time(greeted):
    whole, damaged = greeted.player(), None
    greeted.raw(Direction.TO_HOST, b"?")
    damaged = greeted.player()
    for player, linger in ((whole, 0.0), (damaged, 2.5)):
        host = Host(player)
        host.ask(HELLO, 41)
        assert not player.is_over(0.0)
        host.take()
        assert player.is_over(0.0) == (linger == 0.0)
        assert player.is_over(linger)


def test_a_host_in_small_pieces_and_with_noise(greeted):
    host = Host(greeted.player())
    payload = HELLO.encode()
    packet = encode_packet(HELLO.TYPE, payload, nonce=NOW, sequence=0, frame=41)
    bad = bytearray(packet)
    bad[-1] ^= 1
    for byte in b"\x8aLL noise" + bytes(bad) + packet:
        host.player.receive(bytes([byte]), 0.0)
    assert [h.frame for h, _ in host.take()] == [41]


PIECE = st.one_of(
    st.binary(max_size=50),
    st.builds(
        lambda kind, payload, frame, stream, nonce: encode_packet(
            kind, payload, nonce=nonce, sequence=frame, frame=frame, stream=stream
        ),
        st.sampled_from([*MessageType, 0x7F, 0xE0]),
        st.binary(max_size=90),
        st.integers(0, 5),
        st.integers(0, 255),
        st.sampled_from([THEN, NOW]),
    ),
)


@given(
    pieces=st.lists(st.tuples(st.sampled_from(Direction), st.integers(0, 2), PIECE), max_size=12),
    asked=st.lists(st.tuples(st.integers(0, 5), PIECE), max_size=6),
)
def test_no_recording_and_no_host_make_the_player_fail(pieces, asked):
    """Whatever the file holds and a host sends, the player sends no more than was recorded."""
    session = Session()
    session.ask(HELLO, 1)
    session.say(REPLY, 1)
    for direction, lane, piece in pieces:
        moment = len(session.records) * 1_000_000
        session.records.append(Record(Kind.DATA, lane, direction, moment, piece))
    session.records.append(Record(Kind.LANE_END, 2, 0, len(session.records) * 1_000_000, b"cut"))
    host = Host(session.player())
    host.ask(HELLO, 41)
    played = 0
    for _, piece in [(0, b""), *asked]:
        host.player.receive(piece, 0.0)
        while (head := host.player.peek(0.0)) is not None:
            assert head[1]
            played += len(head[1])
            host.player.take(len(head[1]), 0.0)
    # Besides the recording, at most one answer to each packet of the host.
    assert played <= sum(len(record.payload) for record in session.records) + 200 * len(asked)
    assert host.player.get_next_due(0.0) >= 0.0


def test_a_frame_that_ends_after_its_stop_is_not_expected():
    """In another session with the same module, the frame may not even start."""
    end = FrameEnd(0, 1, 1, 9, (0, 0, 0, 0), 0)
    output = ModuleOutput()
    for kind, frame in ((MessageType.STREAM, 0), (MessageType.STOP, 1), (MessageType.CAPTURE, 2)):
        output.on_request(parse_valid_header(encode_packet(kind, nonce=THEN, sequence=0)))
        packet = encode_packet(end.TYPE, end.encode(), nonce=THEN, sequence=0, frame=frame)
        output.on_packet(parse_valid_header(packet[:40]), packet[40:])
    assert [number for (_, number), shown in output.frames.items() if shown.is_finished] == [0, 2]
    assert len(output.list_finished_frames(0)) == 2
