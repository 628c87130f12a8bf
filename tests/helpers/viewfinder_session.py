"""A camera session of the viewfinder in this process, whose module a thread of the test owns.

So a test can look at the pages, at the frames of the ring, and act on the plant.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import lenslink
from helpers.frame_rings import fresh_name
from helpers.slowdown import patience
from lenslink import FrameRing
from lenslink_isp.viewfinder.camera_session import CameraSession
from lenslink_isp.viewfinder.remote_module import ModuleProfile
from lenslink_isp.viewfinder.viewers import Viewer


class SessionPage:
    """A page that draws at once and keeps the newest of what it was sent."""

    def __init__(self, session: CameraSession) -> None:
        self._session = session
        self.viewer: Viewer = session.viewers.add(self)
        self.state: dict[str, Any] = {}
        self.frame: dict[str, Any] = {}
        self.told: dict[str, Any] = {}
        self.states: list[str] = []

    async def send_str(self, data: str) -> None:
        message = json.loads(data)
        self.told[message["type"]] = message
        if message["type"] == "state":
            self.state = message
            if self.states[-1:] != [message["focus"]["state"]]:
                self.states.append(message["focus"]["state"])

    async def send_bytes(self, data: bytes) -> None:
        end = 4 + int.from_bytes(data[:4], "little")
        self.frame = json.loads(data[4:end])
        asyncio.get_running_loop().call_soon(self.viewer.note_drawn, self.frame["serial"])

    async def until(self, is_true: Callable[[], object]) -> None:
        async with asyncio.timeout(patience(30)):
            while not is_true():
                await asyncio.sleep(0.01)


@contextmanager
def own_module(url: str) -> Iterator[tuple[str, ModuleProfile, Any]]:
    """Yield the ring's name, the profile, and the plant of a module that another thread owns."""
    name = fresh_name()
    with FrameRing(name) as ring, lenslink.attach(url, ring=ring) as module:
        module.serve()
        device = module.wait()
        profile = ModuleProfile.read(device)
        is_over = threading.Event()

        def own() -> None:
            module.start(interval_us=16_667)
            while not is_over.is_set():
                with suppress(lenslink.Timeout):
                    module.next_frame(0.5).release()

        owner = threading.Thread(target=own)
        owner.start()
        try:
            yield name, profile, device._transport.module
        finally:
            is_over.set()
            owner.join()


@asynccontextmanager
async def run_session(session: CameraSession) -> AsyncIterator[SessionPage]:
    task = asyncio.ensure_future(session.run())
    page = SessionPage(session)
    sender = asyncio.ensure_future(page.viewer.run())
    try:
        await page.until(lambda: (page.frame and page.state) or task.done())
        yield page
    finally:
        for each in (sender, task):
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each
