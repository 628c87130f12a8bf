"""The command ``lenslink record``: receive the preview and keep every byte of the link."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lenslink.cli.frame_counts import EndReason, FrameCounts
from lenslink.cli.frame_report import Shot, shot_options
from lenslink.cli.opening import url_argument
from lenslink.cli.options import CommonOptions, OutputFile, Seconds, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json
from lenslink.cli.values import format_bytes
from lenslink.errors import LensLinkError, UsageError

if TYPE_CHECKING:
    from lenslink.transports import Transport

    from .lcap import Writer


@click.command()
@url_argument
@click.option(
    "-o",
    "--output",
    "path",
    type=OutputFile(),
    metavar="FILE.lcap",
    required=True,
    help="The recording.",
)
@click.option(
    "-n", "--frames", "limit", type=click.IntRange(min=1), metavar="N", help="End after N frames."
)
@click.option("--duration", type=Seconds(), metavar="SECONDS", help="End after so many seconds.")
@shot_options
@click.option("-f", "--force", is_flag=True, help="Overwrite a file that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def record(
    common: CommonOptions,
    url: str | None,
    *,
    path: Path,
    limit: int | None,
    duration: float | None,
    shot: Shot,
    force: bool,
    as_json: bool,
) -> None:
    """Receive the preview and keep every byte of the link, in both directions, with its time.

    URL defaults to $LENSLINK_URL, else to the only module that 'lenslink list' finds. The recording
    is complete whatever ends it. It is kept when the session failed, because that is the session
    to look at. The URL replay:FILE.lcap is a module that does the same again.

    \b
    Examples:
      lenslink record sim: -o session.lcap --frames 10
      lenslink stream replay:session.lcap --frames 10
      lenslink replay session.lcap --pcapng session.pcapng
    """
    import lenslink
    from lenslink.transports import choose_url, parse

    from .recorder import count_lanes, make_info, wrap_transport

    # Refuse a file that cannot be written, before a module is opened.
    _check_output(path, force)
    screen = Screen(common)
    counts = FrameCounts()
    stop: KeyboardInterrupt | LensLinkError | None = None
    writer: Writer | None = None
    address = choose_url(url)

    def wrap(transport: Transport) -> Transport:
        nonlocal writer
        from .lcap import Writer

        info = make_info(parse(address), count_lanes(transport))
        writer = Writer.create(path, force, info)
        return wrap_transport(transport, writer)

    with ExitStack() as stack:
        try:
            device = lenslink.open(address, timeout=common.timeout, wrap=wrap)
            stack.enter_context(device)
            assert writer is not None
            if device.note:
                screen.say(f"lenslink: {device.note}")
            _record_manifest(writer)
            with screen.show_progress() as progress:
                counts.start(device)
                with closing(device.stream(settings=shot.settings, options=shot.options)) as frames:
                    for frame in frames:
                        with frame:
                            counts.count(frame)
                        progress.update(counts.format_live)
                        if counts.check_end(limit, duration):
                            break
        except (KeyboardInterrupt, LensLinkError) as error:
            counts.end_with(error)
            stop = error
        finally:
            # Closing the device sends the last packets of the session, so it comes first.
            stack.close()
            if writer is not None:
                writer.finish(str(counts.end_reason or EndReason.ERROR))
    if writer is not None:
        _report(counts, writer, as_json, screen)
    # Ctrl-C is the usual end of a recording, so it needs no message.
    if isinstance(stop, KeyboardInterrupt) and counts.frames:
        raise click.exceptions.Exit(getattr(stop, "exit_code", 130))
    if stop is not None:
        raise stop


def _check_output(path: Path, force: bool) -> None:
    """Raise UsageError or StorageError if no recording can be written at *path*."""
    from lenslink.image_files.atomic_file import check_target

    if path.suffix.lower() != ".lcap":
        raise UsageError(f"{path}: a recording is a file *.lcap")
    check_target(path, force)


def _record_manifest(writer: Writer) -> None:
    """Write the manifest as it was on the wire, taken from what has been recorded so far."""
    from .lcap import load
    from .script import extract_manifest

    writer.write_manifest(extract_manifest(load(writer.path)))


def _report(counts: FrameCounts, writer: Writer, as_json: bool, screen: Screen) -> None:
    if as_json:
        summary = {
            **counts.to_json(),
            "file": str(writer.path),
            "recorded_bytes": writer.data_bytes,
        }
        emit_json({"schema": "lenslink.record/1", **summary})
    else:
        screen.say(counts.format_summary())
    screen.say(f"wrote {writer.path} ({format_bytes(writer.data_bytes)} of the link)")
