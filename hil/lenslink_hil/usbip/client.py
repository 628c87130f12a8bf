"""A USB/IP client in user space: what vhci_hcd is to the kernel, without the kernel.

The pyusb backend uses it. The thread that submits a transfer waits for its end. One thread of the
connection reads all answers, and writes received data straight into the transfer's buffer.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from construct import ConstructError

from . import protocol
from .server_address import Address

_UNLINK_S: Final = 1.0
_CLOSE_S: Final = 1.0
_SEND_S: Final = 5.0
_NO_SETUP: Final = bytes(8)
_MAX_SEQNUM: Final = 0x7FFFFFFF

_log = logging.getLogger(__name__)


class DeviceGone(Exception):
    """Raised by every call once the connection, and with it the device, is gone."""


class ImportRefused(Exception):
    """Raised if the server does not export the device to us; ``errno`` says why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"errno {code}")
        self.errno = code


@dataclass(frozen=True, slots=True)
class ExportedDevice:
    """A device that a server exports: the fields of protocol.DEVICE, and its interfaces."""

    device: Any
    interfaces: list[Any]


class Transfer:
    """One transfer; ``actual_length`` and ``status`` hold once ``completion`` is set.

    Args:
        seqnum: the number of its request.
        max_length: the number of bytes to send, or that the buffer holds.
        buffer: where the received bytes go; None to send.
        on_end: called with the transfer at its end, in the connection's thread.
    """

    def __init__(
        self,
        seqnum: int,
        max_length: int,
        buffer: memoryview | None,
        on_end: Callable[[Transfer], None] | None = None,
    ) -> None:
        self.seqnum = seqnum
        self.max_length = max_length
        self.buffer = buffer
        self.actual_length = 0
        self.status = 0
        self.completion = threading.Event()
        self._on_end = on_end

    def complete(self, status: int, actual_length: int = 0) -> None:
        """Set the result, and wake the thread that waits for it."""
        self.status = status
        self.actual_length = actual_length
        self.completion.set()
        if self._on_end is not None:
            self._on_end(self)


def list_devices(address: Address, seconds: float) -> list[ExportedDevice]:
    """Ask a server which devices it exports.

    Args:
        address: where the server listens.
        seconds: bounds each step.

    Raises:
        OSError: there is no server, or its answer is not USB/IP's.
    """
    with _connect(address, seconds) as connection:
        connection.sendall(_build_op_request(protocol.OP_REQ_DEVLIST))
        _receive_op_reply(connection, protocol.OP_REP_DEVLIST)
        count = protocol.COUNT.parse(_receive_exactly(connection, 4))
        if count > protocol.MAX_DEVICES:
            raise OSError(errno.EPROTO, f"a list of {count} devices")
        devices = []
        for _ in range(count):
            device = _receive_device(connection)
            size = protocol.INTERFACE.sizeof()
            data = _receive_exactly(connection, size * device.interfaces)
            interfaces = [
                protocol.INTERFACE.parse(data[at : at + size]) for at in range(0, len(data), size)
            ]
            devices.append(ExportedDevice(device, interfaces))
        return devices


def import_device(address: Address, busid: str, seconds: float) -> tuple[socket.socket, Any]:
    """Import a device.

    Returns:
        The connection that carries the device's transfers, and the fields of protocol.DEVICE.

    Raises:
        ImportRefused: there is no such device, or another client has it.
        OSError: there is no server, or its answer is not USB/IP's.
    """
    connection = _connect(address, seconds)
    try:
        name = busid.encode("ascii").ljust(protocol.BUSID, b"\0")
        connection.sendall(_build_op_request(protocol.OP_REQ_IMPORT) + name)
        _check_status(_receive_op_reply(connection, protocol.OP_REP_IMPORT))
        device = _receive_device(connection)
        connection.settimeout(None)
    except BaseException:
        connection.close()
        raise
    return connection, device


class Connection:
    """An imported device, and its transfers."""

    def __init__(self, address: Address, busid: str, seconds: float) -> None:
        """Import the device, with the errors of :func:`import_device`, and start the reader."""
        self._socket, self.device = import_device(address, busid, seconds)
        # The reader has no deadline. A server that does not take what we send is gone.
        limit = struct.pack("ll", int(_SEND_S), 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._devid = self.device.busnum << 16 | self.device.devnum
        self._lock = threading.Lock()
        self._transfers: dict[int, Transfer] = {}
        self._unlinks: dict[int, Transfer] = {}
        self._seqnum = 0
        self._is_gone = False
        self._thread = threading.Thread(target=self._read_answers, name="usbip", daemon=True)
        self._thread.start()

    def transfer(
        self,
        address: int,
        data: bytes | memoryview | None,
        buffer: memoryview | None,
        seconds: float,
        setup: bytes = _NO_SETUP,
    ) -> Transfer:
        """Send *data*, or receive into *buffer*, and wait for the end.

        Args:
            address: the endpoint.
            data: what is sent; None to receive.
            buffer: where the received bytes go; None to send.
            seconds: after these the transfer is taken back.
            setup: the setup packet of a transfer on endpoint 0.

        Returns:
            The transfer. Its status is 0 if it moved ``actual_length`` bytes, -ETIMEDOUT if it was
            taken back and moved none, or another negative errno.

        Raises:
            DeviceGone: the device is gone.
        """
        transfer = self._submit(address, data, buffer, setup)
        if not transfer.completion.wait(seconds):
            self._unlink(transfer)
        if self._is_gone and transfer.status == -errno.ENODEV:
            raise DeviceGone
        return transfer

    def submit_read(
        self, address: int, buffer: memoryview, on_end: Callable[[Transfer], None]
    ) -> Transfer:
        """Start to receive into *buffer*, and return at once.

        Args:
            address: the endpoint.
            buffer: where the received bytes go.
            on_end: called with the transfer at its end, in the connection's thread.

        Raises:
            DeviceGone: the device is gone. *on_end* may have been called.
        """
        return self._submit(address, None, buffer, _NO_SETUP, on_end)

    def cancel(self, transfer: Transfer) -> None:
        """Take a transfer back, and return at once; it ends as any other. DeviceGone as above."""
        with self._lock:
            if not transfer.completion.is_set():
                self._send_unlink(transfer)

    def _submit(
        self,
        address: int,
        data: bytes | memoryview | None,
        buffer: memoryview | None,
        setup: bytes,
        on_end: Callable[[Transfer], None] | None = None,
    ) -> Transfer:
        with self._lock:
            seqnum = self._next_seqnum()
            max_length = len(buffer) if buffer is not None else len(data or b"")
            transfer = Transfer(seqnum, max_length, buffer, on_end)
            self._transfers[transfer.seqnum] = transfer
            direction = protocol.IN if buffer is not None else protocol.OUT
            header = protocol.FAST_SUBMIT.pack(
                protocol.CMD_SUBMIT, transfer.seqnum, self._devid, direction, address & 15,
                0, max_length, 0, 0, 0, setup,
            )  # fmt: skip
            # In one piece: a call that is interrupted between two would leave half a request.
            self._send(header + data if data else header)
        return transfer

    def close(self) -> None:
        """Give the device back. Idempotent; never raises."""
        self._is_gone = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_S)
        self._socket.close()

    def _unlink(self, transfer: Transfer) -> None:
        with self._lock:
            if transfer.completion.is_set():
                return
            self._send_unlink(transfer)
        if not transfer.completion.wait(_UNLINK_S):
            _log.debug("the server does not answer an unlink: the device counts as gone")
            self.close()
            raise DeviceGone

    def _send_unlink(self, transfer: Transfer) -> None:
        """Send a CMD_UNLINK. The caller has the lock."""
        seqnum = self._next_seqnum()
        # The answer is RET_UNLINK alone, or RET_SUBMIT if the unlink came too late.
        self._unlinks[seqnum] = transfer
        self._send(
            protocol.FAST_UNLINK.pack(
                protocol.CMD_UNLINK, seqnum, self._devid, 0, 0, transfer.seqnum
            )
        )

    def _next_seqnum(self) -> int:
        """Count the number of the next request; DeviceGone if there can be none."""
        if self._is_gone:
            raise DeviceGone
        self._seqnum = self._seqnum % _MAX_SEQNUM + 1
        return self._seqnum

    def _send(self, data: bytes | memoryview) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            # The reader notices too, and ends the transfers that wait.
            raise DeviceGone from None

    # --- the reader -----------------------------------------------------------------------

    def _read_answers(self) -> None:
        try:
            header = memoryview(bytearray(protocol.HEADER_BYTES))
            while True:
                _receive_into(self._socket, header)
                self._handle_answer(header)
        except (OSError, EOFError) as error:
            _log.debug("the device is gone: %s %s", type(error).__name__, error)
        finally:
            with self._lock:
                self._is_gone = True
                pending = list(self._transfers.values())
                self._transfers.clear()
            for transfer in pending:
                transfer.complete(-errno.ENODEV)

    def _handle_answer(self, header: memoryview) -> None:
        command, seqnum = protocol.FAST_HEADER.unpack(header)[:2]
        if command == protocol.RET_UNLINK:
            transfer = self._unlinks.pop(seqnum, None)
            # A transfer that had ended before has had its own answer.
            if transfer is not None and self._transfers.pop(transfer.seqnum, None) is not None:
                transfer.complete(-errno.ETIMEDOUT)
            return
        if command != protocol.RET_SUBMIT:
            raise EOFError(f"an answer of kind {command}")
        status, length = protocol.FAST_RET.unpack(header)[5:7]
        transfer = self._transfers.pop(seqnum, None)
        if transfer is None or not 0 <= length <= transfer.max_length:
            # Nobody knows where the next answer begins: that depends on this one's length.
            if transfer is not None:
                self._transfers[seqnum] = transfer
            raise EOFError(f"an answer to transfer {seqnum} of {length} bytes")
        if transfer.buffer is not None and length:
            try:
                _receive_into(self._socket, transfer.buffer[:length])
            except (OSError, EOFError):
                self._transfers[seqnum] = transfer
                raise
        transfer.complete(status, length)


def _connect(address: Address, seconds: float) -> socket.socket:
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


def _build_op_request(code: int) -> bytes:
    built: bytes = protocol.COMMON.build({"version": protocol.VERSION, "code": code, "status": 0})
    return built


def _receive_op_reply(connection: socket.socket, code: int) -> int:
    """Receive the head of a reply of kind *code*; return its status."""
    common = protocol.COMMON.parse(_receive_exactly(connection, protocol.COMMON.sizeof()))
    if common.code != code:
        raise OSError(errno.EPROTO, f"an answer of code 0x{common.code:04x}")
    return int(common.status)


def _check_status(status: int) -> None:
    if status != protocol.ST_OK:
        raise ImportRefused(errno.EBUSY if status == protocol.ST_DEV_BUSY else errno.ENODEV)


def _receive_device(connection: socket.socket) -> Any:
    try:
        return protocol.DEVICE.parse(_receive_exactly(connection, protocol.DEVICE.sizeof()))
    except (ConstructError, UnicodeDecodeError) as error:
        raise OSError(errno.EPROTO, str(error).splitlines()[-1]) from None


def _receive_exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray(count)
    try:
        _receive_into(connection, memoryview(data))
    except EOFError:
        raise OSError(errno.ECONNRESET, "the server has closed the connection") from None
    return bytes(data)


def _receive_into(connection: socket.socket, view: memoryview) -> None:
    """Fill *view*; EOFError if the server closes the connection before."""
    while view:
        count = connection.recv_into(view)
        if not count:
            raise EOFError("the server has closed the connection")
        view = view[count:]
