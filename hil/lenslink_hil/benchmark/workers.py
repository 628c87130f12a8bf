"""The processes of a measurement, and their folder.

Both are context managers: when the ``with`` block ends, the processes have ended and the folder is
removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lenslink.context import ClosesOnExit
from lenslink.deadline import Deadline
from lenslink.errors import RigError
from lenslink.frame_ring import segment

_END_S = 2.0
# The path of a Unix socket has 104 to 108 bytes. This leaves 44 for the names below this folder.
_MAX_BASE_BYTES = 60


class Worker(ClosesOnExit):
    """A process that reads and writes lines of JSON. Closing the worker ends the process."""

    def __init__(self, module: str, arguments: Sequence[str], folder: Path) -> None:
        self._name = module
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._line = b""
        self._process = subprocess.Popen(
            # -P: a numpy.py in the current folder must not be imported.
            [sys.executable, "-P", "-m", f"{__package__}.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            # Locks of modules lie in the folder of this run.
            env={**os.environ, "LENSLINK_RUNTIME_DIR": str(folder)},
            # Ctrl-C goes to the command, which then ends its processes.
            start_new_session=True,
        )

    def pin_to_core(self, core: int) -> None:
        """Run the process on one core only, if the system can do that."""
        if hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(self._process.pid, {core})

    def send_command(self, **command: object) -> None:
        """Send a command to the process."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._make_error() from None

    def wait_for_answer(self, deadline: Deadline) -> dict[str, Any]:
        """Return the next answer. Raise RigError if it is an error, or if none arrives in time."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._line:
                if not selector.select(deadline.remaining()):
                    raise RigError(f"bench: the {self._name} did not answer in time")
                piece = os.read(self._process.stdout.fileno(), 1 << 20)
                if not piece:
                    raise self._make_error()
                self._line += piece
        line, _, self._line = self._line.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RigError(f"bench: {answer['error']}")
        return answer

    def call(self, deadline: Deadline, **command: object) -> dict[str, Any]:
        """Send a command and return its answer."""
        self.send_command(**command)
        return self.wait_for_answer(deadline)

    def close(self) -> None:
        """End the process. Idempotent. Never raises."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(OSError):
            process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        self._errors.close()

    def _make_error(self) -> RigError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        why = f": {lines[-1]}" if lines else ""
        return RigError(f"bench: the {self._name} ended{why}")


@contextlib.contextmanager
def make_folder() -> Iterator[Path]:
    """Make a folder for sockets and locks, with a path short enough for a socket."""
    usual = tempfile.gettempdir()
    base = usual if len(usual) < _MAX_BASE_BYTES else "/tmp"  # noqa: S108 - made with a random name, 0700
    with tempfile.TemporaryDirectory(prefix="ll-bench-", dir=base) as name:
        try:
            yield Path(name)
        finally:
            # Remove the frame rings of hosts that were ended during a run.
            segment.clean()
