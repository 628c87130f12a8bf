"""The emulated Pico's USB bus and controller: tests in JavaScript, run by Node, one by one.

They need Node and nothing else: no emulator, no image.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.slowdown import patience

SUITE = Path(__file__).parent / "pico" / "usb_bus.test.mjs"
NAMES = [
    name.replace("${kind}", kind)
    for name in re.findall(r'^ *test\(["`](.+?)["`], ', SUITE.read_text("utf-8"), re.M)
    for kind in (("ideal", "strict") if "${kind}" in name else ("",))
]
PATIENCE_S = patience(60)


@pytest.mark.parametrize("name", NAMES)
def test_bus(name: str, tool: Callable[[str], str]) -> None:
    pattern = f"^{re.escape(name).replace('/', '.')}$"
    command = [tool("node"), "--test", f"--test-name-pattern={pattern}", str(SUITE)]
    answer = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    # One that matched nothing would have passed too.
    assert re.search(rf"^\s*ok \d+ - {re.escape(name)}$", answer.stdout, re.M), answer.stdout


def test_all_of_them_are_here() -> None:
    assert len(NAMES) >= 24
    assert len(set(NAMES)) == len(NAMES)
