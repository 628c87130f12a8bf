"""The command ``lenslink flash``: put the firmware on a board."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenslink.cli.options import CommonOptions, common_options, pass_common
from lenslink.cli.screen import Progress, Screen, emit_json, print_line
from lenslink.errors import LensLinkError, UsageError

from .flash_options import board_argument, choose_port, make_deadline, port_option, set_option

if TYPE_CHECKING:
    from ..flash.flash_job import FlashRequest

_POLL_S = 0.2


@click.command()
@board_argument
@port_option
@click.option(
    "--micropython",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Put this image of MicroPython on the board: .uf2 with --drive or picotool, .bin with "
    "esptool.",
)
@click.option(
    "--drive",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The drive that the board shows in its boot loader. Only MicroPython is copied to it.",
)
@click.option(
    "--bundle",
    "bundle_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Firmware that 'lenslink firmware build' has made.  [default: build it now]",
)
@set_option
@click.option("--serial", metavar="TEXT", help="Serial number.  [default: the board keeps its own]")
@click.option("--url", metavar="URL", help="Where the module can be opened after its restart.")
@click.option(
    "--recover",
    is_flag=True,
    help="For a board that does not start its firmware: wait for it, and install anew.",
)
@click.option("--erase", is_flag=True, help="Remove everything of LensLink from the board.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before --erase.")
@click.option("--watch", is_flag=True, help="Flash again whenever a source changes, until Ctrl-C.")
@click.option("-f", "--force", is_flag=True, help="Install an older build than the board has.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def flash(
    common: CommonOptions,
    /,
    *,
    board: str,
    port: str | None,
    micropython: Path | None,
    drive: Path | None,
    bundle_path: Path | None,
    settings: tuple[str, ...],
    serial: str | None,
    url: str | None,
    recover: bool,
    erase: bool,
    yes: bool,
    watch: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put the firmware on BOARD, whose MicroPython answers on a serial port.

    The firmware goes into the slot that the board does not run. The board starts it once all of it
    has arrived and was verified. So a cut at any moment leaves the old firmware or the new one, and
    the next run goes on where the last one ended. Files that are on the board are not sent again.

    A board of another kind, a MicroPython that cannot load the files, and an older build are
    refused before anything is written. Afterwards the command opens a session, which confirms the
    firmware.

    --recover is for a board whose slots both fail. The board is plain MicroPython from the first
    step on, until all of the new firmware has arrived. --erase leaves plain MicroPython; it removes
    the module's key and serial number too.

    --micropython puts an image of MicroPython on the board, and ends there: the board needs a
    moment to show its serial port.

    \b
    Examples:
      lenslink flash pico
      lenslink flash pico --port /dev/ttyACM0 --set lanes=2
      lenslink flash pico --bundle pico.zip --dry-run --json
      lenslink flash pico --watch
      lenslink flash pico --recover --port /dev/ttyACM0
      lenslink flash pico --erase --yes
      lenslink flash pico --micropython RPI_PICO.uf2 --drive /media/RPI-RP2
      lenslink flash esp32s3 --micropython ESP32_GENERIC_S3.bin --port /dev/ttyACM0
    """
    from ..flash.bundle import read_bundle
    from ..flash.flash_job import FlashRequest, flash_board
    from ..flash.option_values import parse_options
    from ..flash.source_watch import SourceWatch

    screen = Screen(common)
    if micropython is not None:
        if recover or erase or watch:
            raise UsageError("--micropython puts MicroPython on a board, and does nothing else")
        _put_micropython(common, board, micropython, drive, port, dry_run=dry_run, as_json=as_json)
        return
    if drive is not None:
        raise UsageError("--drive needs --micropython FILE.uf2, the image to copy")
    if watch and (bundle_path is not None or dry_run or erase):
        raise UsageError("--watch builds from the sources: without --bundle, --dry-run and --erase")
    options = parse_options(settings)
    if bundle_path is not None and options:
        raise UsageError("--bundle and --set contradict each other: a bundle has its own options")
    bundle = read_bundle(bundle_path) if bundle_path is not None else None
    request = FlashRequest(
        board,
        choose_port(port),
        options,
        serial,
        bundle,
        force=force,
        recover=recover,
        dry_run=dry_run,
        url=url,
    )
    if erase:
        _erase(common, request, yes=yes, as_json=as_json)
        return

    def run() -> None:
        deadline = make_deadline(common, f"flashing {request.port}")
        with screen.show_progress() as progress:
            result = flash_board(request, deadline, _make_reporter(progress))
        if as_json:
            emit_json(result)
        else:
            _print_result(result, screen)

    sources = SourceWatch()
    run()
    if watch:
        screen.say("lenslink: waiting for changed sources; Ctrl-C ends it")
    while watch:
        time.sleep(_POLL_S)
        if sources.has_changed():
            try:
                run()
            except LensLinkError as error:
                print_line(f"lenslink: {error}")


def _erase(common: CommonOptions, request: FlashRequest, *, yes: bool, as_json: bool) -> None:
    """Ask, and remove everything of ours from the board."""
    from ..flash.flash_job import erase_board

    if not (yes or request.dry_run):
        if not sys.stdin.isatty():
            raise UsageError("--erase asks before it removes everything: --yes answers")
        question = f"Remove the firmware, serial number and key from the board on {request.port}?"
        try:
            is_wanted = click.confirm(question, err=True)
        except click.Abort:  # Ctrl-C, or the end of the input
            raise KeyboardInterrupt from None
        if not is_wanted:
            raise UsageError("nothing was removed")
    deadline = make_deadline(common, f"erasing {request.port}")
    with Screen(common).show_progress() as progress:
        result = erase_board(request, deadline, _make_reporter(progress))
    if as_json:
        emit_json(result)
        return
    if request.dry_run:
        for path in result["removed"]:
            click.echo(f"would remove {path}")
    verb = "would remove" if request.dry_run else "removed"
    click.echo(f"{request.board}: {verb} {len(result['removed'])} files")


def _put_micropython(
    common: CommonOptions,
    name: str,
    image: Path,
    drive: Path | None,
    port: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Check the image, and copy it to the drive or start the program that writes it."""
    from ..benches.board_profile import load_board
    from ..flash import interpreter
    from ..flash.board_files import check_has_image

    board = check_has_image(load_board(name))
    content = interpreter.read_image(image)
    interpreter.check_image(image, content, board)
    deadline = make_deadline(common, f"putting MicroPython on {name}")
    screen = Screen(common)
    command: list[str] = []
    if drive is not None:
        interpreter.check_drive(drive, board)
    else:
        command = interpreter.make_command(board, image, port)
    with screen.show_progress() as progress:
        progress.show(f"flash: {' '.join(command) or f'copying to {drive}'} ...")
        if not dry_run and drive is not None:
            interpreter.copy_to_drive(content, drive, deadline)
        elif not dry_run:
            interpreter.run_program(command, deadline)
    if as_json:
        emit_json(
            {
                "schema": "lenslink.flash-micropython/1",
                "board": name,
                "image": str(image),
                "drive": str(drive) if drive is not None else None,
                "command": command,
                "dry_run": dry_run,
            }
        )
    else:
        what = " ".join(command) or f"copy {image} to {drive}"
        click.echo(f"{name}: would run: {what}" if dry_run else f"{name}: MicroPython is on it")


def _make_reporter(progress: Progress) -> Any:
    return lambda text: progress.show(f"flash: {text} ...")


def _print_result(result: dict[str, Any], screen: Screen) -> None:
    if result["dry_run"]:
        for path, count in result["files"].items():
            click.echo(f"would send {path} ({count} bytes)")
        for path in result["removed"]:
            click.echo(f"would remove {path}")
    verb = "would send" if result["dry_run"] else "sent"
    files = len(result["files"])
    click.echo(
        f"{result['board']}: {verb} {files} files, {result['bytes']:,} bytes, slot "
        f"{result['slot']}: {result['firmware']} (build {result['build']})"
    )
    if result["confirmed"]:
        screen.say(f"lenslink: the module runs it; {result['seconds']:.1f} s")
