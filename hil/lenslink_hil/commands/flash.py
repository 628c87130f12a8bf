"""The command ``lenslink flash``: put the firmware on a board."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lenslink.cli.options import CommonOptions, common_options, pass_common
from lenslink.cli.screen import Progress, Screen, emit_json
from lenslink.errors import UsageError

from .flash_options import board_argument, choose_port, make_deadline, port_option, set_option


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

    --micropython puts an image of MicroPython on the board, and ends there: the board needs a
    moment to show its serial port.

    \b
    Examples:
      lenslink flash pico
      lenslink flash pico --port /dev/ttyACM0 --set lanes=2
      lenslink flash pico --bundle pico.zip --dry-run --json
      lenslink flash pico --micropython RPI_PICO.uf2 --drive /media/RPI-RP2
      lenslink flash esp32s3 --micropython ESP32_GENERIC_S3.bin --port /dev/ttyACM0
    """
    from ..flash.bundle import read_bundle
    from ..flash.flash_job import FlashRequest, flash_board
    from ..flash.option_values import parse_options

    screen = Screen(common)
    if micropython is not None:
        _put_micropython(common, board, micropython, drive, port, dry_run=dry_run, as_json=as_json)
        return
    if drive is not None:
        raise UsageError("--drive needs --micropython FILE.uf2, the image to copy")
    options = parse_options(settings)
    if bundle_path is not None and options:
        raise UsageError("--bundle and --set contradict each other: a bundle has its own options")
    bundle = read_bundle(bundle_path) if bundle_path is not None else None
    request = FlashRequest(
        board, choose_port(port), options, serial, bundle, force=force, dry_run=dry_run, url=url
    )
    deadline = make_deadline(common, f"flashing {request.port}")
    with screen.show_progress() as progress:
        result = flash_board(request, deadline, _make_reporter(progress))
    if as_json:
        emit_json(result)
    else:
        _print_result(result, screen)


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
