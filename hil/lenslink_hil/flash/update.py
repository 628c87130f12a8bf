"""Put firmware on a board so that a cut at any moment leaves the old firmware or the new one.

::

    read_state()   what is on the board: a hash of each file, and the marker
    plan_update()  what has to be sent; nothing is sent twice
    apply_plan()   1. if the slot to write is the marked one: mark the good slot
                   2. write the files of the slot, which is not marked, and check their hashes
                   3. replace the files outside the slots, each by rename
                   4. mark the slot, by rename

The same code runs against a board on a serial port (:mod:`.board_port`) and, in tests, against a
littlefs image whose supply is cut at each operation of its flash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from lenslink.errors import DeviceError

from .board_layout import (
    BUILD,
    FIRST_SLOT,
    KEY_FILE,
    MARKER,
    NEW,
    OWN,
    SLOTS,
    STUBS,
    Marker,
    get_other_slot,
    parse_marker,
)

ROOT: Final = (OWN, *STUBS)
"""The files outside the slots, in the order in which they are replaced."""
# build.json is a few hundred bytes long.
_MAX_JSON_BYTES: Final = 65536


class BoardFiles(Protocol):
    """The file system of a board. Paths have no leading slash."""

    def hash_files(self, folders: Iterable[str]) -> dict[str, str]:
        """Return the SHA-256 of each file in the root and in *folders*, by path."""

    def read_file(self, path: str) -> bytes | None:
        """Return the content of a file; None if there is no such file."""

    def write_file(self, path: str, content: bytes) -> None:
        """Write a file, and the folders above it."""

    def rename_file(self, path: str, target: str) -> None:
        """Rename a file; an existing target is replaced."""

    def remove_file(self, path: str) -> None:
        """Remove a file."""

    def remove_folders(self, paths: Iterable[str]) -> None:
        """Remove empty folders and the empty folders in them; a folder may be missing."""


@dataclass(frozen=True, slots=True)
class BoardState:
    """What is on a board."""

    hashes: Mapping[str, str]
    """The SHA-256 of each file, by path."""
    marker: Marker | None
    """The marker; None without a usable one."""
    builds: Mapping[str, Mapping[str, Any]]
    """What build.json says, by slot."""

    def list_slot(self, slot: str) -> dict[str, str]:
        """Return the hashes of a slot's files, by path in the slot."""
        prefix = f"{slot}/"
        return {
            path.removeprefix(prefix): digest
            for path, digest in self.hashes.items()
            if path.startswith(prefix)
        }

    def is_intact(self, slot: str) -> bool:
        """Return True if the slot's files are those that its build.json was written for."""
        return self.builds.get(slot, {}).get("digest") == compute_digest(self.list_slot(slot))


@dataclass(frozen=True, slots=True)
class Plan:
    """What an update does, in order."""

    slot: str
    """The slot that has the firmware afterwards."""
    first_marker: Marker | None = None
    """Written first, if the slot to write is the marked one."""
    removals: tuple[str, ...] = ()
    """Paths of files that do not belong to the slot."""
    slot_files: Mapping[str, bytes] = field(default_factory=dict)
    """Files of the slot to send, by path."""
    root_files: Mapping[str, bytes] = field(default_factory=dict)
    """Files outside the slots to replace, by name."""
    last_marker: Marker | None = None
    """Written last, if another slot is marked."""
    wanted: Mapping[str, str] = field(default_factory=dict)
    """The hashes that all files must have in the end, by path."""

    @property
    def files(self) -> dict[str, bytes]:
        """All files to send, without markers."""
        return {**self.slot_files, **self.root_files}

    @property
    def count_bytes(self) -> int:
        """The bytes of all files to send."""
        return sum(map(len, self.files.values()))

    @property
    def is_empty(self) -> bool:
        """True if the board has it all."""
        return not (self.files or self.removals or self.first_marker or self.last_marker)


def compute_digest(hashes: Mapping[str, str]) -> str:
    """Return one SHA-256 for a slot's files, from their hashes; build.json itself is left out."""
    lines = [f"{name} {digest}\n" for name, digest in sorted(hashes.items()) if name != BUILD]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def hash_contents(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def read_state(board: BoardFiles) -> BoardState:
    """Read what is on the board; nothing is written."""
    hashes = board.hash_files(SLOTS)
    builds = {}
    for slot in SLOTS:
        path = f"{slot}/{BUILD}"
        if path in hashes:
            builds[slot] = _parse_object(board.read_file(path))
    marker = parse_marker(board.read_file(MARKER)) if MARKER in hashes else None
    return BoardState(hashes, marker, builds)


def plan_update(
    state: BoardState, slot_files: Mapping[str, bytes], root_files: Mapping[str, bytes]
) -> Plan:
    """Decide what to send.

    Args:
        state: what is on the board.
        slot_files: the contents of the slot, by path in it.
        root_files: lensfw.json and the stubs.
    """
    marker, wanted = state.marker, hash_contents(slot_files)
    slot = _choose_slot(state, wanted)
    present = state.list_slot(slot)
    changed = {name for name in slot_files if present.get(name) != wanted[name]}
    removals = tuple(f"{slot}/{name}" for name in sorted(set(present) - set(wanted)))
    first = last = None
    if marker is not None and marker.slot == slot and (changed or removals):
        assert marker.good is not None
        first = Marker(marker.good, marker.good, 0, marker.crash_slot, marker.crash)
    if marker is None:
        last = Marker(slot, None)
    elif first is not None or marker.slot != slot:
        last = Marker(slot, marker.good, 0, marker.crash_slot, marker.crash)
    root_hashes = hash_contents(root_files)
    return Plan(
        slot,
        first,
        removals,
        # build.json comes last: its digest is of all the others.
        {f"{slot}/{n}": slot_files[n] for n in sorted(changed, key=lambda n: (n == BUILD, n))},
        {n: root_files[n] for n in ROOT if state.hashes.get(n) != root_hashes[n]},
        last,
        {**{f"{slot}/{name}": digest for name, digest in wanted.items()}, **root_hashes},
    )


def plan_recovery(
    state: BoardState, slot_files: Mapping[str, bytes], root_files: Mapping[str, bytes]
) -> Plan:
    """Decide what to send to a board whose slots both fail. Arguments as for :func:`plan_update`.

    The marker goes first: the board is plain MicroPython at each start until all has arrived.
    Nothing stays of the other slot.
    """
    plan = plan_update(BoardState(state.hashes, None, state.builds), slot_files, root_files)
    other = get_other_slot(plan.slot)
    marker = [MARKER] if MARKER in state.hashes else []
    others = [f"{other}/{name}" for name in sorted(state.list_slot(other))]
    return replace(plan, removals=(*marker, *others, *plan.removals))


def list_own_files(board: BoardFiles) -> list[str]:
    """Return the paths of all files of LensLink on the board, in the order to remove them.

    The marker goes first and the stubs follow: a board on which some of the files are left is plain
    MicroPython. boot.py and main.py count if they name lensboot.
    """
    hashes = board.hash_files(SLOTS)
    # boot.py, which runs first, is the last of the stubs to be replaced: here it is the first.
    names = [MARKER, *reversed(STUBS), OWN, KEY_FILE]
    names += [name + NEW for name in names]
    found = [
        name
        for name in names
        if name in hashes
        and (not name.endswith(".py") or b"lensboot" in (board.read_file(name) or b""))
    ]
    return found + sorted(path for path in hashes if path.split("/")[0] in SLOTS and "/" in path)


def erase_files(
    paths: Iterable[str], board: BoardFiles, report: Callable[[str], None] = lambda _: None
) -> None:
    """Remove files, and the folders of the slots; *report* is called with each path before."""
    for path in paths:
        report(path)
        board.remove_file(path)
    board.remove_folders(SLOTS)


def apply_plan(
    plan: Plan, board: BoardFiles, report: Callable[[str, int], None] = lambda *_: None
) -> None:
    """Send what the plan says. After a cut, plan anew and apply again.

    Args:
        plan: what to send.
        board: the board.
        report: called before each file, with its path and the bytes that were sent so far.

    Raises:
        DeviceError: A file on the board does not have the hash that it must have.
    """
    if plan.first_marker is not None:
        _replace_file(board, MARKER, plan.first_marker.encode())
    for path in plan.removals:
        board.remove_file(path)
    sent = 0
    for path, content in plan.slot_files.items():
        report(path, sent)
        board.write_file(path, content)
        sent += len(content)
    _verify(plan, board, plan.slot_files, [plan.slot])
    for name, content in plan.root_files.items():
        report(name, sent)
        _replace_file(board, name, content)
        sent += len(content)
    _verify(plan, board, plan.root_files, [])
    if plan.last_marker is not None:
        report(MARKER, sent)
        _replace_file(board, MARKER, plan.last_marker.encode())


def _choose_slot(state: BoardState, wanted: Mapping[str, str]) -> str:
    """Return a slot that holds the files already, or else the one that nobody needs."""
    marker = state.marker
    if marker is None:
        return FIRST_SLOT
    kept = marker.good or marker.slot
    for slot in (marker.slot, kept, get_other_slot(kept)):
        if state.list_slot(slot) == wanted:
            return slot
    return get_other_slot(kept)


def _replace_file(board: BoardFiles, name: str, content: bytes) -> None:
    board.write_file(name + NEW, content)
    board.rename_file(name + NEW, name)


def _verify(
    plan: Plan, board: BoardFiles, sent: Mapping[str, bytes], folders: Iterable[str]
) -> None:
    if not sent:
        return
    found = board.hash_files(folders)
    for path in sent:
        if found.get(path) != plan.wanted[path]:
            raise DeviceError(
                f"{path} on the board is not what was sent: its flash may be worn out, or full"
            )


def _parse_object(data: bytes | None) -> Mapping[str, Any]:
    try:
        value = json.loads((data or b"")[:_MAX_JSON_BYTES])
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
