"""Tell a second host that the module is busy: ``lenslink sim`` and ``lenslink replay`` do."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import ErrorCode, MessageType
from lenslink_protocol.messages import HEADER, MAGIC, Error, Header
from lenslink_protocol.params import HEADER_BYTES

REFUSE_S: Final = 0.3
"""How long a second host waits. It may be faster than the end of the first one's connection."""


def refuse_host(connection: socket.socket, data: bytes) -> None:
    """Answer the Hello in *data* with an Error: a host then reports that the module is busy.

    The caller closes the connection.
    """
    if len(data) < HEADER_BYTES:
        return
    magic, *fields = HEADER.unpack_from(data)
    header = Header(*fields)
    if magic != MAGIC or header.type != MessageType.HELLO:
        return
    error = Error(ErrorCode.STATE, b"another host has opened the module")
    packet = encode_packet(
        MessageType.ERROR, error.encode(), nonce=header.nonce, sequence=0, frame=header.frame
    )
    with contextlib.suppress(OSError):
        # Unread bytes would turn the close into a reset, which discards the answer.
        connection.recv(65536)
        connection.send(packet)
