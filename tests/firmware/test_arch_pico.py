"""The firmware on an emulated RP2040: Thumb's instructions, and what it costs of time and heap.

Skipped, with what is missing, where there is no emulator or no image.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from helpers import bench_scale
from helpers.nightly_scale import NIGHTLY, choose, say, tell
from helpers.slowdown import patience

from lensfw.arch import plain_coder
from lenslink.errors import LensLinkError
from lenslink_hil.flash.board_files import board_files
from lenslink_hil.pico.run import run_script
from lenslink_protocol.hmac_proof import make_proof

SUITE = Path(__file__).resolve().parent / "suites/arch.py"
# Nothing drives the supply and the contacts here. A board without these pins is seated.
UNWIRED = dict.fromkeys(("power", "contact", "release", "fault", "end_stop", "vbus_adc"))
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
# The modules of MicroPython itself are loaded already, or written in C.
LOADED = """
import gc
gc.collect()
before = gc.mem_alloc()
for name in {names}:
    __import__(name)
gc.collect()
print(gc.mem_alloc() - before, gc.mem_free() + gc.mem_alloc())
"""
START = {"boot.py": b"", "main.py": b"import sys\nsys.path.insert(0, '/a')\n"}
# With everything that the main loop needs, but not on the bus: the script has the serial port.
WHOLE = """
import gc, json
gc.threshold(4096)
from lensfw import board
from lensfw.ports import rp2
with open("/a/config.json") as file:
    configuration = json.load(file)
made = board.Board(configuration, rp2.Machine(configuration))
gc.collect()
print(configuration["limits"]["tiles"], gc.mem_free())
"""
LEAST_FREE = 20_000
"""The least bytes of the heap that are free while all tiles are allocated."""
BUDGET = 100_000
"""The most bytes of an RP2040's heap that lensfw may take."""
MANY = choose(50, 10_000)
PATIENCE_S = choose(250, 3600)
# Emulated cycles for each byte or pixel. The bounds leave some room: see arch/thumb.py.
RATES = """
import time
buffer, words = bytearray(8192), bytearray(8192)
prbs = arch.Prbs(12, 1)
found = []
for _ in range(5):
    begun = time.ticks_us()
    arch.append_crc(buffer, 0, 8188, 8188)
    crc = time.ticks_us()
    arch.pack12(buffer, 0, words, 4096)
    pack = time.ticks_us()
    prbs.write_pixels(words, 0, 0, 4096)
    pixels = time.ticks_us()
    for at in range(0, 8192, 2):
        # About the noise of a picture: 6 bits a pixel.
        words[at] &= 15
        words[at + 1] = 1
    code = time.ticks_us()
    length = arch.encode_rice(buffer, words, 4, 640, 6, 12, 5760)
    found.append((crc - begun, pack - crc, pixels - pack, time.ticks_us() - code))
assert 2304 <= length <= 3328, length
# The least of five: the others contain interrupts of USB.
counts = (8188, 4096, 4096, 3840)
for name, each, count in zip(("crc", "pack", "pixels", "code"), zip(*found), counts):
    print(name, min(each) * 125 // count)
"""


PROOF = b"""
import gc, time
from lensfw import key_holder, manifest
key = "".join(["%02x" % number for number in range(32)])
holder = key_holder.make_key_holder(key, "S")
most = 0
for number in range(8):
    gc.collect()
    begun = time.ticks_us()
    proof = holder.prove(bytes(32), 0x7FFFFFFF)
    most = max(most, time.ticks_diff(time.ticks_us(), begun))
print(most)
print(manifest.FIRMWARE)
print(proof.hex())
"""


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    if missing := bench_scale.no_pico():
        pytest.skip(missing)
    try:
        found = board_files("pico", {"serial": "S", "pins": UNWIRED})
    except LensLinkError as error:
        pytest.skip(str(error))
    return found | START


def lines_of(files: dict[str, bytes], script: bytes, patience_s: float = 250) -> list[str]:
    """Return the lines that a script prints on the chip."""
    pieces = run_script(files, script=script, seconds=patience_s, wall=patience(patience_s))
    text = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    return text.decode().replace("\r", "").splitlines()


@pytest.fixture(scope="module")
def printed(files) -> list[str]:
    source = SUITE.read_text("utf-8")
    names = [each.name for each in ast.parse(source).body if isinstance(each, ast.FunctionDef)]
    # The image has no coder but its own.
    plain = Path(plain_coder.__file__).read_text("utf-8")
    files = files | {"a/lensfw/arch/plain_coder.py": plain.encode()}
    script = source + CALL.format(names=names) + RATES
    lines = lines_of(files, script.encode())
    assert lines and lines[0] == "thumb", lines
    assert len(lines) == 1 + len(names) + 4, lines
    return lines


@pytest.mark.timeout(300)
def test_the_suite(printed):
    failed = [line for line in printed[1:-4] if not line.endswith(" passed")]
    assert not failed


@pytest.mark.timeout(300)
def test_cycles(printed):
    cycles = dict(line.split() for line in printed[-4:])
    print("emulated cycles a byte or pixel:", cycles)
    assert int(cycles["crc"]) <= 10
    assert int(cycles["pack"]) <= 8
    assert int(cycles["pixels"]) <= 24
    assert int(cycles["code"]) <= 55


def test_size_when_loaded(files, capsys, record_property):
    modules = [name[2:-4] for name in files if name.startswith("a/lensfw/")]
    names = sorted(name.removesuffix("/__init__").replace("/", ".") for name in modules)
    assert {"lensfw.board", "lensfw.arch.thumb", "lensfw.ports.rp2"} < set(names)
    [line] = lines_of(files, LOADED.format(names=names).encode())
    loaded, heap = map(int, line.split())
    record_property("lensfw_bytes", loaded)
    tell(capsys, f"lensfw loaded on an emulated Pico: {loaded:,} bytes of a heap of {heap:,}")
    assert 10_000 < loaded < BUDGET


@pytest.mark.parametrize("lanes", [1, 4] if NIGHTLY else [4])
def test_the_heap_has_space_beside_all_tiles(files, lanes, capsys, record_property):
    """Four lanes have the most tiles."""
    own = board_files("pico", {"serial": "S", "pins": UNWIRED, "lanes": lanes})
    tiles, free = map(int, lines_of(own | START, WHOLE.encode())[-1].split())
    record_property("heap_free_bytes", free)
    tell(capsys, f"an emulated Pico with {lanes} lanes: {free:,} bytes free beside {tiles} tiles")
    assert free >= LEAST_FREE


@pytest.mark.timeout(PATIENCE_S + 50)
def test_no_tile_allocates(files, capsys):
    """This heap has 32-bit words, and integers above 2^30 are objects."""
    script = (SUITE.parents[2] / "helpers/pico_tiles.py").read_bytes()
    lines = lines_of(files, script + f"\nmain({MANY})\n".encode(), PATIENCE_S)
    assert lines == ["10 0"] * 5 + [f"{MANY} 0"]
    say(capsys, f"{MANY} tiles on an emulated Pico: its heap has not grown")


@pytest.mark.timeout(300)
def test_a_proof_is_right_and_takes_less_than_20_ms(files, capsys, record_property):
    """From the challenge to the proof of HMAC_SHA256, with the import and the key apart."""
    took, firmware, proof = lines_of(files, PROOF)
    expected = make_proof(bytes(range(32)), bytes(32), 0x7FFFFFFF, "S", firmware)
    assert proof == expected.hex()
    record_property("proof, emulated us", int(took))
    tell(capsys, f"a proof on an emulated Pico: {int(took)} us")
    assert 0 < int(took) < 20_000
