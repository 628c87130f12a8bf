"""Test any manifest: bytes parse or are malformed, and the firmware's manifests parse."""

from __future__ import annotations

from contextlib import suppress

import pytest
from helpers import module_world
from hypothesis import given
from hypothesis import strategies as st

from lensfw import manifest
from lenslink_protocol.manifest import encode_entry, iterate_entries, parse_manifest
from lenslink_protocol.messages import ENTRY_BY_KEY, TEXT_BY_KEY, Malformed
from lenslink_protocol.params import MAX_HEIGHT, MAX_WIDTH, MIN_SIDE

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
EVEN = st.integers(MIN_SIDE // 2, 4096).map(lambda half: 2 * half)
U32 = st.integers(0, (1 << 32) - 1)
I32 = st.integers(-(1 << 31), (1 << 31) - 1)


@st.composite
def configurations(draw):
    config = module_world.configuration(bits=draw(st.sampled_from([8, 10, 12, 14, 16])))
    for key in ("maker", "model", "serial", "board"):
        config[key] = draw(TEXT)
    sensor = config["sensor"]
    sensor["cfa"] = draw(st.sampled_from(["RGGB", "GRBG", "GBRG", "BGGR"]))
    sensor["orientation"] = draw(st.integers(1, 8))
    black = st.integers(0, sensor["white"] - 1)
    sensor["black"] = draw(st.lists(black, min_size=4, max_size=4))
    bottom = st.integers(1, (1 << 31) - 1)
    sensor["color_matrix"] = [draw(s) for _ in range(9) for s in (I32, bottom)]
    sensor["neutral"] = [draw(s) for _ in range(3) for s in (U32, bottom)]
    sensor["modes"] = [
        {
            "id": number,
            "name": draw(st.text("abcdefghij-", min_size=1, max_size=16)),
            "width": draw(EVEN),
            "height": draw(EVEN),
            "binning": draw(st.integers(1, 2)),
            "use": draw(st.sampled_from([[], ["preview"], ["still"], ["preview", "still"]])),
            "active_area": [0, 0, MIN_SIDE, MIN_SIDE],
        }
        for number in range(draw(st.integers(1, 5)))
    ]
    config["scale"] = draw(st.none() | st.just({"pixels_milli": 7, "rate_milli": 9}))
    return config


@given(configurations(), st.lists(st.tuples(st.integers(0x8000, 0xFFFF), st.binary(max_size=9))))
def test_what_the_firmware_builds_comes_back(config, vendors):
    sensor = config["sensor"]
    data = manifest.build(config) + b"".join(encode_entry(*vendor) for vendor in vendors)
    parsed = parse_manifest(data)
    assert (parsed.maker, parsed.model) == (config["maker"], config["model"])
    assert (parsed.serial, parsed.board) == (config["serial"], config["board"])
    assert parsed.firmware.startswith("lensfw ")
    assert parsed.cfa.name == sensor["cfa"]
    assert (parsed.sensor.bits, parsed.sensor.white) == (sensor["bits"], sensor["white"])
    assert parsed.sensor.orientation == sensor["orientation"]
    assert list(parsed.sensor.black_milli) == [1000 * level for level in sensor["black"]]
    assert list(parsed.color.matrix) == sensor["color_matrix"]
    assert list(parsed.color.neutral) == sensor["neutral"]
    for mode, told in zip(parsed.modes, sensor["modes"], strict=True):
        assert (mode.id, mode.name, mode.binning) == (told["id"], told["name"], told["binning"])
        assert (mode.width, mode.height) == (told["width"], told["height"])
        assert [use.name.lower() for use in mode.use] == told["use"]
    assert (parsed.scale is None) == (config["scale"] is None)
    assert parsed.skipped == tuple(key for key, _ in vendors)


KEYS = st.sampled_from([*TEXT_BY_KEY, *ENTRY_BY_KEY, 0x7777, 0x8000])


@given(st.binary(max_size=200))
def test_any_bytes(data):
    with suppress(Malformed):
        parse_manifest(data)


@given(st.lists(st.tuples(KEYS, st.binary(max_size=130)), max_size=20))
def test_any_entries(pairs):
    data = b"".join(encode_entry(*pair) for pair in pairs)
    assert list(iterate_entries(data)) == pairs
    with suppress(Malformed):
        parse_manifest(data)


SOUND = manifest.build(module_world.configuration())


@given(st.data())
def test_any_damage(data):
    damaged = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(SOUND) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = parse_manifest(bytes(damaged))
    except Malformed:
        return
    # A manifest that is accepted is possible.
    for mode in parsed.modes:
        assert MIN_SIDE <= mode.width <= MAX_WIDTH
        assert MIN_SIDE <= mode.height <= MAX_HEIGHT
        top, left, bottom, right = mode.active_area
        assert 0 <= top < bottom <= mode.height
        assert 0 <= left < right <= mode.width
    assert 8 <= parsed.sensor.bits <= 16
    # No later division is by zero.
    assert all(parsed.color.matrix[1::2])
    assert all(parsed.color.neutral[1::2])


@pytest.mark.parametrize("cut", range(len(SOUND)))
def test_any_end(cut):
    """A manifest that ends early has fewer entries, or is malformed."""
    try:
        parsed = parse_manifest(SOUND[:cut])
    except Malformed:
        return
    assert parsed.modes
