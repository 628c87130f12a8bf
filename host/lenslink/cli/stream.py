"""``lenslink stream``."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from lenslink.errors import LensLinkError, UsageError
from lenslink_protocol.params import MAX_PAYLOAD

from .frame_counts import EndReason, FrameCounts
from .frame_report import Shot, describe_frame, shot_options
from .opening import opened, show_logs, url_argument
from .options import CommonOptions, Seconds, common_options, pass_common
from .screen import Screen, emit_json
from .sink import RING, Closed, Sink, open_sink

if TYPE_CHECKING:
    from lenslink import Device, Frame


@click.command()
@url_argument
@click.option(
    "-o",
    "--output",
    metavar="-|FILE.raw|ring:NAME",
    help="Write uint16 little-endian pixels to stdout ('-') or to a file, or receive into a ring "
    "of frames in shared memory, which 'lenslink ring NAME' and others read.",
)
@click.option(
    "-n", "--frames", "limit", type=click.IntRange(min=1), metavar="N", help="End after N frames."
)
@click.option("--duration", type=Seconds(), metavar="SECONDS", help="End after so many seconds.")
@click.option(
    "--scale16", is_flag=True, help="Shift pixels up to 16 bits; else 12 bits look dark in players."
)
@shot_options
@click.option(
    "--tile-bytes",
    type=click.IntRange(min=1, max=MAX_PAYLOAD),
    metavar="N",
    help="Longest tile; 'lenslink bench link --sweep' says which is fast."
    "  [default: the module's choice]",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite a file that exists.")
@click.option(
    "--json", "as_json", is_flag=True, help="A JSON line for each frame and one for the whole."
)
@common_options
@pass_common
def stream(
    common: CommonOptions,
    url: str | None,
    *,
    output: str | None,
    limit: int | None,
    duration: float | None,
    scale16: bool,
    shot: Shot,
    tile_bytes: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Receive the preview until Ctrl-C, or for as long as asked.

    URL defaults to $LENSLINK_URL, else to the only module that 'lenslink list' finds. Without -o
    frames are only counted. Pixels that did not arrive are written as 0 and the frame counts as
    incomplete. With --frames or --duration a file appears only if all of that came; without, it
    holds the whole frames that came until the end, whatever ended it.

    \b
    Examples:
      lenslink stream sim:
      lenslink stream sim: --frames 100 --json
      lenslink stream sim: -o preview.raw --duration 10
      lenslink stream sim: --scale16 -o - | ffmpeg -f rawvideo \\
          -pixel_format bayer_rggb16le -video_size 1280x960 -i - preview.mp4
      lenslink stream sim: -o ring:cam & lenslink ring cam
    """
    to_ring = output is not None and output.startswith(RING)
    if to_ring and scale16:
        raise UsageError("--scale16 changes pixels, which a ring's readers see as they came")
    if as_json and output == "-":
        raise UsageError("--json and '-o -' both want stdout")
    screen = Screen(common)
    open_ended = limit is None and duration is None
    counts = FrameCounts()
    stopped: KeyboardInterrupt | LensLinkError | None = None
    with open_sink(output, force) as sink:
        try:
            module = opened(url, common, screen, sink.ring)
            with module as device, screen.progress() as progress:
                counts.begin(device)
                # closing(): the module is told to stop before the session ends.
                with closing(_frames(device, shot, tile_bytes)) as frames:
                    for frame in frames:
                        with frame:
                            counts.count(frame)
                            _hand_on(frame, sink, scale16, as_json)
                            if counts.frames == 1:
                                shot.show_adjusted(frame, screen)
                                _hint(frame, output, scale16, screen)
                        progress.update(counts.live)
                        show_logs(device, screen)
                        if counts.frames == limit:
                            counts.ended = EndReason.FRAMES
                            break
                        if duration is not None and counts.seconds >= duration:
                            counts.ended = EndReason.DURATION
                            break
        except Closed:
            return
        except (KeyboardInterrupt, LensLinkError) as error:
            counts.stop(error)
            if output is not None and not (open_ended and counts.frames):
                raise
            stopped = error
    if stopped is None or counts.frames:
        _report(counts, output, as_json, screen)
    if isinstance(stopped, KeyboardInterrupt) and counts.frames:
        # Most streams end like this; the report has said it already.
        raise click.exceptions.Exit(getattr(stopped, "exit_code", 130))
    if stopped is not None:
        raise stopped


def _frames(device: Device, shot: Shot, tile_bytes: int | None) -> Generator[Frame, None, None]:
    options = replace(shot.options, tile_bytes=tile_bytes)
    return device.stream(settings=shot.settings, options=options)


def _hand_on(frame: Frame, sink: Sink, scale16: bool, as_json: bool) -> None:
    if as_json:
        try:
            emit_json({"schema": "lenslink.stream.frame/2", **describe_frame(frame)})
        except BrokenPipeError:
            raise Closed from None
    sink.write(frame, scale16)


def _hint(frame: Frame, output: str | None, scale16: bool, screen: Screen) -> None:
    """How to read what is written, for the person at a terminal."""
    if output is None or output.startswith(RING):
        return
    text = (
        f"lenslink: for ffmpeg: -f rawvideo -pixel_format bayer_{frame.cfa.lower()}16le "
        f"-video_size {frame.width}x{frame.height}"
    )
    if frame.bits < 16 and not scale16:
        text += f" (pixels have {frame.bits} bits and look dark: --scale16 shifts them up)"
    # Somebody who reads a pipe to its end and no further must find nothing on stderr.
    (screen.say if screen.is_animated else screen.detail)(text)


def _report(counts: FrameCounts, output: str | None, as_json: bool, screen: Screen) -> None:
    if as_json:
        emit_json({"schema": "lenslink.stream.summary/2", **counts.as_json()})
    else:
        screen.say(counts.summary())
    if output is not None and output != "-" and not output.startswith(RING):
        screen.say(f"wrote {output} ({counts.frames} frames)")
