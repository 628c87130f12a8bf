"""The cable between a board and the USB/IP server: records over a stream socket, little-endian.

Two kinds of board send them. A *virtual* board is the firmware with a stand-in for
``machine.USBDevice`` (lensfw/ports/usbdevice.py): the board says which transfer is ready on which
endpoint, and the server, which is the bus, says when the transfer is done. A *remote* board is a
whole machine with a bus of its own, an emulated chip: it sends ATTACH_REMOTE, and the server passes
the host's transfers on to it as they are.

``generation`` is a number that the server changes at each reset, and at each halt of an endpoint.
Each record of the board carries the last generation that the board knows. The server ignores a
record with an older generation: the board sent it before it knew of the reset or the halt.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

from construct import Bytes, Int8ul, Int16ul, Int32ul, Struct, this


class Kind(enum.IntEnum):
    """The kinds of record: below 16 those of the board, from 16 on those for the board."""

    ATTACH = 1
    """The pull-up comes on: value = speed (2 full, 3 high); payload = device descriptor,
    configuration, then strings, each as index, length, UTF-8."""
    DETACH = 2
    """The pull-up goes off."""
    ARM = 3
    """A transfer is ready: IN with its data, OUT with value = its length."""
    STALL = 4
    """The board halts an endpoint (value 1), or clears the halt (0)."""
    REPLY = 5
    """Answers CONTROL: value 1 = accepted, with the data that the host asked for; 0 = stalled."""
    ATTACH_REMOTE = 6
    """As ATTACH, from a remote board, which answers endpoint 0 itself. The payload is the device
    descriptor and the configuration."""
    COMPLETE_URB = 7
    """Remote: a URB has ended; payload = :data:`URB_END`, then the received bytes."""
    RESET = 16
    """Bus reset: no transfer is in flight any more, and there is no configuration."""
    OPEN = 17
    """The host has chosen configuration *value*."""
    DONE = 18
    """The board's transfer has ended with *value* bytes; OUT with its data."""
    CONTROL = 19
    """A class request: setup packet, then the host's data."""
    HALT = 20
    """The host has halted an endpoint (value 1), or cleared the halt (0)."""
    SUBMIT = 21
    """Remote: a URB; value = Linux' flags; payload = :data:`URB_START`, then the data to send."""
    UNLINK = 22
    """Remote: take a URB back; payload = its number, 32 bits. COMPLETE_URB is the answer."""


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

# The same header for struct, which is faster; a test compares the two.
FAST_HEADER = struct.Struct("<BBHHHI")

URB_START = struct.Struct("<II8s")
"""The URB's number, the number of bytes to receive, the setup packet (endpoint 0 only)."""
URB_END = struct.Struct("<IiI")
"""The URB's number, its status (0 or a negative errno of Linux), the number of bytes moved."""

MAX_PAYLOAD: Final = 0xFFFF
"""The longest payload of a virtual board: a transfer's length has 16 bits."""


def build_record(
    kind: Kind, endpoint: int = 0, generation: int = 0, value: int = 0, payload: bytes = b""
) -> bytes:
    """Build a record: the header, then *payload*.

    >>> build_record(Kind.RESET, generation=1).hex()
    '100001000000000000000000'
    """
    return FAST_HEADER.pack(kind, endpoint, generation, value, 0, len(payload)) + payload
