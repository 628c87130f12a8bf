"""Ways to break a clause of SPEC.md that are easy to overlook. Our module takes none of them."""

import struct

from helpers import module_world

from lensfw import wire

PREVIEW, STILL = 0, 1
SMALL = 1
NONCE = 0x1234ABCD


def open_session(lanes=1, **options):
    """Return a seated module with a session and credit, and its host."""
    camera, ports, time = module_world.camera(module_world.configuration(**options))
    camera.link.max_lanes = 4
    host = module_world.Peer(camera, time)
    values = (0x10, 0x10, lanes, 0, wire.CAP_LOG | wire.CAP_RESEND, 4194304)
    host.send(wire.T_HELLO, 1, values)
    host.grant()
    return camera, host, ports, time


def configure(host, number, stream=PREVIEW, mode=SMALL):
    return module_world.only(
        host.send(wire.T_CONFIGURE, number, (stream, 0, mode, 0, 0)), wire.T_CONFIGURED
    )


def capture(host, number, stream=PREVIEW, count=1):
    return host.send(wire.T_CAPTURE, number, (stream, 0, count))


def turn(host, times=20):
    """Let the module step. Return all packets that it sends."""
    said = []
    for _ in range(times):
        said += host.turn()
    return said


def collect_lane(camera, lane):
    """Return the types of the packets that the module has to send on a lane."""
    found = []
    while True:
        packet = camera.link.take_packet(lane)
        if packet is None:
            return found
        found.append(bytes(packet[0][5:6])[0])
        if packet[1] is not None:
            camera.link.release_tile(packet[1])


def queue(host, kind, number, values=(), tail=b""):
    """Receive a packet without a step of the module."""
    payload = wire.encode(kind, values, tail)
    host.raw(module_world.make_packet(0x10, kind, host.nonce, host.sequence, number, payload))
    host.sequence += 1


def outcome(host, nonce, request):
    return module_world.only(host.send(wire.T_QUERY, 0, (nonce, request)), wire.T_QUERY_REPLY)[0]


# --- requests -------------------------------------------------------------------------------------


def test_an_unknown_type_does_not_touch_the_memory_of_requests():
    for kind in (0x3F, 0xDF, wire.T_ACCEPTED, wire.T_TILE):
        camera, host, _, _ = open_session()
        configure(host, 2)
        for number in (5000, 2, 0, 0xFFFFFFFF):
            ((header, payload),) = host.send(kind, number, payload=bytes(16))
            assert (header[2], header[7]) == (wire.T_ERROR, number)
            assert wire.decode(wire.T_ERROR, payload)[0] == wire.ERR_UNKNOWN_REQUEST
        # Later requests are executed, and the earlier answer is remembered.
        assert outcome(host, NONCE, 5000) == wire.OUTCOME_NOT_DONE
        assert configure(host, 2)[2] == SMALL
        assert module_world.kinds(capture(host, 3))[0] == wire.T_ACCEPTED
        turn(host)
        flushed = module_world.only(host.send(wire.T_FLUSH, 4), wire.T_FLUSHED)
        assert flushed[2] == 3, "last_request is no unknown type's number"


def test_the_last_four_requests_are_remembered_and_gaps_between_them():
    camera, host, _, time = open_session()
    for number in (2, 4, 6, 8, 10):
        host.send(wire.T_GET_MANIFEST, number, (0,))
    host.send(wire.T_CAPTURE, 12, (PREVIEW, 0, 1))
    known = {6: 2, 7: 1, 8: 2, 9: 1, 10: 2, 11: 1, 12: 1, 13: 1, 4: 0, 2: 0, 1: 0, 5: 0}
    assert {number: outcome(host, NONCE, number) for number in known} == known
    for nonce in (0x55555555, 0x66666666):
        # Over a new connection too: nothing of this is bound to a connection.
        host = module_world.Peer(camera, time, nonce)
        host.hello()
        assert {number: outcome(host, NONCE, number) for number in known} == known


def test_a_request_under_way_is_unknown_to_a_query():
    camera, host, _, _ = open_session()
    camera.handle_request = lambda kind, number, fields: None
    assert host.send(wire.T_STOP, 2, (0,)) == []
    assert outcome(host, NONCE, 2) == wire.OUTCOME_UNKNOWN
    assert outcome(host, NONCE, 3) == wire.OUTCOME_NOT_DONE
    camera.link.send_answer(2, wire.T_ACCEPTED, (0, 0, 5))
    host.turn()
    assert outcome(host, NONCE, 2) == wire.OUTCOME_DONE


def test_query_ids_may_wrap():
    camera, host, _, _ = open_session()
    for number in (0x7FFFFFFF, 0xFFFFFFFA, 0xFFFFFFFD, 0xFFFFFFFF, 2):
        host.send(wire.T_GET_MANIFEST, number, (0,))
    known = {0xFFFFFFFD: 2, 0xFFFFFFFE: 1, 0xFFFFFFFF: 2, 0: 1, 2: 2, 3: 1, 0x7FFFFFFF: 0}
    assert {number: outcome(host, NONCE, number) for number in known} == known


def test_longer_fixed_parts_are_accepted_and_tails_begin_behind_them():
    camera, ports, time = module_world.camera()
    host = module_world.Peer(camera, time)

    def send_longer(kind, number, values, tail=b"", stream=0):
        payload = wire.encode(kind, values)
        payload = struct.pack("<H", len(payload) + 6) + bytes(payload[2:]) + b"\xee" * 6 + tail
        return host.send(kind, number, payload=payload, stream=stream)

    both = wire.CAP_LOG | wire.CAP_RESEND
    said = send_longer(wire.T_HELLO, 1, (0x10, 0x10, 1, 0, both, 4194304))
    assert module_world.kinds(said)[0] == wire.T_HELLO_REPLY
    said = send_longer(wire.T_HEARTBEAT, 0, (1 << 30, 1 << 30, 1 << 30, 0))
    assert module_world.kinds(said) == [wire.T_HEARTBEAT_REPLY]
    said = send_longer(wire.T_CONFIGURE, 2, (PREVIEW, 0, SMALL, 0, 0, 0, 0, 0, 0))
    assert module_world.kinds(said) == [wire.T_CONFIGURED]
    said = send_longer(wire.T_CAPTURE, 3, (PREVIEW, 0, 1)) + turn(host)
    kinds = module_world.kinds(said)
    assert kinds.count(wire.T_TILE) == 4 and kinds[-1] == wire.T_FRAME_END
    # The rectangle is the last tile's; the bytes before it name none.
    tail = struct.pack("<4H", 0, 12, 16, 4)
    said = send_longer(wire.T_RESEND, 0, (0, 0, 1), tail) + turn(host)
    (tile,) = [header for header, _ in said if header[2] == wire.T_TILE]
    assert tile[8:12] == (0, 12, 16, 4)
    for kind, number, values in (
        (wire.T_STOP, 4, (PREVIEW,)), (wire.T_GET_MANIFEST, 5, (0,)),
        (wire.T_STREAM, 6, (PREVIEW, 0, 0, 0)), (wire.T_QUERY, 7, (NONCE, 2)),
        (wire.T_FLUSH, 8, ()),
    ):  # fmt: skip
        said = send_longer(kind, number, values) + turn(host)
        assert wire.T_ERROR not in module_world.kinds(said), kind
    assert camera.link.discards == {}


def test_damaged_packets_are_not_acted_on():
    camera, host, _, _ = open_session(held=6)
    configure(host, 2)
    capture(host, 3)
    turn(host)
    before = camera.link.outbox.count_sent()
    tail = struct.pack("<4H", 0, 0, 16, 16)
    for kind, values, more in (
        (wire.T_HEARTBEAT, (1 << 50, 1 << 50, 1 << 50, 0), b""), (wire.T_RESEND, (3, 0, 1), tail),
        (wire.T_CLOSE, (0,), b""),
    ):  # fmt: skip
        payload = bytes(wire.encode(kind, values, more))
        packet = module_world.make_packet(0x10, kind, NONCE, host.sequence, 0, payload)
        for at in range(36, len(packet)):
            # The last byte of the header's CRC, and each byte of the payload.
            damaged = bytearray(packet)
            damaged[at] ^= 0x10
            host.raw(bytes(damaged))
            # Damage may look like the beginning of a packet until it has stalled.
            host.time.us += wire.STALL_MS * 1000
            assert turn(host, 3) == [], (kind, at)
            host.sequence += 1
            packet = module_world.make_packet(0x10, kind, NONCE, host.sequence, 0, payload)
    assert camera.link.nonce == NONCE
    assert camera.link.outbox.count_sent() == before
    assert camera.link.outbox._limits == [1 << 40] * 3


# --- streams --------------------------------------------------------------------------------------


def test_nothing_follows_the_answer_to_stop_or_flush_on_any_lane():
    for kind, values, reply in (
        (wire.T_STOP, (PREVIEW,), wire.T_ACCEPTED), (wire.T_FLUSH, (), wire.T_FLUSHED),
    ):  # fmt: skip
        for steps in range(9):
            camera, host, _, _ = open_session(lanes=2, in_flight=3, held=1)
            configure(host, 2, PREVIEW)
            configure(host, 3, STILL)
            host.send(wire.T_STREAM, 4, (PREVIEW, 0, 0, 0))
            if kind == wire.T_FLUSH:
                host.send(wire.T_STREAM, 5, (STILL, 0, 0, 0))
            for _ in range(steps):
                camera.step()
            queue(host, kind, 6, values)
            camera.step()
            # What lane 1 may have now was made before the answer, and goes before it.
            collect_lane(camera, 1)
            kinds = collect_lane(camera, 0)
            assert kinds.count(reply) == 1 and kinds[-1] == reply, (kind, steps, kinds)
            for _ in range(20):
                camera.step()
                assert collect_lane(camera, 1) == collect_lane(camera, 0) == []


def test_stop_flush_and_the_last_frame_leave_a_stream_configured():
    camera, host, _, _ = open_session()
    configure(host, 2, PREVIEW)
    configure(host, 3, STILL)
    number = 4
    for end in ((wire.T_STOP, (PREVIEW,)), (wire.T_FLUSH, ()), None):
        capture(host, number, PREVIEW, 1 if end is None else 65535)
        turn(host)
        if end is not None:
            host.send(end[0], number + 1, end[1])
        # Without another Configure; and a Configure is possible, too.
        said = capture(host, number + 2, PREVIEW) + turn(host)
        assert module_world.kinds(said).count(wire.T_FRAME_END) == 1, end
        configure(host, number + 3, PREVIEW)
        assert module_world.kinds(capture(host, number + 4, STILL))[0] == wire.T_ACCEPTED
        turn(host, 60)
        number += 5


def test_stop_of_one_stream_does_not_end_the_other():
    camera, host, _, _ = open_session()
    configure(host, 2, PREVIEW)
    configure(host, 3, STILL)
    host.send(wire.T_STREAM, 4, (STILL, 0, 0, 0))
    host.send(wire.T_STREAM, 5, (PREVIEW, 0, 0, 0))
    host.send(wire.T_STOP, 6, (PREVIEW,))
    streams = {header[4] for header, _ in turn(host, 40) if header[2] == wire.T_TILE}
    assert streams == {STILL}


def test_a_frame_start_states_the_settings_that_were_applied():
    camera, host, ports, time = open_session()
    configure(host, 2, PREVIEW)
    configure(host, 3, STILL)
    number = 4
    wanted = []
    # A control that the list does not name keeps the value that it has in the same stream.
    for stream, exposure, gain, applied in (
        (PREVIEW, None, None, (0, 1000)), (PREVIEW, 777, 2500, (777, 2500)),
        (PREVIEW, None, 3000, (777, 3000)), (STILL, 5, None, (5, 1000)),
        (PREVIEW, None, None, (777, 3000)),
    ):  # fmt: skip
        entries = module_world.settings(exposure, gain)
        said = host.send(wire.T_CAPTURE, number, (stream, 0, 1), entries) + turn(host)
        time.us += 1000
        said += turn(host)
        fields = module_world.only(said, wire.T_FRAME_START)
        assert fields[18:20] == applied
        wanted.append(applied)
        number += 1
    asked = [call[3][:2] for call in ports.calls if call[0] == "request_rows"]
    assert asked == wanted, "and the sensor was given them"


def test_heartbeats_and_requests_are_answered_while_tiles_wait_for_credit():
    camera, ports, time = module_world.camera()
    host = module_world.Peer(camera, time)
    host.hello()
    configure(host, 2)
    capture(host, 3, count=3)
    turn(host)
    for number in range(4, 20):
        assert module_world.kinds(host.send(wire.T_HEARTBEAT, 0, (0, 0, 0, 0))) == [
            wire.T_HEARTBEAT_REPLY
        ]
        said = host.send(wire.T_GET_MANIFEST, number, (0,))
        assert module_world.kinds(said) == [wire.T_MANIFEST]


def test_a_tile_goes_only_if_all_of_it_is_within_the_limit():
    for limit, tiles in ((127, 0), (128, 1), (255, 1), (256, 2), (511, 3), (512, 4)):
        camera, ports, time = module_world.camera()
        host = module_world.Peer(camera, time)
        host.hello()
        host.grant(limit, 0)
        configure(host, 2)
        said = capture(host, 3) + turn(host)
        assert module_world.kinds(said).count(wire.T_TILE) == tiles, limit


def test_sequences_begin_at_0_on_each_lane_in_each_session_of_a_connection():
    camera, host, _, time = open_session(lanes=2)
    for nonce in (NONCE, 0x55555555, 0x66666666):
        host = module_world.Peer(camera, time, nonce)
        if nonce != NONCE:
            host.send(wire.T_HELLO, 1, (0x10, 0x10, 2, 0, 0, 4194304))
            assert [header[6] for header, _ in host.heard] == [0]
        host.sequence = 100
        host.grant()
        configure(host, 2)
        queue(host, wire.T_CAPTURE, 3, (PREVIEW, 0, 1))
        for _ in range(20):
            camera.step()
            if camera.link.outbox.has_packet(wire.T_TILE, PREVIEW, camera.next_frame - 1):
                break
        assert collect_first(camera, 0) == wire.T_ACCEPTED
        assert collect_first(camera, 0) == wire.T_FRAME_START
        view, tile = camera.link.take_packet(1)
        assert struct.unpack_from("<I", view, 12) == (0,), "the first on lane 1"
        camera.link.release_tile(tile)


def collect_first(camera, lane):
    return camera.link.take_packet(lane)[0][5]


# --- resend ---------------------------------------------------------------------------------------


def ask_again(host, stream, frame, rectangles, flags=0):
    tail = b"".join([struct.pack("<4H", *each) for each in rectangles])
    values = (flags, 0, len(rectangles))
    return host.send(wire.T_RESEND, frame, values, tail, stream=stream) + turn(host)


def test_resend_serves_any_rectangle_of_either_stream_in_and_after_its_frame():
    for stream in (PREVIEW, STILL):
        for rectangle, tiles in (
            ((5, 5, 1, 1), 1), ((0, 0, 65535, 65535), 4), ((3, 3, 2, 2), 2), ((0, 7, 16, 2), 2),
            ((0, 0, 0, 4), 0), ((0, 0, 4, 0), 0), ((16, 0, 4, 4), 0), ((0, 16, 4, 4), 0),
        ):  # fmt: skip
            camera, host, _, _ = open_session(held=6)
            configure(host, 2, stream)
            capture(host, 3, stream)
            turn(host)
            said = ask_again(host, stream, 0, [rectangle])
            headers = [header for header, _ in said if header[2] == wire.T_TILE]
            assert len(headers) == tiles, (stream, rectangle)
            assert all(header[3] == wire.FLAG_RESENT and header[4] == stream for header in headers)
            resent = module_world.only(said, wire.T_RESENT)
            assert resent[:3] == (0, wire.FRAME_ENDED, 0) and resent[3] == b""
        # While tiles of the frame wait for credit.
        camera, ports, time = module_world.camera(module_world.configuration(held=6))
        host = module_world.Peer(camera, time)
        host.hello()
        host.grant(128, 128)
        configure(host, 2, stream)
        capture(host, 3, stream)
        turn(host)
        said = ask_again(host, stream, 0, [(0, 0, 16, 4)]) + host.grant(256, 256)
        assert module_world.only(said, wire.T_RESENT)[1] == wire.FRAME_UNDER_WAY
        assert module_world.kinds(said).count(wire.T_TILE) == 1


def test_resend_takes_as_many_rectangles_as_the_specification_allows():
    camera, host, _, _ = open_session(held=6)
    configure(host, 2)
    capture(host, 3)
    turn(host)
    most = [(0, 0, 1, 1)] * (wire.MAX_RANGES - 1) + [(0, 15, 1, 1)]
    headers = [header for header, _ in ask_again(host, 0, 0, most) if header[2] == wire.T_TILE]
    assert [header[9] for header in headers] == [0, 12], "the last rectangle counts as well"


def test_resent_tiles_need_credit_and_are_counted():
    camera, ports, time = module_world.camera(module_world.configuration(held=6))
    host = module_world.Peer(camera, time)
    host.hello()
    host.grant(512, 0)
    configure(host, 2)
    capture(host, 3)
    turn(host)
    said = ask_again(host, 0, 0, [(0, 0, 16, 16)])
    assert wire.T_TILE not in module_world.kinds(said)
    reply = module_world.only(host.grant(512 + 300, 0), wire.T_HEARTBEAT_REPLY)
    said = turn(host)
    assert reply[1] == 512 and module_world.kinds(said).count(wire.T_TILE) <= 2
    assert module_world.only(host.grant(1024, 0), wire.T_HEARTBEAT_REPLY)[1] == 512 + 256
    turn(host)
    assert module_world.only(host.grant(1024, 0), wire.T_HEARTBEAT_REPLY)[1] == 1024


def test_a_frame_end_sent_again_names_the_packet_before_it():
    camera, host, _, _ = open_session(held=6)
    configure(host, 2)
    capture(host, 3)
    turn(host)
    for _ in range(3):
        said = ask_again(host, 0, 0, [(0, 0, 16, 4)], wire.RESEND_START | wire.RESEND_END)
        header, payload = said[-1]
        assert header[2] == wire.T_FRAME_END
        last = wire.decode(wire.T_FRAME_END, payload)[4:8]
        assert last[0] == header[6] - 1 and last[1:] == (0xFFFFFFFF,) * 3


def test_a_stopped_frame_is_served_after_the_answer_to_stop():
    camera, host, _, _ = open_session(in_flight=4, held=4)
    configure(host, 2)
    host.send(wire.T_STREAM, 3, (PREVIEW, 0, 0, 0))
    said = host.send(wire.T_STOP, 4, (PREVIEW,))
    frame = max(header[7] for header, _ in host.heard if header[2] == wire.T_FRAME_START)
    assert module_world.kinds(said)[-1] == wire.T_ACCEPTED
    said = ask_again(host, PREVIEW, frame, [(0, 0, 16, 4)])
    assert module_world.kinds(said) == [wire.T_TILE, wire.T_RESENT]
