"""Parse a module's manifest: a list of keyed entries, after Greybus' manifest.

The host's device reads the manifest in pieces and passes the bytes to :func:`parse_manifest`. The
rules are those of SPEC.md, section 7. A :exc:`Malformed` names the entry that breaks a rule.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from .ids import Cfa, ControlId, ManifestKey, ModeUse, PixelFormat
from .messages import (
    ENTRY_BY_KEY,
    TEXT_BY_KEY,
    CalibrationEntry,
    ColorEntry,
    ControlEntry,
    DelayEntry,
    FocusEntry,
    Malformed,
    ModeEntry,
    OpticsEntry,
    PowerEntry,
    ScaleEntry,
    SensorEntry,
)
from .packings import Packing, find_layout, find_pixel_format, is_known
from .params import (
    MAX_CALIBRATION,
    MAX_HEIGHT,
    MAX_MANIFEST,
    MAX_SETTING,
    MAX_SETTINGS_DELAY,
    MAX_TEXT,
    MAX_WIDTH,
    MIN_SIDE,
)

_HEAD = struct.Struct("<HH")
_MODES = 64
_FORMATS = 16
_CONTROLS = 64
_COLORS = 2
_FOCUS_POINTS = 64
_CALIBRATIONS = 16


@dataclass(frozen=True, slots=True)
class Mode:
    """A readout mode."""

    id: int
    name: str
    width: int
    height: int
    binning: int
    use: ModeUse
    active_area: tuple[int, int, int, int]
    """Top, left, bottom, right. Bottom and right are exclusive."""
    active_mw: int = 0
    """Most power of the module during a frame, without that of its motor; 0 if it is unknown."""

    def find_active_area(
        self, x: int, y: int, width: int, height: int
    ) -> tuple[int, int, int, int]:
        """Return the active area of a crop, counted from the crop's first pixel.

        A crop without active pixels is active as a whole: no file format can say otherwise.
        """
        top, left, bottom, right = self.active_area
        top, bottom = max(top - y, 0), min(bottom - y, height)
        left, right = max(left - x, 0), min(right - x, width)
        if top >= bottom or left >= right:
            return 0, 0, height, width
        return top, left, bottom, right


@dataclass(frozen=True, slots=True)
class Manifest:
    """The checked manifest of a module. Entries that it lacks are None or empty."""

    maker: str
    model: str
    serial: str
    firmware: str
    board: str
    sensor: SensorEntry
    colors: tuple[ColorEntry, ...]
    """Colours under one illuminant or two."""
    modes: tuple[Mode, ...]
    optics: OpticsEntry | None = None
    power: PowerEntry | None = None
    scale: ScaleEntry | None = None
    delay: DelayEntry | None = None
    formats: tuple[PixelFormat, ...] = ()
    """Pixel formats that the module sends and this version knows, its own choice first."""
    schemes: tuple[int, ...] = ()
    """Authentication schemes of the module."""
    controls: tuple[ControlEntry, ...] = ()
    """Controls that the module has and this version knows."""
    focus: tuple[FocusEntry, ...] = ()
    """The focus motor's calibration, from infinity on."""
    calibrations: tuple[CalibrationEntry, ...] = ()
    """Calibrations that GetCalibration reads, unknown kinds included."""
    skipped: tuple[int, ...] = field(default=())
    """Keys that this version does not know."""

    @property
    def settings_delay(self) -> int:
        """Frames whose readout may begin after a change of settings, without them."""
        return MAX_SETTINGS_DELAY if self.delay is None else self.delay.settings_delay

    @property
    def color(self) -> ColorEntry:
        """The colours under the first illuminant."""
        return self.colors[0]

    @property
    def cfa(self) -> Cfa:
        return Cfa(self.sensor.cfa)

    def find_mode_for(self, use: ModeUse) -> Mode:
        """Return the first mode meant for *use*, else the first mode."""
        return next((m for m in self.modes if m.use & use), self.modes[0])

    def find_control(self, control: ControlId) -> ControlEntry | None:
        """Return the range of a control, or None if the module does not have it."""
        return next((each for each in self.controls if each.control == control), None)

    def find_calibration(self, kind: int) -> CalibrationEntry | None:
        """Return length and CRC of a calibration, or None if the module does not have it."""
        return next((each for each in self.calibrations if each.kind == kind), None)

    def find_mode(self, name: str) -> Mode | None:
        """Return the mode called *name*, or None."""
        return next((m for m in self.modes if m.name == name), None)


def iterate_entries(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the keys and values in order.

    Raises:
        Malformed: The manifest is too long, or ends inside an entry.
    """
    if len(data) > MAX_MANIFEST:
        raise Malformed(f"the manifest has {len(data)} bytes, more than {MAX_MANIFEST}")
    at = 0
    while at < len(data):
        if len(data) - at < _HEAD.size:
            raise Malformed(f"the manifest ends inside an entry, at byte {at}")
        key, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if length > len(data) - at:
            raise Malformed(f"manifest entry 0x{key:04X} leads outside the manifest")
        yield key, data[at : at + length]
        at += length


def parse_manifest(data: bytes) -> Manifest:
    """Return the :class:`Manifest` of *data*.

    Raises:
        Malformed: The manifest breaks a rule. The message names the entry.
    """
    values: dict[str, object] = {}
    # The entries of the keys that may stand several times.
    lists: dict[int, list[Any]] = {key: [] for key in _LISTED}
    skipped: list[int] = []
    for key, value in iterate_entries(data):
        if key in lists:
            lists[key].append(_decode(key, value))
        elif key in TEXT_BY_KEY or key in ENTRY_BY_KEY:
            name = TEXT_BY_KEY.get(key) or _FIELD[key]
            if name in values:
                raise Malformed(f"{_name(key)} stands twice")
            values[name] = _text(key, value) if key in TEXT_BY_KEY else _decode(key, value)
        else:
            skipped.append(key)
    for key in _REQUIRED:
        if (TEXT_BY_KEY.get(key) or _FIELD[key]) not in values:
            raise Malformed(f"{_name(key)} is missing")
    modes = [_mode(each) for each in lists[ManifestKey.MODE]]
    if not 1 <= len(modes) <= _MODES:
        raise Malformed(f"the manifest has {len(modes)} modes instead of 1 to {_MODES}")
    ids = [mode.id for mode in modes]
    for number in ids:
        if ids.count(number) > 1:
            raise Malformed(f"{_name(ManifestKey.MODE)}: two modes have the id {number}")
    sensor = _check_sensor(values["sensor"])
    _check_delay(values.get("delay"))
    values["colors"] = _colors(lists[ManifestKey.COLOR])
    values["formats"] = _formats([each.pixel_format for each in lists[ManifestKey.FORMAT]], sensor)
    values["schemes"] = tuple(each.scheme for each in lists[ManifestKey.AUTH])
    values["controls"] = _controls(lists[ManifestKey.CONTROL])
    values["focus"] = _focus(lists[ManifestKey.FOCUS])
    values["calibrations"] = _calibrations(lists[ManifestKey.CALIBRATION])
    return Manifest(modes=tuple(modes), skipped=tuple(skipped), **values)  # type: ignore[arg-type]


def encode_entry(key: int, value: bytes) -> bytes:
    """Return the bytes of one entry."""
    return _HEAD.pack(key, len(value)) + value


_FIELD: dict[int, str] = {
    ManifestKey.SENSOR: "sensor",
    ManifestKey.OPTICS: "optics",
    ManifestKey.POWER: "power",
    ManifestKey.SCALE: "scale",
    ManifestKey.DELAY: "delay",
}

_LISTED = (
    ManifestKey.COLOR,
    ManifestKey.MODE,
    ManifestKey.FORMAT,
    ManifestKey.AUTH,
    ManifestKey.CONTROL,
    ManifestKey.FOCUS,
    ManifestKey.CALIBRATION,
)

_REQUIRED = (*TEXT_BY_KEY, ManifestKey.SENSOR)


def _name(key: int) -> str:
    return f"manifest entry 0x{key:04X} ({ManifestKey(key).name})"


def _check(key: int, holds: bool, rule: str) -> None:
    if not holds:
        raise Malformed(f"{_name(key)}: {rule}")


def _decode(key: int, value: bytes) -> Any:
    try:
        return ENTRY_BY_KEY[key].decode(value)
    except Malformed as error:
        raise Malformed(f"{_name(key)}: {error}") from None


def _text(key: int, value: bytes) -> str:
    _check(key, len(value) <= MAX_TEXT, f"{len(value)} bytes, more than {MAX_TEXT}")
    return value.decode("utf-8", "replace")


def _mode(entry: ModeEntry) -> Mode:
    top, left, bottom, right = entry.active_area
    for side, name, most in (
        (entry.width, "width", MAX_WIDTH),
        (entry.height, "height", MAX_HEIGHT),
    ):
        holds = MIN_SIDE <= side <= most and side % 2 == 0
        rule = f"mode {entry.id}: {name} {side} is odd or outside of {MIN_SIDE} to {most}"
        _check(ManifestKey.MODE, holds, rule)
    _check(ManifestKey.MODE, entry.binning in (1, 2), f"mode {entry.id}: binning {entry.binning}")
    holds = top < bottom <= entry.height and left < right <= entry.width
    rule = f"mode {entry.id}: active area {entry.active_area} is empty or outside of the mode"
    _check(ManifestKey.MODE, holds, rule)
    name = entry.name.rstrip(b"\0").decode("ascii", "replace")
    return Mode(
        entry.id, name, entry.width, entry.height, entry.binning, ModeUse(entry.use & 3),
        entry.active_area, entry.active_mw,
    )  # fmt: skip


def _formats(codes: list[int], sensor: SensorEntry) -> tuple[PixelFormat, ...]:
    """Return the formats that this version knows. A module without formats sends 16-bit words."""
    key = ManifestKey.FORMAT
    _check(key, len(codes) <= _FORMATS, f"{len(codes)} formats, more than {_FORMATS}")
    own = Cfa(sensor.cfa)
    if not codes:
        return (find_pixel_format(Packing.UNPACKED, sensor.bits, own),)
    known = [find_layout(code) for code in codes if is_known(code)]
    _check(key, bool(known), "no known code among " + ", ".join(f"0x{c:08X}" for c in codes))
    for each in known:
        rule = f"{each.code.name} has another phase than the sensor, {own.name}"
        _check(key, each.cfa == own, rule)
    return tuple(each.code for each in known)


def _controls(entries: list[ControlEntry]) -> tuple[ControlEntry, ...]:
    """Return the controls that this version knows."""
    key = ManifestKey.CONTROL
    _check(key, len(entries) <= _CONTROLS, f"{len(entries)} controls, more than {_CONTROLS}")
    ids = [entry.control for entry in entries]
    for entry in entries:
        name = f"control {entry.control}"
        _check(key, ids.count(entry.control) == 1, f"{name} stands twice")
        holds = -MAX_SETTING <= entry.minimum <= entry.initial <= entry.maximum <= MAX_SETTING
        rule = f"{name}: {entry.minimum}, {entry.initial} and {entry.maximum} do not rise"
        _check(key, holds, f"{rule}, or one is beyond {MAX_SETTING}")
        _check(key, entry.step >= 1, f"{name}: step {entry.step}")
    return tuple(entry for entry in entries if entry.control in set(ControlId))


def _check_sensor(sensor: object) -> SensorEntry:
    key = ManifestKey.SENSOR
    assert isinstance(sensor, SensorEntry)
    _check(key, sensor.cfa <= max(Cfa), f"unknown phase {sensor.cfa}")
    _check(key, 8 <= sensor.bits <= 16, f"{sensor.bits} bits instead of 8 to 16")
    _check(key, 1 <= sensor.orientation <= 8, f"orientation {sensor.orientation} outside of 1 to 8")
    most = (1 << sensor.bits) - 1
    _check(key, 1 <= sensor.white <= most, f"white level {sensor.white} outside of 1 to {most}")
    highest = max(sensor.black_milli) / 1000
    _check(key, highest < sensor.white, f"black level {highest} is not below white {sensor.white}")
    return sensor


def _check_delay(delay: object) -> None:
    if isinstance(delay, DelayEntry):
        frames = delay.settings_delay
        rule = f"settings_delay {frames}, more than {MAX_SETTINGS_DELAY}"
        _check(ManifestKey.DELAY, frames <= MAX_SETTINGS_DELAY, rule)


def _colors(entries: list[ColorEntry]) -> tuple[ColorEntry, ...]:
    key = ManifestKey.COLOR
    _check(key, bool(entries), "it is missing")
    _check(key, len(entries) <= _COLORS, f"{len(entries)} illuminants, more than {_COLORS}")
    known = [each.illuminant for each in entries]
    for each in entries:
        once = known.count(each.illuminant) == 1
        _check(key, once, f"illuminant {each.illuminant} stands twice")
        holds = all((*each.matrix[1::2], *each.neutral[1::2]))
        _check(key, holds, "a denominator is 0")
    return tuple(entries)


def _focus(entries: list[FocusEntry]) -> tuple[FocusEntry, ...]:
    key = ManifestKey.FOCUS
    count = len(entries)
    holds = count == 0 or 2 <= count <= _FOCUS_POINTS
    _check(key, holds, f"{count} points instead of 2 to {_FOCUS_POINTS}")
    for before, after in pairwise(entries):
        rises = before.steps < after.steps and before.focus_mdpt < after.focus_mdpt
        _check(key, rises, f"the point at {after.steps} steps does not rise")
    return tuple(entries)


def _calibrations(entries: list[CalibrationEntry]) -> tuple[CalibrationEntry, ...]:
    key = ManifestKey.CALIBRATION
    rule = f"{len(entries)} calibrations, more than {_CALIBRATIONS}"
    _check(key, len(entries) <= _CALIBRATIONS, rule)
    kinds = [each.kind for each in entries]
    for each in entries:
        name = f"kind {each.kind}"
        _check(key, kinds.count(each.kind) == 1, f"{name} stands twice")
        rule = f"{name} has {each.total} bytes instead of 1 to {MAX_CALIBRATION}"
        _check(key, 1 <= each.total <= MAX_CALIBRATION, rule)
    return tuple(entries)
