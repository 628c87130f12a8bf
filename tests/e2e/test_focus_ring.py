"""The focus ring at 2,000 ticks a second while previews are read, also on a bad link."""

from __future__ import annotations

import pytest
from helpers.nightly_scale import choose, say
from helpers.ring_turns import check_turns, lose_packets
from helpers.slowdown import patience

import lenslink
from lenslink_hil.faults.faulty_link import FaultyTransport

SECONDS = choose(2, 60)
PACKETS = 100 * SECONDS + 1000


@pytest.mark.parametrize("lost", [0.0, 0.1], ids=["no packet lost", "10 % of packets lost"])
def test_no_tick_is_lost(own_url, seed, capsys, lost):
    plan = lose_packets(lost, seed, PACKETS)
    made = []

    def wrap(transport):
        made.append(FaultyTransport(transport, plan))
        return made[0]

    with lenslink.open(own_url(scene="prbs", width=128, height=96), wrap=wrap) as device:
        plant = made[0].inner.module
        check_turns(device, plant, SECONDS, seed, SECONDS + patience(60))
        assert bool(device.stats.lost_packets) == bool(lost)
    say(capsys, f"{SECONDS} s of the ring, {lost:.0%} of packets lost, seed {seed}")
