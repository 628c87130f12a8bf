"""The emulated Pico's decoding of instructions, held against rp2040js's own: run by Node."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.slowdown import patience

from lenslink.errors import RigError
from lenslink_hil.pico.setup import find_library

SUITE = Path(__file__).parent / "pico" / "core.test.mjs"
PATIENCE_S = patience(100)


def test_core(tool: Callable[[str], str], seed: int) -> None:
    node = tool("node")
    try:
        library = find_library()
    except RigError as missing:
        pytest.skip(str(missing))
    answer = subprocess.run(
        [node, "--test", str(SUITE)],
        env=os.environ | {"RP2040JS": str(library), "SEED": str(seed)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert answer.returncode == 0, f"SEED={seed}\n{answer.stdout}{answer.stderr}"
    assert "# pass 2" in answer.stdout, answer.stdout
