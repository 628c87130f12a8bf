"""Where the files of LensLink lie on a board, and the marker that names the slot to start.

lensboot.py, which runs on the board, has the other half of this contract.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

SLOTS: Final = ("a", "b")
FIRST_SLOT: Final = SLOTS[0]
OWN: Final = "lensfw.json"
"""What belongs to the board, outside the slots: serial number, guard pin, and the options that its
configuration was made from. Only the first two are read by the board."""
CONFIGURATION: Final = "config.json"
"""The configuration of a firmware, in its slot: a firmware never meets that of another one."""
MARKER: Final = "lensboot.json"
KEY_FILE: Final = "lenslink.key"
"""The key of the module. Flashing leaves it alone."""
STUBS: Final = ("lensboot.mpy", "main.py", "boot.py")
"""The files that choose a slot. boot.py comes last, because it runs first."""
BUILD: Final = "build.json"
"""In each slot: what is in the slot. The host reads it, the board does not."""
NEW: Final = ".new"
"""The end of a file's name before it replaces the file of the same name by rename."""
_MAX_CRASH_CHARS: Final = 4000


def get_other_slot(slot: str) -> str:
    """Return the other one of the two slots."""
    return SLOTS[1 - SLOTS.index(slot)]


@dataclass(frozen=True, slots=True)
class Marker:
    """What the board starts, and how the last starts ended."""

    slot: str
    """The slot that the board starts."""
    good: str | None
    """The slot that was confirmed last; None if there was none."""
    failures: int = 0
    """Starts in a row that the watchdog or an exception ended."""
    crash_slot: str = ""
    crash: str = ""
    """The end of the last start that failed: its traceback. It outlives later good starts."""

    @property
    def is_confirmed(self) -> bool:
        """True if the slot has been confirmed."""
        return self.slot == self.good

    def encode(self) -> bytes:
        """Return the file as lensboot.py reads it."""
        value: dict[str, Any] = {"slot": self.slot, "good": self.good, "failures": self.failures}
        if self.crash:
            value["crash"] = {"slot": self.crash_slot, "text": self.crash}
        return json.dumps(value).encode()


def encode_marker(slot: str, good: str | None) -> bytes:
    """Return the marker of a board without failed starts."""
    return Marker(slot, good).encode()


def parse_marker(data: bytes | None) -> Marker | None:
    """Read a marker; None if there is none, or if the board could not use it."""
    try:
        value = json.loads(data or b"")
        slot, good, failures = value["slot"], value["good"], value["failures"]
        crash = value.get("crash") or {"slot": "", "text": ""}
        marker = Marker(slot, good, failures, str(crash["slot"]), str(crash["text"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    is_valid = slot in SLOTS and good in (None, *SLOTS) and type(failures) is int and failures >= 0
    return marker if is_valid and len(marker.crash) <= _MAX_CRASH_CHARS else None
