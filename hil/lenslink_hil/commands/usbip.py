"""The command ``lenslink usbip``: serve a virtual USB board by USB/IP."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from lenslink.cli.options import CommonOptions, common_options, pass_common
from lenslink.cli.screen import Screen
from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError

from ..usbip.firmware_board import OPTIONS, VirtualBoard
from ..usbip.server_address import PORT

F = TypeVar("F", bound=Callable[..., Any])

_POLL_S = 0.5


def _board_options(function: F) -> F:
    """Add an option for each key of a ``usbip:`` URL. The board checks the values."""
    for name, text in reversed(list(OPTIONS.items())):
        option = click.option(
            f"--{name}", metavar=name.upper(), help=f"{text[0].upper()}{text[1:]}."
        )
        function = option(function)
    return function


@click.command()
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default=f"127.0.0.1:{PORT}",
    show_default=True,
    help="Where USB/IP clients connect; port 0 is any free port.",
)
@click.option("--serial", metavar="TEXT", help="Serial number.  [default: USBIP-<process id>]")
@click.option("--cdc", is_flag=True, help="Serve a board that has a serial port only.")
@_board_options
@common_options
@pass_common
def usbip(
    common: CommonOptions, /, listen: str, serial: str | None, cdc: bool, **options: str | None
) -> None:
    """Serve a virtual USB board by USB/IP, until Ctrl-C.

    The driver opens the board at the URL that is printed. A Linux kernel with vhci_hcd takes the
    board by 'usbip attach'. The board is then a USB device at usb: and, with --cdc, at serial:. If
    the firmware ends, the board is plugged in again. Everyone who reaches the address can use it.

    \b
    Examples:
      lenslink usbip --scene ramp --lanes 4
      lenslink usbip --listen 127.0.0.1:0 --board pico
      lenslink usbip --cdc & sudo usbip attach -r 127.0.0.1 -b 1-1
    """
    from .module_server import registration
    from .socket_address import open_listener

    chosen = {key: value for key, value in options.items() if value is not None}
    screen = Screen(common)
    with open_listener(f"tcp:{listen}") as listener:
        board = VirtualBoard(
            chosen, serial or f"USBIP-{os.getpid()}", cdc=cdc, listener=listener.socket
        )
        try:
            board.plug(Deadline(common.timeout, "starting the board"))
            url = f"usbip:{listener.url.partition(':')[2]}"
            with contextlib.ExitStack() as stack:
                if not cdc:
                    what = f"virtual USB board ({chosen.get('scene', 'photo')})"
                    stack.enter_context(registration(url, what, board.serial))
                click.echo(url)
                screen.say("lenslink: serving a virtual board as device 1-1; Ctrl-C ends it")
                while True:
                    _replug_if_ended(board, screen, common.timeout)
        finally:
            board.close()


def _replug_if_ended(board: VirtualBoard, screen: Screen, timeout: float) -> None:
    """Wait a moment, and plug the board in again if its firmware has ended."""
    module = board.module
    try:
        if module is not None:
            module.wait(_POLL_S)
            screen.say(f"lenslink: {module.describe_end()}; plugged in again")
    except LensLinkError:
        return
    board.unplug()
    board.plug(Deadline(timeout, "starting the board"))
