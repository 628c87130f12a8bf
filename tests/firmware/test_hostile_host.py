"""A hostile host cannot exhaust the module's memory, and the next host is served.

On MicroPython, with little more heap than the firmware itself takes.
"""

from __future__ import annotations

import json

import pytest
from helpers import micropython_process
from helpers.nightly_scale import choose

# The firmware and its small module take 136 KB of heap here, where words have 8 bytes.
HEAP = "170k"
PACKETS = choose(300, 5000)
# For answers and log lines that wait, with their payloads.
GROWTH_BYTES = 16 << 10


@pytest.mark.timeout(choose(120, 3600))
def test_floods() -> None:
    script = micropython_process.TESTS / "helpers/hostile_host.py"
    lines = micropython_process.run(script, str(PACKETS), heap=HEAP).splitlines()
    results = [json.loads(line) for line in lines]
    for name, grown, error in results[:-1]:
        print(f"{name}: {grown} bytes at the worst moment")
        assert not error, f"{name}: {error}"
        assert grown < GROWTH_BYTES, name
    print(f"heap in use at the end: {results[-1][1]} bytes")
