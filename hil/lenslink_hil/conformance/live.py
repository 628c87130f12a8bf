"""Modules and hosts behind real transports, in real time.

:func:`run_modules` runs cases on a module and keeps the run useful when the module fails: it opens
the connection anew after a failure, and ends the run when the module does not come back.
:class:`HostProcess` is a host that a case has started.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from lenslink.context import ClosesOnExit
from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, LensLinkError, RigError, Timeout, UsageError
from lenslink.transports import open_transport, parse, resolve
from lenslink.transports.base import ClockedTransport, MultiLaneTransport, Transport
from lenslink_protocol.ids import Capability

from ..commands.socket_address import Listener
from .cases import Failed
from .host_peer import HostPeer
from .module_peer import PREVIEW_TASK, STILL_TASK, HostResult
from .peer_wire import ConnectionEnded, Wire
from .run_info import RunInfo
from .transcript import TranscribingWire
from .verdicts import (
    ERROR,
    FAILED,
    NOT_CLAIMED,
    NOT_RUN,
    PASSED,
    CaseResult,
    HostCase,
    ModuleCase,
    Verdict,
    make_verdicts,
    run_host_case,
    run_module_case,
)

_BUFFER = 1 << 20
_SEND_S = 5.0
_END_S = 20.0
_CONNECT_S = 20.0
_POLL_S = 0.1
_REOPEN_S = 5.0

DEFAULT_COMMAND = (
    sys.executable, "-m", "lenslink", "capture", "{url}", "-o", "{out}.npy", "--timeout", "6"
)  # fmt: skip
"""The host to test if none is named: the driver of this distribution."""
DEFAULT_PREVIEW = (
    sys.executable, "-m", "lenslink", "stream", "{url}", "-n", "3", "--json", "--timeout", "6"
)  # fmt: skip
"""The same for cases that need a preview. Its last line says how many frames are incomplete."""


class TransportWire:
    """A wire over any transport of the driver's.

    Args:
        connect: Opens the transport. Called once here, and again by :meth:`reopen`.
    """

    def __init__(self, connect: Callable[[], Transport]) -> None:
        self._connect = connect
        self._buffer = memoryview(bytearray(_BUFFER))
        self.has_lost_lane = False
        """True once a lane was ended, until the connection is made anew."""
        self._use(connect())

    def _use(self, transport: Transport) -> None:
        self._transport = transport
        self.has_lost_lane = False
        self.lanes = transport.lanes if isinstance(transport, MultiLaneTransport) else 1

    def now(self) -> float:
        if isinstance(self._transport, ClockedTransport):
            return self._transport.now()
        return time.monotonic()

    def send(self, data: bytes, lane: int = 0) -> None:
        del lane
        try:
            self._transport.send(data, Deadline(_SEND_S, "sending"))
        except Disconnected as error:
            raise ConnectionEnded(str(error)) from None
        except Timeout:
            raise Failed(f"the module takes no bytes for {_SEND_S:g} s") from None

    def receive(self, seconds: float) -> bytes:
        try:
            count = self._transport.receive_into([self._buffer], max(0.0, seconds))
        except Disconnected as error:
            raise ConnectionEnded(str(error)) from None
        return bytes(self._buffer[:count])

    def receive_lane(self, lane: int) -> bytes:
        if not isinstance(self._transport, MultiLaneTransport):
            return b""
        try:
            count = self._transport.receive_lane_into(lane, [self._buffer])
        except (Disconnected, ValueError):  # the lane has ended
            return b""
        return bytes(self._buffer[:count]) if count else b""

    def end_lane(self, lane: int) -> bool:
        kill = getattr(self._transport, "kill_lane", None)
        if kill is None:
            return False
        kill(lane)
        self.has_lost_lane = True
        return True

    def set_attached(self, attached: bool) -> bool:
        module = getattr(self._transport, "module", None)
        command = getattr(module, "command", None)
        if command is None:
            return False
        # Both pins at once; the plant of a simulated module moves them.
        command(contacts=[[0, 0, int(attached)], [0, 1, int(attached)]])
        return True

    def reopen(self) -> bool:
        self._transport.close()
        end = time.monotonic() + _REOPEN_S
        while True:
            try:
                self._use(self._connect())
            except LensLinkError:
                if time.monotonic() > end:
                    raise
                time.sleep(_POLL_S)
            else:
                return True

    def close(self) -> None:
        self._transport.close()


def probe_module(wire: Wire, source: random.Random, info: RunInfo) -> tuple[str, str, str] | None:
    """Open a session and read the manifest, which every other case needs.

    Returns:
        None if the module is fit for testing. Otherwise the clause and the case that fail, and why.
    """
    peer = HostPeer(wire, source)
    clause, case = "M-HELLO-1", "hello_is_answered"
    try:
        # All are offered, so that the answer has all that the module claims.
        answer = peer.open_session(sum(Capability))
        info.capabilities = tuple(str(each.name) for each in Capability(answer.capabilities))
        clause, case = "M-MANIFEST-1", "pieces_fit"
        data = peer.read_manifest_bytes()
        clause, case = "M-MANIFEST-2", "what_it_says"
        info.note_manifest(peer.parse_manifest(data))
        peer.close()
    except Failed as failure:
        return clause, case, str(failure)
    except ConnectionEnded as error:
        return clause, case, f"the connection ended: {error}"
    except ValueError as error:
        return clause, case, f"a malformed message: {error}"
    return None


def run_modules(
    url: str,
    cases: Sequence[ModuleCase],
    only: str | None,
    timeout: float,
    wrap: Callable[[Transport], Transport] = lambda transport: transport,
    *,
    info: RunInfo | None = None,
    is_fail_fast: bool = False,
    is_transcribed: bool = False,
    key: bytes | None = None,
) -> Generator[Verdict]:
    """Yield the verdicts of *cases* on the module at *url*.

    The module is probed first. If it is silent or its manifest is wrong, that is the one failure,
    and every case is "not run". The connection is opened again after a failed case, and after one
    that ended a lane. If the module does not come back, the cases that are left are "not run".

    Args:
        url: What to open.
        cases: The cases, in order.
        only: Give verdicts for this clause only.
        timeout: Seconds that opening the transport may take.
        wrap: Puts a transport around the module's.
        info: Gets the module's identity, and has the seed.
        is_fail_fast: Run nothing after the first failure.
        is_transcribed: Keep the packets of cases that fail.
        key: The key of the module's authentication. Without it, what needs it is "not run".

    Raises:
        LensLinkError: The module cannot be opened at first.
    """
    known = info or RunInfo(url, url)
    parsed, give_back = resolve(parse(url), Deadline(timeout, "opening"))

    def connect() -> Transport:
        return wrap(open_transport(parsed, Deadline(timeout, "opening")))

    with contextlib.ExitStack() as stack:
        stack.callback(give_back)
        wire = TransportWire(connect)
        yield from _run_on(
            wire,
            cases,
            known,
            only=only,
            is_fail_fast=is_fail_fast,
            is_transcribed=is_transcribed,
            key=key,
        )


def _run_on(
    wire: TransportWire,
    cases: Sequence[ModuleCase],
    known: RunInfo,
    *,
    only: str | None,
    is_fail_fast: bool,
    is_transcribed: bool,
    key: bytes | None,
) -> Iterator[Verdict]:
    """Yield the verdicts of *cases* on the module behind *wire*, and close *wire*."""
    source = random.Random(known.seed)
    why_not = ""
    try:
        fault = probe_module(wire, source, known)
        if fault is not None:
            clause, name, detail = fault
            yield Verdict(clause, name, "module", FAILED, detail)
            why_not = f"the module is not fit for testing ({clause} failed)"
            cases = [each for each in cases if each.name != name]
        for case in cases:
            if why_not:
                yield from make_verdicts(
                    case, "module", CaseResult(NOT_RUN, why_not), 0.0, only=only
                )
                continue
            start = time.monotonic()
            seen = TranscribingWire(wire) if is_transcribed else None
            result = run_module_case(case, seen or wire, source, key)
            took = time.monotonic() - start
            is_bad = result.verdict not in (PASSED, NOT_CLAIMED, NOT_RUN)
            lines = seen.lines() if seen is not None and is_bad else ()
            yield from make_verdicts(case, "module", result, took, only=only, transcript=lines)
            if is_bad and is_fail_fast:
                why_not = f"{case.name} failed, and the run ends with the first failure"
            elif is_bad or wire.has_lost_lane:
                why_not = _restore(wire, source, case.name)
    finally:
        wire.close()


def _restore(wire: TransportWire, source: random.Random, name: str) -> str:
    """Open the connection again after a case; return why the run cannot go on, "" if it can."""
    try:
        wire.reopen()
        peer = HostPeer(wire, source)
        peer.open_session()
        peer.close()
    except (LensLinkError, Failed, ConnectionEnded, ValueError) as error:
        return f"after {name} the module did not come back: {error}"
    return ""


def run_hosts(
    listener: Listener,
    command: Sequence[str],
    cases: Sequence[HostCase],
    only: str | None,
    *,
    is_fail_fast: bool = False,
    key: bytes | None = None,
) -> Iterator[Verdict]:
    """Yield the verdicts of *cases* on a host that *command* starts anew for each case.

    *key* is the key that the host authenticates with. Without it, what needs it is "not run".
    """
    why_not = ""
    for case in cases:
        if why_not:
            yield from make_verdicts(case, "host", CaseResult(NOT_RUN, why_not), 0.0, only=only)
            continue
        start = time.monotonic()
        if case.run.task == PREVIEW_TASK and not can_preview(command):
            result = CaseResult(
                NOT_CLAIMED, "the command takes stills only: it has no {task} in it"
            )
        else:
            result = run_host_case(case, lambda task: HostProcess(listener, command, task), key)
        found = make_verdicts(case, "host", result, time.monotonic() - start, only=only)
        yield from found
        if is_fail_fast and any(each.verdict in (FAILED, ERROR) for each in found):
            why_not = f"{case.name} failed, and the run ends with the first failure"


def can_preview(command: Sequence[str]) -> bool:
    """Return True if a command is told its task, or is the default one."""
    return command == DEFAULT_COMMAND or any("{task}" in word for word in command)


def _drop_waiting(listener: Listener) -> None:
    """Close the connections that the host of the case before has made and not used."""
    while select.select([listener.socket], [], [], 0)[0]:
        with contextlib.suppress(OSError, Disconnected):
            listener.accept().close()


class HostProcess(ClosesOnExit):
    """A host process for one session, and the connections that it makes: its lanes.

    Args:
        listener: Where the host connects to.
        command: The words of its command line; ``{url}``, ``{out}`` and ``{task}`` are replaced.
        task: What the host is to do.
    """

    def __init__(self, listener: Listener, command: Sequence[str], task: str = STILL_TASK) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lenslink-conform-")
        self._out = Path(self._folder.name) / "frame"
        self._is_own_preview = command == DEFAULT_COMMAND and task == PREVIEW_TASK
        values = {"{url}": listener.url, "{out}": str(self._out), "{task}": task}
        words = list(DEFAULT_PREVIEW if self._is_own_preview else command)
        for name, value in values.items():
            words = [word.replace(name, value) for word in words]
        self._log = self._out.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None
        self._sockets: list[socket.socket] = []
        _drop_waiting(listener)
        try:
            self.process = self._start(words)
            self._socket = self._accept(listener)
            self._sockets.append(self._socket)
            self._accept_other_lanes(listener)
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
                raise RigError(f"the host ended without connecting: {self._last_line()}")
        raise RigError(f"the host did not connect within {_CONNECT_S:g} s")

    def _accept_other_lanes(self, listener: Listener) -> None:
        """Accept the connections that the host makes before it sends Hello."""
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
            raise ConnectionEnded(str(error)) from None

    def receive(self, seconds: float) -> bytes:
        self._socket.settimeout(max(0.001, seconds))
        try:
            data = self._socket.recv(_BUFFER)
        except TimeoutError:
            return b""
        except OSError as error:
            raise ConnectionEnded(str(error)) from None
        if not data:
            raise ConnectionEnded("the host has closed the connection")
        return data

    def receive_lane(self, lane: int) -> bytes:
        """Return b"": a host sends nothing on other lanes."""
        del lane
        return b""

    def end_lane(self, lane: int) -> bool:
        if not 0 < lane < len(self._sockets):
            return False
        self._sockets[lane].close()
        return True

    def set_attached(self, attached: bool) -> bool:
        """Return False: a host is not attached to anything."""
        del attached
        return False

    def reopen(self) -> bool:
        """Return False: the host connects, not the kit."""
        return False

    # --- HostRun --------------------------------------------------------------------------

    def finish(self) -> HostResult:
        """Wait for the host's end, and return its result. A host that does not end has no frame."""
        assert self.process is not None
        for each in self._sockets:
            each.close()
        try:
            status = self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return HostResult(False, None, f"the host did not end within {_END_S:g} s")
        path = self._out.with_suffix(".npy")
        pixels = None
        if status == 0 and path.exists():
            pixels = np.ascontiguousarray(np.load(path), dtype="<u2").tobytes()
        is_whole = status == 0
        if is_whole and self._is_own_preview:
            is_whole = json.loads(self._last_line())["incomplete"] == 0
        return HostResult(is_whole, pixels, f"exit code {status}: {self._last_line()}")

    def _last_line(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "no output"

    def close(self) -> None:
        """End the process. Idempotent."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            for each in self._sockets:
                each.close()
        self._folder.cleanup()
