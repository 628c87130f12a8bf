"""USB/IP on the wire: the definitions, the server, the client, and peers that violate it."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from helpers.slowdown import patience
from helpers.usb_device import DEVICE, IN, OUT, configuration, strings

from lenslink_hil.usbip import cable, client, protocol
from lenslink_hil.usbip.cable import Kind, build_record
from lenslink_hil.usbip.server import Server

BASIC = {"command": 1, "seqnum": 2, "devid": 0x10001, "direction": 1, "ep": 3}
PATIENCE_S = patience(10.0)


def test_the_fast_headers_match_their_definitions() -> None:
    words = list(BASIC.values())
    setup = bytes(range(8))
    submit = protocol.SUBMIT.build(
        {
            "basic": BASIC,
            "flags": 4,
            "length": -5,
            "start_frame": 6,
            "packets": -1,
            "interval": 8,
            "setup": setup,
        }
    )
    assert submit == protocol.FAST_SUBMIT.pack(*words, 4, -5, 6, -1, 8, setup)
    unlink = protocol.UNLINK.build({"basic": BASIC, "victim": 9})
    assert unlink == protocol.FAST_UNLINK.pack(*words, 9)
    ret = protocol.RET.build(
        {"basic": BASIC, "status": -32, "length": 5, "start_frame": 6, "packets": 7, "errors": 8}
    )
    assert ret == protocol.FAST_RET.pack(*words, -32, 5, 6, 7, 8)
    unlinked = protocol.RET_UNLINKED.build({"basic": BASIC, "status": -104})
    assert unlinked == protocol.FAST_RET_UNLINKED.pack(*words, -104)


def test_every_header_survives_a_round_trip(seed: int) -> None:
    chance = random.Random(seed)
    for shape in (protocol.SUBMIT, protocol.UNLINK, protocol.RET, protocol.RET_UNLINKED):
        for _ in range(50):
            data = chance.randbytes(protocol.HEADER_BYTES)
            built = shape.build(shape.parse(data))
            assert shape.parse(built) == shape.parse(data)


class Harness:
    """A server in the test's own loop, with one board that sends nothing by itself."""

    def __init__(self, folder: Path) -> None:
        self.server = Server()
        self.path = str(folder / "hosts")
        self.boards = str(folder / "boards")
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Harness:
        self._listeners = [
            await asyncio.start_unix_server(self.server.handle_host, self.path),
            await asyncio.start_unix_server(self.server.handle_board, self.boards),
        ]
        self.board = await self.plug("S1")
        return self

    async def plug(self, serial: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        count = len(self.server.list_attached_ports())
        reader, writer = await asyncio.open_unix_connection(self.boards)
        self._writers.append(writer)
        blob = DEVICE + configuration() + strings(_3=serial)
        writer.write(build_record(Kind.ATTACH, 0, 0, 2, blob))
        while len(self.server.list_attached_ports()) == count:
            await asyncio.sleep(0)
        return reader, writer

    async def __aexit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()
        for listener in self._listeners:
            listener.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*rest)

    async def next_record(self, kind: Kind) -> tuple[int, ...]:
        """Return the header of the next record of that kind for the board."""
        while True:
            header = await self.board[0].readexactly(cable.HEADER_BYTES)
            fields = cable.FAST_HEADER.unpack(header)
            await self.board[0].readexactly(fields[5])
            if fields[0] == kind:
                return tuple(fields)

    async def import_device(self, busid: str = "1-1") -> Host:
        reader, writer = await asyncio.open_unix_connection(self.path)
        self._writers.append(writer)
        common = {"version": protocol.VERSION, "code": protocol.OP_REQ_IMPORT, "status": 0}
        writer.write(protocol.COMMON.build(common) + busid.encode().ljust(32, b"\0"))
        answer = protocol.COMMON.parse(await reader.readexactly(8))
        device = None
        if answer.status == protocol.ST_OK:
            device = protocol.DEVICE.parse(await reader.readexactly(protocol.DEVICE.sizeof()))
        return Host(reader, writer, answer.status, device)


class Host:
    """A client that sends what the test asks for, sound or not."""

    def __init__(self, reader: object, writer: object, status: int, device: object) -> None:
        self.reader, self.writer, self.status, self.device = reader, writer, status, device
        self.seqnum = 0

    def submit(self, ep: int, length: int, data: bytes | None = None, **over: object) -> int:
        self.seqnum += 1
        fields = {
            "basic": {
                "command": protocol.CMD_SUBMIT, "seqnum": self.seqnum, "devid": 0x10001,
                "direction": data is None, "ep": ep,
            },
            "flags": 0, "length": length, "start_frame": 0, "packets": 0, "interval": 0,
            "setup": bytes(8),
        }  # fmt: skip
        for key, value in over.items():
            (fields["basic"] if key in fields["basic"] else fields)[key] = value
        self.writer.write(protocol.SUBMIT.build(fields) + (data or b""))
        return self.seqnum

    def unlink(self, victim: int) -> None:
        self.seqnum += 1
        basic = BASIC | {"command": protocol.CMD_UNLINK, "seqnum": self.seqnum, "devid": 0x10001}
        self.writer.write(protocol.UNLINK.build({"basic": basic, "victim": victim}))

    async def receive_answer(self) -> tuple[object, bytes]:
        header = await self.reader.readexactly(protocol.HEADER_BYTES)
        if protocol.BASIC.parse(header).command == protocol.RET_UNLINK:
            return protocol.RET_UNLINKED.parse(header), b""
        ret = protocol.RET.parse(header)
        return ret, b""

    async def configure(self) -> None:
        self.submit(0, 0, b"", setup=bytes((0, 9, 1, 0, 0, 0, 0, 0)))
        ret, _ = await self.receive_answer()
        assert ret.status == 0

    async def is_closed(self) -> bool:
        return await self.reader.read(1) == b""


def run(folder: Path, test: Callable[[Harness], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(PATIENCE_S), Harness(folder) as harness:
            await test(harness)

    asyncio.run(whole())


def test_a_client_lists_and_imports_devices(tmp_path: Path) -> None:
    async def test(harness: Harness) -> None:
        second = await harness.plug("S2")
        loop = asyncio.get_running_loop()
        listed = await loop.run_in_executor(None, client.list_devices, harness.path, 5)
        assert [each.device.busid for each in listed] == ["1-1", "1-2"]
        assert [(i.cls, i.subclass, i.protocol) for i in listed[0].interfaces] == [
            (0xFF, 0x4C, 0x4B)
        ]
        host = await harness.import_device()
        assert host.device.vendor == 0x2E8A and host.device.speed == 2
        assert (await harness.import_device()).status == protocol.ST_DEV_BUSY
        assert (await harness.import_device("1-9")).status == protocol.ST_NODEV
        host.writer.close()
        while harness.server.ports["1-1"].host is not None:
            await asyncio.sleep(0)
        assert (await harness.import_device()).status == protocol.ST_OK
        second[1].close()

    run(tmp_path, test)


def test_unlink_is_answered_as_linux_expects(tmp_path: Path) -> None:
    async def test(harness: Harness) -> None:
        host = await harness.import_device()
        await host.configure()
        number = host.submit(3, 512)
        host.unlink(number)
        answer, _ = await host.receive_answer()
        # The victim gets no answer; the status of the unlink says that it came in time.
        assert (answer.basic.command, answer.basic.seqnum) == (protocol.RET_UNLINK, host.seqnum)
        assert answer.status == -protocol.ECONNRESET
        host.unlink(number)
        answer, _ = await host.receive_answer()
        assert answer.status == 0

    run(tmp_path, test)


def test_an_unplugged_board_is_gone_at_once(tmp_path: Path) -> None:
    async def test(harness: Harness) -> None:
        host = await harness.import_device()
        await host.configure()
        host.submit(3, 512)
        harness.board[1].close()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await host.receive_answer()
        while harness.server.ports:
            await asyncio.sleep(0)
        assert (await harness.import_device()).status == protocol.ST_NODEV

    run(tmp_path, test)


VIOLATIONS = {
    "negative length": lambda h: h.submit(3, -1),
    "too long": lambda h: h.submit(3, protocol.MAX_TRANSFER + 1),
    "isochronous": lambda h: h.submit(3, 64, packets=4),
    "another device": lambda h: h.submit(3, 64, devid=0x20002),
    "endpoint 16": lambda h: h.submit(16, 64),
    "direction 2": lambda h: h.submit(3, 64, direction=2),
    "command 9": lambda h: h.submit(3, 64, command=9),
    "number 0": lambda h: h.submit(3, 64, seqnum=0),
    "a number twice": lambda h: [h.submit(3, 64), h.submit(3, 64, seqnum=2)],
    "too many": lambda h: [h.submit(3, 64) for _ in range(protocol.MAX_PENDING + 1)],
    "too much": lambda h: [h.submit(3, protocol.MAX_TRANSFER) for _ in range(3)],
    "a long request": lambda h: h.submit(0, 65536),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_client_that_violates_the_protocol_is_disconnected(name: str, tmp_path: Path) -> None:
    async def test(harness: Harness) -> None:
        host = await harness.import_device()
        await host.configure()
        VIOLATIONS[name](host)
        assert await host.is_closed()
        while harness.server.ports["1-1"].host is not None:
            await asyncio.sleep(0)
        # The next client can import the board.
        await (await harness.import_device()).configure()

    run(tmp_path, test)


@pytest.mark.parametrize("words", [b"\0" * 8, b"\x01\x11\x80\x07" + bytes(4), b"GET / HT"])
def test_a_first_request_that_is_not_usbip_is_disconnected(words: bytes, tmp_path: Path) -> None:
    async def test(harness: Harness) -> None:
        reader, writer = await asyncio.open_unix_connection(harness.path)
        writer.write(words)
        assert await reader.read(1) == b""
        writer.close()

    run(tmp_path, test)


@pytest.mark.parametrize(
    "harm",
    [
        cable.FAST_HEADER.pack(Kind.ARM, IN, 0, 0, 0, cable.MAX_PAYLOAD + 1),
        build_record(Kind.RESET),
        build_record(Kind.ATTACH, 0, 0, 2, b"nonsense"),
    ],
)
def test_a_board_that_sends_nonsense_is_unplugged(harm: bytes, tmp_path: Path) -> None:
    async def test(harness: Harness) -> None:
        harness.board[1].write(harm)
        while harness.server.ports:
            await asyncio.sleep(0)

    run(tmp_path, test)


# --- our client, and servers that violate the protocol -------------------------------------------


@pytest.fixture
def fake_server(tmp_path: Path) -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Return a function that serves one connection in a thread, and the address."""
    threads, listeners = [], []

    def serve(function: Callable[[socket.socket], None]) -> str:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = str(tmp_path / "fake")
        listener.bind(path)
        listener.listen()

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(PATIENCE_S)
                function(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        threads.append(thread)
        listeners.append(listener)
        return path

    yield serve
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    for listener in listeners:
        listener.close()


def accept_import(connection: socket.socket) -> None:
    connection.recv(40, socket.MSG_WAITALL)
    common = {"version": protocol.VERSION, "code": protocol.OP_REP_IMPORT, "status": 0}
    fields = dict.fromkeys(
        ["speed", "vendor", "product", "release", "device_class", "device_subclass",
         "device_protocol", "configuration", "configurations", "interfaces"], 1,
    )  # fmt: skip
    fields |= {"path": "x", "busid": "1-1", "busnum": 1, "devnum": 1}
    connection.sendall(protocol.COMMON.build(common) + protocol.DEVICE.build(fields))


def submit_answer(seqnum: int, status: int, length: int) -> bytes:
    return protocol.FAST_RET.pack(protocol.RET_SUBMIT, seqnum, 0, 0, 0, status, length, 0, 0, 0)


@pytest.mark.parametrize(
    "answer",
    [
        submit_answer(1, 0, 65),  # more than was asked for
        submit_answer(1, 0, -1),
        submit_answer(7, 0, 0),  # a transfer that does not exist
        bytes(48),
        b"",  # closed
    ],
)
def test_a_server_that_violates_the_protocol_counts_as_gone(
    answer: bytes, fake_server: Callable[..., str]
) -> None:
    def misbehave(connection: socket.socket) -> None:
        accept_import(connection)
        connection.recv(48, socket.MSG_WAITALL)
        connection.sendall(answer)
        if answer:
            assert connection.recv(1) == b""

    connection = client.Connection(fake_server(misbehave), "1-1", PATIENCE_S)
    start = time.monotonic()
    try:
        with pytest.raises(client.DeviceGone):
            connection.transfer(IN, None, memoryview(bytearray(64)), PATIENCE_S)
    finally:
        connection.close()
    assert time.monotonic() - start < PATIENCE_S, "it waited although the server had answered"
    with pytest.raises(client.DeviceGone):
        connection.transfer(OUT, b"a", None, 1)


def test_a_server_that_ignores_an_unlink_counts_as_gone(fake_server: Callable[..., str]) -> None:
    def misbehave(connection: socket.socket) -> None:
        accept_import(connection)
        while connection.recv(4096):
            pass

    connection = client.Connection(fake_server(misbehave), "1-1", PATIENCE_S)
    start = time.monotonic()
    with pytest.raises(client.DeviceGone):
        connection.transfer(IN, None, memoryview(bytearray(64)), 0.01)
    assert time.monotonic() - start < PATIENCE_S
    connection.close()


def test_a_list_of_too_many_devices_is_refused(fake_server: Callable[..., str]) -> None:
    def misbehave(connection: socket.socket) -> None:
        connection.recv(8, socket.MSG_WAITALL)
        common = {"version": protocol.VERSION, "code": protocol.OP_REP_DEVLIST, "status": 0}
        connection.sendall(protocol.COMMON.build(common) + b"\xff" * 4)

    with pytest.raises(OSError, match="4294967295 devices"):
        client.list_devices(fake_server(misbehave), PATIENCE_S)
