"""The command ``lenslink capture``: take one still and write it to files."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lenslink.errors import LensLinkError, ProtocolError, UsageError
from lenslink.settings import Settings
from lenslink_protocol.params import MAX_BRACKET

from .bracket import Bracket, make_bracket
from .capture_merge import (
    DEFAULT_STEPS,
    ZOOM_FRAMES,
    FrameMerge,
    HdrSteps,
    load_merge,
    load_zoom,
    make_hdr_bracket,
)
from .frame_report import Shot, describe_frame, shot_options
from .opening import open_device, url_argument
from .options import CommonOptions, OutputFile, common_options, pass_common
from .screen import Screen, emit_json
from .values import format_bytes, format_discards

if TYPE_CHECKING:
    from lenslink import Device, Frame
    from lenslink.image_files.opcodes import Corrections


@click.command()
@url_argument
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="FILE",
    type=OutputFile(),
    help="File to write: .dng, .tiff, .npy (RAW), .png or .jpg (picture). May be repeated.  "
    "[default: lenslink-<date>-<time>.dng, with --zoom .jpg]",
)
@shot_options
@click.option(
    "--bracket",
    "brackets",
    multiple=True,
    type=Bracket(),
    help="Take a frame for each value: exposure=1ms,4ms,16ms. Also gain=, focus= and aperture=. "
    "Several brackets go hand in hand. Files are numbered: photo-1.dng, photo-2.dng.",
)
@click.option(
    "--hdr", is_flag=True, help="Take a bracket of exposures and merge it to one picture."
)
@click.option(
    "--hdr-steps",
    type=HdrSteps(),
    help="Exposures of --hdr, in EV from that of --exposure.  [default: -3,0,3]",
)
@click.option(
    "--burst",
    metavar="N",
    type=click.IntRange(2, MAX_BRACKET),
    help="Take N frames and merge them to one picture with less noise.",
)
@click.option(
    "--zoom",
    metavar="FACTOR",
    type=click.FloatRange(1, 8),
    help="Take 8 frames by hand, or those of --burst, and compute a picture of the middle: with 2, "
    "half of the width and height at the frame's size.",
)
@click.option(
    "--denoise",
    is_flag=True,
    help="Take the noise out of the picture, also after --hdr or --burst.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite files that exist.")
@click.option(
    "--allow-incomplete", is_flag=True, help="Write the frame even if some of its pixels are lost."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def capture(
    common: CommonOptions,
    url: str | None,
    *,
    outputs: tuple[Path, ...],
    shot: Shot,
    brackets: tuple[tuple[str, tuple[int, ...]], ...],
    hdr: bool,
    hdr_steps: tuple[float, ...] | None,
    burst: int | None,
    zoom: float | None,
    denoise: bool,
    force: bool,
    allow_incomplete: bool,
    as_json: bool,
) -> None:
    """Take one still and write it to a file.

    URL defaults to $LENSLINK_URL, else to the only module that 'lenslink list' finds. The extension
    chooses the format: .dng holds the RAW and a preview, .tiff and .npy the RAW mosaic, .png the
    rendered picture, .jpg the picture that 'lenslink develop' makes. An incomplete frame is an
    error, unless --allow-incomplete is given.

    --hdr, --burst and --denoise need the extra isp. They write .dng (linear RAW, 32-bit floats) or
    a picture: .jpg, .png or .tiff. --zoom needs it too, and writes a picture.

    \b
    Examples:
      lenslink capture sim: -o photo.dng
      lenslink capture sim: -o photo.dng -o photo.png --exposure 1/60 --gain 2 --force
      lenslink capture sim: -o hdr.dng --bracket exposure=1ms,4ms,16ms
      lenslink capture sim: -o hdr.jpg -o hdr.dng --hdr
      lenslink capture sim: -o calm.dng --burst 8 --gain 16
      lenslink capture sim: -o night.jpg --gain 16 --denoise
      lenslink capture sim: -o near.jpg --zoom 2
      lenslink capture sim: -o part.dng --roi 1024,768,256,256
      lenslink capture 'sim:?scene=ramp&bits=14' -o ramp.npy --json
    """
    # Imports numpy, which --help does not need.
    from lenslink.image_files.save import check_output, save

    # Refuse files that cannot be written, before a picture is taken.
    screen = Screen(common)
    extension = "dng" if zoom is None else "jpg"
    paths = outputs or (Path(f"lenslink-{datetime.now():%Y%m%d-%H%M%S}.{extension}"),)
    frames = make_bracket(brackets)
    merge = _choose_merge(hdr, hdr_steps, burst, frames, zoom=zoom, is_denoised=denoise)
    if zoom is not None and burst is None:
        burst = ZOOM_FRAMES
    if burst is not None:
        frames = [Settings()] * burst
    targets = [paths] if frames is None or merge is not None else [
        tuple(path.with_stem(f"{path.stem}-{number}") for path in paths)
        for number in range(1, len(frames) + 1)
    ]  # fmt: skip
    for index, path in enumerate(paths):
        if path.absolute() in [other.absolute() for other in paths[:index]]:
            raise UsageError(f"{path} is named twice")
    for target in targets:
        for path in target:
            (check_output if merge is None else merge.check_output)(path, force)

    with open_device(url, common, screen) as device, screen.show_progress() as progress:
        # Take the picture.
        if hdr:
            exposure_us = shot.settings.exposure_us
            frames = make_hdr_bracket(device, hdr_steps or DEFAULT_STEPS, exposure_us)
        progress.show("capturing ...")
        start = time.monotonic()
        if frames is None:
            taken = [device.capture(settings=shot.settings, options=shot.options)]
        else:
            taken = device.capture(frames=frames, settings=shot.settings, options=shot.options)
        seconds = time.monotonic() - start
        for frame in taken:
            _check_complete(frame, device, allow_incomplete, screen)
        for number, frame in enumerate(taken):
            shot.report_adjustments(frame, screen, None if frames is None else frames[number])

        # Write every file.
        sizes = []
        if merge is not None:
            work = "denoising" if len(taken) == 1 else "merging" if zoom is None else "zooming"
            progress.show(f"{work} ...")
            merge.add_frames(taken)
            corrections = _find_corrections(taken[merge.reference], device, paths, screen)
            for path in paths:
                progress.show(f"writing {path} ...")
                sizes.append((path, merge.save(path, force, corrections)))
        else:
            for frame, target in zip(taken, targets, strict=True):
                corrections = _find_corrections(frame, device, target, screen)
                for path in target:
                    progress.show(f"writing {path} ...")
                    sizes.append((path, save(frame, path, force, corrections)))

        # Report.
        is_bracket = frames is not None
        summary = _Summary(device, taken, seconds, sizes, merge, is_bracket=is_bracket)
        if as_json:
            emit_json(summary.to_json())
        else:
            for line in summary.format_lines():
                screen.say(line)
        for frame in taken:
            frame.release()


def _choose_merge(
    hdr: bool,
    hdr_steps: tuple[float, ...] | None,
    burst: int | None,
    bracket: list[Settings] | None,
    *,
    zoom: float | None,
    is_denoised: bool,
) -> FrameMerge | None:
    """Return the merge that the options ask for, or None.

    Raises:
        UsageError: options contradict each other.
        MissingExtra: the merge is not installed.
    """
    if hdr_steps is not None and not hdr:
        raise UsageError("--hdr-steps needs --hdr")
    given = [("--hdr", hdr), ("--burst", burst is not None), ("--bracket", bracket is not None)]
    if zoom is not None:
        # A zoom is made of a burst, and takes the noise out itself.
        given = [("--zoom", True), given[0], given[2], ("--denoise", is_denoised)]
    names = [name for name, is_given in given if is_given]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} contradict each other: give one of them")
    if zoom is not None:
        return load_zoom(zoom)
    if is_denoised and bracket is not None:
        raise UsageError("--denoise and --bracket contradict each other: denoise the files later")
    if hdr or burst is not None or is_denoised:
        return load_merge([*names, "--denoise"][0], is_denoised=is_denoised)
    return None


def _check_complete(frame: Frame, device: Device, is_allowed: bool, screen: Screen) -> None:
    """Raise ProtocolError for an incomplete frame, or print a warning if it *is_allowed*."""
    if frame.received_fraction == 1 and frame.status.value == "complete":
        return
    # Rounded down: a frame that lacks a pixel must not claim 100 %.
    percent = int(frame.received_fraction * 1000) / 10
    discards = format_discards(device.stats.discards)
    text = f"the frame is incomplete: {percent} % of it arrived ({discards})"
    if not is_allowed:
        raise ProtocolError(f"{text}; --allow-incomplete writes it anyway")
    screen.say(f"lenslink: warning: {text}")


def _find_corrections(
    frame: Frame, device: Device, paths: tuple[Path, ...], screen: Screen
) -> Corrections | None:
    """Return the lens' corrections for a DNG. Without them the picture is written all the same."""
    from lenslink.image_files.opcodes import find_corrections

    if all(path.suffix.lower() != ".dng" for path in paths):
        return None
    try:
        found = find_corrections(frame, device.calibration)
    except LensLinkError as error:
        screen.say(f"lenslink: warning: the DNG has no corrections of the lens: {error}")
        return None
    if found.note:
        screen.say(f"lenslink: warning: the DNG has {found.note}")
    return found


class _Summary:
    """The report of one capture, as text and as JSON."""

    def __init__(
        self,
        device: Device,
        frames: list[Frame],
        seconds: float,
        sizes: list[tuple[Path, int]],
        merge: FrameMerge | None,
        *,
        is_bracket: bool,
    ) -> None:
        self._device = device
        self._frames = [describe_frame(frame) for frame in frames]
        self._seconds = seconds
        self._sizes = sizes
        self._merge = merge
        self._is_bracket = is_bracket

    def to_json(self) -> dict[str, object]:
        """Return the JSON object that ``--json`` prints."""
        stats = self._device.stats
        return {
            "schema": "lenslink.capture/2",
            "url": self._device.url,
            "serial": self._device.identity.serial,
            **({"frames": self._frames} if self._is_bracket else {"frame": self._frames[0]}),
            "files": [{"path": str(path), "bytes": size} for path, size in self._sizes],
            **self._describe_merge(),
            "discards": dict(stats.discards),
            "first_tile_ms": stats.first_tile_ms,
            "bytes": stats.bytes,
            "seconds": self._seconds,
        }

    def _describe_merge(self) -> dict[str, object]:
        """Return the part of the JSON object that is about a merge; empty without one."""
        if self._merge is None or not self._is_bracket:
            return {}
        shares, reference = list(self._merge.shares), self._merge.reference
        return {"merge": {"shares": shares, "reference": reference}}

    def format_lines(self) -> list[str]:
        """Return the report for people: one line about the frame, then one for each file."""
        stats = self._device.stats
        latency = stats.first_tile_ms
        first = f", first tile after {latency:.0f} ms" if latency is not None else ""
        rate = format_bytes(stats.bytes / self._seconds)
        discards = format_discards(stats.discards)
        heads = [
            f"frame {frame['number']}: {frame['width']} x {frame['height']}, {frame['bits']} bit "
            f"{frame['cfa']}, {frame['status']}"
            for frame in self._frames
        ]
        return [
            *heads[:-1],
            f"{heads[-1]}: {format_bytes(stats.bytes)} in "
            f"{self._seconds:.2f} s ({rate}/s){first}, {discards}",
            *self._format_merge(),
            *(f"wrote {path} ({format_bytes(size)})" for path, size in self._sizes),
        ]

    def _format_merge(self) -> list[str]:
        """Return a line on the merge; none without one."""
        if self._merge is None or not self._is_bracket:
            return []
        shares = ", ".join(f"{share:.0%}" for share in self._merge.shares)
        return [f"merged to frame {self._frames[self._merge.reference]['number']}, used {shares}"]
