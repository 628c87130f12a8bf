"""The tags of a place: what a ``labgrid:?board=pico`` URL is matched with.

::

    tag           of the board in rig.toml
    ------------  ----------------------------
    rig           the rig's name
    board         ``kind``
    serial        ``serial``
    role_NAME     ``yes``, for each of ``roles``
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

KEYS: Final = ("rig", "board", "serial")
_ROLE: Final = "role_"
_YES: Final = "yes"
_ODD: Final = re.compile(r"[^a-z0-9_]")


def make_tags(options: Mapping[str, str], roles: Iterable[str] = ()) -> dict[str, str]:
    """Return the tags of the options of a URL, or of a board. Empty values make no tag.

    >>> make_tags({"board": "pico", "role": "dark-box"})
    {'board': 'pico', 'role_dark_box': 'yes'}
    """
    tags = {key: options[key] for key in KEYS if options.get(key)}
    wanted = [*roles, *([options["role"]] if options.get("role") else [])]
    return tags | {_ROLE + _ODD.sub("_", role.lower()): _YES for role in wanted}


def read_roles(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the roles of a place.

    >>> read_roles({"board": "pico", "role_focus": "yes"})
    ('focus',)
    """
    return tuple(key.removeprefix(_ROLE) for key in sorted(tags) if key.startswith(_ROLE))


def is_ours(key: str) -> bool:
    """Return True if a tag of that name follows from rig.toml."""
    return key in KEYS or key.startswith(_ROLE)


def describe_tags(tags: Mapping[str, str]) -> str:
    """Return tags as a text.

    >>> describe_tags({"board": "pico"})
    'board=pico'
    """
    return " ".join(f"{key}={value}" for key, value in sorted(tags.items())) or "no tags"
