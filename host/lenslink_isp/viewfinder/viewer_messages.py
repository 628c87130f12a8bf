"""Check what a page sends, and turn it into requests.

Each message is one JSON object with an ``op``::

    {"op": "drawn", "serial": 7}              the page has drawn that picture
    {"op": "box_drawn", "serial": 3}          the page has drawn the box of the focus
    {"op": "set", "name": "gain_milli", "value": 2000}
    {"op": "auto", "name": "exposure_us"}     follow the scene again
    {"op": "compensate", "ev": 0.5}           a brighter picture
    {"op": "tap", "x": 0.5, "y": 0.5}         focus and expose there: parts of width and height
    {"op": "release"}                         forget the point
    {"op": "hdr", "is_on": true}              merge frames of alternating exposures
    {"op": "overlays", "names": ["zebra"]}    draw these over this viewer's picture
    {"op": "shutter"}                         take a still
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lenslink.arguments import check_whole_number
from lenslink.control.control_messages import decode_line
from lenslink.errors import UsageError
from lenslink.settings import LIMITS

from .viewers import OVERLAYS

MAX_MESSAGE_BYTES: Final = 1024
SETTABLE: Final = ("exposure_us", "gain_milli", "focus_mdpt", "aperture_milli")
AUTOMATIC: Final = ("exposure_us", "gain_milli")
_MAX_SERIAL: Final = (1 << 53) - 1


@dataclass(frozen=True, slots=True)
class Drawn:
    """The page has drawn a picture."""

    serial: int


@dataclass(frozen=True, slots=True)
class BoxDrawn:
    """The page has drawn the box of the focus as it is since the change with that serial."""

    serial: int


@dataclass(frozen=True, slots=True)
class SetValue:
    """Set one of SETTABLE."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class SetAutomatic:
    """Let one of AUTOMATIC follow the scene."""

    name: str


@dataclass(frozen=True, slots=True)
class Compensate:
    """Make the picture brighter."""

    ev: float


@dataclass(frozen=True, slots=True)
class Tap:
    """Focus and expose at a point of the upright picture."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class ReleasePoint:
    """Forget the point: expose for the whole picture."""


@dataclass(frozen=True, slots=True)
class SetHdr:
    """Turn the HDR preview on or off."""

    is_on: bool


@dataclass(frozen=True, slots=True)
class ChooseOverlays:
    """Draw these overlays."""

    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class PressShutter:
    """Take a still."""


Request = SetValue | SetAutomatic | Compensate | Tap | ReleasePoint | SetHdr | PressShutter
"""What concerns the camera."""
Message = Drawn | BoxDrawn | ChooseOverlays | Request


def read_message(text: str) -> Message:
    """Return what a page asks for.

    >>> read_message('{"op": "tap", "x": 0.5, "y": 1}')
    Tap(x=0.5, y=1.0)

    Raises:
        UsageError: the text makes no sense.
    """
    message = decode_line(text.encode())
    operation = message.get("op")
    if not isinstance(operation, str) or operation not in _OPERATIONS:
        raise UsageError(f"op={operation!r} is unknown: it must be {', '.join(_OPERATIONS)}")
    known, read = _OPERATIONS[operation]
    if message.keys() != {"op", *known}:
        raise UsageError(f"{operation} has the fields {', '.join(known) or 'none'}")
    return read(message)


def _read_value(message: dict[str, Any]) -> Message:
    name = _read_name(message["name"], SETTABLE)
    return SetValue(name, check_whole_number(name, message["value"], *LIMITS[name]))


def _read_name(name: object, known: tuple[str, ...]) -> str:
    if not isinstance(name, str) or name not in known:
        raise UsageError(f"name={name!r} must be {', '.join(known)}")
    return name


def _read_number(message: dict[str, Any], name: str, least: float, most: float) -> float:
    value = message[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not least <= value <= most:
        raise UsageError(f"{name}={value!r} must be a number from {least:g} to {most:g}")
    return float(value)


def _read_tap(message: dict[str, Any]) -> Message:
    return Tap(_read_number(message, "x", 0, 1), _read_number(message, "y", 0, 1))


def _read_hdr(message: dict[str, Any]) -> Message:
    is_on = message["is_on"]
    if not isinstance(is_on, bool):
        raise UsageError(f"is_on={is_on!r} must be true or false")
    return SetHdr(is_on)


def _read_overlays(message: dict[str, Any]) -> Message:
    names = message["names"]
    if not isinstance(names, list) or len(names) > len(OVERLAYS):
        raise UsageError(f"names={names!r} must be a list of {', '.join(OVERLAYS)}")
    return ChooseOverlays(frozenset(_read_name(each, OVERLAYS) for each in names))


def _read_serial(message: dict[str, Any]) -> int:
    return check_whole_number("serial", message["serial"], 0, _MAX_SERIAL)


_OPERATIONS: Final[Mapping[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], Message]]]] = {
    "drawn": (("serial",), lambda message: Drawn(_read_serial(message))),
    "box_drawn": (("serial",), lambda message: BoxDrawn(_read_serial(message))),
    "set": (("name", "value"), _read_value),
    "auto": (("name",), lambda message: SetAutomatic(_read_name(message["name"], AUTOMATIC))),
    "compensate": (("ev",), lambda message: Compensate(_read_number(message, "ev", -3, 3))),
    "tap": (("x", "y"), _read_tap),
    "release": ((), lambda _: ReleasePoint()),
    "hdr": (("is_on",), _read_hdr),
    "overlays": (("names",), _read_overlays),
    "shutter": ((), lambda _: PressShutter()),
}
