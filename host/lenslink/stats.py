"""What a session has counted so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of a session's counters."""

    bytes: int
    """Bytes of sound tiles."""
    complete: int
    """Frames handed out whole."""
    incomplete: int
    """Frames handed out with pixels missing."""
    lost_packets: int
    """Packets missing from the lane's sequence."""
    discards: Mapping[str, int]
    """Count by cause (:class:`lenslink_protocol.ids.DiscardReason`), zero counts included."""
    first_tile_ms: float | None
    """From the last capture or stream request to its first tile."""
    wire_bytes: int = 0
    """All that came: headers, control packets, and what was rejected too."""
