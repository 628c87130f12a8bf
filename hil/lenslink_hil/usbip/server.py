"""A USB/IP server on asyncio: boards on one side, a host for each of them on the other.

``python -m lenslink_hil.usbip`` runs it. Each connection of a board is a :class:`Port` with a
device; each connection of a USB/IP client is a host that asks for the list of devices, or imports
one and then sends its transfers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from lenslink_protocol.trace import TRACE

from . import cable, protocol
from .descriptors import IN_FLAG, Malformed
from .device import VirtualDevice
from .remote_device import RemoteDevice
from .urb import Urb

BUS: Final = 1
_NEGOTIATION_S = 5.0
"""A client has imported a device by then, or is disconnected."""
_RELEASE_S = 0.25
"""How long an import waits for a host that has just closed its connection."""
# usbip leaves the number of packets 0 or -1 where the transfer is not isochronous.
_NO_PACKETS = (0, -1)

_log = logging.getLogger(__name__)


class _ProtocolViolation(Exception):
    """Raised for a request that no USB/IP client sends; the connection is closed."""


class Port:
    """The port that one board is plugged into."""

    def __init__(self, number: int, device: VirtualDevice | RemoteDevice) -> None:
        self.number = number
        self.device = device
        self.host: asyncio.StreamWriter | None = None
        self._host_gone = asyncio.Event()
        self._host_gone.set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def busid(self) -> str:
        """The port's name on its bus."""
        return f"{BUS}-{self.number}"

    def move_packets(self) -> None:
        """Let the device move its packets, and call again when its rate allows more."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.device.move_packets(loop.time())
        if due is not None:
            self._timer = loop.call_at(due, self.move_packets)

    def unplug(self) -> None:
        """Cut the host's connection, so that it sees the device disappear."""
        if self._timer is not None:
            self._timer.cancel()
        if self.host is not None:
            # What the host has not read yet is dropped: a cable that is pulled sends nothing more.
            self.host.transport.abort()
            self.release()

    def assign(self, host: asyncio.StreamWriter) -> None:
        """Give the device to *host*."""
        self.host = host
        self._host_gone.clear()

    def release(self) -> None:
        """Take the device from its host."""
        self.host = None
        self._host_gone.set()

    async def wait_until_free(self, seconds: float) -> bool:
        """Wait until no host has the device; return False if one still has it after *seconds*."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._host_gone.wait()
        return self.host is None

    def describe(self) -> dict[str, object]:
        """Return the fields of protocol.DEVICE."""
        descriptors = self.device.descriptors
        assert descriptors is not None
        fields = descriptors.device
        return {
            "path": f"/sys/devices/platform/lenslink/usb{BUS}/{self.busid}",
            "busid": self.busid,
            "busnum": BUS,
            "devnum": self.number,
            "speed": self.device.speed,
            "vendor": fields.idVendor,
            "product": fields.idProduct,
            "release": fields.bcdDevice,
            "device_class": fields.bDeviceClass,
            "device_subclass": fields.bDeviceSubClass,
            "device_protocol": fields.bDeviceProtocol,
            "configuration": self.device.configuration_value,
            "configurations": fields.bNumConfigurations,
            "interfaces": descriptors.configuration.bNumInterfaces,
        }


class Server:
    """The ports, and the handlers of both kinds of connection.

    Args:
        rate: bounds the bulk data of each board's bus, in bytes a second; 0 is no bound.
        on_change: called when a board attaches or detaches, and when a host takes a board or
            releases it.
    """

    def __init__(self, rate: float = 0.0, on_change: Callable[[], None] = lambda: None) -> None:
        self.ports: dict[str, Port] = {}
        self._rate = rate
        self._on_change = on_change

    def list_attached_ports(self) -> list[Port]:
        """Return the ports with a board whose pull-up is on."""
        return [port for port in self.ports.values() if port.device.is_attached]

    # --- boards ---------------------------------------------------------------------------

    async def handle_board(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve a board's cable until it ends; a board that sends nonsense is unplugged."""
        numbers = range(1, protocol.MAX_DEVICES + 1)
        number = next((each for each in numbers if f"{BUS}-{each}" not in self.ports), None)
        if number is None:
            writer.close()
            return
        port = Port(number, VirtualDevice(writer.write, self._rate))
        self.ports[port.busid] = port
        _log.debug("%s: plugged in", port.busid)
        try:
            await self._serve_board(port, reader)
        except (asyncio.IncompleteReadError, OSError, Malformed) as error:
            _log.debug("%s: unplugged: %s", port.busid, error)
        finally:
            port.unplug()
            del self.ports[port.busid]
            writer.close()
            self._on_change()

    async def _serve_board(self, port: Port, reader: asyncio.StreamReader) -> None:
        while True:
            header = await reader.readexactly(cable.HEADER_BYTES)
            kind, endpoint, generation, value, _, length = cable.FAST_HEADER.unpack(header)
            if kind == cable.Kind.ATTACH_REMOTE and isinstance(port.device, VirtualDevice):
                port.device = RemoteDevice(port.device.send_record)
            if length > port.device.max_payload:
                raise Malformed(f"a record of {length} bytes")
            payload = await reader.readexactly(length) if length else b""
            if _log.isEnabledFor(TRACE):
                _log.log(TRACE, "%s: record %s", port.busid, header.hex())
            was_attached = port.device.is_attached
            port.device.handle_record(kind, endpoint, generation, value, payload)
            if was_attached and not port.device.is_attached:
                port.unplug()
                port.device.close()
            if port.device.is_attached != was_attached:
                self._on_change()
            port.move_packets()

    # --- hosts ----------------------------------------------------------------------------

    async def handle_host(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a USB/IP client until it ends; one that violates the protocol is disconnected."""
        try:
            async with asyncio.timeout(_NEGOTIATION_S):
                port = await self._negotiate(reader, writer)
            if port is not None:
                await self._serve_host(port, reader, writer)
        except (
            asyncio.IncompleteReadError,
            OSError,
            TimeoutError,
            _ProtocolViolation,
            UnicodeDecodeError,
        ) as error:
            _log.debug("host disconnected: %s %s", type(error).__name__, error)
        finally:
            for each in self.ports.values():
                if each.host is writer:
                    each.release()
                    self._on_change()
            writer.close()

    async def _negotiate(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Port | None:
        """Answer the first request; return the port that was imported, or None for a list."""
        common = protocol.COMMON.parse(await reader.readexactly(protocol.COMMON.sizeof()))
        if common.version != protocol.VERSION:
            raise _ProtocolViolation(f"version 0x{common.version:04x}")
        if common.code == protocol.OP_REQ_DEVLIST:
            writer.write(self._build_device_list())
            await writer.drain()
            return None
        if common.code != protocol.OP_REQ_IMPORT:
            raise _ProtocolViolation(f"code 0x{common.code:04x}")
        name = await reader.readexactly(protocol.BUSID)
        port = self.ports.get(name.partition(b"\0")[0].decode("ascii"))
        status = protocol.ST_OK
        if port is None or not port.device.is_attached:
            port, status = None, protocol.ST_NODEV
        elif not await port.wait_until_free(_RELEASE_S) or port.busid not in self.ports:
            port, status = None, protocol.ST_DEV_BUSY
        writer.write(_build_op_reply(protocol.OP_REP_IMPORT, status))
        if port is not None:
            # Before anything else can happen, so that no second client gets the device too.
            port.assign(writer)
            _log.debug("%s: imported", port.busid)
            self._on_change()
            writer.write(protocol.DEVICE.build(port.describe()))
        await writer.drain()
        return port

    def _build_device_list(self) -> bytes:
        ports = self.list_attached_ports()
        parts = [
            _build_op_reply(protocol.OP_REP_DEVLIST, protocol.ST_OK),
            protocol.COUNT.build(len(ports)),
        ]
        for port in ports:
            descriptors = port.device.descriptors
            assert descriptors is not None
            interfaces = [
                {
                    "cls": each.fields.bInterfaceClass,
                    "subclass": each.fields.bInterfaceSubClass,
                    "protocol": each.fields.bInterfaceProtocol,
                    "pad": None,
                }
                for each in descriptors.interfaces
                if each.fields.bAlternateSetting == 0
            ]
            device = port.describe() | {"interfaces": len(interfaces)}
            parts.append(protocol.LISTED.build({"device": device, "interfaces": interfaces}))
        return b"".join(parts)

    async def _serve_host(
        self, port: Port, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        client = _Client(port, writer)
        port.device.open(client.complete)
        try:
            while True:
                # A client that does not read its answers gets no more of them.
                await writer.drain()
                await client.handle_request(reader)
                port.move_packets()
        finally:
            port.device.close()


class _Client:
    """The transfers of one host. ``_pending_lengths`` has the length of each that is pending."""

    def __init__(self, port: Port, writer: asyncio.StreamWriter) -> None:
        self._port = port
        self._writer = writer
        self._devid = BUS << 16 | port.number
        self._pending_lengths: dict[int, int] = {}
        self._unlinks: dict[int, int] = {}
        self._pending_bytes = 0

    async def handle_request(self, reader: asyncio.StreamReader) -> None:
        """Read one request and pass it on to the device."""
        header = await reader.readexactly(protocol.HEADER_BYTES)
        if _log.isEnabledFor(TRACE):
            _log.log(TRACE, "%s: request %s", self._port.busid, header.hex())
        command, seqnum, devid, direction, ep, _ = protocol.FAST_HEADER.unpack(header)
        if devid != self._devid or ep > 15 or direction not in (protocol.OUT, protocol.IN):
            raise _ProtocolViolation(f"device 0x{devid:x}, endpoint {ep}, direction {direction}")
        if command == protocol.CMD_UNLINK:
            victim = protocol.FAST_UNLINK.unpack(header)[5]
            status = self._port.device.unlink(victim)
            if status is None:
                self._unlinks[victim] = seqnum
            else:
                self._answer_unlink(seqnum, victim, status)
        elif command == protocol.CMD_SUBMIT:
            await self._handle_submit(reader, protocol.FAST_SUBMIT.unpack(header))
        else:
            raise _ProtocolViolation(f"command {command}")

    async def _handle_submit(self, reader: asyncio.StreamReader, header: tuple[Any, ...]) -> None:
        _, seqnum, _, direction, ep, flags, length, _, packets, _, setup = header
        if not 0 <= length <= protocol.MAX_TRANSFER or packets not in _NO_PACKETS:
            raise _ProtocolViolation(f"a transfer of {length} bytes, {packets} packets")
        pending_bytes = self._pending_bytes + length
        is_full = len(self._pending_lengths) >= protocol.MAX_PENDING
        if pending_bytes > protocol.MAX_QUEUED or is_full:
            raise _ProtocolViolation("too many transfers at once")
        if not seqnum or seqnum in self._pending_lengths:
            raise _ProtocolViolation(f"transfer {seqnum} a second time")
        data = None
        if direction == protocol.OUT:
            data = await reader.readexactly(length)
        if ep == 0 and length > cable.MAX_PAYLOAD - len(setup):
            raise _ProtocolViolation(f"a control transfer of {length} bytes")
        self._pending_lengths[seqnum] = length
        self._pending_bytes = pending_bytes
        address = ep | (IN_FLAG if direction == protocol.IN else 0)
        urb = Urb(seqnum, address, length, data, flags & 0xFFFFFFFF)
        if ep == 0:
            self._port.device.submit_control(urb, setup)
        else:
            self._port.device.submit(urb)

    def complete(self, urb: Urb, status: int) -> None:
        """Answer a transfer that has ended, and the unlink that waits for it."""
        seqnum = self._unlinks.pop(urb.seqnum, None)
        if seqnum is None:
            self._answer_submit(urb, status)
            return
        if status != -protocol.ECONNRESET:
            # The transfer ended before the device could take it back.
            self._answer_submit(urb, status)
            status = 0
        if not self._writer.is_closing():
            self._answer_unlink(seqnum, urb.seqnum, status)

    def _answer_unlink(self, seqnum: int, victim: int, status: int) -> None:
        if status:
            # The victim gets no answer of its own.
            self._forget(victim)
        self._writer.write(
            protocol.FAST_RET_UNLINKED.pack(protocol.RET_UNLINK, seqnum, 0, 0, 0, status)
        )

    def _answer_submit(self, urb: Urb, status: int) -> None:
        self._forget(urb.seqnum)
        if self._writer.is_closing():
            return
        header = protocol.FAST_RET.pack(
            protocol.RET_SUBMIT, urb.seqnum, 0, 0, 0, status, urb.actual_length, 0, 0, 0
        )
        pieces = urb.received_pieces if urb.data is None else []
        self._writer.writelines([header, *pieces])

    def _forget(self, seqnum: int) -> None:
        self._pending_bytes -= self._pending_lengths.pop(seqnum, 0)


def _build_op_reply(code: int, status: int) -> bytes:
    built: bytes = protocol.COMMON.build(
        {"version": protocol.VERSION, "code": code, "status": status}
    )
    return built
