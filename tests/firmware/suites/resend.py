"""Resend: held parts of a frame are sent again, and lost parts are named."""

import struct

from helpers import module_world

from lensfw import wire

SMALL = 1


def session(held=2, tile_bytes=128, count=1):
    """Return a module that has sent frames of stream 0 in tiles of 16 x 4 pixels, and its host."""
    camera, ports, time = module_world.camera(module_world.configuration(tile_bytes, held=held))
    host = module_world.Peer(camera, time)
    host.hello()
    host.grant()
    host.send(wire.T_CONFIGURE, 2, (0, 0, SMALL, 0, 0))
    host.send(wire.T_CAPTURE, 3, (0, 0, count))
    for _ in range(1000 * count):
        host.turn()
    assert module_world.kinds(host.heard).count(wire.T_FRAME_END) == count
    return camera, host, time


def resend(host, frame, ranges=(), flags=0, stream=0):
    tail = b"".join([struct.pack("<4H", *each) for each in ranges])
    return host.send(wire.T_RESEND, frame, (flags, 0, len(ranges)), tail, stream=stream)


def answer(said):
    """Return flags, state and gone rectangles of the only Resent."""
    flags, state, count, tail = module_world.only(said, wire.T_RESENT)
    assert len(tail) == 8 * count
    return flags, state, [struct.unpack_from("<4H", tail, 8 * i) for i in range(count)]


def places(said):
    return [header[8:12] for header, _ in said if header[2] == wire.T_TILE]


def test_a_held_tile_comes_again_as_it_was():
    _, host, _ = session()
    first = [item for item in host.heard if item[0][2] == wire.T_TILE]
    said = resend(host, 0, [(0, 12, 16, 4)])
    assert module_world.kinds(said) == [wire.T_TILE, wire.T_RESENT]
    header, payload = said[0]
    assert payload == first[-1][1]
    assert header[8:12] == (0, 12, 16, 4)
    assert header[3] == wire.FLAG_RESENT
    assert (header[4], header[7]) == (0, 0)
    assert header[6] > first[-1][0][6], "a fresh sequence"
    assert answer(said) == (0, wire.FRAME_ENDED, [])


def test_what_was_overwritten_is_gone():
    # Four buffers hold all four tiles of a frame: nothing is gone.
    _, host, _ = session(held=2)
    said = resend(host, 0, [(0, 0, 16, 16)])
    assert places(said) == [(0, 0, 16, 4), (0, 4, 16, 4), (0, 8, 16, 4), (0, 12, 16, 4)]
    # Two frames: the first one's are gone.
    _, host, _ = session(held=2, count=2)
    said = resend(host, 0, [(0, 0, 16, 16)])
    assert places(said) == []
    assert answer(said)[1:] == (
        wire.FRAME_ENDED,
        [(0, 0, 16, 4), (0, 4, 16, 4), (0, 8, 16, 4), (0, 12, 16, 4)],
    )
    # Two buffers, four tiles: half a frame.
    _, host, _ = session(held=0)
    said = resend(host, 0, [(0, 0, 16, 16)])
    assert places(said) == [(0, 8, 16, 4), (0, 12, 16, 4)]
    assert answer(said)[2] == [(0, 0, 16, 4), (0, 4, 16, 4)]


def test_a_part_of_a_tile_brings_the_whole_tile_once():
    _, host, _ = session()
    said = resend(host, 0, [(3, 5, 1, 1), (0, 6, 16, 2), (15, 4, 1, 4)])
    assert places(said) == [(0, 4, 16, 4)]


def test_a_range_over_two_tiles_brings_both():
    _, host, _ = session()
    assert places(resend(host, 0, [(2, 7, 3, 2)])) == [(0, 4, 16, 4), (0, 8, 16, 4)]


def test_segments_of_rows():
    _, host, _ = session(tile_bytes=24, held=40)
    assert places(resend(host, 0, [(11, 3, 2, 1)])) == [(0, 3, 12, 1), (12, 3, 4, 1)]
    assert places(resend(host, 0, [(12, 3, 4, 2)])) == [(12, 3, 4, 1), (12, 4, 4, 1)]


def test_start_and_end_come_again():
    _, host, _ = session()
    begun = [item[1] for item in host.heard if item[0][2] == wire.T_FRAME_START]
    said = resend(host, 0, [], wire.RESEND_START | wire.RESEND_END)
    assert module_world.kinds(said) == [wire.T_FRAME_START, wire.T_RESENT, wire.T_FRAME_END]
    assert said[0][1] == begun[0]
    assert answer(said)[0] == wire.RESEND_START | wire.RESEND_END
    end = module_world.only(said, wire.T_FRAME_END)
    assert end[0] == wire.END_OK and end[2] == 4
    assert end[4] == said[-1][0][6] - 1, "the packet before this one"


def test_an_unknown_frame_is_gone_altogether():
    _, host, _ = session()
    for stream, frame in ((0, 1), (0, 0xFFFFFFFF), (1, 0)):
        said = resend(host, frame, [(0, 0, 16, 16)], wire.RESEND_START, stream)
        assert module_world.kinds(said) == [wire.T_RESENT]
        assert (said[0][0][4], said[0][0][7]) == (stream, frame)
        assert answer(said) == (0, wire.FRAME_UNKNOWN, [(0, 0, 16, 16)])


def test_four_frames_are_remembered():
    _, host, _ = session(count=6)
    states = [answer(resend(host, number))[1] for number in range(6)]
    assert states == [wire.FRAME_UNKNOWN] * 2 + [wire.FRAME_ENDED] * 4


def test_the_last_still_is_remembered_beside_a_fast_preview():
    camera, host, _ = session(count=0)
    host.send(wire.T_CONFIGURE, 20, (1, 0, SMALL, 0, 0))
    host.send(wire.T_CAPTURE, 21, (1, 0, 1))
    for _ in range(20):
        host.turn()
    still = camera.next_frame - 1
    assert answer(resend(host, still, stream=1))[1] == wire.FRAME_ENDED
    for request in range(22, 32):
        host.send(wire.T_CAPTURE, request, (0, 0, 100))
        for _ in range(800):
            host.turn()
        host.heard.clear()
    assert camera.next_frame == still + 1001
    assert answer(resend(host, still, stream=1))[1] == wire.FRAME_ENDED
    host.send(wire.T_CAPTURE, 32, (0, 0, 10))
    for _ in range(80):
        host.turn()
    assert answer(resend(host, still, stream=1))[1] == wire.FRAME_UNKNOWN


def test_a_frame_under_way_is_remembered_however_many_begin_beside_it():
    camera, _, time = module_world.camera(module_world.configuration(256, in_flight=3, held=0))
    host = module_world.Peer(camera, time)
    host.hello()
    host.grant(1 << 20, 256)
    for stream in (0, 1):
        host.send(wire.T_CONFIGURE, 2 + stream, (stream, 0, SMALL, 0, 0))
    host.send(wire.T_CAPTURE, 4, (1, 0, 1))
    # All of it has been read; its last tile, and its end behind that, wait for credit.
    for _ in range(4):
        host.turn()
    assert places(host.heard) == [(0, 0, 16, 8)]
    host.send(wire.T_CAPTURE, 5, (0, 0, 6))
    for _ in range(40):
        host.turn()
    assert module_world.kinds(host.heard).count(wire.T_FRAME_END) == 6
    said = resend(host, 0, [(0, 8, 16, 8)], wire.RESEND_END, stream=1)
    assert places(said) == []
    assert answer(said) == (0, wire.FRAME_UNDER_WAY, [])
    said = host.grant()
    assert module_world.kinds(said)[-2:] == [wire.T_TILE, wire.T_FRAME_END]
    # Once it has been sent it is one of the last four, or the last still.
    assert answer(resend(host, 0, [(0, 8, 16, 8)], stream=1))[1] == wire.FRAME_ENDED
    host.send(wire.T_CAPTURE, 6, (0, 0, 1))
    for _ in range(10):
        host.turn()
    assert answer(resend(host, 0, [(0, 8, 16, 8)], stream=1))[1] == wire.FRAME_ENDED
    assert [answer(resend(host, number))[1] for number in (3, 4, 7)] == [
        wire.FRAME_UNKNOWN,
        wire.FRAME_ENDED,
        wire.FRAME_ENDED,
    ]


def test_what_has_not_been_read_is_neither_held_nor_gone():
    camera, ports, time = module_world.camera()
    host = module_world.Peer(camera, time)
    host.hello()
    host.grant()
    host.send(wire.T_CONFIGURE, 2, (0, 0, SMALL, 0, 0))
    ports.chunk = 64  # half a tile a step
    host.send(wire.T_CAPTURE, 3, (0, 0, 1))
    host.turn()
    ports.dead = True
    host.turn()
    seen = len(places(host.heard))
    assert 0 < seen < 4
    said = resend(host, 0, [(0, 0, 16, 16)], wire.RESEND_END)
    assert len(places(said)) == seen
    assert answer(said) == (0, wire.FRAME_UNDER_WAY, [])
    ports.dead = False
    for _ in range(10):
        host.turn()
    last = places(host.heard)[-1]
    assert last == (0, 12, 16, 4)


def test_a_tile_that_waits_to_be_sent_is_not_queued_twice():
    camera, ports, time = module_world.camera()
    host = module_world.Peer(camera, time)
    host.hello()
    host.grant(128, 0)
    host.send(wire.T_CONFIGURE, 2, (0, 0, SMALL, 0, 0))
    host.send(wire.T_CAPTURE, 3, (0, 0, 1))
    host.turn()
    assert places(host.heard) == [(0, 0, 16, 4)]
    # The second tile waits for credit: it is on its way, not gone.
    said = resend(host, 0, [(0, 4, 16, 4)])
    assert places(said) == []
    host.grant()
    host.turn()
    host.turn()
    assert places(host.heard).count((0, 4, 16, 4)) == 1


def test_what_is_sent_again_costs_credit():
    _, host, _ = session()
    camera = host.camera
    before = camera.link.outbox.count_sent()[0]
    resend(host, 0, [(0, 12, 16, 4)])
    assert camera.link.outbox.count_sent()[0] == before + 128


def test_ranges_outside_the_frame_are_cut():
    _, host, _ = session()
    for ranges in ([(16, 0, 5, 5)], [(0, 16, 16, 1)], [(65535, 65535, 65535, 65535)]):
        said = resend(host, 0, ranges)
        assert module_world.kinds(said) == [wire.T_RESENT], ranges
        assert answer(said) == (0, wire.FRAME_ENDED, [])
    assert places(resend(host, 0, [(8, 12, 65535, 65535)])) == [(0, 12, 16, 4)]


def test_too_many_ranges_or_too_few_bytes_are_malformed():
    camera, host, _ = session()
    tail = struct.pack("<4H", 0, 0, 1, 1)
    assert host.send(wire.T_RESEND, 0, (0, 0, 2), tail) == []
    assert host.send(wire.T_RESEND, 0, (0, 0, 33), tail * 33) == []
    assert host.send(wire.T_RESEND, 0, payload=b"\x01") == []
    assert camera.link.discards == {"malformed": 3}
    assert places(host.send(wire.T_RESEND, 0, (0, 0, 32), tail * 32)) == [(0, 0, 16, 4)]


def test_as_many_as_fit_are_said_to_be_gone():
    camera, host, _ = session(tile_bytes=4, held=0)
    said = resend(host, 0, [(0, 0, 16, 8)])
    _, _, gone = answer(said)
    assert len(gone) == wire.MAX_RANGES
    assert len(set(gone)) == len(gone)


def test_a_resend_does_not_swallow_a_request_of_the_same_number():
    camera, host, _ = session(count=6)
    # Frame 4's answer waits in the queue when request 4 arrives.
    tail = struct.pack("<4H", 0, 0, 1, 1)
    for kind, number, payload in (
        (wire.T_RESEND, 4, wire.encode(wire.T_RESEND, (0, 0, 1), tail)),
        (wire.T_GET_MANIFEST, 4, wire.encode(wire.T_GET_MANIFEST, (0,))),
    ):
        host.raw(module_world.make_packet(0x10, kind, host.nonce, host.sequence, number, payload))
        host.sequence += 1
    assert sorted(module_world.kinds(host.turn())) == [wire.T_MANIFEST, wire.T_RESENT]


def test_another_session_gets_nothing_of_this_one():
    camera, host, time = session()
    other = module_world.Peer(camera, time, nonce=7)
    other.hello()
    other.grant()
    said = resend(other, 0, [(0, 0, 16, 16)], wire.RESEND_START)
    assert module_world.kinds(said) == [wire.T_RESENT]
    assert answer(said)[1] == wire.FRAME_UNKNOWN


def test_what_an_aborted_frame_never_read_is_gone():
    camera, ports, time = module_world.camera(module_world.configuration(128, held=0))
    host = module_world.Peer(camera, time)
    host.hello()
    host.send(wire.T_CONFIGURE, 2, (0, 0, SMALL, 0, 0))
    host.send(wire.T_CAPTURE, 3, (0, 0, 1))
    for _ in range(100):
        host.turn()
    # Nothing may be sent, so the last tiles are not read.
    host.send(wire.T_STOP, 4, (0,))
    host.turn()
    host.grant()
    said = resend(host, 0, [(0, 12, 16, 4)])
    assert answer(said)[1:] == (wire.FRAME_ENDED, [(0, 12, 16, 4)])
