"""Test a sensor that packs pixels, computes the CRCs of tiles, and repeats frames."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from lenslink.receive.unpacking import pack
from lenslink.settings import Settings
from lenslink_hil.plant import row_service
from lenslink_hil.plant.patterns import make_pattern
from lenslink_hil.plant.row_service import Request, RowService
from lenslink_hil.plant.scene import Scene, SceneOptions, open_scene
from lenslink_protocol.ids import PixelFormat
from lenslink_protocol.packings import find_layout

WIDTH, HEIGHT = 130, 66
FORMATS = (PixelFormat.RG12, PixelFormat.RG12p, PixelFormat.RG12Mipi, PixelFormat.RG12Packed)


def scene(**options):
    return open_scene(SceneOptions(scene="prbs", width=WIDTH, height=HEIGHT, **options))


def request(number, code=PixelFormat.RG12p, tile=(WIDTH, 4), crcs=True, exposure_us=10_000):
    return Request(number, 0, Settings(exposure_us, 1000, 0), crcs, code, tile)


def drain(rows, chunk=7001):
    """Compute and take everything, in pieces of another size than the tiles."""
    taken = []
    while rows.has_work() or rows.get_output() is not None:
        while rows.has_work():
            rows.work()
        data = rows.get_output()
        if data is not None:
            taken.append(bytes(data[:chunk]))
            rows.mark_sent(len(taken[-1]))
    return b"".join(taken)


def asked(rows, *requests):
    for each in requests:
        rows.feed(each.pack())
    return drain(rows)


def packed(number, code):
    pixels = make_pattern("prbs", WIDTH, HEIGHT, bits=12, cfa="RGGB", seed=0, frame_number=number)
    return pack(pixels, find_layout(code))


def with_crcs(number, code, tile):
    """Return the expected bytes, cut and with CRCs, computed apart from the code under test."""
    form, frame, out = find_layout(code), packed(number, code), b""
    columns, rows = tile
    for y in range(0, HEIGHT, rows):
        for x in range(0, WIDTH, columns):
            left, right = form.count_bytes(x), form.count_bytes(min(x + columns, WIDTH))
            piece = frame[y : y + rows, left:right].tobytes()
            out += piece + zlib.crc32(piece).to_bytes(4, "little")
    return out


@pytest.mark.parametrize("code", FORMATS)
def test_rows_are_packed_as_asked(code):
    rows = RowService(scene())
    found = asked(rows, request(3, code, (0, 0), False))
    assert found == packed(3, code).tobytes()


def test_a_request_that_names_no_format_gets_words():
    rows = RowService(scene())
    assert asked(rows, request(3, 0, (0, 0), False)) == packed(3, PixelFormat.RG12).tobytes()


@pytest.mark.parametrize("code", FORMATS)
@pytest.mark.parametrize(
    "tile", [(WIDTH, 4), (WIDTH, 66), (WIDTH, 64), (WIDTH, 1), (50, 1), (2, 1)]
)
@pytest.mark.parametrize("repeat", [0, 3])
def test_each_tile_is_followed_by_its_crc(code, tile, repeat):
    rows = RowService(scene(), repeat)
    assert asked(rows, request(2, code, tile)) == with_crcs(2, code, tile)


class Counting(Scene):
    """A source that counts the frames it is asked for."""

    def __init__(self, of):
        self.__dict__.update(of.__dict__)
        self.made = []

    def iterate_bands(self, mode_id, frame_number, settings, crop=None):
        found = super().iterate_bands(mode_id, frame_number, settings, crop)

        def counted():
            self.made.append(frame_number)
            yield from found

        return counted()


def test_repeated_frames_are_computed_once():
    source = Counting(scene(repeat=3))
    assert source.sensor.repeat == 3
    rows = RowService(source, 3)
    for number in (0, 1, 2, 3, 4, 5, 6, 3_000_000_001, 2**32 - 1):
        found = asked(rows, request(number))
        assert found == with_crcs(number % 3, PixelFormat.RG12p, (WIDTH, 4)), number
    assert sorted(source.made) == [0, 1, 2]


@pytest.mark.parametrize(
    "other",
    [{"code": PixelFormat.RG12}, {"tile": (WIDTH, 2)}, {"exposure_us": 5}],
    ids=lambda each: next(iter(each)),
)
def test_a_request_with_other_settings_is_computed_again(other):
    source = Counting(scene())
    rows = RowService(source, 3)
    asked(rows, request(0))
    changed = asked(rows, request(3, **other))
    code, tile = other.get("code", PixelFormat.RG12p), other.get("tile", (WIDTH, 4))
    assert changed == with_crcs(0, code, tile)
    asked(rows, request(0))
    assert source.made == [0, 0, 0], "one kind is kept"


def test_frames_that_are_too_large_are_fewer(monkeypatch):
    stride = find_layout(PixelFormat.RG12p).count_bytes(WIDTH)
    for room, kinds in ((3, 3), (2, 2), (1, 1), (0, 1)):
        monkeypatch.setattr(row_service, "STORED_BYTES", room * stride * HEIGHT)
        source = Counting(scene())
        rows = RowService(source, 3)
        for number in range(7):
            asked(rows, request(number))
        assert sorted(source.made) == list(range(kinds))


@pytest.mark.parametrize("ahead", [False, True], ids=["computed now", "ready"])
def test_a_wrong_crc_is_one_tiles_and_one_frames(ahead):
    rows = RowService(scene(), 3)
    right = with_crcs(0, PixelFormat.RG12p, (WIDTH, 4))
    if ahead:
        asked(rows, request(0))
    rows.spoil_crcs(1)
    wrong = asked(rows, request(3))
    differs = np.flatnonzero(np.frombuffer(wrong, np.uint8) != np.frombuffer(right, np.uint8))
    assert differs.tolist() == [4 * 195]
    assert asked(rows, request(6)) == right, "what is kept is sound"
