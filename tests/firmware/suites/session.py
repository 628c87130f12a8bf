"""Sessions with a bare link: opened, refused, repeated, and every byte that it sends."""

import struct

from helpers import module_world

from lensfw import link, outbox, sensor, wire

NONCE = 0x1234ABCD
HALF = 1 << 31
OTHER = 0x20  # a major version that this module does not speak
STOP = wire.encode(wire.T_STOP, (0,))


class Bare:
    """Stand in for a module, as a link sees it. A request waits until the test answers it."""

    manifest = b"manifest"

    def __init__(self):
        self.asked = []
        self.time = module_world.Time(12345)
        self.link = link.Link(self, self.time, 7, wire.RESET_WATCHDOG)

    def step(self):
        self.link.poll()

    def is_attached(self):
        return True

    def on_session_open(self):
        pass

    def on_session_end(self):
        pass

    def list_unstarted(self):
        return []

    def handle_request(self, kind, number, fields):
        del kind, fields
        self.asked.append(number)


def bare():
    """Return a bare module, its link, and its host."""
    module = Bare()
    return module, module.link, module_world.Peer(module, module.time, NONCE)


def opened():
    """Return the same with a session. The host has read the answer to its Hello."""
    module, end, host = bare()
    assert module_world.kinds(host.hello()) == [wire.T_HELLO_REPLY]
    return module, end, host


def exact(kind, sequence, number, values, tail=b"", nonce=NONCE):
    """Return a packet as the host reads it. Every field that is not an argument is 0."""
    data = module_world.make_packet(
        0x10, kind, nonce, sequence, number, wire.encode(kind, values, tail)
    )
    return struct.unpack(wire.HEADER, data[: wire.HEADER_BYTES]), data[wire.HEADER_BYTES :]


def test_a_refusal_shows_its_detail_as_any_exception_does():
    assert str(link.Refusal(wire.ERR_STATE, "not now")) == "not now"


def test_a_new_link_has_one_lane_no_capability_and_the_longest_payload():
    _, end, _ = bare()
    assert (end.lanes, end.max_lanes, end.max_payload) == (1, 1, wire.MAX_PAYLOAD)
    assert not any(end.has_capability(1 << bit) for bit in range(32))
    assert end.has_capability(wire.CAP_LOG) is False
    assert (end.take_packet(0), end.take_packet(1)) == (None, None)


# --- packets, to the byte -----------------------------------------------------------------


def test_the_answer_to_a_hello_names_version_lanes_and_manifest():
    _, end, host = bare()
    # Four lanes, all capabilities, payloads of 4096 bytes.
    said = host.send(wire.T_HELLO, 1, (0x10, 0x1F, 4, 0, 0xFFFF, 4096))
    both = wire.CAP_LOG | wire.CAP_RESEND | wire.CAP_EVENTS
    values = (0x10, 1, wire.RESET_WATCHDOG, 0, both, wire.MAX_CONTROL, 8, 7, 12345)
    assert said == [exact(wire.T_HELLO_REPLY, 0, 1, values)]
    assert (end.max_payload, end.lanes) == (4096, 1)
    assert end.has_capability(wire.CAP_LOG) is True


def test_a_heartbeat_and_a_query_are_answered_under_their_number():
    _, _, host = opened()
    said = host.send(wire.T_HEARTBEAT, 9, (5, 6, 7, 777))
    assert said == [exact(wire.T_HEARTBEAT_REPLY, 1, 9, (12345, 0, 0, 0, 0, 0, 0, 777, 12345))]
    said = host.send(wire.T_QUERY, 9, (NONCE, 1))
    assert said == [exact(wire.T_QUERY_REPLY, 2, 9, (wire.OUTCOME_DONE,))]


def test_a_request_that_waits_is_pending_when_repeated_and_is_executed_once():
    module, end, host = opened()
    assert host.send(wire.T_STOP, 2, (0,)) == []
    assert host.send(wire.T_STOP, 2, (0,)) == [exact(wire.T_PENDING, 1, 2, (1000,))]
    end.send_answer(2, wire.T_ACCEPTED, (0, 0, 3))
    assert host.turn() == [exact(wire.T_ACCEPTED, 2, 2, (0, 0, 3))]
    assert host.send(wire.T_STOP, 2, (0,)) == [exact(wire.T_ACCEPTED, 3, 2, (0, 0, 3))]
    assert module.asked == [2]


def test_an_ordered_answer_goes_out_once():
    _, end, host = opened()
    assert host.send(wire.T_STOP, 2, (0,)) == []
    end.send_answer(2, wire.T_ACCEPTED, (0, 0, 3), ordered=1)
    assert host.turn() == [exact(wire.T_ACCEPTED, 1, 2, (0, 0, 3))]


def test_a_request_half_of_all_numbers_back_counts_as_executed():
    module, _, host = opened()
    assert host.send(wire.T_STOP, 2, (0,)) == []
    assert host.send(wire.T_STOP, 2 + HALF, (0,)) == [
        exact(wire.T_ERROR, 1, 2 + HALF, (wire.ERR_REPEATED,), b"executed before")
    ]
    assert module.asked == [2]
    assert host.send(wire.T_STOP, 1 + HALF, (0,)) == []
    assert module.asked == [2, 1 + HALF]


def test_an_unrequested_message_names_neither_a_frame_nor_a_stream():
    _, end, host = opened()
    end.send_log(wire.LOG_INFO, "text")
    end.send_message(wire.T_NOTICE, (wire.NOTICE_RELEASE, 0, 0))
    end.send_pending(5, 700)
    assert host.collect() == [
        exact(wire.T_LOG, 1, 0, (wire.LOG_INFO, 0, 12345), b"text"),
        exact(wire.T_NOTICE, 2, 0, (wire.NOTICE_RELEASE, 0, 0)),
        exact(wire.T_PENDING, 3, 5, (700,)),
    ]


def test_the_farewell_takes_the_next_sequence_of_lane_0():
    _, end, host = opened()
    end.end_session(wire.CLOSE_DETACH)
    assert host.collect() == [exact(wire.T_CLOSE, 1, 0, (wire.CLOSE_DETACH,))]
    assert host.collect() == []


def test_a_send_filter_is_asked_for_each_packet_and_told_its_lane():
    _, end, host = opened()
    end.send_log(wire.LOG_INFO, "text")

    class Filter:
        def take_packet(self, lane):
            return "filter", lane

    end.send_filter = Filter()
    assert end.take_packet() == ("filter", 0)
    assert end.take_packet(3) == ("filter", 3)
    view, tile = end.take_unfiltered(0)
    assert (view[5], tile) == (wire.T_LOG, None)
    end.send_filter = None
    assert host.collect() == []


# --- frames and tiles ---------------------------------------------------------------------


def begun(host):
    """Return HeartbeatReply.begun of each stream."""
    said = host.send(wire.T_HEARTBEAT, 0, (0, 0, 0, 0))
    return list(module_world.only(said, wire.T_HEARTBEAT_REPLY)[4:7])


def test_frames_begun_are_counted_up_to_the_last_number_and_forgotten_with_the_session():
    _, end, host = opened()
    # Each frame, and the count after it. An older frame is sent again; the last ones have wrapped.
    for frame, count in (
        (6, 7), (4, 7), (0x7FFFFFFF, 0x80000000), (0xFFFFFFFE, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFD, 0xFFFFFFFF), (0, 1), (0xFFFFFFFE, 1), (1, 2),
    ):  # fmt: skip
        end.outbox.queue_data(outbox.Item(wire.T_FRAME_START, frame, 1, bytes(4)))
        host.turn()
        assert begun(host) == [0, count, 0], frame
    end.outbox.queue_data(outbox.Item(wire.T_FRAME_START, 2, 0, bytes(4)))
    host.turn()
    assert begun(host) == [3, 2, 0]
    host.send(wire.T_CLOSE, 0, (wire.CLOSE_ORDERLY,))
    host.hello()
    assert begun(host) == [0, 0, 0]


def test_a_tile_being_sent_is_not_free_although_its_session_ends():
    _, end, _ = opened()
    tiles = sensor.Tiles(16, 1, 1)
    tile = tiles.take()
    tile.length = 4
    tile.state = sensor.QUEUED
    end.outbox.queue_data(outbox.Item(wire.T_TILE, 0, 0, b"", tile))
    end.outbox.grant_credits([4, 0, 0])
    assert end.take_packet()[1] is tile
    tiles.forget_session()
    assert tiles.take() is None
    end.release_tile(tile)
    assert tiles.take() is tile


# --- sequences that damage has used up ----------------------------------------------------


def damaged(nonce, sequence):
    """Return a Stop with one bit of its payload changed."""
    data = bytearray(module_world.make_packet(0x10, wire.T_STOP, nonce, sequence, 2, STOP))
    data[wire.HEADER_BYTES] ^= 1
    return bytes(data)


def test_a_damaged_packet_uses_up_its_sequence_and_those_before_it():
    module, end, host = opened()
    host.raw(damaged(NONCE, 4))
    host.turn()
    host.send(wire.T_STOP, 2, (0,), sequence=4)
    assert module.asked == []
    assert end.discards["sequence"] == 1
    host.send(wire.T_STOP, 2, (0,), sequence=5)
    assert module.asked == [2]


def test_a_damaged_packet_of_another_session_or_of_none_uses_up_no_sequence():
    module, end, host = bare()
    host.raw(damaged(NONCE, 9))
    host.turn()
    host.hello()
    host.raw(damaged(NONCE + 1, 9))
    host.turn()
    host.send(wire.T_STOP, 2, (0,))
    assert module.asked == [2]
    assert "sequence" not in end.discards


def test_a_packet_that_stalls_behind_its_header_uses_up_its_sequence():
    module, end, host = opened()
    host.raw(module_world.make_packet(0x10, wire.T_STOP, NONCE, 4, 2, STOP)[:-1])
    host.turn()
    module.time.us += wire.STALL_MS * 1000
    host.turn()
    assert end.discards["stall"] == 1
    host.send(wire.T_STOP, 2, (0,), sequence=4)
    assert module.asked == []
    assert end.discards["sequence"] == 1


# --- a session, refused and repeated ------------------------------------------------------


def refuse(host, number=1):
    return host.hello(number, oldest=OTHER, newest=OTHER)


def test_a_hello_with_a_used_sequence_is_not_answered():
    _, end, host = opened()
    assert host.hello(2, sequence=0) == []
    assert end.discards == {"sequence": 1}


def test_a_refused_hello_is_told_the_versions_and_opens_nothing():
    module, end, host = bare()
    detail = b"this module speaks version 1"
    assert refuse(host) == [exact(wire.T_ERROR, 0, 1, (wire.ERR_VERSION,), detail)]
    assert host.send(wire.T_STOP, 2, (0,)) == []
    assert (module.asked, end.discards) == ([], {"nonce": 1})
    end.send_log(wire.LOG_INFO, "text")
    end.send_message(wire.T_NOTICE, (wire.NOTICE_RELEASE, 0, 0))
    assert host.collect() == []
    host.send(wire.T_CLOSE, 0, (wire.CLOSE_ORDERLY,))
    assert (end.nonce, end.discards) == (None, {"nonce": 1})


def test_packets_of_another_session_change_nothing():
    module, end, host = opened()
    for kind, payload in ((wire.T_STOP, STOP), (wire.T_CLOSE, bytes(4))):
        host.raw(module_world.make_packet(0x10, kind, NONCE + 1, 1, 2, payload))
        host.turn()
    assert (module.asked, end.nonce, end.discards) == ([], NONCE, {"nonce": 2})


def test_another_hello_in_an_open_session_is_answered_as_the_first_and_changes_nothing():
    module, end, host = opened()
    first = host.hello(1)[0][1]
    host.send(wire.T_STOP, 2, (0,))
    end.send_answer(2, wire.T_ACCEPTED, (0, 0, 0))
    host.turn()
    module.time.us += 1000
    # Late, with another id, of an unknown version, without a lane, and with other capabilities.
    for number, values in (
        (1, (0x10, 0x10, 4, 0, 0xFF, 4096)), (50, (0x10, 0x10, 4, 0, 0xFF, 4096)),
        (51, (OTHER, OTHER, 4, 0, 0xFF, 4096)), (52, (0x10, 0x10, 0, 0, 0, 0)),
    ):  # fmt: skip
        ((header, payload),) = host.send(wire.T_HELLO, number, values)
        assert (header[2], header[7], payload) == (wire.T_HELLO_REPLY, number, first)
    assert end.has_capability(wire.CAP_LOG) and end.max_payload == 4194304
    assert outcome(host, NONCE, 2) == wire.OUTCOME_DONE
    # The ids of these Hellos are not in the memory of requests.
    host.send(wire.T_STOP, 3, (0,))
    assert module.asked == [2, 3]
    end.send_answer(3, wire.T_ACCEPTED, (0, 0, 0))
    host.turn()


def test_a_malformed_hello_of_an_open_session_uses_up_its_sequence():
    _, end, host = opened()
    sequence = host.sequence
    assert host.send(wire.T_HELLO, 1, payload=b"\x0e\x00\x10") == []
    assert host.send(wire.T_STOP, 2, (0,), sequence=sequence) == []
    assert end.discards == {"malformed": 1, "sequence": 1}


def test_versions_that_share_a_major_and_no_minor_are_refused():
    for oldest, newest, spoken in (
        (0x11, 0x1F, None), (0x1F, 0x10, None), (0x00, 0x0F, None), (0x20, 0x2F, None),
        (0x10, 0x11, 0x10), (0x00, 0x2F, 0x10), (0x0F, 0x10, 0x10),
    ):  # fmt: skip
        for version in (0x10, 0x20):
            _, _, host = bare()
            # Only the range counts: a host of several major versions has to choose one header.
            ((header, payload),) = host.send(
                wire.T_HELLO, 1, (oldest, newest, 1, 0, 0, 4096), version=version
            )
            if spoken is None:
                assert header[2] == wire.T_ERROR, (oldest, newest)
                assert wire.decode(wire.T_ERROR, payload)[0] == wire.ERR_VERSION
            else:
                assert wire.decode(wire.T_HELLO_REPLY, payload)[0] == spoken


def test_a_malformed_close_ends_nothing():
    _, end, host = opened()
    for payload in (b"", b"\x03\x00", b"\x04\x00\x00"):
        host.send(wire.T_CLOSE, 0, payload=payload)
    assert (end.nonce, end.discards) == (NONCE, {"malformed": 3})
    host.send(wire.T_CLOSE, 0, payload=b"\x04\x00\x00\x07")
    assert end.nonce is None, "a newer minor version may append a field"


def outcome(host, nonce, request):
    return module_world.only(host.send(wire.T_QUERY, 0, (nonce, request)), wire.T_QUERY_REPLY)[0]


def test_an_open_session_is_remembered_and_a_refused_one_is_not():
    module, _, host = bare()
    refuse(host)
    second = module_world.Peer(module, module.time, NONCE + 1)
    second.hello()
    third = module_world.Peer(module, module.time, NONCE + 2)
    third.hello()
    assert outcome(third, NONCE, 2) == wire.OUTCOME_UNKNOWN
    assert outcome(third, NONCE + 1, 2) == wire.OUTCOME_NOT_DONE
    assert outcome(third, NONCE + 1, 1) == wire.OUTCOME_DONE


def test_of_two_sessions_with_one_nonce_the_newer_answers():
    _, end, host = opened()
    host.send(wire.T_STOP, 2, (0,))
    end.send_answer(2, wire.T_ACCEPTED, (0, 0, 0))
    host.turn()
    assert outcome(host, NONCE, 2) == wire.OUTCOME_DONE
    host.send(wire.T_CLOSE, 0, (wire.CLOSE_ORDERLY,))
    host.hello()
    assert outcome(host, NONCE, 2) == wire.OUTCOME_NOT_DONE
