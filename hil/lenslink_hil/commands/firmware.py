"""The commands ``lenslink firmware ...``: build a bundle, and ask a board what is on it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import click

from lenslink.cli.options import CommonOptions, OutputFile, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json, emit_table
from lenslink.errors import UsageError

from .flash_options import board_argument, choose_port, make_deadline, port_option, set_option


@click.group()
@common_options
def firmware() -> None:
    """Build the firmware of a board, and ask a board what is on it.

    \b
    Examples:
      lenslink firmware build pico -o pico.zip
      lenslink firmware status --port /dev/ttyACM0
      lenslink firmware log
    """


@firmware.command()
@board_argument
@click.option("-o", "--output", type=OutputFile(), metavar="FILE", required=True, help="The file.")
@set_option
@click.option(
    "--micropython",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.uf2",
    help="Make a UF2 file of this MicroPython and the firmware instead, for a new board.",
)
@click.option(
    "--serial", metavar="TEXT", help="Serial number in the UF2 file.  [default: the chip's]"
)
@click.option(
    "--build-number",
    type=click.IntRange(min=0),
    metavar="N",
    help="Rises with each build. A board refuses a lower one.  [default: commits of the checkout]",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite a file that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def build(
    common: CommonOptions,
    /,
    *,
    board: str,
    output: Path,
    settings: tuple[str, ...],
    micropython: Path | None,
    serial: str | None,
    build_number: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Build the firmware of BOARD into one file, a bundle.

    A bundle is a zip file: a manifest with the SHA-256 of each file, the commit, the version of the
    .mpy files, the processor and the options; and the files. The same sources give the same bytes.

    With --micropython the file is a UF2 file, which a board takes on the drive of its boot loader.
    It has MicroPython and a file system with the firmware. What was on the board is lost.

    \b
    Examples:
      lenslink firmware build pico -o pico.zip
      lenslink firmware build esp32s3 --set transport=cdc -o s3.zip
      lenslink firmware build pico --micropython RPI_PICO.uf2 -o pico.uf2
    """
    from lenslink.image_files.atomic_file import check_target, publish

    from ..benches.board_profile import load_board
    from ..flash.bundle import build_bundle, encode_bundle
    from ..flash.interpreter import check_image, read_image
    from ..flash.option_values import parse_options
    from ..flash.uf2_image import build_uf2_image, check_has_uf2

    options = parse_options(settings)
    check_target(output, force)
    image = None
    if micropython is not None:
        profile = check_has_uf2(load_board(board))
        image = read_image(micropython)
        check_image(micropython, image, profile)
    elif serial is not None:
        raise UsageError("a bundle has no serial number: 'lenslink flash --serial' gives one")
    screen = Screen(common)
    with screen.show_progress() as progress:
        progress.show(f"firmware: compiling for {board} ...")
        bundle = build_bundle(board, options, build_number)
        data = (
            encode_bundle(bundle) if image is None else build_uf2_image(bundle, image, serial or "")
        )
    with publish(output, force) as file:
        file.write(data)
    digest = hashlib.sha256(data).hexdigest()
    if as_json:
        emit_json({**bundle.manifest, "file": str(output), "sha256": digest})
    else:
        click.echo(f"{bundle.firmware} for {board}, build {bundle.build}: {digest}")
    screen.say(f"wrote {output}")


@firmware.command()
@port_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def status(common: CommonOptions, /, port: str | None, as_json: bool) -> None:
    """Show what is in the two slots of a board, and which one it starts.

    The firmware is interrupted and started again.

    \b
    Examples:
      lenslink firmware status
      lenslink firmware status --port /dev/ttyACM0 --json
    """
    report = _read_report(common, port)
    if as_json:
        emit_json(report)
        return
    rows = [
        ("board", f"{report['board'] or 'unknown'} ({report['machine']})"),
        ("MicroPython", report["micropython"]),
        ("serial", report["serial"]),
    ]
    rows += [(f"slot {slot}", _describe_slot(each)) for slot, each in report["slots"].items()]
    rows += [
        ("failed starts", str(report["failed_starts"])),
        ("last crash", "see 'lenslink firmware log'" if report["crash"] else "none"),
    ]
    emit_table(rows)


@firmware.command()
@port_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@common_options
@pass_common
def log(common: CommonOptions, /, port: str | None, as_json: bool) -> None:
    """Show how the last start that failed has ended: its traceback, which the board keeps.

    \b
    Examples:
      lenslink firmware log --port /dev/ttyACM0
    """
    report = _read_report(common, port)
    if as_json:
        emit_json({"schema": "lenslink.firmware-log/1", **report["crash"]})
    elif report["crash"]:
        click.echo(f"slot {report['crash']['slot']}:")
        click.echo(report["crash"]["text"].rstrip())
    else:
        click.echo("no start has failed")


def _read_report(common: CommonOptions, port: str | None) -> dict[str, Any]:
    from ..flash.flash_job import describe_board

    name = choose_port(port)
    with Screen(common).show_progress() as progress:
        progress.show(f"firmware: asking the board on {name} ...")
        return describe_board(name, make_deadline(common, f"asking {name}"))


def _describe_slot(slot: dict[str, Any]) -> str:
    if not slot["files"]:
        return "empty"
    words = [f"{slot['version'] or 'unknown'} {slot['id']}".strip(), f"build {slot['build']}"]
    words += [word for word in ("started", "confirmed") if slot[word]]
    return ", ".join([*words, "intact" if slot["intact"] else "INCOMPLETE or damaged"])
