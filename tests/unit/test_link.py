"""The host's link machine on virtual time: requests, answers, credits, signs of life."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise

import pytest
from helpers.link_harness import NONCE, REPLY, Host, opened

from lenslink_protocol import link as link_module
from lenslink_protocol.framing import VERSION, encode_packet
from lenslink_protocol.ids import (
    BusyReason,
    Capability,
    CloseReason,
    DiscardReason,
    MessageType,
    ResendFlag,
)
from lenslink_protocol.link import CAPABILITIES, WINDOW, MissingParts
from lenslink_protocol.messages import (
    Accepted,
    Busy,
    Capture,
    Close,
    Error,
    Flush,
    Flushed,
    FrameEnd,
    FrameStart,
    GetManifest,
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
    MAX_PAYLOAD,
    REQUEST_RETRY_MS,
    SILENCE_MS,
)

ALIVE = HeartbeatReply(0, (0, 0, 0), (0, 0, 0), 0, 0)


# --- requests --------------------------------------------------------------------------------


def test_hello_is_answered():
    host = Host(lanes=3)
    request = host.link.send_hello(1.0)
    [(header, message)] = host.sent()
    assert message == Hello(VERSION, VERSION, 3, int(CAPABILITIES), MAX_PAYLOAD)
    assert header[4:7] == (NONCE, 0, request.id)
    assert header.stream == 0
    assert request.id >= 1
    assert host.link.session is None
    host.say(REPLY, request.id)
    assert host.link.session == request.reply == REPLY
    assert request.is_done


@pytest.mark.parametrize(
    ("ask", "retry_ms"),
    [
        (lambda link: link.send_hello(10.0), HELLO_RETRY_MS),
        (lambda link: link.send_request(Flush(), 10.0), REQUEST_RETRY_MS),
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


def test_request_ids_rise():
    host = Host()
    ids = [host.link.send_request(Flush(), 0.0).id for _ in range(3)]
    assert ids == sorted(set(ids))
    assert [header.frame for header, _ in host.sent()] == ids


def test_a_forgotten_request_is_not_repeated():
    host = Host()
    request = host.link.send_request(Flush(), 0.0)
    host.sent()
    host.link.forget_request(request)
    host.link.forget_request(request)
    host.link.poll(10.0)
    assert host.sent() == []
    host.say(Flushed(1, 0, (0, 0, 0, 0)), request.id)
    assert not request.is_done
    assert host.discards == {DiscardReason.UNEXPECTED: 1}


def test_answers_go_to_their_requests_in_any_order():
    host = Host()
    first = host.link.send_request(Stop(0), 0.0)
    second = host.link.send_request(GetManifest(0), 0.0)
    host.say(ManifestPiece(0, 3, b"abc"), second.id)
    assert second.is_done and not first.is_done
    host.say(Accepted(0, 7), first.id)
    assert first.reply == Accepted(0, 7)


def test_an_error_answers_any_request():
    host = Host()
    request = host.link.send_request(GetManifest(0), 0.0)
    host.say(Error(4, b"no"), request.id)
    assert request.reply == Error(4, b"no")


def test_an_answer_of_the_wrong_type_is_unexpected():
    host = Host()
    request = host.link.send_request(GetManifest(0), 0.0)
    host.say(Accepted(0, 7), request.id)
    assert not request.is_done
    assert host.discards == {DiscardReason.UNEXPECTED: 1}
    host.link.poll(1.0)
    assert GetManifest(0) in host.messages(), "still asked"


def test_an_answer_that_comes_twice_is_unexpected():
    host = Host()
    request = host.link.send_request(Stop(0), 0.0)
    host.say(Accepted(0, 7), request.id)
    host.say(Accepted(0, 8), request.id)
    assert request.reply == Accepted(0, 7)
    assert host.discards == {DiscardReason.UNEXPECTED: 1}


def test_an_unexpected_hello_reply_opens_nothing():
    host = Host()
    host.link.send_request(Stop(0), 0.0)
    host.say(REPLY, 1)
    assert host.link.session is None
    assert host.discards == {DiscardReason.UNEXPECTED: 1}


def test_a_pending_request_is_not_repeated_before_its_lease_ends():
    host = Host()
    request = host.link.send_request(Flush(), 0.0)
    host.sent()
    host.say(Pending(2000), request.id, now=0.1)
    host.link.poll(2.099)
    assert host.sent() == []
    host.link.poll(2.1)
    assert host.messages() == [Flush()]


def test_a_lease_is_bounded_and_never_shortens_the_wait():
    host = Host()
    request = host.link.send_request(Flush(), 0.0)
    host.sent()
    host.say(Pending(0), request.id)
    host.link.poll(REQUEST_RETRY_MS / 1000 - 0.001)
    assert host.sent() == []
    host.say(Pending(65535), request.id)
    host.link.poll(MAX_BUSY_MS / 1000)
    assert host.messages() == [Flush()]
    host.say(Pending(10), 99)
    assert host.discards == {DiscardReason.UNEXPECTED: 1}


def test_a_close_is_sent_and_received():
    host = opened()
    host.link.send_close(CloseReason.ORDERLY)
    [(header, message)] = host.sent()
    assert message == Close(0)
    assert (header.frame, header.sequence) == (0, 2), "after the hello and the first grant"
    assert host.link.close_message is None
    host.say(Close(CloseReason.DETACH))
    assert host.link.close_message == Close(1)


def test_the_next_timeout_is_the_next_request_or_50_ms():
    host = Host()
    assert host.link.next_timeout(0.0) == 0.05
    host.link.send_hello(0.0)
    assert host.link.next_timeout(0.07) == pytest.approx(0.03)
    assert host.link.next_timeout(0.2) == 0.0


def test_poll_passes_the_time_to_frames_and_lanes():
    host = Host(lanes=2)
    host.bytes(encode_packet(MessageType.LOG, b"x" * 20, nonce=NONCE, sequence=0)[:-1], 0.0, 1)
    host.link.poll(1.0)
    assert host.frames.list_calls("expire_frames") == [("expire_frames", 1.0)]
    assert host.discards[DiscardReason.STALL] == 1


def test_the_round_trip_is_the_shortest_time_from_the_first_sending_to_the_answer():
    host = Host()
    hello = host.link.send_hello(1.0)
    host.link.poll(1.11)
    host.say(REPLY, hello.id, 1.4)
    assert host.frames.round_trip_s == pytest.approx(0.4)
    for sent, answered, shortest in ((2.0, 2.5, 0.4), (3.0, 3.25, 0.25), (4.0, 4.3, 0.25)):
        request = host.link.send_request(Capture(0, 1), sent)
        host.say(Accepted(0, 0), request.id, answered)
        assert host.frames.round_trip_s == pytest.approx(shortest)


def test_a_request_is_repeated_at_its_time_under_its_id_and_not_after_its_answer():
    host = opened()
    host.without_heartbeats()
    request = host.link.send_request(Capture(0, 1), 1.0)
    assert request.id == 2
    assert host.kinds() == ["Capture"]
    host.link.poll(1.39)
    assert host.kinds() == []
    assert host.link.next_timeout(1.39) == pytest.approx(0.01)
    host.link.poll(1.4)
    [(header, message)] = host.sent()
    assert (header.frame, message) == (2, request.message)
    host.link.poll(1.5)
    assert host.kinds() == []
    host.say(Accepted(0, 0), 2, 1.5)
    assert request.is_done
    assert request.reply == Accepted(0, 0)
    host.link.poll(10.0)
    assert host.kinds() == []
    assert host.link.next_timeout(10.0) == 0.05


def test_neither_a_resent_nor_a_hello_reply_answers_a_capture_and_an_error_does():
    host = opened()
    request = host.link.send_request(Capture(0, 1), 0.0)
    host.say(Resent(0, 0, 0, b""), 2)
    host.say(HelloReply(0x10, 1, 0, 0, 1, 1, 1, 1), 2)
    assert host.discards[DiscardReason.UNEXPECTED] == 1
    assert not request.is_done
    host.say(Error(4, b"no"), 2)
    assert request.reply == Error(4, b"no")


def test_pending_postpones_a_request_and_never_hastens_it():
    host = opened()
    request = host.link.send_request(Capture(0, 1), 0.0)
    host.say(Pending(2000), 2, 1.0)
    assert request.next_try == 3.0
    host.say(Pending(1), 2, 1.0)
    assert request.next_try == 3.0
    host.say(Pending(60000), 2, 1.0)
    assert request.next_try == 11.0
    host.say(Pending(1), 99, 1.0)
    assert host.discards[DiscardReason.UNEXPECTED] == 1


def test_a_postponed_request_is_repeated_when_its_lease_ends():
    host = opened()
    host.without_heartbeats()
    host.link.send_request(Capture(0, 1), 0.0)
    host.say(Pending(10_000), 2, 0.0)
    host.sent()
    host.link.poll(9.995)
    assert host.kinds() == []
    host.link.poll(10.0)
    assert host.kinds() == ["Capture"]


# --- packets ---------------------------------------------------------------------------------


def test_unknown_types_are_counted_and_vendor_types_skipped():
    host = Host()
    for kind in (0x00, 0x3F, 0xDF):
        host.hear(kind, b"what")
    assert host.discards == {DiscardReason.UNKNOWN_TYPE: 3}
    for kind in (0xE0, 0xFF):
        host.hear(kind, b"what")
    assert host.discards == {DiscardReason.UNKNOWN_TYPE: 3}


def test_malformed_messages_are_counted():
    host = Host()
    host.hear(MessageType.LOG, b"\x0c\x00")
    assert host.discards == {DiscardReason.MALFORMED: 1}
    assert not host.link.logs


def test_logs_and_notices_are_kept_and_bounded():
    host = Host()
    for line in range(300):
        host.say(Log(2, line, b"line"))
        host.say(Notice(1, 100))
    assert len(host.link.logs) == len(host.link.notices) == 256
    assert host.link.logs[-1] == Log(2, 299, b"line")


def test_the_frame_sink_gets_the_packets_of_frames():
    host = Host()
    end = FrameEnd(0, 1, 1, 0, (0, 0, 0, 0), 0)
    host.hear(MessageType.TILE, b"tile", frame=3)
    host.hear(MessageType.FRAME_END, end.encode(), frame=3)
    host.hear(MessageType.RESENT, Resent(0, 2, 0, b"").encode(), frame=3)
    assert host.frames.calls == [
        ("reserve_buffer", 3),
        ("on_tile", 3, b"tile", False, 0.0, 0),
        ("on_frame_end", 3, end, 0.0),
        ("on_resent", 3, Resent(0, 2, 0, b""), 0.0),
    ]


def test_each_lane_has_its_own_sequence_and_number():
    host = Host(lanes=2)
    host.hear(MessageType.TILE, b"one", lane=0, frame=1)
    host.hear(MessageType.TILE, b"two", lane=1, frame=1)
    assert host.frames.list_calls("on_tile") == [
        ("on_tile", 1, b"one", False, 0.0, 0),
        ("on_tile", 1, b"two", False, 0.0, 1),
    ]
    assert not host.discards
    host.hear(MessageType.LOG, b"", lane=1)
    assert [lane.last_sequence for lane in host.link.lanes] == [0, 1]


def test_each_message_is_passed_on_by_its_type():
    host = opened()
    start = FrameStart(0, 3, 0, 4, 6, 0, 1, 12, 1, 8, 4095, 0, (0, 0, 0, 0), *range(10))
    end = FrameEnd(0, 1, 3, 0, (0, 0, 0, 0), 0)
    resent = Resent(0, 1, 0, b"")
    host.say(start, 5, 1.0)
    host.say(end, 5, 2.0)
    host.say(resent, 5, 3.0)
    assert host.frames.calls == [
        ("on_frame_start", 5, start, 1.0),
        ("on_frame_end", 5, end, 2.0),
        ("on_resent", 5, resent, 3.0),
    ]
    host.say(Log(1, 2, b"line"))
    host.say(Notice(1, 5))
    assert host.link.close_message is None
    host.say(Close(CloseReason.DETACH))
    assert list(host.link.logs) == [Log(1, 2, b"line")]
    assert list(host.link.notices) == [Notice(1, 5)]
    assert host.link.close_message == Close(CloseReason.DETACH)
    assert not any(host.discards.values())


def test_lost_packets_of_all_lanes_are_counted_and_lanes_end_one_by_one():
    host = opened(lanes=3)
    assert host.frames.lanes is host.link.lanes
    assert host.link.receiver is host.link.lanes[0].receiver
    host.sequences = [3, 5, 0]
    for lane in (0, 1):
        host.say(Log(1, 0, b""), lane=lane)
    host.sequences[1] = 9
    host.say(Log(1, 0, b""), lane=1)
    assert host.link.lost_packets == 2 + 3
    assert [lane.number for lane in host.link.lanes] == [0, 1, 2]
    assert host.link.lanes[1].last_sequence == 9
    host.link.on_lane_end(2)
    assert [lane.is_alive for lane in host.link.lanes] == [True, True, False]
    assert host.frames.list_calls("cancel_reservation") == [("cancel_reservation", 2)]


@pytest.mark.parametrize("placed", [True, False])
def test_the_reservation_of_a_stalled_tile_is_cancelled_once(placed):
    host = opened()
    host.frames.memory = memoryview(bytearray(4)) if placed else None
    tile = encode_packet(MessageType.TILE, b"abcd", nonce=NONCE, sequence=1)
    host.bytes(tile[:-1], 1.0)
    host.link.poll(1.1)
    assert host.frames.list_calls("cancel_reservation") == []
    host.link.poll(1.3)
    host.link.poll(1.4)
    assert host.frames.list_calls("cancel_reservation") == [("cancel_reservation", 0)] * placed


def test_a_reservation_is_cancelled_once_its_tile_has_arrived():
    host = opened()
    host.frames.memory = memoryview(bytearray(8))
    host.hear(MessageType.TILE, bytes(8))
    assert host.frames.list_calls("cancel_reservation") == [("cancel_reservation", 0)]


# --- credits ---------------------------------------------------------------------------------


def grants(host):
    return [message.limit for message in host.messages() if isinstance(message, Heartbeat)]


def test_nothing_is_granted_before_the_session_and_a_window_at_once():
    host = Host()
    request = host.link.send_hello(0.0)
    host.link.poll(0.05)
    assert grants(host) == []
    host.say(REPLY, request.id)
    assert grants(host) == [(WINDOW, WINDOW, WINDOW)]


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


def test_received_bytes_are_granted_again(monkeypatch):
    monkeypatch.setattr(link_module, "WINDOW", 8000)
    monkeypatch.setattr(link_module, "_GRANTS", 8)
    host = opened()
    tiles(host, 0, 500, 1)
    assert grants(host) == [], "an eighth of the window is not used up"
    tiles(host, 0, 500, 1)
    assert grants(host) == [(9000, 8000, 8000)]
    tiles(host, 1, 1000, 1)
    assert grants(host) == [(9000, 9000, 8000)]


def test_lost_bytes_are_granted_again(monkeypatch):
    monkeypatch.setattr(link_module, "WINDOW", 8000)
    host = opened()
    tiles(host, 0, 300, 1)
    host.say(HeartbeatReply(0, (5000, 200, 0), (0, 0, 0), 0, 0))
    host.link.poll(1.0)
    assert grants(host) == [(13000, 8200, 8000)]
    # What a module claims beyond its grants is not believed.
    host.say(HeartbeatReply(0, (1 << 60, 0, 0), (0, 0, 0), 0, 0), now=1.0)
    host.link.poll(2.0)
    assert grants(host) == [(13000 + 8000, 8200, 8000)]
    # Nor is anything taken back.
    host.say(HeartbeatReply(0, (0, 0, 0), (0, 0, 0), 0, 0), now=2.0)
    host.link.poll(3.0)
    assert grants(host) == [(13000 + 8000, 8200, 8000)]


def test_the_reply_to_hello_brings_the_first_grant():
    host = Host()
    request = host.link.send_hello(0.0)
    host.say(REPLY, request.id)
    _, (header, grant) = host.sent()
    assert grant == Heartbeat((WINDOW, WINDOW, WINDOW), 0)
    assert (header.sequence, header.frame) == (1, 0)


def test_a_heartbeat_is_sent_every_tenth_of_a_second_and_not_more_often():
    host = opened()
    host.link.poll(0.09995)
    assert host.kinds() == []
    host.link.poll(0.1)
    assert host.kinds() == ["Heartbeat"]
    host.link.poll(0.15)
    assert host.kinds() == []
    host.link.poll(0.2)
    assert host.kinds() == ["Heartbeat"]


def test_a_quarter_of_the_window_brings_a_grant():
    host = opened()
    host.link._credits.settled[0] = WINDOW // 4 - 3
    host.hear(MessageType.TILE, b"ab")
    assert host.kinds() == []
    host.hear(MessageType.TILE, b"c")
    assert host.messages() == [Heartbeat((WINDOW + WINDOW // 4, WINDOW, WINDOW), 0)]
    host.hear(MessageType.TILE, b"c")
    assert host.kinds() == []


def test_tiles_are_counted_for_their_stream_if_it_exists():
    host = opened()
    host.hear(MessageType.TILE, b"abcd", 0.5, frame=3, stream=1)
    host.hear(MessageType.TILE, b"x", 0.5, frame=4, stream=3)
    assert host.link._credits.settled == [0, 4, 0]
    assert host.frames.list_calls("on_tile") == [
        ("on_tile", 3, b"abcd", False, 0.5, 0),
        ("on_tile", 4, b"x", False, 0.5, 0),
    ]


def test_a_heartbeat_reply_settles_lost_bytes_and_announces_frames():
    host = opened()
    host.say(HeartbeatReply(0, (1000, 7, 0), (0, 6, 0), 0, 0), 0, 0.5)
    assert host.link._credits.settled == [1000, 7, 0]
    assert host.frames.calls == [("on_frame_announced", 1, 5, 0.5)]
    # Fewer than arrived change nothing. More than was granted cannot have been sent.
    host.say(HeartbeatReply(0, (10, 1 << 60, 0), (0, 0, 0), 0, 0), 0, 0.5)
    assert host.link._credits.settled == [1000, WINDOW, 0]
    host.link.poll(1.0)
    assert host.messages() == [Heartbeat((1000 + WINDOW, 2 * WINDOW, WINDOW), 1_000_000)]


def test_recorded_tiles_are_a_sign_of_life_and_are_granted_again():
    host = opened(lanes=2)
    for lane in (0, 1):
        host.say(ALIVE, lane=lane)
    host.sent()
    quarter = WINDOW // 4
    host.link.record_tiles(1, 3, quarter - 1, 2.0, lane=1)
    assert host.link.lanes[1].last_sequence == 3
    assert not host.link.is_silent(2.85)
    assert host.kinds() == []
    host.link.record_tiles(1, 1, 1, 2.0, lane=0)
    assert host.messages() == [Heartbeat((WINDOW, WINDOW + quarter, WINDOW), 2_000_000)]
    # A fourth stream is unknown.
    host.link.record_tiles(3, 1, WINDOW, 2.0)
    assert host.kinds() == []


# --- resends ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capabilities", "asks"),
    [
        (Capability.LOG | Capability.RESEND, 1),
        (Capability.LOG, 0),
        (Capability.RESEND, 1),
    ],
)
def test_missing_parts_are_requested_if_the_module_can_resend(capabilities, asks):
    host = opened(replace(REPLY, capabilities=int(capabilities)))
    host.frames.lost = [MissingParts(1, 7, ResendFlag.END, ((1, 2, 3, 4), (5, 6, 7, 8)))]
    host.link.poll(0.01)
    resend = Resend(ResendFlag.END, 2, struct.pack("<8H", *range(1, 9)))
    sent = [(header.frame, header.stream, message) for header, message in host.sent()]
    assert sent == [(7, 1, resend)] * asks


def test_nothing_is_requested_while_the_line_stands_still():
    host = opened()
    host.frames.lost = [MissingParts(1, 9, ResendFlag.END, ())]
    host.link.poll(0.5)
    assert not [m for m in host.messages() if isinstance(m, Resend)]
    host.say(Log(2, 0, b""), now=0.5)
    host.link.poll(0.51)
    assert [m for m in host.messages() if isinstance(m, Resend)]


def test_nothing_is_requested_again_before_another_packet_has_arrived():
    host = opened()
    asks = []
    for turn in range(1, 15):
        host.frames.lost = [MissingParts(1, 9, ResendFlag.END, ())]
        if turn == 10:
            host.say(Log(2, 0, b""), now=turn / 100)
        host.link.poll(turn / 100 + 0.001)
        asks.append(len([m for m in host.messages() if isinstance(m, Resend)]))
    assert asks == [1, *8 * [0], 1, *4 * [0]], "once at first, once after the line went on"


@pytest.mark.parametrize(("late", "asks"), [(0.19, ["Resend"]), (0.2, [])])
def test_a_line_stands_still_after_two_heartbeats(late, asks):
    host = opened()
    host.without_heartbeats()
    host.frames.lost = [MissingParts(0, 0, ResendFlag.START, ())]
    host.link.poll(late)
    assert host.kinds() == asks


# --- signs of life ---------------------------------------------------------------------------

SILENCE_S = SILENCE_MS / 1000


def test_the_module_is_silent_after_a_second():
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


def test_a_damaged_packet_is_a_sign_of_life_each_time():
    """The first one leaves the lane out of sync. The header of the next one counts all the same."""
    host = opened()
    for sequence, now in ((1, 1.0), (2, 2.0), (3, 3.0)):
        data = encode_packet(MessageType.LOG, bytes(20), nonce=NONCE, sequence=sequence)
        host.bytes(data[:-1] + b"\1", now)
        assert not host.link.is_silent(now + SILENCE_S)
        assert host.link.is_silent(now + SILENCE_S + 0.001)


def test_noise_is_no_sign_of_life_for_the_link():
    host = opened()
    host.bytes(bytes(4000), 5.0)
    assert host.link.is_silent(5.0)


def test_time_in_which_nobody_received_is_no_silence():
    host = opened()
    host.link.poll(0.5)
    host.link.resume(1000.0)
    assert not host.link.is_silent(1000.0 + SILENCE_S - 0.5)
    assert host.link.is_silent(1000.0 + SILENCE_S - 0.5 + 0.001)
    assert host.frames.list_calls("shift_timers") == [("shift_timers", 999.5)]


def test_a_busy_module_may_be_silent_until_its_lease_ends():
    host = opened()
    host.say(Busy(1, 3000), now=1.0)
    assert host.link.busy == Busy(1, 3000)
    assert not host.link.is_silent(3.999 + SILENCE_S)
    assert host.link.is_silent(4.001 + SILENCE_S)


def test_the_time_of_a_busy_lease_counts_for_no_frame():
    host = opened()
    host.link.poll(1.0)
    host.say(Busy(1, 3000), now=1.0)
    for now in (1.5, 3.0, 4.5, 5.0):
        host.link.poll(now)
    assert [away for _, away in host.frames.list_calls("shift_timers")] == [0.5, 1.5, 1.0]


def test_a_busy_lease_is_bounded():
    host = opened()
    host.say(Busy(1, 65535), now=0.0)
    assert host.link.is_silent(MAX_BUSY_MS / 1000 + SILENCE_S + 0.001)
    # A shorter one does not end it.
    host.say(Busy(1, 1), now=0.0)
    assert not host.link.is_silent(MAX_BUSY_MS / 1000)


def test_silence_is_counted_from_the_last_packet_and_from_the_end_of_a_lease():
    host = opened()
    host.say(Log(1, 0, b""), now=10.0)
    assert not host.link.is_silent(10.89)
    assert host.link.is_silent(10.91)
    host.say(Busy(1, 2000), now=10.5)
    assert not host.link.is_silent(13.39)
    assert host.link.is_silent(13.41)
    # A shorter lease does not end a longer one, and a long one is cut.
    host.say(Busy(1, 0), now=10.5)
    assert not host.link.is_silent(13.39)
    host.say(Busy(1, 60000), now=10.5)
    assert not host.link.is_silent(10.5 + 10 + 0.89)
    assert host.link.is_silent(10.5 + 10 + 0.91)


def test_a_lease_lasts_as_long_as_it_says():
    host = opened()
    host.say(Busy(BusyReason.FLASH, 10_000))
    assert not host.link.is_silent(10.8999)
    assert host.link.is_silent(10.9001)


def test_the_beginning_of_a_packet_is_a_sign_of_life_and_an_empty_read_is_not():
    host = opened()
    host.link.on_received(0, 5.0)
    assert host.link.is_silent(5.0)
    host.bytes(b"\x8aL", 6.0)
    assert not host.link.is_silent(6.5)
    host.bytes(bytes(100), 7.0)
    assert host.link.is_silent(7.5)


def test_a_packet_found_in_noise_is_a_sign_of_life():
    host = opened()
    good = encode_packet(ALIVE.TYPE, ALIVE.encode(), nonce=NONCE, sequence=1)
    # What follows is noise as well, so the line is out of sync when the call ends.
    host.bytes(b"x" * HEADER_BYTES + good + b"y" * 200, 5.0)
    assert not host.link.is_silent(5.85)


def test_each_resume_adds_its_own_time_away():
    host = opened()
    host.say(Log(1, 0, b""), now=1.0)
    host.link.resume(11.0)
    host.link.resume(12.0)
    assert host.frames.list_calls("shift_timers") == [("shift_timers", 10.0), ("shift_timers", 1.0)]
    assert not host.link.is_silent(12.85)
    assert host.link.is_silent(13.0)


def test_a_new_link_may_be_resumed_before_its_session():
    """The driver does so: it counts from when it begins to listen."""
    host = Host()
    request = host.link.send_hello(0.0)
    host.link.resume(1000.0)
    host.say(REPLY, request.id, 1000.0)
    assert not host.link.is_silent(1000.9)
    assert host.link.is_silent(1000.91)


def test_time_away_is_counted_from_the_last_poll():
    host = opened()
    host.link.poll(8.0)
    host.link.resume(9.0)
    # One second away, not nine: the last packet counts as heard at 1 s.
    assert not host.link.is_silent(1.9)
    assert host.link.is_silent(1.91)


def test_time_away_does_not_stall_a_packet_under_way():
    host = opened()
    packet = encode_packet(MessageType.LOG, bytes(40), nonce=NONCE, sequence=1)
    host.bytes(packet[: HEADER_BYTES + 8], 0.0)
    host.link.resume(60.0)
    host.link.poll(60.2)
    assert not host.discards
    host.link.poll(60.25)
    assert host.discards[DiscardReason.STALL] == 1
