"""The firmware's coder writes what the reference writes, and fills it up with zeros."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import vectors

from lensfw.arch import plain_coder, portable
from lenslink.receive.rice_decoding import decode_pixels
from lenslink_protocol.rice import encode_tile

VECTORS = [each for each in vectors.load("rice") if "code" in each]


def encode(rows: list[list[int]], bits: int, most: int) -> bytes:
    """Return the firmware's code of a tile."""
    pixels = bytes(4) + np.array(rows, "<u2").tobytes()
    out = bytearray(4 + most)
    length = plain_coder.encode_rice(out, pixels, 4, len(rows[0]), len(rows), bits, most)
    return bytes(out[4 : 4 + length])


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_firmware_codes_each_vector(vector):
    rows = [[int(pixel, 16) for pixel in row.split()] for row in vector["rows"]]
    code = encode_tile(rows, vector["bits"])
    found = encode(rows, vector["bits"], 1024)
    assert len(found) % portable.RICE_STEP == 0
    assert found[: len(code)] == code
    assert not any(found[len(code) :])
    width, height = len(rows[0]), len(rows)
    assert decode_pixels(found, width, height, vector["bits"]).tolist() == rows
