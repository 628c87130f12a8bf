"""Test each packing and phase on rows that were packed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lenslink.receive.unpacking import pack, unpack
from lenslink_protocol.ids import Cfa, PixelFormat
from lenslink_protocol.packings import Packing, find_layout, find_pixel_format

FILE = Path(__file__).parents[2] / "protocol/lenslink_protocol/vectors/packings.json"
VECTORS = json.loads(FILE.read_text(encoding="utf-8"))["vectors"]
PHASES = (Cfa.GRBG, Cfa.RGGB, Cfa.GBRG, Cfa.BGGR)
CASES = [(vector, phase) for vector in VECTORS for phase in range(4)]
# numpy alone, then the fastest way on this machine.
WAYS = [False, True]


def each(case):
    return f"{case['name']}" if isinstance(case, dict) else None


def row_of(vector):
    return np.array([[int(pixel, 16) for pixel in vector["pixels"]]], np.uint16)


def count_bytes(vector):
    return np.frombuffer(bytes.fromhex(vector["bytes"]), np.uint8)[None]


@pytest.mark.parametrize(("vector", "phase"), CASES, ids=each)
def test_the_code_says_what_it_is(vector, phase):
    form = find_layout(int(vector["codes"][phase], 16))
    assert form.packing == vector["packing"]
    assert form.depth == vector["bits"]
    assert form.cfa == PHASES[phase]
    assert form.bits == (16 if vector["packing"] == "unpacked" else vector["bits"])


@pytest.mark.parametrize(("vector", "phase"), CASES, ids=each)
def test_packing(vector, phase):
    form = find_layout(int(vector["codes"][phase], 16))
    assert pack(row_of(vector), form).tobytes() == count_bytes(vector).tobytes()


@pytest.mark.parametrize("compiled", WAYS)
@pytest.mark.parametrize(("vector", "phase"), CASES, ids=each)
def test_unpacking_from_every_column(vector, phase, compiled):
    form = find_layout(int(vector["codes"][phase], 16))
    # Two rows: a row must not run into the next.
    packed = np.concatenate([count_bytes(vector), count_bytes(vector)])
    pixels = np.concatenate([row_of(vector), row_of(vector)])
    width = pixels.shape[1]
    for x in range(width):
        for columns in range(1, width - x + 1):
            found = unpack(packed, form, x, columns, compiled=compiled)
            assert found.tolist() == pixels[:, x : x + columns].tolist(), (x, columns)


def test_every_format_has_its_vector():
    named = {int(code, 16) for vector in VECTORS for code in vector["codes"]}
    words = {code for code in PixelFormat if find_layout(code).bits == 16}
    # Coded tiles have vectors of their own. Rows of these formats are those of lsb.
    coded = {code for code in PixelFormat if find_layout(code).packing == Packing.RICE}
    assert named | words | coded == set(PixelFormat)


@pytest.mark.parametrize(
    ("vector", "phase"), [case for case in CASES if case[0]["packing"] == "lsb"], ids=each
)
def test_rows_of_rice_are_those_of_lsb(vector, phase):
    lsb = find_layout(int(vector["codes"][phase], 16))
    rice = find_layout(find_pixel_format(Packing.RICE, lsb.depth, lsb.cfa))
    assert pack(row_of(vector), rice).tobytes() == count_bytes(vector).tobytes()
    for compiled in WAYS:
        assert (unpack(count_bytes(vector), rice, compiled=compiled) == row_of(vector)).all()
