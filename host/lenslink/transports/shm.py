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
    offset  512  the host's: a word for each slot of the frames' memory
    offset 4096  the bytes of up (module to host), then those of down

A module that writes its pixels where the host wants them, as a sensor's DMA does, greets with
version 2, and passes memory for frames besides: :mod:`.placed`.
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

import numpy as np

from lenslink_protocol.params import MAX_HEIGHT, MAX_WIDTH

from ..deadline import Deadline
from ..errors import Disconnected, LensLinkError, NotFound, ProtocolError, Timeout, UsageError
from ..url import Url
from .base import DeviceInfo
from .byte_ring import LINE_BYTES, FrameRingError, FrameRingReader, RingWriter
from .direct_placement import MAX_SLOTS, SLOTS, DirectPlacementPool, FrameSlots
from .records import HEAD_BYTES, Record, RecordReader, encode, padding
from .socket import registered

_GREETING = struct.Struct("<8sII")
_MAGIC = b"LLSHM 1\n"
_FRAMES = struct.Struct("<IIQ")
_FRAMES_MAGIC = b"LLSHM 2\n"
_PAGE = 4096
_LINE_STEP = 128
_GRANTS_AT = 512
_MAX_SLOT = 2 * MAX_WIDTH * MAX_HEIGHT
_MAX_RING = 64 << 20
# What one core wrote, the other reads while it is still in a cache; a tile of 1 MiB fits with its
# header. With tiles of 64 and 256 KiB, 512 KiB and 8 MiB were each slower by a tenth.
UP_BYTES = 2 << 20
DOWN_BYTES = 64 << 10
# A module that shares memory says so at once.
_GREETING_S = 5.0
_BELLS = 4096
# A host that listens takes what the module says of its slots.
_PUT_S = 10.0
# How long a module may pause before what has come is used.
_FILL_S = 0.002


class ShmEnd:
    """One end of the rings and of the connection, all of which it owns.

    The host's end is a transport; the module's is the same, the other way round. ``incoming`` and
    ``outgoing`` are the rings, for whoever fills or empties them in place and then calls
    :meth:`ring`. With *frames*, memory of *slots* frames, what the module sends comes in records.
    One thread at a time.
    """

    private = False
    note: str | None = None

    def __init__(
        self,
        connection: socket.socket,
        memory: mmap.mmap,
        up: int,
        down: int,
        *,
        is_host: bool,
        frames: mmap.mmap | None = None,
        slots: int = 0,
    ) -> None:
        whole = memoryview(memory)
        lines = [whole[n * _LINE_STEP : n * _LINE_STEP + LINE_BYTES] for n in range(4)]
        rings = whole[_PAGE : _PAGE + up], whole[_PAGE + up : _PAGE + up + down]
        if is_host:
            self.incoming = FrameRingReader(rings[0], lines[1], lines[0])
            self.outgoing = RingWriter(rings[1], lines[2], lines[3])
        else:
            self.incoming = FrameRingReader(rings[1], lines[3], lines[2])
            self.outgoing = RingWriter(rings[0], lines[0], lines[1])
        self._pool: DirectPlacementPool | None = None
        self._placing: DirectPlacementPool | None = None
        self._records: RecordReader | None = None
        self.slots: FrameSlots | None = None
        """Of the module's end, where it has memory for frames."""
        self._held: list[memoryview | mmap.mmap] = [*lines, whole, memory]
        if frames is not None:
            words = whole[_GRANTS_AT : _GRANTS_AT + 8 * slots].cast("Q")
            self._held = [words, *self._held, frames]
            if is_host:
                self._pool = DirectPlacementPool(np.frombuffer(frames, np.uint8), slots, words)
                self._records = RecordReader(self.incoming, self._pool)
            else:
                self.slots = FrameSlots(memoryview(frames), slots, words, self._put)
        connection.setblocking(False)
        self._socket: socket.socket | None = connection
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
        end = time.monotonic() + seconds
        try:
            while not (count := self._read_into(buffers)):
                if not self._wait_for_bytes(end):
                    break
        except FrameRingError as error:
            raise self._broken(error) from None
        return count

    def fill_into(self, buffers: Sequence[memoryview]) -> int:
        if self._records is not None:
            self._await(self._records.expected(buffers))
        return self.receive_into(buffers, _FILL_S)

    def _await(self, count: int) -> None:
        """Sleep until *count* bytes are in the ring, for a moment."""
        end = time.monotonic() + _FILL_S
        try:
            while not self._ended and self.incoming.is_short(count):
                rest = end - time.monotonic()
                if rest <= 0 or not self._sleep(rest):
                    break
        except FrameRingError as error:
            raise self._broken(error) from None

    def _read_into(self, buffers: Sequence[memoryview]) -> int:
        if self._records is not None:
            if self._placing is not None:
                self._placing.grant()
            count, wanted = self._records.read_into(buffers)
        else:
            count = self.incoming.read_into(buffers)
            wanted = count > 0 and self.incoming.take(count)
        if wanted:
            self.ring()
        return count

    def frame_pool(self) -> DirectPlacementPool | None:
        """Memory for frames that the module writes to itself: it may, once the host listens."""
        self._placing = self._pool
        return self._pool

    def send(self, data: bytes | memoryview, deadline: Deadline) -> None:
        if self.slots is None:
            self._write(data, deadline)
            return
        if len(data) <= _PAGE:
            self._write(encode(Record.BYTES, len(data), 0, bytes(data)), deadline)
            return
        head = encode(Record.BYTES, len(data))
        self._write(head[:HEAD_BYTES], deadline)
        self._write(data, deadline)
        self._write(padding(len(data)), deadline)

    def _put(self, record: bytes) -> None:
        """Send a record of the module's that is not of the link."""
        self._write(record, Deadline(_PUT_S))

    def _write(self, data: bytes | memoryview, deadline: Deadline) -> None:
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
        except FrameRingError as error:
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

    def _wait_for_bytes(self, end: float) -> bool:
        """Sleep until there is something to read; False if there is nothing at the time *end*."""
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

    def _broken(self, error: FrameRingError) -> ProtocolError:
        self._gone = f"the {self._peer} has broken the shared memory: {error}"
        self.close()
        return ProtocolError(self._gone)


def offer(
    connection: socket.socket, up: int = UP_BYTES, down: int = DOWN_BYTES, frame_bytes: int = 0
) -> ShmEnd:
    """The module's end: share memory with the host that has connected.

    The rings have *up* and *down* bytes; with *frame_bytes* there is memory for frames of up to so
    many. It owns *connection* from now on. :exc:`~lenslink.errors.Disconnected` if the host is gone
    already.
    """
    check_system()
    slots = SLOTS if frame_bytes else 0
    slot_bytes = -(-frame_bytes // _PAGE) * _PAGE
    sizes = [_PAGE + up + down] + ([slots * slot_bytes] if slots else [])
    greeting = _GREETING.pack(_FRAMES_MAGIC if slots else _MAGIC, up, down)
    if slots:
        greeting += _FRAMES.pack(slots, 0, slot_bytes)
    with contextlib.ExitStack() as stack:
        try:
            fds = [_memory(size, stack) for size in sizes]
            # Small, and the first on this connection: it goes as a whole and without waiting.
            socket.send_fds(connection, [greeting], fds)
            memory, *frames = (mmap.mmap(fd, size) for fd, size in zip(fds, sizes, strict=True))
        except OSError as error:
            connection.close()
            raise Disconnected(f"the host closed the connection: {error.strerror}") from None
    found = frames[0] if frames else None
    return ShmEnd(connection, memory, up, down, is_host=False, frames=found, slots=slots)


def _memory(size: int, stack: contextlib.ExitStack) -> int:
    """A descriptor of memory that never changes its size."""
    import fcntl

    fd = os.memfd_create("lenslink", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    stack.callback(os.close, fd)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def check_system() -> None:
    """:exc:`~lenslink.errors.UsageError` where there is no memory that can be shared so."""
    if sys.platform != "linux":
        raise UsageError("shm: needs Linux (memory that can be sealed): use unix:")


def _accept(connection: socket.socket, name: str) -> ShmEnd:
    """The host's end: map what the module offers, once it has been checked."""
    try:
        data, fds, _, _ = socket.recv_fds(
            connection, _GREETING.size, 2, flags=socket.MSG_CMSG_CLOEXEC
        )
    except TimeoutError:
        raise ProtocolError(f"{name}: the module shares no memory (does it serve unix:?)") from None
    except OSError as error:
        raise Disconnected(f"{name}: the module closed the connection: {error.strerror}") from None
    try:
        if not data:
            raise Disconnected(f"{name}: the module closed the connection")
        if len(data) < _GREETING.size or not fds:
            raise ProtocolError(f"{name}: the module shares no memory (does it serve unix:?)")
        magic, up, down = _GREETING.unpack(data)
        if magic not in (_MAGIC, _FRAMES_MAGIC):
            known = f"{_MAGIC!r} or {_FRAMES_MAGIC!r}"
            raise ProtocolError(f"{name}: the module greets with {magic!r}, not with {known}")
        for ring in (up, down):
            if not _PAGE <= ring <= _MAX_RING or ring & (ring - 1):
                raise ProtocolError(f"{name}: the module's ring has {ring} bytes")
        slots, frames_size = 0, 0
        if magic == _FRAMES_MAGIC:
            slots, frames_size = _frames_offered(connection, name)
        sizes = [_PAGE + up + down] + ([frames_size] if slots else [])
        if len(fds) != len(sizes):
            raise ProtocolError(f"{name}: the module passes {len(fds)} pieces of memory")
        memory, *frames = (_mapped(fd, size, name) for fd, size in zip(fds, sizes, strict=True))
    finally:
        for fd in fds:
            os.close(fd)
    found = frames[0] if frames else None
    return ShmEnd(connection, memory, up, down, is_host=True, frames=found, slots=slots)


def _frames_offered(connection: socket.socket, name: str) -> tuple[int, int]:
    """Slots of the module's memory for frames, and the size of it all."""
    data = b""
    with contextlib.suppress(OSError):
        # Sent in one piece with what has come already.
        data = connection.recv(_FRAMES.size)
    if len(data) < _FRAMES.size:
        raise ProtocolError(f"{name}: the module's greeting ends early")
    slots, _, slot_bytes = _FRAMES.unpack(data)
    if not 1 <= slots <= MAX_SLOTS:
        raise ProtocolError(f"{name}: the module's memory has {slots} slots")
    if not 0 < slot_bytes <= _MAX_SLOT or slot_bytes % _PAGE:
        raise ProtocolError(f"{name}: the module's memory has slots of {slot_bytes} bytes")
    return slots, slots * slot_bytes


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
