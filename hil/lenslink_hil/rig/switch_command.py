"""The power switch ``command``: any program, as a list of arguments. No shell is involved."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from lenslink.deadline import Deadline
from lenslink.errors import RigError, UsageError

from ..unnamed_file import open_unnamed_file

MAX_OUTPUT = 65536


def run_program(
    arguments: Sequence[str], deadline: Deadline, environment: Mapping[str, str] | None = None
) -> str:
    """Run a program and return the beginning of what it printed.

    Its process group is killed if the deadline passes. It has this process' environment unless
    *environment* is given.

    Raises:
        RigError: The program is missing, failed, or did not end in time.
    """
    name = arguments[0]
    with open_unnamed_file() as output:
        try:
            process = subprocess.Popen(
                list(arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RigError(f"{name} cannot be started: {reason}") from None
        try:
            status = process.wait(deadline.remaining())
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        text: str = output.read(MAX_OUTPUT).decode("utf-8", "replace")
    if status is None:
        raise RigError(f"{name} did not end within {deadline.seconds:g} s")
    if status:
        last = (text.strip().splitlines() or ["it printed nothing"])[-1]
        raise RigError(f"{name} ended with {status}: {last[:200]}")
    return text


class CommandSwitch:
    """Runs a program to switch on, one to switch off, and perhaps one that prints on or off."""

    def __init__(self, on: Sequence[str], off: Sequence[str], state: Sequence[str] | None) -> None:
        self._programs = {True: on, False: off}
        self._state = state

    def set_power(self, is_on: bool, deadline: Deadline) -> None:
        run_program(self._programs[is_on], deadline)

    def read_power(self, deadline: Deadline) -> bool | None:
        if self._state is None:
            return None
        words = run_program(self._state, deadline).lower().split()
        if not words or words[-1] not in ("on", "off"):
            raise RigError(f"{self._state[0]} printed neither on nor off as its last word")
        return words[-1] == "on"


class CommandKind:
    """``switch = "command"``."""

    options: Mapping[str, str] = {
        "on": "the program that switches on: a list of its arguments",
        "off": "the program that switches off",
        "state": "a program whose last word of output is on or off",
    }

    def make(self, options: Mapping[str, object]) -> CommandSwitch:
        programs: dict[str, list[str] | None] = {}
        for key in self.options:
            value = options.get(key)
            is_program = (
                isinstance(value, list)
                and value
                and all(isinstance(word, str) and "\0" not in word for word in value)
            )
            if value is None and key == "state":
                programs[key] = None
            elif not is_program or not isinstance(value, list):
                raise UsageError(f'{key} is no list of arguments, such as ["relay", "{key}"]')
            else:
                programs[key] = [str(word) for word in value]
        return CommandSwitch(programs["on"] or [], programs["off"] or [], programs["state"])


COMMAND = CommandKind()
