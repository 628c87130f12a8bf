"""Test a module behind several sockets: ``unix:PATH?lanes=N`` and ``tcp:HOST:PORT?lanes=N``."""

from __future__ import annotations

import contextlib
import gc
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, NotFound, Timeout, UsageError
from lenslink.transports import open_transport, parse
from lenslink.transports.base import MultiLaneTransport
from lenslink.transports.lane_sockets import LaneSockets
from lenslink.transports.stream_socket import SocketTransport
from lenslink_hil.commands.socket_address import Listener, open_listener


@pytest.fixture(params=["unix", "tcp"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    address = f"unix:{tmp_path / 's'}" if request.param == "unix" else "tcp:127.0.0.1:0"
    with open_listener(f"{address}?lanes=3", several=True) as found:
        yield found


def opened(url: str) -> LaneSockets:
    transport = open_transport(parse(url), Deadline(5, "opening"))
    assert isinstance(transport, LaneSockets)
    assert isinstance(transport, MultiLaneTransport)
    return transport


@contextlib.contextmanager
def accepted(listener: Listener) -> Iterator[list[socket.socket]]:
    """The module's ends."""
    listener.socket.settimeout(5)
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(listener.accept()) for _ in range(listener.lanes)]


def read(transport: LaneSockets, lane: int) -> bytes:
    memory = bytearray(16)
    count = transport.receive_lane_into(lane, [memoryview(memory)])
    assert count is not None
    return bytes(memory[:count])


def test_each_connection_is_a_lane_in_order(listener: Listener) -> None:
    assert listener.lanes == 3
    assert listener.url.endswith("?lanes=3")
    transport = opened(listener.url)
    with accepted(listener) as ends:
        assert transport.lanes == 3
        assert transport.ready(0) == []
        for lane, end in enumerate(ends):
            end.sendall(b"lane %d" % lane)
            assert transport.ready(5) == [lane]
            assert read(transport, lane) == b"lane %d" % lane
            assert read(transport, lane) == b""
        transport.send(b"to the module", Deadline(5, "sending"))
        ends[0].settimeout(5)
        assert ends[0].recv(100) == b"to the module"
        for end in ends[1:]:
            end.setblocking(False)
            with pytest.raises(BlockingIOError):
                end.recv(1)
        transport.close()
        for end in ends:
            end.settimeout(5)
            assert end.recv(1) == b""


def test_a_lane_that_ends_leaves_the_others(listener: Listener) -> None:
    transport = opened(listener.url)
    with accepted(listener) as ends:
        ends[1].close()
        assert transport.ready(5) == [1]
        assert transport.receive_lane_into(1, [memoryview(bytearray(1))]) is None
        assert transport.ready(0) == []
        ends[2].sendall(b"x")
        assert transport.ready(5) == [2]
        assert read(transport, 2) == b"x"
        transport.close()
        transport.close()


def test_the_end_of_lane_0_disconnects_the_module(listener: Listener) -> None:
    transport = opened(listener.url)
    with accepted(listener) as ends:
        ends[0].close()
        assert transport.ready(5) == [0]
        for _ in range(2):
            with pytest.raises(Disconnected) as first:
                read(transport, 0)
            with pytest.raises(Disconnected) as second:
                transport.ready(0)
            with pytest.raises(Disconnected):
                transport.send(b"x", Deadline(1, "sending"))
            assert first.value is not second.value, "each has notes of its own"
            assert str(first.value) == str(second.value)
        transport.close()


@pytest.mark.parametrize("lanes", ["0", "5", "-1"])
def test_an_impossible_number_of_lanes_is_refused(lanes: str) -> None:
    for url in (f"unix:/nowhere?lanes={lanes}", f"tcp:127.0.0.1:1?lanes={lanes}"):
        with pytest.raises(UsageError, match="1 to 4"):
            open_transport(parse(url), Deadline(1, "opening"))
    with (
        pytest.raises(UsageError, match="1 to 4"),
        open_listener(f"tcp:127.0.0.1:0?lanes={lanes}", several=True),
    ):
        pass


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp:localhost:99999", "tcp:localhost:99999: port 99999 is not 1 to 65535"),
        ("tcp:localhost:0", "port 0 is not 1 to 65535"),
        ("tcp:localhost", "needs a host and a port"),
        ("tcp::7650", "needs a host and a port"),
    ],
)
def test_an_impossible_address_is_refused(address: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_transport(parse(address), Deadline(1))


def test_a_listener_refuses_lanes_unless_it_supports_them() -> None:
    with (
        pytest.raises(UsageError, match="no option 'lanes'"),
        open_listener("tcp:127.0.0.1:0?lanes=2"),
    ):
        pass


def test_one_lane_is_a_plain_socket(tmp_path: Path) -> None:
    with open_listener(f"unix:{tmp_path / 's'}", several=True) as one:
        assert (one.lanes, "?" in one.url) == (1, False)
        for url in (one.url, f"{one.url}?lanes=1"):
            transport = open_transport(parse(url), Deadline(5, "opening"))
            assert isinstance(transport, SocketTransport)
            assert not isinstance(transport, MultiLaneTransport)
            transport.close()


def test_a_failed_connection_closes_the_earlier_ones(tmp_path: Path) -> None:
    """A socket that is left open causes a ResourceWarning, which is an error here."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen(0)  # nobody accepts, and there is no room for four
        with pytest.raises((NotFound, Timeout)):
            open_transport(parse(f"unix:{path}?lanes=4"), Deadline(0.3, "opening"))
    gc.collect()
