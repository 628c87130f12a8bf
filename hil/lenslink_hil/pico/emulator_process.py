"""The emulator as a child process: its commands, its messages and its clock.

:class:`~lenslink_hil.pico.emulated_board.PicoBoard` starts one each time that the board is plugged
in. emulator.mjs is the program; emulator_commands.mjs has the commands and events.
"""

from __future__ import annotations

import contextlib
import json
import logging
import mmap
import os
import selectors
import struct
import subprocess
from collections.abc import Callable, Mapping
from importlib.resources import as_file, files
from typing import Any, Final

from lenslink.deadline import Deadline
from lenslink.errors import RigError, Timeout

from ..unnamed_file import open_unnamed_file

_END_S: Final = 2.0
_REPORT_S: Final = 10.0
_SECONDS: Final = struct.Struct("<d")

_log = logging.getLogger(__name__)


class EmulatorClock:
    """The emulated time over all runs of the emulator, which writes it into a file as it goes."""

    def __init__(self) -> None:
        with open_unnamed_file() as file:
            file.truncate(_SECONDS.size)
            self.descriptor = os.dup(file.fileno())
            self._memory = mmap.mmap(file.fileno(), _SECONDS.size)
        self._earlier_runs_s = 0.0

    def now(self) -> float:
        """Return the seconds of all runs so far. Cheap; after close() the last value."""
        if self._memory.closed:
            return self._earlier_runs_s
        seconds: float = _SECONDS.unpack_from(self._memory)[0]
        return self._earlier_runs_s + seconds

    def end_run(self) -> None:
        """Add the run that has ended to those before it."""
        self._earlier_runs_s = self.now()
        _SECONDS.pack_into(self._memory, 0, 0.0)

    def close(self) -> None:
        """Close the file. Idempotent."""
        if not self._memory.closed:
            self._earlier_runs_s = self.now()
            self._memory.close()
            os.close(self.descriptor)


class EmulatorProcess:
    """A running emulator.

    Args:
        command: the path of Node.
        options: those of emulator.mjs.
        descriptors: what the process inherits.
    """

    def __init__(self, command: str, options: Mapping[str, object], descriptors: list[int]) -> None:
        self._messages: list[dict[str, Any]] = []
        self._partial_line = b""
        with as_file(files(__package__)) as folder:
            self.process = subprocess.Popen(
                [command, str(folder / "emulator.mjs"), json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=descriptors,
                start_new_session=True,
            )

    def send_command(self, command: Mapping[str, object]) -> None:
        """Send a command; RigError if the emulator has ended."""
        assert self.process.stdin is not None
        _log.debug("command %s", command)
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise RigError("the emulator has ended") from None

    def request_report(self) -> dict[str, Any]:
        """Ask for emulated time, how much of it the core slept, and the counters of the bus."""
        self.send_command({"report": True})
        deadline = Deadline(_REPORT_S, "asking the emulator")
        message = self._wait_for(lambda each: "report" in each, deadline)
        report: dict[str, Any] = message["report"]
        return report

    def wait_for_event(self, name: str, deadline: Deadline) -> int:
        """Wait for an event and return its time, in emulated microseconds."""
        return int(self._wait_for(lambda each: each.get("event") == name, deadline)["us"])

    def list_events(self) -> list[str]:
        """Return the names of the events that nobody has waited for."""
        self.request_report()
        return [message["event"] for message in self._messages if "event" in message]

    def _wait_for(
        self, is_wanted: Callable[[dict[str, Any]], bool], deadline: Deadline
    ) -> dict[str, Any]:
        output = self.process.stdout
        assert output is not None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while True:
                for at, message in enumerate(self._messages):
                    if message.get("event") == "stopped":
                        raise RigError(f"the emulated Pico has stopped: {message['reason']}")
                    if is_wanted(message):
                        del self._messages[at]
                        return message
                if not selector.select(deadline.remaining()):
                    raise Timeout(f"{deadline.purpose}: nothing from the emulator in time")
                piece = os.read(output.fileno(), 65536)
                if not piece:
                    raise RigError("the emulator has ended")
                *lines, self._partial_line = (self._partial_line + piece).split(b"\n")
                for line in lines:
                    _log.debug("message %s", line.decode("utf-8", "replace"))
                    self._messages.append(json.loads(line))

    def close(self) -> None:
        """End the process. Idempotent; never raises."""
        with contextlib.suppress(OSError):
            self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_END_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
