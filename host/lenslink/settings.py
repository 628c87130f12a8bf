"""Settings of a frame and options of a stream: their names and ranges, and how calls take them.

A call of :class:`lenslink.Device` or :class:`lenslink.Attachment` takes objects, single keyword
arguments, or both. A keyword argument wins over the same field of an object::

    night = lenslink.Settings(exposure_us=100_000, gain_milli=8000)
    with lenslink.open("sim:") as module:
        one = module.capture(settings=night)
        two = module.capture(settings=night, gain_milli=4000)
        three = module.capture(exposure_us=10_000)

The command line and the simulated sensor use the same types. Values are checked when an object is
made, so a wrong one raises :exc:`~lenslink.errors.UsageError` before anything is sent.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, SupportsIndex, TypedDict, TypeVar

from lenslink_protocol.params import MAX_PAYLOAD

from .errors import UsageError

PREVIEW: Final = 0
"""The number of the stream of preview frames."""
STILL: Final = 1
"""The number of the stream of stills."""

LIMITS: Final[Mapping[str, tuple[int, int]]] = {
    "exposure_us": (1, 3_600_000_000),
    "gain_milli": (1, 1_000_000),
    "focus_mdpt": (0, 100_000),
    "tile_bytes": (1, MAX_PAYLOAD),
    "interval_us": (0, (1 << 32) - 1),
}
"""The smallest and the largest value of each whole number. A module may allow less."""

_KEEP_FOCUS: Final = -1
"""On the wire: leave the focus as it is. 0 is infinity there; of exposure and gain 0 means keep."""

F = TypeVar("F", "Settings", "StreamOptions")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a frame is exposed with. None leaves a setting as it is on the module.

    >>> bright = Settings(exposure_us=10_000, gain_milli=2000)
    >>> bright
    Settings(exposure_us=10000, gain_milli=2000, focus_mdpt=None)

    A value of another type, or outside of its range in :data:`LIMITS`, raises
    :exc:`~lenslink.errors.UsageError`:

    >>> Settings(gain_milli=-1)
    Traceback (most recent call last):
    lenslink.errors.UsageError: gain_milli=-1 is out of range: it must be 1 to 1000000
    """

    exposure_us: int | None = None
    """Exposure time in microseconds."""
    gain_milli: int | None = None
    """Analogue gain in thousandths: 1000 is unity."""
    focus_mdpt: int | None = None
    """Focus in milli-dioptres: 0 is infinity, a larger value is closer."""

    def __post_init__(self) -> None:
        _check_numbers(self)

    @classmethod
    def from_wire(cls, exposure_us: int, gain_milli: int, focus_mdpt: int) -> Settings:
        """Return the settings that a packet carries. None stands for what the wire calls keep.

        Values above the limits become the limit: a packet may hold more than one may ask for.
        """
        return cls(
            min(exposure_us, LIMITS["exposure_us"][1]) or None,
            min(gain_milli, LIMITS["gain_milli"][1]) or None,
            min(focus_mdpt, LIMITS["focus_mdpt"][1]) if focus_mdpt >= 0 else None,
        )

    def to_wire(self) -> tuple[int, int, int]:
        """Return exposure, gain and focus in the order and the coding of the wire."""
        focus = _KEEP_FOCUS if self.focus_mdpt is None else self.focus_mdpt
        return self.exposure_us or 0, self.gain_milli or 0, focus

    def filled_from(self, other: Settings) -> Settings:
        """Return these settings, with the values of *other* for those that are None here."""
        return _filled(self, other)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How the frames of a stream are read out and sent. None leaves the choice to the module.

    >>> StreamOptions(mode="full", packing="lsb")
    StreamOptions(mode='full', packing='lsb', tile_bytes=None, interval_us=None)

    Which modes and packings exist depends on the module: ``lenslink info`` lists them.
    """

    mode: str | None = None
    """Name of a readout mode."""
    packing: str | None = None
    """How pixels share bytes on the link: a :class:`lenslink_protocol.packings.Packing`.

    The pixels of a frame are the same in each.
    """
    tile_bytes: int | None = None
    """Length of the longest tile in bytes."""
    interval_us: int | None = None
    """Shortest time between the starts of two preview frames in microseconds. Stills ignore it."""

    def __post_init__(self) -> None:
        for name in ("mode", "packing"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise UsageError(f"{name}={value!r} is no text: it must be a name, or None")
        _check_numbers(self)

    def filled_from(self, other: StreamOptions) -> StreamOptions:
        """Return these options, with the values of *other* for those that are None here."""
        return _filled(self, other)


class ConfigureArguments(TypedDict, total=False):
    """Keyword arguments of ``configure()``."""

    packing: str | None
    tile_bytes: int | None


class CaptureArguments(ConfigureArguments, total=False):
    """Keyword arguments of ``capture()``."""

    exposure_us: int | None
    gain_milli: int | None
    focus_mdpt: int | None


class StreamArguments(CaptureArguments, total=False):
    """Keyword arguments of ``stream()`` and ``start()``."""

    interval_us: int | None


def read_arguments(
    kind: type[ConfigureArguments],
    changes: Mapping[str, object],
    mode: str | None,
    settings: Settings | None = None,
    options: StreamOptions | None = None,
) -> tuple[Settings, StreamOptions]:
    """Return the settings and options that a call asks for.

    Args:
        kind: The keyword arguments that the call knows.
        changes: The keyword arguments that it was given. They win over the objects.
        mode: Wins over ``options.mode`` unless it is None.
        settings: The object that the caller gave, if any.
        options: The same.

    Raises:
        UsageError: For a value of a wrong type or out of range.
        TypeError: For a keyword argument that the call does not know, as Python does.
    """
    if settings is None:
        settings = Settings()
    if options is None:
        options = StreamOptions()
    if not isinstance(settings, Settings):
        raise UsageError(f"settings={settings!r} must be a lenslink.Settings")
    if not isinstance(options, StreamOptions):
        raise UsageError(f"options={options!r} must be a lenslink.StreamOptions")
    if unknown := sorted(changes.keys() - kind.__annotations__):
        raise TypeError(f"unexpected keyword argument: {', '.join(unknown)}")
    own: dict[str, Any] = {name: changes[name] for name in changes if hasattr(settings, name)}
    rest: dict[str, Any] = {name: changes[name] for name in changes if name not in own}
    if mode is not None:
        rest["mode"] = mode
    return replace(settings, **own), replace(options, **rest)


def _filled(own: F, other: F) -> F:
    missing = [field.name for field in fields(own) if getattr(own, field.name) is None]
    return replace(own, **{name: getattr(other, name) for name in missing})


def _check_numbers(of: Settings | StreamOptions) -> None:
    """Check the whole numbers of a new object, and make each an int."""
    for field in fields(of):
        value = getattr(of, field.name)
        if field.name in LIMITS and value is not None:
            object.__setattr__(of, field.name, _whole_number(field.name, value))


def _whole_number(name: str, value: object) -> int:
    least, most = LIMITS[name]
    number = None
    # numpy's whole numbers pass, its other types do not. A bool is an int by accident.
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            number = operator.index(value)
    if number is None:
        raise UsageError(
            f"{name}={value!r} is not a whole number: it must be {least} to {most}, or None"
        )
    if not least <= number <= most:
        raise UsageError(f"{name}={number} is out of range: it must be {least} to {most}")
    return number
