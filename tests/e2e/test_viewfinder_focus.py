"""The camera session of the viewfinder with a module behind a lens: tap, focus ring, still."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from helpers.viewfinder_session import own_module, run_session

from lenslink_isp.viewfinder.camera_session import CameraSession
from lenslink_isp.viewfinder.remote_module import ModuleProfile
from lenslink_isp.viewfinder.viewer_messages import PressShutter, SetValue, Tap

pytestmark = pytest.mark.usefixtures("only_sim")

DEPTH_MDPT = 1500
# Two pixels of blur in this mode, as far as a step of the motor allows.
SHARP_MDPT = 40


def test_a_tap_focuses_and_the_focus_ring_stops_the_next_one() -> None:
    url = f"sim:?scene=edges&depth={DEPTH_MDPT}&width=256&height=192"

    async def run(name: str, profile: ModuleProfile, plant: Any) -> None:
        session = CameraSession(name, profile)
        with session.stills:
            async with run_session(session) as page:
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

    with own_module(url) as (name, profile, plant):
        asyncio.run(run(name, profile, plant))
