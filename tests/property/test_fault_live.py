"""One fault at every byte while both machines run: whatever it hits, the session goes on.

A sample of the bytes here, all of them with LENSLINK_NIGHTLY=1.

In what the host sends, and in what the module sends; on virtual time.
"""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from helpers import byte_listener, recorded_session
from helpers.nightly_scale import NIGHTLY, say
from helpers.recorded_session import FAULTS, FRAMES, LATENCY_S, RATE, damaged

from lensfw import framing
from lenslink_hil.virtual_time import Line
from lenslink_protocol.messages import HEADER
from lenslink_protocol.params import HEADER_BYTES

TILE_BYTES = 128


class OneFault:
    """Damages one byte of all that is sent."""

    def __init__(self, at: int, what: str, chance: random.Random) -> None:
        self.at = at
        self.what = what
        self.chance = chance
        self.sent = 0
        self.done = False

    def __call__(self, packet: bytes) -> list[bytes]:
        place = self.at - self.sent
        self.sent += len(packet)
        if 0 <= place < len(packet):
            self.done = True
            packet = damaged(packet, place, self.what, self.chance)
        return [packet] if packet else []


def check(live, where):
    """All frames came, whole and right; nothing was done twice."""
    for assembly in live.frames.finished_frames:
        assert assembly.received_ranges.is_complete, where
        right = np.frombuffer(recorded_session.picture(assembly.number), "<u2")
        assert (assembly.unpack_pixels().ravel() == right).all(), where
    assert [assembly.number for assembly in live.frames.finished_frames] == list(range(FRAMES)), (
        where
    )
    assert live.module.next_frame == FRAMES, where


def run(direction, places, seed, capsys):
    """A session for each of *places*: an offset and a fault."""
    chance = random.Random(seed)
    for at, what in places:
        where = f"{what} at byte {at} from the {direction}, seed {seed}"
        fault = OneFault(at, what, random.Random(chance.random()))
        faulty, sound = Line(RATE, LATENCY_S, fault), Line(RATE, LATENCY_S)
        lines = (sound, faulty) if direction == "host" else (faulty, sound)
        live = recorded_session.bench(TILE_BYTES, *lines)
        assert recorded_session.shake_hands(live, TILE_BYTES), where
        assert recorded_session.shoot(live), where
        assert fault.done, where
        check(live, where)
    say(capsys, f"{len(places)} sessions with a fault in what the {direction} sends")


@pytest.fixture(scope="module")
def recorded():
    return recorded_session.record(TILE_BYTES)


def test_from_the_host(recorded, seed, capsys):
    # Without the goodbye, which nobody answers.
    length = len(recorded[1]) - 43
    every = [(at, what) for at in range(length) for what in FAULTS]
    # Like every step here, three has no factor in common with the number of faults: each comes to
    # each kind of byte.
    run("host", every if NIGHTLY else every[::3], seed, capsys)


def test_from_the_module(recorded, seed, capsys):
    every = [(at, what) for at in range(len(recorded[0].data)) for what in FAULTS]
    run("module", every if NIGHTLY else every[::13], seed, capsys)


def packets_of(data):
    """(offset, sequence) of the packets of a sound stream."""
    at = 0
    while at < len(data):
        header = HEADER.unpack_from(data, at)
        yield at, header[6]
        at += HEADER_BYTES + header[12]


@pytest.mark.parametrize("what", FAULTS)
def test_what_a_fault_costs_the_module(recorded, what, seed):
    """At every byte: the damaged packet and the next at most."""
    data = recorded[1]
    bounds = list(packets_of(data))
    assert len(bounds) >= 6
    chance = random.Random(seed)
    for at in range(len(data)):
        index = max(i for i, (start, _) in enumerate(bounds) if start <= at)
        out = receive(damaged(data, at, what, chance))
        lost = {sequence for _, sequence in bounds} - set(out)
        most = {sequence for _, sequence in bounds[index : index + 2]}
        if what == "insert" and at == bounds[index][0]:
            most = set()
        assert lost <= most, f"{what} at byte {at}, seed {seed}"
        assert sorted(out) == out


def receive(data):
    """Sequences of what comes out of the module's receiver, silence included."""
    receiver = framing.Receiver({})
    out = []
    now = 0

    def take():
        while (found := receiver.parse_packet(now)) is not None:
            out.append(found[0][6])

    for start in range(0, len(data), 300):
        piece = data[start : start + 300]
        receiver.get_space()[: len(piece)] = piece
        receiver.add_received(len(piece), now)
        take()
    for _ in range(5):
        now += 300_000
        take()
    return out


def test_a_packet_that_comes_twice_is_used_once(recorded):
    data = recorded[1]
    bounds = [start for start, _ in packets_of(data)] + [len(data)]
    stream = [{"hex": data.hex()}]
    used, _ = byte_listener.listen(stream, 1000)
    for start, end in pairwise(bounds):
        twice = data[:end] + data[start:]
        again, discards = byte_listener.listen([{"hex": twice.hex()}], 1000)
        assert again == used
        assert sum(discards.values()) == 1
