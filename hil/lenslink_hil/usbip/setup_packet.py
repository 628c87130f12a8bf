"""The eight bytes that begin a control transfer (USB 2.0, chapter 9.3), and their codes."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final

_FIELDS: Final = struct.Struct("<BBHHH")
SETUP_BYTES: Final = _FIELDS.size


class Recipient(enum.IntEnum):
    """What a request is for."""

    DEVICE = 0
    INTERFACE = 1
    ENDPOINT = 2
    OTHER = 3


class RequestType(enum.IntEnum):
    """Who has defined a request."""

    STANDARD = 0
    CLASS = 1
    VENDOR = 2


class StandardRequest(enum.IntEnum):
    """The requests that the USB specification defines (table 9-4)."""

    GET_STATUS = 0
    CLEAR_FEATURE = 1
    SET_FEATURE = 3
    SET_ADDRESS = 5
    GET_DESCRIPTOR = 6
    GET_CONFIGURATION = 8
    SET_CONFIGURATION = 9
    GET_INTERFACE = 10
    SET_INTERFACE = 11


ENDPOINT_HALT: Final = 0
"""The feature of an endpoint (table 9-6)."""


@dataclass(frozen=True, slots=True)
class SetupPacket:
    """A setup packet's fields, as the specification names them.

    >>> SetupPacket.parse(bytes((0x80, 6, 0, 1, 0, 0, 18, 0))).length
    18
    """

    request_type: int
    request: int
    value: int
    index: int
    length: int

    @classmethod
    def parse(cls, data: bytes) -> SetupPacket:
        """Read the fields from eight bytes."""
        return cls(*_FIELDS.unpack(data))

    @property
    def recipient(self) -> int:
        """One of :class:`Recipient`, or a reserved value."""
        return self.request_type & 0x1F

    @property
    def type(self) -> int:
        """One of :class:`RequestType`, or a reserved value."""
        return self.request_type >> 5 & 3

    @property
    def is_port_reset(self) -> bool:
        """Whether the request resets the hub's port: a USB/IP client's form of a bus reset."""
        return (self.request_type, self.request, self.value) == (0x23, 3, 4)
