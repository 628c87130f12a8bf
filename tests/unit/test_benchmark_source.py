"""The benchmark's packets are those of the protocol, whatever is patched into them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lenslink_hil.benchmark.latency import compute_quantiles
from lenslink_hil.benchmark.ready_module import ReadyModule
from lenslink_hil.benchmark.tiles import Picture, Tiles, make_payload
from lenslink_hil.recording.script import parse_valid_header, split_packets
from lenslink_protocol.ids import Flag, MessageType
from lenslink_protocol.params import HEADER_BYTES


@pytest.fixture(scope="module", params=[(128, 48, 1024), (128, 48, 100), (96, 40, 1000)])
def plan(request):
    width, height, tile_bytes = request.param
    return ReadyModule(width, height, tile_bytes, "T").plan_stream(tile_bytes)


def test_tiles_cover_the_frame_once(plan):
    covered = np.zeros((plan.height, plan.width), dtype=int)
    for x, y, columns, rows in Tiles(plan).places:
        covered[y : y + rows, x : x + columns] += 1
    assert (covered == 1).all()


def test_sealed_packets_are_sound(plan, seed):
    print(f"seed {seed}")
    chance = random.Random(seed)
    tiles = Tiles(plan)
    picture = Picture(plan, tiles, 7)
    for _ in range(20):
        first = chance.randrange(len(tiles))
        last = chance.randint(first + 1, len(tiles))
        nonce, sequence, frame = (chance.getrandbits(32) for _ in range(3))
        found = list(
            split_packets(bytes(picture.number_packets(first, last, nonce, sequence, frame)))
        )
        assert [sound for *_, sound in found] == [True] * (last - first)
        for number, (_, _, header, _) in enumerate(found):
            assert header.type == MessageType.TILE
            assert (header.nonce, header.frame) == (nonce, frame)
            assert header.sequence == (sequence + number) & 0xFFFFFFFF
            assert (header.x, header.y, header.width, header.height) == tiles.places[first + number]
            assert header.length == tiles.lengths[first + number]


def test_payloads_are_the_frame(plan):
    tiles = Tiles(plan)
    picture = Picture(plan, tiles, 3)
    whole = b"".join(
        bytes(
            picture.view[tiles.packet_offset(index) + HEADER_BYTES : tiles.packet_offset(index + 1)]
        )
        for index in range(len(tiles))
    )
    assert whole == make_payload(plan.frame_bytes, 3).tobytes()
    assert Picture(plan, tiles, 4).crc != picture.crc


def test_a_damaged_tile_keeps_its_header(plan):
    tiles = Tiles(plan)
    picture = Picture(plan, tiles, 1)
    before = bytes(picture.number_packets(0, len(tiles), 1, 0, 0))
    picture.toggle_damage(2)
    sound = [each[3] for each in split_packets(bytes(picture.view)) if each[2] is not None]
    assert sound == [index != 2 for index in range(len(tiles))]
    picture.toggle_damage(2)
    assert bytes(picture.view) == before


def test_a_tile_of_its_own(plan):
    picture = Picture(plan, Tiles(plan), 1)
    data = picture.build_packet(1, 5, 6, 7, Flag.RESENT)
    header = parse_valid_header(data[:HEADER_BYTES])
    assert header is not None
    assert (header.nonce, header.sequence, header.frame, header.flags) == (5, 6, 7, Flag.RESENT)
    [(_, _, _, sound)] = split_packets(data)
    assert sound


def test_the_last_percent():
    values = list(range(1, 201))
    assert compute_quantiles(values) == {"p50": 100.5, "p99": 198, "max": 200}
    assert compute_quantiles([3, 1, 2]) == {"p50": 2, "p99": 3, "max": 3}
