"""The module's end of the link: sessions, requests, and the order of packets."""

import struct

from helpers import module_world

from lensfw import contacts, wire

NONCE = 0x1234ABCD


def session():
    """Return a seated module with a session, and its host."""
    camera, ports, time = module_world.camera()
    host = module_world.Peer(camera, time)
    said = host.hello()
    assert module_world.kinds(said) == [wire.T_HELLO_REPLY, wire.T_LOG]
    host.grant()
    return camera, host, ports, time


def code(said):
    return module_world.only(said, wire.T_ERROR)[0]


def test_the_hello_is_answered_with_its_nonce_and_request_id():
    camera, _, time = module_world.camera()
    host = module_world.Peer(camera, time, nonce=0xDEADBEEF)
    time.us = 123456789
    header, payload = host.hello(number=77)[0]
    assert header[2] == wire.T_HELLO_REPLY
    assert header[5] == 0xDEADBEEF
    assert header[6] == 0
    assert header[7] == 77
    fields = wire.decode(wire.T_HELLO_REPLY, payload)
    manifest = len(camera.manifest)
    both = wire.CAP_LOG | wire.CAP_RESEND
    assert fields == (0x10, 1, 1, 0, both, wire.MAX_CONTROL, manifest, 7, 123456789)


def test_a_repeated_hello_gets_the_same_answer_and_opens_nothing():
    camera, host, _, time = session()
    first = wire.decode(wire.T_HELLO_REPLY, host.heard[0][1])
    time.us += 100000
    said = host.hello()
    assert module_world.kinds(said) == [wire.T_HELLO_REPLY]
    assert wire.decode(wire.T_HELLO_REPLY, said[0][1]) == first
    assert said[0][0][6] == 3, "a fresh sequence"


def test_a_hello_is_not_answered_before_the_module_is_seated():
    camera, ports, time = module_world.camera()
    host = module_world.Peer(camera, time)
    ports.events.append((ports.CONTACT, contacts.DETECT_PIN, 0))
    host.turn()
    time.us += contacts.SETTLE_US
    assert host.hello() == []
    assert camera.contacts.state == contacts.HALF_SEATED
    ports.events.append((ports.CONTACT, contacts.DETECT_PIN, 1))
    host.turn()
    time.us += contacts.SETTLE_US
    assert host.hello() != []


def test_a_hello_is_not_answered_without_power():
    camera, _, time = module_world.camera()
    camera.power.is_good = False
    assert module_world.Peer(camera, time).hello() == []


def test_a_new_nonce_is_a_new_session_and_ends_the_old_one():
    camera, host, _, time = session()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    assert camera.streams[0].state != 0
    other = module_world.Peer(camera, time, nonce=0x55555555)
    said = other.hello()
    assert said[0][0][5] == 0x55555555
    assert said[0][0][6] == 0, "its sequence begins anew"
    assert camera.streams[0].state == 0
    assert host.send(wire.T_FLUSH, 3) == []
    assert camera.link.discards == {"nonce": 1}


def test_nothing_of_the_old_session_follows_a_new_hello():
    camera, host, _, time = session()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    # Frames are queued, and an answer is not yet sent, when another host says hello.
    host.raw(module_world.make_packet(0x10, wire.T_CAPTURE, NONCE, host.sequence, 3,
                        wire.encode(wire.T_CAPTURE, (0, 0, 2))))  # fmt: skip
    camera.step()
    other = module_world.Peer(camera, time, nonce=0x55555555)
    for header, _ in other.hello():
        assert header[5] == 0x55555555
        assert header[2] in (wire.T_HELLO_REPLY, wire.T_LOG)
    # Every tile is free again.
    assert camera.tiles.take() is not None and camera.tiles.take() is not None


def test_without_a_session_requests_are_rejected():
    camera, _, time = module_world.camera()
    host = module_world.Peer(camera, time)
    assert host.send(wire.T_FLUSH, 2) == []
    assert camera.link.discards == {"nonce": 1}


def test_another_major_version_in_the_header_is_refused_clearly():
    camera, _, time = module_world.camera()
    said = module_world.Peer(camera, time).hello(version=0x20, oldest=0x20, newest=0x2F)
    assert code(said) == wire.ERR_VERSION


def test_a_refused_hello_opens_no_session():
    camera, _, time = module_world.camera()
    before = module_world.Peer(camera, time, nonce=0x11111111)
    before.hello()
    before.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    host = module_world.Peer(camera, time)
    assert code(host.hello(oldest=0x20, newest=0x2F)) == wire.ERR_VERSION
    camera.link.send_message(wire.T_NOTICE, (wire.NOTICE_RELEASE, 0, 0))
    camera.link.send_log(wire.LOG_ERROR, "nobody reads this")
    assert host.turn() == []
    assert host.send(wire.T_GET_MANIFEST, 2, (0,)) == []
    assert host.grant() == []
    assert host.send(wire.T_QUERY, 3, (0x11111111, 2)) == []
    assert camera.link.discards == {"nonce": 3}
    assert code(host.hello(oldest=0x20, newest=0x2F)) == wire.ERR_VERSION, "asked again"
    assert host.send(wire.T_CLOSE, 0, (0,)) == []
    assert camera.link.nonce is None
    # It has pushed nothing out of what is remembered of sessions.
    for nonce in (0x22222222, 0x33333333):
        module_world.Peer(camera, time, nonce=nonce).hello(oldest=0x20, newest=0x2F)
    after = module_world.Peer(camera, time, nonce=0x44444444)
    after.hello()
    said = after.send(wire.T_QUERY, 2, (0x11111111, 2))
    assert module_world.only(said, wire.T_QUERY_REPLY) == (wire.OUTCOME_DONE,)


def test_the_same_nonce_may_be_offered_again_with_a_version_that_is_spoken():
    camera, _, time = module_world.camera()
    host = module_world.Peer(camera, time)
    assert code(host.hello(number=1, oldest=0x20, newest=0x2F)) == wire.ERR_VERSION
    assert module_world.kinds(host.hello(number=2))[0] == wire.T_HELLO_REPLY
    assert module_world.kinds(host.send(wire.T_GET_MANIFEST, 3, (0,))) == [wire.T_MANIFEST]


def test_a_damaged_packet_has_used_up_its_sequence():
    camera, host, _, time = session()
    sequence = host.sequence
    sound = module_world.make_packet(0x10, wire.T_GET_MANIFEST, NONCE, sequence, 2,
                       wire.encode(wire.T_GET_MANIFEST, (0,)))  # fmt: skip
    host.raw(sound[:-1] + bytes([sound[-1] ^ 1]))
    assert host.turn() == []
    assert host.send(wire.T_GET_MANIFEST, 2, (0,), sequence=sequence) == []
    assert camera.link.discards.pop("noise") >= 1
    assert camera.link.discards == {"payload_crc": 1, "sequence": 1}
    assert module_world.kinds(host.send(wire.T_GET_MANIFEST, 2, (0,), sequence=sequence + 1)) == [
        wire.T_MANIFEST
    ]


def test_a_damaged_packet_of_another_session_uses_up_nothing():
    camera, host, _, time = session()
    sequence = host.sequence
    stranger = module_world.make_packet(0x10, wire.T_GET_MANIFEST, NONCE ^ 1, sequence + 5, 2,
                          wire.encode(wire.T_GET_MANIFEST, (0,)))  # fmt: skip
    host.raw(stranger[:-1] + bytes([stranger[-1] ^ 1]))
    host.turn()
    assert module_world.kinds(host.send(wire.T_GET_MANIFEST, 2, (0,))) == [wire.T_MANIFEST]


def test_no_common_version_is_refused_clearly():
    for oldest, newest in ((0x00, 0x0F), (0x20, 0x2F)):
        camera, _, time = module_world.camera()
        said = module_world.Peer(camera, time).hello(oldest=oldest, newest=newest)
        assert code(said) == wire.ERR_VERSION
        header, payload = said[0]
        assert b"version 1" in wire.decode(wire.T_ERROR, payload)[1]


def test_the_older_minor_is_spoken():
    for newest, spoken in ((0x10, 0x10), (0x1F, 0x10), (0x2F, 0x10)):
        camera, _, time = module_world.camera()
        said = module_world.Peer(camera, time).hello(oldest=0x00, newest=newest)
        assert module_world.only(said, wire.T_HELLO_REPLY)[0] == spoken


def test_a_malformed_hello_opens_nothing():
    camera, _, time = module_world.camera()
    host = module_world.Peer(camera, time)
    assert host.send(wire.T_HELLO, 1, payload=b"\x0e\x00\x10") == []
    assert camera.link.discards == {"malformed": 1}
    assert camera.link.nonce is None


def test_a_repeated_request_is_not_executed_twice():
    camera, host, ports, time = session()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    said = host.send(wire.T_CAPTURE, 3, (0, 0, 1))
    first = module_world.only(said, wire.T_ACCEPTED)
    for _ in range(10):
        host.turn()
    again = host.send(wire.T_CAPTURE, 3, (0, 0, 1))
    assert module_world.only(again, wire.T_ACCEPTED) == first
    for _ in range(10):
        host.turn()
    assert module_world.kinds(host.heard).count(wire.T_FRAME_START) == 1
    assert len([call for call in ports.calls if call[0] == "request_rows"]) == 1


def test_a_repeated_refusal_is_the_same():
    camera, host, _, _ = session()
    first = host.send(wire.T_CAPTURE, 3, (0, 0, 1))
    again = host.send(wire.T_CAPTURE, 3, (0, 0, 1))
    assert code(first) == wire.ERR_STATE
    assert first[0][1] == again[0][1]


def test_a_request_asked_again_before_its_ordered_answer_left_is_answered_once():
    camera, host, _, time = session()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    host.send(wire.T_STREAM, 3, (0, 0, 0, 0))
    for sequence in (host.sequence, host.sequence + 1):
        host.raw(
            module_world.make_packet(
                0x10, wire.T_STOP, NONCE, sequence, 4, wire.encode(wire.T_STOP, (0,))
            )
        )
    said = host.turn()
    assert module_world.kinds(said).count(wire.T_ACCEPTED) == 1
    assert module_world.kinds(said)[-1] == wire.T_ACCEPTED


def test_the_last_four_answers_are_kept_and_older_requests_refused():
    camera, host, _, _ = session()
    for number in range(2, 12):
        assert module_world.kinds(host.send(wire.T_GET_MANIFEST, number, (0,))) == [wire.T_MANIFEST]
    for number in (8, 9, 10, 11):
        assert module_world.kinds(host.send(wire.T_GET_MANIFEST, number, (0,))) == [wire.T_MANIFEST]
    for number in (1, 2, 7):
        assert code(host.send(wire.T_FLUSH, number)) == wire.ERR_REPEATED
    assert module_world.kinds(host.send(wire.T_GET_MANIFEST, 12, (0,))) == [wire.T_MANIFEST]


def test_request_ids_may_wrap():
    camera, host, _, _ = session()
    for number in (0x7FFFFFFF, 0xFFFFFFFE, 0, 2):
        assert module_world.kinds(host.send(wire.T_FLUSH, number)) == [wire.T_FLUSHED]
    for number in range(3, 7):
        host.send(wire.T_GET_MANIFEST, number, (0,))
    assert code(host.send(wire.T_FLUSH, 0xFFFFFFFE)) == wire.ERR_REPEATED


def test_a_request_that_is_under_way_is_pending():
    camera, host, _, _ = session()
    # A handler that answers later.
    camera.handle_request = lambda kind, number, fields: None
    assert host.send(wire.T_STOP, 2, (0,)) == []
    assert module_world.only(host.send(wire.T_STOP, 2, (0,)), wire.T_PENDING) == (1000,)
    camera.link.send_answer(2, wire.T_ACCEPTED, (0, 0, 5))
    assert module_world.kinds(host.turn()) == [wire.T_ACCEPTED]
    assert module_world.kinds(host.send(wire.T_STOP, 2, (0,))) == [wire.T_ACCEPTED]


def test_a_repeated_sequence_is_rejected():
    camera, host, _, _ = session()
    sequence = host.sequence
    assert host.send(wire.T_GET_MANIFEST, 2, (0,))
    for old in (sequence, sequence - 1, (sequence - (1 << 31)) & 0xFFFFFFFF):
        assert host.send(wire.T_GET_MANIFEST, 3, (0,), sequence=old) == []
    assert camera.link.discards == {"sequence": 3}
    assert host.send(wire.T_GET_MANIFEST, 4, (0,), sequence=sequence + 1000)


def test_the_hosts_sequence_may_wrap():
    camera, _, time = module_world.camera()
    host = module_world.Peer(camera, time)
    host.sequence = 0xFFFFFFFF
    assert host.hello()
    assert host.sequence == 0
    assert host.send(wire.T_GET_MANIFEST, 2, (0,))
    assert host.send(wire.T_GET_MANIFEST, 3, (0,))
    assert camera.link.discards == {}


def test_the_modules_sequence_counts_and_wraps():
    camera, host, _, _ = session()
    assert [header[6] for header, _ in host.heard] == [0, 1, 2]
    camera.link._tx[0] = 0xFFFFFFFF
    first = host.send(wire.T_GET_MANIFEST, 2, (0,))
    second = host.send(wire.T_GET_MANIFEST, 3, (0,))
    assert [first[0][0][6], second[0][0][6]] == [0xFFFFFFFF, 0]


def test_malformed_requests_are_refused():
    for kind in (wire.T_GET_MANIFEST, wire.T_CONFIGURE, wire.T_CAPTURE, wire.T_STREAM, wire.T_STOP):
        sound = wire.encode(kind, (0,) * (len(wire.FORMATS[kind][0]) - 1))
        for payload in (
            b"",
            sound[:-1],  # short
            b"\x01" + bytes(sound[1:]),  # a size below the least
            b"\xff" + bytes(sound[1:]),  # a size beyond the payload
        ):
            camera, host, _, _ = session()
            assert code(host.send(kind, 2, payload=payload)) == wire.ERR_MALFORMED
            assert camera.link.discards == {"malformed": 1}


def test_fields_that_a_newer_minor_appends_are_skipped():
    camera, host, _, _ = session()
    payload = struct.pack("<HIQ", 14, 0, 99)
    assert module_world.kinds(host.send(wire.T_GET_MANIFEST, 2, payload=payload)) == [
        wire.T_MANIFEST
    ]


def test_an_unknown_request_is_refused_and_counted():
    camera, host, _, _ = session()
    for number, kind in ((2, 0x3F), (3, 0xDF)):
        assert code(host.send(kind, number, payload=b"what")) == wire.ERR_UNKNOWN_REQUEST
    assert camera.link.discards == {"unknown_type": 2}


def test_the_modules_own_messages_are_no_requests():
    camera, host, _, _ = session()
    said = host.send(wire.T_ACCEPTED, 2, (0, 0, 0))
    assert code(said) == wire.ERR_UNKNOWN_REQUEST


def test_vendor_messages_are_skipped():
    camera, host, _, _ = session()
    for kind in (wire.VENDOR_FIRST, 0xFF):
        assert host.send(kind, 9, payload=b"anything") == []
    assert camera.link.discards == {}


def test_the_manifest_comes_in_pieces():
    camera, host, _, _ = session()
    camera.manifest = bytes(range(256)) * 9 + b"end"
    out = b""
    number = 2
    while len(out) < len(camera.manifest):
        said = host.send(wire.T_GET_MANIFEST, number, (len(out),))
        offset, total, piece = module_world.only(said, wire.T_MANIFEST)
        assert (offset, total) == (len(out), len(camera.manifest))
        assert len(said[0][1]) <= wire.MAX_CONTROL
        assert piece
        out += piece
        number += 1
    assert out == camera.manifest
    assert number - 2 == 3
    assert code(host.send(wire.T_GET_MANIFEST, 99, (len(out),))) == wire.ERR_UNSUPPORTED


def test_logs_are_bounded_and_the_rest_is_counted():
    camera, host, _, _ = session()
    for line in range(100):
        camera.link.send_log(wire.LOG_INFO, "line %d" % line)
    said = host.turn()
    assert module_world.kinds(said) == [wire.T_LOG] * 32
    assert camera.link.dropped_logs == 68
    level, _, _, text = wire.decode(wire.T_LOG, said[0][1])
    assert (level, text) == (wire.LOG_INFO, b"line 0")


def test_a_log_line_is_cut():
    camera, host, _, _ = session()
    camera.link.send_log(wire.LOG_INFO, "x" * 5000)
    assert len(module_world.only(host.turn(), wire.T_LOG)[3]) == 200


def test_a_host_that_wants_no_logs_gets_none():
    camera, _, time = module_world.camera()
    host = module_world.Peer(camera, time)
    said = host.send(wire.T_HELLO, 1, (0x10, 0x10, 1, 0, 0, 4194304))
    assert module_world.kinds(said) == [wire.T_HELLO_REPLY]
    assert module_world.only(said, wire.T_HELLO_REPLY)[4] == 0
    camera.link.send_log(wire.LOG_ERROR, "nobody reads this")
    assert host.turn() == []


def test_without_a_session_nothing_is_logged():
    camera, _, time = module_world.camera()
    camera.link.send_log(wire.LOG_ERROR, "nobody reads this")
    assert module_world.Peer(camera, time).turn() == []


def test_control_overtakes_data_but_not_inside_a_packet():
    camera, host, _, time = session()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    host.raw(module_world.make_packet(0x10, wire.T_CAPTURE, NONCE, host.sequence, 3,
                        wire.encode(wire.T_CAPTURE, (0, 0, 1))))  # fmt: skip
    host.sequence += 1
    camera.step()
    host.raw(module_world.make_packet(0x10, wire.T_GET_MANIFEST, NONCE, host.sequence, 4,
                        wire.encode(wire.T_GET_MANIFEST, (0,))))  # fmt: skip
    said = module_world.kinds(host.turn())
    assert said.index(wire.T_MANIFEST) < said.index(wire.T_FRAME_START) < said.index(wire.T_TILE)


def test_proof_of_life():
    camera, host, _, time = session()
    time.us += 5000000
    said = host.grant()
    uptime, *counts = module_world.only(said, wire.T_HEARTBEAT_REPLY)[:7]
    assert uptime == time.us
    assert counts == [0, 0, 0, 0, 0, 0]
    host.send(wire.T_CONFIGURE, 2, (1, 0, 1, 0, 0))
    host.send(wire.T_CAPTURE, 3, (1, 0, 2))
    for _ in range(20):
        host.turn()
    assert module_world.only(host.grant(), wire.T_HEARTBEAT_REPLY)[1:7] == (0, 1024, 0, 0, 2, 0)


def test_a_heartbeat_is_no_request():
    camera, host, _, _ = session()
    host.send(wire.T_GET_MANIFEST, 2, (0,))
    for _ in range(10):
        host.grant()
    assert camera.link.last_request == 2
    assert module_world.kinds(host.send(wire.T_GET_MANIFEST, 2, (0,))) == [wire.T_MANIFEST]


def test_a_malformed_heartbeat_grants_nothing():
    camera, host, _, _ = session()
    assert host.send(wire.T_HEARTBEAT, 0, payload=b"\x22\x00" + bytes(31)) == []
    assert camera.link.discards == {"malformed": 1}


def test_unrequested_messages_are_sent_in_a_session_only():
    camera, host, _, time = session()
    camera.link.send_message(wire.T_BUSY, (wire.BUSY_FLASH, 0, 500))
    assert module_world.only(host.turn(), wire.T_BUSY) == (wire.BUSY_FLASH, 0, 500)
    camera.link.end_session()
    camera.link.send_message(wire.T_NOTICE, (wire.NOTICE_RELEASE, 0, 0))
    assert host.turn() == []


def test_flushed_comes_after_the_last_data_and_says_so():
    camera, host, _, time = session()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    host.send(wire.T_STREAM, 3, (0, 0, 0, 0))
    said = host.send(wire.T_FLUSH, 4)
    assert module_world.kinds(said)[-2:] == [wire.T_FRAME_END, wire.T_FLUSHED]
    lanes, _, last, sequence, second, third, fourth = module_world.only(said, wire.T_FLUSHED)
    assert lanes == 1
    assert last == 3, "the request before the flush"
    assert sequence == said[-2][0][6] == said[-1][0][6] - 1
    assert (second, third, fourth) == (0xFFFFFFFF,) * 3, "lanes that carried nothing"
    for _ in range(10):
        time.us += 10000
        assert host.turn() == []


def test_a_repeated_flush_is_answered_again():
    camera, host, _, _ = session()
    first = module_world.only(host.send(wire.T_FLUSH, 2), wire.T_FLUSHED)
    again = module_world.only(host.send(wire.T_FLUSH, 2), wire.T_FLUSHED)
    assert again[:3] == first[:3]
    assert again[3] == first[3] + 1


def test_the_frames_end_names_the_packet_before_it():
    camera, host, _, _ = session()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    host.send(wire.T_CAPTURE, 3, (0, 0, 1))
    for _ in range(10):
        host.turn()
    data = [(header, payload) for header, payload in host.heard if header[2] >= wire.T_FRAME_START]
    data = [item for item in data if item[0][2] < wire.T_LOG]
    end = wire.decode(wire.T_FRAME_END, data[-1][1])
    assert end[4] == data[-2][0][6]
    assert end[2] == len(data) - 2 == 4, "tiles"


def test_crcs_hold_for_every_packet():
    import binascii

    camera, host, _, _ = session()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    host.send(wire.T_CAPTURE, 3, (0, 0, 2))
    for _ in range(20):
        host.turn()
    host.send(wire.T_FLUSH, 4)
    assert len(host.heard) > 14
    for header, payload in host.heard:
        assert header[12] == len(payload)
        assert header[13] == binascii.crc32(payload)
        assert header[14] == binascii.crc32(struct.pack(wire.HEADER, *header)[:36])
    sequences = [header[6] for header, _ in host.heard]
    assert sequences == list(range(len(sequences)))


def test_close_ends_the_session():
    camera, host, _, _ = session()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    assert host.send(wire.T_CLOSE, 0, (wire.CLOSE_ORDERLY,)) == []
    assert camera.link.nonce is None
    assert camera.streams[0].state == 0
    assert host.send(wire.T_FLUSH, 3) == []


def test_detaching_says_goodbye_under_the_old_nonce():
    camera, host, ports, time = session()
    ports.events.append((ports.CONTACT, contacts.DETECT_PIN, 0))
    assert host.turn() == []
    time.us += contacts.SETTLE_US
    said = host.turn()
    assert module_world.kinds(said) == [wire.T_CLOSE]
    assert said[0][0][5] == host.nonce
    assert wire.decode(wire.T_CLOSE, said[0][1]) == (wire.CLOSE_DETACH,)
    assert camera.link.nonce is None
    assert host.hello() == []


def test_the_fewer_lanes_are_used():
    for offered, wanted, used in ((1, 4, 1), (4, 1, 1), (4, 3, 3), (4, 255, 4), (3, 0, 1)):
        camera, _, time = module_world.camera()
        camera.link.max_lanes = offered
        host = module_world.Peer(camera, time)
        said = host.send(wire.T_HELLO, 1, (0x10, 0x10, wanted, 0, 0, 4194304))
        assert module_world.only(said, wire.T_HELLO_REPLY)[1] == used
        assert camera.link.lanes == used


def test_has_packets_is_true_while_a_packet_waits():
    camera, _, time = module_world.camera()
    assert not camera.link.has_packets()
    host = module_world.Peer(camera, time)
    hello = wire.encode(wire.T_HELLO, (0x10, 0x10, 1, 0, 0, 4194304))
    host.raw(module_world.make_packet(0x10, wire.T_HELLO, NONCE, 1, 1, hello))
    camera.step()
    assert camera.link.has_packets(), "an answer"
    host.collect()
    assert not camera.link.has_packets()
    camera.link.send_filter = camera
    assert camera.link.has_packets(), "what stands at the gate may have something"
    camera.link.send_filter = None
    camera.link.end_session(wire.CLOSE_DETACH)
    assert camera.link.has_packets(), "the farewell"
    host.collect()
    assert not camera.link.has_packets()


def test_tiles_go_by_every_lane_and_each_counts_for_itself():
    camera, _, time = module_world.camera()
    camera.link.max_lanes = 2
    host = module_world.Peer(camera, time)
    host.send(wire.T_HELLO, 1, (0x10, 0x10, 2, 0, 0, 4194304))
    host.grant()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    request = wire.encode(wire.T_CAPTURE, (0, 0, 1))
    host.raw(module_world.make_packet(0x10, wire.T_CAPTURE, NONCE, host.sequence, 3, request))
    camera.step()
    header = (0, 0, 0)
    while header[2] != wire.T_FRAME_START:
        assert camera.link.take_packet(1) is None, "a tile before its FrameStart"
        view, _ = camera.link.take_packet()
        header = struct.unpack(wire.HEADER, bytes(view)[: wire.HEADER_BYTES])
    view, tile = camera.link.take_packet(1)
    header = struct.unpack(wire.HEADER, bytes(view)[: wire.HEADER_BYTES])
    assert (header[2], header[6]) == (wire.T_TILE, 0)
    camera.link.release_tile(tile)
    camera.step()
    assert camera.link.outbox.has_packet(wire.T_TILE, 0, 0)
    assert camera.link.take_packet(2) is None, "a lane that is not used"
    for _ in range(10):
        host.turn()
    end = module_world.only(host.heard, wire.T_FRAME_END)
    before = [header[6] for header, _ in host.heard if header[2] != wire.T_FRAME_END][-1]
    assert end[4:8] == (before, 0, 0xFFFFFFFF, 0xFFFFFFFF)


def outcome(host, nonce, request):
    return module_world.only(host.send(wire.T_QUERY, 0, (nonce, request)), wire.T_QUERY_REPLY)[0]


def test_the_next_session_can_query_the_outcome_of_a_request():
    camera, host, _, time = session()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    host.send(wire.T_CONFIGURE, 3, (0, 0, 99, 0, 0))
    assert outcome(host, NONCE, 2) == wire.OUTCOME_DONE
    other = module_world.Peer(camera, time, nonce=7)
    other.hello()
    assert outcome(other, NONCE, 2) == wire.OUTCOME_DONE
    assert outcome(other, NONCE, 3) == wire.OUTCOME_NOT_DONE, "refused"
    assert outcome(other, NONCE, 4) == wire.OUTCOME_NOT_DONE, "never arrived"
    assert outcome(other, 0xFFFF, 2) == wire.OUTCOME_UNKNOWN


def test_the_outcome_of_old_requests_and_sessions_is_unknown():
    camera, host, _, time = session()
    for number in range(2, 12):
        host.send(wire.T_GET_MANIFEST, number, (0,))
    for nonce in (7, 8):
        other = module_world.Peer(camera, time, nonce)
        other.hello()
        assert outcome(other, NONCE, 2) == wire.OUTCOME_UNKNOWN
        assert outcome(other, NONCE, 11) == wire.OUTCOME_DONE
    other = module_world.Peer(camera, time, 9)
    other.hello()
    assert outcome(other, NONCE, 11) == wire.OUTCOME_UNKNOWN


def test_a_request_that_was_accepted_and_has_no_effect_yet_is_not_done():
    camera, host, ports, time = session()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    # The lens moves first: nothing is read out yet.
    said = host.send(wire.T_CAPTURE, 3, (0, 0, 1), module_world.settings(None, None, 3300))
    assert module_world.kinds(said) == [wire.T_ACCEPTED]
    other = module_world.Peer(camera, time, nonce=7)
    other.hello()
    assert outcome(other, NONCE, 3) == wire.OUTCOME_NOT_DONE


def test_a_host_that_asks_and_does_not_read_fills_no_memory():
    camera, host, _, _ = session()
    for number in range(2, 100):
        payload = wire.encode(wire.T_GET_MANIFEST, (0,))
        host.raw(
            module_world.make_packet(
                0x10, wire.T_GET_MANIFEST, NONCE, host.sequence, number, payload
            )
        )
        host.sequence += 1
        camera.step()
    assert camera.link.outbox.count_control() <= 8
    assert camera.link.dropped_requests == 98 - camera.link.outbox.count_control()
    host.turn()
    # Once it reads, it is answered again.
    assert module_world.kinds(host.send(wire.T_GET_MANIFEST, 100, (0,))) == [wire.T_MANIFEST]


def test_credits_count_even_if_nobody_reads_the_answers():
    camera, host, _, _ = session()
    for limit in range(20):
        values = wire.encode(wire.T_HEARTBEAT, (1 << 40, (1 << 40) + limit, 0, 0))
        host.raw(module_world.make_packet(0x10, wire.T_HEARTBEAT, NONCE, host.sequence, 0, values))
        host.sequence += 1
        camera.step()
    assert camera.link.outbox.count_control() <= 8
    assert camera.link.outbox._limits[1] == (1 << 40) + 19
