"""The camera behind the page: frames to viewers, and the viewers' wishes to the module.

All decisions are made in one asyncio loop. What blocks has a thread of its own (:class:`.worker
.Worker`): pictures, settings, stills with the focus search, and the module's state. The focus of a
session has the states of V4L2's AUTO_FOCUS_STATUS::

    state     event                                                next state
    --------  ---------------------------------------------------  ----------
    any       a point is tapped                                    SCANNING
    SCANNING  the search has found a focus                         REACHED
    SCANNING  nothing there can be sharp, or the search fails      FAILED
    SCANNING  the focus ring is turned, or the module leaves       IDLE
    any       the focus is set by hand, or the point is released   IDLE
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from operator import methodcaller
from typing import Final

from lenslink import ModuleClient
from lenslink.control.module_state import ModuleState
from lenslink.errors import (
    DeviceError,
    Disconnected,
    LensLinkError,
    StorageError,
    Timeout,
    UsageError,
)
from lenslink.settings import Settings
from lenslink_isp.develop.picture_files import find_sensor_point
from lenslink_isp.focus.auto_focus import FocusState
from lenslink_isp.focus.tap import FocusResult, focus_at
from lenslink_protocol.ids import HeatState

from .exposure_control import ExposureControl, make_setting
from .picture_maker import Picture, PictureMaker
from .remote_module import CaptureStopped, ModuleProfile, RemoteModule
from .still_files import StillFiles
from .viewer_messages import (
    ChooseOverlays,
    Compensate,
    Drawn,
    Message,
    PressShutter,
    ReleasePoint,
    SetAutomatic,
    SetValue,
    Tap,
)
from .viewers import Viewer, Viewers
from .worker import Worker

STATE_INTERVAL_S: Final = 0.5
_FOCUS_S: Final = 30.0
_RECENT_NS: Final = 2_000_000_000
"""Rate and power are those of the frames of the last two seconds."""
_NUMBERS: Final = 1 << 32

_log = logging.getLogger(__name__)


class FocusStatus(enum.Enum):
    """What the box on the picture shows."""

    IDLE = "idle"
    SCANNING = "scanning"
    REACHED = "reached"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """A search for the focus."""

    focus_ring: int
    """Position of the focus ring when the search was asked for."""


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
        self._asked = Settings()
        """Settings that are not sent to the module yet."""
        self._has_asked = asyncio.Event()
        self._is_setting = False
        self._first_frame: tuple[int, int] | None = None
        """Session and number of the first frame that has the last settings."""
        self._picture: Picture | None = None
        self._recent: deque[Picture] = deque()
        self._state: ModuleState | None = None
        self._focus = FocusStatus.IDLE
        self._focus_note = ""
        self._point: tuple[float, float] | None = None
        self._search: _Search | None = None
        """The search that is under way or waits for its turn; None if there is none."""
        self._is_taking_still = False

    # --- running ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve viewers until the owner of the module ends."""
        ring, profile = self._ring, self._profile
        async with (
            Worker(lambda: PictureMaker(ring, profile)) as pictures,
            Worker(lambda: ModuleClient(ring)) as settings,
            Worker(lambda: ModuleClient(ring)) as state,
            Worker(lambda: RemoteModule(ring, profile)) as self._module,
        ):
            try:
                async with asyncio.TaskGroup() as self._tasks:
                    self._tasks.create_task(self._show_pictures(pictures))
                    self._tasks.create_task(self._send_settings(settings))
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
            make = methodcaller("make", self.viewers.wanted)
            picture: Picture | None = await worker.call(make)
            if picture is not None:
                self._on_picture(picture)

    async def _send_settings(self, worker: Worker[ModuleClient]) -> None:
        """Send what was asked for, always the newest of each setting."""
        while True:
            await self._has_asked.wait()
            self._has_asked.clear()
            asked, self._asked = self._asked, Settings()
            self._is_setting = True
            try:
                first: int = await worker.call(methodcaller("set", settings=asked))
            except (UsageError, DeviceError, Disconnected, Timeout) as error:
                # If the owner has ended, the other tasks know. A module that left may come back.
                self._tell_error(error)
            else:
                nonce = self._picture.nonce if self._picture else 0
                self._first_frame = nonce, first
            finally:
                self._is_setting = False

    async def _watch_state(self, worker: Worker[ModuleClient]) -> None:
        while True:
            self._state = await worker.call(lambda client: client.state)
            if not self._state.is_attached:
                self._stop_search()
            self.tell_state()
            await asyncio.sleep(STATE_INTERVAL_S)

    # --- frames -----------------------------------------------------------------------------

    def _on_picture(self, picture: Picture) -> None:
        self._picture = picture
        self._recent.append(picture)
        while picture.end_ns - self._recent[0].end_ns > _RECENT_NS:
            self._recent.popleft()
        if picture.jpeg:
            self.viewers.offer(picture)
        if self._search is not None and picture.frame.focus_ring != self._search.focus_ring:
            # Whoever turns the ring focuses by hand.
            self._stop_search()
        if self._has_last_settings(picture):
            changed = self._exposure.update(picture.statistics, picture.frame)
            if changed != Settings():
                self._ask(changed)

    def _has_last_settings(self, picture: Picture) -> bool:
        """Return True if the picture was exposed with the settings that were sent last."""
        if self._is_setting or self._has_asked.is_set():
            return False
        if self._first_frame is None or self._first_frame[0] != picture.nonce:
            return True
        # Frame numbers wrap.
        return (picture.frame.number - self._first_frame[1]) % _NUMBERS < _NUMBERS // 2

    def _ask(self, settings: Settings) -> None:
        self._asked = settings.filled_from(self._asked)
        self._has_asked.set()

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
            case ChooseOverlays():
                viewer.overlays = message.names
                return
            case SetValue():
                self._set_value(message.name, message.value)
            case SetAutomatic():
                self._exposure.set_automatic(message.name, message.value)
            case Compensate():
                self._exposure.compensation_ev = message.ev
            case Tap():
                self._tasks.create_task(self._finish(self._focus_at(message.x, message.y)))
            case ReleasePoint():
                self._release_point()
            case PressShutter():
                if self._is_taking_still:
                    raise UsageError("a still is being taken: wait for it")
                self._tasks.create_task(self._finish(self._take_still()))
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
        focus = {"state": self._focus.value, "note": self._focus_note, "point": self._point}
        # The first frame of a stream has no interval, and its energy is that of a longer time.
        recent = [each.frame for each in self._recent if each.frame.interval_us]
        seconds = sum(each.interval_us for each in recent) / 1e6
        energy_j = sum(each.energy_uj for each in recent) / 1e6
        return {
            "is_attached": state is not None and state.is_attached,
            "heat": "" if state is None or state.heat is None else HeatState(state.heat).name,
            "discarded_packets": 0 if state is None else state.discarded_packets,
            "lost_packets": 0 if state is None else state.lost_packets,
            "incomplete_frames": 0 if state is None else state.incomplete_frames,
            "viewers": len(self.viewers),
            "frames_s": round(len(recent) / seconds, 1) if seconds else 0,
            "power_mw": round(1000 * energy_j / seconds) if seconds else 0,
            "temperature_c": picture.frame.temperature_mc / 1000 if picture else None,
            "kelvin": round(picture.kelvin) if picture else 0,
            "is_automatic": self._exposure.is_automatic,
            "exposure_state": self._exposure.state.value,
            "compensation_ev": self._exposure.compensation_ev,
            "focus": focus,
            "is_taking_still": self._is_taking_still,
        }

    def _tell_error(self, error: LensLinkError) -> None:
        _log.debug("told to the viewers: %s", error)
        self.viewers.tell("error", {"message": str(error)})

    def _set_value(self, name: str, value: int) -> None:
        settings = make_setting(name, value)
        settings.check(self._profile.manifest)
        if name in self._exposure.is_automatic:
            self._exposure.set_manual(name, value)
        elif name == "focus_mdpt":
            self._stop_search()
            self._set_focus(FocusStatus.IDLE)
        self._ask(settings)

    # --- focus and stills -------------------------------------------------------------------

    async def _finish(self, job: Coroutine[None, None, None]) -> None:
        """Await a job, and tell the viewers what went wrong."""
        try:
            await job
        except LensLinkError as error:
            self._tell_error(error)
        self.tell_state()

    def _set_focus(self, status: FocusStatus, note: str = "") -> None:
        self._focus, self._focus_note = status, note
        _log.debug("focus: %s %s", status.value, note)

    def _stop_search(self) -> None:
        """Stop a search for the focus, if there is one."""
        if self._search is not None:
            self._search = None
            self._module.subject.stop()
            self._set_focus(FocusStatus.IDLE)

    def _release_point(self) -> None:
        self._stop_search()
        self._point = None
        self._exposure.meter_all()
        self._set_focus(FocusStatus.IDLE)

    async def _focus_at(self, x: float, y: float) -> None:
        """Expose for a point of the upright picture, and focus on it if the module has a motor."""
        before = self._picture
        if before is None:
            raise UsageError("there is no picture yet")
        across, down = find_sensor_point(x, y, before.orientation)
        self._stop_search()
        self._point = x, y
        self._exposure.meter_spot(across, down)
        if "focus_mdpt" not in self._controls:
            self._set_focus(FocusStatus.IDLE, "fixed focus")
            return
        self._search = own = _Search(before.frame.focus_ring)
        self._set_focus(FocusStatus.SCANNING)
        self.tell_state()

        def search(module: RemoteModule) -> FocusResult:
            if self._search is not own:
                # It was stopped before its turn came.
                raise CaptureStopped
            module.resume()
            return focus_at(module, across, down, timeout=_FOCUS_S)

        reached_mdpt: int | None = None
        note = "nothing there can be sharp"
        try:
            found = await self._module.call(search)
            if found.state is FocusState.REACHED:
                reached_mdpt = found.focus_mdpt
        except (CaptureStopped, Disconnected):
            if self._search is own:
                self._stop_search()
            return
        except (UsageError, DeviceError, StorageError, Timeout) as error:
            note = str(error)
        if self._search is not own:
            return
        self._search = None
        if reached_mdpt is None:
            self._ask(Settings(focus_mdpt=before.frame.focus_mdpt))
            self._set_focus(FocusStatus.FAILED, note)
        else:
            self._ask(Settings(focus_mdpt=reached_mdpt))
            self._set_focus(FocusStatus.REACHED)

    async def _take_still(self) -> None:
        """Take a still with the settings of the last frame, and offer its files."""
        if self._picture is None:
            raise UsageError("there is no picture yet")
        frame = self._picture.frame
        settings = Settings.from_applied(
            frame.exposure_us, frame.gain_milli, frame.focus_mdpt, frame.aperture_milli
        )
        if "focus_mdpt" not in self._controls:
            settings = replace(settings, focus_mdpt=None)
        if "aperture_milli" not in self._controls:
            settings = replace(settings, aperture_milli=None)
        self._is_taking_still = True
        self.tell_state()

        def take(module: RemoteModule) -> list[str]:
            module.resume()
            return self.stills.take(module, settings)

        try:
            names = await self._module.call(take)
        finally:
            self._is_taking_still = False
        self.viewers.tell("still", {"files": names}, key=names[0])
