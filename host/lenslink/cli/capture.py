"""``lenslink capture``."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lenslink.errors import ProtocolError, UsageError

from .frame_report import Shot, describe_frame, shot_options
from .opening import opened, url_argument
from .options import CommonOptions, common_options, pass_common
from .screen import Screen, emit_json
from .values import format_bytes, format_discards

if TYPE_CHECKING:
    from lenslink import Device, Frame


@click.command()
@url_argument
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to: .dng, .tiff, .npy (RAW) or .png (rendered). May be given several times.  "
    "[default: lenslink-<date>-<time>.dng]",
)
@shot_options
@click.option("-f", "--force", is_flag=True, help="Overwrite files that exist.")
@click.option(
    "--allow-incomplete", is_flag=True, help="Write a frame even if pixels of it are missing."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@common_options
@pass_common
def capture(
    common: CommonOptions,
    url: str | None,
    *,
    outputs: tuple[Path, ...],
    shot: Shot,
    force: bool,
    allow_incomplete: bool,
    as_json: bool,
) -> None:
    """Take one still and write it to a file.

    URL defaults to $LENSLINK_URL, else to the only module that 'lenslink list' finds. The extension
    chooses the format: .dng holds the RAW and a preview, .tiff and .npy the RAW mosaic, .png the
    rendered picture. A frame that did not arrive whole is an error, unless --allow-incomplete.

    \b
    Examples:
      lenslink capture sim: -o photo.dng
      lenslink capture sim: -o photo.dng -o photo.png --exposure 1/60 --gain 2 --force
      lenslink capture 'sim:?scene=ramp&bits=14' -o ramp.npy --json
    """
    from lenslink.image_files.save import check_output, save

    screen = Screen(common)
    paths = outputs or (Path(f"lenslink-{datetime.now():%Y%m%d-%H%M%S}.dng"),)
    for index, path in enumerate(paths):
        check_output(path, force)
        if path.absolute() in [other.absolute() for other in paths[:index]]:
            raise UsageError(f"{path} is named twice")
    with opened(url, common, screen) as device, screen.progress() as progress:
        progress.show("capturing ...")
        began = time.monotonic()
        with device.capture(settings=shot.settings, options=shot.options) as frame:
            seconds = time.monotonic() - began
            _check_complete(frame, device, allow_incomplete, screen)
            shot.show_adjusted(frame, screen)
            written = []
            for path in paths:
                progress.show(f"writing {path} ...")
                written.append((path, save(frame, path, force)))
            summary = _Summary(device, frame, seconds, written)
            if as_json:
                emit_json(summary.as_json())
            else:
                for line in summary.lines():
                    screen.say(line)


def _check_complete(frame: Frame, device: Device, allowed: bool, screen: Screen) -> None:
    if frame.received_fraction == 1 and frame.status.value == "complete":
        return
    # Rounded down: a frame that lacks a pixel never arrived to 100 %.
    percent = int(frame.received_fraction * 1000) / 10
    counted = format_discards(device.stats.discards)
    said = f"the frame is incomplete: {percent} % of it arrived ({counted})"
    if not allowed:
        raise ProtocolError(f"{said}; --allow-incomplete writes it all the same")
    screen.say(f"lenslink: warning: {said}")


class _Summary:
    """What was taken, for people and for programs."""

    def __init__(
        self, device: Device, frame: Frame, seconds: float, written: list[tuple[Path, int]]
    ) -> None:
        self._device = device
        self._frame = describe_frame(frame)
        self._seconds = seconds
        self._written = written

    def as_json(self) -> dict[str, object]:
        stats = self._device.stats
        return {
            "schema": "lenslink.capture/2",
            "url": self._device.url,
            "serial": self._device.identity.serial,
            "frame": self._frame,
            "files": [{"path": str(path), "bytes": size} for path, size in self._written],
            "discards": dict(stats.discards),
            "first_tile_ms": stats.first_tile_ms,
            "bytes": stats.bytes,
            "seconds": self._seconds,
        }

    def lines(self) -> list[str]:
        frame, stats = self._frame, self._device.stats
        first = stats.first_tile_ms
        began = f", first tile after {first:.0f} ms" if first is not None else ""
        rate = stats.bytes / self._seconds
        discards = format_discards(stats.discards)
        return [
            f"frame {frame['number']}: {frame['width']} x {frame['height']}, {frame['bits']} bit "
            f"{frame['cfa']}, {frame['status']}: {format_bytes(stats.bytes)} in "
            f"{self._seconds:.2f} s ({format_bytes(rate)}/s){began}, {discards}",
            *(f"wrote {path} ({format_bytes(size)})" for path, size in self._written),
        ]
