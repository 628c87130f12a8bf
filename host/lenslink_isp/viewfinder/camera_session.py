"""The camera behind the page: frames to viewers, and the viewers' wishes to the module.

All decisions are made in one asyncio loop. What blocks has a thread of its own (:class:`.worker
.Worker`): pictures, settings, stills with the focus search, and the module's state.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from dataclasses import replace
from operator import methodcaller
from typing import Final

from lenslink import ModuleClient
from lenslink.control.module_state import ModuleState
from lenslink.errors import Disconnected, LensLinkError, UsageError
from lenslink.frame import FrameMetadata
from lenslink.settings import Settings
from lenslink_isp.develop.picture_files import find_sensor_point
from lenslink_protocol.ids import HeatState

from .exposure_control import LONGEST_AUTO_US, ExposureControl, make_setting
from .hdr_exposures import Exposure, HdrExposures
from .picture_maker import Picture, PictureMaker
from .point_focus import PointFocus
from .remote_module import ModuleProfile, RemoteModule
from .settings_sender import SettingsSender
from .still_files import StillFiles
from .viewer_messages import (
    BoxDrawn,
    ChooseOverlays,
    Compensate,
    Drawn,
    Message,
    PressShutter,
    ReleasePoint,
    SetAutomatic,
    SetHdr,
    SetValue,
    Tap,
)
from .viewers import Viewer, Viewers
from .worker import Worker

STATE_INTERVAL_S: Final = 0.5
_RECENT_NS: Final = 2_000_000_000
"""Rate and power are those of the frames of the last two seconds."""

_log = logging.getLogger(__name__)


class CameraSession:
    """The session of all viewers with one module. :meth:`run` ends when the module's owner ends.

    Args:
        ring: name of the frame ring that the owner serves.
        profile: the module's.
    """

    def __init__(self, ring: str, profile: ModuleProfile) -> None:
        self.viewers = Viewers()
        self.stills = StillFiles()
        self._ring, self._profile = ring, profile
        self._controls = profile.describe().controls
        self._exposure = ExposureControl(self._controls)
        self._hdr = HdrExposures(self._controls, LONGEST_AUTO_US)
        self._sender = SettingsSender()
        self._module = Worker(lambda: RemoteModule(ring, profile))
        self._focus = PointFocus(self._module, self._sender.ask, self.tell_state)
        self._picture: Picture | None = None
        self._recent: deque[tuple[int, FrameMetadata, bool]] = deque()
        """Of the frames of the last two seconds: the time of the end, what was reported, and True
        if the frame was offered to viewers."""
        self._state: ModuleState | None = None
        self._is_taking_still = False

    # --- running ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve viewers until the owner of the module ends."""
        ring, profile = self._ring, self._profile
        async with (
            Worker(lambda: PictureMaker(ring, profile)) as pictures,
            Worker(lambda: ModuleClient(ring)) as settings,
            Worker(lambda: ModuleClient(ring)) as state,
            self._module,
        ):
            try:
                async with asyncio.TaskGroup() as self._tasks:
                    self._tasks.create_task(self._show_pictures(pictures))
                    self._tasks.create_task(self._sender.run(settings, self._tell_error))
                    self._tasks.create_task(self._watch_state(state))
            except BaseExceptionGroup as errors:
                # Disconnected says that the owner has ended, which is the usual end.
                for error in errors.exceptions:
                    if not isinstance(error, Disconnected):
                        raise error from None
            finally:
                self._module.subject.stop()
        _log.debug("the session has ended")

    async def _show_pictures(self, worker: Worker[PictureMaker]) -> None:
        while True:
            await self.viewers.wait_for_any()
            wanted = replace(
                self.viewers.wanted,
                is_hdr=self._hdr.is_on,
                compensation_ev=self._exposure.compensation_ev,
            )
            make = methodcaller("make", wanted)
            picture: Picture | None = await worker.call(make)
            if picture is not None:
                self._on_picture(picture)

    async def _watch_state(self, worker: Worker[ModuleClient]) -> None:
        while True:
            self._state = await worker.call(lambda client: client.state)
            if not self._state.is_attached:
                self._focus.stop()
                self._recent.clear()
            self.tell_state()
            await asyncio.sleep(STATE_INTERVAL_S)

    # --- frames -----------------------------------------------------------------------------

    def _on_picture(self, picture: Picture) -> None:
        own, picture = picture, replace(picture, frame=self._hdr.show_middle(picture.frame))
        self._picture = picture
        self._recent.append((picture.end_ns, picture.frame, bool(picture.jpeg)))
        while picture.end_ns - self._recent[0][0] > _RECENT_NS:
            self._recent.popleft()
        if picture.jpeg:
            self.viewers.offer(picture)
        self._focus.on_frame(picture.frame)
        has_all = self._sender.has_all(own.nonce, own.frame.number)
        if self._hdr.middle is not None:
            self._alternate(own, self._hdr.middle)
        elif has_all and own.is_metered:
            changed = self._exposure.update(picture.statistics, picture.frame)
            if changed != Settings():
                self._sender.ask(changed)

    def _alternate(self, picture: Picture, middle: Exposure) -> None:
        """Follow the light of an HDR preview, and give the next frame its exposure."""
        if picture.is_metered and self._hdr.is_shorter(picture.frame):
            wanted = self._exposure.update_middle(picture.statistics, picture.frame, middle)
            if wanted != middle:
                self._hdr.turn_on(wanted)
        # A module that is slow to answer leaves frames out. Two requests would be sent as one.
        if self._sender.is_idle:
            self._sender.ask(self._hdr.choose_next())

    # --- viewers ----------------------------------------------------------------------------

    def on_message(self, viewer: Viewer, message: Message) -> None:
        """Do what a viewer asks for.

        Raises:
            UsageError: the module cannot do it, or it makes no sense now.
        """
        match message:
            case Drawn():
                viewer.note_drawn(message.serial)
                return
            case BoxDrawn():
                self._focus.note_drawn(message.serial)
                return
            case ChooseOverlays():
                viewer.overlays = message.names
                return
            case SetValue():
                self._set_value(message.name, message.value)
            case SetAutomatic():
                self._exposure.set_automatic(message.name)
            case Compensate():
                self._exposure.compensation_ev = message.ev
            case SetHdr():
                self._set_hdr(message.is_on)
            case Tap():
                self._start_job(self._focus_at(message.x, message.y, self._get_picture()))
            case ReleasePoint():
                self._exposure.meter_all()
                self._focus.release()
            case PressShutter():
                if self._is_taking_still:
                    raise UsageError("a still is being taken: wait for it")
                frame = self._get_picture().frame
                self._is_taking_still = True
                self._start_job(self._take_still(frame))
        self.tell_state()

    def tell_state(self) -> None:
        """Tell all viewers how the camera stands."""
        self.viewers.tell("state", self._describe())

    def describe_module(self) -> dict[str, object]:
        """Return what a page needs once: names and ranges."""
        manifest = self._profile.manifest
        return {
            "maker": manifest.maker,
            "model": manifest.model,
            "serial": manifest.serial,
            "controls": {
                name: {"minimum": each.minimum, "maximum": each.maximum}
                for name, each in self._controls.items()
            },
        }

    def _describe(self) -> dict[str, object]:
        """Return the state of exposure, focus, link and module."""
        state, picture = self._state, self._picture
        # The first frame of a stream has no interval, and its energy is that of a longer time.
        recent = [frame for _, frame, _ in self._recent if frame.interval_us]
        seconds = sum(each.interval_us for each in recent) / 1e6
        energy_j = sum(each.energy_uj for each in recent) / 1e6
        return {
            "is_attached": state is not None and state.is_attached,
            "heat": "" if state is None else _name_heat(state.heat),
            "discarded_packets": 0 if state is None else state.discarded_packets,
            "lost_packets": 0 if state is None else state.lost_packets,
            "incomplete_frames": 0 if state is None else state.incomplete_frames,
            "viewers": len(self.viewers),
            "delay_ms": self.viewers.describe_delay(),
            "box_delay_ms": self._focus.describe_delay(),
            "frames_s": round(len(recent) / seconds, 1) if seconds else 0,
            "longest_interval_ms": max((each.interval_us for each in recent), default=0) / 1000,
            "pictures_s": self._count_pictures(),
            "power_mw": round(1000 * energy_j / seconds) if seconds else 0,
            "temperature_c": picture.frame.temperature_mc / 1000 if picture else None,
            "kelvin": round(picture.kelvin) if picture else 0,
            "is_automatic": self._exposure.is_automatic,
            "exposure_state": self._exposure.state.value,
            "compensation_ev": self._exposure.compensation_ev,
            "is_hdr": self._hdr.is_on,
            "focus": self._focus.describe(),
            "is_taking_still": self._is_taking_still,
        }

    def _count_pictures(self) -> float:
        """Return how many pictures a second were offered to viewers."""
        times = [end_ns for end_ns, _, is_offered in self._recent if is_offered]
        if len(times) < 2:
            return 0.0
        return round(1e9 * (len(times) - 1) / (times[-1] - times[0]), 1)

    def _tell_error(self, error: LensLinkError) -> None:
        _log.debug("told to the viewers: %s", error)
        self.viewers.tell("error", {"message": str(error)})

    def _set_value(self, name: str, value: int) -> None:
        settings = make_setting(name, value)
        settings.check(self._profile.manifest)
        if name in self._exposure.is_automatic:
            self._exposure.set_manual(name, value)
            if self._hdr.middle is not None:
                # The next frames alternate around the value.
                self._hdr.turn_on(replace(self._hdr.middle, **{name: value}))
                return
        elif name == "focus_mdpt":
            self._focus.set_by_hand()
        self._sender.ask(settings)

    def _set_hdr(self, is_on: bool) -> None:
        if not is_on:
            self._sender.ask(self._hdr.turn_off())
        elif not self._hdr.is_on:
            frame = self._get_picture().frame
            if frame.noise_profile is None:
                raise UsageError(
                    "HDR needs to know the noise of frames, which the module withholds"
                )
            self._hdr.turn_on(Exposure.of(frame))

    # --- focus and stills -------------------------------------------------------------------

    def _get_picture(self) -> Picture:
        """Return the last picture; raise UsageError if there is none yet."""
        if self._picture is None:
            raise UsageError("there is no picture yet: wait for it")
        return self._picture

    def _start_job(self, job: Coroutine[None, None, None]) -> None:
        # There is a picture, so run() has made the tasks.
        self._tasks.create_task(self._finish(job))

    async def _finish(self, job: Coroutine[None, None, None]) -> None:
        """Await a job, and tell the viewers what went wrong."""
        try:
            await job
        except LensLinkError as error:
            self._tell_error(error)
        self.tell_state()

    async def _focus_at(self, x: float, y: float, picture: Picture) -> None:
        """Expose for a point of the upright picture, and focus on it if the module has a motor."""
        across, down = find_sensor_point(x, y, picture.orientation)
        self._exposure.meter_spot(across, down)
        has_motor = "focus_mdpt" in self._controls
        self._focus.mark(x, y, "" if has_motor else "fixed focus")
        if has_motor:
            await self._focus.search(across, down, picture.frame)

    async def _take_still(self, frame: FrameMetadata) -> None:
        """Take a still with the settings of the last frame, and offer its files."""
        settings = Settings.from_applied(
            frame.exposure_us, frame.gain_milli, frame.focus_mdpt, frame.aperture_milli
        )
        if "focus_mdpt" not in self._controls:
            settings = replace(settings, focus_mdpt=None)
        if "aperture_milli" not in self._controls:
            settings = replace(settings, aperture_milli=None)

        def take(module: RemoteModule) -> list[str]:
            module.resume()
            return self.stills.take(module, settings)

        try:
            names = await self._module.call(take)
        finally:
            self._is_taking_still = False
        self.viewers.tell("still", {"files": names}, key=names[0])


def _name_heat(heat: int | None) -> str:
    """Return the name of a HeatState; the number of one that this version does not know."""
    if heat is None:
        return ""
    return HeatState(heat).name if heat in set(HeatState) else str(heat)
