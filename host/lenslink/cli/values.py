"""Settings as people write them, converted to the units of the wire, and back.

The click types here parse the options of :func:`.frame_report.shot_options`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NoReturn

import click

from lenslink.errors import UsageError
from lenslink.settings import LIMITS, StreamOptions

_NUMBER = r"(?P<number>\d+(?:\.\d*)?|\.\d+)"
_EXPOSURE = re.compile(_NUMBER + r"(?:/(?P<over>\d+(?:\.\d*)?))?\s*(?P<unit>us|µs|μs|ms|s)?")
_FOCUS = re.compile(_NUMBER + r"\s*(?P<unit>cm|m|d|dpt)?", re.IGNORECASE)
_US = {"us": 1, "µs": 1, "μs": 1, "ms": 1000, "s": 1_000_000}


if TYPE_CHECKING:
    _WholeNumber = click.ParamType[int]
    _Region = click.ParamType[tuple[int, int, int, int]]
else:
    _WholeNumber = _Region = click.ParamType  # generic only in newer versions of click


class _Quantity(_WholeNumber):
    """A number with a unit, parsed exactly: a typed decimal is rounded only once."""

    hint: str

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return self.parse(str(value).strip())
        except (ValueError, InvalidOperation, ZeroDivisionError):
            self._refuse(value, param, ctx)

    def parse(self, text: str) -> int:
        """Return *text* in the wire's unit; raise ValueError if it is no number or out of range."""
        raise NotImplementedError

    def _refuse(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> NoReturn:
        self.fail(f"{value!r} is not {self.hint}", param, ctx)


class Exposure(_Quantity):
    """``10ms``, ``8000us``, ``0.5s``, ``1/60`` (of a second) or ``8000`` (microseconds), as us."""

    name = "time"
    hint = "an exposure of 1 us to 1000 s, such as 10ms, 1/60 (of a second) or 8000us"

    def parse(self, text: str) -> int:
        match = _EXPOSURE.fullmatch(text)
        if match is None:
            raise ValueError(text)
        # Photographers write 1/60 and mean seconds. A bare number has the driver's unit.
        unit = match["unit"] or ("s" if match["over"] else "us")
        value = Decimal(match["number"]) * _US[unit]
        if match["over"]:
            value /= Decimal(match["over"])
        return _round_within_limits(value, "exposure_us")


class Gain(_Quantity):
    """``1`` (unity) or ``2.5``, as thousandths."""

    name = "factor"
    hint = "a gain of 0.001 to 1000, where 1 is unity"

    def parse(self, text: str) -> int:
        return _round_within_limits(Decimal(text.lower().removesuffix("x")) * 1000, "gain_milli")


class Focus(_Quantity):
    """``3.3`` (dioptres), ``30cm``, ``0.3m`` or ``inf``, as milli-dioptres."""

    name = "dioptres"
    hint = "a focus of 0 to 100 dioptres (0 is infinity), such as 3.3, 30cm or inf"

    def parse(self, text: str) -> int:
        if text.lower() in ("inf", "infinity"):
            return 0
        match = _FOCUS.fullmatch(text)
        if match is None:
            raise ValueError(text)
        value = Decimal(match["number"])
        unit = (match["unit"] or "d").lower()
        if unit in ("m", "cm"):
            value = (1 if unit == "m" else 100) / value
        return _round_within_limits(value * 1000, "focus_mdpt")


class Aperture(_Quantity):
    """``2.8`` or ``f/2.8``, as thousandths."""

    name = "f-number"
    hint = "an f-number of 0.001 to 1000, such as 2.8 or f/2.8"

    def parse(self, text: str) -> int:
        return _round_within_limits(
            Decimal(text.lower().removeprefix("f/")) * 1000, "aperture_milli"
        )


class Pixels(_Quantity):
    """``512``: a column or a row of a readout mode."""

    name = "pixels"
    hint = "a whole number of pixels, such as 512"

    def parse(self, text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,5}", text):
            raise ValueError(text)
        return _round_within_limits(Decimal(text), "roi_x")


class Region(_Region):
    """``X,Y,W,H``: a region of interest in pixels of the readout mode, as four ints."""

    name = "x,y,w,h"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int, int]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if len(parts) != 4 or not all(re.fullmatch(r" *[0-9]{1,5} *", each) for each in parts):
            self.fail(
                f"{value!r} is not X,Y,W,H: four even numbers, such as 512,352,256,256", param, ctx
            )
        x, y, width, height = (int(each) for each in parts)
        try:
            StreamOptions(roi=(x, y, width, height))
        except UsageError as error:
            self.fail(str(error), param, ctx)
        return x, y, width, height


SETTING_KINDS = {
    "exposure": ("exposure_us", Exposure()),
    "gain": ("gain_milli", Gain()),
    "focus": ("focus_mdpt", Focus()),
    "aperture": ("aperture_milli", Aperture()),
}
"""For each name of a setting on the command line: the field of Settings, and how it is read."""


def _round_within_limits(value: Decimal, name: str) -> int:
    """Return *value* rounded; raise ValueError if the setting *name* does not take it."""
    least, most = LIMITS[name]
    if not value.is_finite():
        raise ValueError(value)
    whole = int(value.to_integral_value())
    if not least <= whole <= most:
        raise ValueError(whole)
    return whole


def format_exposure(us: int) -> str:
    """Return an exposure in the unit that reads best: ``800 us``, ``10 ms``, ``1.5 s``."""
    for unit, size in (("s", 1_000_000), ("ms", 1000)):
        if us >= size:
            return f"{us / size:g} {unit}"
    return f"{us} us"


def format_aperture(milli: int) -> str:
    """Return an f-number: ``f/2.8``."""
    return f"f/{milli / 1000:g}"


def format_focus(mdpt: int) -> str:
    """Return a focus in dioptres and as a distance: ``3.3 dioptres (30.3 cm)``."""
    if mdpt <= 0:
        return "infinity"
    return f"{mdpt / 1000:g} dioptres ({100_000 / mdpt:.3g} cm)"


def format_bytes(count: float) -> str:
    """Return a size in decimal units, as for disks and links: ``1.5 MB``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:g} bytes"


def format_discards(discards: Mapping[str, int]) -> str:
    """Return ``no discards``, or ``discards: 2 payload_crc, 1 noise``."""
    parts = [f"{count} {reason}" for reason, count in discards.items() if count]
    return f"discards: {', '.join(parts)}" if parts else "no discards"
