"""The module's end of a link, to the byte: what mutants asked for beyond tests/firmware."""

from __future__ import annotations

import struct

from lab import world

from lensfw import framing, link, outbox, sensor, wire

NONCE = 0x1234ABCD
HALF = 1 << 31
OTHER = 0x20  # a major version that this module does not speak
STOP = wire.encode(wire.T_STOP, (0,))


class Bare:
    """As much of a module as a link sees. What it is asked waits until the test answers."""

    manifest = b"manifest"

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.time = world.Time(12345)
        self.link = link.Link(self, self.time, 7, wire.RESET_WATCHDOG)

    def step(self) -> None:
        self.link.poll()

    def attached(self) -> bool:
        return True

    def opened(self) -> None:
        pass

    def closed(self) -> None:
        pass

    def unbegun(self) -> list[int]:
        return []

    def request(self, kind: int, number: int, fields: tuple[int, ...]) -> None:
        del kind, fields
        self.asked.append(number)


def bare():
    """A module that only listens, its link, and its host."""
    module = Bare()
    return module, module.link, world.Peer(module, module.time, NONCE)


def opened():
    """The same, and what was said to the host's Hello has been heard."""
    module, end, host = bare()
    assert world.kinds(host.hello()) == [wire.T_HELLO_REPLY]
    return module, end, host


def exact(kind, sequence, number, values, tail=b"", nonce=NONCE):
    """A packet as the host hears it, in which all that is not named here is 0."""
    data = world.seal(0x10, kind, nonce, sequence, number, wire.encode(kind, values, tail))
    return struct.unpack(wire.HEADER, data[: wire.HEADER_BYTES]), data[wire.HEADER_BYTES :]


def test_a_refusal_tells_its_detail_as_any_exception():
    assert str(link.Refusal(wire.ERR_STATE, "not now")) == "not now"


def test_before_any_hello_there_is_one_lane_no_capability_and_no_shorter_payload():
    _, end, _ = bare()
    assert (end.lanes, end.lanes_offered, end.max_payload) == (1, 1, wire.MAX_PAYLOAD)
    assert not any(end.has(1 << bit) for bit in range(32))
    assert end.has(wire.CAP_LOG) is False
    assert (end.next_packet(0), end.next_packet(1)) == (None, None)


# --- packets, to the byte -----------------------------------------------------------------


def test_the_answer_to_a_hello():
    _, end, host = bare()
    # Four lanes, all capabilities, payloads of 4096 bytes.
    said = host.send(wire.T_HELLO, 1, (0x10, 0x1F, 4, 0, 0xFFFF, 4096))
    both = wire.CAP_LOG | wire.CAP_RESEND
    values = (0x10, 1, wire.RESET_WATCHDOG, 0, both, wire.MAX_CONTROL, 8, 7, 12345)
    assert said == [exact(wire.T_HELLO_REPLY, 0, 1, values)]
    assert (end.max_payload, end.lanes) == (4096, 1)
    assert end.has(wire.CAP_LOG) is True


def test_the_answers_to_a_heartbeat_and_a_query():
    _, _, host = opened()
    said = host.send(wire.T_HEARTBEAT, 9, (5, 6))
    assert said == [exact(wire.T_HEARTBEAT_REPLY, 1, 9, (12345, 0, 0, 0, 0))]
    said = host.send(wire.T_QUERY, 9, (NONCE, 1))
    assert said == [exact(wire.T_QUERY_REPLY, 2, 9, (wire.FATE_DONE,))]


def test_a_request_that_waits_is_pending_when_it_is_asked_again_and_is_done_once():
    module, end, host = opened()
    assert host.send(wire.T_STOP, 2, (0,)) == []
    assert host.send(wire.T_STOP, 2, (0,)) == [exact(wire.T_PENDING, 1, 2, (1000,))]
    end.answer(2, wire.T_ACCEPTED, (0, 0, 3))
    assert host.turn() == [exact(wire.T_ACCEPTED, 2, 2, (0, 0, 3))]
    assert host.send(wire.T_STOP, 2, (0,)) == [exact(wire.T_ACCEPTED, 3, 2, (0, 0, 3))]
    assert module.asked == [2]


def test_an_answer_behind_all_data():
    _, end, host = opened()
    assert host.send(wire.T_STOP, 2, (0,)) == []
    end.answer(2, wire.T_ACCEPTED, (0, 0, 3), ordered=True)
    assert host.turn() == [exact(wire.T_ACCEPTED, 1, 2, (0, 0, 3))]


def test_a_request_from_half_of_all_numbers_back_was_executed_before():
    module, _, host = opened()
    assert host.send(wire.T_STOP, 2, (0,)) == []
    assert host.send(wire.T_STOP, 2 + HALF, (0,)) == [
        exact(wire.T_ERROR, 1, 2 + HALF, (wire.ERR_REPEATED,), b"executed before")
    ]
    assert module.asked == [2]
    assert host.send(wire.T_STOP, 1 + HALF, (0,)) == []
    assert module.asked == [2, 1 + HALF]


def test_what_nobody_asked_for_has_neither_a_frame_nor_a_stream():
    _, end, host = opened()
    end.log(wire.LOG_INFO, "text")
    end.tell(wire.T_NOTICE, (wire.NOTICE_RELEASE, 0, 0))
    end.postpone(5, 700)
    assert host.collect() == [
        exact(wire.T_LOG, 1, 0, (wire.LOG_INFO, 0, 12345), b"text"),
        exact(wire.T_NOTICE, 2, 0, (wire.NOTICE_RELEASE, 0, 0)),
        exact(wire.T_PENDING, 3, 5, (700,)),
    ]


def test_the_last_word_of_a_session_is_the_next_of_its_first_lane():
    _, end, host = opened()
    end.end(wire.CLOSE_DETACH)
    assert host.collect() == [exact(wire.T_CLOSE, 1, 0, (wire.CLOSE_DETACH,))]
    assert host.collect() == []


def test_what_stands_at_the_gate_is_asked_for_each_packet_and_its_lane():
    _, end, host = opened()
    end.log(wire.LOG_INFO, "text")

    class Gate:
        def next_packet(self, lane: int) -> tuple[str, int]:
            return "gate", lane

    end.gate = Gate()
    assert end.next_packet() == ("gate", 0)
    assert end.next_packet(3) == ("gate", 3)
    view, tile = end.sealed(0)
    assert (view[5], tile) == (wire.T_LOG, None)
    end.gate = None
    assert host.collect() == []


# --- frames and tiles ---------------------------------------------------------------------


def begun(host):
    """What a heartbeat tells of the frames begun, by stream."""
    _, _, _, *numbers = world.only(host.send(wire.T_HEARTBEAT, 0, (0, 0)), wire.T_HEARTBEAT_REPLY)
    return numbers


def test_the_frames_begun_are_told_up_to_the_last_number_and_forgotten_with_the_session():
    _, end, host = opened()
    for frame in (6, 0xFFFFFFFF, 4):
        end.outbox.data(outbox.Item(wire.T_FRAME_START, frame, 1, bytes(4)))
        host.turn()
    end.outbox.data(outbox.Item(wire.T_FRAME_START, 2, 0, bytes(4)))
    host.turn()
    assert begun(host) == [3, 0xFFFFFFFF]
    host.send(wire.T_CLOSE, 0, (wire.CLOSE_ORDERLY,))
    host.hello()
    assert begun(host) == [0, 0]


def test_a_tile_on_its_way_is_not_taken_again_though_its_session_ends():
    _, end, _ = opened()
    tiles = sensor.Tiles(16, 1, 1)
    tile = tiles.take()
    tile.length = 4
    tile.state = sensor.QUEUED
    end.outbox.data(outbox.Item(wire.T_TILE, 0, 0, b"", tile))
    end.outbox.grant([4, 0])
    assert end.next_packet()[1] is tile
    tiles.forget()
    assert tiles.take() is None
    end.sent(tile)
    assert tiles.take() is tile


# --- sequences that damage has used up ----------------------------------------------------


def damaged(nonce, sequence):
    """A Stop of which a bit has changed in the payload."""
    data = bytearray(world.seal(0x10, wire.T_STOP, nonce, sequence, 2, STOP))
    data[wire.HEADER_BYTES] ^= 1
    return bytes(data)


def test_a_damaged_packet_has_used_up_its_sequence():
    module, end, host = opened()
    host.raw(damaged(NONCE, 4))
    host.turn()
    host.send(wire.T_STOP, 2, (0,), sequence=4)
    assert module.asked == []
    assert end.rejects["sequence"] == 1
    host.send(wire.T_STOP, 2, (0,), sequence=5)
    assert module.asked == [2]


def test_a_damaged_packet_of_another_session_has_not():
    module, end, host = bare()
    host.raw(damaged(NONCE, 9))
    host.turn()
    host.hello()
    host.raw(damaged(NONCE + 1, 9))
    host.turn()
    host.send(wire.T_STOP, 2, (0,))
    assert module.asked == [2]
    assert "sequence" not in end.rejects


def test_a_packet_that_stalls_behind_its_header_has_used_up_its_sequence():
    module, end, host = opened()
    host.raw(world.seal(0x10, wire.T_STOP, NONCE, 4, 2, STOP)[:-1])
    host.turn()
    module.time.us += wire.STALL_MS * 1000
    host.turn()
    assert end.rejects["stall"] == 1
    host.send(wire.T_STOP, 2, (0,), sequence=4)
    assert module.asked == []
    assert end.rejects["sequence"] == 1


def spent(data):
    """Sequences that a receiver calls used up for *data*, then silence; and the rejects."""
    found: list[int] = []
    rejects: dict[str, int] = {}
    receiver = framing.Receiver(rejects, lambda header: found.append(header[6]))
    receiver.space()[: len(data)] = data
    receiver.received(len(data), 0)
    for now in (0, wire.STALL_MS * 1000):
        while receiver.next(now) is not None:
            pass
    return found, rejects


def test_a_receiver_tells_of_sound_headers_only():
    sound = world.seal(0x10, wire.T_STOP, NONCE, 4, 2, STOP)
    assert spent(sound) == ([], {})
    assert spent(damaged(NONCE, 5) + sound)[0] == [5]
    assert spent(sound + sound[:-1])[0] == [4]
    # Of a header that is cut or damaged nothing is known.
    assert spent(sound[:30])[0] == []
    assert spent(sound[:20] + b"?" + sound[21:])[0] == []


def test_a_receiver_that_nobody_asked_to_tell_goes_on():
    receiver = framing.Receiver({})
    sound = world.seal(0x10, wire.T_STOP, NONCE, 5, 2, STOP)
    data = damaged(NONCE, 4) + sound
    receiver.space()[: len(data)] = data
    receiver.received(len(data), 0)
    header, payload = receiver.next(0)
    assert (header[6], bytes(payload)) == (5, STOP)


# --- noise and stalls, when they are counted -----------------------------------------------


def rejects(data, now=0):
    """What a receiver counts for *data* when it is asked once, at that time."""
    found: dict[str, int] = {}
    receiver = framing.Receiver(found)
    receiver.space()[: len(data)] = data
    receiver.received(len(data), 0)
    assert receiver.next(now) is None
    return found


def test_a_fourth_byte_is_noise_and_three_may_be_the_beginning_of_a_packet():
    assert rejects(b"noi") == {}
    assert rejects(b"nois") == {"noise": 1}


def test_what_has_stalled_is_given_up_at_once_to_the_byte_behind_its_first():
    late = wire.STALL_MS * 1000
    assert rejects(wire.MAGIC, late) == {"stall": 1}
    assert rejects(wire.MAGIC + b"?", late) == {"stall": 1, "noise": 1}
    # Another beginning inside it has waited as long.
    assert rejects(wire.MAGIC + wire.MAGIC, late) == {"stall": 2, "noise": 1}


class Long:
    """A tile that is longer than any is, as far as an outbox sees it."""

    length = 1 << 28


def test_half_a_gigabyte_goes_out_between_two_grants_and_no_more():
    """A module's small integers have 31 bits: a budget within them is computed without memory."""
    box = outbox.Outbox()
    for frame in range(3):
        box.data(outbox.Item(wire.T_TILE, frame, 0, b"", Long()))
    box.grant([1 << 40, 0])
    assert [box.next(0).frame, box.next(0).frame, box.next(0)] == [0, 1, None]
    box.grant([1 << 40, 0])
    assert box.next(0).frame == 2


# --- a session, refused and repeated -------------------------------------------------------


def refuse(host, number=1):
    return host.hello(number, oldest=OTHER, newest=OTHER)


def test_a_hello_with_a_sequence_that_was_used_is_counted():
    _, end, host = opened()
    assert host.hello(2, sequence=0) == []
    assert end.rejects == {"sequence": 1}


def test_a_refused_hello_opens_nothing():
    module, end, host = bare()
    detail = b"this module speaks version 1"
    assert refuse(host) == [exact(wire.T_ERROR, 0, 1, (wire.ERR_VERSION,), detail)]
    assert host.send(wire.T_STOP, 2, (0,)) == []
    assert (module.asked, end.rejects) == ([], {"nonce": 1})
    end.log(wire.LOG_INFO, "text")
    end.tell(wire.T_NOTICE, (wire.NOTICE_RELEASE, 0, 0))
    assert host.collect() == []
    host.send(wire.T_CLOSE, 0, (wire.CLOSE_ORDERLY,))
    assert (end.nonce, end.rejects) == (None, {"nonce": 1})


def test_a_packet_of_another_session_is_none_of_this_one():
    module, end, host = opened()
    for kind, payload in ((wire.T_STOP, STOP), (wire.T_CLOSE, bytes(4))):
        host.raw(world.seal(0x10, kind, NONCE + 1, 1, 2, payload))
        host.turn()
    assert (module.asked, end.nonce, end.rejects) == ([], NONCE, {"nonce": 2})


def test_a_refused_hello_takes_what_the_one_before_gave_and_the_next_gives_it_again():
    module, end, host = opened()
    assert end.has(wire.CAP_LOG)
    assert world.kinds(refuse(host, 2)) == [wire.T_ERROR]
    assert not any(end.has(1 << bit) for bit in range(32))
    assert world.kinds(host.hello(3)) == [wire.T_HELLO_REPLY]
    assert end.has(wire.CAP_LOG)
    host.send(wire.T_STOP, 4, (0,))
    assert module.asked == [4]


def fate(host, nonce, request):
    return world.only(host.send(wire.T_QUERY, 0, (nonce, request)), wire.T_QUERY_REPLY)[0]


def test_a_session_that_was_refused_is_not_remembered_and_one_that_was_open_is():
    module, _, host = bare()
    refuse(host)
    second = world.Peer(module, module.time, NONCE + 1)
    second.hello()
    third = world.Peer(module, module.time, NONCE + 2)
    third.hello()
    assert fate(third, NONCE, 2) == wire.FATE_UNKNOWN
    assert fate(third, NONCE + 1, 2) == wire.FATE_NOT_DONE
    assert fate(third, NONCE + 1, 1) == wire.FATE_DONE


def test_where_a_nonce_comes_twice_the_newer_session_answers():
    _, end, host = opened()
    host.send(wire.T_STOP, 2, (0,))
    end.answer(2, wire.T_ACCEPTED, (0, 0, 0))
    host.turn()
    assert fate(host, NONCE, 2) == wire.FATE_DONE
    host.send(wire.T_CLOSE, 0, (wire.CLOSE_ORDERLY,))
    host.hello()
    assert fate(host, NONCE, 2) == wire.FATE_NOT_DONE
