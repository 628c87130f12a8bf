"""The command ``lenslink sim``: serve a simulated module to other programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from lenslink.cli.checks import Check, CheckedCommand
from lenslink.cli.options import CommonOptions, common_options, pass_common
from lenslink.cli.screen import Screen
from lenslink.errors import RigError

from ..benches.board_profile import list_boards
from ..benches.micropython import find_micropython
from ..benches.sim import OPTIONS

F = TypeVar("F", bound=Callable[..., Any])

# What the shell offers for an option. A scene may also be the name of a file.
_VALUES = {
    "scene": ("photo", "bars", "ramp", "prbs"),
    "mode": ("preview", "still", "full", "binned"),
    "bits": ("10", "12", "14"),
    "cfa": ("RGGB", "GRBG", "GBRG", "BGGR"),
    "lanes": ("1", "2", "3", "4"),
}


def _make_completer(name: str) -> Callable[..., list[CompletionItem]]:
    """Return the function that offers the values of the option *name* to the shell."""

    def complete(_: click.Context, _param: click.Parameter, start: str) -> list[CompletionItem]:
        values = list_boards() if name == "board" else _VALUES.get(name, ())
        offers = [CompletionItem(value) for value in values if value.startswith(start)]
        return offers or [CompletionItem(start, type="file")] if name == "scene" else offers

    return complete


def _module_options(function: F) -> F:
    """Add an option for each key of a ``sim:`` URL. The bench checks the values."""
    for name, text in reversed(list(OPTIONS.items())):
        option = click.option(
            f"--{name}",
            metavar=name.upper(),
            help=f"{text[0].upper()}{text[1:]}.",
            shell_complete=_make_completer(name),
        )
        function = option(function)
    return function


def _check_micropython() -> Check:
    try:
        found = find_micropython()
    except RigError as error:
        return Check("MicroPython", False, str(error))
    return Check("MicroPython", True, f"{found.version} at {found.path}")


@click.command(cls=CheckedCommand, checks=[_check_micropython])
@click.option(
    "--listen",
    metavar="URL",
    help="unix:PATH, shm:PATH or tcp:HOST:PORT (0: any free port).  "
    "[default: a socket in the runtime folder]",
)
@click.option("--serial", metavar="TEXT", help="Serial number.  [default: SIM-<process id>]")
@_module_options
@common_options
@pass_common
def sim(
    common: CommonOptions, /, listen: str | None, serial: str | None, **options: str | None
) -> None:
    """Serve a simulated camera module to other programs, until Ctrl-C.

    The command prints the URL to open. 'lenslink list' and commands without a URL find the module.
    Each host that opens the URL finds a module that has just been switched on. Everyone who reaches
    a tcp: address can open it. At shm:, host and module share memory (Linux). MicroPython cannot
    map memory, so this process copies between the shared memory and the firmware's socket.

    \b
    Examples:
      lenslink sim
      lenslink sim --scene holiday.jpg --width 2048 --height 1536
      lenslink sim --listen tcp:127.0.0.1:7650 --scene ramp
      lenslink sim --listen unix:/tmp/lens & lenslink capture unix:/tmp/lens -o photo.dng
    """
    from .module_server import Server
    from .socket_address import open_listener

    chosen = {key: value for key, value in options.items() if value is not None}
    screen = Screen(common)
    with open_listener(listen) as listener:
        server = Server(listener, chosen, serial or f"SIM-{os.getpid()}", common.timeout, screen)
        server.check()
        with server.registered():
            click.echo(listener.url)
            screen.say("lenslink: serving a simulated module at this URL; Ctrl-C ends it")
            server.run()
