"""Test ``shm:`` with both ends in this process, and with modules that break the rules."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.slowdown import patience
from helpers.undisturbed import Moment

from lenslink import Disconnected, NotFound, ProtocolError, Timeout, UsageError
from lenslink.deadline import Deadline
from lenslink.transports import open_transport, parse
from lenslink.transports.shm import ShmEnd, offer
from lenslink_hil.benches.shm_bridge import bridge

if sys.platform != "linux":
    pytest.skip("shm: needs Linux", allow_module_level=True)

KNOWN_S = patience(0.2)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A listening socket, at ``lens`` in the current folder."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind("lens")
        listening.listen()
        yield listening


@pytest.fixture
def ends(server):
    """The host's end and the module's."""
    host, module = pair(server)
    with contextlib.closing(host), contextlib.closing(module):
        yield host, module


def pair(server: socket.socket, **rings: int) -> tuple[ShmEnd, ShmEnd]:
    """Both ends: what the module sends at once waits in the connection for the host."""
    found: list[ShmEnd] = []
    thread = threading.Thread(target=lambda: found.append(offer(server.accept()[0], **rings)))
    thread.start()
    host = open_transport(parse("shm:lens"), Deadline(10))
    thread.join()
    assert isinstance(host, ShmEnd)
    return host, found[0]


def receive(end: ShmEnd, count: int) -> bytes:
    data = bytearray(count)
    rest = memoryview(data)
    while rest:
        got = end.receive_into([rest], 10)
        assert got
        rest = rest[got:]
    return bytes(data)


def test_bytes_pass_in_both_directions(ends):
    host, module = ends
    for one, other in ((host, module), (module, host)):
        assert one.receive_into([memoryview(bytearray(9))], 0) == 0
        one.send(b"hello", Deadline(1))
        one.send(b"", Deadline(1))
        assert receive(other, 5) == b"hello"


def test_messages_larger_than_the_ring_pass(server, seed):
    """Any sizes of writes and reads; each side sleeps often, as the ring is small."""
    host, module = pair(server, up=4096, down=4096)
    chance = random.Random(seed)
    data = chance.randbytes(3_000_000)
    sizes = [chance.choice([1, 40, 4096, 4097, 20_000, 300_000]) for _ in range(len(data))]

    def send() -> None:
        rest = memoryview(data)
        for size in sizes:
            module.send(rest[:size], Deadline(20))
            rest = rest[size:]
            if not rest:
                break

    thread = threading.Thread(target=send)
    thread.start()
    came = bytearray()
    while len(came) < len(data):
        parts = [bytearray(chance.choice([1, 40, 5000])) for _ in range(chance.randrange(1, 8))]
        count = host.receive_into([memoryview(part) for part in parts], 20)
        assert count, f"seed {seed}: nothing came after {len(came)} bytes"
        came += b"".join(parts)[:count]
    thread.join()
    assert came == data
    host.close()
    module.close()


def test_a_byte_wakes_the_reader(ends):
    host, module = ends
    timer = threading.Timer(0.05, module.send, (b"x", Deadline(1)))
    timer.start()
    began = time.monotonic()
    assert host.receive_into([memoryview(bytearray(9))], patience(10)) == 1
    assert time.monotonic() - began < patience(5)
    timer.join()


def test_receiving_ends_in_time_without_bytes(ends):
    host, module = ends
    began = time.monotonic()
    assert host.receive_into([memoryview(bytearray(9))], 0.05) == 0
    assert 0.04 < time.monotonic() - began < patience(5)
    with pytest.raises(Timeout, match=r"the module took no bytes for 0\.05 s"):
        host.send(bytes(100_000), Deadline(0.05))
    assert module.receive_into([memoryview(bytearray(100_000))], 1) == 64 << 10


def test_the_end_is_reported_after_the_last_bytes(ends):
    host, module = ends
    module.send(b"last words", Deadline(1))
    module.close()
    assert receive(host, 10) == b"last words"
    began = Moment.take()
    for _ in range(2):
        with pytest.raises(Disconnected, match="the module closed the connection"):
            host.receive_into([memoryview(bytearray(9))], 10)
    with pytest.raises(Disconnected):
        host.send(b"x", Deadline(1))
    assert Moment.take().since(began) < KNOWN_S


def test_sending_to_a_full_ring_ends_when_the_host_is_gone(ends):
    host, module = ends
    timer = threading.Timer(0.05, host.close)
    timer.start()
    with pytest.raises(Disconnected, match="the host closed the connection"):
        module.send(bytes(4 << 20), Deadline(10))
    timer.join()


def test_calls_end_in_time_although_the_module_only_notifies(server):
    """However often it does, the host's calls end in time."""
    host, module = pair(server)
    stop = threading.Event()

    def noise() -> None:
        while not stop.is_set():
            module.notify()

    thread = threading.Thread(target=noise)
    thread.start()
    try:
        assert host.receive_into([memoryview(bytearray(9))], 0) == 0
        assert host.receive_into([memoryview(bytearray(9))], 0.05) == 0
        with pytest.raises(Timeout):
            host.send(bytes(1 << 20), Deadline(0.05))
    finally:
        stop.set()
        thread.join()
        host.close()
        module.close()


def test_an_impossible_head_is_a_protocol_error(ends):
    host, module = ends
    module.outgoing._own_words[0] = 1 << 40
    with pytest.raises(ProtocolError, match="the module has broken the shared memory: "):
        host.receive_into([memoryview(bytearray(9))], 1)
    with pytest.raises(Disconnected, match="broken"):
        host.receive_into([memoryview(bytearray(9))], 1)


def test_an_impossible_tail_is_a_protocol_error(ends):
    host, module = ends
    module.incoming._own_words[0] = 1
    with pytest.raises(ProtocolError, match="broken"):
        host.send(b"x", Deadline(1))


@contextlib.contextmanager
def greeted(server: socket.socket, data: bytes, fds: list[int]):
    """A module that says that, and stays until it is answered for good."""
    kept: list[socket.socket] = []

    def serve() -> None:
        connection, _ = server.accept()
        kept.append(connection)
        if fds:
            socket.send_fds(connection, [data], fds)
        else:
            connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        for each in [*fds, *(connection.detach() for connection in kept)]:
            os.close(each)


def memory(size: int, sealed: bool = True) -> int:
    import fcntl

    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if sealed:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return fd


def greeting(up: int = 4096, down: int = 4096, magic: bytes = b"LLSHM 1\n") -> bytes:
    return struct.pack("<8sII", magic, up, down)


def framed(slots: int, slot_bytes: int) -> bytes:
    """The greeting of a module with memory for frames."""
    return greeting(magic=b"LLSHM 2\n") + struct.pack("<IIQ", slots, 0, slot_bytes)


def both(sealed: bool = True) -> list[int]:
    """Rings, and three slots of a page."""
    return [memory(3 * 4096), memory(3 * 4096, sealed)]


@pytest.mark.parametrize(
    ("data", "make", "words"),
    [
        (greeting(), lambda: [], "shares no memory"),
        (greeting()[:9], lambda: [memory(3 * 4096)], "shares no memory"),
        (greeting(magic=b"LLSHM 3\n"), lambda: [memory(3 * 4096)], "greets with"),
        (greeting(), lambda: [memory(3 * 4096), memory(4096)], "passes 2 pieces"),
        (framed(3, 4096), lambda: [memory(3 * 4096)], "passes 1 pieces"),
        (framed(3, 4096)[:31], both, "greeting ends early"),
        (framed(0, 4096), both, "has 0 slots"),
        (framed(9, 4096), both, "has 9 slots"),
        (framed(3, 0), both, "slots of 0 bytes"),
        (framed(3, 4095), both, "slots of 4095 bytes"),
        (framed(3, 1 << 40), both, "slots of 1099511627776 bytes"),
        (framed(2, 4096), both, "may change its size"),
        (framed(3, 4096), lambda: both(sealed=False), "may change its size"),
        (greeting(up=0), lambda: [memory(2 * 4096)], "ring has 0 bytes"),
        (greeting(up=6144), lambda: [memory(4096 + 6144 + 4096)], "ring has 6144 bytes"),
        (greeting(down=1 << 31), lambda: [memory(3 * 4096)], "ring has 2147483648 bytes"),
        (greeting(), lambda: [memory(3 * 4096, sealed=False)], "may change its size"),
        (greeting(), lambda: [memory(3 * 4096 - 1)], "may change its size"),
        (greeting(), lambda: [os.open("file", os.O_RDWR | os.O_CREAT)], "is no memory"),
        (greeting(), lambda: list(os.pipe()[:1]), "is no memory"),
    ],
)
def test_a_bad_offer_of_memory_is_refused(server, data, make, words):
    with greeted(server, data, make()), pytest.raises(ProtocolError, match=words) as caught:
        open_transport(parse("shm:lens"), Deadline(10))
    assert str(caught.value).startswith("shm:lens: ")
    assert "\n" not in str(caught.value)


def test_a_module_that_closes_before_its_greeting_is_disconnected(server):
    def leave() -> None:
        server.accept()[0].close()

    thread = threading.Thread(target=leave)
    thread.start()
    with pytest.raises(Disconnected, match="shm:lens: the module closed the connection"):
        open_transport(parse("shm:lens"), Deadline(10))
    thread.join()


def test_a_module_without_a_greeting_is_a_protocol_error(server):
    with pytest.raises(ProtocolError, match=r"shm:lens: .*does it serve unix:\?"):
        open_transport(parse("shm:lens"), Deadline(0.1))


@pytest.mark.parametrize(
    ("url", "kind", "words"),
    [
        ("shm:", UsageError, "needs a path"),
        ("shm:lens?size=1", UsageError, "no option 'size'"),
        ("shm:nobody", NotFound, "shm:nobody: No such file or directory"),
        ("shm:" + "x" * 200, UsageError, "too long"),
        ("shm:.", NotFound, "shm:.: Connection refused"),
        ("shm:a%00b", NotFound, "shm:a%00b: No such file"),
    ],
)
def test_bad_urls_are_refused(server, url, kind, words):
    with pytest.raises(kind, match=words):
        open_transport(parse(url), Deadline(1))


def test_closing_leaves_no_descriptor_and_no_mapping(server):
    """No descriptor and no mapping; there never was a name."""
    before = entries("/proc/self/fd")
    for _ in range(3):
        host, module = pair(server)
        module.send(b"x", Deadline(1))
        assert "memfd:lenslink" in Path("/proc/self/maps").read_text(encoding="utf-8")
        host.close()
        host.close()
        module.close()
        with greeted(server, greeting(), [memory(4096)]), pytest.raises(ProtocolError):
            open_transport(parse("shm:lens"), Deadline(10))
    assert len(entries("/proc/self/fd")) == len(before)
    assert "memfd:lenslink" not in Path("/proc/self/maps").read_text(encoding="utf-8")


def entries(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()} if Path(folder).is_dir() else set()


def test_a_bridge_copies_in_both_directions(server, seed):
    """A module that has only a socket: all that is said arrives, in both directions."""
    host, module = pair(server, up=4096, down=4096)
    chance = random.Random(seed)
    up, down = chance.randbytes(1_000_000), chance.randbytes(300_000)
    echo = []

    def serve(link: socket.socket) -> None:
        with link:
            sender = threading.Thread(target=link.sendall, args=(up,))
            sender.start()
            echo.append(link.recv(len(down), socket.MSG_WAITALL))
            sender.join()

    thread = threading.Thread(target=serve, args=(bridge(module),))
    thread.start()
    came = bytearray()
    rest = memoryview(down)
    while len(came) < len(up) or rest:
        with contextlib.suppress(Timeout):
            host.send(rest[:1000], Deadline(10))
            rest = rest[1000:]
        part = bytearray(chance.randrange(1, 9000))
        if len(came) < len(up):
            came += part[: host.receive_into([memoryview(part)], 10)]
    thread.join()
    assert came == up
    assert echo == [down]
    with pytest.raises(Disconnected):
        host.receive_into([memoryview(bytearray(1))], 10)


def test_a_bridge_delivers_the_hosts_last_bytes_and_ends(server):
    host, module = pair(server)
    with bridge(module) as link:
        link.settimeout(10)
        host.send(b"goodbye", Deadline(1))
        host.close()
        assert link.recv(100, socket.MSG_WAITALL) == b"goodbye"


def test_a_bridge_ends_when_the_host_breaks_the_rules(server):
    host, module = pair(server)
    with bridge(module) as link:
        link.settimeout(10)
        host.outgoing._own_words[0] = 1 << 50
        host.notify()
        assert link.recv(100) == b""
    with pytest.raises(Disconnected):
        host.receive_into([memoryview(bytearray(1))], 10)
