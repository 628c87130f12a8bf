"""Packing by property: there and back, compiled or not, whatever the width and the columns."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenslink.receive.unpacking import pack, unpack
from lenslink_protocol.ids import Cfa, PixelFormat
from lenslink_protocol.packings import Packing, find_layout, find_pixel_format, list_packings

FORMATS = [find_layout(code) for code in PixelFormat]
PACKED = [form for form in FORMATS if form.packing != Packing.UNPACKED]
needs_numba = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="NOT RUN: needs numba (extra 'isp')"
)


@st.composite
def rows(draw, formats=FORMATS):
    form = draw(st.sampled_from(formats))
    height, width = draw(st.integers(1, 4)), draw(st.integers(2, 70))
    seed = draw(st.integers(0, 2**32 - 1))
    pixels = np.random.default_rng(seed).integers(0, 1 << form.depth, (height, width))
    x = draw(st.integers(0, width))
    return form, pixels.astype(np.uint16), x, draw(st.integers(0, width - x))


@given(rows(), st.booleans())
def test_there_and_back(case, compiled):
    form, pixels, x, columns = case
    packed = pack(pixels, form)
    assert packed.shape == (pixels.shape[0], form.count_bytes(pixels.shape[1]))
    assert form.count_pixels(packed.shape[1]) == pixels.shape[1]
    assert (unpack(packed, form, compiled=compiled) == pixels).all()
    part = unpack(packed, form, x, columns, compiled=compiled)
    assert part.shape == (pixels.shape[0], columns)
    assert (part == pixels[:, x : x + columns]).all()
    out = np.full((pixels.shape[0], columns), 0xEEEE, np.uint16)
    assert unpack(packed, form, x, columns, out=out, compiled=compiled) is out
    assert (out == part).all()


@given(rows())
def test_bits_beyond_the_row_are_zero(case):
    """Of a row of ones, nothing but the pixels' bits is set."""
    form, pixels, _, _ = case
    ones = np.full_like(pixels, (1 << form.depth) - 1)
    assert int(np.unpackbits(pack(ones, form)).sum()) == ones.size * form.depth


@needs_numba
@given(rows(PACKED), st.integers(0, 2**32 - 1))
def test_compiled_and_not_are_one(case, seed):
    """Whatever the bytes are, also those that no packing makes."""
    form, pixels, x, columns = case
    shape = (pixels.shape[0], form.count_bytes(pixels.shape[1]))
    packed = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    plain = unpack(packed, form, x, columns, compiled=False)
    assert (unpack(packed, form, x, columns, compiled=True) == plain).all()


@given(rows(PACKED), st.data())
def test_places_on_groups(case, data):
    """What lies between two places where groups begin is that many bytes, and those pixels."""
    form, pixels, _, _ = case
    width = pixels.shape[1]
    first = data.draw(st.integers(0, (width - 1) // form.group)) * form.group
    ends = [*range(first + form.group, width, form.group), width]
    last = data.draw(st.sampled_from(ends))
    assert form.is_aligned(first, last - first, width)
    part = pack(pixels, form)[:, form.count_bytes(first) : form.count_bytes(last)]
    assert (unpack(np.ascontiguousarray(part), form) == pixels[:, first:last]).all()


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.code.name)
def test_columns_that_are_not_there(form):
    packed = pack(np.ones((2, 8), np.uint16), form)
    for x, columns in ((-1, 2), (0, 9), (8, 1), (3, -1)):
        with pytest.raises(ValueError, match="columns"):
            unpack(packed, form, x, columns)
    with pytest.raises(ValueError, match="do not go into"):
        unpack(packed, form, out=np.empty((2, 7), np.uint16))


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("cfa", Cfa)
def test_formats_of_a_sensor(bits, cfa):
    found = [find_layout(find_pixel_format(packing, bits, cfa)) for packing in list_packings(bits)]
    assert found[0].packing == Packing.UNPACKED
    assert found[0].depth >= bits
    assert [form.depth for form in found[1:]] == [bits] * (len(found) - 1)
    assert {form.cfa for form in found} == {cfa}
    assert len(found) == {10: 4, 12: 5, 14: 4}.get(bits, 1)


_CHILD = """
import json, numpy as np
from lenslink.receive import unpacking, unpacking_numba
from lenslink_protocol.ids import PixelFormat
from lenslink_protocol.packings import find_layout
form = find_layout(PixelFormat.RG12Mipi)
unpacking.unpack(np.zeros((4, 96), np.uint8), form, compiled=True)
stats = unpacking_numba.KERNELS[form.packing, 12].stats
print(json.dumps([sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]))
"""


@needs_numba
def test_what_was_compiled_is_kept(tmp_path):
    """The second process compiles nothing; the folder is the user's to name."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", _CHILD], env=environment, capture_output=True, check=True
        )
        found.append(json.loads(done.stdout))
    assert found == [[0, 1], [1, 0]]
    assert any(tmp_path.rglob("*.nbi"))


@needs_numba
def test_numba_is_taken_once_it_pays(monkeypatch):
    """Not for a picture or two: its import alone takes longer."""
    from lenslink.receive import unpacking

    asked = []
    monkeypatch.setattr(unpacking, "_load_kernels", lambda: asked.append(1))
    monkeypatch.setattr(unpacking._unpacked, "pixels", 0)
    monkeypatch.setattr(unpacking, "_MIN_COMPILED_PIXELS", 64 * 10)
    packed = pack(np.ones((4, 64), np.uint16), find_layout(PixelFormat.RG12p))
    for calls, expected in ((2, 0), (2, 2)):
        for _ in range(calls):
            unpack(packed, find_layout(PixelFormat.RG12p))
        assert len(asked) == expected


@needs_numba
def test_without_a_folder_to_keep_it_in(monkeypatch):
    """Where numba may write nowhere, it compiles for this process."""
    import numba

    real = numba.njit

    def njit(function, *, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(function, **options)

    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.delitem(sys.modules, "lenslink.receive.unpacking_numba", raising=False)
    kernels = importlib.import_module("lenslink.receive.unpacking_numba").KERNELS
    assert len(kernels) == 7
    form = find_layout(PixelFormat.RG12Packed)
    pixels = np.arange(64, dtype=np.uint16).reshape(2, 32)
    out = np.zeros_like(pixels)
    kernels[form.packing, 12](pack(pixels, form), 0, out)
    assert (out == pixels).all()


def test_import_is_light():
    """Numba is imported by whom needs it, when it does."""
    code = "import sys, lenslink; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
