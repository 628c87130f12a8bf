"""``shm:PATH``: a module on the same machine, through memory that both processes share.

PATH is a Unix socket. The module listens there; for each host it makes a piece of memory and passes
its descriptor over the connection. What the link says goes through two rings in that memory
(:mod:`.ring`); the connection remains as the doorbell, and its end is the end of the peer, however
that came about. The memory has no name: it is gone with the last process that has it.

SPEC.md's appendix says it all, for a module in another language::

    offset    0  up: the module's line (it writes)     head, wake
    offset  128  up: the host's line (it reads)        tail, wake
    offset  256  down: the host's line (it writes)     head, wake
    offset  384  down: the module's line (it reads)    tail, wake
    offset 4096  the bytes of up (module to host), then those of down
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence

from ..deadline import Deadline
from ..errors import Disconnected, LensLinkError, NotFound, ProtocolError, Timeout, UsageError
from ..url import Url
from .base import DeviceInfo
from .ring import LINE_BYTES, RingError, RingReader, RingWriter
from .socket import registered

_GREETING = struct.Struct("<8sII")
_MAGIC = b"LLSHM 1\n"
_PAGE = 4096
_LINE_STEP = 128
_MAX_RING = 64 << 20
# What one core wrote, the other reads while it is still in a cache; a tile of 1 MiB fits with its
# header. With tiles of 64 and 256 KiB, 512 KiB and 8 MiB were each slower by a tenth.
UP_BYTES = 2 << 20
DOWN_BYTES = 64 << 10
# A module that shares memory says so at once.
_GREETING_S = 5.0
_BELLS = 4096


class ShmEnd:
    """One end of the rings and of the connection, all of which it owns.

    The host's end is a transport; the module's is the same, the other way round. ``incoming`` and
    ``outgoing`` are the rings, for whoever fills or empties them in place and then calls
    :meth:`ring`. One thread at a time.
    """

    private = False
    note: str | None = None

    def __init__(
        self, connection: socket.socket, memory: mmap.mmap, up: int, down: int, *, is_host: bool
    ) -> None:
        whole = memoryview(memory)
        lines = [whole[n * _LINE_STEP : n * _LINE_STEP + LINE_BYTES] for n in range(4)]
        rings = whole[_PAGE : _PAGE + up], whole[_PAGE + up : _PAGE + up + down]
        if is_host:
            self.incoming = RingReader(rings[0], lines[1], lines[0])
            self.outgoing = RingWriter(rings[1], lines[2], lines[3])
        else:
            self.incoming = RingReader(rings[1], lines[3], lines[2])
            self.outgoing = RingWriter(rings[0], lines[0], lines[1])
        connection.setblocking(False)
        self._socket: socket.socket | None = connection
        self._held: list[memoryview | mmap.mmap] = [*lines, whole, memory]
        self._bell = select.poll()
        self._bell.register(connection, select.POLLIN)
        self._peer = "module" if is_host else "host"
        self._ended = False
        self._gone = "the connection was closed"

    def fileno(self) -> int:
        """Of the doorbell, to wait for; :meth:`answer` it then."""
        return self._connection().fileno()

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        self._connection()
        try:
            count = self.incoming.read_into(buffers)
            if not count:
                if not self._wait_for_bytes(seconds):
                    return 0
                count = self.incoming.read_into(buffers)
            if self.incoming.take(count):
                self.ring()
        except RingError as error:
            raise self._broken(error) from None
        return count

    def send(self, data: bytes | memoryview, deadline: Deadline) -> None:
        self._connection()
        rest = memoryview(data)
        try:
            while rest:
                count, wanted = self.outgoing.write(rest)
                if wanted:
                    self.ring()
                rest = rest[count:]
                if count or not self.outgoing.is_full():
                    continue
                if self._ended:
                    raise self._lost()
                rest_s = deadline.remaining()
                if not self._sleep(rest_s) or not rest_s:
                    raise Timeout(f"the {self._peer} took no bytes for {deadline.seconds:g} s")
        except RingError as error:
            raise self._broken(error) from None

    def ring(self) -> None:
        """Wake the peer."""
        with contextlib.suppress(OSError):  # full: it will wake; gone: that is found by reading
            self._connection().send(b"\0")

    def answer(self) -> bool:
        """Note that the peer has rung; False once it is gone, whatever its ring still holds."""
        try:
            self._ended = not self._connection().recv(_BELLS)
        except BlockingIOError:
            pass
        except OSError:
            self._ended = True
        return not self._ended

    def close(self) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            self._socket.close()
        self._socket = None
        self.incoming.close()
        self.outgoing.close()
        for held in self._held:
            # Somebody may still have a view; then the memory goes with that.
            with contextlib.suppress(BufferError):
                if isinstance(held, memoryview):
                    held.release()
                else:
                    held.close()

    def _wait_for_bytes(self, seconds: float) -> bool:
        """Sleep until there is something to read."""
        end = time.monotonic() + seconds
        while self.incoming.is_idle():
            if self._ended:
                # What was written before the end was there before we looked.
                raise self._lost()
            rest = max(0.0, end - time.monotonic())
            if not self._sleep(rest):
                return False
            if not rest and not self._ended:
                # However often it rings.
                return self.incoming.available() > 0
        return True

    def _sleep(self, seconds: float) -> bool:
        """Wait for the bell; False if it stays silent."""
        if not self._bell.poll(seconds * 1000):
            return False
        self.answer()
        return True

    def _connection(self) -> socket.socket:
        if self._socket is None:
            raise Disconnected(self._gone)
        return self._socket

    def _lost(self) -> Disconnected:
        self._gone = f"the {self._peer} closed the connection"
        self.close()
        return Disconnected(self._gone)

    def _broken(self, error: RingError) -> ProtocolError:
        self._gone = f"the {self._peer} has broken the shared memory: {error}"
        self.close()
        return ProtocolError(self._gone)


def offer(connection: socket.socket, up: int = UP_BYTES, down: int = DOWN_BYTES) -> ShmEnd:
    """The module's end: share memory with the host that has connected.

    The rings have *up* and *down* bytes. It owns *connection* from now on.
    :exc:`~lenslink.errors.Disconnected` if the host is gone already.
    """
    check_system()
    import fcntl

    fd = os.memfd_create("lenslink", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        size = _PAGE + up + down
        os.ftruncate(fd, size)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        # Small, and the first on this connection: it goes as a whole and without waiting.
        socket.send_fds(connection, [_GREETING.pack(_MAGIC, up, down)], [fd])
        memory = mmap.mmap(fd, size)
    except OSError as error:
        connection.close()
        raise Disconnected(f"the host closed the connection: {error.strerror}") from None
    finally:
        os.close(fd)
    return ShmEnd(connection, memory, up, down, is_host=False)


def check_system() -> None:
    """:exc:`~lenslink.errors.UsageError` where there is no memory that can be shared so."""
    if sys.platform != "linux":
        raise UsageError("shm: needs Linux (memory that can be sealed): use unix:")


def _accept(connection: socket.socket, name: str) -> ShmEnd:
    """The host's end: map what the module offers, once it has been checked."""
    try:
        data, fds, _, _ = socket.recv_fds(
            connection, _GREETING.size, 1, flags=socket.MSG_CMSG_CLOEXEC
        )
    except TimeoutError:
        raise ProtocolError(f"{name}: the module shares no memory (does it serve unix:?)") from None
    except OSError as error:
        raise Disconnected(f"{name}: the module closed the connection: {error.strerror}") from None
    try:
        if not data:
            raise Disconnected(f"{name}: the module closed the connection")
        if len(data) < _GREETING.size or len(fds) != 1:
            raise ProtocolError(f"{name}: the module shares no memory (does it serve unix:?)")
        magic, up, down = _GREETING.unpack(data)
        if magic != _MAGIC:
            raise ProtocolError(f"{name}: the module greets with {magic!r}, not with {_MAGIC!r}")
        for ring in (up, down):
            if not _PAGE <= ring <= _MAX_RING or ring & (ring - 1):
                raise ProtocolError(f"{name}: the module's ring has {ring} bytes")
        size = _PAGE + up + down
        memory = _mapped(fds[0], size, name)
    finally:
        for fd in fds:
            os.close(fd)
    return ShmEnd(connection, memory, up, down, is_host=True)


def _mapped(fd: int, size: int, name: str) -> mmap.mmap:
    import fcntl

    try:
        # Only memory has seals: a file could be cut behind our back, or lie on a slow disk.
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        raise ProtocolError(f"{name}: what the module shares is no memory") from None
    if not seals & fcntl.F_SEAL_SHRINK or os.fstat(fd).st_size != size:
        raise ProtocolError(f"{name}: the memory that the module shares may change its size")
    try:
        return mmap.mmap(fd, size)
    except OSError as error:
        raise ProtocolError(
            f"{name}: cannot map the module's memory: {error.strerror or error}"
        ) from None


class ShmOpener:
    """``shm:PATH``."""

    options: Mapping[str, str] = {}

    def open(self, url: Url, deadline: Deadline) -> ShmEnd:
        check_system()
        if not url.path:
            raise UsageError("shm: needs a path, as in shm:/run/user/1000/lens")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(max(min(deadline.remaining(), _GREETING_S), 0.001))
        try:
            connection.connect(url.path)
            return _accept(connection, url.text)
        except TimeoutError:
            connection.close()
            raise Timeout(f"{url.text}: no answer within {deadline.seconds:g} s") from None
        except OSError as error:
            connection.close()
            if error.errno is None:  # no address at all: a path too long for AF_UNIX
                raise UsageError(f"{url.text}: {error}") from None
            raise NotFound(f"{url.text}: {error.strerror or error}") from None
        except (LensLinkError, ValueError):
            connection.close()
            raise

    def devices(self) -> list[DeviceInfo]:
        return registered("shm")


SHM = ShmOpener()
