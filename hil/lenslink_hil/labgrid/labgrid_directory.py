"""``labgrid:PLACE`` and ``labgrid:?board=pico``: boards of other machines, as URLs.

The place is acquired while the module is open, and released when it is closed. An opening waits
for a free place as long as its timeout allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lenslink.deadline import Deadline
from lenslink.transports.base import DeviceInfo
from lenslink.url import Url

from .held_place import OPTIONS, take_place


class LabgridDirectory:
    """Looks up ``labgrid:`` URLs at labgrid's coordinator."""

    options: Mapping[str, str] = OPTIONS

    def resolve(self, url: Url, deadline: Deadline) -> tuple[str, Callable[[], None]]:
        """Acquire a place; raise :exc:`~lenslink.RigError` if none is free in time."""
        held = take_place([url], deadline)
        return held.board.url, held.release

    def devices(self) -> list[DeviceInfo]:
        """Return nothing: ``labgrid-client places`` lists the places."""
        return []


LABGRID = LabgridDirectory()
