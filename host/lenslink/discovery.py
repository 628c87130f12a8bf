"""Watch modules arrive and depart."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

from .arguments import check_timeout
from .transports import DeviceInfo, list_devices

_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Arrival:
    """A module can be opened from now on.

    >>> lenslink.Arrival(lenslink.DeviceInfo("usb:LL-1", "module on USB")).device.url
    'usb:LL-1'
    """

    device: DeviceInfo


@dataclass(frozen=True, slots=True)
class Departure:
    """A module is no longer there; ``device`` is what was last known of it.

    >>> lenslink.Departure(lenslink.DeviceInfo("usb:LL-1", "module on USB")).device.url
    'usb:LL-1'
    """

    device: DeviceInfo


Change = Arrival | Departure


def watch(timeout: float | None = None) -> Generator[Change, None, None]:
    """Yield arrivals and departures as they happen, on every transport that can list modules.

    The modules that are there at the start arrive first. The generator ends after *timeout*
    seconds, or never if *timeout* is None. A module that becomes busy or free causes no event.

    The transports are asked every 100 ms: Python's standard library has no portable way to wait for
    a change of a folder or a bus. A module that leaves and returns between two looks, with the same
    URL and serial number, is not noticed.

    >>> for change in lenslink.watch(timeout=0):
    ...     print(change.device.url)

    Raises:
        UsageError: *timeout* is not a number from 0 to 1000000.
    """
    return _watch(timeout if timeout is None else check_timeout(timeout))


def _watch(timeout: float | None) -> Generator[Change, None, None]:
    known: dict[tuple[str, str | None], DeviceInfo] = {}
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        found = {(device.url, device.serial): device for device in list_devices()}
        # Departures come first, so that a module that moved is never in two places.
        for key in [key for key in known if key not in found]:
            yield Departure(known.pop(key))
        for key, device in found.items():
            if key not in known:
                known[key] = device
                yield Arrival(device)
            known[key] = device
        wait = _POLL_S
        if end is not None:
            wait = min(wait, end - time.monotonic())
            if wait <= 0:
                return
        time.sleep(wait)
