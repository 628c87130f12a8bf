"""The command ``lenslink stream``: receive the preview, and count, write or share its frames."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from lenslink.errors import LensLinkError, UsageError
from lenslink_protocol.params import MAX_PAYLOAD

from .frame_counts import FrameCounts
from .frame_report import Shot, describe_frame, shot_options
from .opening import open_device, url_argument
from .options import CommonOptions, Seconds, common_options, pass_common
from .pixel_formats import FORMATS, make_pixel_format
from .screen import Screen, emit_json
from .sink import RING, STDOUT, ReaderClosed, Sink, open_sink

if TYPE_CHECKING:
    from lenslink import Frame


@click.command()
@url_argument
@click.option(
    "-o",
    "--output",
    metavar="-|FILE|ring:NAME",
    help="Write pixels to stdout ('-') or to a file, or receive into a frame ring in shared "
    "memory, which 'lenslink ring NAME' and other programs read.",
)
@click.option(
    "-n", "--frames", "limit", type=click.IntRange(min=1), metavar="N", help="End after N frames."
)
@click.option("--duration", type=Seconds(), metavar="SECONDS", help="End after so many seconds.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="raw (*.raw): the mosaic as uint16 little-endian words. rgb24 (*.rgb) and y4m (*.y4m): "
    "pictures of half the width and height. y4m states size and rate in its header.",
)
@click.option(
    "--scale16",
    is_flag=True,
    help="Shift raw pixels up to 16 bits. Without it, 12-bit pixels look dark in players.",
)
@click.option(
    "--scale8",
    is_flag=True,
    help="Write the upper 8 bits of raw pixels, as GStreamer before 1.24 needs them.",
)
@shot_options
@click.option(
    "--tile-bytes",
    type=click.IntRange(min=1, max=MAX_PAYLOAD),
    metavar="N",
    help="Longest tile in bytes; 'lenslink bench link --sweep' finds the fastest."
    "  [default: the module's choice]",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite a file that exists.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON line for each frame, and one for the stream.",
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
    format_name: str,
    scale16: bool,
    scale8: bool,
    shot: Shot,
    tile_bytes: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Receive the preview until Ctrl-C, or for as long as asked.

    URL defaults to $LENSLINK_URL, else to the only module that 'lenslink list' finds. Without -o,
    frames are only counted. Pixels that did not arrive are written as 0, and the frame counts as
    incomplete. With --frames or --duration, the file appears only if the stream was not cut off.
    Without them, the file holds all frames that were received until the stream ended. With a frame
    ring, other processes may change settings and take stills: see 'lenslink set --help'.

    \b
    Examples:
      lenslink stream sim:
      lenslink stream sim: --frames 100 --json
      lenslink stream sim: --roi 512,352,256,256 --duration 10
      lenslink stream sim: -o preview.raw --duration 10
      lenslink stream sim: --duration 10 --format y4m -o - |
          ffmpeg -i - -pix_fmt yuv420p preview.mp4
      lenslink stream sim: -o ring:cam & lenslink ring cam
      lenslink set ring:cam exposure=10ms gain=2
    """
    # Refuse options that contradict each other.
    pixel_format = make_pixel_format(format_name, scale8, scale16)
    is_changed = format_name != FORMATS[0] or scale8 or scale16
    if output is not None and output.startswith(RING) and is_changed:
        raise UsageError(
            "a ring's readers see pixels as they arrived: leave out --format, --scale*"
        )
    if output == STDOUT and as_json:
        raise UsageError("--json and '-o -' both want stdout")

    screen = Screen(common)
    options = replace(shot.options, tile_bytes=tile_bytes)
    counts = FrameCounts()
    has_bound = limit is not None or duration is not None
    stop: KeyboardInterrupt | LensLinkError | None = None

    # Open the output first: a file that cannot be written shows before a module is opened.
    with open_sink(output, force, pixel_format) as sink:
        try:
            with (
                open_device(url, common, screen, sink.ring) as device,
                screen.show_progress() as progress,
                # closing() stops the stream in the module before the session ends.
                closing(device.stream(settings=shot.settings, options=options)) as frames,
            ):
                if sink.ring is not None:
                    device.serve()
                counts.start(device)
                for frame in frames:
                    # Count the frame and pass it on.
                    with frame:
                        counts.count(frame)
                        if as_json:
                            _emit_frame(frame)
                        sink.write(frame)
                        # The first frame shows what the module applied, and how to read the output.
                        if counts.frames == 1:
                            shot.report_adjustments(frame, screen)
                            _give_player_hint(frame, sink, screen)
                    progress.update(counts.format_live)

                    # End when everything that was asked for has arrived.
                    if counts.check_end(limit, duration):
                        break
        except ReaderClosed:
            # The program that reads our output has read enough.
            return
        except (KeyboardInterrupt, LensLinkError) as error:
            counts.end_with(error)
            # The context of the sink writes no file if it ends with an exception.
            if output is not None and (has_bound or not counts.frames):
                raise
            stop = error

    # Report what was received.
    if stop is None or counts.frames:
        _report(counts, output, as_json, screen)

    # End as the stream ended. Ctrl-C is the usual end of a stream, so it needs no message.
    if isinstance(stop, KeyboardInterrupt) and counts.frames:
        raise click.exceptions.Exit(getattr(stop, "exit_code", 130))
    if stop is not None:
        raise stop


def _emit_frame(frame: Frame) -> None:
    """Print a frame's JSON line; raise ReaderClosed if nobody reads stdout any more."""
    try:
        emit_json({"schema": "lenslink.stream.frame/2", **describe_frame(frame)})
    except BrokenPipeError:
        raise ReaderClosed from None


def _give_player_hint(frame: Frame, sink: Sink, screen: Screen) -> None:
    """Print the options with which ffmpeg reads what *sink* writes, if it writes pixels."""
    hint = sink.describe_format(frame)
    if hint is None:
        return
    # A script that reads the pipe must find nothing on stderr, so only a person sees the hint.
    (screen.say if screen.is_animated else screen.say_verbose)(f"lenslink: {hint}")


def _report(counts: FrameCounts, output: str | None, as_json: bool, screen: Screen) -> None:
    """Print the figures of the whole stream, and the name of the file if one was written."""
    if as_json:
        emit_json({"schema": "lenslink.stream.summary/2", **counts.to_json()})
    else:
        screen.say(counts.format_summary())
    if output is not None and output != STDOUT and not output.startswith(RING):
        screen.say(f"wrote {output} ({counts.frames} frames)")
