"""What ``capture`` and ``stream`` share: the settings that travel with a request, a frame as JSON.

:func:`shot_options` adds the options to a command. The command hands the parsed :class:`Shot` to
the driver.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lenslink.settings import Settings, StreamOptions

from .screen import Screen
from .url_completion import complete_mode, complete_packing
from .values import (
    Aperture,
    Exposure,
    Focus,
    Gain,
    Region,
    format_aperture,
    format_exposure,
    format_focus,
)

if TYPE_CHECKING:
    from lenslink import Frame

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Shot:
    """The user's choices from the options of :func:`shot_options`."""

    settings: Settings
    options: StreamOptions

    def report_adjustments(self, frame: Frame, screen: Screen, own: Settings | None = None) -> None:
        """Print each setting to which the module applied another value than asked for.

        *own* are the settings of this frame of a bracket.
        """
        asked = self.settings if own is None else own.filled_from(self.settings)
        rows = (
            ("exposure", asked.exposure_us, frame.exposure_us, format_exposure),
            ("gain", asked.gain_milli, frame.gain_milli, _format_gain),
            ("focus", asked.focus_mdpt, frame.focus_mdpt, format_focus),
            ("aperture", asked.aperture_milli, frame.aperture_milli, format_aperture),
        )
        for name, wanted, applied, to_text in rows:
            if wanted is not None and wanted != applied:
                screen.say(
                    f"lenslink: {name}: asked for {to_text(wanted)}, the module applied "
                    f"{to_text(applied)}"
                )


def shot_options(function: Callable[..., R]) -> Callable[..., R]:
    """Add the options for the readout mode, the settings and the packing to a command.

    *function* receives them as its argument ``shot``, a :class:`Shot`.
    """

    @functools.wraps(function)
    def call_with_shot(
        *args: Any,
        mode: str | None,
        exposure_us: int | None,
        gain_milli: int | None,
        focus_mdpt: int | None,
        aperture_milli: int | None,
        packing: str | None,
        roi: tuple[int, int, int, int] | None,
        **others: Any,
    ) -> R:
        settings = Settings(exposure_us, gain_milli, focus_mdpt, aperture_milli)
        options = StreamOptions(mode, packing, roi=roi)
        return function(*args, shot=Shot(settings, options), **others)

    options = (
        click.option(
            "--mode",
            metavar="NAME",
            shell_complete=complete_mode,
            help="Readout mode; 'lenslink info' lists the modes.",
        ),
        click.option(
            "--exposure",
            "exposure_us",
            type=Exposure(),
            help="10ms, 1/60 (of a second) or 8000us; a bare number is microseconds.",
        ),
        click.option("--gain", "gain_milli", type=Gain(), help="Analogue gain; 1 is unity."),
        click.option(
            "--focus",
            "focus_mdpt",
            type=Focus(),
            help="Dioptres (3.3; 0 is infinity), or a distance: 30cm, 0.3m, inf.",
        ),
        click.option(
            "--aperture",
            "aperture_milli",
            type=Aperture(),
            help="F-number: 2.8 or f/2.8.",
        ),
        click.option(
            "--packing",
            metavar="NAME",
            shell_complete=complete_packing,
            help="How pixels are packed on the link: unpacked, lsb, mipi or legacy. "
            "'lenslink info' lists those of the module. The written pixels are the same.",
        ),
        click.option(
            "--roi",
            metavar="X,Y,W,H",
            type=Region(),
            help="Read out a region of interest alone: first column and row, width and height, in "
            "pixels of the mode, all even.  [default: the whole mode]",
        ),
    )
    command: Callable[..., R] = call_with_shot
    for option in reversed(options):
        command = option(command)
    return command


def describe_frame(frame: Frame) -> dict[str, object]:
    """Return a frame as the command line's JSON shows it: everything but colours and pixels."""
    return {
        "number": frame.number,
        "width": frame.width,
        "height": frame.height,
        "bits": frame.bits,
        "packing": frame.layout.packing.value,
        "cfa": frame.cfa,
        "status": frame.status.value,
        "received_fraction": frame.received_fraction,
        "timestamp_us": frame.timestamp_us,
        "exposure_us": frame.exposure_us,
        "gain_milli": frame.gain_milli,
        "focus_mdpt": frame.focus_mdpt,
        "aperture_milli": frame.aperture_milli,
        "is_adjusted": frame.is_adjusted,
        "is_moving": frame.is_moving,
        "interval_us": frame.interval_us,
        "row_time_ns": frame.row_time_ns,
        "noise_profile": None if frame.noise_profile is None else list(frame.noise_profile),
        "energy_uj": frame.energy_uj,
        "focus_ring": frame.focus_ring,
        "temperature_mc": frame.temperature_mc,
        "black": list(frame.black),
        "white": frame.white,
        "active_area": list(frame.active_area),
        "crop_x": frame.crop_x,
        "crop_y": frame.crop_y,
        "orientation": frame.orientation,
    }


def _format_gain(milli: int) -> str:
    return f"{milli / 1000:g}"
