"""Test the patterns against their definition, written a second time; and binning."""

from __future__ import annotations

import numpy as np
import pytest

from lenslink.settings import Settings
from lenslink_hil.plant.binning import bin2x2, iterate_bands
from lenslink_hil.plant.patterns import PATTERNS, Pattern, make_pattern
from lenslink_hil.plant.scene import SceneOptions, open_scene
from lenslink_hil.plant.sensor_model import CFA_PHASES


def mix(value: int) -> int:
    value &= 0xFFFFFFFF
    value ^= value >> 16
    value = value * 0x7FEB352D & 0xFFFFFFFF
    value ^= value >> 15
    value = value * 0x846CA68B & 0xFFFFFFFF
    return value ^ value >> 16


def prbs_pixel(index: int, bits: int, seed: int, frame: int) -> int:
    mask, shift = (1 << bits) - 1, (bits + 1) // 2
    key = mix(mix(mix(seed) + frame) + (index >> bits))
    value = ((index & mask) ^ key) & mask
    value = value * 0xB2D5 & mask
    value ^= value >> shift
    value = (value + (key >> 16)) * 0x6C4B & mask
    return value ^ value >> shift


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_prbs_is_what_its_definition_says(bits):
    rows = make_pattern(
        "prbs", 90, 70, bits=bits, cfa="RGGB", seed=2**32 - 3, frame_number=2**32 - 1
    )
    expected = [prbs_pixel(i, bits, 2**32 - 3, 2**32 - 1) for i in range(90 * 70)]
    assert rows.shape == (70, 90)
    assert rows.ravel().tolist() == expected


@pytest.mark.parametrize("bits", [12, 14])
def test_prbs_holds_every_code_and_changes(bits):
    frames = [
        make_pattern("prbs", 128, 128, bits=bits, cfa="RGGB", seed=seed, frame_number=number)
        for seed, number in ((0, 0), (0, 1), (1, 0))
    ]
    for frame in frames:
        assert np.array_equal(np.unique(frame), np.arange(1 << bits))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (frames[one] != frames[other]).mean() > 0.99


def test_ramp_counts_along_both_sides_and_frames():
    rows = make_pattern("ramp", 200, 4096, bits=12, cfa="RGGB", seed=9, frame_number=4000)
    y, x = np.mgrid[:4096, :200]
    assert np.array_equal(rows, (x + y + 4000) % 4096)
    assert len(np.unique(rows)) == 4096


def test_ramp_survives_the_largest_frame_number():
    rows = make_pattern("ramp", 64, 64, bits=14, cfa="RGGB", seed=0, frame_number=2**32 - 1)
    assert rows[0, :3].tolist() == [16383, 0, 1]


@pytest.mark.parametrize("cfa", CFA_PHASES)
def test_bars_light_the_right_filters(cfa):
    rows = make_pattern("bars", 160, 64, bits=12, cfa=cfa, seed=0, frame_number=0)
    colours = ["RGB", "RG", "GB", "G", "RB", "R", "B", ""]
    for y in range(64):
        for x in range(160):
            lit = cfa[2 * (y % 2) + x % 2] in colours[x // 20]
            assert rows[y, x] == (4095 if lit else 256)


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_bands_join_to_the_whole(name):
    spec = Pattern(name, 14, "GBRG", 3)
    assert len(list(iterate_bands(1000, 1002))) > 1
    parts = list(spec.iterate_bands(1000, 1002, 7, Settings()))
    whole = make_pattern(name, 1000, 1002, bits=14, cfa="GBRG", seed=3, frame_number=7)
    assert np.array_equal(np.concatenate(parts), whole)
    assert all(len(part) % 4 == 0 for part in parts[:-1])


def test_binning_rounds_half_up_within_each_colour():
    rows = np.random.default_rng(1).integers(0, 65536, (22, 30)).astype(np.uint16)
    out = bin2x2(rows)
    assert out.shape == (10, 14)
    assert out.flags.c_contiguous
    for y in range(10):
        for x in range(14):
            top, left = y // 2 * 4 + y % 2, x // 2 * 4 + x % 2
            four = [int(rows[top + v, left + h]) for v in (0, 2) for h in (0, 2)]
            assert out[y, x] == (sum(four) + 2) >> 2


def test_binned_mode_is_the_full_frame_binned():
    for scene_name in ("prbs", "photo"):
        scene = open_scene(SceneOptions(scene=scene_name, width=1030, height=770, seed=4))
        full, binned = (scene.rows(mode, 5, Settings(9000, 1500, 0)) for mode in (0, 1))
        assert binned.shape == (384, 514)
        assert np.array_equal(binned, bin2x2(full))


def test_scene_shows_the_pattern_exactly():
    options = SceneOptions(scene="prbs", width=640, height=480, bits=14, cfa="BGGR", seed=77)
    scene = open_scene(options)
    expected = make_pattern("prbs", 640, 480, bits=14, cfa="BGGR", seed=77, frame_number=12)
    rows = scene.rows(0, 12, Settings(1, 9999, 100))
    assert np.array_equal(rows, expected)
    assert rows.flags.c_contiguous
