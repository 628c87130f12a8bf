"""The power switch ``sim``: the power of a simulated board (:mod:`.simulated_board`)."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from lenslink.deadline import Deadline
from lenslink.errors import RigError

from .power_switch import take_text

MAX_LINE = 1024


def send_command(path: str, command: str, deadline: Deadline) -> str:
    """Send a line to the control socket at *path*, and return the line that it answers.

    Raises :exc:`~lenslink.RigError` if nobody listens there, or nobody answers in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(max(deadline.remaining(), 0.001))
        try:
            connection.connect(path)
            connection.sendall(f"{command}\n".encode())
            answer = b""
            while not answer.endswith(b"\n") and len(answer) < MAX_LINE:
                connection.settimeout(max(deadline.remaining(), 0.001))
                piece = connection.recv(MAX_LINE)
                if not piece:
                    break
                answer += piece
        except TimeoutError:
            raise RigError(f"{path} did not answer within {deadline.seconds:g} s") from None
        except OSError as error:
            reason = error.strerror or error
            raise RigError(f"{path}: {reason}; type: lenslink rig simulate") from None
    return answer.decode("utf-8", "replace").strip()


class SimSwitch:
    """Switches the power of the simulated board whose control socket is at *path*."""

    def __init__(self, path: str) -> None:
        self.path = path

    def set_power(self, is_on: bool, deadline: Deadline) -> None:
        wanted = "on" if is_on else "off"
        answer = send_command(self.path, wanted, deadline)
        if answer != wanted:
            raise RigError(f"{self.path} answered: {answer}")

    def read_power(self, deadline: Deadline) -> bool | None:
        return send_command(self.path, "state", deadline) == "on"


class SimKind:
    """``switch = "sim"``."""

    options: Mapping[str, str] = {"socket": "the path of the simulated board's control socket"}

    def make(self, options: Mapping[str, object]) -> SimSwitch:
        return SimSwitch(take_text(options, "socket"))


SIM_SWITCH = SimKind()
