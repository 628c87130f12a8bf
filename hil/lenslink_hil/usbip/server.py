"""A USB/IP server on asyncio: boards on one side, a host for each of them on the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from . import cable, protocol
from .descriptors import IN_FLAG, Malformed
from .device import Board, Urb
from .remote_device import HostedBoard

BUS: Final = 1
_FIRST_WORDS_S = 5.0
_FAREWELL_S = 0.25
# usbip leaves the number of packets 0 or -1 where the transfer is not isochronous.
_NO_PACKETS = (0, -1)


class _Refused(Exception):
    """Raised for what no USB/IP client sends: the connection is closed."""


class Port:
    """Where one board is plugged in."""

    def __init__(self, number: int, board: Board | HostedBoard) -> None:
        self.number = number
        self.board = board
        self.host: asyncio.StreamWriter | None = None
        self.free = asyncio.Event()
        """No host has the board."""
        self.free.set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def busid(self) -> str:
        """The port's name on its bus."""
        return f"{BUS}-{self.number}"

    def run(self) -> None:
        """Let the bus do what it can, and again when its rate allows."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.board.run(loop.time())
        if due is not None:
            self._timer = loop.call_at(due, self.run)

    def unplug(self) -> None:
        """The host sees the device disappear."""
        if self._timer is not None:
            self._timer.cancel()
        if self.host is not None:
            # At once, whatever it still has to read: a cable that is pulled sends nothing more.
            self.host.transport.abort()
            self.let_go()

    def take(self, host: asyncio.StreamWriter) -> None:
        """It is that host's."""
        self.host = host
        self.free.clear()

    def let_go(self) -> None:
        """Its host is gone."""
        self.host = None
        self.free.set()

    def described(self) -> dict[str, object]:
        """As a list of devices, and the answer to an import, have it."""
        descriptors = self.board.descriptors
        assert descriptors is not None
        device = descriptors.device
        return {
            "path": f"/sys/devices/platform/lenslink/usb{BUS}/{self.busid}",
            "busid": self.busid,
            "busnum": BUS,
            "devnum": self.number,
            "speed": self.board.speed,
            "vendor": device.idVendor,
            "product": device.idProduct,
            "release": device.bcdDevice,
            "device_class": device.bDeviceClass,
            "device_subclass": device.bDeviceSubClass,
            "device_protocol": device.bDeviceProtocol,
            "configuration": self.board.configuration,
            "configurations": device.bNumConfigurations,
            "interfaces": descriptors.configuration.bNumInterfaces,
        }


class Server:
    """``rate`` bounds each board's bus, in bytes of bulk data a second; 0 = unbounded.

    ``changed`` is called when a board's pull-up comes on or goes, and when a host takes a board or
    lets go of it.
    """

    def __init__(self, rate: float = 0.0, changed: Callable[[], None] = lambda: None) -> None:
        self.ports: dict[str, Port] = {}
        self._rate = rate
        self._changed = changed

    def present(self) -> list[Port]:
        """Ports with a board whose pull-up is on."""
        return [port for port in self.ports.values() if port.board.attached]

    # --- boards ---------------------------------------------------------------------------

    async def plug(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A board's cable, until it ends."""
        free = (n for n in range(1, protocol.MAX_DEVICES + 1) if f"{BUS}-{n}" not in self.ports)
        number = next(free, None)
        if number is None:
            writer.close()
            return
        port = Port(number, Board(writer.write, self._rate))
        self.ports[port.busid] = port
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError, Malformed):
                await self._serve_board(port, reader)
        finally:
            port.unplug()
            del self.ports[port.busid]
            writer.close()
            self._changed()

    async def _serve_board(self, port: Port, reader: asyncio.StreamReader) -> None:
        while True:
            header = await reader.readexactly(cable.HEADER_BYTES)
            kind, endpoint, generation, value, _, length = cable.FAST_HEADER.unpack(header)
            if kind == cable.Kind.HOSTED and isinstance(port.board, Board):
                port.board = HostedBoard(port.board.send)
            if length > port.board.max_payload:
                raise Malformed(f"a record of {length} bytes")
            payload = await reader.readexactly(length) if length else b""
            was = port.board.attached
            port.board.received(kind, endpoint, generation, value, payload)
            if was and not port.board.attached:
                port.unplug()
                port.board.close()
            if port.board.attached != was:
                self._changed()
            port.run()

    # --- hosts ----------------------------------------------------------------------------

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client's connection, until it ends."""
        try:
            with contextlib.suppress(
                asyncio.IncompleteReadError, OSError, TimeoutError, _Refused, UnicodeDecodeError
            ):
                async with asyncio.timeout(_FIRST_WORDS_S):
                    port = await self._first_words(reader, writer)
                if port is not None:
                    await self._serve_host(port, reader, writer)
        finally:
            for each in self.ports.values():
                if each.host is writer:
                    each.let_go()
                    self._changed()
            writer.close()

    async def _first_words(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Port | None:
        """Answer OP_ requests; the port that is imported, or None for a list."""
        common = protocol.COMMON.parse(await reader.readexactly(protocol.COMMON.sizeof()))
        if common.version != protocol.VERSION:
            raise _Refused
        if common.code == protocol.OP_REQ_DEVLIST:
            writer.write(self._list())
            await writer.drain()
            return None
        if common.code != protocol.OP_REQ_IMPORT:
            raise _Refused
        name = await reader.readexactly(protocol.BUSID)
        port = self.ports.get(name.partition(b"\0")[0].decode("ascii"))
        status = protocol.ST_OK
        if port is None or not port.board.attached:
            port, status = None, protocol.ST_NODEV
        elif not await self._freed(port):
            port, status = None, protocol.ST_DEV_BUSY
        writer.write(_op(protocol.OP_REP_IMPORT, status))
        if port is not None:
            # Before anything else can happen: it is taken.
            port.take(writer)
            self._changed()
            writer.write(protocol.DEVICE.build(port.described()))
        await writer.drain()
        return port

    async def _freed(self, port: Port) -> bool:
        """Whether no host has it; one that has just closed it may not be gone yet."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await port.free.wait()
        return port.host is None and port.busid in self.ports

    def _list(self) -> bytes:
        ports = self.present()
        parts = [_op(protocol.OP_REP_DEVLIST, protocol.ST_OK), protocol.COUNT.build(len(ports))]
        for port in ports:
            descriptors = port.board.descriptors
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
            described = port.described() | {"interfaces": len(interfaces)}
            parts.append(protocol.LISTED.build({"device": described, "interfaces": interfaces}))
        return b"".join(parts)

    async def _serve_host(
        self, port: Port, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        client = _Client(port, writer)
        port.board.open(client.complete)
        try:
            while True:
                # A client that does not read what it asked for gets no more of it.
                await writer.drain()
                await client.next(reader)
                port.run()
        finally:
            port.board.close()


class _Client:
    """The transfers of one host."""

    def __init__(self, port: Port, writer: asyncio.StreamWriter) -> None:
        self._port = port
        self._writer = writer
        self._devid = BUS << 16 | port.number
        self._pending: dict[int, int] = {}
        self._unlinks: dict[int, int] = {}
        self._queued = 0

    async def next(self, reader: asyncio.StreamReader) -> None:
        """Read one request and pass it on; :exc:`_Refused` for one that makes no sense."""
        header = await reader.readexactly(protocol.HEADER_BYTES)
        command, seqnum, devid, direction, ep, _ = protocol.FAST_HEADER.unpack(header)
        if devid != self._devid or ep > 15 or direction not in (protocol.OUT, protocol.IN):
            raise _Refused
        if command == protocol.CMD_UNLINK:
            victim = protocol.FAST_UNLINK.unpack(header)[5]
            status = self._port.board.unlink(victim)
            if status is None:
                self._unlinks[victim] = seqnum
            else:
                self._unlinked(seqnum, victim, status)
        elif command == protocol.CMD_SUBMIT:
            await self._submit(reader, protocol.FAST_SUBMIT.unpack(header))
        else:
            raise _Refused

    async def _submit(self, reader: asyncio.StreamReader, header: tuple[Any, ...]) -> None:
        _, seqnum, _, direction, ep, flags, length, _, packets, _, setup = header
        if not 0 <= length <= protocol.MAX_TRANSFER or packets not in _NO_PACKETS:
            raise _Refused
        queued = self._queued + length
        if queued > protocol.MAX_QUEUED or len(self._pending) >= protocol.MAX_PENDING:
            raise _Refused
        if not seqnum or seqnum in self._pending:
            raise _Refused
        data = None
        if direction == protocol.OUT:
            data = await reader.readexactly(length)
        if ep == 0 and length > cable.MAX_PAYLOAD - len(setup):
            raise _Refused
        self._pending[seqnum] = length
        self._queued = queued
        address = ep | (IN_FLAG if direction == protocol.IN else 0)
        urb = Urb(seqnum, address, length, data, flags & 0xFFFFFFFF)
        if ep == 0:
            self._port.board.control(urb, setup)
        else:
            self._port.board.submit(urb)

    def _unlinked(self, seqnum: int, victim: int, status: int) -> None:
        if status:
            # No other word of it will come.
            self._queued -= self._pending.pop(victim, 0)
        self._writer.write(
            protocol.FAST_RET_UNLINKED.pack(protocol.RET_UNLINK, seqnum, 0, 0, 0, status)
        )

    def complete(self, urb: Urb, status: int) -> None:
        """A transfer has ended."""
        seqnum = self._unlinks.pop(urb.seqnum, None)
        if seqnum is None:
            self._completed(urb, status)
            return
        # It was to be taken back: so it was, or it had ended before.
        if status != -protocol.ECONNRESET:
            self._completed(urb, status)
            status = 0
        if not self._writer.is_closing():
            self._unlinked(seqnum, urb.seqnum, status)

    def _completed(self, urb: Urb, status: int) -> None:
        self._queued -= self._pending.pop(urb.seqnum, 0)
        if self._writer.is_closing():
            return
        header = protocol.FAST_RET.pack(
            protocol.RET_SUBMIT, urb.seqnum, 0, 0, 0, status, urb.moved, 0, 0, 0
        )
        self._writer.writelines([header, *urb.pieces] if urb.data is None else [header])


def _op(code: int, status: int) -> bytes:
    built: bytes = protocol.COMMON.build(
        {"version": protocol.VERSION, "code": code, "status": status}
    )
    return built
