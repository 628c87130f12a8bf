"""Exceptions that come at any moment: Ctrl-C, or the time limit of a test."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class TimeLimit(BaseException):
    """Stands for the exception by which a test runner ends a test that takes too long."""


class Interrupter:
    """Raises an exception in the main thread, after a delay, as a signal handler does."""

    def __init__(self) -> None:
        self._error: type[BaseException] | None = None

    @contextlib.contextmanager
    def installed(self) -> Iterator[Interrupter]:
        """Own SIGUSR1 while the context lasts."""
        before = signal.signal(signal.SIGUSR1, self._raise)
        try:
            yield self
        finally:
            signal.signal(signal.SIGUSR1, before)

    @contextlib.contextmanager
    def armed(self, error: type[BaseException], delay_s: float) -> Iterator[None]:
        """Raise *error* within the context once *delay_s* is over, if the context still lasts."""
        timer = threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        self._error = error
        try:
            yield
        finally:
            self._error = None
            timer.cancel()
            timer.join()

    def _raise(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._error is not None:
            error, self._error = self._error, None
            raise error
