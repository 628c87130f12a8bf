"""The command ``lenslink viewfinder``: look through a module, in a browser."""

from __future__ import annotations

import sys
import webbrowser

import click

from lenslink.cli.opening import url_argument
from lenslink.cli.options import CommonOptions, common_options, pass_common
from lenslink.cli.screen import Screen
from lenslink_isp.opencv import require_aiohttp, require_opencv


@click.command()
@url_argument
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="[default: a free port]"
)
@click.option(
    "--bind",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="IP address to listen on. 0.0.0.0 lets other machines look on: the link is not "
    "encrypted, and who sees the page's address can control the module.",
)
@click.option("--open", "is_opened", is_flag=True, help="Open the page in the browser.")
@common_options
@pass_common
def viewfinder(
    common: CommonOptions, url: str | None, *, port: int, bind: str, is_opened: bool
) -> None:
    """Look through a module: picture, focus, exposure and shutter on a page in the browser.

    URL defaults to $LENSLINK_URL, else to the only module that 'lenslink list' finds. The page's
    address is printed. It has a random token, and without it nothing is shown. Several browsers
    may look on. The page stays while the module is unplugged and comes back. Ctrl-C ends it.

    \b
    Examples:
      lenslink viewfinder 'sim:?scene=planes' --open
      lenslink viewfinder usb: --port 8000
    """
    require_opencv()
    require_aiohttp()
    from lenslink_isp.viewfinder.module_owner import Address, run_viewfinder

    screen = Screen(common)
    address = Address.listen(bind, port)
    is_ready = False

    def show(page: str) -> None:
        nonlocal is_ready
        is_ready = True
        click.echo(page)
        sys.stdout.flush()
        screen.say("lenslink: open this address in a browser; Ctrl-C ends the viewfinder")
        if is_opened and not webbrowser.open(page):
            screen.say("lenslink: no browser could be started")

    screen.say_verbose("lenslink: waiting for the module")
    try:
        run_viewfinder(
            url,
            address,
            show,
            timeout=common.timeout,
            verbose=common.verbose,
            is_quiet=common.quiet,
        )
    except KeyboardInterrupt as stop:
        if not is_ready:
            raise
        # Ctrl-C is the usual end, so it needs no message.
        raise click.exceptions.Exit(getattr(stop, "exit_code", 130)) from None
