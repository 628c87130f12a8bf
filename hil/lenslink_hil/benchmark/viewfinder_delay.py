"""How long a picture of the viewfinder takes to the screen: ``bench viewfinder``.

The delay begins when a frame is whole in the frame ring, and ends when the page's answer is back
at the server: developing, JPEG, WebSocket, decoding and drawing lie between. A headless Chromium is
the page. Where there is none, a client takes its place that answers at once and draws nothing. An
observer that takes no pictures reads the figures. It turns HDR on and taps, if that is asked for.

The delay of the box begins when the search for the focus changes its state, and ends in the same
way.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from lenslink.errors import RigError

from .machine_info import describe_machine

SCHEMA: Final = "lenslink.bench.viewfinder/1"
GOAL_P50_MS: Final = 20.0
"""The goal on a quiet machine, for 640 x 480 pixels."""
GOAL_P99_MS: Final = 60.0
GOAL_BOX_P95_MS: Final = 60.0
GOAL_INTERVAL_MS: Final = 2 * 1000 / 30
"""Of 30 frames a second, none may be late by more than one interval."""
GOAL_HDR_PICTURES_S: Final = {"sim": 10.0, "paced": 15.0}
"""Of 1280 x 960 pixels: of the simulated module, which shares the machine, and of a source that
costs nothing."""
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")

_START_S = 60.0
_PAST_S = 2.5
_POINTS: Final = ((0.5, 0.5), (0.3, 0.4), (0.7, 0.6))
_ENDS: Final = ("reached", "failed")
_END_S = 10.0


@dataclass
class Watch:
    """What is shown, and what is done meanwhile."""

    seconds: float
    """How long to watch once pictures are drawn."""
    is_hdr: bool = False
    taps: int = 0
    """Points to focus on, one after the other, before the time counts."""
    tap_ms: list[float] = field(default_factory=list)
    """From each tap to the state REACHED."""
    longest_interval_ms: float = 0.0
    """Between two frames of the module, of those that were developed in the time that counts."""


def measure(url: str, watch: Watch, report: Callable[[str], None]) -> dict[str, Any]:
    """Return the delay of pictures.

    Args:
        url: of the module.
        watch: what is shown and done.
        report: called with what is done next.

    Raises:
        RigError: the viewfinder or the browser does not start.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    report("starting the viewfinder")
    with _serve(url) as page:
        report(f"showing pictures for {watch.seconds:g} s")
        state, frame = asyncio.run(watch_page(page, browser, watch))
    return {
        "schema": SCHEMA,
        "machine": describe_machine(),
        "load": os.getloadavg()[0],
        "url": url,
        "page": "client that draws nothing" if browser is None else os.path.basename(browser),  # noqa: PTH119
        "width": frame["width"],
        "height": frame["height"],
        "is_hdr": state["is_hdr"],
        "frames_s": state["frames_s"],
        "pictures_s": state["pictures_s"],
        "longest_interval_ms": watch.longest_interval_ms,
        "incomplete_frames": state["incomplete_frames"],
        "delay_ms": state["delay_ms"],
        "taps": watch.taps,
        "tap_ms": watch.tap_ms,
        "box_delay_ms": state["box_delay_ms"],
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
    yield (
        f"link: longest interval of frames {result['longest_interval_ms']:.1f} ms, "
        f"{result['incomplete_frames']} frames incomplete (goal on a quiet machine: at most "
        f"{GOAL_INTERVAL_MS:.1f} ms, none)"
    )
    if result["is_hdr"]:
        goals = GOAL_HDR_PICTURES_S
        yield (
            f"HDR: {result['pictures_s']:g} pictures/s (goal for 1280 x 960 on a quiet machine: "
            f"{goals['paced']:g}, on sim: {goals['sim']:g})"
        )
    if result["taps"]:
        box, reached = result["box_delay_ms"], sorted(result["tap_ms"])
        middle = f", median {reached[len(reached) // 2]:.0f} ms after the tap" if reached else ""
        yield f"focus reached by {len(reached)} of {result['taps']} taps{middle}"
        yield (
            f"change of the focus to the box drawn: p50 {box['p50']:.1f} ms, p95 {box['p95']:.1f} "
            f"ms, {box['count']} changes (goal on a quiet machine: p95 {GOAL_BOX_P95_MS:g} ms)"
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
    page: str, browser: str | None, watch: Watch
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the last state that the page's server tells, and the header of a picture.

    Args:
        page: the page's address.
        browser: the program that shows the page; None for a client that draws nothing.
        watch: what is shown and done. The times of taps are added to it.
    """
    show = _draw_nothing(page) if browser is None else _run_browser(browser, page)
    async with (
        show,
        aiohttp.ClientSession() as session,
        session.ws_connect(page + "socket", max_msg_size=0) as observer,
    ):
        looker = _Observer(observer)
        try:
            async with asyncio.timeout(_START_S):
                await looker.until(lambda state: state["delay_ms"]["count"])
        except TimeoutError:
            raise RigError("no picture was drawn") from None
        if watch.is_hdr:
            await observer.send_json({"op": "hdr", "is_on": True})
            async with asyncio.timeout(_START_S):
                await looker.until(lambda state: state["is_hdr"])
        for number in range(watch.taps):
            await _tap(looker, number, watch)
        # The state looks back two seconds: it must not see the start, nor a search.
        loop = asyncio.get_running_loop()
        begin = loop.time() + _PAST_S
        end = begin + watch.seconds
        async with asyncio.timeout(_PAST_S + watch.seconds + _START_S):
            await looker.until(lambda _: loop.time() >= begin)
            while loop.time() < end:
                await looker.until(lambda _: True)
                watch.longest_interval_ms = max(
                    watch.longest_interval_ms, looker.state["longest_interval_ms"]
                )
    return looker.state, looker.frame


class _Observer:
    """A viewer that answers no picture. It keeps the newest of what it was sent."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.state: dict[str, Any] = {}
        self.frame: dict[str, Any] = {}

    async def until(self, is_true: Callable[[dict[str, Any]], object]) -> None:
        """Receive until a new state comes for which *is_true* returns True.

        Raises:
            RigError: the viewfinder has ended, or it refused what was asked for.
        """
        while True:
            received = await self.socket.receive()
            if received.type is aiohttp.WSMsgType.BINARY:
                size = int.from_bytes(received.data[:4], "little")
                self.frame = json.loads(received.data[4 : 4 + size])
                continue
            if received.type is not aiohttp.WSMsgType.TEXT:
                raise RigError("the viewfinder has ended")
            message = json.loads(received.data)
            if message["type"] == "error":
                raise RigError(f"the viewfinder says: {message['message']}")
            if message["type"] == "state":
                self.state = message
                if is_true(message):
                    return


async def _tap(looker: _Observer, number: int, watch: Watch) -> None:
    """Tap a point, and wait for the end of the search."""
    before = looker.state["focus"]["serial"]
    began = time.monotonic()
    x, y = _POINTS[number % len(_POINTS)]
    await looker.socket.send_json({"op": "tap", "x": x, "y": y})
    async with asyncio.timeout(_START_S):
        await looker.until(
            lambda state: state["focus"]["serial"] > before and state["focus"]["state"] in _ENDS
        )
    if looker.state["focus"]["state"] == "reached":
        watch.tap_ms.append(1000 * (time.monotonic() - began))


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
            box: int | None = None
            async for received in socket:
                if received.type is aiohttp.WSMsgType.BINARY:
                    size = int.from_bytes(received.data[:4], "little")
                    serial = json.loads(received.data[4 : 4 + size])["serial"]
                    await socket.send_json({"op": "drawn", "serial": serial})
                elif received.type is aiohttp.WSMsgType.TEXT:
                    focus = json.loads(received.data).get("focus")
                    if focus is not None:
                        if box not in (None, focus["serial"]):
                            await socket.send_json({"op": "box_drawn", "serial": focus["serial"]})
                        box = focus["serial"]

    task = asyncio.ensure_future(answer())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
