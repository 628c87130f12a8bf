"""Look at a board: does it answer, and since when does it run.

A board that answers reports its uptime and the number of its starts. So two looks tell whether the
board has started anew between them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import lenslink
from lenslink.errors import (
    DeviceBusy,
    Disconnected,
    LensLinkError,
    NotFound,
    RigError,
    Timeout,
    UsageError,
)

_POLL_S: Final = 0.1
# The module's clock and this machine's differ by less in the seconds between two looks.
_CLOCK_SLACK_US: Final = 200_000


class Presence(Enum):
    """What a look at a board has found."""

    ANSWERS = "answers"
    SILENT = "does not answer"
    """It is there, and sends no answer in time, or a wrong one."""
    ABSENT = "is not there"
    BUSY = "is in use"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a look at a board has found, and when."""

    presence: Presence
    detail: str = ""
    """The error of a board that did not answer."""
    serial: str = ""
    kind: str = ""
    firmware: str = ""
    boot_count: int = 0
    uptime_us: int = 0
    reset_reason: int = 0
    seen_s: float = 0.0
    """When, on the monotonic clock."""

    def has_restarted_since(self, earlier: Sighting) -> bool:
        """Return True if the board's clock began anew after *earlier*. Both must be ANSWERS."""
        passed_us = (self.seen_s - earlier.seen_s) * 1e6
        return self.uptime_us + _CLOCK_SLACK_US < earlier.uptime_us + passed_us


def look(url: str, timeout: float) -> Sighting:
    """Open the board at *url* and close it again.

    Raises :exc:`~lenslink.UsageError` for a URL that makes no sense, and
    :exc:`~lenslink.RigError` if this machine cannot open any board.
    """
    try:
        with lenslink.open(url, timeout=timeout) as device:
            return describe(device)
    except (UsageError, RigError):
        raise
    except (NotFound, Disconnected) as error:
        return Sighting(Presence.ABSENT, str(error), seen_s=time.monotonic())
    except DeviceBusy as error:
        return Sighting(Presence.BUSY, str(error), seen_s=time.monotonic())
    except Timeout as error:
        return Sighting(Presence.SILENT, str(error), seen_s=time.monotonic())
    except LensLinkError as error:
        return Sighting(Presence.SILENT, str(error), seen_s=time.monotonic())


def describe(device: lenslink.Device) -> Sighting:
    """Return the sighting of a board that is open."""
    info = device.session_info
    return Sighting(
        Presence.ANSWERS,
        "",
        device.identity.serial,
        device.manifest.board,
        device.identity.firmware,
        info.boot_count,
        info.uptime_us,
        info.reset_reason,
        time.monotonic(),
    )


def wait_for(
    url: str, is_wanted: Callable[[Sighting], bool], seconds: float, timeout: float = 2.0
) -> tuple[Sighting, bool]:
    """Look again and again until a sighting is wanted, at most *seconds*.

    Returns the last sighting, and whether it is wanted. Each look takes at most *timeout*.
    """
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        seen = look(url, max(0.2, min(timeout, left)))
        if is_wanted(seen) or time.monotonic() >= end:
            return seen, is_wanted(seen)
        time.sleep(_POLL_S)
