"""Test the reference, both decoders of the driver and the C decoder on the same coded tiles."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from helpers import vectors

from lenslink.receive.rice_decoding import decode_pixels
from lenslink_protocol.rice import DamagedTile, decode_tile, encode_tile

VECTORS = vectors.load("rice")
GOOD = [each for each in VECTORS if "code" in each]
DAMAGED = [each for each in VECTORS if "damaged" in each]
# What a module writes: without bytes of 0 behind the code, and with no needless escapes.
WRITTEN = [each for each in GOOD if "followed" not in each["name"] and "not" not in each["name"]]


def name_of(vector):
    return vector["name"]


def read_rows(vector):
    return [[int(pixel, 16) for pixel in row.split()] for row in vector["rows"]]


@pytest.mark.parametrize("vector", WRITTEN, ids=name_of)
def test_coding(vector):
    assert encode_tile(read_rows(vector), vector["bits"]).hex() == vector["code"]


@pytest.mark.parametrize("vector", GOOD, ids=name_of)
def test_decoding(vector):
    rows, code = read_rows(vector), bytes.fromhex(vector["code"])
    size = len(rows[0]), len(rows)
    assert decode_tile(code, *size, vector["bits"]) == rows
    for compiled in (False, True):
        found = decode_pixels(code, *size, vector["bits"], compiled=compiled)
        assert found.dtype == np.uint16
        assert found.tolist() == rows


@pytest.mark.parametrize("vector", DAMAGED, ids=name_of)
def test_damage_is_found(vector):
    code, size = bytes.fromhex(vector["damaged"]), (vector["width"], vector["height"])
    with pytest.raises(DamagedTile):
        decode_tile(code, *size, vector["bits"])
    for compiled in (False, True):
        with pytest.raises(DamagedTile):
            decode_pixels(code, *size, vector["bits"], compiled=compiled)


def list_bytes(data):
    return ", ".join(map(str, data)) or "0"


def c_program():
    """Return a program whose exit code is the number of the first vector that goes wrong, or 0."""
    lines = ['#include "lenslink.h"', "#include <string.h>", "int main(void) {"]
    lines.append("    static uint16_t pixels[4096];")
    for number, vector in enumerate(VECTORS, 1):
        code = bytes.fromhex(vector.get("code") or vector["damaged"])
        rows = read_rows(vector) if "rows" in vector else None
        width, height = (len(rows[0]), len(rows)) if rows else (vector["width"], vector["height"])
        call = (
            f"lenslink_decode_rice(code, {len(code)}, {vector['bits']}, {width}, {height}, pixels)"
        )
        lines.append(f"    {{ const uint8_t code[] = {{{list_bytes(code)}}};")
        if rows:
            flat = [pixel for row in rows for pixel in row]
            lines.append(f"    const uint16_t right[] = {{{list_bytes(flat)}}};")
            wrong = f"{call} || memcmp(pixels, right, sizeof right)"
        else:
            wrong = f"{call} != -1"
        lines.append(f"    if ({wrong}) return {number}; }}")
    return "\n".join([*lines, "    return 0;", "}"]) + "\n"


@pytest.mark.parametrize(
    ("compiler", "options"),
    [
        ("gcc", ["-x", "c", "-std=c11"]),
        ("g++", ["-x", "c++", "-std=c++11"]),
    ],
)
def test_the_c_decoder(compiler, options, tool, tmp_path, root):
    source, program = tmp_path / "check.c", tmp_path / "check"
    source.write_text(c_program())
    include = str(root / "protocol/lenslink_protocol")
    flags = [*options, "-Wall", "-Wextra", "-Werror", "-pedantic", "-I", include]
    command = [tool(compiler), *flags, str(source), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (VECTORS[done.returncode - 1], done.stderr)
