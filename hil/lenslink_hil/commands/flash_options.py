"""What ``lenslink flash`` and ``lenslink firmware`` have in common: arguments and deadlines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from lenslink.cli.options import DEFAULT_TIMEOUT_S, CommonOptions
from lenslink.deadline import Deadline
from lenslink.errors import Ambiguous, NotFound

from ..benches.board_profile import list_boards, load_board

F = TypeVar("F", bound=Callable[..., Any])

# An emulated or slow board takes a minute for its files.
_FLASH_S = 300.0


def list_real_boards() -> list[str]:
    """Return the names of the boards that firmware can be put on."""
    return [name for name in list_boards() if load_board(name).image]


def _complete_board(_: click.Context, _param: click.Parameter, start: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in list_real_boards() if name.startswith(start)]


def board_argument(function: F) -> F:
    """Add the argument BOARD."""
    return click.argument("board", shell_complete=_complete_board)(function)


def port_option(function: F) -> F:
    """Add the option ``--port``."""
    option = click.option(
        "--port",
        metavar="PORT",
        help="Serial port of the board: /dev/ttyACM0, COM3.  [default: the only one on USB]",
    )
    return option(function)


def set_option(function: F) -> F:
    """Add the option ``--set``."""
    option = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="An option of the configuration, as in --set lanes=2 --set pins.guard=null; may be "
        "repeated. firmware/README.md lists them.",
    )
    return option(function)


def make_deadline(common: CommonOptions, purpose: str) -> Deadline:
    """Return the deadline of a whole run: ``--timeout``, or five minutes if it was not given."""
    given = common.timeout != DEFAULT_TIMEOUT_S
    return Deadline(common.timeout if given else _FLASH_S, purpose)


def choose_port(port: str | None) -> str:
    """Return *port*, or the only serial port on USB.

    Raises:
        NotFound: there is none.
        Ambiguous: there are several.
    """
    if port:
        return port
    from serial.tools.list_ports import comports

    found: list[str] = sorted(each.device for each in comports() if each.vid is not None)
    if not found:
        raise NotFound("no board on USB has a serial port: plug it in, or name the port: --port")
    if len(found) > 1:
        raise Ambiguous(f"several serial ports: {', '.join(found)}; name one: --port {found[0]}")
    return found[0]
