"""The URL argument of a command, and the device that is opened for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

import lenslink

from .options import CommonOptions
from .screen import Screen
from .url_completion import complete_url

if TYPE_CHECKING:
    from lenslink import Device, FrameRing

F = TypeVar("F", bound=Callable[..., Any])


def url_argument(function: F) -> F:
    """Add the argument URL, which defaults to $LENSLINK_URL, and then to the only module."""
    argument = click.argument(
        "url",
        required=False,
        envvar="LENSLINK_URL",
        metavar="[URL]",
        shell_complete=complete_url,
    )
    return argument(function)


@contextmanager
def open_device(
    url: str | None, common: CommonOptions, screen: Screen, ring: FrameRing | None = None
) -> Iterator[Device]:
    """Open the module at *url* and print its note; close it at the end of the context.

    Args:
        url: the module, or None for the only one there is.
        common: the timeout.
        screen: where the note is printed.
        ring: the frame ring to receive into, or None.
    """
    with lenslink.open(url, timeout=common.timeout, ring=ring) as device:
        if device.note:
            screen.say(f"lenslink: {device.note}")
        yield device
