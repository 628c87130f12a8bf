"""The viewers of a session: each gets the newest picture, and never more than two at once.

A viewer's page answers each picture when it has drawn it. So a slow page, a slow network or a
hidden tab gets fewer pictures, and costs the other viewers nothing. A viewer's turn::

    the page has room, and a newer picture is there --> send it: one more in flight
    the page says that it has drawn a picture       --> one less in flight
    something was told                              --> send the newest text of each kind

A picture is one binary message: its header's length (4 bytes, little-endian), the header as JSON,
the JPEG, then the overlays that the viewer wants. The header says how long each part is.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

from lenslink.errors import UsageError

from .picture_maker import Picture, Wanted

MAX_VIEWERS: Final = 16
MAX_IN_FLIGHT: Final = 2
OVERLAYS: Final = ("zebra", "peaking")
_KEPT_DELAYS: Final = 600


class Connection(Protocol):
    """What a viewer needs of a WebSocket."""

    async def send_str(self, data: str) -> None: ...
    async def send_bytes(self, data: bytes) -> None: ...


class Viewer:
    """One page that looks on. :meth:`run` sends; the other methods only note what is to be sent."""

    def __init__(self, connection: Connection, on_drawn: Callable[[int], None]) -> None:
        self._connection = connection
        self._on_drawn = on_drawn
        self._has_work = asyncio.Event()
        self._texts: dict[str, str] = {}
        self._picture: Picture | None = None
        self._in_flight: dict[int, int] = {}
        self._sent_count = 0
        self.overlays: frozenset[str] = frozenset()
        """Which of OVERLAYS the viewer wants."""

    @property
    def has_room(self) -> bool:
        """True if the page has drawn enough of what was sent."""
        return len(self._in_flight) < MAX_IN_FLIGHT

    def offer(self, picture: Picture) -> None:
        """Send *picture* as soon as the page has room, unless a newer one comes first."""
        self._picture = picture
        self._has_work.set()

    def tell(self, kind: str, message: Mapping[str, object], key: str = "") -> None:
        """Send a message. It replaces an unsent one of the same *kind* and *key*."""
        self._texts[kind + key] = json.dumps({"type": kind, **message}, separators=(",", ":"))
        self._has_work.set()

    def note_drawn(self, serial: int) -> None:
        """Note that the page has drawn the picture with that serial.

        Raises:
            UsageError: no such picture is in flight.
        """
        end_ns = self._in_flight.pop(serial, None)
        if end_ns is None:
            raise UsageError(f"drawn: picture {serial} is not in flight")
        self._on_drawn(time.monotonic_ns() - end_ns)
        self._has_work.set()

    async def run(self) -> None:
        """Send until the connection is lost. Raises what the connection raises."""
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._texts:
                await self._connection.send_str(self._texts.pop(next(iter(self._texts))))
            picture = self._picture
            if picture is not None and self.has_room:
                self._picture = None
                self._sent_count += 1
                self._in_flight[self._sent_count] = picture.end_ns
                message = encode_picture(picture, self._sent_count, self.overlays)
                await self._connection.send_bytes(message)


class Viewers:
    """All viewers of a session."""

    def __init__(self) -> None:
        self._viewers: set[Viewer] = set()
        self._has_viewers = asyncio.Event()
        self._delays_ns: deque[int] = deque(maxlen=_KEPT_DELAYS)

    def __len__(self) -> int:
        return len(self._viewers)

    def __iter__(self) -> Iterator[Viewer]:
        return iter(tuple(self._viewers))

    def add(self, connection: Connection) -> Viewer:
        """Return a new viewer.

        Raises:
            UsageError: there are MAX_VIEWERS already.
        """
        if len(self._viewers) >= MAX_VIEWERS:
            raise UsageError(f"{MAX_VIEWERS} viewers are connected: close one first")
        viewer = Viewer(connection, self._delays_ns.append)
        self._viewers.add(viewer)
        self._has_viewers.set()
        return viewer

    def remove(self, viewer: Viewer) -> None:
        """Forget a viewer whose connection has ended."""
        self._viewers.discard(viewer)
        if not self._viewers:
            self._has_viewers.clear()

    async def wait_for_any(self) -> None:
        """Wait until somebody looks on."""
        await self._has_viewers.wait()

    def describe_delay(self) -> dict[str, float]:
        """Return the delay from a frame in the ring to the page's answer that it is drawn.

        It is of the last 600 pictures of all viewers.
        """
        return summarise_delays(self._delays_ns)

    @property
    def wanted(self) -> Wanted:
        """What those want that have room for a picture."""
        ready = [each for each in self._viewers if each.has_room]
        overlays = frozenset[str]().union(*(each.overlays for each in ready))
        return Wanted(bool(ready), *(name in overlays for name in OVERLAYS))

    def offer(self, picture: Picture) -> None:
        """Offer a picture to all."""
        for viewer in self._viewers:
            viewer.offer(picture)

    def tell(self, kind: str, message: Mapping[str, object], key: str = "") -> None:
        """Send a message to all. See :meth:`Viewer.tell`."""
        for viewer in self._viewers:
            viewer.tell(kind, message, key)


def summarise_delays(delays_ns: Iterable[int]) -> dict[str, float]:
    """Return ``count``, and ``p50``, ``p95`` and ``p99`` in milliseconds.

    >>> summarise_delays(range(1_000_000, 6_000_000, 1_000_000))
    {'count': 5, 'p50': 3.0, 'p95': 5.0, 'p99': 5.0}
    """
    ordered = sorted(delays_ns)
    last = len(ordered) - 1
    if last < 0:
        return {"count": 0, "p50": 0.0, "p95": 0.0, "p99": 0.0}
    places = {"p50": last // 2, "p95": math.ceil(last * 0.95), "p99": math.ceil(last * 0.99)}
    found = {name: round(ordered[place] / 1e6, 2) for name, place in places.items()}
    return {"count": last + 1, **found}


def encode_picture(picture: Picture, serial: int, overlays: frozenset[str]) -> bytes:
    """Return the binary message for a picture. *serial* is what the page answers with."""
    parts = {"jpeg": picture.jpeg}
    parts |= {name: getattr(picture, name) for name in OVERLAYS if name in overlays}
    frame = picture.frame
    header = {
        "serial": serial,
        "frame": frame.number,
        "width": picture.width,
        "height": picture.height,
        "exposure_us": frame.exposure_us,
        "gain_milli": frame.gain_milli,
        "focus_mdpt": frame.focus_mdpt,
        "aperture_milli": frame.aperture_milli,
        "focus_ring": frame.focus_ring,
        "is_moving": frame.is_moving,
        "is_complete": picture.is_complete,
        "clipped": round(float(picture.statistics.clipped.mean()), 5),
        "histogram": picture.histogram,
        "parts": {name: len(data) for name, data in parts.items()},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join((len(text).to_bytes(4, "little"), text, *parts.values()))
