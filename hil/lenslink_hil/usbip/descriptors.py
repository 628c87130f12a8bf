"""USB descriptors (USB 2.0, chapter 9.6): the bytes that a device sends, parsed and checked.

The virtual and the remote device parse what a board sends when it attaches. The pyusb backend
parses what a device answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from construct import Const, ConstructError, Int8ul, Int16ul, Struct

DEVICE_TYPE, CONFIGURATION_TYPE, STRING_TYPE, INTERFACE_TYPE, ENDPOINT_TYPE = 1, 2, 3, 4, 5

CONTROL, ISOCHRONOUS, BULK, INTERRUPT = range(4)
IN_FLAG: Final = 0x80

DEVICE = Struct(
    "bLength" / Const(18, Int8ul),
    "bDescriptorType" / Const(DEVICE_TYPE, Int8ul),
    "bcdUSB" / Int16ul,
    "bDeviceClass" / Int8ul,
    "bDeviceSubClass" / Int8ul,
    "bDeviceProtocol" / Int8ul,
    "bMaxPacketSize0" / Int8ul,
    "idVendor" / Int16ul,
    "idProduct" / Int16ul,
    "bcdDevice" / Int16ul,
    "iManufacturer" / Int8ul,
    "iProduct" / Int8ul,
    "iSerialNumber" / Int8ul,
    "bNumConfigurations" / Int8ul,
)

CONFIGURATION = Struct(
    "bLength" / Const(9, Int8ul),
    "bDescriptorType" / Const(CONFIGURATION_TYPE, Int8ul),
    "wTotalLength" / Int16ul,
    "bNumInterfaces" / Int8ul,
    "bConfigurationValue" / Int8ul,
    "iConfiguration" / Int8ul,
    "bmAttributes" / Int8ul,
    "bMaxPower" / Int8ul,
)

INTERFACE = Struct(
    "bLength" / Const(9, Int8ul),
    "bDescriptorType" / Const(INTERFACE_TYPE, Int8ul),
    "bInterfaceNumber" / Int8ul,
    "bAlternateSetting" / Int8ul,
    "bNumEndpoints" / Int8ul,
    "bInterfaceClass" / Int8ul,
    "bInterfaceSubClass" / Int8ul,
    "bInterfaceProtocol" / Int8ul,
    "iInterface" / Int8ul,
)

ENDPOINT = Struct(
    "bLength" / Const(7, Int8ul),
    "bDescriptorType" / Const(ENDPOINT_TYPE, Int8ul),
    "bEndpointAddress" / Int8ul,
    "bmAttributes" / Int8ul,
    "wMaxPacketSize" / Int16ul,
    "bInterval" / Int8ul,
)

DEVICE_BYTES: Final = DEVICE.sizeof()
CONFIGURATION_BYTES: Final = CONFIGURATION.sizeof()
_BULK_SIZES = (8, 16, 32, 64, 512)


class Malformed(Exception):
    """Raised for descriptors, and for records of a board, that make no sense."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One alternate setting: the fields of its descriptor, and of its endpoints' descriptors."""

    fields: Any
    endpoints: list[Any] = field(default_factory=list)
    extra: bytearray = field(default_factory=bytearray)
    """Class-specific descriptors behind the interface's, before its first endpoint."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """The descriptors of a device with one configuration, as bytes and as fields."""

    device_bytes: bytes
    configuration_bytes: bytes
    device: Any
    configuration: Any
    interfaces: list[Interface]
    strings: dict[int, str]

    def build_string(self, index: int) -> bytes | None:
        """Build a string descriptor; None if there is no such string.

        Index 0 is the list of languages, which holds US English alone.
        """
        text = b"\x09\x04" if index == 0 else self.strings.get(index, "").encode("utf-16-le")
        if not text:
            return None
        text = text[:252]
        return bytes((2 + len(text), STRING_TYPE)) + text


def parse_descriptors(device: bytes, configuration: bytes, strings: dict[int, str]) -> Descriptors:
    """Parse the descriptors of a device and check them as a host would.

    Args:
        device: the device descriptor.
        configuration: the configuration with its interfaces and endpoints.
        strings: the texts by index.

    Raises:
        Malformed: a host would not accept the device.
    """
    try:
        fields = DEVICE.parse(device)
        head = CONFIGURATION.parse(configuration)
    except ConstructError as error:
        raise Malformed(str(error).splitlines()[-1]) from None
    if head.wTotalLength != len(configuration) or fields.bNumConfigurations != 1:
        raise Malformed(f"{len(configuration)} bytes of configuration, not {head.wTotalLength}")
    return Descriptors(
        bytes(device), bytes(configuration), fields, head, _parse_interfaces(configuration), strings
    )


def _parse_interfaces(configuration: bytes) -> list[Interface]:
    found: list[Interface] = []
    addresses: set[int] = set()
    at = CONFIGURATION_BYTES
    while at < len(configuration):
        length = configuration[at]
        piece = configuration[at : at + length]
        if length < 2 or len(piece) != length:
            raise Malformed(f"descriptor of {length} bytes at {at}")
        try:
            if piece[1] == INTERFACE_TYPE:
                found.append(Interface(INTERFACE.parse(piece)))
            elif piece[1] == ENDPOINT_TYPE:
                endpoint = ENDPOINT.parse(piece)
                _check_endpoint(endpoint)
                if not found or endpoint.bEndpointAddress in addresses:
                    raise Malformed(f"endpoint 0x{endpoint.bEndpointAddress:02x} out of place")
                if not found[-1].fields.bAlternateSetting:
                    addresses.add(endpoint.bEndpointAddress)
                found[-1].endpoints.append(endpoint)
            elif found and not found[-1].endpoints:
                found[-1].extra.extend(piece)
        except ConstructError as error:
            raise Malformed(str(error).splitlines()[-1]) from None
        at += length
    return found


def _check_endpoint(endpoint: Any) -> None:
    kind = endpoint.bmAttributes & 3
    if endpoint.bEndpointAddress & 0x70 or not endpoint.bEndpointAddress & 0x0F:
        raise Malformed(f"endpoint 0x{endpoint.bEndpointAddress:02x}")
    if kind == BULK and endpoint.wMaxPacketSize not in _BULK_SIZES:
        raise Malformed(f"bulk packets of {endpoint.wMaxPacketSize} bytes")
    if not 0 < endpoint.wMaxPacketSize <= 1024:
        raise Malformed(f"packets of {endpoint.wMaxPacketSize} bytes")
