"""Outlive a job that has a board, and leave the board's power in its rest state.

A job that is killed cannot clean up. So each job starts this small process beside itself. The
keeper has inherited the board's lock: nobody else can take the board before the keeper has ended.

::

    state     event                                             next state
    --------  ------------------------------------------------  ----------------------------------
    GUARD     a line "on" or "off": the job switches the power  GUARD
    GUARD     the pipe ends: the job has ended                  REST
    GUARD     the job's controller has ended, the job has not   GUARD; 5 s later the job is killed
    REST      the power is in its rest state, or cannot be set  ended; the lock is free

The keeper prints one line if the power cannot be set, and ends with status 11.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from lenslink.errors import LensLinkError
from lenslink.runtime import is_process_alive

from .rig_file import load_rig
from .rig_power import RigPower

_POLL_S: Final = 0.5
_CONTROLLER_S: Final = 5.0
_MAX_LINES: Final = 4096


class Keeper:
    """The job's end of a keeper: starts it, tells it what is switched, and waits for its end."""

    def __init__(
        self, lock: int, rig_file: Path | None, power: str | None, controller: int | None
    ) -> None:
        """Start a keeper.

        Args:
            lock: The descriptor of the board's lock, which the keeper inherits.
            rig_file: The file that has the power switch.
            power: The name of the switch; None if the board has none.
            controller: A process without which the job must not go on.
        """
        arguments = [sys.executable, "-P", "-m", __name__, "--job", str(os.getpid())]
        if power is not None:
            arguments += ["--rig", str(rig_file), "--power", power]
        if controller is not None:
            arguments += ["--controller", str(controller)]
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[lock],
            # A Ctrl-C for the job is none for its keeper.
            start_new_session=True,
        )

    def tell(self, is_on: bool) -> None:
        """Tell the keeper that the job is about to switch the power."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(b"on\n" if is_on else b"off\n")
                self._process.stdin.flush()

    def finish(self, seconds: float) -> bool:
        """End the job: the keeper sets the power. Return False if that failed, or took longer."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            return self._process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False


def guard(job: int, controller: int | None, states: int) -> bool:
    """Wait until the job has ended; return whether the job left the power on.

    *states* is the descriptor of the pipe that the job tells its switching through.
    """
    is_on = True
    orphaned_since: float | None = None
    while True:
        if select.select([states], [], [], _POLL_S)[0]:
            lines = os.read(states, _MAX_LINES)
            if not lines:
                return is_on
            is_on = lines.rstrip().endswith(b"on")
        if controller is not None and not is_process_alive(controller):
            now = time.monotonic()
            orphaned_since = orphaned_since or now
            if now - orphaned_since > _CONTROLLER_S:
                with contextlib.suppress(OSError):
                    os.kill(job, signal.SIGKILL)
        if os.getppid() != job:
            # A child of the job may still have the pipe. The job is gone all the same.
            return is_on


def main() -> int:
    """Guard a job, and then set the power."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=int, required=True)
    parser.add_argument("--controller", type=int)
    parser.add_argument("--rig", type=Path)
    parser.add_argument("--power")
    options = parser.parse_args()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    is_on = guard(options.job, options.controller, sys.stdin.fileno())
    if options.power is None:
        return 0
    try:
        entry = load_rig(options.rig).powers[options.power]
        if entry.is_on_at_rest != is_on:
            RigPower(entry).rest()
    except (LensLinkError, KeyError) as error:
        with contextlib.suppress(OSError):
            print(f"lenslink: the power is not in its rest state: {error}", file=sys.stderr)
        return 11
    return 0


if __name__ == "__main__":
    sys.exit(main())
