"""Fault injection (capability TEST) and proofs (capability AUTH)."""

import binascii

from helpers import module_world

from lensfw import sensor, wire

NONCE = 0x1234ABCD
ALL = wire.CAP_LOG | wire.CAP_RESEND | wire.CAP_TEST | wire.CAP_AUTH
SCHEME = 0x8000


def open_session(test=True, capabilities=ALL, authenticate=None, lanes=1):
    """Open a session with a module that has TEST, and AUTH if *authenticate* is given."""
    config = module_world.configuration()
    config["test"] = test
    time = module_world.Time()
    ports = module_world.Ports()
    if authenticate is not None:
        ports.authenticate = authenticate
    camera = module_world.module.Module(config, ports, time)
    camera.link.max_lanes = lanes
    module_world.seat(camera, time)
    host = module_world.Peer(camera, time, NONCE)
    said = host.send(wire.T_HELLO, 1, (0x10, 0x10, lanes, 0, capabilities, 4194304))
    host.shared = module_world.only(said, wire.T_HELLO_REPLY)[4]
    return camera, host, time


def code(said):
    return module_world.only(said, wire.T_ERROR)[0]


def make(host, number, action, damage=0, ms=0):
    return host.send(wire.T_TEST, number, (action, damage, ms))


def ask(host, number):
    return module_world.kinds(host.send(wire.T_GET_MANIFEST, number, (0,)))


def test_only_a_module_whose_configuration_says_so_has_the_capability():
    for told, offered, shared in (
        (True, ALL, wire.CAP_TEST),
        (False, ALL, 0),
        (True, wire.CAP_LOG, 0),
    ):
        camera, host, _ = open_session(told, offered)
        assert host.shared & wire.CAP_TEST == shared
        if not shared:
            for action in range(1, 6):
                assert code(make(host, 2 + action, action, 1, 10)) == wire.ERR_UNSUPPORTED
            assert ask(host, 9) == [wire.T_MANIFEST]


def test_an_unknown_or_too_long_action_is_refused():
    camera, host, _ = open_session()
    for number, (action, damage, ms) in enumerate(
        (
            (0, 0, 0),
            (6, 0, 0),
            (255, 0, 0),
            (wire.TEST_REJECT, 0, 0),
            (wire.TEST_REJECT, 3, 0),
            (wire.TEST_BUSY, 0, wire.MAX_BUSY_MS + 1),
            (wire.TEST_STALL, 0, 65535),
            (wire.TEST_PENDING, 0, wire.MAX_BUSY_MS + 1),
        )
    ):
        assert code(make(host, 2 + number, action, damage, ms)) == wire.ERR_UNSUPPORTED
    assert ask(host, 20) == [wire.T_MANIFEST]


def test_busy_is_sent_before_the_silence_and_its_lease_is_kept():
    camera, host, time = open_session()
    said = make(host, 2, wire.TEST_BUSY, 0, 300)
    assert module_world.kinds(said) == [wire.T_ACCEPTED, wire.T_BUSY]
    assert module_world.only(said, wire.T_BUSY) == (wire.BUSY_OTHER, 0, 300)
    time.us += 299999
    assert ask(host, 3) == []
    assert host.grant() == []
    time.us += 1
    assert module_world.kinds(host.turn()) == [wire.T_MANIFEST, wire.T_HEARTBEAT_REPLY]
    assert ask(host, 4) == [wire.T_MANIFEST]
    assert camera.link.send_filter is None


def test_busy_holds_every_lane():
    camera, host, time = open_session(lanes=2)
    assert camera.link.lanes == 2
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    # Without a limit the FrameStart goes and its tiles wait: then lane 1 may have one of them.
    said = host.send(wire.T_STREAM, 3, (0, 0, 0, 0))
    assert module_world.kinds(said)[-1] == wire.T_FRAME_START
    make(host, 4, wire.TEST_BUSY, 0, 300)
    host.grant()
    assert camera.link.take_packet(1) is None
    time.us += 300000
    assert camera.link.take_packet(1) is not None


def test_a_stall_stops_inside_a_packet_and_goes_on_there():
    camera, host, time = open_session()
    assert module_world.kinds(make(host, 2, wire.TEST_STALL, 0, 400)) == [wire.T_ACCEPTED]
    host.raw(packet(host, wire.T_GET_MANIFEST, 3, (0,)))
    camera.step()
    first, tile = camera.link.take_packet()
    assert tile is None
    first = bytes(first)
    assert len(first) == 20
    time.us += 399999
    camera.step()
    assert camera.link.take_packet() is None
    time.us += 1
    camera.step()
    rest, _ = camera.link.take_packet()
    whole = first + bytes(rest)
    assert whole[5] == wire.T_MANIFEST
    assert binascii.crc32(whole[:36]) == int.from_bytes(whole[36:40], "little")
    assert binascii.crc32(whole[40:]) == int.from_bytes(whole[32:36], "little")
    assert camera.link.send_filter is None
    assert ask(host, 4) == [wire.T_MANIFEST]


def test_a_stall_inside_a_tile_keeps_the_tile():
    camera, host, time = open_session()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    host.grant()
    host.send(wire.T_STREAM, 3, (0, 0, 0, 0))
    host.raw(packet(host, wire.T_TEST, 4, (wire.TEST_STALL, 0, 400)))
    camera.step()
    view, _ = camera.link.take_packet()
    while view[5] != wire.T_ACCEPTED:
        view, _ = camera.link.take_packet()
    for _ in range(100):
        camera.step()
        view, tile = camera.link.take_packet()
        if len(view) == 20:
            break
    assert view[5] == wire.T_TILE and tile is None
    assert [each.state for each in camera.tiles._tiles].count(sensor.SENDING) == 1
    # Another host says hello: what is left is not sent, and no tile is lost by it.
    other = module_world.Peer(camera, time, nonce=0x55555555)
    assert module_world.kinds(other.hello())[0] == wire.T_HELLO_REPLY
    assert camera.link.send_filter is None
    assert camera.tiles.take() is not None and camera.tiles.take() is not None


def packet(host, kind, number, fields):
    payload = wire.encode(kind, fields)
    sequence = host.sequence
    host.sequence += 1
    return module_world.make_packet(0x10, kind, host.nonce, sequence, number, payload)


def test_the_action_reject_damages_one_packet():
    for damage in (wire.DAMAGE_PAYLOAD, wire.DAMAGE_HEADER):
        camera, host, _ = open_session()
        said = make(host, 2, wire.TEST_REJECT, damage)
        assert module_world.kinds(said) == [wire.T_ACCEPTED, wire.T_CLOSE]
        header, payload = said[1]
        body = bytes(payload)
        crc_holds = binascii.crc32(body) == header[13]
        assert crc_holds == (damage == wire.DAMAGE_HEADER)
        head = module_world.struct.pack(wire.HEADER, *header)
        head_holds = binascii.crc32(head[:36]) == header[14]
        assert head_holds == (damage == wire.DAMAGE_PAYLOAD)
        assert header[6] == said[0][0][6] + 1, "it has a sequence of its own"
        again = host.send(wire.T_GET_MANIFEST, 3, (0,))
        assert module_world.kinds(again) == [wire.T_MANIFEST]
        assert again[0][0][6] == header[6] + 1


def test_pending_comes_at_once_and_the_answer_later():
    camera, host, time = open_session()
    said = make(host, 2, wire.TEST_PENDING, 0, 500)
    assert module_world.only(said, wire.T_PENDING) == (500,)
    assert said[0][0][7] == 2
    time.us += 499999
    assert module_world.kinds(make(host, 2, wire.TEST_PENDING, 0, 500)) == [wire.T_PENDING]
    time.us += 1
    answer = host.turn()
    assert module_world.kinds(answer) == [wire.T_ACCEPTED]
    assert answer[0][0][7] == 2
    assert module_world.kinds(make(host, 2, wire.TEST_PENDING, 0, 500)) == [wire.T_ACCEPTED]


def test_a_pending_request_that_the_host_has_given_up_stays_under_way():
    camera, host, time = open_session()
    make(host, 2, wire.TEST_PENDING, 0, 500)
    assert ask(host, 3) == [wire.T_MANIFEST]
    assert module_world.kinds(host.send(wire.T_FLUSH, 4, ())) == [wire.T_FLUSHED]
    for number, outcome in (
        (2, wire.OUTCOME_UNKNOWN),
        (3, wire.OUTCOME_DONE),
        (5, wire.OUTCOME_NOT_DONE),
    ):
        said = host.send(wire.T_QUERY, 0, (NONCE, number))
        assert module_world.only(said, wire.T_QUERY_REPLY) == (outcome,)
    assert module_world.kinds(make(host, 2, wire.TEST_PENDING, 0, 500)) == [wire.T_PENDING]
    time.us += 500000
    answer = host.turn()
    assert module_world.kinds(answer) == [wire.T_ACCEPTED]
    assert answer[0][0][7] == 2


def test_a_detach_is_noticed_before_and_closed_in_order():
    camera, host, time = open_session()
    said = make(host, 2, wire.TEST_DETACH, 0, 100)
    assert module_world.kinds(said) == [wire.T_ACCEPTED, wire.T_NOTICE]
    assert module_world.only(said, wire.T_NOTICE) == (wire.NOTICE_RELEASE, 0, 100)
    assert ask(host, 3) == [wire.T_MANIFEST]
    time.us += 100000
    said = host.turn()
    assert module_world.only(said, wire.T_CLOSE) == (wire.CLOSE_DETACH,)
    assert ask(host, 4) == []
    assert module_world.Peer(camera, time, 0x77777777).hello() != []


def test_only_one_action_is_active_at_a_time():
    for action in (wire.TEST_BUSY, wire.TEST_PENDING, wire.TEST_DETACH):
        camera, host, time = open_session()
        make(host, 2, action, 0, 1000)
        said = make(host, 3, wire.TEST_BUSY, 0, 10)
        time.us += 1000000
        said += host.turn()
        if action == wire.TEST_DETACH:
            assert camera.link.nonce is None
        else:
            assert module_world.kinds(make(host, 4, wire.TEST_PENDING, 0, 0)) != []
        assert code([each for each in said if each[0][2] == wire.T_ERROR]) == wire.ERR_STATE


def test_a_repeated_request_starts_one_action():
    camera, host, time = open_session()
    make(host, 2, wire.TEST_BUSY, 0, 200)
    time.us += 200000
    host.turn()
    assert module_world.kinds(make(host, 2, wire.TEST_BUSY, 0, 200)) == [wire.T_ACCEPTED]
    assert ask(host, 3) == [wire.T_MANIFEST], "it is not silent again"


def test_the_end_of_the_session_ends_the_action():
    for action in (wire.TEST_BUSY, wire.TEST_STALL, wire.TEST_PENDING, wire.TEST_DETACH):
        camera, host, time = open_session()
        make(host, 2, action, 0, 5000)
        other = module_world.Peer(camera, time, nonce=0x55555555)
        assert module_world.kinds(other.hello())[0] == wire.T_HELLO_REPLY
        time.us += 6000000
        assert other.turn() == []
        assert module_world.kinds(other.grant()) == [wire.T_HEARTBEAT_REPLY]


# --- proofs -------------------------------------------------------------------------------------


def toy(scheme, challenge):
    """Return the challenge's CRC: a scheme that proves nothing."""
    if scheme != SCHEME:
        return None
    return binascii.crc32(b"toy" + challenge).to_bytes(4, "little")


def test_a_challenge_is_answered_under_its_scheme():
    camera, host, _ = open_session(authenticate=toy)
    assert host.shared & wire.CAP_AUTH
    for number, challenge in enumerate((b"", b"a", bytes(range(256)) * 3)):
        said = host.send(wire.T_CHALLENGE, 2 + number, (SCHEME,), challenge)
        assert module_world.only(said, wire.T_PROOF) == (SCHEME, toy(SCHEME, challenge))


def test_a_challenge_is_refused_where_nobody_can_prove_anything():
    camera, host, _ = open_session()
    assert not host.shared & wire.CAP_AUTH
    assert code(host.send(wire.T_CHALLENGE, 2, (SCHEME,), b"prove it")) == wire.ERR_UNSUPPORTED


def test_a_challenge_is_refused_in_a_session_without_the_capability():
    asked = []
    camera, host, _ = open_session(
        capabilities=wire.CAP_LOG, authenticate=lambda scheme, challenge: asked.append(scheme)
    )
    assert code(host.send(wire.T_CHALLENGE, 2, (SCHEME,), b"prove it")) == wire.ERR_UNSUPPORTED
    assert asked == []


def test_an_unknown_scheme_an_empty_proof_and_one_that_is_too_long_are_refused():
    longest = wire.MAX_CONTROL - 4
    camera, host, _ = open_session(
        authenticate=lambda scheme, challenge: (None, b"", bytes(longest + 1), bytes(longest))[
            scheme
        ]
    )
    for scheme in (0, 1, 2):
        assert code(host.send(wire.T_CHALLENGE, 2 + scheme, (scheme,), b"x")) == (
            wire.ERR_UNSUPPORTED
        )
    said = host.send(wire.T_CHALLENGE, 9, (3,), b"x")
    assert module_world.only(said, wire.T_PROOF) == (3, bytes(longest))


def test_a_repeated_challenge_is_computed_once():
    count = []

    def counted(scheme, challenge):
        count.append(scheme)
        return b"%d" % len(count)

    camera, host, _ = open_session(authenticate=counted)
    first = host.send(wire.T_CHALLENGE, 2, (1,), b"x")
    assert host.send(wire.T_CHALLENGE, 2, (1,), b"x")[0][1] == first[0][1]
    assert len(count) == 1
