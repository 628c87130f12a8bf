"""A point on the monotonic clock by which a call must be over."""

from __future__ import annotations

import time

from .errors import Timeout


class Deadline:
    """*seconds* from now; ``what`` is named in the error."""

    def __init__(self, seconds: float, what: str = "the call") -> None:
        self.seconds = seconds
        self.what = what
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Raise :exc:`~lenslink.errors.Timeout` once it has passed."""
        if time.monotonic() >= self._end:
            raise Timeout(f"{self.what} took longer than {self.seconds:g} s")
