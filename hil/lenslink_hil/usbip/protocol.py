"""USB/IP, version 1.1.1, as Linux' Documentation/usb/usbip_protocol.rst has it: all big-endian.

A client first asks about devices (OP_...). Once it has imported one, the connection carries that
device's transfers. Each is a 48-byte header in both directions, with the data in one of them. The
server and the client use these definitions.
"""

from __future__ import annotations

import struct
from typing import Final

from construct import (
    Array,
    Bytes,
    Const,
    Int8ub,
    Int16ub,
    Int32sb,
    Int32ub,
    PaddedString,
    Padding,
    Struct,
    this,
)

VERSION: Final = 0x0111

OP_REQ_DEVLIST: Final = 0x8005
OP_REP_DEVLIST: Final = 0x0005
OP_REQ_IMPORT: Final = 0x8003
OP_REP_IMPORT: Final = 0x0003

# Status of an OP reply.
ST_OK, ST_NA, ST_DEV_BUSY, ST_DEV_ERR, ST_NODEV = range(5)

CMD_SUBMIT: Final = 1
CMD_UNLINK: Final = 2
RET_SUBMIT: Final = 3
RET_UNLINK: Final = 4

OUT, IN = 0, 1

# The errno values of Linux: USB/IP sends them negated, whatever system the server runs on.
ENOENT, ENODEV, EPIPE, EOVERFLOW, ECONNRESET, EREMOTEIO = 2, 19, 32, 75, 104, 121

MAX_TRANSFER: Final = 16 << 20
"""The longest transfer that is accepted: Linux' own limit for usbfs."""
MAX_PENDING: Final = 1024
"""The number of transfers that may be pending for one client."""
MAX_QUEUED: Final = 32 << 20
"""The number of bytes that may be pending for one client."""
MAX_DEVICES: Final = 64
"""The number of devices that a list may have."""

COMMON = Struct("version" / Int16ub, "code" / Int16ub, "status" / Int32ub)

BUSID: Final = 32

DEVICE = Struct(
    "path" / PaddedString(256, "ascii"),
    "busid" / PaddedString(BUSID, "ascii"),
    "busnum" / Int32ub,
    "devnum" / Int32ub,
    "speed" / Int32ub,
    "vendor" / Int16ub,
    "product" / Int16ub,
    "release" / Int16ub,
    "device_class" / Int8ub,
    "device_subclass" / Int8ub,
    "device_protocol" / Int8ub,
    "configuration" / Int8ub,
    "configurations" / Int8ub,
    "interfaces" / Int8ub,
)

INTERFACE = Struct("cls" / Int8ub, "subclass" / Int8ub, "protocol" / Int8ub, "pad" / Const(b"\0"))

LISTED = Struct("device" / DEVICE, "interfaces" / Array(this.device.interfaces, INTERFACE))

COUNT = Int32ub

HEADER_BYTES: Final = 48

BASIC = Struct(
    "command" / Int32ub,
    "seqnum" / Int32ub,
    "devid" / Int32ub,
    "direction" / Int32ub,
    "ep" / Int32ub,
)

SUBMIT = Struct(
    "basic" / BASIC,
    "flags" / Int32ub,
    "length" / Int32sb,
    "start_frame" / Int32sb,
    "packets" / Int32sb,
    "interval" / Int32sb,
    "setup" / Bytes(8),
)

UNLINK = Struct("basic" / BASIC, "victim" / Int32ub, Padding(24))

RET = Struct(
    "basic" / BASIC,
    "status" / Int32sb,
    "length" / Int32sb,
    "start_frame" / Int32sb,
    "packets" / Int32sb,
    "errors" / Int32sb,
    Padding(8),
)

RET_UNLINKED = Struct("basic" / BASIC, "status" / Int32sb, Padding(24))

assert SUBMIT.sizeof() == UNLINK.sizeof() == RET.sizeof() == HEADER_BYTES
assert RET_UNLINKED.sizeof() == HEADER_BYTES

# The same headers for struct, which is faster; tests compare the two.
FAST_HEADER = struct.Struct(">5I28s")
FAST_SUBMIT = struct.Struct(">5I5i8s")
FAST_UNLINK = struct.Struct(">6I24x")
FAST_RET = struct.Struct(">5I5i8x")
FAST_RET_UNLINKED = struct.Struct(">5Ii24x")
