"""The name under which a job acquires places: it tells whether the job still runs.

labgrid keeps a place acquired for ever if the process that acquired it dies. So the name of our
jobs holds the host, the process and the process' start. The exporter may then release the place.
Names of other users of labgrid have another form, and their places are left alone.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFIX: Final = "lenslink"
IDLE_S: Final = 45.0
"""A place to which nothing has been connected for so long is released."""
_NAME: Final = re.compile(rf"(?P<host>[^/]+)/{PREFIX}:(?P<user>[^/:]*):(?P<pid>\d+):(?P<start>\d+)")
_ODD: Final = re.compile(r"[^A-Za-z0-9_.-]")
# In /proc/PID/stat, behind the name of the program, which may hold spaces and parentheses.
_START_FIELD: Final = 19


@dataclass(frozen=True, slots=True)
class Owner:
    """A job that has acquired a place.

    >>> Owner.parse("rack1/lenslink:ana:4711:99").pid
    4711
    >>> Owner.parse("rack1/ana") is None
    True
    """

    host: str
    user: str
    pid: int
    start: int
    """When the process began, in clock ticks since the machine started."""

    @classmethod
    def parse(cls, name: str) -> Owner | None:
        """Return the owner of that name; None if the name is not one of ours."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        return cls(match["host"], match["user"], int(match["pid"]), int(match["start"]))

    @classmethod
    def describe_self(cls) -> Owner:
        """Return this process as an owner."""
        try:
            user = getpass.getuser()
        except (OSError, KeyError):
            user = str(os.getuid())
        pid = os.getpid()
        start = read_start(pid) or 0
        return cls(_clean(socket.gethostname()), _clean(user), pid, start)

    @property
    def name(self) -> str:
        """The name that labgrid shows.

        >>> Owner("rack1", "ana", 4711, 99).name
        'rack1/lenslink:ana:4711:99'
        """
        return f"{self.host}/{PREFIX}:{self.user}:{self.pid}:{self.start}"

    def has_ended(self) -> bool:
        """Return True if the job ran on this machine, and its process has ended."""
        return self.host == _clean(socket.gethostname()) and read_start(self.pid) != self.start


def explain_release(name: str, idle: Sequence[float | None]) -> str:
    """Return why the place of the owner *name* has to be released; "" if the place is in use.

    Args:
        name: Who has acquired the place.
        idle: For each of its boards, how many seconds ago the last connection ended: 0 if there is
            a connection, None if the board is not served.

    >>> explain_release("elsewhere/lenslink:ana:4711:99", [60.0])
    'had no connection for 45 s'
    >>> explain_release("elsewhere/ana", [60.0])
    ''
    """
    owner = Owner.parse(name)
    if owner is None or 0.0 in idle:
        return ""
    if owner.has_ended():
        return "has ended"
    if all(seconds is not None and seconds > IDLE_S for seconds in idle):
        return f"had no connection for {IDLE_S:g} s"
    return ""


def read_start(pid: int) -> int | None:
    """Return when a process began, in clock ticks; None if there is no such process."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *fields = text.rpartition(")")[2].split()
        # A zombie has ended: its parent has not asked for its status yet.
        return None if state in ("Z", "X") else int(fields[_START_FIELD - 1])
    return None


def _clean(text: str) -> str:
    """Replace what would end a field of the name."""
    return _ODD.sub("_", text) or "_"
