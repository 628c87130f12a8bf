"""The figures of one stream: frames, rate and losses, live and at the end.

``stream``, ``record`` and the demo call :meth:`FrameCounts.count` for each frame that they receive.
"""

from __future__ import annotations

import enum
import time
from collections import deque
from typing import TYPE_CHECKING

from lenslink.errors import Disconnected, Timeout

from .values import format_bytes, format_discards

if TYPE_CHECKING:
    from lenslink import Device, Frame

# The live rate is that of so many frames.
_RECENT_FRAMES = 32


class EndReason(enum.StrEnum):
    """Why a stream ended."""

    FRAMES = "frames"
    DURATION = "duration"
    INTERRUPTED = "interrupted"
    DISCONNECTED = "disconnected"
    TIMEOUT = "timeout"
    ERROR = "error"


class FrameCounts:
    """The figures of one stream; all are 0 until :meth:`start`."""

    def __init__(self) -> None:
        self.frames = 0
        self.incomplete = 0
        self.end_reason: EndReason | None = None
        self._device: Device | None = None
        self._start = 0.0
        self._frame_times: deque[float] = deque(maxlen=_RECENT_FRAMES)
        self._frame_bytes = 0

    def start(self, device: Device) -> None:
        """Start the clock. The bytes and the discards are those of *device*."""
        self._device = device
        self._start = time.monotonic()

    def count(self, frame: Frame) -> None:
        """Count one frame that has just been received."""
        self.frames += 1
        self.incomplete += frame.status.value == "incomplete"
        self._frame_bytes = frame.packed.nbytes
        self._frame_times.append(time.monotonic())

    def check_end(self, limit: int | None, duration: float | None) -> bool:
        """Store why the stream ends now and return True, if *limit* or *duration* is reached.

        Args:
            limit: the number of frames asked for, or None.
            duration: the number of seconds asked for, or None.
        """
        if self.frames == limit:
            self.end_reason = EndReason.FRAMES
        elif duration is not None and self.seconds >= duration:
            self.end_reason = EndReason.DURATION
        return self.end_reason is not None

    def end_with(self, error: BaseException) -> None:
        """Store the reason that *error* stands for."""
        reasons = {
            KeyboardInterrupt: EndReason.INTERRUPTED,
            Disconnected: EndReason.DISCONNECTED,
            Timeout: EndReason.TIMEOUT,
        }
        found = (reason for kind, reason in reasons.items() if isinstance(error, kind))
        self.end_reason = next(found, EndReason.ERROR)

    @property
    def seconds(self) -> float:
        """Seconds from the start to the last frame; waiting for a frame that never came is out."""
        return self._frame_times[-1] - self._start if self._frame_times else 0.0

    @property
    def discards(self) -> dict[str, int]:
        """Discarded packets by reason."""
        return dict(self._device.stats.discards) if self._device else {}

    def format_live(self) -> str:
        """Return the progress line, with the rate of the last frames only, so that a drop shows."""
        span = self._frame_times[-1] - self._frame_times[0]
        fps = (len(self._frame_times) - 1) / span if span > 0 else 0.0
        return self._format_line(fps, fps * self._frame_bytes)

    def format_summary(self) -> str:
        """Return the last line, with the rate of the whole stream."""
        seconds = self.seconds
        fps = self.frames / seconds if seconds else 0.0
        rate = self._bytes / seconds if seconds else 0.0
        is_expected = self.end_reason in (EndReason.FRAMES, EndReason.DURATION)
        reason = "" if is_expected else f" ({self.end_reason})"
        size = format_bytes(self._bytes)
        return f"{self._format_line(fps, rate)}, {size} in {seconds:.1f} s{reason}"

    def to_json(self) -> dict[str, object]:
        """Return the figures as the command line's JSON shows them."""
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
            "ended": self.end_reason.value if self.end_reason else None,
        }

    @property
    def _bytes(self) -> int:
        return self._device.stats.bytes if self._device else 0

    def _format_line(self, fps: float, rate: float) -> str:
        return (
            f"{self.frames} frames, {fps:.1f} fps, {format_bytes(rate)}/s, "
            f"{self.incomplete} incomplete, {format_discards(self.discards)}"
        )
