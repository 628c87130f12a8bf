"""The URL argument, and a module opened for one command."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

import lenslink

from .options import CommonOptions
from .screen import Screen

if TYPE_CHECKING:
    from lenslink import Device, FrameRing

F = TypeVar("F", bound=Callable[..., Any])


def url_argument(function: F) -> F:
    """Add the optional argument URL: the module, else $LENSLINK_URL, else the only one there is."""
    return click.argument("url", required=False, envvar="LENSLINK_URL", metavar="[URL]")(function)


@contextmanager
def opened(
    url: str | None, common: CommonOptions, screen: Screen, ring: FrameRing | None = None
) -> Iterator[Device]:
    """The module at *url*, closed at the end, with what it has to say on *screen*."""
    with lenslink.open(url, timeout=common.timeout, ring=ring) as device:
        if device.note:
            screen.say(f"lenslink: {device.note}")
        driver = _Shown(screen)
        log = logging.getLogger("lenslink")
        log.setLevel(logging.INFO)
        log.addHandler(driver)
        try:
            yield device
        finally:
            log.removeHandler(driver)
            show_logs(device, screen)


class _Shown(logging.Handler):
    """What the driver logs, for ``-v``."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.INFO)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.detail(f"[{record.name}] {record.levelname}: {record.getMessage()}")


def show_logs(device: Device, screen: Screen) -> None:
    """Take the lines that the module has logged; ``-v`` shows them."""
    for line in device.take_logs():
        level = logging.getLevelName(line.level * 10)  # the wire has Python's, divided by ten
        text = line.text.decode("utf-8", "replace")
        screen.detail(f"[module {line.timestamp_us / 1e6:.3f} s] {level}: {text}")
