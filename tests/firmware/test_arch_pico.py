"""Thumb's instructions on an emulated RP2040: the suite's functions, and what they cost.

Skipped, with what is missing, where there is no emulator or no image.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lenslink.errors import LensLinkError
from lenslink_hil.flash.image import board_files
from lenslink_hil.pico.image import load_image
from lenslink_hil.pico.run import run
from lenslink_hil.pico.setup import find_library, find_node

SUITE = Path(__file__).resolve().parent / "suites/arch.py"
CALL = """
from lensfw import arch
print(arch.NAME)
for name in {names}:
    try:
        globals()[name]()
        print(name, "passed")
    except Exception as error:
        print(name, repr(error))
"""
# Emulated cycles a byte or pixel, measured with some room: see arch/thumb.py.
RATES = """
import time
buffer, words = bytearray(8192), bytearray(8192)
prbs = arch.Prbs(12, 1)
found = []
for _ in range(5):
    begun = time.ticks_us()
    arch.seal_crc(buffer, 0, 8188, 8188)
    crc = time.ticks_us()
    arch.pack12(buffer, 0, words, 4096)
    pack = time.ticks_us()
    prbs.pixels(words, 0, 0, 4096)
    found.append((crc - begun, pack - crc, time.ticks_us() - pack))
# The least of a few: USB's interrupts are in the others.
for name, each, count in zip(("crc", "pack", "pixels"), zip(*found), (8188, 4096, 4096)):
    print(name, min(each) * 125 // count)
"""


@pytest.fixture(scope="module")
def printed() -> list[str]:
    try:
        find_node()
        find_library()
        load_image()
        files = board_files("pico", {"serial": "S"})
    except LensLinkError as error:
        pytest.skip(str(error))
    source = SUITE.read_text("utf-8")
    names = [each.name for each in ast.parse(source).body if isinstance(each, ast.FunctionDef)]
    script = source + CALL.format(names=names) + RATES
    text = b""
    try:
        for piece in run(files | {"boot.py": b"", "main.py": b""}, script=script.encode()):
            if isinstance(piece, bytes):
                text += piece
    except LensLinkError as error:
        if "extra" in str(error):
            pytest.skip(str(error))
        raise
    lines = text.decode().replace("\r", "").splitlines()
    assert lines and lines[0] == "thumb", text.decode()
    assert len(lines) == 1 + len(names) + 3, text.decode()
    return lines


@pytest.mark.timeout(300)
def test_the_suite(printed):
    failed = [line for line in printed[1:-3] if not line.endswith(" passed")]
    assert not failed


@pytest.mark.timeout(300)
def test_cycles(printed):
    cycles = dict(line.split() for line in printed[-3:])
    print("emulated cycles a byte or pixel:", cycles)
    assert int(cycles["crc"]) <= 10
    assert int(cycles["pack"]) <= 8
    assert int(cycles["pixels"]) <= 24
