"""Start the process of the page, and learn why it ended.

:mod:`.module_owner` starts :mod:`.page_program` by :class:`PageProcess`, with a :class:`PageTask`
on its standard input. The process ends when the owner's ring ends.
"""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
from dataclasses import dataclass
from typing import Final, Self

from lenslink.context import ClosesOnExit
from lenslink.control.control_messages import decode_line, make_error
from lenslink.errors import UsageError

from .remote_module import ModuleProfile

_END_S: Final = 5.0


@dataclass(frozen=True)
class PageTask:
    """What the process needs to know."""

    ring: str
    profile: ModuleProfile
    listener: int
    """File descriptor of the socket that listens, which the process inherits."""
    token: str
    is_loopback: bool
    verbose: int
    is_quiet: bool


class PageProcess(ClosesOnExit):
    """The running process, as its owner sees it.

    It is a session of its own: Ctrl-C reaches the owner alone, which ends both in order.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def start(cls, task: PageTask) -> Self:
        """Start the process."""
        process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.page_program"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[task.listener],
            start_new_session=True,
        )
        started = cls(process)
        assert process.stdin is not None
        try:
            with process.stdin as pipe, contextlib.suppress(BrokenPipeError):
                pickle.dump(task, pipe)
        except BaseException:
            started.close()
            raise
        return started

    @property
    def pid(self) -> int:
        """The process' number."""
        return self._process.pid

    def check(self) -> None:
        """Raise what ended the process, if it has ended.

        Raises:
            LensLinkError: the error that the process reported.
            RuntimeError: it ended without one.
        """
        code = self._process.poll()
        if code is None:
            return
        assert self._process.stdout is not None
        line = self._process.stdout.read()
        try:
            error = decode_line(line).get("error")
        except UsageError:
            raise RuntimeError(f"the page's process has ended with the code {code}") from None
        raise make_error(error)

    def close(self) -> None:
        """Wait for the end of the process, which follows the end of the ring; then kill it."""
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
