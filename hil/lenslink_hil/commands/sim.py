"""``lenslink sim``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from lenslink.cli.checks import Check, CheckedCommand
from lenslink.cli.options import CommonOptions, common_options, pass_common
from lenslink.cli.screen import Screen
from lenslink.errors import RigError

from ..benches.micropython import find_micropython
from ..benches.sim import OPTIONS

F = TypeVar("F", bound=Callable[..., Any])


def _module_options(function: F) -> F:
    """An option for each key of a sim: URL; the bench checks the values, in the same words."""
    for name, text in reversed(list(OPTIONS.items())):
        option = click.option(
            f"--{name}", metavar=name.upper(), help=f"{text[0].upper()}{text[1:]}."
        )
        function = option(function)
    return function


def _micropython() -> Check:
    try:
        found = find_micropython()
    except RigError as error:
        return Check("MicroPython", False, str(error))
    return Check("MicroPython", True, f"{found.version} at {found.path}")


@click.command(cls=CheckedCommand, checks=[_micropython])
@click.option(
    "--listen",
    metavar="URL",
    help="unix:PATH, shm:PATH or tcp:HOST:PORT (0: any).  "
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

    It prints the URL to open, and is found by 'lenslink list' and by commands that are given no
    URL. Each host that opens it finds a module that has just been switched on. A tcp: address can
    be opened by everyone who reaches it. At shm: host and module share memory (Linux); MicroPython
    maps none, so this process copies between it and the firmware's socket.

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
