"""Copies bytes between a Unix socket and its standard input and output: a module with pipes.

::

    python socket_relay.py /run/lens
"""

from __future__ import annotations

import os
import select
import socket
import sys


def relay(path: str) -> None:
    """Copy until either side ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as module:
        module.connect(path)
        while True:
            readable, _, _ = select.select([0, module], [], [])
            if 0 in readable:
                data = os.read(0, 65536)
                if not data:
                    return
                module.sendall(data)
            if module in readable:
                data = module.recv(65536)
                if not data:
                    return
                while data:
                    data = data[os.write(1, data) :]


if __name__ == "__main__":
    relay(sys.argv[1])
