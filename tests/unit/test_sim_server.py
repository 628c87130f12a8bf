"""Test that a served module has one host at a time, and takes the next as soon as one leaves."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lenslink.cli.options import CommonOptions
from lenslink.cli.screen import Screen
from lenslink.deadline import Deadline
from lenslink_hil.commands import module_server as server_module
from lenslink_hil.commands.module_server import Server
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import ErrorCode, MessageType
from lenslink_protocol.messages import HEADER, Error, Header
from lenslink_protocol.params import HEADER_BYTES

PATIENCE_S = 60.0
# The server looks at no more than the type of a packet.
HELLO = encode_packet(MessageType.HELLO, nonce=7, sequence=0, frame=1)


class Ended(Exception):
    """Raised in the server's thread to end it."""


class FakeModule:
    """A module that ends some time after its host: at the third look, once told to."""

    note = None

    def __init__(self, link: socket.socket) -> None:
        # Of the link that it inherits, the server keeps nothing.
        self._link = link.dup()
        self._looks_left: int | None = None
        self.has_ended = False

    def greet(self, boot: int) -> None:
        """Tell the host which start of the module this is."""
        self._link.sendall(f"boot {boot}".encode())

    def end_soon(self) -> None:
        self._looks_left = 2

    def poll(self) -> int | None:
        if self._looks_left is not None and not self.has_ended:
            if self._looks_left == 0:
                self.close()
            else:
                self._looks_left -= 1
        return 0 if self.has_ended else None

    def describe_end(self) -> str:
        return "the firmware ended"

    def close(self) -> None:
        self.has_ended = True
        self._link.close()


class FakeListener:
    """A listener whose next accept() ends the server once it is told to."""

    url = "unix:module"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen()
        self.is_ending = False

    def accept(self) -> socket.socket:
        connection, _ = self.socket.accept()
        if self.is_ending:
            connection.close()
            raise Ended
        return connection

    def connect(self) -> socket.socket:
        """Connect and send nothing."""
        host = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        host.settimeout(PATIENCE_S)
        host.connect(str(self.path))
        return host

    def open(self) -> socket.socket:
        """Connect and send a Hello, as a host does."""
        host = self.connect()
        host.sendall(HELLO)
        return host


@dataclass
class Harness:
    listener: FakeListener
    modules: list[FakeModule] = field(default_factory=list)


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    """Run a server whose modules are no processes."""
    monkeypatch.chdir(tmp_path)
    found = Harness(FakeListener(Path("module")))

    def start(
        options: Mapping[str, str], link: socket.socket, serial: str, deadline: Deadline, boot: int
    ) -> FakeModule:
        module = FakeModule(link)
        # The host must not hear of a module that the test cannot find yet.
        found.modules.append(module)
        module.greet(boot)
        return module

    monkeypatch.setattr(server_module, "start_module", start)
    server = Server(found.listener, {}, "S1", PATIENCE_S, Screen(CommonOptions(quiet=True)))

    def run() -> None:
        with contextlib.suppress(Ended):
            server.run()

    thread = threading.Thread(target=run)
    thread.start()
    yield found
    found.listener.is_ending = True
    found.listener.connect().close()
    thread.join()
    found.listener.socket.close()


def test_a_second_host_is_told_that_the_module_is_busy(harness: Harness) -> None:
    with harness.listener.open() as first:
        assert first.recv(16) == b"boot 1"
        with harness.listener.open() as second:
            answer = second.recv(4096)
            _, *fields = HEADER.unpack_from(answer)
            header = Header(*fields)
            assert (header.type, header.nonce, header.frame) == (MessageType.ERROR, 7, 1)
            error = Error.decode(answer[HEADER_BYTES:])
            assert error == Error(ErrorCode.STATE, b"another host has opened the module")
            assert second.recv(16) == b""
    assert len(harness.modules) == 1


def test_a_host_that_connects_right_after_another_left_is_served(harness: Harness) -> None:
    with harness.listener.open() as first:
        assert first.recv(16) == b"boot 1"
    with harness.listener.open() as second:
        harness.modules[0].end_soon()
        assert second.recv(16) == b"boot 2"


def test_a_module_that_outlives_its_host_is_ended_for_the_next_one(harness: Harness) -> None:
    with harness.listener.open() as first:
        assert first.recv(16) == b"boot 1"
    with harness.listener.open() as second:
        assert second.recv(16) == b"boot 2"
    assert harness.modules[0].has_ended


def test_a_silent_connection_blocks_no_host(harness: Harness) -> None:
    with harness.listener.connect(), harness.listener.open() as host:
        assert host.recv(16) == b"boot 1"


def test_a_silent_connection_is_closed_in_the_end(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_SILENT_S", 0.2)
    with harness.listener.connect() as stranger:
        assert stranger.recv(16) == b""
    assert not harness.modules


def test_silent_connections_beyond_the_limit_are_closed(harness: Harness) -> None:
    with contextlib.ExitStack() as stack:
        limit = server_module._MAX_GUESTS
        strangers = [stack.enter_context(harness.listener.connect()) for _ in range(limit + 1)]
        assert strangers[0].recv(16) == b""
