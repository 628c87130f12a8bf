"""The power switch ``labgrid``: the power driver that labgrid has for a place's power resource.

The place is acquired for each call, and released after it. labgrid's drivers have no time limits.
So they run in ``labgrid-client``, which is killed when the deadline passes.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from lenslink.deadline import Deadline
from lenslink.errors import RigError

from .power_switch import take_text
from .switch_command import run_program

_PROGRAM = "labgrid-client"


class LabgridSwitch:
    """Switches what belongs to a place of labgrid; *outlet* names one of several resources."""

    def __init__(self, place: str, coordinator: str, outlet: str) -> None:
        self.place = place
        self._address = coordinator
        self._outlet = outlet

    def set_power(self, is_on: bool, deadline: Deadline) -> None:
        self._run("on" if is_on else "off", deadline)

    def read_power(self, deadline: Deadline) -> bool | None:
        words = self._run("get", deadline).split()
        if not words or words[-1] not in ("on", "off"):
            raise RigError(f"{_PROGRAM} printed neither on nor off as its last word")
        return words[-1] == "on"

    def _run(self, action: str, deadline: Deadline) -> str:
        from ..labgrid.coordinator import choose_address
        from ..labgrid.held_place import hold_any_place

        address = choose_address(self._address or None)
        outlet = ["--name", self._outlet] if self._outlet else []
        with hold_any_place(self.place, address, deadline) as owner:
            host, _, user = owner.partition("/")
            return run_program(
                [_find_program(), "-x", address, "-p", self.place, "power", action, *outlet],
                deadline,
                # labgrid-client lets only the owner of a place switch its power.
                {**os.environ, "LG_HOSTNAME": host, "LG_USERNAME": user},
            )


def _find_program() -> str:
    """Return labgrid-client: beside this Python, else on PATH."""
    beside = Path(sys.executable).with_name(_PROGRAM)
    found = str(beside) if beside.is_file() else shutil.which(_PROGRAM)
    if found is None:
        raise RigError(f"{_PROGRAM} is neither beside {sys.executable} nor on PATH")
    return found


class LabgridKind:
    """``switch = "labgrid"``."""

    options: Mapping[str, str] = {
        "place": "the place that the power resource belongs to",
        "coordinator": "HOST:PORT of labgrid's coordinator; the default is $LG_COORDINATOR",
        "outlet": "the name of the power resource, if the place has several",
    }

    def make(self, options: Mapping[str, object]) -> LabgridSwitch:
        return LabgridSwitch(
            take_text(options, "place"),
            take_text(options, "coordinator", ""),
            take_text(options, "outlet", ""),
        )


LABGRID_SWITCH = LabgridKind()
