"""The processes of a measurement, and nothing left of them."""

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
# A socket's address has some 100 bytes.
_LONG = 60


class Worker(ClosesOnExit):
    """A process that speaks lines of JSON; a context manager that ends it."""

    def __init__(self, module: str, arguments: Sequence[str], folder: Path) -> None:
        self._name = module
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._line = b""
        self._process = subprocess.Popen(
            # -P: a numpy.py in the current folder is none of our business.
            [sys.executable, "-P", "-m", f"{__package__}.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            # Locks of modules belong to this run, and go with its folder.
            env={**os.environ, "LENSLINK_RUNTIME_DIR": str(folder)},
            # Ctrl-C is for the command, which then ends its processes.
            start_new_session=True,
        )

    def keep_to(self, core: int) -> None:
        """Run on that core of the machine only, if it has it and lets us choose."""
        if hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(self._process.pid, {core})

    def say(self, **command: object) -> None:
        """Send a command."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._died() from None

    def hear(self, deadline: Deadline) -> dict[str, Any]:
        """The next answer; :exc:`~lenslink.errors.RigError` if it is an error, or none comes."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._line:
                if not selector.select(deadline.remaining()):
                    raise RigError(f"bench: the {self._name} did not answer in time")
                piece = os.read(self._process.stdout.fileno(), 1 << 20)
                if not piece:
                    raise self._died()
                self._line += piece
        line, _, self._line = self._line.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RigError(f"bench: {answer['error']}")
        return answer

    def ask(self, deadline: Deadline, **command: object) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.say(**command)
        return self.hear(deadline)

    def close(self) -> None:
        """End the process. Idempotent; never raises."""
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

    def _died(self) -> RigError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        why = f": {lines[-1]}" if lines else ""
        return RigError(f"bench: the {self._name} ended{why}")


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder for sockets and locks; its path is short, as a socket's address has to be."""
    usual = tempfile.gettempdir()
    base = usual if len(usual) < _LONG else "/tmp"  # noqa: S108 - made with a random name, 0700
    with tempfile.TemporaryDirectory(prefix="ll-bench-", dir=base) as name:
        try:
            yield Path(name)
        finally:
            # Of hosts that were ended in the middle of a run.
            segment.clean()
