"""Between a stream socket and shared memory: for a module that has only sockets.

MicroPython maps no memory, so a simulated module reaches ``shm:`` through this. Bytes from the
module are received in place in the ring: there is no copy but the kernel's.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

from lenslink.errors import Disconnected
from lenslink.transports.byte_ring import FrameRingError
from lenslink.transports.shm import ShmEnd

_BUFFER_BYTES = 1 << 20
_LAST_S = 1.0


def bridged(end: ShmEnd) -> socket.socket:
    """A stream socket to whoever is at the other side of *end*.

    A thread copies until either side has gone; then the other side is closed too. It owns *end*.
    """
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            each.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
    threading.Thread(target=_run, args=(end, ours), name="shm", daemon=True).start()
    return theirs


def _run(end: ShmEnd, link: socket.socket) -> None:
    # A peer that has gone or breaks the rules is one that has left: the other side sees the end.
    with link, contextlib.closing(end), contextlib.suppress(OSError, Disconnected, FrameRingError):
        copy(end, link)


def copy(end: ShmEnd, link: socket.socket) -> None:
    """Copy in both directions until either side has gone."""
    link.setblocking(False)
    up, down = end.outgoing, end.incoming
    with selectors.DefaultSelector() as selector:
        selector.register(end, selectors.EVENT_READ)
        registered = 0
        while True:
            room, data = up.views(), down.views()
            # Asked to be woken, then looked again: what came in between is seen.
            if not room and not up.is_full():
                room = up.views()
            if not data and not down.is_idle():
                data = down.views()
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
                    if not end.answer():
                        _finish(end, link)
                        return
                    continue
                if events & selectors.EVENT_READ:
                    count = link.recvmsg_into(room)[0]
                    if not count:
                        return
                    if up.put(count):
                        end.ring()
                if events & selectors.EVENT_WRITE and down.take(link.send(data[0])):
                    end.ring()


def _finish(end: ShmEnd, link: socket.socket) -> None:
    """What the host said last is said, its goodbye for one."""
    link.settimeout(_LAST_S)
    for data in end.incoming.views():
        link.sendall(data)
