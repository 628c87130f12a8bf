"""Answers to the standard requests (USB 2.0, chapter 9.4), as a board's USB stack gives them.

:class:`~lenslink_hil.usbip.device.VirtualDevice` calls :func:`answer_request` for each request on
endpoint 0. Class requests to an interface go on to the board. Vendor requests stall, because
MicroPython's runtime driver stalls them.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final, Protocol

from .descriptors import CONFIGURATION_TYPE, DEVICE_TYPE, STRING_TYPE, Descriptors
from .endpoint import Endpoint, EndpointState
from .setup_packet import ENDPOINT_HALT, Recipient, RequestType, SetupPacket, StandardRequest

FORWARD: Final = b"forward"
"""The answer, by identity, that sends a request on to the board."""
STALL: Final = None
"""The answer to a request that the device refuses."""

_SELF_POWERED_BIT: Final = 0x40


class RequestTarget(Protocol):
    """What a standard request reads and changes: the virtual device."""

    @property
    def descriptors(self) -> Descriptors | None:
        """The descriptors of the attached device."""

    @property
    def configuration_value(self) -> int:
        """The configuration that the host has chosen; 0 is none."""

    @property
    def interface_numbers(self) -> Set[int]:
        """The interfaces of that configuration."""

    @property
    def endpoints(self) -> Mapping[int, Endpoint]:
        """The endpoints of that configuration, by address."""

    def reset(self) -> None:
        """Reset the bus."""

    def configure(self, value: int) -> None:
        """Choose a configuration."""

    def set_endpoint_halt(self, address: int, is_halted: bool) -> bool:
        """Halt an endpoint or clear its halt; return False if there is no such endpoint."""


def answer_request(device: RequestTarget, setup: SetupPacket) -> bytes | None:
    """Carry a request out. Return its data (maybe b""), :data:`STALL` or :data:`FORWARD`."""
    if setup.is_port_reset:
        device.reset()
        return b""
    if setup.type == RequestType.CLASS:
        # An interface has no driver before the host has chosen a configuration.
        is_for_driver = setup.recipient == Recipient.INTERFACE and device.configuration_value
        return FORWARD if is_for_driver else STALL
    if setup.type != RequestType.STANDARD:
        return STALL
    if setup.recipient == Recipient.DEVICE:
        return _answer_device_request(device, setup)
    if setup.recipient == Recipient.INTERFACE:
        return _answer_interface_request(device, setup)
    if setup.recipient == Recipient.ENDPOINT:
        return _answer_endpoint_request(device, setup)
    return STALL


def _answer_device_request(device: RequestTarget, setup: SetupPacket) -> bytes | None:
    descriptors = device.descriptors
    assert descriptors is not None
    if setup.request == StandardRequest.GET_DESCRIPTOR:
        return _find_descriptor(descriptors, setup.value >> 8, setup.value & 0xFF)
    if setup.request == StandardRequest.GET_CONFIGURATION:
        return bytes((device.configuration_value,))
    if setup.request == StandardRequest.SET_CONFIGURATION:
        if setup.value not in (0, descriptors.configuration.bConfigurationValue):
            return STALL
        device.configure(setup.value)
        return b""
    if setup.request == StandardRequest.GET_STATUS:
        return bytes((bool(descriptors.configuration.bmAttributes & _SELF_POWERED_BIT), 0))
    return b"" if setup.request == StandardRequest.SET_ADDRESS else STALL


def _find_descriptor(descriptors: Descriptors, kind: int, index: int) -> bytes | None:
    if kind == DEVICE_TYPE:
        return descriptors.device_bytes
    if kind == CONFIGURATION_TYPE and index == 0:
        return descriptors.configuration_bytes
    return descriptors.build_string(index) if kind == STRING_TYPE else STALL


def _answer_interface_request(device: RequestTarget, setup: SetupPacket) -> bytes | None:
    if setup.index not in device.interface_numbers:
        return STALL
    if setup.request == StandardRequest.GET_STATUS:
        return b"\0\0"
    # No interface of ours has a second setting.
    if setup.request == StandardRequest.GET_INTERFACE:
        return b"\0"
    is_first = setup.request == StandardRequest.SET_INTERFACE and setup.value == 0
    return b"" if is_first else STALL


def _answer_endpoint_request(device: RequestTarget, setup: SetupPacket) -> bytes | None:
    is_get_status = setup.request == StandardRequest.GET_STATUS
    if setup.index & 0x7F == 0:
        return b"\0\0" if is_get_status else STALL
    if is_get_status:
        endpoint = device.endpoints.get(setup.index)
        if endpoint is None:
            return STALL
        return bytes((endpoint.state is EndpointState.HALTED, 0))
    is_set = setup.request == StandardRequest.SET_FEATURE
    if setup.value != ENDPOINT_HALT or not (
        is_set or setup.request == StandardRequest.CLEAR_FEATURE
    ):
        return STALL
    return b"" if device.set_endpoint_halt(setup.index, is_set) else STALL
