"""When frames of a stream were handed out, and whether the caller was away since.

:class:`lenslink.Device` asks a :class:`StreamTiming` before it hands out a frame of a stream with
``latest=True``.
"""

from __future__ import annotations

from .frame import Frame


class StreamTiming:
    """Times of the last frame that was handed out of one stream."""

    def __init__(self) -> None:
        self._last_frame: tuple[int, int] | None = None
        """Number and timestamp in microseconds."""
        self._last_time = 0.0
        self._interval_s = 0.0

    def record(self, frame: Frame, now: float) -> None:
        """Remember that *frame* is handed out at the time *now*, in seconds."""
        if self._last_frame is not None:
            number, timestamp_us = self._last_frame
            # Frames between the two may have been dropped.
            count = max(1, frame.number - number)
            self._interval_s = (frame.timestamp_us - timestamp_us) / count / 1e6
        self._last_frame = frame.number, frame.timestamp_us
        self._last_time = now

    def is_away(self, now: float) -> bool:
        """Return True if the module has begun another frame since the last one was handed out.

        The caller did not ask for that frame, so the caller was away. Before the second frame the
        interval is not known, and any caller counts as away.
        """
        return self._last_frame is not None and now - self._last_time > self._interval_s
