"""The cable between a board and the USB/IP server: records over a stream socket, little-endian.

A board is whatever drives a USB device controller: the firmware's stand-in for
``machine.USBDevice`` (lensfw/ports/usbdevice.py), an emulated chip. It says which transfer is
ready on which endpoint; the server, which is the bus, says what became of it.

``generation`` numbers what is between two resets, or halts, of an endpoint: what the board armed
before it knew of one is of no meaning after it.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

from construct import Bytes, Int8ul, Int16ul, Int32ul, Struct, this


class Kind(enum.IntEnum):
    """Records; up to 15 from the board, from 16 on to it."""

    ATTACH = 1
    """Pull-up: value = speed (2 full, 3 high); payload = device descriptor, configuration, then
    strings, each index, length, UTF-8."""
    DETACH = 2
    ARM = 3
    """A transfer is ready: IN with its data, OUT with value = its length."""
    STALL = 4
    """The board halts (value 1) an endpoint, or takes that back (0)."""
    REPLY = 5
    """To CONTROL: value 1 = done, with the data that was asked for; 0 = stalled."""
    RESET = 16
    """Bus reset: nothing is in flight any more, and there is no configuration."""
    OPEN = 17
    """The host has chosen configuration *value*."""
    DONE = 18
    """A transfer has ended with *value* bytes; OUT with its data."""
    CONTROL = 19
    """A class request: setup packet, then the host's data."""
    HALT = 20
    """The host has halted (1) an endpoint, or cleared that (0)."""


HEADER = Struct(
    "kind" / Int8ul,
    "endpoint" / Int8ul,
    "generation" / Int16ul,
    "value" / Int16ul,
    "reserved" / Int16ul,
    "length" / Int32ul,
)
HEADER_BYTES: Final = HEADER.sizeof()
RECORD = Struct("header" / HEADER, "payload" / Bytes(this.header.length))

# The same, where every transfer passes.
FAST_HEADER = struct.Struct("<BBHHHI")

MAX_PAYLOAD: Final = 0xFFFF
"""Of any record: a transfer's length has 16 bits, descriptors are shorter."""


def record(
    kind: Kind, endpoint: int = 0, generation: int = 0, value: int = 0, payload: bytes = b""
) -> bytes:
    """A record as bytes."""
    return FAST_HEADER.pack(kind, endpoint, generation, value, 0, len(payload)) + payload
