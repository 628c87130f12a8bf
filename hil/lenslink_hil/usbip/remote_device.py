"""A USB device whose bus is elsewhere: an emulated chip that has a host controller beside it.

The server uses it as it uses :class:`~lenslink_hil.usbip.device.VirtualDevice`: the methods are the
same, and neither does I/O. It passes each URB of the host on to the board, and takes the board's
COMPLETE_URB for the URB's end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from . import cable
from .cable import Kind, build_record
from .descriptors import DEVICE_BYTES, Descriptors, Malformed, parse_descriptors
from .protocol import ECONNRESET, ENODEV, MAX_TRANSFER
from .server_address import SPEEDS
from .setup_packet import SETUP_BYTES, Recipient, SetupPacket, StandardRequest
from .urb import Complete, Urb

_NO_SETUP: Final = bytes(SETUP_BYTES)
_TO_DEVICE: Final = int(Recipient.DEVICE)

_log = logging.getLogger(__name__)


class RemoteDevice:
    """The device that a host sees in the place of an emulated chip.

    Args:
        send_record: takes records for the board.
    """

    max_payload = cable.URB_END.size + MAX_TRANSFER
    """The longest payload of a record that the board may send."""

    def __init__(self, send_record: Callable[[bytes], None]) -> None:
        self.descriptors: Descriptors | None = None
        self.speed = 0
        self.configuration_value = 0
        self.send_record = send_record
        self._complete: Complete | None = None
        self._urbs: dict[int, Urb] = {}
        self._requested_configurations: dict[int, int] = {}

    @property
    def is_attached(self) -> bool:
        """Whether the board's pull-up is on, and its own host has read its descriptors."""
        return self.descriptors is not None

    # --- the board's side -----------------------------------------------------------------

    def handle_record(
        self, kind: int, endpoint: int, generation: int, value: int, data: bytes
    ) -> None:
        """Take one record of the board; the arguments are the fields of its header.

        Raises:
            Malformed: the record makes no sense.
        """
        del endpoint, generation
        if kind == Kind.ATTACH_REMOTE:
            if self.is_attached or value not in SPEEDS:
                raise Malformed(f"attached at speed {value}")
            self.descriptors = parse_descriptors(data[:DEVICE_BYTES], data[DEVICE_BYTES:], {})
            self.speed = value
            _log.debug("attached at speed %d", value)
        elif kind == Kind.DETACH:
            self.descriptors = None
            _log.debug("detached")
        elif kind == Kind.COMPLETE_URB:
            if len(data) < cable.URB_END.size:
                raise Malformed(f"the end of a transfer in {len(data)} bytes")
            seqnum, status, moved = cable.URB_END.unpack_from(data)
            self._handle_urb_end(seqnum, status, moved, memoryview(data)[cable.URB_END.size :])
        else:
            raise Malformed(f"a record of kind {kind}")

    def _handle_urb_end(self, seqnum: int, status: int, moved: int, data: memoryview) -> None:
        urb = self._urbs.pop(seqnum, None)
        requested = self._requested_configurations.pop(seqnum, None)
        if urb is None:
            return
        if moved > urb.length or len(data) != (moved if urb.data is None else 0):
            raise Malformed(f"a transfer of {moved} bytes in {len(data)}")
        urb.actual_length = moved
        if urb.data is None:
            urb.received_pieces.append(data)
        if status == 0 and requested is not None:
            self.configuration_value = requested
            _log.debug("configuration %d", requested)
        self._end_urb(urb, status)

    # --- the host's side ------------------------------------------------------------------

    def open(self, complete: Complete) -> None:
        """Give the device to a host: reset it. *complete* takes each URB that has ended."""
        self._complete = complete
        self.reset()

    def close(self) -> None:
        """Take the device from its host: reset it; nobody is told of the URBs that end."""
        self._complete = None
        self.reset()

    def reset(self) -> None:
        """Reset the bus: end all URBs, drop the configuration, and tell the board."""
        self.configuration_value = 0
        urbs, self._urbs = self._urbs, {}
        self._requested_configurations = {}
        for urb in urbs.values():
            self._end_urb(urb, -ECONNRESET)
        self.send_record(build_record(Kind.RESET))

    def submit(self, urb: Urb) -> None:
        """Take a transfer on an endpoint other than 0; end it at once if that cannot be."""
        self._forward(urb, _NO_SETUP)

    def submit_control(self, urb: Urb, setup: bytes) -> None:
        """Take a transfer on endpoint 0. *setup* are the eight bytes of its setup packet.

        The board's own host has given it an address: SET_ADDRESS is not passed on.
        """
        fields = SetupPacket.parse(setup)
        to_device = fields.request if fields.request_type == _TO_DEVICE else None
        if fields.is_port_reset:
            self.reset()
            self._end_urb(urb, 0)
        elif to_device == StandardRequest.SET_ADDRESS:
            self._end_urb(urb, 0)
        else:
            if to_device == StandardRequest.SET_CONFIGURATION:
                self._requested_configurations[urb.seqnum] = fields.value & 0xFF
            self._forward(urb, setup)

    def unlink(self, seqnum: int) -> int | None:
        """Ask the board to take a URB back.

        Returns:
            0 if the URB had ended before, or None: the URB's end, which follows, is the answer.
        """
        if seqnum not in self._urbs:
            return 0
        self.send_record(build_record(Kind.UNLINK, payload=seqnum.to_bytes(4, "little")))
        return None

    def move_packets(self, now: float) -> float | None:
        """Do nothing, because the board's own bus moves the packets."""
        del now
        return None

    def _forward(self, urb: Urb, setup: bytes) -> None:
        if not self.is_attached:
            self._end_urb(urb, -ENODEV)
            return
        self._urbs[urb.seqnum] = urb
        payload = cable.URB_START.pack(urb.seqnum, urb.length, setup)
        if urb.data is not None:
            payload += urb.data
        self.send_record(build_record(Kind.SUBMIT, urb.endpoint, 0, urb.flags & 0xFFFF, payload))

    def _end_urb(self, urb: Urb, status: int) -> None:
        if self._complete is not None:
            self._complete(urb, urb.final_status(status))
