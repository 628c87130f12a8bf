"""The time by which a call must return, on the monotonic clock.

Each public call makes one :class:`Deadline` and passes it to everything that it calls.
"""

from __future__ import annotations

import time

from .errors import Timeout


class Deadline:
    """The time *seconds* from now. *purpose* names the call in the error message."""

    def __init__(self, seconds: float, purpose: str = "the call") -> None:
        self.seconds = seconds
        self.purpose = purpose
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left, at least 0."""
        return max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Raise :exc:`~lenslink.errors.Timeout` if the deadline has passed."""
        if time.monotonic() >= self._end:
            raise Timeout(f"{self.purpose} took longer than {self.seconds:g} s")
