"""What a module says of itself: a list of keyed entries (after Greybus' manifest)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from .ids import Cfa, ManifestKey, ModeUse, PixelFormat
from .messages import (
    ENTRY_BY_KEY,
    TEXT_BY_KEY,
    ColorEntry,
    Malformed,
    ModeEntry,
    OpticsEntry,
    PowerEntry,
    ScaleEntry,
    SensorEntry,
)
from .packings import Layout, Packing, find_layout, find_pixel_format, is_known
from .params import MAX_HEIGHT, MAX_MANIFEST, MAX_WIDTH, MIN_SIDE

_HEAD = struct.Struct("<HH")
_MODES = 64
_FORMATS = 16


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
    """Top, left, bottom, right."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A module's manifest, checked; entries it lacks are None or empty."""

    maker: str
    model: str
    serial: str
    firmware: str
    board: str
    sensor: SensorEntry
    color: ColorEntry
    modes: tuple[Mode, ...]
    optics: OpticsEntry | None = None
    power: PowerEntry | None = None
    scale: ScaleEntry | None = None
    formats: tuple[PixelFormat, ...] = ()
    """Those that the module sends and this version knows, its own choice first; at least one."""
    skipped: tuple[int, ...] = field(default=())
    """Keys that this version does not know."""

    @property
    def cfa(self) -> Cfa:
        return Cfa(self.sensor.cfa)

    def mode_for(self, use: ModeUse) -> Mode:
        """The first mode meant for *use*, else the first of all."""
        return next((m for m in self.modes if m.use & use), self.modes[0])

    def mode_named(self, name: str) -> Mode | None:
        """The mode called *name*, or None."""
        return next((m for m in self.modes if m.name == name), None)


def entries(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Keys and values in order; :exc:`Malformed` where a length leads outside."""
    if len(data) > MAX_MANIFEST:
        raise Malformed(f"a manifest of {len(data)} bytes")
    at = 0
    while at < len(data):
        if len(data) - at < _HEAD.size:
            raise Malformed("a manifest that ends inside an entry")
        key, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if length > len(data) - at:
            raise Malformed(f"manifest entry 0x{key:04X} leads outside")
        yield key, data[at : at + length]
        at += length


def parse_manifest(data: bytes) -> Manifest:
    """A :class:`Manifest` from its bytes; :exc:`Malformed` says what is wrong with it."""
    values: dict[str, object] = {}
    modes: list[Mode] = []
    formats: list[int] = []
    skipped: list[int] = []
    for key, value in entries(data):
        if key in TEXT_BY_KEY:
            values[TEXT_BY_KEY[key]] = value.decode("utf-8", "replace")
        elif key in ENTRY_BY_KEY:
            entry = ENTRY_BY_KEY[key].decode(value)
            if key == ManifestKey.MODE:
                modes.append(_mode(entry))
            elif key == ManifestKey.FORMAT:
                formats.append(entry.pixel_format)
            else:
                values[_FIELD[key]] = entry
        else:
            skipped.append(key)
    if not 1 <= len(modes) <= _MODES:
        raise Malformed(f"a manifest with {len(modes)} modes")
    sensor = _check_sensor(values.get("sensor"))
    values["formats"] = _formats(formats, sensor)
    _check_color(values.get("color"))
    try:
        return Manifest(modes=tuple(modes), skipped=tuple(skipped), **values)  # type: ignore[arg-type]
    except TypeError as error:
        raise Malformed(f"an incomplete manifest: {error}") from None


def encode_entry(key: int, value: bytes) -> bytes:
    """One entry on the wire."""
    return _HEAD.pack(key, len(value)) + value


_FIELD: dict[int, str] = {
    ManifestKey.SENSOR: "sensor",
    ManifestKey.COLOR: "color",
    ManifestKey.OPTICS: "optics",
    ManifestKey.POWER: "power",
    ManifestKey.SCALE: "scale",
}


def _mode(entry: ModeEntry) -> Mode:
    top, left, bottom, right = entry.active_area
    sound = (
        MIN_SIDE <= entry.width <= MAX_WIDTH
        and MIN_SIDE <= entry.height <= MAX_HEIGHT
        and entry.width % 2 == entry.height % 2 == 0
        and top < bottom <= entry.height
        and left < right <= entry.width
    )
    if not sound:
        raise Malformed(f"an impossible mode: {entry}")
    name = entry.name.rstrip(b"\0").decode("ascii", "replace")
    return Mode(
        entry.id, name, entry.width, entry.height, entry.binning, ModeUse(entry.use & 3),
        entry.active_area,
    )  # fmt: skip


def _formats(codes: list[int], sensor: SensorEntry) -> tuple[PixelFormat, ...]:
    """What a module that names no format sends, is not packed."""
    if len(codes) > _FORMATS:
        raise Malformed(f"a manifest with {len(codes)} pixel formats")
    own = Cfa(sensor.cfa)
    if not codes:
        return (find_pixel_format(Packing.UNPACKED, sensor.bits, own),)
    known = [find_layout(code) for code in codes if is_known(code)]
    if not known or not all(_holds(each, sensor) for each in known):
        raise Malformed(f"impossible pixel formats: {', '.join(f'0x{code:08X}' for code in codes)}")
    return tuple(each.code for each in known)


def _holds(each: Layout, sensor: SensorEntry) -> bool:
    return each.bits >= sensor.bits and each.cfa == sensor.cfa


def _check_sensor(sensor: object) -> SensorEntry:
    if not isinstance(sensor, SensorEntry):
        raise Malformed("a manifest without a sensor")
    if sensor.cfa > max(Cfa) or not 8 <= sensor.bits <= 16 or not 1 <= sensor.orientation <= 8:
        raise Malformed(f"an impossible sensor: {sensor}")
    return sensor


def _check_color(color: object) -> None:
    if isinstance(color, ColorEntry) and not all((*color.matrix[1::2], *color.neutral[1::2])):
        raise Malformed(f"colours that divide by zero: {color}")
