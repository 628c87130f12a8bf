"""Counters of a device, as :attr:`lenslink.Device.stats` returns them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stats:
    """The counters at one moment.

    >>> with lenslink.open("sim:?width=64&height=64") as module:
    ...     module.capture().release()
    ...     stats = module.stats
    >>> print(stats.complete, stats.incomplete, stats.bytes)
    1 0 8192
    """

    bytes: int
    """Payload bytes of tiles whose CRC held."""
    complete: int
    """Frames handed out of which every byte arrived."""
    incomplete: int
    """Frames handed out with missing pixels."""
    lost_packets: int
    """Packets missing from the lanes' sequences."""
    discards: Mapping[str, int]
    """Discarded packets by :class:`lenslink_protocol.ids.DiscardReason`, zero counts included."""
    first_tile_ms: float | None
    """Milliseconds from the last capture or stream request to its first tile; None before that."""
    wire_bytes: int = 0
    """All bytes received: headers, control packets and discarded packets too."""
