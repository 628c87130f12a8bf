"""What ``capture`` and ``stream`` share: settings that travel with a request, a frame as JSON."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lenslink.settings import Settings, StreamOptions

from .screen import Screen
from .values import Exposure, Focus, Gain, format_exposure, format_focus

if TYPE_CHECKING:
    from lenslink import Frame

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Shot:
    """What the user asked for with the options of :func:`shot_options`."""

    settings: Settings
    options: StreamOptions

    def show_adjusted(self, frame: Frame, screen: Screen) -> None:
        """Say which settings the module did not apply as they were asked for."""
        asked = (
            ("exposure", self.settings.exposure_us, frame.exposure_us, format_exposure),
            ("gain", self.settings.gain_milli, frame.gain_milli, _format_gain),
            ("focus", self.settings.focus_mdpt, frame.focus_mdpt, format_focus),
        )
        for name, wanted, applied, show in asked:
            if wanted is not None and wanted != applied:
                screen.say(
                    f"lenslink: {name}: asked for {show(wanted)}, the module applied "
                    f"{show(applied)}"
                )


def shot_options(function: Callable[..., R]) -> Callable[..., R]:
    """Add ``--mode``, ``--exposure``, ``--gain``, ``--focus`` and ``--packing``.

    *function* gets them as its argument ``shot``, a :class:`Shot`.
    """

    @functools.wraps(function)
    def with_shot(
        *args: Any,
        mode: str | None,
        exposure_us: int | None,
        gain_milli: int | None,
        focus_mdpt: int | None,
        packing: str | None,
        **others: Any,
    ) -> R:
        settings = Settings(exposure_us, gain_milli, focus_mdpt)
        return function(*args, shot=Shot(settings, StreamOptions(mode, packing)), **others)

    options = (
        click.option(
            "--mode",
            metavar="NAME",
            help="Readout mode, one of those that 'lenslink info' lists.",
        ),
        click.option(
            "--exposure",
            "exposure_us",
            type=Exposure(),
            help="10ms, 1/60 (of a second), 8000us; a bare number is microseconds.",
        ),
        click.option("--gain", "gain_milli", type=Gain(), help="Analogue gain; 1 is unity."),
        click.option(
            "--focus",
            "focus_mdpt",
            type=Focus(),
            help="Dioptres (3.3; 0 is infinity), or a distance: 30cm, 0.3m, inf.",
        ),
        click.option(
            "--packing",
            metavar="NAME",
            help="How pixels come over the link: unpacked, lsb, mipi, legacy, as far as "
            "'lenslink info' lists them. What is written is the same.",
        ),
    )
    command: Callable[..., R] = with_shot
    for option in reversed(options):
        command = option(command)
    return command


def describe_frame(frame: Frame) -> dict[str, object]:
    """A frame as the command line's JSON shows it: all of it but colours and pixels."""
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
        "temperature_mc": frame.temperature_mc,
        "black": list(frame.black),
        "white": frame.white,
        "active_area": list(frame.active_area),
        "orientation": frame.orientation,
    }


def _format_gain(milli: int) -> str:
    return f"{milli / 1000:g}"
