"""The cable between a board and the USB/IP server: records over a stream socket, little-endian.

A board is the firmware's stand-in for ``machine.USBDevice`` (lensfw/ports/usbdevice.py): it says
which transfer is ready on which endpoint; the server, which is the bus, says what became of it.
Or it is a whole machine with a bus of its own, an emulated chip on it: HOSTED, and then the host's
transfers are passed on to it as they are.

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
    HOSTED = 6
    """As ATTACH, where the bus is on the board's side; payload = device descriptor, configuration.
    It answers endpoint 0 itself."""
    ENDED = 7
    """Hosted: a transfer has ended; payload = :data:`ENDED`, then what was received."""
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
    SUBMIT = 21
    """Hosted: a transfer, value = Linux' flags; payload = :data:`SUBMIT`, then what is sent."""
    UNLINK = 22
    """Hosted: take a transfer back; payload = its number, 32 bits. ENDED is the answer."""


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

SUBMIT = struct.Struct("<II8s")
"""Number, bytes to receive, setup packet (endpoint 0)."""
ENDED = struct.Struct("<IiI")
"""Number, status as Linux has it, bytes moved."""

MAX_PAYLOAD: Final = 0xFFFF
"""Of any record: a transfer's length has 16 bits, descriptors are shorter."""


def record(
    kind: Kind, endpoint: int = 0, generation: int = 0, value: int = 0, payload: bytes = b""
) -> bytes:
    """A record as bytes."""
    return FAST_HEADER.pack(kind, endpoint, generation, value, 0, len(payload)) + payload
