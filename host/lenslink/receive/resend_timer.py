"""Decide which lost parts of a frame are requested again, and when.

:class:`.assembly.Assembly` has a :class:`ResendTimer`. :class:`.reassembly.Reassembly` finds out
what is lost, and asks the timer how much of it is not on its way. What was requested counts as on
its way until one of these events::

    lanes   event                                                   requests that it ends
    ------  ------------------------------------------------------  ---------------------
    one     Resent arrives: it answers requests in order, after     the oldest
            the tiles, so what is still missing was lost again
    any     the round trip has passed since the request, and        that request
            RESEND_RETRY_MS, which doubles up to 8 times
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from lenslink_protocol.ids import ResendFlag
from lenslink_protocol.params import RESEND_RETRY_MS

from .received_ranges import ByteRange, ReceivedRanges

RETRY_S: Final = RESEND_RETRY_MS / 1000
_MAX_DOUBLINGS = 3


class ResendRequest(NamedTuple):
    """A Resend whose answer is on its way."""

    expiry: float
    """When it counts as lost, in seconds on the caller's clock."""
    flags: ResendFlag
    ranges: tuple[ByteRange, ...]
    """The bytes of the frame that it asks for."""


class ResendTimer:
    """When the last packet of a frame arrived, and what of the frame has been requested again."""

    def __init__(self, now: float) -> None:
        self.last_packet = now
        """When the last packet of the frame arrived, in seconds on the caller's clock."""
        self.requests: list[ResendRequest] = []
        """Requests whose answers are on their way, the oldest first."""
        self.tries = 0
        """Requests since the last packet that brought something."""

    @property
    def flags(self) -> ResendFlag:
        """FrameStart and FrameEnd, if they are on their way."""
        flags = ResendFlag(0)
        for request in self.requests:
            flags |= request.flags
        return flags

    def exclude_requested(self, ranges: Iterable[ByteRange], size: int) -> list[ByteRange]:
        """Return what of *ranges*, in a frame of *size* bytes, is not on its way."""
        requested = ReceivedRanges(size)
        for request in self.requests:
            for start, end in request.ranges:
                requested.add(start, end)
        return [gap for start, end in ranges for gap in requested.find_gaps(start, end)]

    def drop_expired(self, now: float) -> None:
        """Forget the requests whose answers are overdue."""
        self.requests = [request for request in self.requests if now < request.expiry]

    def add_request(
        self, now: float, flags: ResendFlag, ranges: Iterable[ByteRange], round_trip_s: float
    ) -> None:
        """Count a request.

        RESEND_RETRY_MS doubles with each try, so that the tries last where an answer takes longer
        than the measured round trip.
        """
        expiry = now + round_trip_s + RETRY_S * (1 << min(self.tries, _MAX_DOUBLINGS))
        self.requests.append(ResendRequest(expiry, flags, tuple(ranges)))
        self.tries += 1

    def on_answer(self) -> None:
        """Start to count the tries again: the module has sent something of the frame."""
        self.tries = 0

    def shift(self, seconds: float) -> None:
        """Exclude *seconds* in which nobody has received."""
        self.last_packet += seconds
        self.requests = [each._replace(expiry=each.expiry + seconds) for each in self.requests]
