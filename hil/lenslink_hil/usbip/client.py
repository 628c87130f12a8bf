"""A USB/IP client in user space: what vhci_hcd is to the kernel, without the kernel.

One thread reads the connection and puts received data where its transfer wants it; whoever
submitted the transfer waits for it.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import threading
from dataclasses import dataclass
from typing import Any, Final

from construct import ConstructError

from . import protocol
from .server_address import Address

_UNLINK_S: Final = 1.0
_CLOSE_S: Final = 1.0
_SEND_S: Final = 5.0
_NO_SETUP: Final = bytes(8)


class Gone(Exception):
    """Raised by everything once the connection, and so the device, is gone."""


class Refused(Exception):
    """Raised where the server does not give the device; ``errno`` says why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"errno {code}")
        self.errno = code


@dataclass(frozen=True, slots=True)
class Listed:
    """A device that a server exports: ``device`` as protocol.DEVICE has it, and interfaces."""

    device: Any
    interfaces: list[Any]


class Transfer:
    """One under way; ``length`` and ``status`` are set once it is ``done``."""

    def __init__(self, seqnum: int, room: int, buffer: memoryview | None) -> None:
        self.seqnum = seqnum
        self.room = room
        self.buffer = buffer
        self.length = 0
        self.status = 0
        self.done = threading.Event()


def list_devices(address: Address, seconds: float) -> list[Listed]:
    """What the server exports; OSError if there is none."""
    with _connected(address, seconds) as connection:
        connection.sendall(_op(protocol.OP_REQ_DEVLIST))
        _answer(connection, protocol.OP_REP_DEVLIST)
        count = protocol.COUNT.parse(_exactly(connection, 4))
        if count > protocol.MAX_DEVICES:
            raise OSError(errno.EPROTO, f"a list of {count} devices")
        found = []
        for _ in range(count):
            device = _device(connection)
            size = protocol.INTERFACE.sizeof()
            data = _exactly(connection, size * device.interfaces)
            interfaces = [
                protocol.INTERFACE.parse(data[at : at + size]) for at in range(0, len(data), size)
            ]
            found.append(Listed(device, interfaces))
        return found


def import_device(address: Address, busid: str, seconds: float) -> tuple[socket.socket, Any]:
    """Take a device: the connection that its transfers go over, and it as protocol.DEVICE has it.

    Raises :exc:`Refused`, or OSError where there is no server.
    """
    connection = _connected(address, seconds)
    try:
        name = busid.encode("ascii").ljust(protocol.BUSID, b"\0")
        connection.sendall(_op(protocol.OP_REQ_IMPORT) + name)
        _check(_answer(connection, protocol.OP_REP_IMPORT))
        device = _device(connection)
        connection.settimeout(None)
    except BaseException:
        connection.close()
        raise
    return connection, device


class Connection:
    """An imported device. Raises :exc:`Refused`, or OSError where there is no server."""

    def __init__(self, address: Address, busid: str, seconds: float) -> None:
        self._socket, self.device = import_device(address, busid, seconds)
        # The reader waits as long as it takes; a server that takes nothing is gone.
        limit = struct.pack("ll", int(_SEND_S), 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._devid = self.device.busnum << 16 | self.device.devnum
        self._lock = threading.Lock()
        self._transfers: dict[int, Transfer] = {}
        self._unlinks: dict[int, Transfer] = {}
        self._seqnum = 0
        self._gone = False
        self._thread = threading.Thread(target=self._read, name="usbip", daemon=True)
        self._thread.start()

    def transfer(
        self,
        address: int,
        data: bytes | memoryview | None,
        buffer: memoryview | None,
        seconds: float,
        setup: bytes = _NO_SETUP,
    ) -> Transfer:
        """Send *data*, or receive into *buffer*; done or not after *seconds*.

        One that is not over in time is taken back, and has moved ``length`` bytes. ``status`` is
        0, a negative errno, or -ETIMEDOUT where nothing moved in time.
        """
        with self._lock:
            if self._gone:
                raise Gone
            self._seqnum = self._seqnum % 0x7FFFFFFF + 1
            room = len(buffer) if buffer is not None else len(data or b"")
            transfer = Transfer(self._seqnum, room, buffer)
            self._transfers[transfer.seqnum] = transfer
            direction = protocol.IN if buffer is not None else protocol.OUT
            header = protocol.FAST_SUBMIT.pack(
                protocol.CMD_SUBMIT, transfer.seqnum, self._devid, direction, address & 15,
                0, room, 0, 0, 0, setup,
            )  # fmt: skip
            self._send(header)
            if data:
                self._send(data)
        if not transfer.done.wait(seconds):
            self._unlink(transfer)
        if self._gone and transfer.status == -errno.ENODEV:
            raise Gone
        return transfer

    def close(self) -> None:
        """Let go of the device. Idempotent; never raises."""
        self._gone = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_S)
        self._socket.close()

    def _unlink(self, transfer: Transfer) -> None:
        with self._lock:
            if transfer.done.is_set():
                return
            if self._gone:
                raise Gone
            self._seqnum = self._seqnum % 0x7FFFFFFF + 1
            # Answered by RET_SUBMIT if it comes too late, else by RET_UNLINK alone.
            self._unlinks[self._seqnum] = transfer
            self._send(
                protocol.FAST_UNLINK.pack(
                    protocol.CMD_UNLINK, self._seqnum, self._devid, 0, 0, transfer.seqnum
                )
            )
        if not transfer.done.wait(_UNLINK_S):
            # A server that does not answer an unlink is no server any more.
            self.close()
            raise Gone

    def _send(self, data: bytes | memoryview) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            # The reader will notice too, and end whatever waits.
            raise Gone from None

    # --- the reader -----------------------------------------------------------------------

    def _read(self) -> None:
        try:
            header = memoryview(bytearray(protocol.HEADER_BYTES))
            while True:
                _fill(self._socket, header)
                self._returned(header)
        except (OSError, EOFError):
            pass
        finally:
            with self._lock:
                self._gone = True
                waiting = list(self._transfers.values())
                self._transfers.clear()
            for transfer in waiting:
                transfer.status = -errno.ENODEV
                transfer.done.set()

    def _returned(self, header: memoryview) -> None:
        command, seqnum = protocol.FAST_HEADER.unpack(header)[:2]
        if command == protocol.RET_UNLINK:
            transfer = self._unlinks.pop(seqnum, None)
            # 0: it was over before, and its own answer has come.
            if transfer is not None and self._transfers.pop(transfer.seqnum, None) is not None:
                transfer.status = -errno.ETIMEDOUT
                transfer.done.set()
            return
        if command != protocol.RET_SUBMIT:
            raise EOFError
        status, length = protocol.FAST_RET.unpack(header)[5:7]
        transfer = self._transfers.pop(seqnum, None)
        if transfer is None or not 0 <= length <= transfer.room:
            # What follows cannot be known: the length of its data depends on it.
            if transfer is not None:
                self._transfers[seqnum] = transfer
            raise EOFError
        if transfer.buffer is not None and length:
            try:
                _fill(self._socket, transfer.buffer[:length])
            except (OSError, EOFError):
                self._transfers[seqnum] = transfer
                raise
        transfer.status, transfer.length = status, length
        transfer.done.set()


def _connected(address: Address, seconds: float) -> socket.socket:
    if isinstance(address, str):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(seconds)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection
    connection = socket.create_connection(address, seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _op(code: int) -> bytes:
    built: bytes = protocol.COMMON.build({"version": protocol.VERSION, "code": code, "status": 0})
    return built


def _answer(connection: socket.socket, code: int) -> int:
    common = protocol.COMMON.parse(_exactly(connection, protocol.COMMON.sizeof()))
    if common.code != code:
        raise OSError(errno.EPROTO, f"an answer of code 0x{common.code:04x}")
    return int(common.status)


def _check(status: int) -> None:
    if status != protocol.ST_OK:
        raise Refused(errno.EBUSY if status == protocol.ST_DEV_BUSY else errno.ENODEV)


def _device(connection: socket.socket) -> Any:
    try:
        return protocol.DEVICE.parse(_exactly(connection, protocol.DEVICE.sizeof()))
    except (ConstructError, UnicodeDecodeError) as error:
        raise OSError(errno.EPROTO, str(error).splitlines()[-1]) from None


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray(count)
    try:
        _fill(connection, memoryview(data))
    except EOFError:
        raise OSError(errno.ECONNRESET, "the server has closed the connection") from None
    return bytes(data)


def _fill(connection: socket.socket, view: memoryview) -> None:
    while view:
        count = connection.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
