"""Bytes to and from whoever is tested, and the time that passes meanwhile: real or virtual."""

from __future__ import annotations

from typing import Protocol


class Gone(Exception):
    """The tested side has ended the connection."""


class Wire(Protocol):
    """A line to a module or a host; lane 0 unless something else is said."""

    lanes: int
    """Of this bench, at most: how many a session has is negotiated."""

    def now(self) -> float:
        """Seconds on a monotonic clock."""

    def send(self, data: bytes, lane: int = 0) -> None:
        """Send *data* in one piece; :exc:`Gone` where nobody takes it."""

    def receive(self, seconds: float) -> bytes:
        """What comes within *seconds*, b"" if nothing does; :exc:`Gone` at the end."""

    def receive_lane(self, lane: int) -> bytes:
        """What has come on a lane other than 0, without waiting."""

    def kill_lane(self, lane: int) -> bool:
        """End a lane other than 0; False where the bench cannot."""

    def seat(self, seated: bool) -> bool:
        """Attach or detach the module; False where the bench cannot."""

    def close(self) -> None:
        """Let go of it. Idempotent."""


class Tamper:
    """A defect on a line: what passes may be changed, dropped, kept or added to.

    This one changes nothing. *packet* and *data* are one packet each unless a case sends damage;
    what :meth:`to_tester` and :meth:`to_tested` give is sent on, piece by piece.
    """

    def to_tester(self, packet: bytes) -> list[bytes]:
        """A packet from the tested side."""
        return [packet]

    def to_tested(self, data: bytes) -> list[bytes]:
        """What the case sends to the tested side."""
        return [data]
