"""The server's process: ``python -m lenslink_hil.usbip --hosts-fd N --boards-fd N [--rate B]``.

Both descriptors are of listening stream sockets. It prints a line of JSON whenever a board comes or
goes, or is taken by a host: {"boards": 1, "hosts": 0}. It ends with its standard input, so that it
never outlives whoever started it.
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
    """Serve until standard input ends."""
    server = Server(rate, lambda: _tell(server))
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    listeners = [
        await asyncio.start_server(server.connect, sock=hosts, limit=_BUFFER),
        await asyncio.start_server(server.plug, sock=boards, limit=_BUFFER),
    ]
    await ended.wait()
    for listener in listeners:
        listener.close()


def _tell(server: Server) -> None:
    present = server.present()
    hosts = sum(port.host is not None for port in present)
    print(json.dumps({"boards": len(present), "hosts": hosts}), flush=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="lenslink_hil.usbip")
    parser.add_argument("--hosts-fd", type=int, required=True)
    parser.add_argument("--boards-fd", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0)
    options = parser.parse_args()
    hosts, boards = (socket.socket(fileno=fd) for fd in (options.hosts_fd, options.boards_fd))
    asyncio.run(serve(hosts, boards, options.rate))


if __name__ == "__main__":
    main()
