"""Define the lines of JSON on a control socket, and check what comes from the other side.

Each line is one JSON object in UTF-8, at most :data:`MAX_LINE` bytes with its newline. A client
sends requests, the owner of the module answers each of them once::

    {"id": 1, "op": "set", "stream": 0, "settings": {"exposure_us": 8000}}
    {"id": 1, "ok": true, "result": {"first_frame": 17, "module_ms": 0.8}}

    {"id": 2, "op": "capture", "frames": [{"exposure_us": 1000}, {"exposure_us": 4000}]}
    {"id": 2, "ok": true, "result": {"request": 9, "nonce": 123, "count": 2}}

    {"id": 3, "op": "zoom"}
    {"id": 3, "ok": false, "error": {"type": "UsageError", "message": "...", "code": 0}}

========= ======================================== ===============================================
op        fields                                   result
========= ======================================== ===============================================
state     none                                     the fields of :class:`.module_state.ModuleState`
set       stream, settings                         first_frame, module_ms
capture   settings, options, frames, timeout       request, nonce, count
start     settings, options                        request, nonce
stop      stream                                   none
events    none                                     none
========= ======================================== ===============================================

All fields but ``id`` and ``op`` may be left out. ``settings`` has the fields of
:class:`lenslink.Settings`, ``options`` those of :class:`lenslink.StreamOptions`. ``module_ms`` is
how long the module took to answer.

``start`` starts the stream of a region of interest, so ``options`` must have ``roi``. The preview
is the owner's to start. The region's stream ends with its client, and when the module goes away.

The frames of a capture come through the frame ring: they carry ``request`` and ``nonce``. When the
last one has arrived, or none can come any more, its client gets a line of its own. After ``events``
a client also gets a line for each Event of the module, at first for the newest of each kind::

    {"event": "captured", "request": 9, "frames": [18, 19], "error": null}
    {"event": "module", "kind": 3, "value": 0, "time_us": 1500, "counter": 1, "counter_high": 0}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, TypeVar

from lenslink_protocol.messages import Event
from lenslink_protocol.params import MAX_STREAMS

from .. import errors
from ..arguments import check_timeout, check_whole_number
from ..errors import DeviceError, LensLinkError, ProtocolError, UsageError
from ..settings import PREVIEW, Settings, StreamOptions, check_frames

MAX_LINE: Final = 16384
"""Bytes of the longest line. A bracket of 16 frames with every setting has 2,500."""
MAX_CAPTURE_S: Final = 600.0
_CAPTURE_S: Final = 30.0
_MAX_ID: Final = (1 << 53) - 1
_ERRORS: Final[Mapping[str, type[LensLinkError]]] = {
    name: each
    for name, each in vars(errors).items()
    if isinstance(each, type) and issubclass(each, LensLinkError)
}

V = TypeVar("V", Settings, StreamOptions)


@dataclass(frozen=True, slots=True)
class AskState:
    """Ask for the state of module and link."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Ask for the module's Events."""


@dataclass(frozen=True, slots=True)
class ChangeSettings:
    """Change the settings of a stream."""

    stream: int
    settings: Settings


@dataclass(frozen=True, slots=True)
class TakeStills:
    """Take a still, or a bracket if *frames* is not empty."""

    settings: Settings
    options: StreamOptions
    frames: tuple[Settings, ...]
    timeout: float


@dataclass(frozen=True, slots=True)
class StopStream:
    """End a stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class StartRegion:
    """Start the stream of a region of interest."""

    settings: Settings
    options: StreamOptions


Command = AskState | Subscribe | ChangeSettings | TakeStills | StartRegion | StopStream


def encode_line(message: Mapping[str, object]) -> bytes:
    """Return *message* as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode_line(line: bytes) -> dict[str, Any]:
    """Return the object on a line; raise UsageError if it is none."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError("the line is not JSON") from None
    if not isinstance(message, dict):
        raise UsageError("the line is not a JSON object")
    return message


def read_id(message: Mapping[str, object]) -> int:
    """Return the id of a request."""
    return check_whole_number("id", message.get("id"), 0, _MAX_ID)


def read_command(message: dict[str, Any]) -> Command:
    """Return what a request asks for; raise UsageError if it makes no sense."""
    operation = message.get("op")
    if not isinstance(operation, str) or operation not in _OPERATIONS:
        raise UsageError(f"op={operation!r} is unknown: it must be {', '.join(_OPERATIONS)}")
    known, read = _OPERATIONS[operation]
    if unknown := sorted(message.keys() - {"id", "op", *known}):
        raise UsageError(f"{operation} has no field {', '.join(map(repr, unknown))}")
    return read(message)


def encode_error(error: LensLinkError) -> dict[str, object]:
    """Return an error as the object that :func:`make_error` takes."""
    code = error.code if isinstance(error, DeviceError) else 0
    return {"type": type(error).__name__, "message": str(error), "code": code}


def make_error(error: object) -> LensLinkError:
    """Return the error that the owner of the module reported."""
    if not isinstance(error, dict):
        return ProtocolError(f"the owner of the module answered with the error {error!r}")
    kind = _ERRORS.get(str(error.get("type")), LensLinkError)
    message = str(error.get("message"))
    code = error.get("code")
    if issubclass(kind, DeviceError):
        return kind(message, code if isinstance(code, int) else 0)
    # Its constructor makes the message.
    return UsageError(message) if kind is errors.MissingExtra else kind(message)


def encode_event(event: Event) -> dict[str, object]:
    """Return the line's object for an Event of the module."""
    return {"event": "module", **asdict(event)}


def decode_event(message: dict[str, Any]) -> Event:
    """Return the Event of a line; raise ProtocolError if it is none."""
    try:
        values = {each.name: message[each.name] for each in fields(Event)}
    except KeyError as error:
        raise ProtocolError(f"the owner of the module sent an event without {error}") from None
    return Event(**values)


def _read_set(message: dict[str, Any]) -> Command:
    settings = _read_object(Settings, message.get("settings"), "settings")
    return ChangeSettings(_read_stream(message), settings)


def _read_capture(message: dict[str, Any]) -> Command:
    frames: tuple[Settings, ...] = ()
    if message.get("frames") is not None:
        given = message["frames"]
        if not isinstance(given, list):
            raise UsageError(f"frames={given!r} must be a list of settings")
        frames = check_frames([_read_object(Settings, each, "frames") for each in given])
    timeout = message.get("timeout")
    return TakeStills(
        _read_object(Settings, message.get("settings"), "settings"),
        _read_object(StreamOptions, message.get("options"), "options"),
        frames,
        _CAPTURE_S if timeout is None else min(check_timeout(timeout), MAX_CAPTURE_S),
    )


def _read_start(message: dict[str, Any]) -> Command:
    settings = _read_object(Settings, message.get("settings"), "settings")
    return StartRegion(
        settings, check_region(_read_object(StreamOptions, message.get("options"), "options"))
    )


def check_region(options: StreamOptions) -> StreamOptions:
    """Return *options* if they are those of a region of interest; else raise UsageError."""
    if options.roi is None:
        raise UsageError("start needs roi=: only the owner of the module starts its preview")
    return options


def _read_stream(message: dict[str, Any]) -> int:
    return check_whole_number("stream", message.get("stream", PREVIEW), 0, MAX_STREAMS - 1)


def _read_object(kind: type[V], value: object, name: str) -> V:
    if value is None:
        return kind()
    if not isinstance(value, dict):
        raise UsageError(f"{name}={value!r} must be an object")
    if unknown := sorted(value.keys() - {each.name for each in fields(kind)}):
        raise UsageError(f"{name} has no field {', '.join(map(repr, unknown))}")
    return kind(**value)


_OPERATIONS: Final[Mapping[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], Command]]]] = {
    "state": ((), lambda _: AskState()),
    "set": (("stream", "settings"), _read_set),
    "capture": (("settings", "options", "frames", "timeout"), _read_capture),
    "start": (("settings", "options"), _read_start),
    "stop": (("stream",), lambda message: StopStream(_read_stream(message))),
    "events": ((), lambda _: Subscribe()),
}
