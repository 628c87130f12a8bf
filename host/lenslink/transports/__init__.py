"""Find the transport of a URL scheme: entry points of the group ``lenslink.transports``.

A transport moves the link's bytes between the session and one module (:mod:`.base`)::

    scheme          module                      bytes go through
    --------------  --------------------------  ----------------------------------------
    unix:, tcp:     socket                      stream_socket, lane_sockets
    shm:            shm                         byte_ring, records, direct_placement
    usb:            usb                         usb_lanes, usb_reads, usb_handle
    serial:         serial                      serial

The benches of ``lenslink_hil`` add more schemes. :mod:`.registry` lists the modules that processes
of this user serve.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from ..deadline import Deadline
from ..errors import Ambiguous, NotFound, UsageError
from ..leftovers import remove_leftovers
from ..url import Url, parse_url
from .base import DeviceInfo, Directory, Opener, Transport

__all__ = [
    "DeviceInfo",
    "Opener",
    "Transport",
    "choose_url",
    "list_devices",
    "load_opener",
    "open_transport",
    "parse",
    "resolve",
]


# The entry points are read from files, and watch() asks for them ten times a second.
@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="lenslink.transports")}


def parse(text: str) -> Url:
    """Parse and check a device URL; raise :exc:`~lenslink.errors.UsageError` if it is wrong."""
    points = _entry_points()
    url = parse_url(text, points)
    url.check_options(load_opener(url.scheme).options)
    return url


def load_opener(scheme: str) -> Opener | Directory:
    """Return the opener of a known scheme, or the directory that its URLs are looked up in."""
    return cast(Opener | Directory, _entry_points()[scheme].load())


def resolve(url: Url, deadline: Deadline) -> tuple[Url, Callable[[], None]]:
    """Return the URL that *url* stands for, and the function that gives it back.

    Most URLs stand for themselves. ``rig:`` URLs stand for a board of a test rig, which nobody else
    can take until the function is called.
    """
    opener = load_opener(url.scheme)
    if not isinstance(opener, Directory):
        return url, _release_nothing
    text, release = opener.resolve(url, deadline)
    try:
        return parse(text), release
    except BaseException:
        release()
        raise


def _release_nothing() -> None:
    """Give nothing back: the URL was its own."""


def open_transport(url: Url, deadline: Deadline) -> Transport:
    """Connect to *url*, which :func:`resolve` has returned.

    Remove what killed processes have left behind.
    """
    remove_leftovers()
    opener = load_opener(url.scheme)
    if isinstance(opener, Directory):
        raise UsageError(f"{url.text} stands for another URL")
    return opener.open(url, deadline)


def list_devices() -> list[DeviceInfo]:
    """Return every module that the transports can find now, in order of URL.

    >>> all(device.url for device in lenslink.list_devices())
    True
    """
    found = [d for scheme in _entry_points() for d in load_opener(scheme).devices()]
    return sorted(found, key=lambda device: device.url)


def choose_url(text: str | None) -> str:
    """Return *text*, or the URL of the only module if *text* is None.

    Raises:
        NotFound: No module was found.
        Ambiguous: More than one module was found.
    """
    if text is not None:
        return text
    found = list_devices()
    if not found:
        raise NotFound("no device found; name one, or set LENSLINK_URL ('sim:' needs no hardware)")
    if len(found) > 1:
        names = ", ".join(device.url for device in found)
        raise Ambiguous(f"{len(found)} devices found ({names}); name one, or set LENSLINK_URL")
    return found[0].url
