"""Report a broken invariant of an exploration, and read packets on their way."""

from __future__ import annotations

from functools import lru_cache

from lenslink_protocol.messages import HEADER, Header


class Violation(AssertionError):
    """Raised where an invariant does not hold. No machine catches it."""


@lru_cache(1 << 16)
def parse_header(packet: bytes) -> Header:
    """Return the header of a packet."""
    return Header._make(HEADER.unpack_from(packet)[1:])
