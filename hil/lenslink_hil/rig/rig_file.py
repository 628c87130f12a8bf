"""Read ``rig.toml``: the boards of a test rig, and the switches of their power.

::

    name = "desk"

    [board.left]
    serial = "LL-0042"          # or bus = "1-2.3", port = "/dev/ttyACM0", url = "unix:/run/lens"
    kind = "pico"
    power = "hub-3"
    roles = ["focus"]

    [power.hub-3]
    switch = "uhubctl"
    location = "1-1"
    port = 3

A key that is not known is an error that names the nearest known key. Everything that is wrong with
the file is a :exc:`~lenslink.RigError`, because the rig cannot be used then.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import platformdirs

from lenslink.errors import LensLinkError, RigError, UsageError
from lenslink.transports import parse
from lenslink.url import suggest

from .power_switch import SwitchKind, list_switches, load_switch

RIG_VARIABLE: Final = "LENSLINK_RIG"
FILE_NAME: Final = "rig.toml"
FLOORS: Final = {
    "frames_per_s": "previews that the board must send in a second",
    "bytes_per_s": "bytes of tiles that the board must send in a second",
}
"""Keys of a board's ``floors``."""
RESTS: Final = ("on", "off")
ADDRESSES: Final = ("url", "port", "bus", "serial")
MAX_FILE: Final = 1 << 20
_TIMEOUT_S: Final = 10.0
_MAX_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class PowerEntry:
    """A power switch of the rig: ``[power.NAME]``."""

    name: str
    kind: str
    """The name of the switch's entry point: ``command``, ``http``, ``uhubctl``, ``sim``."""
    options: Mapping[str, object]
    """What the switch itself takes."""
    timeout_s: float = _TIMEOUT_S
    """Seconds that each call may take."""
    is_on_at_rest: bool = True
    """How a job leaves the power, however the job ends."""


@dataclass(frozen=True, slots=True)
class Board:
    """A board of the rig: ``[board.NAME]``."""

    name: str
    url: str
    """What :func:`lenslink.open` takes."""
    address: str
    """What the board is locked by: the same for two rigs that name the same board."""
    kind: str = ""
    """The board that the manifest must name; "" for any."""
    serial: str = ""
    """The serial number that the manifest must name; "" for any."""
    firmware: str = ""
    """The firmware that the manifest must name, a pattern such as ``0.1.*``; "" for any."""
    roles: tuple[str, ...] = ()
    power: PowerEntry | None = None
    floors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rig:
    """A test rig, as its file describes it."""

    name: str
    file: Path
    boards: Mapping[str, Board]
    powers: Mapping[str, PowerEntry]
    locks: Path | None = None
    """The folder of the locks; None for the user's runtime folder."""

    def find_boards(self, wanted: str) -> list[Board]:
        """Return the board of that name, or all with that role; all boards for "".

        Raises :exc:`~lenslink.RigError` if there is none.
        """
        if not wanted:
            return list(self.boards.values())
        if wanted in self.boards:
            return [self.boards[wanted]]
        found = [board for board in self.boards.values() if wanted in board.roles]
        if not found:
            names = sorted({*self.boards, *(r for b in self.boards.values() for r in b.roles)})
            raise RigError(
                f"{self.file}: there is no board and no role '{wanted}'"
                f"{suggest(wanted, names)} (known: {', '.join(names)})"
            )
        return found


def find_rig_file(named: str | Path | None = None) -> Path:
    """Return the rig's file: *named*, else $LENSLINK_RIG, else ./rig.toml, else the user's.

    Raises :exc:`~lenslink.RigError` if there is none.
    """
    if named or (named := os.environ.get(RIG_VARIABLE)):
        return Path(named).absolute()
    user = platformdirs.user_config_path("lenslink") / FILE_NAME
    for path in (Path(FILE_NAME).absolute(), user):
        if path.is_file():
            return path
    raise RigError(
        f"there is no rig: write ./{FILE_NAME} or {user}, or set {RIG_VARIABLE} to the file"
    )


def load_rig(path: Path) -> Rig:
    """Return the rig that the file describes.

    Raises :exc:`~lenslink.RigError` if the file cannot be read or is wrong.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise RigError(f"{path}: {error.strerror or error}") from None
    if len(data) > MAX_FILE:
        raise RigError(f"{path}: more than {MAX_FILE} bytes are no rig")
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RigError(f"{path}: {error}") from None
    return _read_rig(path, values)


class Table:
    """A table of the file. Each value is taken once; :meth:`finish` refuses what is left."""

    def __init__(self, where: str, values: object) -> None:
        if not isinstance(values, dict):
            raise RigError(f"{where} is no table")
        self.where = where
        self._values: dict[str, Any] = dict(values)
        self._known: list[str] = []

    def take(self, key: str) -> Any:
        """Return a value of any type, or None if it is absent."""
        self._known.append(key)
        return self._values.pop(key, None)

    def take_text(self, key: str, default: str = "") -> str:
        """Return a text that is not empty, or *default* if it is absent."""
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value or not value.isprintable():
            raise RigError(f"{self.where}: {key} = {value!r} is no text on one line")
        return value

    def take_texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; empty if it is absent."""
        value = self.take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            raise RigError(f"{self.where}: {key} = {value!r} is no list of texts")
        return tuple(value)

    def take_number(self, key: str, default: float, limit: float) -> float:
        """Return a number above 0 and up to *limit*, or *default* if it is absent."""
        value = self.take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= limit:
            raise RigError(f"{self.where}: {key} = {value!r} is no number from 0 to {limit:g}")
        return float(value)

    def take_choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """Return one of *choices*, or *default* if it is absent."""
        value = self.take_text(key, default)
        if value not in choices:
            raise RigError(
                f"{self.where}: {key} = {value!r} is none of {', '.join(choices)}"
                f"{suggest(value, choices)}"
            )
        return value

    def take_tables(self, key: str) -> dict[str, Any]:
        """Return the tables below *key* by name; empty if it is absent."""
        value = self.take(key)
        if not isinstance(value, dict | None):
            raise RigError(f"{self.where}: {key} is no table; write [{key}.NAME]")
        return value or {}

    def finish(self) -> None:
        """Refuse keys that nobody has taken."""
        for key in self._values:
            known = sorted(self._known)
            raise RigError(
                f"{self.where}: unknown key '{key}'{suggest(key, known)} "
                f"(known: {', '.join(known)})"
            )


def _read_rig(path: Path, values: Mapping[str, Any]) -> Rig:
    top = Table(str(path), values)
    name = top.take_text("name", path.parent.name or "rig")
    locks = top.take_text("locks")
    powers = {
        each: _read_power(Table(f"{path}: [power.{each}]", table), each)
        for each, table in top.take_tables("power").items()
    }
    boards = {
        each: _read_board(Table(f"{path}: [board.{each}]", table), each, path, powers)
        for each, table in top.take_tables("board").items()
    }
    top.finish()
    if not boards:
        raise RigError(f"{path}: the rig has no board; write [board.NAME]")
    return Rig(name, path, boards, powers, path.parent / locks if locks else None)


def _read_power(table: Table, name: str) -> PowerEntry:
    known = list_switches()
    kind = table.take_choice("switch", known, "") if known else ""
    timeout = table.take_number("timeout", _TIMEOUT_S, _MAX_TIMEOUT_S)
    rest = table.take_choice("rest", RESTS, "on")
    switch = load_switch(kind)
    options = _take_options(table, switch)
    table.finish()
    try:
        switch.make(options)
    except UsageError as error:
        raise RigError(f"{table.where}: {error}") from None
    return PowerEntry(name, kind, options, timeout, rest == "on")


def _take_options(table: Table, switch: SwitchKind) -> dict[str, object]:
    given = {key: table.take(key) for key in switch.options}
    return {key: value for key, value in given.items() if value is not None}


def _read_board(table: Table, name: str, path: Path, powers: Mapping[str, PowerEntry]) -> Board:
    if not name or not name.isprintable() or set(name) & set("?&=/"):
        raise RigError(f"{table.where}: a name has no '?', '&', '=' and '/'")
    given = {key: table.take_text(key) for key in ADDRESSES}
    url = _choose_url(table.where, given)
    power = table.take_text("power")
    if power and power not in powers:
        raise RigError(
            f"{table.where}: there is no [power.{power}]{suggest(power, powers)}"
            f" (known: {', '.join(powers) or 'none'})"
        )
    floors = Table(f"{table.where}: floors", table.take("floors") or {})
    board = Board(
        name,
        url,
        # Every opening of sim: starts a module of its own, so the name tells two boards apart.
        f"{path.resolve()}#{name}" if url.startswith(("sim:", "usbip:?", "pico:")) else url,
        table.take_text("kind"),
        given["serial"],
        table.take_text("firmware"),
        table.take_texts("roles"),
        powers.get(power),
        {key: value for key in FLOORS if (value := floors.take_number(key, 0.0, 1e12))},
    )
    floors.finish()
    table.finish()
    return board


def _choose_url(where: str, given: Mapping[str, str]) -> str:
    """Return the URL of a board's address: ``serial`` may stand beside one of the others."""
    named = [key for key in ADDRESSES if given[key]]
    places = [key for key in named if key != "serial"]
    if not named or len(places) > 1:
        raise RigError(
            f"{where}: name one of {', '.join(ADDRESSES)}"
            + (f", not {' and '.join(places)}" if places else "")
        )
    key = (places or named)[0]
    scheme = {"url": "", "port": "serial:", "bus": "usb:", "serial": "usb:"}[key]
    try:
        url = parse(scheme + given[key])
        if url.scheme in ("rig", "labgrid"):
            raise UsageError("a board of a rig is no other rig's board, and no place of labgrid")
    except LensLinkError as error:
        raise RigError(f"{where}: {key} = {given[key]!r}: {error}") from None
    return url.text
