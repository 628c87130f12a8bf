"""Use the public interface of the transports, the frame ring, the lock and the runtime folder.

:mod:`helpers.os_faults` runs these functions while a call of the system fails. Each closes all that
it opened. What the module's end raises is not the driver's business, unless it is in the driver.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import lenslink
from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError
from lenslink.leftovers import remove_leftovers
from lenslink.lock import ModuleLock, is_locked, remove_stale_locks
from lenslink.runtime import make_scratch_dir, remove_stale_scratch_dirs, runtime_dir
from lenslink.transports import open_transport, parse
from lenslink.transports.registry import get_registry_dir, list_registered
from lenslink.transports.shm import offer

_WAIT_S = 2.0


@contextlib.contextmanager
def _listening() -> Iterator[tuple[socket.socket, Path]]:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder) / "m"
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(_WAIT_S)
        yield listener, path


def stream_sockets(folder: Path) -> None:
    """Open, use and close ``unix:`` over one lane."""
    with _listening() as (listener, path):
        transport = open_transport(parse(f"unix:{path}"), Deadline(_WAIT_S))
        with contextlib.closing(transport):
            module, _ = listener.accept()
            with module:
                module.sendall(b"hello")
                buffer = memoryview(bytearray(5))
                transport.wake_on(listener.fileno())
                transport.receive_into([buffer], 1)
                transport.receive_into([buffer], 0.01)
                transport.fill_into([buffer])
                transport.send(b"ping", Deadline(1))
                with contextlib.suppress(lenslink.Timeout):
                    transport.send(bytes(8 << 20), Deadline(0.01))


def tcp_sockets(folder: Path) -> None:
    """Open and close ``tcp:``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        open_transport(parse(f"tcp:127.0.0.1:{port}"), Deadline(_WAIT_S)).close()


def lane_sockets(folder: Path) -> None:
    """Open, use and close ``unix:`` over two lanes."""
    with _listening() as (listener, path):
        transport = open_transport(parse(f"unix:{path}?lanes=2"), Deadline(_WAIT_S))
        with contextlib.closing(transport):
            modules = [listener.accept()[0] for _ in range(2)]
            buffer = memoryview(bytearray(5))
            with modules[0], modules[1]:
                for lane, module in enumerate(modules):
                    module.sendall(b"hello")
                    transport.ready(1)
                    transport.receive_lane_into(lane, [buffer])
                transport.send(b"ping", Deadline(1))
                modules[1].close()
                transport.ready(1)
                transport.receive_lane_into(1, [buffer])


def shared_memory(folder: Path) -> None:
    """Open, use and close ``shm:`` with memory for frames, both ends."""
    ends: list[object] = []

    def serve(listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return
        try:
            ends.append(offer(connection, frame_bytes=4096))
        except BaseException as error:
            ends.append(error)

    with _listening() as (listener, path):
        listener.settimeout(0.3)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            host = open_transport(parse(f"shm:{path}"), Deadline(0.3))
        except LensLinkError:
            host = None
        finally:
            thread.join()
        module = ends[0] if ends else None
        if isinstance(module, BaseException):
            if host is not None:
                host.close()
            raise module
        try:
            if host is not None and module is not None:
                buffer = memoryview(bytearray(5))
                host.frame_pool()
                host.receive_into([buffer], 0.01)
                module.send(b"hello", Deadline(1))
                host.receive_into([buffer], 1)
                host.fill_into([buffer])
                host.send(b"ping!", Deadline(1))
                module.receive_into([buffer], 1)
                module.fileno()
        finally:
            for end in (host, module):
                if end is not None:
                    end.close()
        if host is None:
            raise lenslink.Disconnected("the host's end was not opened")


def serial_port(folder: Path) -> None:
    """Open, use and close ``serial:``."""
    ours, theirs = os.openpty()
    try:
        url = f"serial:{os.ttyname(theirs)}?dtr=0"
        transport = open_transport(parse(url), Deadline(_WAIT_S))
        with contextlib.closing(transport):
            os.write(ours, b"hello")
            buffer = memoryview(bytearray(5))
            transport.receive_into([buffer], 1)
            transport.receive_into([buffer], 0)
            transport.send(b"ping", Deadline(1))
            with contextlib.suppress(lenslink.Timeout):
                transport.send(bytes(1 << 20), Deadline(0.01))
    finally:
        os.close(ours)
        os.close(theirs)


def usb_interface(folder: Path) -> None:
    """Claim, use and close a module's USB interface, over one lane and over two."""
    from unit.test_usb_driver import IN, FakeDevice, found

    from lenslink.transports.usb import open_module

    for lanes in (1, 2):
        device = FakeDevice()
        device.answer(b"hello")
        device.answer(b"hello", address=IN + 1)
        with contextlib.closing(open_module(found(device), "usb:", lanes)) as transport:
            buffer = memoryview(bytearray(5))
            transport.receive_into([buffer], 1)
            transport.ready(0.1)
            transport.send(bytes(64), Deadline(1))
            if lanes > 1:
                transport.kill_lane(1)


def locks(folder: Path) -> None:
    """Take, look at and release locks; clean up."""
    lock = ModuleLock("serial:1", "module 1")
    try:
        is_locked("serial:1")
        is_locked("serial:2")
    finally:
        lock.release()
    (folder / "locks" / "stale.lock").touch()
    remove_stale_locks()


def runtime_folders(folder: Path) -> None:
    """Make the runtime folder, registered modules and scratch folders; clean up."""
    shutil.rmtree(folder / "modules", ignore_errors=True)
    runtime_dir()
    registry = get_registry_dir()
    entry = {"url": "unix:/m", "description": "", "serial": "1", "pid": os.getpid()}
    (registry / "alive.json").write_text(json.dumps(entry))
    (registry / "dead.json").write_text(json.dumps(entry | {"pid": 1 << 30}))
    list_registered("unix")
    with make_scratch_dir("usb"):
        pass
    blocked = folder / "blocked"
    blocked.touch()
    temporary, named = tempfile.tempdir, os.environ.pop("LENSLINK_RUNTIME_DIR")
    try:
        with patch("platformdirs.user_runtime_path", lambda name: blocked / name):
            tempfile.tempdir = str(folder)
            runtime_dir()
        tempfile.tempdir = str(folder / ("x" * 60))
        with make_scratch_dir("usb"):
            pass
    finally:
        tempfile.tempdir, os.environ["LENSLINK_RUNTIME_DIR"] = temporary, named
    stale = Path(tempfile.gettempdir()) / f"lenslink-test-{1 << 30}-x"
    stale.mkdir(exist_ok=True)
    try:
        remove_stale_scratch_dirs()
    finally:
        shutil.rmtree(stale, ignore_errors=True)
    remove_leftovers()


def frame_ring(folder: Path) -> None:
    """Write and read a frame ring, over the file of a writer that died."""
    from helpers.frame_rings import SIZE, begin, publish
    from lenslink.frame_ring import segment

    name = f"faults-{os.getpid()}"
    path = segment.path_of(name)
    path.touch(mode=0o600)
    path.write_bytes(b"left by a writer that died")
    try:
        # Another process may have left it since the cleaning.
        with patch.object(segment, "clean"):
            lenslink.FrameRing(name, 2, frame_bytes=SIZE).close()
        path.touch(mode=0o600)
        path.write_bytes(b"left by a writer that died")
        with lenslink.FrameRing(name, 2, frame_bytes=SIZE) as ring:
            with lenslink.FrameRingReader(name, timeout=0.01) as reader:
                publish(ring)
                reader.next().release()
                with contextlib.suppress(lenslink.Timeout):
                    reader.next()
            slot = begin(ring)
            if slot is not None:
                slot.let_go()
            ring.take(SIZE)
        with contextlib.suppress(lenslink.NotFound):
            lenslink.FrameRingReader(name)
        path.touch(mode=0o600)
        with contextlib.suppress(lenslink.NotFound):
            lenslink.FrameRingReader(name)
        path.touch(mode=0o600)
        segment.clean()
    finally:
        path.unlink(missing_ok=True)


def image_files(folder: Path) -> None:
    """Write a frame in each format, new and over a file, with and without hard links."""
    import numpy as np

    from helpers.made_frames import make_frame
    from lenslink.image_files.dng import write_dng
    from lenslink.image_files.save import FORMATS, check_output, save

    frame = make_frame(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) % 4096)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        for extension in FORMATS:
            path = Path(name) / f"a{extension}"
            check_output(path, False)
            save(frame, path, False)
            check_output(path, True)
            save(frame, path, True)
        with patch("pathlib.Path.hardlink_to", side_effect=OSError(errno.EPERM, "no links")):
            save(frame, Path(name) / "b.npy", False)
        write_dng(frame, Path(name) / "b.dng", None, "LensLink test")
