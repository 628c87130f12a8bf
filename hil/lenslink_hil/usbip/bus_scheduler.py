"""The bus of a virtual device: which endpoint moves data next, and how fast.

:class:`~lenslink_hil.usbip.device.VirtualDevice` calls it whenever something may have become
possible. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .endpoint import Endpoint, EndpointState

_UNBOUNDED: Final = 1 << 30
# If the rate is bounded, one turn of an endpoint moves at most the bytes of this time.
_TURN_S: Final = 0.001
# If the rate is bounded and the caller is late, make up for at most this delay.
_MAX_LATE_S: Final = 0.005


class BusScheduler:
    """Gives each endpoint its turn.

    Args:
        rate: bounds all bulk data, in bytes a second; 0 is no bound.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0
        self._turn = 0

    def move_packets(self, endpoints: Mapping[int, Endpoint], now: float) -> float | None:
        """Move all packets that can move now. Return the time of the next call that is needed.

        None: call again when a transfer is started.
        """
        addresses = sorted(endpoints)
        has_moved = True
        while has_moved:
            has_moved = False
            for index in range(len(addresses)):
                # The end of an earlier transfer may have removed the endpoint.
                endpoint = endpoints.get(addresses[(self._turn + index) % len(addresses)])
                if endpoint is None or endpoint.state is not EndpointState.MOVING:
                    continue
                if self._rate and self._free_at > now:
                    self._turn = (self._turn + index) % len(addresses)
                    return self._free_at
                count = endpoint.move_packets(self._limit(endpoint.packet_bytes))
                if self._rate:
                    self._free_at = max(self._free_at, now - _MAX_LATE_S) + count / self._rate
                has_moved = True
        return None

    def _limit(self, packet_bytes: int) -> int:
        """Return the bytes of one turn: whole packets, at least one."""
        limit = _UNBOUNDED
        if self._rate:
            limit = max(packet_bytes, int(self._rate * _TURN_S))
        return limit - limit % packet_bytes
