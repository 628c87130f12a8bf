"""Any tile is coded and decoded without loss, and any damaged code is found or harmless."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest
from helpers.nightly_scale import choose, say
from hypothesis import given, settings
from hypothesis import strategies as st

from lenslink.receive.rice_decoding import decode_pixels
from lenslink_protocol.rice import DamagedTile, decode_tile, encode_tile

CODES = choose(200_000, 100_000_000)
COMPARED = choose(3_000, 500_000)
BITS = (10, 12, 14)


@st.composite
def tiles(draw):
    """Rows of pixels: smooth, noisy or anything."""
    bits = draw(st.sampled_from(BITS))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 40))
    source = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from((0, 1, 6, 50, 1 << bits)))
    level = draw(st.integers(0, (1 << bits) - 1))
    pixels = level + source.normal(0, 1, (height, width)) * spread
    return bits, np.clip(np.rint(pixels), 0, (1 << bits) - 1).astype(np.uint16)


@given(tiles(), st.integers(0, 3))
@settings(max_examples=choose(150, 20_000), deadline=None)
def test_a_tile_comes_back(tile, zeros):
    bits, pixels = tile
    height, width = pixels.shape
    code = encode_tile(pixels.tolist(), bits) + bytes(zeros)
    assert decode_tile(code, width, height, bits) == pixels.tolist()
    for compiled in (False, True):
        found = decode_pixels(code, width, height, bits, compiled=compiled)
        assert (found == pixels).all()


def mutate(source, code):
    """Return a code that was cut, or changed in some bits or bytes."""
    changed = bytearray(code)
    for _ in range(source.choice((0, 1, 1, 3, 20))):
        changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    kind = source.randrange(4)
    if kind == 0:
        del changed[source.randrange(1, len(changed) + 1) :]
    elif kind == 1:
        changed += source.randbytes(source.randrange(9))
    elif kind == 2:
        changed[:] = source.randbytes(len(changed))
    return bytes(changed)


def decode_or_none(decode, code, width, height, bits):
    try:
        return np.asarray(decode(code, width, height, bits)).tolist()
    except DamagedTile:
        return None


def test_the_decoders_agree_on_damage(capsys):
    """Each finds it, or all decode the same pixels. Memory does not grow."""
    seed = random.randrange(1 << 32)
    say(capsys, f"codes that all decoders get: {COMPARED:,} with seed {seed}")
    source = random.Random(seed)
    decode_pixels(encode_tile([[1]], 12), 1, 1, 12)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(COMPARED):
        bits, width, height = source.choice(BITS), source.randint(1, 23), source.randint(1, 5)
        level, spread = source.randrange(1 << bits), source.choice((1, 9, 300))
        pixels = range(level, min(level + spread, 1 << bits))
        rows = [[source.choice(pixels) for _ in range(width)] for _ in range(height)]
        damaged = mutate(source, encode_tile(rows, bits))
        found = decode_or_none(decode_pixels, damaged, width, height, bits)
        expected = decode_or_none(decode_tile, damaged, width, height, bits)
        assert found == expected, (damaged.hex(), width, height, bits, seed)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 100_000


def test_no_code_makes_the_fast_decoder_read_or_write_elsewhere(capsys):
    """Every access of the compiled decoder is checked. What it accepts are pixels."""
    numba = pytest.importorskip("numba")
    from lenslink.receive import rice_decoding_numba

    decode = numba.njit(rice_decoding_numba.decode.py_func, boundscheck=True)

    @numba.njit(boundscheck=True)
    def run(words, limit, bits, pixels, count, seed):
        np.random.seed(seed)
        damaged = words.copy()
        accepted = 0
        for _ in range(count):
            damaged[:-1] = words[:-1]
            size = limit
            if np.random.randint(0, 8) == 0:
                for i in range(len(damaged) - 1):
                    damaged[i] = np.random.randint(0, 1 << 32)
            for _ in range(np.random.randint(0, 4)):
                at = np.random.randint(0, 32 * (len(damaged) - 1))
                damaged[at // 32] ^= np.uint32(1) << np.uint32(at % 32)
            if np.random.randint(0, 4) == 0:
                size = 8 * np.random.randint(1, limit // 8 + 1)
                damaged[size // 32 + 1 :] = 0
                damaged[size // 32] &= (np.uint32(1) << np.uint32(size % 32)) - np.uint32(1)
            if decode(damaged, size, bits, pixels):
                accepted += 1
                if pixels.max() >> bits:
                    return -1
        return accepted

    seed = random.randrange(1 << 31)
    say(capsys, f"codes that the fast decoder gets: {CODES:,} with seed {seed}")
    source = np.random.default_rng(seed)
    tiles = [(bits, width, height) for bits in BITS for width, height in ((7, 5), (16, 2), (33, 3))]
    for bits, width, height in tiles:
        rows = source.integers(300, 340, (height, width)).tolist()
        code = encode_tile(rows, bits)
        words = np.zeros(len(code) // 4 + 2, "<u4")
        words.view(np.uint8)[: len(code)] = np.frombuffer(code, np.uint8)
        pixels = np.empty((height, width), np.uint16)
        accepted = run(words, 8 * len(code), bits, pixels, CODES // len(tiles), seed)
        assert 0 < accepted < CODES // len(tiles), (seed, bits, width, height)


def test_a_short_code_takes_no_memory_for_a_large_tile():
    for compiled in (False, True):
        with pytest.raises(DamagedTile):
            decode_pixels(b"\x54" * 100, 65535, 65535, 12, compiled=compiled)
