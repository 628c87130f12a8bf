"""Aravis and its own fake GigE Vision camera, over the loopback interface."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from lenslink.errors import RigError

from . import Need, Receive

NAME = "Aravis, fake GigE camera"
_HOW = (
    "Debian, Ubuntu: apt install gir1.2-aravis-0.8 python3-gi, "
    "and a Python that sees the system's packages"
)
NEEDS = (Need("gi", "Aravis", _HOW),)
BYTES = 128 << 20
NOTE = (
    "C, over UDP and the loopback; run by root it reads a ring that the kernel fills, in the "
    "sender's time; packets of 9 KB, no CRC of the payload; 2048 x 2048 Mono8"
)
# The camera ends when its standard input does.
_CAMERA = """
import sys, gi
gi.require_version("Aravis", "0.8")
from gi.repository import Aravis
camera = Aravis.GvFakeCamera.new("127.0.0.1", "LENSLINK")
sys.stdin.read()
"""
_SIDE = 2048
_BUFFERS = 16
_PACKET = 9000
_START_S = 10.0
_FRAME_US = 2_000_000


def _library() -> Any:
    import gi

    try:
        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis
    except (ValueError, ImportError) as error:
        raise RigError(f"{error} ({_HOW})") from None
    return Aravis


@contextlib.contextmanager
def _camera(library: Any) -> Iterator[Any]:
    """The camera of a process that is ended with it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _CAMERA],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield _open_camera(library, process)
    finally:
        process.kill()
        process.communicate()


def _open_camera(library: Any, process: subprocess.Popen[bytes]) -> Any:
    end = time.monotonic() + _START_S
    while True:
        try:
            return library.Camera.new("127.0.0.1")
        except Exception as error:
            if time.monotonic() > end or process.poll() is not None:
                raise RigError(f"Aravis' fake camera does not answer: {error}") from None
            time.sleep(0.1)


def prepare(payload: bytes) -> Receive:
    """A camera to receive from; its pictures are its own, of as many bytes as *payload*."""
    library = _library()
    with _camera(library):
        pass  # now, so that a camera that does not start is said before anything is measured

    def receive() -> tuple[int, float]:
        with _camera(library) as camera:
            return _receive(library, camera, len(payload))

    return receive


def _receive(library: Any, camera: Any, wanted: int) -> tuple[int, float]:
    camera.set_region(0, 0, _SIDE, _SIDE)
    # Faster than it can: it makes each picture anew.
    camera.set_frame_rate(camera.get_frame_rate_bounds()[1])
    camera.gv_set_packet_size(_PACKET)
    size = camera.get_payload()
    stream = camera.create_stream(None, None)
    for _ in range(_BUFFERS):
        stream.push_buffer(library.Buffer.new_allocate(size))
    camera.start_acquisition()
    began = 0.0
    count = -_BUFFERS * size
    try:
        while count < wanted:
            if not count:
                # Until now memory was written to for the first time, which the system charges for.
                began = time.process_time()
            buffer = stream.timeout_pop_buffer(_FRAME_US)
            if buffer is None:
                raise RigError("Aravis' fake camera sends nothing")
            if buffer.get_status() == library.BufferStatus.SUCCESS:
                count += size
            stream.push_buffer(buffer)
    finally:
        spent = time.process_time() - began
        camera.stop_acquisition()
    return count, spent
