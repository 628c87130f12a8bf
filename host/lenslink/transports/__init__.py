"""Transports by URL scheme: entry points of the group ``lenslink.transports``."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from ..deadline import Deadline
from ..errors import Ambiguous, NotFound
from ..url import Url, parse_url
from .base import DeviceInfo, Opener, Transport

__all__ = ["DeviceInfo", "Opener", "Transport", "choose", "list_devices", "opener", "parse"]


# Read from the files of the installation, and asked for ten times a second by watch().
@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="lenslink.transports")}


def parse(text: str) -> Url:
    """A checked :class:`~lenslink.url.Url`; :exc:`~lenslink.errors.UsageError` otherwise."""
    points = _entry_points()
    url = parse_url(text, points)
    url.check_options(opener(url.scheme).options)
    return url


def opener(scheme: str) -> Opener:
    """The opener of a known scheme."""
    return cast(Opener, _entry_points()[scheme].load())


def open_transport(url: Url, deadline: Deadline) -> Transport:
    """Connect to *url*."""
    return opener(url.scheme).open(url, deadline)


def list_devices() -> list[DeviceInfo]:
    """Every module that can be found, by every transport that can look, in order of URL."""
    found = [d for scheme in _entry_points() for d in opener(scheme).devices()]
    return sorted(found, key=lambda device: device.url)


def choose(text: str | None) -> str:
    """*text*, or the URL of the only module there is.

    Raises :exc:`~lenslink.errors.NotFound` or :exc:`~lenslink.errors.Ambiguous`.
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
