"""Ctrl-C, SIGTERM and a closed terminal as one exception that unwinds the command."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
# The signal that ends the program at once, counted from the first.
_FORCING_SIGNAL = 3


class Stopped(KeyboardInterrupt):
    """Raised in the main thread when a signal asks the program to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        # As a shell reports it: 130 for Ctrl-C, 143 for SIGTERM, 129 for a closed terminal.
        self.exit_code = 128 + signum


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise :exc:`Stopped` at the first signal that arrives within the context.

    The second signal is ignored. It would interrupt the cleaning up, which deadlines bound, and
    would leave a module or a temporary file behind. The third signal ends the process. A signal
    that was ignored when the program started (``nohup``, ``&`` in a script) stays ignored.
    """
    received = 0

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received == 1:
            raise Stopped(signum)
        if received >= _FORCING_SIGNAL:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    previous: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
    for name in _NAMES:
        signum = getattr(signal, name, None)
        if signum is not None and signal.getsignal(signum) is not signal.SIG_IGN:
            previous[signum] = signal.signal(signum, handle)
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
