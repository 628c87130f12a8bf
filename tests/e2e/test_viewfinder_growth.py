"""A viewfinder that runs on and on needs no more memory: its processes, and the page's heap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.browser import Browser
from helpers.cli_process import Cli, children
from helpers.nightly_scale import choose, say

# 18,000 pictures are ten minutes at 30 a second.
PICTURES = choose(60, 18_000)
WARM_UP = choose(40, 500)
# Allocators and the browser's heap keep some of what they were given back.
GROWTH_KB = 16_384
PAGE_GROWTH = 4 << 20

pytestmark = [
    pytest.mark.usefixtures("only_sim"),
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks into Linux' /proc"),
    pytest.mark.timeout(choose(180, 7200)),
]


def read_memory(processes: list[int]) -> dict[str, int]:
    """Return the resident memory of each process in kB, by number and name."""
    found = {}
    for pid in processes:
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
        status = dict(line.split(":", 1) for line in lines if ":" in line)
        found[f"{pid} {status['Name'].strip()}"] = int(status["VmRSS"].split()[0])
    return found


def test_memory_does_not_grow(
    tool: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tool("chromium")

    async def run(address: str, processes: list[int]) -> None:
        async with Browser(program) as browser:

            async def draw(pictures: int) -> tuple[dict[str, int], int]:
                """Return the memory of the processes and of the page after so many pictures."""
                serial = await browser.evaluate("camera.frame.serial")
                await browser.wait_for(
                    f"camera.frame.serial >= {serial + pictures}", 10 + pictures / 5
                )
                await browser.call("HeapProfiler.collectGarbage")
                heap = await browser.evaluate("performance.memory.usedJSHeapSize")
                return read_memory(processes), heap

            await browser.open(address)
            await browser.wait_for("camera.frame && camera.state")
            # Everything that allocates: two exposures, overlays, histogram, and a changing focus.
            for key in ("d", "z", "p"):
                await browser.press(key)
            await browser.wait_for("camera.state.is_hdr")
            before, heap_before = await draw(WARM_UP)
            after, heap_after = await draw(PICTURES)
            for name, memory_kb in before.items():
                assert after[name] <= memory_kb + GROWTH_KB, (name, before, after)
            assert heap_after <= heap_before + PAGE_GROWTH, (heap_before, heap_after)
            most = max(after[name] - before[name] for name in before)
            say(
                capsys,
                f"{PICTURES} pictures of an HDR preview: a process grew by at most {most} kB, the "
                f"page by {(heap_after - heap_before) // 1024} kB",
            )

    folder = tmp_path / "a folder"
    folder.mkdir()
    with Cli(folder) as cli:
        process = cli.start("viewfinder", "sim:?scene=edges&width=128&height=96")
        address = process.stdout.readline().decode().strip()
        asyncio.run(run(address, [process.pid, *children(process.pid)]))
