"""The loader in an ESP32's ROM, and the stub that esptool loads into it, on a pseudo-terminal.

It is what ``lenslink flash --micropython IMAGE.bin`` writes to. The protocol is that of
Espressif's documentation, "Serial Protocol": packets in SLIP, each with a command and its answer.
The stub is not run: once its code has been loaded and started, this loader answers as the stub.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import struct
import threading
import tty
import zlib
from collections.abc import Callable

FLASH_BYTES = 4 << 20
ESP32_S3, ESP32_P4 = 9, 18
_SECTOR = 4096
_END, _ESCAPE = b"\xc0", b"\xdb"
_HEAD = struct.Struct("<BBHI")
_BLOCK = struct.Struct("<IIII")
_CHECKSUM_SEED = 0xEF
_BAD_CHECKSUM, _UNKNOWN_COMMAND = 7, 5
# A W25Q32: the answer to the flash chip's command "JEDEC ID".
_FLASH_ID = 0x1640EF
_ROM_SYNC = 0x2012_0707
_WAIT_S = 0.05
_JOIN_S = 5.0

# Commands.
FLASH_BEGIN, FLASH_DATA = 0x02, 0x03
MEM_END, SYNC, WRITE_REGISTER, READ_REGISTER = 0x06, 0x08, 0x09, 0x0A
DEFLATE_BEGIN, DEFLATE_DATA, MD5, SECURITY_INFO = 0x10, 0x11, 0x13, 0x14
_ACKNOWLEDGED = {0x04, 0x05, 0x07, 0x0B, 0x0D, 0x0F, 0x12}
"""They need no work here: ends, parts of the stub, and settings of flash and serial port."""
# Commands that change the flash.
WRITES = (FLASH_BEGIN, FLASH_DATA, DEFLATE_BEGIN, DEFLATE_DATA)


class EspLoader:
    """A loader at :attr:`port`; a context manager.

    Args:
        chip: the number of the chip.
        flash: the content of the flash chip, which the loader changes.
        cut_after: blocks of data until the supply is cut; None is never.
    """

    def __init__(
        self, chip: int = ESP32_S3, flash: bytearray | None = None, cut_after: int | None = None
    ) -> None:
        self.flash = flash if flash is not None else bytearray(b"\xff" * FLASH_BYTES)
        self.commands: list[int] = []
        """The commands that were received."""
        self._chip = chip
        self._blocks_left = cut_after
        self._is_stub = False
        self._address = 0
        self._inflate: Callable[[bytes], bytes] = bytes
        self._registers: dict[int, int] = {}
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._is_cut = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="ESP loader", daemon=True)
        self._thread.start()

    def __enter__(self) -> EspLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_cut.set()
        self._thread.join(_JOIN_S)

    def _serve(self) -> None:
        buffer = b""
        try:
            while not self._is_cut.is_set():
                if not select.select([self._master], [], [], _WAIT_S)[0]:
                    continue
                buffer += os.read(self._master, 65536)
                # A packet lies between two ends; two ends in a row are the bounds of neighbours.
                *packets, buffer = buffer.split(_END)
                for packet in filter(None, packets):
                    self._answer(_unescape(packet))
        finally:
            for descriptor in (self._slave, self._master):
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def _answer(self, packet: bytes) -> None:
        if len(packet) < _HEAD.size or packet[0] != 0:
            return
        _, command, length, checksum = _HEAD.unpack_from(packet)
        data = packet[_HEAD.size : _HEAD.size + length]
        self.commands.append(command)
        value, answer, error = self._run(command, data, checksum)
        if self._is_cut.is_set():
            return
        status = bytes((bool(error), error)) + bytes(0 if self._is_stub else 2)
        body = answer + status
        reply = _escape(_HEAD.pack(1, command, len(body), value) + body)
        # The ROM answers a synchronisation eight times.
        os.write(self._master, reply * (8 if command == SYNC and not self._is_stub else 1))
        if command == MEM_END and struct.unpack_from("<II", data)[1]:
            self._is_stub = True
            os.write(self._master, _escape(b"OHAI"))

    def _run(self, command: int, data: bytes, checksum: int) -> tuple[int, bytes, int]:
        """Run a command; return the value, the data and the error of its answer."""
        if command == READ_REGISTER:
            return self._read_register(struct.unpack_from("<I", data)[0]), b"", 0
        if command == WRITE_REGISTER:
            for at in range(0, len(data) - 15, 16):
                address, value, _, _ = _BLOCK.unpack_from(data, at)
                self._registers[address] = value
            return 0, b"", 0
        if command in (FLASH_BEGIN, DEFLATE_BEGIN):
            size, _, _, self._address = _BLOCK.unpack_from(data)
            end = self._address + -(-size // _SECTOR) * _SECTOR
            self.flash[self._address : end] = b"\xff" * (end - self._address)
            self._inflate = zlib.decompressobj().decompress if command == DEFLATE_BEGIN else bytes
            return 0, b"", 0
        if command in (FLASH_DATA, DEFLATE_DATA):
            return 0, b"", self._write(data, checksum)
        if command == MD5:
            address, size, _, _ = _BLOCK.unpack_from(data)
            digest = hashlib.md5(self.flash[address : address + size])  # noqa: S324 - the protocol's
            return 0, digest.digest() if self._is_stub else digest.hexdigest().encode(), 0
        if command == SECURITY_INFO:
            return 0, struct.pack("<IB7BII", 0, 0, *bytes(7), self._chip, 0), 0
        if command == SYNC:
            # By this value esptool tells the ROM from a stub that runs already, which answers 0.
            return _ROM_SYNC, b"", 0
        is_known = command in _ACKNOWLEDGED or command == MEM_END
        return 0, b"", 0 if is_known else _UNKNOWN_COMMAND

    def _read_register(self, address: int) -> int:
        # The controller of the flash chip is always done, and its data is the chip's number.
        if address & 0xFFF == 0x058:
            return _FLASH_ID
        return 0 if address & 0xFFF == 0 else self._registers.get(address, 0)

    def _write(self, data: bytes, checksum: int) -> int:
        length = _BLOCK.unpack_from(data)[0]
        block = data[_BLOCK.size : _BLOCK.size + length]
        found = _CHECKSUM_SEED
        for byte in block:
            found ^= byte
        if found != checksum & 0xFF:
            return _BAD_CHECKSUM
        if self._blocks_left is not None:
            self._blocks_left -= 1
            if self._blocks_left < 0:
                self._is_cut.set()
                return 0
        content = self._inflate(block)
        self.flash[self._address : self._address + len(content)] = content
        self._address += len(content)
        return 0


def _escape(data: bytes) -> bytes:
    escaped = data.replace(_ESCAPE, b"\xdb\xdd").replace(_END, b"\xdb\xdc")
    return _END + escaped + _END


def _unescape(data: bytes) -> bytes:
    return data.replace(b"\xdb\xdc", _END).replace(b"\xdb\xdd", _ESCAPE)
