"""The focus on a point of the picture, and the box that shows it.

The states are those of V4L2's AUTO_FOCUS_STATUS::

    state     event                                                next state
    --------  ---------------------------------------------------  ----------
    any       a point is tapped                                    SCANNING
    SCANNING  the search has found a focus                         REACHED
    SCANNING  nothing there can be sharp, or the search fails      FAILED
    SCANNING  the focus ring is turned, or the module leaves       IDLE
    any       the focus is set by hand, or the point is released   IDLE
"""

from __future__ import annotations

import enum
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lenslink.errors import DeviceError, Disconnected, StorageError, Timeout, UsageError
from lenslink.frame import FrameMetadata
from lenslink.settings import Settings
from lenslink_isp.focus.auto_focus import FocusState
from lenslink_isp.focus.tap import FocusResult, focus_at

from .remote_module import CaptureStopped, RemoteModule
from .viewers import summarise_delays
from .worker import Worker

_FOCUS_S: Final = 30.0
_KEPT_CHANGES: Final = 16
_KEPT_DELAYS: Final = 600

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


class PointFocus:
    """Focuses on points. The newest point wins over an older search, and the ring over any.

    Args:
        module: takes the frames of a search, one search at a time.
        ask: sends settings to the preview.
        on_change: called when the box changes.
    """

    def __init__(
        self,
        module: Worker[RemoteModule],
        ask: Callable[[Settings], None],
        on_change: Callable[[], None],
    ) -> None:
        self._module, self._ask, self._on_change = module, ask, on_change
        self._status = FocusStatus.IDLE
        self._note = ""
        self._point: tuple[float, float] | None = None
        self._changes: dict[int, int] = {}
        """When the box changed, ``time.monotonic_ns()``, by the serial of the change."""
        self._serial = 0
        self._delays_ns: deque[int] = deque(maxlen=_KEPT_DELAYS)
        self._search: _Search | None = None
        """The search that is under way or waits for its turn; None if there is none."""

    def describe(self) -> dict[str, object]:
        """Return the box: state, note, and the point as parts of the upright picture."""
        return {
            "state": self._status.value,
            "note": self._note,
            "point": self._point,
            "serial": self._serial,
        }

    def note_drawn(self, serial: int) -> None:
        """Note that a page has drawn the box as it is since the change with that serial.

        Raises:
            UsageError: there was no such change, or it is long ago.
        """
        changed_ns = self._changes.get(serial)
        if changed_ns is None:
            raise UsageError(f"box_drawn: the box has no change {serial}")
        self._delays_ns.append(time.monotonic_ns() - changed_ns)

    def describe_delay(self) -> dict[str, float]:
        """Return the delay from a change of the box to a page's answer that it is drawn."""
        return summarise_delays(self._delays_ns)

    def stop(self) -> None:
        """Stop a search, if there is one: somebody focuses by hand, or the module has left."""
        if self._search is not None:
            self._search = None
            self._module.subject.stop()
            self._enter(FocusStatus.IDLE)

    def set_by_hand(self) -> None:
        """Stop a search, and say that the focus is nobody's finding any more."""
        self.stop()
        self._enter(FocusStatus.IDLE)

    def release(self) -> None:
        """Forget the point."""
        self.set_by_hand()
        self._point = None

    def mark(self, x: float, y: float, note: str = "") -> None:
        """Show the box at a point of the upright picture, without a search."""
        self.stop()
        self._point = x, y
        self._enter(FocusStatus.IDLE, note)

    def on_frame(self, frame: FrameMetadata) -> None:
        """Stop a search if the focus ring has been turned since it began."""
        if self._search is not None and frame.focus_ring != self._search.focus_ring:
            self.stop()

    async def search(self, x: float, y: float, before: FrameMetadata) -> None:
        """Focus on a point of the sensor, and set the preview's focus to what was found.

        Args:
            x, y: the point, as parts of width and height.
            before: the last frame. If the search fails, the lens goes back to its focus.
        """
        self._search = own = _Search(before.focus_ring)
        self._enter(FocusStatus.SCANNING)

        def run(module: RemoteModule) -> FocusResult:
            if self._search is not own:
                # It was stopped before its turn came.
                raise CaptureStopped
            module.resume()
            return focus_at(module, x, y, timeout=_FOCUS_S)

        reached_mdpt: int | None = None
        note = "nothing there can be sharp"
        try:
            found = await self._module.call(run)
            if found.state is FocusState.REACHED:
                reached_mdpt = found.focus_mdpt
        except (CaptureStopped, Disconnected):
            if self._search is own:
                self.stop()
            return
        except (UsageError, DeviceError, StorageError, Timeout) as error:
            note = str(error)
        if self._search is not own:
            return
        self._search = None
        if reached_mdpt is None:
            self._ask(Settings(focus_mdpt=before.focus_mdpt))
            self._enter(FocusStatus.FAILED, note)
        else:
            self._ask(Settings(focus_mdpt=reached_mdpt))
            self._enter(FocusStatus.REACHED)

    def _enter(self, status: FocusStatus, note: str = "") -> None:
        if (status, note) != (self._status, self._note):
            _log.debug("focus: %s -> %s %s", self._status.value, status.value, note)
        self._status, self._note = status, note
        self._serial += 1
        self._changes[self._serial] = time.monotonic_ns()
        self._changes.pop(self._serial - _KEPT_CHANGES, None)
        self._on_change()
