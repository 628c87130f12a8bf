"""What is counted while frames come in."""

from __future__ import annotations

import enum
import time
from collections import deque
from typing import TYPE_CHECKING

from lenslink.errors import Disconnected, Timeout

from .values import format_bytes, format_discards

if TYPE_CHECKING:
    from lenslink import Device, Frame

_RECENT = 32


class EndReason(enum.StrEnum):
    """Why a stream ended."""

    FRAMES = "frames"
    DURATION = "duration"
    INTERRUPTED = "interrupted"
    DISCONNECTED = "disconnected"
    TIMEOUT = "timeout"
    ERROR = "error"


class FrameCounts:
    """The figures of one stream; all are 0 until :meth:`begin`."""

    def __init__(self) -> None:
        self.frames = 0
        self.incomplete = 0
        self.ended: EndReason | None = None
        self._device: Device | None = None
        self._start = 0.0
        self._end: float | None = None
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._frame_bytes = 0

    def begin(self, device: Device) -> None:
        """The clock runs from here."""
        self._device = device
        self._start = time.monotonic()

    def count(self, frame: Frame) -> None:
        self.frames += 1
        self.incomplete += frame.status.value == "incomplete"
        self._frame_bytes = frame.packed.nbytes
        self._recent.append(time.monotonic())

    def stop(self, error: BaseException) -> None:
        """Remember why it ended, and when."""
        kinds = {
            KeyboardInterrupt: EndReason.INTERRUPTED,
            Disconnected: EndReason.DISCONNECTED,
            Timeout: EndReason.TIMEOUT,
        }
        self.ended = next((why for kind, why in kinds.items() if isinstance(error, kind)), None)
        self.ended = self.ended or EndReason.ERROR

    @property
    def seconds(self) -> float:
        """From the start to the last frame: waiting for one that never came is no throughput."""
        return self._recent[-1] - self._start if self._recent else 0.0

    @property
    def discards(self) -> dict[str, int]:
        return dict(self._device.stats.discards) if self._device else {}

    def live(self) -> str:
        """The line that is redrawn: the rate of the last frames, so that a drop shows."""
        span = self._recent[-1] - self._recent[0]
        fps = (len(self._recent) - 1) / span if span > 0 else 0.0
        return self._line(fps, fps * self._frame_bytes)

    def summary(self) -> str:
        """The last line."""
        seconds = self.seconds
        fps = self.frames / seconds if seconds else 0.0
        rate = self._bytes / seconds if seconds else 0.0
        why = f" ({self.ended})" if self.ended not in (EndReason.FRAMES, EndReason.DURATION) else ""
        return f"{self._line(fps, rate)}, {format_bytes(self._bytes)} in {seconds:.1f} s{why}"

    def as_json(self) -> dict[str, object]:
        stats = self._device.stats if self._device else None
        seconds = self.seconds
        return {
            "frames": self.frames,
            "incomplete": self.incomplete,
            "bytes": self._bytes,
            "seconds": seconds,
            "fps": self.frames / seconds if seconds else 0.0,
            "discards": self.discards,
            "lost_packets": stats.lost_packets if stats else 0,
            "first_tile_ms": stats.first_tile_ms if stats else None,
            "ended": self.ended.value if self.ended else None,
        }

    @property
    def _bytes(self) -> int:
        return self._device.stats.bytes if self._device else 0

    def _line(self, fps: float, rate: float) -> str:
        return (
            f"{self.frames} frames, {fps:.1f} fps, {format_bytes(rate)}/s, "
            f"{self.incomplete} incomplete, {format_discards(self.discards)}"
        )
