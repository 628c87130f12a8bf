"""Run the USB/IP server: ``python -m lenslink_hil.usbip --hosts-fd N --boards-fd N [--rate B]``.

:class:`~lenslink_hil.usbip.exporter.Exporter` starts it. Both descriptors are of listening stream
sockets. It prints a line of JSON whenever a board attaches or detaches, and when a host takes a
board or releases it: {"boards": 1, "hosts": 0}. It ends when its standard input ends, and so never
outlives the process that started it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys

from .server import Server

_BUFFER = 1 << 20


async def serve(hosts: socket.socket, boards: socket.socket, rate: float) -> None:
    """Serve both listening sockets until standard input ends."""
    server = Server(rate, lambda: _print_counts(server))
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    listeners = [
        await asyncio.start_server(server.handle_host, sock=hosts, limit=_BUFFER),
        await asyncio.start_server(server.handle_board, sock=boards, limit=_BUFFER),
    ]
    await ended.wait()
    for listener in listeners:
        listener.close()


def _print_counts(server: Server) -> None:
    attached = server.list_attached_ports()
    hosts = sum(port.host is not None for port in attached)
    print(json.dumps({"boards": len(attached), "hosts": hosts}), flush=True)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="lenslink_hil.usbip")
    parser.add_argument("--hosts-fd", type=int, required=True)
    parser.add_argument("--boards-fd", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0)
    options = parser.parse_args()
    hosts, boards = (socket.socket(fileno=fd) for fd in (options.hosts_fd, options.boards_fd))
    asyncio.run(serve(hosts, boards, options.rate))


if __name__ == "__main__":
    main()
