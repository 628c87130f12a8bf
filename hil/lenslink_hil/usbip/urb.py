"""A USB request block (URB): one transfer that a host asks for.

The server makes a URB from each request of a USB/IP client. A virtual or a remote device moves its
bytes, and hands it back to the server with a status.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .protocol import EREMOTEIO

ZERO_PACKET: Final = 0x40
"""Linux' URB_ZERO_PACKET: an empty packet follows data that fills its last packet."""
SHORT_NOT_OK: Final = 0x01
"""Linux' URB_SHORT_NOT_OK: fewer bytes than the host asked for are the error EREMOTEIO."""


class Urb:
    """One transfer of the host. ``data`` is what the host sends; None means that it receives.

    ``actual_length`` counts the bytes that have moved, as Linux' field of that name. What the host
    receives is collected in ``received_pieces``.
    """

    def __init__(
        self, seqnum: int, endpoint: int, length: int, data: bytes | None, flags: int = 0
    ) -> None:
        self.seqnum = seqnum
        self.endpoint = endpoint
        self.length = length
        self.data = None if data is None else memoryview(data)
        self.flags = flags
        self.has_zero_packet = bool(flags & ZERO_PACKET)
        self.actual_length = 0
        self.received_pieces: list[memoryview] = []

    def final_status(self, status: int) -> int:
        """Return *status*. Return -EREMOTEIO for a short read if the host does not accept one."""
        is_short = self.data is None and self.actual_length < self.length
        if not status and is_short and self.flags & SHORT_NOT_OK:
            return -EREMOTEIO
        return status


Complete = Callable[[Urb, int], None]
"""Takes a URB that has ended, and its status: 0, or a negative errno of Linux."""
