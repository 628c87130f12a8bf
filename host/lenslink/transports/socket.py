"""Open ``unix:PATH`` and ``tcp:HOST:PORT``: a module behind one stream socket, or one per lane."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Mapping

from lenslink_protocol.params import MAX_LANES

from ..deadline import Deadline
from ..errors import Timeout, UsageError
from ..url import Url, is_host, is_port
from .base import DeviceInfo, Transport
from .lane_sockets import LaneSockets
from .os_errors import explain_os_error
from .registry import list_registered
from .stream_socket import SocketTransport

_OPTIONS = {"lanes": "connections that the link is spread over, as many as the module waits for"}

_log = logging.getLogger(__name__)


def _open_lanes(
    family: int, address: str | tuple[str, int], url: Url, deadline: Deadline
) -> Transport:
    """Connect once for each lane; the first connection is lane 0."""
    given = url.integer("lanes")
    lanes = 1 if given is None else given
    if not 1 <= lanes <= MAX_LANES:
        raise UsageError(f"{url.scheme}: lanes={lanes} is not 1 to {MAX_LANES}")
    if lanes == 1:
        return SocketTransport(_connect(family, address, url, deadline))
    with contextlib.ExitStack() as abort:
        connections = []
        for _ in range(lanes):
            connections.append(_connect(family, address, url, deadline))
            abort.callback(connections[-1].close)
        transport = LaneSockets(connections)
        abort.pop_all()
    return transport


def _connect(
    family: int, address: str | tuple[str, int], url: Url, deadline: Deadline
) -> socket.socket:
    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise explain_os_error(url.text, error) from None
    try:
        connection.settimeout(max(deadline.remaining(), 0.001))
        connection.connect(address)
        if family != getattr(socket, "AF_UNIX", None):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except TimeoutError:
        connection.close()
        raise Timeout(f"{url.text}: no answer within {deadline.seconds:g} s") from None
    except OSError as error:
        connection.close()
        raise explain_os_error(url.text, error) from None
    _log.debug("connected to %s", url.text)
    return connection


class UnixOpener:
    """Open ``unix:PATH``."""

    options: Mapping[str, str] = _OPTIONS

    def open(self, url: Url, deadline: Deadline) -> Transport:
        if not hasattr(socket, "AF_UNIX"):
            raise UsageError("this Python has no Unix sockets: use tcp:")
        if not url.path:
            raise UsageError("unix: needs a path, as in unix:/run/user/1000/lens")
        return _open_lanes(socket.AF_UNIX, url.path, url, deadline)

    def devices(self) -> list[DeviceInfo]:
        return list_registered("unix")


class TcpOpener:
    """Open ``tcp:HOST:PORT``; a module on a network has no protection but its address."""

    options: Mapping[str, str] = _OPTIONS

    def open(self, url: Url, deadline: Deadline) -> Transport:
        host, _, port = url.path.rpartition(":")
        if not host or not port.isdecimal():
            raise UsageError(f"{url.text}: tcp: needs a host and a port, as in tcp:127.0.0.1:7650")
        if not is_port(port):
            raise UsageError(f"{url.text}: port {port} is not 1 to 65535")
        host = host.strip("[]")
        if not is_host(host):
            raise UsageError(f"{url.text}: {host!r} is no name or address of a host")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return _open_lanes(family, (host, int(port)), url, deadline)

    def devices(self) -> list[DeviceInfo]:
        return list_registered("tcp")


UNIX = UnixOpener()
TCP = TcpOpener()
