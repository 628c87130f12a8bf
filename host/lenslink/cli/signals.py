"""Ctrl-C, SIGTERM and a closed terminal, as one exception that unwinds the command."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_INSIST = 3


class Stopped(KeyboardInterrupt):
    """Raised in the main thread by a signal that asks the program to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        # 130 for Ctrl-C, 143 for SIGTERM, 129 for a closed terminal: as a shell would say it.
        self.exit_code = 128 + signum


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Within it, a signal raises :exc:`Stopped`, once.

    The second one is ignored: it would interrupt the cleaning up, which is bounded by deadlines,
    and leave a module or a temporary file behind. The third has its way. Signals that whoever
    started us told us to ignore (``nohup``, ``&`` in a script) stay ignored.
    """
    received = 0

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received == 1:
            raise Stopped(signum)
        if received >= _INSIST:
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
