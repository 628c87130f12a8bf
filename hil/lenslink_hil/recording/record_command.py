"""``lenslink record``."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lenslink.cli.frame_counts import EndReason, FrameCounts
from lenslink.cli.frame_report import Shot, shot_options
from lenslink.cli.opening import show_logs, url_argument
from lenslink.cli.options import CommonOptions, Seconds, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json
from lenslink.cli.values import format_bytes
from lenslink.errors import LensLinkError, StorageError, UsageError

if TYPE_CHECKING:
    from lenslink.transports import Transport

    from .lcap import Writer


@click.command()
@url_argument
@click.option("-o", "--output", metavar="FILE.lcap", required=True, help="The recording.")
@click.option(
    "-n", "--frames", "limit", type=click.IntRange(min=1), metavar="N", help="End after N frames."
)
@click.option("--duration", type=Seconds(), metavar="SECONDS", help="End after so many seconds.")
@shot_options
@click.option("-f", "--force", is_flag=True, help="Overwrite a file that exists.")
@click.option("--json", "as_json", is_flag=True, help="A JSON line for the whole.")
@common_options
@pass_common
def record(
    common: CommonOptions,
    url: str | None,
    *,
    output: str,
    limit: int | None,
    duration: float | None,
    shot: Shot,
    force: bool,
    as_json: bool,
) -> None:
    """Receive the preview and keep every byte that went over the link, both ways, with its time.

    URL defaults to $LENSLINK_URL, else to the only module that 'lenslink list' finds. The
    recording is whole whatever ends it, and kept also when the session failed: that is the one
    worth looking at. 'replay:FILE.lcap' then is a module that does the same again.

    \b
    Examples:
      lenslink record sim: -o session.lcap --frames 10
      lenslink stream replay:session.lcap
      lenslink replay session.lcap --pcapng session.pcapng
    """
    import lenslink

    from .recorder import count_lanes, make_info, wrap_transport

    path = _target(output, force)
    screen = Screen(common)
    counts = FrameCounts()
    stopped: KeyboardInterrupt | LensLinkError | None = None
    writer: Writer | None = None
    address = lenslink.transports.choose(url)

    def wrap(transport: Transport) -> Transport:
        nonlocal writer
        from .lcap import Writer

        info = make_info(lenslink.transports.parse(address), count_lanes(transport))
        writer = Writer.create(path, force, info)
        return wrap_transport(transport, writer)

    with ExitStack() as stack:
        try:
            device = lenslink.open(address, timeout=common.timeout, wrap=wrap)
            stack.enter_context(device)
            assert writer is not None
            if device.note:
                screen.say(f"lenslink: {device.note}")
            _keep_manifest(writer)
            with screen.progress() as progress:
                counts.begin(device)
                with closing(device.stream(settings=shot.settings, options=shot.options)) as frames:
                    for frame in frames:
                        with frame:
                            counts.count(frame)
                        progress.update(counts.live)
                        show_logs(device, screen)
                        if counts.frames == limit:
                            counts.ended = EndReason.FRAMES
                            break
                        if duration is not None and counts.seconds >= duration:
                            counts.ended = EndReason.DURATION
                            break
        except (KeyboardInterrupt, LensLinkError) as error:
            counts.stop(error)
            stopped = error
        finally:
            # The goodbye is part of the session.
            stack.close()
            if writer is not None:
                writer.finish(str(counts.ended or EndReason.ERROR))
    if writer is not None:
        _report(counts, writer, as_json, screen)
    if isinstance(stopped, KeyboardInterrupt) and counts.frames:
        # Most recordings end like this; the report has said it already.
        raise click.exceptions.Exit(getattr(stopped, "exit_code", 130))
    if stopped is not None:
        raise stopped


def _target(output: str, force: bool) -> Path:
    """What cannot be written shows before a module is opened."""
    from lenslink.image_files.atomic_file import make_exists_error

    path = Path(output)
    if path.suffix.lower() != ".lcap":
        raise UsageError(f"{output}: a recording is a file *.lcap")
    if path.is_dir():
        raise StorageError(f"cannot write {output}: it is a folder")
    if not force and (path.exists() or path.is_symlink()):
        raise make_exists_error(path)
    return path


def _keep_manifest(writer: Writer) -> None:
    """Out of what has been recorded, so that it is what was on the wire."""
    from .lcap import load
    from .script import extract_manifest

    writer.write_manifest(extract_manifest(load(writer.path)))


def _report(counts: FrameCounts, writer: Writer, as_json: bool, screen: Screen) -> None:
    if as_json:
        summary = {
            **counts.as_json(),
            "file": str(writer.path),
            "recorded_bytes": writer.data_bytes,
        }
        emit_json({"schema": "lenslink.record/1", **summary})
    else:
        screen.say(counts.summary())
    screen.say(f"wrote {writer.path} ({format_bytes(writer.data_bytes)} of the link)")
