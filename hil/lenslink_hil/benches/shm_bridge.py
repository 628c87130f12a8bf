"""Copy bytes between a stream socket and shared memory, for a module that has only sockets.

MicroPython cannot map memory, so a simulated module reaches ``shm:`` through this bridge. Bytes
from the module are received straight into the ring: the kernel's copy is the only one.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

from lenslink.errors import Disconnected
from lenslink.transports.byte_ring import ByteRingError
from lenslink.transports.shm import ShmEnd

_BUFFER_BYTES = 1 << 20
_LAST_S = 1.0


def bridge(end: ShmEnd) -> socket.socket:
    """Start a thread that copies between *end* and a socket; return that socket's other end.

    When either side ends, the thread closes the other side too. The thread owns *end*.
    """
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            each.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
    threading.Thread(target=_run, args=(end, ours), name="shm", daemon=True).start()
    return theirs


def _run(end: ShmEnd, link: socket.socket) -> None:
    # A peer that breaks the rules is treated like one that left: the other side sees the end.
    with link, contextlib.closing(end), contextlib.suppress(OSError, Disconnected, ByteRingError):
        copy(end, link)


def copy(end: ShmEnd, link: socket.socket) -> None:
    """Copy in both directions until either side ends."""
    link.setblocking(False)
    up, down = end.outgoing, end.incoming
    with selectors.DefaultSelector() as selector:
        selector.register(end, selectors.EVENT_READ)
        registered = 0
        while True:
            room, data = up.get_views(), down.get_views()
            # prepare_sleep() looks once more, so bytes that arrived in between are not missed.
            if not room and not up.prepare_sleep():
                room = up.get_views()
            if not data and not down.prepare_sleep():
                data = down.get_views()
            wanted = (selectors.EVENT_READ if room else 0) | (selectors.EVENT_WRITE if data else 0)
            if wanted != registered:
                if not registered:
                    selector.register(link, wanted)
                elif not wanted:
                    selector.unregister(link)
                else:
                    selector.modify(link, wanted)
                registered = wanted
            for key, events in selector.select():
                if key.fileobj is end:
                    if not end.drain_doorbell():
                        _finish(end, link)
                        return
                    continue
                if events & selectors.EVENT_READ:
                    count = link.recvmsg_into(room)[0]
                    if not count:
                        return
                    if up.commit(count):
                        end.notify()
                if events & selectors.EVENT_WRITE and down.consume(link.send(data[0])):
                    end.notify()


def _finish(end: ShmEnd, link: socket.socket) -> None:
    """Deliver the host's last bytes, its Close for example, to the module."""
    link.settimeout(_LAST_S)
    for data in end.incoming.get_views():
        link.sendall(data)
