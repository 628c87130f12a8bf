"""Decide which lost parts of a frame are requested again, and when.

:class:`.assembly.Assembly` has a :class:`ResendTimer`. :class:`.reassembly.Reassembly` finds out
what is lost, and asks the timer which of these parts are not requested yet. A requested part is not
requested again until one of these events::

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
    """When the request counts as lost, in seconds on the caller's clock."""
    flags: ResendFlag
    ranges: tuple[ByteRange, ...]
    """The bytes of the frame that were requested."""


class ResendTimer:
    """When the last packet of a frame arrived, and what of the frame has been requested again."""

    def __init__(self, now: float) -> None:
        self.last_packet_time = now
        """When the last packet of the frame arrived, in seconds on the caller's clock."""
        self.last_byte_time: float | None = None
        """When the last missing byte arrived. None while bytes are missing."""
        self.requests: list[ResendRequest] = []
        """Requests whose answers are on their way, the oldest first."""
        self.tries = 0
        """Requests since the module last sent a tile of the frame or a Resent."""

    @property
    def flags(self) -> ResendFlag:
        """Which of FrameStart and FrameEnd are requested and not answered."""
        flags = ResendFlag(0)
        for request in self.requests:
            flags |= request.flags
        return flags

    def exclude_requested(self, ranges: Iterable[ByteRange], size: int) -> list[ByteRange]:
        """Return the parts of *ranges*, in a frame of *size* bytes, that are not requested."""
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
        """Record a request that is sent now.

        RESEND_RETRY_MS doubles with each try. So the tries are not used up early when an answer
        takes longer than the measured round trip.
        """
        expiry = now + round_trip_s + RETRY_S * (1 << min(self.tries, _MAX_DOUBLINGS))
        self.requests.append(ResendRequest(expiry, flags, tuple(ranges)))
        self.tries += 1

    def reset_tries(self) -> None:
        """Count the tries from 0 again. Call it when the module has sent a tile or a Resent."""
        self.tries = 0

    def shift(self, seconds: float) -> None:
        """Extend all timeouts by *seconds*, in which the host received nothing."""
        self.last_packet_time += seconds
        if self.last_byte_time is not None:
            self.last_byte_time += seconds
        self.requests = [each._replace(expiry=each.expiry + seconds) for each in self.requests]
