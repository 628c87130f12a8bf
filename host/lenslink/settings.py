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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, SupportsIndex, TypedDict, TypeVar

from lenslink_protocol.controls import Setting, encode_settings
from lenslink_protocol.ids import ControlId
from lenslink_protocol.manifest import Manifest
from lenslink_protocol.params import (
    EVERY_FRAME,
    MAX_BRACKET,
    MAX_HEIGHT,
    MAX_PAYLOAD,
    MAX_SETTING,
    MAX_WIDTH,
)

from .arguments import check_whole_number
from .errors import UsageError

PREVIEW: Final = 0
"""The number of the stream of preview frames."""
STILL: Final = 1
"""The number of the stream of stills."""
ROI: Final = 2
"""The number of the stream of a region of interest (ROI)."""

LIMITS: Final[Mapping[str, tuple[int, int]]] = {
    "exposure_us": (1, MAX_SETTING),
    "gain_milli": (1, 1_000_000),
    "focus_mdpt": (0, 100_000),
    "aperture_milli": (1, 1_000_000),
    "roi_x": (0, MAX_WIDTH - 2),
    "roi_y": (0, MAX_HEIGHT - 2),
    "tile_bytes": (1, MAX_PAYLOAD),
    "interval_us": (0, (1 << 32) - 1),
}
"""The smallest and the largest value of each whole number. A module may allow less."""

CONTROL_FIELDS: Final[Mapping[str, ControlId]] = {
    "exposure_us": ControlId.EXPOSURE,
    "gain_milli": ControlId.GAIN,
    "focus_mdpt": ControlId.FOCUS,
    "aperture_milli": ControlId.APERTURE,
    "settled": ControlId.SETTLED,
    "roi_x": ControlId.ROI_X,
    "roi_y": ControlId.ROI_Y,
}
"""The control of each field of :class:`Settings`."""

F = TypeVar("F", "Settings", "StreamOptions")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a frame is exposed with. None leaves a setting as it is on the module.

    >>> bright = Settings(exposure_us=10_000, gain_milli=2000)
    >>> bright.gain_milli, bright.focus_mdpt
    (2000, None)

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
    aperture_milli: int | None = None
    """F-number in thousandths: 2800 is f/2.8."""
    settled: bool | None = None
    """Whether the exposure waits until lens and iris stand still. None: a still waits, a preview
    frame does not."""
    roi_x: int | None = None
    """First column of the region of interest, in pixels of the mode: moves the region of a stream
    that was configured with one. None: the region stays. Even; else the module takes one less."""
    roi_y: int | None = None
    """First row of the region of interest, as ``roi_x``."""

    def __post_init__(self) -> None:
        _check_numbers(self)
        if self.settled is not None and not isinstance(self.settled, bool):
            raise UsageError(f"settled={self.settled!r} must be True, False or None")

    @classmethod
    def from_applied(
        cls, exposure_us: int, gain_milli: int, focus_mdpt: int, aperture_milli: int
    ) -> Settings:
        """Return the settings that a module states for a frame.

        Values above the limits become the limit: a packet may hold more than one may ask for. A
        value that cannot be asked for becomes None.
        """
        return cls(
            min(exposure_us, LIMITS["exposure_us"][1]) or None,
            min(gain_milli, LIMITS["gain_milli"][1]) or None,
            min(focus_mdpt, LIMITS["focus_mdpt"][1]) if focus_mdpt >= 0 else None,
            min(aperture_milli, LIMITS["aperture_milli"][1]) or None,
        )

    def list_entries(self, frame: int = EVERY_FRAME) -> Iterator[Setting]:
        """Yield the entries of a settings list for these settings."""
        for name, control in CONTROL_FIELDS.items():
            value = getattr(self, name)
            if value is not None:
                yield Setting(control, frame, int(value))

    def check(self, manifest: Manifest) -> None:
        """Raise UsageError for a value that the module does not have."""
        for name, control in CONTROL_FIELDS.items():
            value = getattr(self, name)
            if value is None:
                continue
            entry = manifest.find_control(control)
            if entry is None:
                raise UsageError(f"{name}={value}: the module has no such control")
            if not entry.minimum <= value <= entry.maximum:
                raise UsageError(
                    f"{name}={value} is out of range: "
                    f"the module takes {entry.minimum} to {entry.maximum}"
                )

    def filled_from(self, other: Settings) -> Settings:
        """Return these settings, with the values of *other* for those that are None here."""
        return _filled(self, other)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How the frames of a stream are read out and sent. None leaves the choice to the module.

    >>> StreamOptions(mode="full", packing="lsb")
    StreamOptions(mode='full', packing='lsb', tile_bytes=None, interval_us=None, roi=None)

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
    roi: tuple[int, int, int, int] | None = None
    """Region of interest: x, y, width and height in pixels of the mode, all even. None is the whole
    mode. A region's pixels are read out alone."""

    def __post_init__(self) -> None:
        for name in ("mode", "packing"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise UsageError(f"{name}={value!r} is no text: it must be a name, or None")
        _check_numbers(self)
        if self.roi is not None:
            object.__setattr__(self, "roi", _check_roi(self.roi))

    @property
    def stream(self) -> int:
        """The number of the stream that ``start()`` starts with these options."""
        return PREVIEW if self.roi is None else ROI

    def filled_from(self, other: StreamOptions) -> StreamOptions:
        """Return these options, with the values of *other* for those that are None here."""
        return _filled(self, other)


class ConfigureArguments(TypedDict, total=False):
    """Keyword arguments of ``configure()``."""

    packing: str | None
    tile_bytes: int | None
    roi: tuple[int, int, int, int] | None


class SetArguments(TypedDict, total=False):
    """Keyword arguments of ``set()``."""

    exposure_us: int | None
    gain_milli: int | None
    focus_mdpt: int | None
    aperture_milli: int | None
    settled: bool | None
    roi_x: int | None
    roi_y: int | None


class CaptureArguments(ConfigureArguments, SetArguments, total=False):
    """Keyword arguments of ``capture()``."""


class StreamArguments(CaptureArguments, total=False):
    """Keyword arguments of ``stream()`` and ``start()``."""

    interval_us: int | None


def encode_request_settings(
    manifest: Manifest, settings: Settings, frames: Sequence[Settings] = ()
) -> bytes:
    """Return the settings list of a request, checked against the module's manifest.

    Args:
        manifest: The module's.
        settings: The settings of every frame.
        frames: The settings of the single frames of a bracket. They win over *settings*.

    Raises:
        UsageError: The module does not have a control or a value.
    """
    for each in (settings, *frames):
        each.check(manifest)
    entries = list(settings.list_entries())
    for number, each in enumerate(frames):
        entries += each.list_entries(number)
    return encode_settings(entries)


def check_frames(frames: object) -> tuple[Settings, ...]:
    """Return the settings of a bracket's frames; raise UsageError if they are none."""
    if isinstance(frames, str) or not isinstance(frames, Sequence):
        raise UsageError(f"frames={frames!r} must be a list of lenslink.Settings")
    for each in frames:
        if not isinstance(each, Settings):
            raise UsageError(f"frames: {each!r} must be a lenslink.Settings")
    if not 1 <= len(frames) <= MAX_BRACKET:
        raise UsageError(f"frames has {len(frames)} entries: it must have 1 to {MAX_BRACKET}")
    return tuple(frames)


def read_arguments(
    kind: type[ConfigureArguments | SetArguments],
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


def _check_roi(roi: object) -> tuple[int, int, int, int]:
    """Return a region of interest as four ints; raise UsageError if it cannot be one."""
    if isinstance(roi, str) or not isinstance(roi, Sequence) or len(roi) != 4:
        raise UsageError(f"roi={roi!r} must be four whole numbers: x, y, width, height")
    limits = ((0, MAX_WIDTH - 2), (0, MAX_HEIGHT - 2), (2, MAX_WIDTH), (2, MAX_HEIGHT))
    names = ("x", "y", "width", "height")
    x, y, width, height = (
        check_whole_number(f"roi: {name}", each, *limit)
        for name, each, limit in zip(names, roi, limits, strict=True)
    )
    if any(each % 2 for each in (x, y, width, height)):
        raise UsageError(f"roi={x},{y},{width},{height}: its numbers must be even")
    return x, y, width, height


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
