"""The times of the host's link, to the bound: what mutation testing asked for beyond the rest."""

from __future__ import annotations

import test_mutants_host as lab

from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import BusyReason, Reject, ResendFlag
from lenslink_protocol.link import WINDOW, Missing
from lenslink_protocol.messages import Busy, Capture, HeartbeatReply, HelloReply, Pending
from lenslink_protocol.params import HEADER_BYTES

REPLY = HelloReply(0x10, 1, 0, 3, 1024, 100, 1, 0)
ALIVE = HeartbeatReply(0, (0, 0), (0, 0))


def test_a_link_that_is_new_can_be_resumed_first():
    """As the driver does: it counts from when it begins to listen."""
    host = lab.Host(opened=False)
    host.link.resume(1000.0)
    host.say(REPLY, 1, 1000.0)
    assert not host.link.is_silent(1000.9)
    assert host.link.is_silent(1000.91)


def test_time_is_counted_from_the_last_poll():
    host = lab.Host()
    host.link.poll(8.0)
    host.link.resume(9.0)
    # One second away, not nine: heard at 1 s of the new count.
    assert not host.link.is_silent(1.9)
    assert host.link.is_silent(1.91)


def test_silence_lasts_nine_tenths_of_a_second():
    host = lab.Host()
    assert not host.link.is_silent(0.8995)
    assert not host.link.is_silent(0.9)
    assert host.link.is_silent(0.9001)


def test_a_packet_that_is_cut_is_not_given_up_for_time_away():
    host = lab.Host()
    packet = encode_packet(lab.LOG, bytes(40), nonce=lab.NONCE, sequence=1)
    host.raw(packet[: HEADER_BYTES + 8], 0.0)
    host.link.resume(60.0)
    host.link.poll(60.2)
    assert not host.rejects
    host.link.poll(60.25)
    assert host.rejects[Reject.STALL] == 1


def test_nothing_is_asked_for_on_a_line_that_stands_still():
    for late, asked in ((0.19, True), (0.2, False)):
        host = lab.Host()
        host.sent()
        host.frames.wanted = [Missing(0, 0, ResendFlag.START, ())]
        host.link._next_heartbeat = 1e9
        host.link.poll(late)
        assert host.kinds() == (["Resend"] if asked else [])


def test_a_heartbeat_is_due_after_a_tenth_of_a_second():
    host = lab.Host()
    host.sent()
    host.link.poll(0.09995)
    assert host.kinds() == []
    host.link.poll(0.1)
    assert host.kinds() == ["Heartbeat"]


def test_a_lease_lasts_as_long_as_it_says():
    host = lab.Host()
    host.say(Busy(BusyReason.FLASH, 10_000), 0, 0.0)
    assert not host.link.is_silent(10.8999)
    assert host.link.is_silent(10.9001)


def test_a_postponed_request_is_repeated_when_the_lease_ends():
    host = lab.Host()
    host.link.request(Capture(0, 1, 0, 0, -1), 0.0)
    host.say(Pending(10_000), 2, 0.0)
    host.sent()
    host.link._next_heartbeat = 1e9
    host.link.poll(9.995)
    assert host.kinds() == []
    host.link.poll(10.0)
    assert host.kinds() == ["Capture"]


def test_a_packet_found_in_noise_is_a_sign_of_life():
    host = lab.Host()
    good = encode_packet(ALIVE.TYPE, ALIVE.encode(), nonce=lab.NONCE, sequence=1)
    # What follows is noise as well, so the line is out of sync when the call ends.
    host.raw(b"x" * HEADER_BYTES + good + b"y" * 200, 5.0)
    assert not host.link.is_silent(5.85)


def test_a_lane_lets_go_of_what_came_whole():
    host = lab.Host()
    memory = memoryview(bytearray(8))
    host.frames.place = lambda header, lane: memory
    host.say(ALIVE, 0, 0.0, kind=lab.TILE, payload=bytes(8))
    assert ("release", 0) in host.frames.told


def test_tiles_that_were_received_elsewhere_are_a_sign_of_life_and_are_granted_again():
    host = lab.Host(2)
    for lane in (0, 1):
        host.say(ALIVE, 0, 0.0, lane=lane)
    host.sent()
    quarter = WINDOW // 4
    host.link.passed(1, 3, quarter - 1, 2.0, lane=1)
    assert host.link.lanes[1].last_sequence == 3
    assert not host.link.is_silent(2.85)
    assert host.kinds() == []
    host.link.passed(1, 1, 1, 2.0, lane=0)
    [(_, grant)] = host.sent()
    assert grant.limit == (WINDOW, WINDOW + quarter)
    # Nothing is known of a third stream.
    host.link.passed(2, 1, WINDOW, 2.0)
    assert host.kinds() == []
