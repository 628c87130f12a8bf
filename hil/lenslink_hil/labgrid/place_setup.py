"""Create a place with tags for each board of a rig: ``lenslink rig places``.

A second call changes nothing. What the user has added to a place by other means stays: comments,
tags of other names, and patterns for other resources.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..rig.rig_file import Board, Rig
from .held_place import RESOURCE_CLASS
from .place_tags import describe_tags, is_ours, make_tags

if TYPE_CHECKING:
    from .coordinator import Coordinator, Place


@dataclass(frozen=True, slots=True)
class PlaceChange:
    """What became of one place."""

    place: str
    tags: str
    change: str
    """``created``, ``changed`` or ``unchanged``."""


def make_place_name(rig: Rig, board: Board) -> str:
    """Return the name of a board's place: boards of two rigs may have the same name."""
    return f"{rig.name}-{board.name}"


def make_pattern(exporter: str, board: Board) -> str:
    """Return the pattern of a board's resource. Its exporter is called like the rig."""
    return "/".join([*map(glob.escape, (exporter, board.name)), RESOURCE_CLASS])


def set_up_places(rig: Rig, coordinator: Coordinator) -> Iterator[PlaceChange]:
    """Create or correct the place of each board of *rig*, one after the other."""
    places = {place.name: place for place in coordinator.list_places()}
    for board in rig.boards.values():
        name = make_place_name(rig, board)
        tags = make_tags(
            {"rig": rig.name, "board": board.kind, "serial": board.serial}, board.roles
        )
        place = places.get(name)
        if place is None:
            coordinator.add_place(name)
        is_changed = _correct(coordinator, name, place, tags, make_pattern(rig.name, board))
        change = "created" if place is None else ("changed" if is_changed else "unchanged")
        yield PlaceChange(name, describe_tags(tags), change)


def _correct(
    coordinator: Coordinator, name: str, place: Place | None, tags: dict[str, str], pattern: str
) -> bool:
    """Set what differs from the rig, and return whether anything did."""
    known = place.tags if place is not None else {}
    stale = {key: "" for key in known if is_ours(key) and key not in tags}
    differing = {key: value for key, value in tags.items() if known.get(key) != value} | stale
    if differing:
        coordinator.set_tags(name, differing)
    matches = place.matches if place is not None else ()
    old = [each for each in matches if each.endswith(f"/{RESOURCE_CLASS}") and each != pattern]
    for each in old:
        coordinator.delete_match(name, each)
    if pattern not in matches:
        coordinator.add_match(name, pattern)
    return bool(differing or old or pattern not in matches)
