"""The camera session of the viewfinder with a module behind a lens: tap, focus ring, still.

The owner of the module is a thread of the test, so that the test can turn the ring.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest
from helpers.frame_rings import fresh_name
from helpers.slowdown import patience

import lenslink
from lenslink import FrameRing
from lenslink_isp.viewfinder.camera_session import CameraSession
from lenslink_isp.viewfinder.remote_module import ModuleProfile
from lenslink_isp.viewfinder.viewer_messages import PressShutter, SetValue, Tap
from lenslink_isp.viewfinder.viewers import Viewer

pytestmark = pytest.mark.usefixtures("only_sim")

DEPTH_MDPT = 1500
# Two pixels of blur in this mode, as far as a step of the motor allows.
SHARP_MDPT = 40


class Page:
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
def owned(url: str) -> Iterator[tuple[str, ModuleProfile, Any]]:
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
async def running(session: CameraSession) -> AsyncIterator[Page]:
    task = asyncio.ensure_future(session.run())
    page = Page(session)
    sender = asyncio.ensure_future(page.viewer.run())
    try:
        await page.until(lambda: (page.frame and page.state) or task.done())
        yield page
    finally:
        for each in (sender, task):
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each


def test_a_tap_focuses_and_the_focus_ring_stops_the_next_one() -> None:
    url = f"sim:?scene=edges&depth={DEPTH_MDPT}&width=256&height=192"

    async def run(name: str, profile: ModuleProfile, plant: Any) -> None:
        session = CameraSession(name, profile)
        with session.stills:
            async with running(session) as page:
                session.on_message(page.viewer, Tap(0.5, 0.5))
                await page.until(lambda: page.state["focus"]["state"] in ("reached", "failed"))
                assert page.states == ["idle", "scanning", "reached"]
                await page.until(lambda: abs(page.frame["focus_mdpt"] - DEPTH_MDPT) <= SHARP_MDPT)

                # By hand the box is released. A still has what the preview has.
                session.on_message(page.viewer, SetValue("focus_mdpt", 1000))
                await page.until(lambda: abs(page.frame["focus_mdpt"] - 1000) <= 2)
                assert page.state["focus"]["state"] == "idle"
                session.on_message(page.viewer, PressShutter())
                await page.until(lambda: "still" in page.told)

                # The ring wins over a search.
                session.on_message(page.viewer, Tap(0.4, 0.5))
                await page.until(lambda: page.state["focus"]["state"] == "scanning")
                plant.command(ring=4)
                await page.until(lambda: page.state["focus"]["state"] == "idle")
                assert page.state["focus"]["point"] == [0.4, 0.5]
                await page.until(lambda: page.frame["focus_ring"] == 4)

    with owned(url) as (name, profile, plant):
        asyncio.run(run(name, profile, plant))
