"""Open ``shm:PATH``: a module on the same machine, through memory that both processes share.

PATH is a Unix socket on which the module listens. For each host the module creates shared memory
and passes its descriptor over the connection. The link's bytes go through two byte rings in that
memory (:mod:`.byte_ring`). The connection then serves as the doorbell. When a process ends for any
reason, its connection ends too, and the peer notices. The memory has no name, so it disappears with
the last process that maps it.

SPEC.md's appendix defines the layout for modules in other languages::

    offset    0  up: the module's line (it writes)     head, wake
    offset  128  up: the host's line (it reads)        tail, wake
    offset  256  down: the host's line (it writes)     head, wake
    offset  384  down: the module's line (it reads)    tail, wake
    offset  512  the host's: one word for each slot of the frames' memory
    offset 4096  the bytes of up (module to host), then those of down

A module that writes its pixels straight into the host's frames, as a sensor's DMA does, greets with
version 2. It also passes memory for frames: :mod:`.direct_placement`.
"""

from __future__ import annotations

import contextlib
import logging
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
from ..errors import Disconnected, LensLinkError, ProtocolError, Timeout, UsageError
from ..url import Url
from .base import DeviceInfo
from .byte_ring import LINE_BYTES, ByteRingError, ByteRingReader, ByteRingWriter
from .direct_placement import MAX_SLOTS, SLOTS, DirectPlacementPool, FrameSlots
from .os_errors import explain_os_error
from .records import HEAD_BYTES, Record, RecordReader, encode_record, make_padding
from .registry import list_registered

_GREETING = struct.Struct("<8sII")
_MAGIC = b"LLSHM 1\n"
_FRAMES = struct.Struct("<IIQ")
_FRAMES_MAGIC = b"LLSHM 2\n"
_PAGE = 4096
_LINE_STEP = 128
_GRANTS_AT = 512
_MAX_SLOT = 2 * MAX_WIDTH * MAX_HEIGHT
_MAX_RING = 64 << 20
# One core reads what the other wrote while it is still in a cache. The ring holds a tile of 1 MiB
# with its header. With tiles of 64 and 256 KiB, rings of 512 KiB and 8 MiB were each 10 % slower.
UP_BYTES = 2 << 20
DOWN_BYTES = 64 << 10
# A module that shares memory sends its greeting at once.
_GREETING_S = 5.0
_DOORBELL_BYTES = 4096
# A host that listens reads the module's records within this time.
_RECORD_S = 10.0
# fill_into() returns what it has once the module has paused this long.
_FILL_S = 0.002

_log = logging.getLogger(__name__)


class ShmEnd:
    """Send and receive through the two byte rings; one end of the connection.

    It owns the rings and the connection. The host's end is a transport. The module's end has the
    same methods, with the directions exchanged. ``incoming`` and ``outgoing`` are the rings. A
    caller may fill or empty them in place and then call :meth:`notify`. With *frames*, which holds
    *slots* frames, the module sends records. Only one thread at a time may use an end.
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
            self.incoming = ByteRingReader(rings[0], lines[1], lines[0])
            self.outgoing = ByteRingWriter(rings[1], lines[2], lines[3])
        else:
            self.incoming = ByteRingReader(rings[1], lines[3], lines[2])
            self.outgoing = ByteRingWriter(rings[0], lines[0], lines[1])
        self._pool: DirectPlacementPool | None = None
        self._active_pool: DirectPlacementPool | None = None
        self._records: RecordReader | None = None
        self.slots: FrameSlots | None = None
        """The module's side of direct placement, on a module's end that has memory for frames."""
        self._mappings: list[memoryview | mmap.mmap] = [*lines, whole, memory]
        if frames is not None:
            words = whole[_GRANTS_AT : _GRANTS_AT + 8 * slots].cast("Q")
            self._mappings = [words, *self._mappings, frames]
            if is_host:
                self._pool = DirectPlacementPool(np.frombuffer(frames, np.uint8), slots, words)
                self._records = RecordReader(self.incoming, self._pool)
            else:
                self.slots = FrameSlots(memoryview(frames), slots, words, self._send_record)
        self._socket: socket.socket | None = connection
        self._peer = "module" if is_host else "host"
        self._has_peer_closed = False
        self._close_reason = "the connection was closed"
        try:
            connection.setblocking(False)
            self._doorbell = select.poll()
            self._doorbell.register(connection, select.POLLIN)
        except OSError as error:
            self.close()
            raise explain_os_error(f"the connection to the {self._peer}", error) from None

    def fileno(self) -> int:
        """Return the doorbell's descriptor; call :meth:`drain_doorbell` when it is readable."""
        return self._get_socket().fileno()

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        self._get_socket()
        end = time.monotonic() + seconds
        try:
            while not (count := self._read_into(buffers)):
                if not self._wait_for_bytes(end):
                    break
        except ByteRingError as error:
            raise self._fail(error) from None
        return count

    def fill_into(self, buffers: Sequence[memoryview]) -> int:
        if self._records is not None:
            self._wait_for_count(self._records.estimate_bytes(buffers))
        return self.receive_into(buffers, _FILL_S)

    def _wait_for_count(self, count: int) -> None:
        """Sleep until *count* bytes are in the ring, for at most 2 ms."""
        end = time.monotonic() + _FILL_S
        try:
            while not self._has_peer_closed and self.incoming.prepare_sleep(count):
                rest = end - time.monotonic()
                if rest <= 0 or not self._sleep(rest):
                    break
        except ByteRingError as error:
            raise self._fail(error) from None

    def _read_into(self, buffers: Sequence[memoryview]) -> int:
        if self._records is not None:
            if self._active_pool is not None:
                self._active_pool.grant()
            count, wanted = self._records.read_into(buffers)
        else:
            count = self.incoming.read_into(buffers)
            wanted = count > 0 and self.incoming.consume(count)
        if wanted:
            self.notify()
        return count

    def frame_pool(self) -> DirectPlacementPool | None:
        """Let the module place frames directly from now on, and return the pool.

        None without one.
        """
        self._active_pool = self._pool
        return self._pool

    def send(self, data: bytes | memoryview, deadline: Deadline) -> None:
        if self.slots is None:
            self._write(data, deadline)
            return
        if len(data) <= _PAGE:
            self._write(encode_record(Record.BYTES, len(data), 0, bytes(data)), deadline)
            return
        head = encode_record(Record.BYTES, len(data))
        self._write(head[:HEAD_BYTES], deadline)
        self._write(data, deadline)
        self._write(make_padding(len(data)), deadline)

    def _send_record(self, record: bytes) -> None:
        """Send a record that carries no bytes of the link."""
        self._write(record, Deadline(_RECORD_S))

    def _write(self, data: bytes | memoryview, deadline: Deadline) -> None:
        self._get_socket()
        rest = memoryview(data)
        try:
            while rest:
                count, wanted = self.outgoing.write(rest)
                if wanted:
                    self.notify()
                rest = rest[count:]
                if count or not self.outgoing.prepare_sleep():
                    continue
                if self._has_peer_closed:
                    raise self._disconnect()
                rest_s = deadline.remaining()
                if not self._sleep(rest_s) or not rest_s:
                    raise Timeout(f"the {self._peer} took no bytes for {deadline.seconds:g} s")
        except ByteRingError as error:
            raise self._fail(error) from None

    def notify(self) -> None:
        """Wake the peer by a byte on the doorbell."""
        with contextlib.suppress(OSError):  # full: it will wake; gone: that is found by reading
            self._get_socket().send(b"\0")

    def drain_doorbell(self) -> bool:
        """Read the peer's notifications; return False once the peer is gone.

        The ring may still hold data then.
        """
        try:
            self._has_peer_closed = not self._get_socket().recv(_DOORBELL_BYTES)
        except BlockingIOError:
            pass
        except OSError:
            self._has_peer_closed = True
        return not self._has_peer_closed

    def close(self) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            self._socket.close()
        self._socket = None
        self.incoming.close()
        self.outgoing.close()
        for mapping in self._mappings:
            # If someone still has a view, the memory goes with that view.
            with contextlib.suppress(BufferError, OSError):
                if isinstance(mapping, memoryview):
                    mapping.release()
                else:
                    mapping.close()

    def _wait_for_bytes(self, end: float) -> bool:
        """Sleep until a byte is readable; return False if none is at the time *end*."""
        while self.incoming.prepare_sleep():
            if self._has_peer_closed:
                # All that the peer wrote before its end was visible before prepare_sleep() looked.
                raise self._disconnect()
            rest = max(0.0, end - time.monotonic())
            if not self._sleep(rest):
                return False
            if not rest and not self._has_peer_closed:
                # The time is over, however often the peer notifies.
                return self.incoming.count_readable() > 0
        return True

    def _sleep(self, seconds: float) -> bool:
        """Wait for the doorbell; return False if it stays silent."""
        try:
            if not self._doorbell.poll(seconds * 1000):
                return False
        except OSError:
            self._has_peer_closed = True
            return True
        self.drain_doorbell()
        return True

    def _get_socket(self) -> socket.socket:
        if self._socket is None:
            raise Disconnected(self._close_reason)
        return self._socket

    def _disconnect(self) -> Disconnected:
        """Close this end because the peer is gone, and return the error to raise."""
        self._close_reason = f"the {self._peer} closed the connection"
        _log.debug("%s", self._close_reason)
        self.close()
        return Disconnected(self._close_reason)

    def _fail(self, error: ByteRingError) -> ProtocolError:
        """Close this end because the peer broke the rules, and return the error to raise."""
        self._close_reason = f"the {self._peer} has broken the shared memory: {error}"
        _log.debug("%s", self._close_reason)
        self.close()
        return ProtocolError(self._close_reason)


def offer(
    connection: socket.socket, up: int = UP_BYTES, down: int = DOWN_BYTES, frame_bytes: int = 0
) -> ShmEnd:
    """Share memory with the host that has connected, and return the module's end.

    Args:
        connection: The host's connection. The end owns it from now on.
        up: Size of the ring from module to host, in bytes.
        down: Size of the ring from host to module, in bytes.
        frame_bytes: Size of the largest frame for direct placement; 0 for none.

    Raises:
        Disconnected: The host is gone already.
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
            fds = [_create_memory(size, stack) for size in sizes]
            # The greeting is small and the first message on this connection. The kernel takes it
            # whole.
            socket.send_fds(connection, [greeting], fds)
            memory, *frames = (mmap.mmap(fd, size) for fd, size in zip(fds, sizes, strict=True))
        except OSError as error:
            connection.close()
            raise Disconnected(f"the host closed the connection: {error.strerror}") from None
    found = frames[0] if frames else None
    return ShmEnd(connection, memory, up, down, is_host=False, frames=found, slots=slots)


def _create_memory(size: int, stack: contextlib.ExitStack) -> int:
    """Create memory that can never change its size, and return its descriptor."""
    import fcntl

    fd = os.memfd_create("lenslink", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    stack.callback(os.close, fd)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def check_system() -> None:
    """Raise :exc:`~lenslink.errors.UsageError` on a system without sealed memory."""
    if sys.platform != "linux":
        raise UsageError("shm: needs Linux (memory that can be sealed): use unix:")


def _accept_memory(connection: socket.socket, name: str) -> ShmEnd:
    """Check and map what the module offers, and return the host's end."""
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
            slots, frames_size = _receive_frame_slots(connection, name)
        sizes = [_PAGE + up + down] + ([frames_size] if slots else [])
        if len(fds) != len(sizes):
            raise ProtocolError(f"{name}: the module passes {len(fds)} pieces of memory")
        memory, *frames = (_map_memory(fd, size, name) for fd, size in zip(fds, sizes, strict=True))
    finally:
        for fd in fds:
            os.close(fd)
    found = frames[0] if frames else None
    return ShmEnd(connection, memory, up, down, is_host=True, frames=found, slots=slots)


def _receive_frame_slots(connection: socket.socket, name: str) -> tuple[int, int]:
    """Receive how many slots the module's memory for frames has, and its total size."""
    data = b""
    with contextlib.suppress(OSError):
        # The module sent this in one piece with the greeting, so it is there already.
        data = connection.recv(_FRAMES.size)
    if len(data) < _FRAMES.size:
        raise ProtocolError(f"{name}: the module's greeting ends early")
    slots, _, slot_bytes = _FRAMES.unpack(data)
    if not 1 <= slots <= MAX_SLOTS:
        raise ProtocolError(f"{name}: the module's memory has {slots} slots")
    if not 0 < slot_bytes <= _MAX_SLOT or slot_bytes % _PAGE:
        raise ProtocolError(f"{name}: the module's memory has slots of {slot_bytes} bytes")
    return slots, slots * slot_bytes


def _map_memory(fd: int, size: int, name: str) -> mmap.mmap:
    import fcntl

    try:
        # Only memory has seals. A file could be truncated while it is mapped, or lie on a slow
        # disk.
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
    """Open ``shm:PATH``."""

    options: Mapping[str, str] = {}

    def open(self, url: Url, deadline: Deadline) -> ShmEnd:
        check_system()
        if not url.path:
            raise UsageError("shm: needs a path, as in shm:/run/user/1000/lens")
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            raise explain_os_error(url.text, error) from None
        try:
            connection.settimeout(max(min(deadline.remaining(), _GREETING_S), 0.001))
            connection.connect(url.path)
            return _accept_memory(connection, url.text)
        except TimeoutError:
            connection.close()
            raise Timeout(f"{url.text}: no answer within {deadline.seconds:g} s") from None
        except OSError as error:
            connection.close()
            raise explain_os_error(url.text, error) from None
        except (LensLinkError, ValueError):
            connection.close()
            raise

    def devices(self) -> list[DeviceInfo]:
        return list_registered("shm")


SHM = ShmOpener()
