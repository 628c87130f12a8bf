"""The kit's own packets: it must see what is wrong, and say what is wrong on purpose."""

from __future__ import annotations

import pytest

from lenslink_hil.conformance.packets import Parser, parse
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import GetManifest, Log
from lenslink_protocol.params import MAX_CONTROL

PACKET = encode_packet(
    MessageType.GET_MANIFEST, GetManifest(7).encode(), nonce=5, sequence=3, frame=9
)


@pytest.mark.parametrize("size", [1, 3, 40, 1000])
def test_packets_in_pieces(size: int) -> None:
    parser = Parser()
    data = PACKET * 5
    found = [
        packet
        for at in range(0, len(data), size)
        for packet in parser.feed(data[at : at + size], 1.5)
    ]
    assert [packet.message() for packet in found] == [GetManifest(7)] * 5
    assert {(packet.id, packet.at) for packet in found} == {(9, 1.5)}
    assert parser.damage == []


@pytest.mark.parametrize(
    ("damaged", "what"),
    [
        (b"noise" + PACKET, "between"),
        (PACKET[:20] + b"\xff" + PACKET[21:], "header"),
        (PACKET[:-1] + b"\xff", "payload"),
        (encode_packet(1, bytes(MAX_CONTROL + 1), nonce=1, sequence=1), "announces"),
    ],
)
def test_damage_is_seen_and_passed(damaged: bytes, what: str) -> None:
    parser = Parser()
    found = parser.feed(damaged + PACKET, 0.0)
    assert what in parser.damage[0]
    assert found[-1].message() == GetManifest(7)


def test_a_packet_is_changed_and_sealed_anew() -> None:
    packet = parse(PACKET)
    assert packet is not None
    assert packet.encode() == PACKET
    changed = packet.encode(type=Log.TYPE, nonce=6, payload=Log(1, 2, b"x").encode())
    [found] = Parser().feed(changed, 0.0)
    assert (found.header.nonce, found.message()) == (6, Log(1, 2, b"x"))
    assert parse(PACKET[:-1]) is None
    assert parse(b"") is None
