"""A virtual USB device, without I/O: the board's records on one side, the host's URBs on the other.

The server (:mod:`~lenslink_hil.usbip.server`) makes one for each board that is plugged in. It
passes on the records of the board (:mod:`~lenslink_hil.usbip.cable`) and the transfers of the
USB/IP client that has imported the device. The board sends a record ARM to offer a transfer. The
path of a packet::

    board --ARM--> VirtualDevice.handle_record -> Endpoint.arm ----+
                                                                   +-> BusScheduler -> result
    host --URB---> VirtualDevice.submit --------> Endpoint.submit -+
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

from .bus_scheduler import BusScheduler
from .cable import MAX_PAYLOAD, Kind, build_record
from .control_endpoint import ControlEndpoint
from .descriptors import (
    CONFIGURATION_BYTES,
    DEVICE_BYTES,
    Descriptors,
    Malformed,
    parse_descriptors,
)
from .endpoint import Endpoint
from .protocol import ECONNRESET, ENODEV, ENOENT
from .server_address import SPEEDS
from .standard_requests import answer_request
from .urb import Complete, Urb

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Configuration:
    """What the host has chosen; a *value* of 0 is no configuration."""

    value: int
    generation: int
    endpoints: dict[int, Endpoint] = field(default_factory=dict)
    interface_numbers: frozenset[int] = frozenset()


class VirtualDevice:
    """The device that a host sees in the place of a board.

    A bus reset or a change of the configuration replaces all endpoints and begins a new
    generation. Records of the board that carry an older generation are ignored.

    Args:
        send_record: takes records for the board.
        rate: bounds all bulk data, in bytes a second; 0 is no bound.
    """

    max_payload = MAX_PAYLOAD
    """The longest payload of a record that the board may send."""

    def __init__(self, send_record: Callable[[bytes], None], rate: float = 0.0) -> None:
        self.descriptors: Descriptors | None = None
        self.speed = 0
        self.send_record = send_record
        self._scheduler = BusScheduler(rate)
        self._control = ControlEndpoint(
            lambda setup: answer_request(self, setup), self._send_class_request, self._end_urb
        )
        self._complete: Complete | None = None
        self._last_generation = 0
        self._configuration = _Configuration(0, 0)

    @property
    def is_attached(self) -> bool:
        """Whether the board's pull-up is on."""
        return self.descriptors is not None

    @property
    def configuration_value(self) -> int:
        """The configuration that the host has chosen; 0 is none."""
        return self._configuration.value

    @property
    def interface_numbers(self) -> Set[int]:
        """The interfaces of that configuration."""
        return self._configuration.interface_numbers

    @property
    def endpoints(self) -> Mapping[int, Endpoint]:
        """The endpoints of that configuration, by address."""
        return self._configuration.endpoints

    # --- the board's side -----------------------------------------------------------------

    def handle_record(
        self, kind: int, endpoint: int, generation: int, value: int, data: bytes
    ) -> None:
        """Take one record of the board; the arguments are the fields of its header.

        Raises:
            Malformed: the record makes no sense.
        """
        if kind == Kind.ATTACH:
            if self.is_attached or value not in SPEEDS:
                raise Malformed(f"attached at speed {value}")
            self.descriptors = _parse_attach_payload(data)
            self.speed = value
            _log.debug("attached at speed %d", value)
        elif kind == Kind.DETACH:
            self.descriptors = None
            _log.debug("detached")
        elif kind == Kind.REPLY:
            if generation == self._configuration.generation:
                self._control.handle_reply(value == 1, data)
        elif kind in (Kind.ARM, Kind.STALL):
            self._handle_endpoint_record(kind, endpoint, generation, value, data)
        else:
            raise Malformed(f"a record of kind {kind}")

    def _handle_endpoint_record(
        self, kind: int, address: int, generation: int, value: int, data: bytes
    ) -> None:
        endpoint = self.endpoints.get(address)
        if endpoint is None or endpoint.generation != generation:
            # The board sent this record before it knew of a reset or a halt.
            _log.debug("endpoint 0x%02x: record of generation %d ignored", address, generation)
        elif kind == Kind.ARM:
            endpoint.arm(data, value)
        elif value:
            endpoint.halt()
        else:
            endpoint.clear_halt()

    # --- the host's side ------------------------------------------------------------------

    def open(self, complete: Complete) -> None:
        """Reset the device for a new host. *complete* takes each URB that has ended."""
        self._complete = complete
        self.reset()

    def close(self) -> None:
        """Reset the device, because its host has left. URBs that end are not reported."""
        self._complete = None
        self.reset()

    def reset(self) -> None:
        """Reset the bus: end all URBs, drop the configuration, and tell the board."""
        self._replace_configuration(0)
        self._control.cancel_all()
        self._send(Kind.RESET, 0, self._configuration.generation)

    def submit(self, urb: Urb) -> None:
        """Queue a URB on an endpoint other than 0. End it at once if there is no such endpoint."""
        endpoint = self.endpoints.get(urb.endpoint)
        if not self.is_attached:
            self._end_urb(urb, -ENODEV)
        elif endpoint is None:
            self._end_urb(urb, -ENOENT)
        else:
            endpoint.submit(urb)

    def submit_control(self, urb: Urb, setup: bytes) -> None:
        """Queue a URB on endpoint 0. *setup* is the setup packet, eight bytes."""
        if not self.is_attached:
            self._end_urb(urb, -ENODEV)
        else:
            self._control.submit(urb, setup)

    def unlink(self, seqnum: int) -> int:
        """Take a URB back; return the status of the answer, 0 if the URB had ended before."""
        for endpoint in self.endpoints.values():
            status = endpoint.unlink(seqnum)
            if status is not None:
                return status
        return -ECONNRESET if self._control.unlink(seqnum) else 0

    def move_packets(self, now: float) -> float | None:
        """Move all packets that can move now. Return the time of the next call that is needed.

        None: call again when a transfer is started.
        """
        return self._scheduler.move_packets(self.endpoints, now)

    # --- what requests on endpoint 0 change -----------------------------------------------

    def configure(self, value: int) -> None:
        """Choose a configuration, 0 for none: make its endpoints, and tell the board."""
        was_configured = self.configuration_value != 0
        self._replace_configuration(value)
        generation = self._configuration.generation
        if was_configured:
            self._send(Kind.RESET, 0, generation)
        if value:
            self._send(Kind.OPEN, 0, generation, value)

    def set_endpoint_halt(self, address: int, is_halted: bool) -> bool:
        """Halt an endpoint or clear its halt, and tell the board; return False for no endpoint."""
        endpoint = self.endpoints.get(address)
        if endpoint is None:
            return False
        endpoint.generation = self._count_generation()
        if is_halted:
            endpoint.halt()
        else:
            endpoint.clear_halt()
        self._send(Kind.HALT, address, endpoint.generation, int(is_halted))
        return True

    def _replace_configuration(self, value: int) -> None:
        for endpoint in self.endpoints.values():
            endpoint.cancel_urbs(ECONNRESET)
        # A record that the board sent before this has the old generation, so it is ignored.
        generation = self._count_generation()
        self._configuration = _Configuration(value, generation)
        _log.debug("configuration %d, generation %d", value, generation)
        if not value:
            return
        assert self.descriptors is not None
        interfaces = self.descriptors.interfaces
        self._configuration = _Configuration(
            value,
            generation,
            {
                each.bEndpointAddress: Endpoint(
                    each.bEndpointAddress,
                    each.wMaxPacketSize,
                    generation,
                    self._end_urb,
                    self._report_done,
                )
                for interface in interfaces
                if interface.fields.bAlternateSetting == 0
                for each in interface.endpoints
            },
            frozenset(interface.fields.bInterfaceNumber for interface in interfaces),
        )

    # --- answers --------------------------------------------------------------------------

    def _end_urb(self, urb: Urb, status: int) -> None:
        if self._complete is not None:
            self._complete(urb, urb.final_status(status))

    def _report_done(self, endpoint: Endpoint, count: int, data: bytes) -> None:
        self._send(Kind.DONE, endpoint.address, endpoint.generation, count, data)

    def _send_class_request(self, payload: bytes) -> None:
        self._send(Kind.CONTROL, 0, self._configuration.generation, 0, payload)

    def _count_generation(self) -> int:
        self._last_generation = (self._last_generation + 1) & 0xFFFF
        return self._last_generation

    def _send(
        self, kind: Kind, endpoint: int, generation: int, value: int = 0, payload: bytes = b""
    ) -> None:
        self.send_record(build_record(kind, endpoint, generation, value, payload))


def _parse_attach_payload(data: bytes) -> Descriptors:
    if len(data) < DEVICE_BYTES + CONFIGURATION_BYTES:
        raise Malformed(f"{len(data)} bytes of descriptors")
    end = DEVICE_BYTES + int.from_bytes(data[DEVICE_BYTES + 2 : DEVICE_BYTES + 4], "little")
    strings: dict[int, str] = {}
    at = end
    while at + 2 <= len(data):
        index, length = data[at], data[at + 1]
        strings[index] = data[at + 2 : at + 2 + length].decode("utf-8", "replace")
        at += 2 + length
    return parse_descriptors(data[:DEVICE_BYTES], data[DEVICE_BYTES:end], strings)
