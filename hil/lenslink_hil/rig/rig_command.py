"""The commands ``lenslink rig ...``: list a rig's boards, check them, switch their power."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lenslink.cli.options import CommonOptions, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json, emit_table
from lenslink.deadline import Deadline
from lenslink.errors import RigError, UsageError

if TYPE_CHECKING:
    from .rig_file import Board, Rig

_RELEASE_S = 10.0
_rig_option = click.option(
    "--rig",
    "rig_file",
    metavar="FILE",
    envvar="LENSLINK_RIG",
    help="The rig's file.  [default: $LENSLINK_RIG, ./rig.toml, or the user's]",
)
_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout."
)


def _load(rig_file: str | None) -> Rig:
    from .rig_file import find_rig_file, load_rig

    return load_rig(find_rig_file(rig_file))


def _find_one(rig: Rig, name: str) -> Board:
    boards = rig.find_boards(name)
    if len(boards) > 1:
        raise UsageError(f"'{name}' means {len(boards)} boards: name one of them")
    return boards[0]


@click.group(name="rig")
@common_options
def rig_group() -> None:
    """List, check and switch the boards of a test rig, which rig.toml describes.

    \b
    Examples:
      lenslink rig list
      lenslink rig doctor
      lenslink rig power left cycle
      lenslink capture rig:left -o photo.dng
      pytest --lens rig:
      lenslink rig exporter rig.toml
    """


@rig_group.command("list")
@_rig_option
@_json_option
@common_options
@pass_common
def list_boards(common: CommonOptions, /, rig_file: str | None, as_json: bool) -> None:
    """Show every board: where it is, and who has it. Nothing is opened."""
    from .board_lock import make_lock_path, read_holder

    del common
    rig = _load(rig_file)
    rows = []
    for board in rig.boards.values():
        holder = read_holder(make_lock_path(board.address, rig.locks))
        rows.append((board, holder))
    if as_json:
        boards = [
            {
                "name": board.name,
                "url": board.url,
                "kind": board.kind,
                "serial": board.serial,
                "roles": list(board.roles),
                "power": board.power.name if board.power else None,
                "holder": asdict(holder) if holder else None,
            }
            for board, holder in rows
        ]
        emit_json({"schema": "lenslink.rig/1", "rig": rig.name, "boards": boards})
        return
    emit_table(
        (
            (
                board.name,
                board.url,
                board.kind or "any",
                ", ".join(board.roles) or "-",
                f"{board.power.name} ({board.power.kind})" if board.power else "-",
                f"taken by {holder}" if holder else "free",
            )
            for board, holder in rows
        ),
        ("board", "url", "kind", "roles", "power", "state"),
    )


@rig_group.command()
@click.argument("names", nargs=-1, metavar="[BOARD]...")
@click.option("--no-power", is_flag=True, help="Do not switch any power.")
@_rig_option
@_json_option
@common_options
@pass_common
def doctor(
    common: CommonOptions,
    /,
    names: tuple[str, ...],
    no_power: bool,
    rig_file: str | None,
    as_json: bool,
) -> None:
    """Check boards, all by default, and prove that their switches cut their power.

    A switch has to make the board vanish, and the board's uptime has to begin anew. The exit code
    is 0 if everything that is needed works, else 11.

    \b
    Examples:
      lenslink rig doctor
      lenslink rig doctor left --no-power
      lenslink rig doctor --json | jq '.checks[] | select(.ok | not)'
    """
    from .rig_doctor import check_rig

    rig = _load(rig_file)
    boards = [board for name in names or ("",) for board in rig.find_boards(name)]
    checks = []
    with Screen(common).show_progress() as progress:
        for check in check_rig(rig, boards, with_power=not no_power):
            checks.append(check)
            progress.show(f"checked: {check.name} ...")
    failed = [check.name for check in checks if check.needed and not check.ok]
    if as_json:
        described = [{**asdict(check), "status": check.status.lower()} for check in checks]
        emit_json({"schema": "lenslink.rig-doctor/1", "ok": not failed, "checks": described})
    else:
        emit_table(
            (
                check.name,
                "slow" if not (check.ok or check.needed) else check.status,
                check.detail + (f"; {check.cure}" if check.cure and not check.ok else ""),
            )
            for check in checks
        )
    if failed:
        raise RigError(f"the rig {rig.name} does not work: {', '.join(failed)}")


@rig_group.command()
@click.argument("name", metavar="BOARD")
@click.argument("action", type=click.Choice(["on", "off", "cycle", "state"]))
@_rig_option
@_json_option
@common_options
@pass_common
def power(
    common: CommonOptions, /, name: str, action: str, rig_file: str | None, as_json: bool
) -> None:
    """Switch a board's power, or show its state.

    The board must be free, unless only its state is asked for. The power stays as it was switched.

    \b
    Examples:
      lenslink rig power left off
      lenslink rig power left cycle
    """
    from .board_lock import describe_holders, make_lock_path, take_first
    from .rig_power import RigPower

    rig = _load(rig_file)
    board = _find_one(rig, name)
    if board.power is None:
        raise RigError(f"board {board.name} has no power switch: add 'power' to it in {rig.file}")
    switch = RigPower(board.power)
    if action != "state":
        path = make_lock_path(board.address, rig.locks)
        found = take_first([path], Deadline(common.timeout), Screen(common).say)
        if found is None:
            raise RigError(f"board {board.name} is held by {describe_holders([path])}")
        try:
            {"on": switch.on, "off": switch.off, "cycle": switch.cycle}[action]()
        finally:
            found[1].release()
    state = {True: "on", False: "off", None: "unknown"}[switch.read()]
    if as_json:
        emit_json({"schema": "lenslink.rig-power/1", "board": board.name, "power": state})
    else:
        click.echo(f"{board.name}: {state}")


@rig_group.command()
@click.argument("name", metavar="BOARD")
@click.option("-f", "--force", is_flag=True, help="Kill the job if it does not end by itself.")
@_rig_option
@common_options
@pass_common
def release(common: CommonOptions, /, name: str, force: bool, rig_file: str | None) -> None:
    """End the job that has a board. Its keeper then leaves the power in its rest state.

    The job gets SIGTERM, and with --force SIGKILL after ten seconds. Only jobs of this machine, and
    of users whose processes you may end, can be released. A job that has died needs no release.

    \b
    Examples:
      lenslink rig release left
      lenslink rig release left --force
    """
    from .board_lock import make_lock_path, read_holder

    rig = _load(rig_file)
    board = _find_one(rig, name)
    path = make_lock_path(board.address, rig.locks)
    holder = read_holder(path)
    screen = Screen(common)
    if holder is None:
        screen.say(f"lenslink: board {board.name} is free")
        return
    if holder.host != socket.gethostname():
        raise RigError(f"board {board.name} is held on {holder.host}: type the command there")
    for number in (signal.SIGTERM, *([signal.SIGKILL] if force else [])):
        with contextlib.suppress(ProcessLookupError):
            try:
                os.kill(holder.pid, number)
            except PermissionError:
                raise RigError(
                    f"board {board.name} is held by {holder}: you may not end it"
                ) from None
        if _wait_until_free(path, _RELEASE_S):
            screen.say(f"lenslink: board {board.name} is free; {holder} had it")
            return
    raise RigError(
        f"board {board.name} is still held by {holder}; "
        + ("its keeper may be switching its power" if force else "add --force")
    )


def _wait_until_free(path: Path, seconds: float) -> bool:
    from .board_lock import BoardLock

    end = time.monotonic() + seconds
    while BoardLock.is_taken(path):
        if time.monotonic() >= end:
            return False
        time.sleep(0.1)
    return True


@rig_group.command()
@_rig_option
@common_options
@pass_common
def simulate(common: CommonOptions, /, rig_file: str | None) -> None:
    """Serve the rig's simulated boards until Ctrl-C: all whose power switch is 'sim'.

    Such a board has a url 'unix:PATH'. It keeps running when its hosts come and go, and starts anew
    when its power is switched. With it a rig, and tests for it, can be tried without hardware.

    \b
    Examples:
      lenslink rig simulate &
      lenslink rig doctor
    """
    from .rig_simulation import serve_boards

    serve_boards(_load(rig_file), Screen(common))


_file_argument = click.argument("rig_file", required=False, envvar="LENSLINK_RIG", metavar="[RIG]")
_coordinator_option = click.option(
    "--coordinator",
    metavar="HOST:PORT",
    help="labgrid's coordinator.  [default: $LG_COORDINATOR, or this machine]",
)


@rig_group.command()
@_file_argument
@_coordinator_option
@click.option(
    "--hostname",
    metavar="NAME",
    default="",
    help="Where others reach this machine.  [default: its address in the coordinator's network]",
)
@common_options
@pass_common
def exporter(
    common: CommonOptions, /, rig_file: str | None, coordinator: str | None, hostname: str
) -> None:
    """Export the boards of RIG to labgrid until Ctrl-C. RIG is a file; the default is rig.toml.

    A board is served over TCP only while its place is acquired. TCP has no protection: export
    boards only within a network that you trust. A place whose owner has died is released. Needs the
    extra 'labgrid'.

    \b
    Examples:
      lenslink rig exporter rig.toml --coordinator rack1
      lenslink rig places rig.toml --coordinator rack1
      lenslink capture 'labgrid:desk-left?coordinator=rack1' -o photo.dng
    """
    # The first import says what is missing without the extra.
    from ..labgrid.coordinator import choose_address
    from ..labgrid.labgrid_exporter import export_rig

    rig = _load(rig_file)
    export_rig(rig, choose_address(coordinator), hostname, Screen(common).say)


@rig_group.command()
@_file_argument
@_coordinator_option
@_json_option
@common_options
@pass_common
def places(
    common: CommonOptions, /, rig_file: str | None, coordinator: str | None, as_json: bool
) -> None:
    """Create a place of labgrid, with tags, for each board of RIG. A second call changes nothing.

    A place is called after the rig and the board: desk-left. Its tags are the rig, the board's
    kind, its serial number and its roles. Needs the extra 'labgrid'.

    \b
    Examples:
      lenslink rig places rig.toml --coordinator rack1
      pytest --lens 'labgrid:?board=pico'
    """
    from ..labgrid.coordinator import Coordinator, choose_address
    from ..labgrid.owner_name import Owner
    from ..labgrid.place_setup import set_up_places

    rig = _load(rig_file)
    address, owner = choose_address(coordinator), Owner.describe_self().name
    with Coordinator(address, owner, Deadline(common.timeout)) as session:
        changes = list(set_up_places(rig, session))
    if as_json:
        emit_json({"schema": "lenslink.rig-places/1", "places": [asdict(each) for each in changes]})
    else:
        emit_table(((c.place, c.tags, c.change) for c in changes), ("place", "tags", "state"))
