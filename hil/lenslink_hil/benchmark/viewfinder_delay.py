"""How long a picture of the viewfinder takes to the screen: ``bench viewfinder``.

The delay begins when a frame is whole in the frame ring, and ends when the page's answer is back
at the server: developing, JPEG, WebSocket, decoding and drawing lie between. A headless Chromium is
the page. Where there is none, a client takes its place that answers at once and draws nothing. An
observer that takes no pictures reads the figures.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import aiohttp

from lenslink.errors import RigError

from .machine_info import describe_machine

SCHEMA: Final = "lenslink.bench.viewfinder/1"
GOAL_P50_MS: Final = 20.0
"""The goal on a quiet machine, for 640 x 480 pixels."""
GOAL_P99_MS: Final = 60.0
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")

_START_S = 60.0
_END_S = 10.0


def measure(url: str, seconds: float, report: Callable[[str], None]) -> dict[str, Any]:
    """Return the delay of pictures.

    Args:
        url: of the module.
        seconds: how long pictures are shown.
        report: called with what is done next.

    Raises:
        RigError: the viewfinder or the browser does not start.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    report("starting the viewfinder")
    with _serve(url) as page:
        report(f"showing pictures for {seconds:g} s")
        state, frame = asyncio.run(watch_page(page, browser, seconds))
    return {
        "schema": SCHEMA,
        "machine": describe_machine(),
        "load": os.getloadavg()[0],
        "url": url,
        "page": "client that draws nothing" if browser is None else os.path.basename(browser),  # noqa: PTH119
        "width": frame["width"],
        "height": frame["height"],
        "frames_s": state["frames_s"],
        "delay_ms": state["delay_ms"],
    }


def format_summary(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines for people."""
    delay = result["delay_ms"]
    yield (
        f"{result['width']} x {result['height']} at {result['frames_s']:g} frames/s in "
        f"{result['page']}, load {result['load']:.1f}"
    )
    yield (
        f"frame in the ring to drawn: p50 {delay['p50']:.1f} ms, p99 {delay['p99']:.1f} ms, "
        f"{delay['count']} pictures (goal for 640 x 480 on a quiet machine: "
        f"p50 {GOAL_P50_MS:g} ms, p99 {GOAL_P99_MS:g} ms)"
    )


@contextmanager
def _serve(url: str) -> Iterator[str]:
    """Yield the address of a viewfinder's page."""
    command = [sys.executable, "-m", "lenslink", "viewfinder", url, "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            page = process.stdout.readline().strip()
            if not page:
                raise RigError("the viewfinder has not started")
            yield page
        finally:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()


async def watch_page(
    page: str, browser: str | None, seconds: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the last state that the page's server tells, and the header of a picture.

    Args:
        page: the page's address.
        browser: the program that shows the page; None for a client that draws nothing.
        seconds: how long to watch once pictures are drawn.
    """
    show = _draw_nothing(page) if browser is None else _run_browser(browser, page)
    async with (
        show,
        aiohttp.ClientSession() as session,
        session.ws_connect(page + "socket", max_msg_size=0) as observer,
    ):
        state: dict[str, Any] = {}
        frame: dict[str, Any] = {}
        end: float | None = None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_START_S + seconds):
                while end is None or loop.time() < end:
                    received = await observer.receive()
                    if received.type is aiohttp.WSMsgType.BINARY:
                        size = int.from_bytes(received.data[:4], "little")
                        frame = json.loads(received.data[4 : 4 + size])
                        continue
                    if received.type is not aiohttp.WSMsgType.TEXT:
                        raise RigError("the viewfinder has ended")
                    message = json.loads(received.data)
                    if message["type"] == "state":
                        state = message
                        if end is None and state["delay_ms"]["count"]:
                            end = loop.time() + seconds
        except TimeoutError:
            raise RigError("no picture was drawn") from None
    return state, frame


@asynccontextmanager
async def _run_browser(program: str, page: str) -> AsyncIterator[None]:
    """Show the page in a headless browser."""
    with tempfile.TemporaryDirectory(prefix="lenslink-", ignore_cleanup_errors=True) as profile:
        arguments = ["--headless=new", "--disable-gpu", "--no-first-run"]
        if os.geteuid() == 0:
            # Chromium's sandbox refuses root.
            arguments.append("--no-sandbox")
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            f"--user-data-dir={profile}",
            page,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


@asynccontextmanager
async def _draw_nothing(page: str) -> AsyncIterator[None]:
    """Answer each picture at once."""

    async def answer() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(page + "socket", max_msg_size=0) as socket,
        ):
            async for received in socket:
                if received.type is aiohttp.WSMsgType.BINARY:
                    size = int.from_bytes(received.data[:4], "little")
                    serial = json.loads(received.data[4 : 4 + size])["serial"]
                    await socket.send_json({"op": "drawn", "serial": serial})

    task = asyncio.ensure_future(answer())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
