"""Modules and hosts behind real transports, in real time."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from lenslink.context import ClosesOnExit
from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, LensLinkError, RigError, Timeout, UsageError
from lenslink.transports import open_transport, parse
from lenslink.transports.base import ClockedTransport, MultiLaneTransport, Transport

from ..commands.socket_address import Listener
from .cases import Failed
from .module_peer import Outcome
from .peer_wire import Gone
from .run import ERROR, NOT_CLAIMED, PASSED, ModuleCase, Verdict, run_module_case, verdicts

_BUFFER = 1 << 20
_SEND_S = 5.0
_END_S = 20.0
_CONNECT_S = 20.0
_POLL_S = 0.1

DEFAULT_COMMAND = (
    sys.executable, "-m", "lenslink", "capture", "{url}", "-o", "{out}.npy", "--timeout", "6"
)  # fmt: skip
"""The driver of this distribution."""


class TransportWire:
    """A wire over any transport of the driver's."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.lanes = transport.lanes if isinstance(transport, MultiLaneTransport) else 1
        self._buffer = memoryview(bytearray(_BUFFER))

    def now(self) -> float:
        if isinstance(self._transport, ClockedTransport):
            return self._transport.now()
        return time.monotonic()

    def send(self, data: bytes, lane: int = 0) -> None:
        del lane
        try:
            self._transport.send(data, Deadline(_SEND_S, "sending"))
        except Disconnected as error:
            raise Gone(str(error)) from None
        except Timeout:
            raise Failed(f"the module takes no bytes for {_SEND_S:g} s") from None

    def receive(self, seconds: float) -> bytes:
        try:
            count = self._transport.receive_into([self._buffer], max(0.0, seconds))
        except Disconnected as error:
            raise Gone(str(error)) from None
        return bytes(self._buffer[:count])

    def receive_lane(self, lane: int) -> bytes:
        if not isinstance(self._transport, MultiLaneTransport):
            return b""
        try:
            count = self._transport.receive_lane_into(lane, [self._buffer])
        except (Disconnected, ValueError):  # a lane that has ended
            return b""
        return bytes(self._buffer[:count]) if count else b""

    def kill_lane(self, lane: int) -> bool:
        kill = getattr(self._transport, "kill_lane", None)
        if kill is None:
            return False
        kill(lane)
        return True

    def seat(self, seated: bool) -> bool:
        module = getattr(self._transport, "module", None)
        command = getattr(module, "command", None)
        if command is None:
            return False
        # Both pins at once; a simulated module's plant moves them.
        command(contacts=[[0, 0, int(seated)], [0, 1, int(seated)]])
        return True

    def close(self) -> None:
        self._transport.close()


def run_modules(
    url: str,
    cases: Sequence[ModuleCase],
    only: str | None,
    timeout: float,
    wrap: Callable[[Transport], Transport] = lambda transport: transport,
) -> Iterator[Verdict]:
    """Every case on the module at *url*, which is opened once and again after each failure.

    *wrap* may put a transport of its own around the module's.
    Raises what opening it raises at first; a module that cannot be opened any more is an error of
    each case that is left.
    """
    parsed = parse(url)

    def connect() -> TransportWire:
        return TransportWire(wrap(open_transport(parsed, Deadline(timeout, "opening"))))

    wire: TransportWire | None = connect()
    try:
        for case in cases:
            began = time.monotonic()
            try:
                if wire is None:
                    wire = connect()
                outcome = run_module_case(case, wire)
            except LensLinkError as error:
                outcome = (ERROR, f"the module cannot be opened again: {error}")
            if wire is not None and outcome[0] not in (PASSED, NOT_CLAIMED):
                wire.close()
                wire = None
            yield from verdicts(case, "module", outcome, time.monotonic() - began, only)
    finally:
        if wire is not None:
            wire.close()


class HostProcess(ClosesOnExit):
    """A host that is started for one session, and the connections it makes to us: its lanes."""

    def __init__(self, listener: Listener, command: Sequence[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lenslink-conform-")
        self._out = Path(self._folder.name) / "frame"
        words = [
            word.replace("{url}", listener.url).replace("{out}", str(self._out)) for word in command
        ]
        self._log = self._out.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None
        self._sockets: list[socket.socket] = []
        try:
            self.process = self._start(words)
            self._socket = self._accept(listener)
            self._sockets.append(self._socket)
            self._more(listener)
            self.lanes = len(self._sockets)
        except BaseException:
            self.close()
            raise

    def _start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as log:
            try:
                return subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=os.environ | {"LENSLINK_RUNTIME_DIR": self._folder.name},
                    start_new_session=True,
                )
            except OSError as error:
                raise UsageError(f"{words[0]}: {error.strerror}") from None

    def _accept(self, listener: Listener) -> socket.socket:
        end = time.monotonic() + _CONNECT_S
        assert self.process is not None
        listener.socket.settimeout(0.1)
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError, Disconnected):
                connection = listener.accept()
                if connection.family != getattr(socket, "AF_UNIX", None):
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.settimeout(_SEND_S)
                return connection
            if self.process.poll() is not None:
                raise RigError(f"the host ended and did not connect: {self._said()}")
        raise RigError(f"the host did not connect within {_CONNECT_S:g} s")

    def _more(self, listener: Listener) -> None:
        """The other lanes' connections: those that the host makes before it says Hello."""
        end = time.monotonic() + _CONNECT_S
        while len(self._sockets) < listener.lanes and time.monotonic() < end:
            ready, _, _ = select.select([listener.socket, self._socket], [], [], _POLL_S)
            if listener.socket in ready:
                self._sockets.append(listener.accept())
                self._sockets[-1].settimeout(_SEND_S)
            elif ready:
                break

    # --- Wire -----------------------------------------------------------------------------

    @property
    def wire(self) -> Self:
        return self

    def now(self) -> float:
        return time.monotonic()

    def send(self, data: bytes, lane: int = 0) -> None:
        connection = self._sockets[lane]
        connection.settimeout(_SEND_S)
        try:
            connection.sendall(data)
        except TimeoutError:
            raise Failed(f"the host takes no bytes for {_SEND_S:g} s") from None
        except OSError as error:
            raise Gone(str(error)) from None

    def receive(self, seconds: float) -> bytes:
        self._socket.settimeout(max(0.001, seconds))
        try:
            data = self._socket.recv(_BUFFER)
        except TimeoutError:
            return b""
        except OSError as error:
            raise Gone(str(error)) from None
        if not data:
            raise Gone("the host has closed the connection")
        return data

    def receive_lane(self, lane: int) -> bytes:
        """A host says nothing on other lanes."""
        del lane
        return b""

    def kill_lane(self, lane: int) -> bool:
        if not 0 < lane < len(self._sockets):
            return False
        self._sockets[lane].close()
        return True

    def seat(self, seated: bool) -> bool:
        """A host is not attached."""
        del seated
        return False

    # --- HostRun --------------------------------------------------------------------------

    def finish(self) -> Outcome:
        """Wait for its end; a host that does not come to one has nothing."""
        assert self.process is not None
        for each in self._sockets:
            each.close()
        try:
            status = self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return Outcome(False, None, f"it did not end within {_END_S:g} s")
        path = self._out.with_suffix(".npy")
        pixels = None
        if status == 0 and path.exists():
            pixels = np.ascontiguousarray(np.load(path), dtype="<u2").tobytes()
        return Outcome(status == 0, pixels, f"exit code {status}: {self._said()}")

    def _said(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "without a word"

    def close(self) -> None:
        """End the process. Idempotent."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            for each in self._sockets:
                each.close()
        self._folder.cleanup()
