"""The power switch ``uhubctl``: one port of a USB hub that can switch its ports.

uhubctl is a program of its own (GPL-2.0), which the user installs. It is started with a list of
arguments. Many hubs obey it and yet leave 5 V on the port: ``lenslink rig doctor`` finds out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lenslink.deadline import Deadline
from lenslink.errors import RigError, UsageError

from .power_switch import take_text
from .switch_command import run_program

# "  Port 3: 0103 power enable connect [2e8a:0005 ...]"; without power: "  Port 3: 0000 off".
_PORT = re.compile(r"^\s*Port (\d+): ([0-9a-f]{4})(.*)$", re.MULTILINE)


class UhubctlSwitch:
    """Switches one port of one hub."""

    def __init__(self, program: str, location: str, port: int) -> None:
        self._port = port
        self._arguments = [program, "-l", location, "-p", str(port)]

    def set_power(self, is_on: bool, deadline: Deadline) -> None:
        action = "on" if is_on else "off"
        text = self._run([*self._arguments, "-a", action], deadline)
        # uhubctl prints the port before and after. It exits 0 even if nothing has changed.
        if self._read(text) is not is_on:
            raise RigError(f"uhubctl did not switch port {self._port} {action}")

    def read_power(self, deadline: Deadline) -> bool | None:
        return self._read(self._run(self._arguments, deadline))

    def _run(self, arguments: list[str], deadline: Deadline) -> str:
        try:
            return run_program(arguments, deadline)
        except RigError as error:
            if "No such file" in str(error):
                raise RigError(
                    f"{error}; install uhubctl (https://github.com/mvp/uhubctl)"
                ) from None
            raise

    def _read(self, text: str) -> bool:
        found = [match for match in _PORT.finditer(text) if int(match[1]) == self._port]
        if not found:
            raise RigError(f"uhubctl shows no port {self._port}: see 'uhubctl' for the hub's ports")
        return "power" in found[-1][3].split()


class UhubctlKind:
    """``switch = "uhubctl"``."""

    options: Mapping[str, str] = {
        "location": "the hub, as uhubctl shows it: 1-1",
        "port": "the number of the hub's port",
        "program": "the path of uhubctl",
    }

    def make(self, options: Mapping[str, object]) -> UhubctlSwitch:
        port = options.get("port")
        if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 255:
            raise UsageError(f"port = {port!r} is not the number of a port")
        program = take_text(options, "program", "uhubctl")
        return UhubctlSwitch(program, take_text(options, "location"), port)


UHUBCTL = UhubctlKind()
