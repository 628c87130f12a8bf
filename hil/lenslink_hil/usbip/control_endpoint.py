"""Endpoint 0: the standard requests (USB 2.0, chapter 9.4), as the board's USB stack answers them.

Class requests to an interface go to the board; vendor requests are refused, as MicroPython's
runtime driver does.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from .descriptors import CONFIGURATION_TYPE, DEVICE_TYPE, STRING_TYPE

if TYPE_CHECKING:
    from .device import Board

FORWARD: Final = b"forward"
"""Not answered here: by identity, the board shall answer."""

_GET_STATUS, _CLEAR_FEATURE, _SET_FEATURE, _SET_ADDRESS = 0, 1, 3, 5
_GET_DESCRIPTOR, _GET_CONFIGURATION, _SET_CONFIGURATION = 6, 8, 9
_GET_INTERFACE, _SET_INTERFACE = 10, 11
_DEVICE, _INTERFACE, _ENDPOINT, _OTHER = range(4)
_STANDARD, _CLASS = 0, 1
_ENDPOINT_HALT = 0
_PORT_RESET = 4
_SELF_POWERED_BIT = 0x40


def answer(board: Board, setup: bytes) -> bytes | None:
    """Data (b"" for a request without), None for a stall, or :data:`FORWARD`."""
    kind, request, value, index, _ = struct.unpack("<BBHHH", setup)
    recipient = kind & 0x1F
    if (kind, request, value) == (0x23, _SET_FEATURE, _PORT_RESET):
        # To the hub's port: this is how usbip passes a reset on.
        board.reset()
        return b""
    if kind >> 5 & 3 == _CLASS:
        # There is no driver for an interface before there is a configuration.
        return FORWARD if recipient == _INTERFACE and board.configuration else None
    if kind >> 5 & 3 != _STANDARD:
        return None
    if recipient == _DEVICE:
        return _to_device(board, request, value, index)
    if recipient == _INTERFACE:
        return _to_interface(board, request, value, index)
    if recipient == _ENDPOINT:
        return _to_endpoint(board, request, value, index)
    return None


def _to_device(board: Board, request: int, value: int, index: int) -> bytes | None:
    del index
    descriptors = board.descriptors
    assert descriptors is not None
    if request == _GET_DESCRIPTOR:
        which, number = value >> 8, value & 0xFF
        if which == DEVICE_TYPE:
            return descriptors.device_bytes
        if which == CONFIGURATION_TYPE and number == 0:
            return descriptors.configuration_bytes
        return descriptors.string(number) if which == STRING_TYPE else None
    if request == _GET_CONFIGURATION:
        return bytes((board.configuration,))
    if request == _SET_CONFIGURATION:
        if value not in (0, descriptors.configuration.bConfigurationValue):
            return None
        board.configure(value)
        return b""
    if request == _GET_STATUS:
        return bytes((bool(descriptors.configuration.bmAttributes & _SELF_POWERED_BIT), 0))
    return b"" if request == _SET_ADDRESS else None


def _to_interface(board: Board, request: int, value: int, index: int) -> bytes | None:
    current = board.alternates.get(index)
    if current is None:
        return None
    if request == _GET_STATUS:
        return b"\0\0"
    if request == _GET_INTERFACE:
        return bytes((current,))
    # No interface of ours has a second setting.
    return b"" if request == _SET_INTERFACE and value == 0 else None


def _to_endpoint(board: Board, request: int, value: int, index: int) -> bytes | None:
    if index & 0x7F == 0:
        return b"\0\0" if request == _GET_STATUS else None
    if request == _GET_STATUS:
        endpoint = board.endpoints.get(index)
        return bytes((endpoint.halted, 0)) if endpoint is not None else None
    if request in (_SET_FEATURE, _CLEAR_FEATURE) and value == _ENDPOINT_HALT:
        return b"" if board.set_halt(index, request == _SET_FEATURE) else None
    return None
