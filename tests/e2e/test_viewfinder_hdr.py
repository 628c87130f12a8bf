"""The HDR preview of the viewfinder, with a module behind a lens."""

from __future__ import annotations

import asyncio

import pytest
from helpers.slowdown import patience
from helpers.viewfinder_session import SessionPage, own_module, run_session

from lenslink import PREVIEW, FrameRingReader
from lenslink_isp.viewfinder.camera_session import CameraSession
from lenslink_isp.viewfinder.remote_module import ModuleProfile
from lenslink_isp.viewfinder.viewer_messages import SetAutomatic, SetHdr, SetValue, Tap

pytestmark = pytest.mark.usefixtures("only_sim")

URL = "sim:?scene=edges&depth=1500&width=256&height=192"
# 8 ms, half of 3 EV less and more.
SHORTER_US, MIDDLE_US, LONGER_US = 2828, 8000, 22_627
CHANGES = 4


def find_product(page: SessionPage) -> int:
    return page.frame["exposure_us"] * page.frame["gain_milli"]


def test_exposures_alternate_while_hdr_is_on_and_come_back() -> None:
    async def run(name: str, profile: ModuleProfile) -> None:
        session = CameraSession(name, profile)
        with session.stills, FrameRingReader(name, streams=(PREVIEW,)) as reader:

            def read_exposure() -> int:
                with reader.next(patience(10)) as frame:
                    return frame.metadata.exposure_us

            async def until_exposures(*wanted: int) -> None:
                """Wait until frames have changed between the wanted exposures, or have the one."""
                changes, last = 0, 0
                async with asyncio.timeout(patience(30)):
                    while changes < CHANGES:
                        now = await asyncio.to_thread(read_exposure)
                        is_change = now != last if len(wanted) > 1 else now == last
                        changes = changes + is_change if now in wanted else 0
                        last = now

            async with run_session(session) as page:
                other = SessionPage(session)
                sender = asyncio.ensure_future(other.viewer.run())
                await page.until(lambda: page.state["exposure_state"] == "converged")
                right = find_product(page)

                session.on_message(page.viewer, SetValue("exposure_us", MIDDLE_US))
                session.on_message(page.viewer, SetValue("gain_milli", 1000))
                await until_exposures(MIDDLE_US)
                session.on_message(page.viewer, SetHdr(is_on=True))
                await until_exposures(SHORTER_US, LONGER_US)
                for each in (page, other):
                    await each.until(lambda each=each: each.state.get("is_hdr"))
                    await each.until(lambda each=each: each.frame["exposure_us"] == MIDDLE_US)

                # A tap focuses.
                session.on_message(other.viewer, Tap(0.5, 0.5))
                await page.until(lambda: page.state["focus"]["state"] == "reached")
                session.on_message(other.viewer, SetValue("exposure_us", 2 * MIDDLE_US))
                await page.until(lambda: page.frame["exposure_us"] == 2 * MIDDLE_US)
                await until_exposures(5657, 33_000)

                # The automatic exposure finds what it has found without HDR.
                for setting in ("exposure_us", "gain_milli"):
                    session.on_message(page.viewer, SetAutomatic(setting))
                await page.until(lambda: abs(find_product(page) / right - 1) < 0.15)
                await page.until(lambda: page.state["exposure_state"] == "converged")

                for setting, value in (("exposure_us", MIDDLE_US), ("gain_milli", 1000)):
                    session.on_message(page.viewer, SetValue(setting, value))
                session.on_message(other.viewer, SetHdr(is_on=False))
                await until_exposures(MIDDLE_US)
                for each in (page, other):
                    await each.until(lambda each=each: not each.state["is_hdr"])
                sender.cancel()

    with own_module(URL) as (name, profile, _):
        asyncio.run(run(name, profile))
