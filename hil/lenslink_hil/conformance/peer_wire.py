"""The line between a case and the tested side: bytes, lanes and time, real or virtual."""

from __future__ import annotations

from typing import Protocol


class ConnectionEnded(Exception):
    """The tested side has ended the connection."""


class Wire(Protocol):
    """A line to a module or a host. Calls without a lane mean lane 0."""

    lanes: int
    """Lanes that this bench has. Hello negotiates how many a session uses."""

    def now(self) -> float:
        """Return the time in seconds of a monotonic clock."""

    def send(self, data: bytes, lane: int = 0) -> None:
        """Send *data* in one piece. Raise :exc:`ConnectionEnded` if the other side is gone."""

    def receive(self, seconds: float) -> bytes:
        """Return what arrives within *seconds*, b"" if nothing does.

        Raises:
            ConnectionEnded: The other side has closed the line.
        """

    def receive_lane(self, lane: int) -> bytes:
        """Return what has arrived on a lane other than 0, without waiting."""

    def end_lane(self, lane: int) -> bool:
        """Cut a lane other than 0. Return False if the bench cannot."""

    def set_attached(self, attached: bool) -> bool:
        """Attach or detach the module. Return False if the bench cannot."""

    def reopen(self) -> bool:
        """Close the connection and make a new one. Return False if the bench cannot."""

    def close(self) -> None:
        """Release the line. Idempotent."""


class Tamper:
    """A defect on a line: a subclass changes, drops, delays or adds packets.

    This class changes nothing. Each call gets one packet, unless a case sends damage. The pieces
    that a call returns are passed on one by one.
    """

    def pass_to_tester(self, packet: bytes) -> list[bytes]:
        """Return what the case receives for a packet of the tested side."""
        return [packet]

    def pass_to_tested(self, data: bytes) -> list[bytes]:
        """Return what the tested side receives for what the case sends."""
        return [data]
