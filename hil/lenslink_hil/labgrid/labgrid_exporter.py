"""Export the boards of a rig to labgrid: ``lenslink rig exporter``.

A board is served only while its place is acquired (:mod:`.board_server`)::

    state    event                                             next state
    -------  ------------------------------------------------  ---------------------------------
    FREE     a place is acquired, the board is there           SERVED
    FREE     a place is acquired, the board is not there       WAITING
    FREE     the board cannot be served: a job here has it     FREE; the acquisition is refused
    SERVED   the board is unplugged, or its server ends        WAITING
    WAITING  the board is there, and can be served             SERVED, at the same ports if possible
    any      the place is released                             FREE

labgrid keeps a place acquired if the job that acquired it dies. The exporter releases such a place,
if its owner's name is one of ours (:mod:`.owner_name`), nothing is connected, and either the owner
has ended or nothing has been connected for 45 s. It also cancels the owner's reservation.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from enum import Enum
from importlib.metadata import version
from typing import Any, Final

from labgrid.remote.generated import labgrid_coordinator_pb2 as messages

from lenslink.context import ClosesOnExit
from lenslink.deadline import Deadline
from lenslink.errors import RigError
from lenslink.transports import parse

from ..rig.rig_file import Board, Rig
from ..rig.usb_port import find_usb_port
from .coordinator import Coordinator, Place, Refused
from .held_place import RESOURCE_CLASS
from .owner_name import Owner, explain_release

_RESOURCE: Final = "lens"
_POLL_S: Final = 0.25
_LOOK_S: Final = 1.0
_START_S: Final = 8.0
_RETRY_S: Final = 2.0
_REFUSED_S: Final = 10.0
"""How long the exporter says why it has refused an acquisition."""
_MAX_LINE: Final = 4096
_log = logging.getLogger(__name__)


class ExportState(Enum):
    """What an exporter does with a board."""

    FREE = "free"
    SERVED = "served"
    WAITING = "waiting"
    """Its place is acquired, and it cannot be served."""


class ServerProcess(ClosesOnExit):
    """A :mod:`.board_server`, and what it has said.

    Raises :exc:`~lenslink.RigError` with its reason if it cannot serve the board.
    """

    def __init__(
        self, rig: Rig, board: Board, place: str, address: str, ports: tuple[int, int]
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lenslink_hil.labgrid.board_server",
             "--rig", str(rig.file), "--board", board.name, "--place", place,
             "--address", address, "--ports", *map(str, ports)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A Ctrl-C for the exporter is none for it: it ends with its stdin.
            start_new_session=True,
        )  # fmt: skip
        self._text = b""
        self.ports = (0, 0)
        self.connections = 0
        self.idle_since = time.monotonic()
        """When the last connection ended."""
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        try:
            self._wait_until_ready(Deadline(_START_S))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process. Idempotent."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(_START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    @property
    def idle_s(self) -> float:
        """Seconds since the last connection ended; 0 while there is one."""
        return 0.0 if self.connections else time.monotonic() - self.idle_since

    def read(self) -> bool:
        """Take in what the process has said; return False if it has ended."""
        assert self._process.stdout is not None
        has_ended = self._process.poll() is not None
        data = self._process.stdout.read()
        self._text += data or b""
        *lines, self._text = self._text[-_MAX_LINE:].split(b"\n")
        for line in lines:
            self._take(line.decode("utf-8", "replace"))
        return not has_ended

    def _take(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        if kind == "ready":
            data, hold = map(int, rest.split())
            self.ports = (data, hold)
        elif kind == "open":
            self.connections = int(rest)
            self.idle_since = time.monotonic()
        elif kind == "error":
            raise RigError(rest)

    def _wait_until_ready(self, deadline: Deadline) -> None:
        while not self.ports[0]:
            if not self.read():
                raise RigError(f"its server ended with {self._process.returncode}")
            if deadline.remaining() <= 0:
                raise RigError(f"its server did not start within {_START_S:g} s")
            time.sleep(0.01)


class ExportedBoard:
    """A board, as labgrid sees it."""

    def __init__(self, rig: Rig, board: Board, host: str, address: str) -> None:
        self.board = board
        self.place = ""
        self.server: ServerProcess | None = None
        self.is_there = True
        self.problem = ""
        """Why the board cannot be served at the moment."""
        self._rig = rig
        self._host = host
        self._address = address
        self._ports = (0, 0)
        self._looked_s = self._tried_s = -_REFUSED_S
        self._described: Any = None

    @property
    def state(self) -> ExportState:
        """What the exporter does with the board."""
        if not self.place:
            return ExportState.FREE
        return ExportState.WAITING if self.server is None else ExportState.SERVED

    def acquire(self, place: str) -> None:
        """Serve the board. Raises :exc:`~lenslink.RigError` if that is not possible."""
        if self.place:
            raise RigError(f"board {self.board.name} is already acquired by {self.place}")
        self._look()
        if self.is_there:
            self._start(place)
        self.place = place

    def release(self) -> None:
        """Serve the board no more. Idempotent."""
        self.place = ""
        self._stop()

    def poll(self) -> None:
        """Look whether the board is there, and serve it if its place is acquired."""
        if self.server is not None:
            try:
                is_alive = self.server.read()
            except RigError as error:
                self.problem, is_alive = str(error), False
            if not is_alive:
                self.problem = self.problem or "its server has ended"
                self._stop()
        now = time.monotonic()
        if now - self._looked_s >= _LOOK_S:
            self._look()
        if not self.is_there:
            self._stop()
        elif self.state is ExportState.WAITING and now - self._tried_s >= _RETRY_S:
            self._retry()
        elif self.state is ExportState.FREE and now - self._tried_s >= _REFUSED_S:
            self.problem = ""

    def describe(self) -> Any | None:
        """Return the message for the coordinator if anything has changed, else None."""
        message = messages.ExporterInMessage()
        resource = message.resource
        resource.path.group_name, resource.path.resource_name = self.board.name, _RESOURCE
        resource.cls = RESOURCE_CLASS
        if self.place:
            resource.acquired = self.place
        resource.avail = self.is_there and not self.problem
        resource.params["host"].string_value = self._host
        resource.params["port"].Clear()
        resource.params["serial"].string_value = self.board.serial
        resource.extra["kind"].string_value = self.board.kind
        resource.extra["problem"].string_value = self.problem
        if self.server is not None:
            resource.params["port"].uint_value = self.server.ports[0]
            resource.extra["hold_port"].uint_value = self.server.ports[1]
        text = message.SerializeToString(deterministic=True)
        if text == self._described:
            return None
        self._described = text
        return message

    def _look(self) -> None:
        self._looked_s = time.monotonic()
        self.is_there = is_present(self.board)
        if not self.is_there:
            self.problem = f"board {self.board.name} is not there; check its cable and its power"
            self._tried_s = -_REFUSED_S

    def _retry(self) -> None:
        """Try to serve a board whose place is acquired."""
        try:
            self._start(self.place)
        except RigError as error:
            _log.debug("board %s: %s", self.board.name, error)

    def _start(self, place: str) -> None:
        self.problem = ""
        try:
            self.server = ServerProcess(self._rig, self.board, place, self._address, self._ports)
        except RigError as error:
            self.problem = f"board {self.board.name} cannot be served: {error}"
            raise RigError(self.problem) from None
        finally:
            self._tried_s = time.monotonic()
        self._ports = self.server.ports

    def _stop(self) -> None:
        server, self.server = self.server, None
        if server is not None:
            server.close()


def is_present(board: Board) -> bool:
    """Return True if the board is there, as far as that shows without opening it."""
    url = parse(board.url)
    if url.scheme == "unix":
        return os.path.exists(url.path)  # noqa: PTH110 - a path of bytes that Path would refuse
    if url.scheme == "serial":
        return not url.path.startswith("/") or os.path.exists(url.path)  # noqa: PTH110
    if url.scheme == "usb" and url.path:
        return find_usb_port("usb", url.path) is not None
    return True


class LabgridExporter:
    """Exports the boards of a rig, until an exception ends it: a signal's, for example.

    Args:
        rig: The rig. Its name is the exporter's.
        address: Of the coordinator.
        hostname: Under which others reach this machine; "" for the address that leads to the
            coordinator.
        say: Is told what happens, in one line each.
    """

    def __init__(self, rig: Rig, address: str, hostname: str, say: Callable[[str], None]) -> None:
        self.was_connected = False
        self._rig = rig
        self._address = address
        self._say = say
        own = find_own_address(address)
        self._host, self._listen = (hostname, "") if hostname else (own, own)
        self._boards: dict[str, ExportedBoard] = {}
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._has_ended = threading.Event()

    def run(self) -> None:
        """Export until the coordinator ends the session, which raises :exc:`~lenslink.RigError`."""
        owner = Owner.describe_self().name
        # Each call has a limit of its own.
        with Coordinator(self._address, owner, Deadline(math.inf)) as coordinator:
            coordinator.list_places()
            self._boards = {
                board.name: ExportedBoard(self._rig, board, self._host, self._listen)
                for board in self._rig.boards.values()
            }
            startup = messages.StartupDone(version=version("labgrid"), name=self._rig.name)
            self._outbox.put(messages.ExporterInMessage(startup=startup))
            # The coordinator answers no other call while it waits for an acquisition. So the calls
            # of the watch must not delay the answer to an acquisition.
            for target in (self._read, self._watch):
                threading.Thread(target=target, args=(coordinator,), daemon=True).start()
            try:
                while True:
                    self._step()
            finally:
                self._has_ended.set()
                self._outbox.put(None)
                for each in self._boards.values():
                    each.release()

    def _read(self, coordinator: Coordinator) -> None:
        """Put what the coordinator sends into the inbox, and then why it sends no more."""
        try:
            for message in coordinator.export(self._outbox):
                self._inbox.put(message)
        except RigError as error:
            self._inbox.put(error)
        else:
            self._inbox.put(RigError("the labgrid coordinator ended the session"))

    def _step(self) -> None:
        try:
            message = self._inbox.get(timeout=_POLL_S)
        except queue.Empty:
            message = None
        if isinstance(message, RigError):
            raise message
        if message is not None:
            self._handle(message)
        for each in self._boards.values():
            each.poll()
        self._publish()

    def _handle(self, message: Any) -> None:
        kind = message.WhichOneof("kind")
        if kind == "hello":
            self.was_connected = True
            names = ", ".join(self._boards)
            self._say(f"lenslink: exporting {names} of rig {self._rig.name} to {self._address}")
        elif kind == "set_acquired_request":
            problem = self._set_acquired(message.set_acquired_request)
            # Publish before the answer: the job that acquires the place must see the ports.
            self._publish()
            answer = messages.ExporterInMessage()
            answer.response.success = not problem
            if problem:
                answer.response.reason = problem
                self._say(f"lenslink: {problem}")
            self._outbox.put(answer)

    def _set_acquired(self, request: Any) -> str:
        """Acquire or release a board; return why that is not possible, or ""."""
        board = self._boards.get(request.group_name)
        if board is None:
            return f"the rig {self._rig.name} has no board {request.group_name}"
        if not request.place_name:
            self._say(f"lenslink: {board.board.name} is free")
            board.release()
            return ""
        try:
            board.acquire(request.place_name)
        except RigError as error:
            return str(error)
        self._say(f"lenslink: {board.board.name} is acquired by place {request.place_name}")
        return ""

    def _publish(self) -> None:
        for each in self._boards.values():
            message = each.describe()
            if message is not None:
                self._outbox.put(message)

    # --- places whose owners have died ---------------------------------------------------------

    def _watch(self, coordinator: Coordinator) -> None:
        """Look for dead owners until the exporter ends."""
        while not self._has_ended.wait(_LOOK_S):
            try:
                self._release_orphans(coordinator)
            except RigError as error:
                # Another exporter was faster, or the session ends: the reader says so.
                _log.debug("places of dead owners: %s", error)

    def _release_orphans(self, coordinator: Coordinator) -> None:
        """Release places whose owners have died, and cancel the reservations of such owners."""
        for place in coordinator.list_places():
            reason = self._find_reason(place)
            if reason:
                self._say(f"lenslink: place {place.name} is released: {place.owner} {reason}")
                coordinator.release(place.name, place.owner)
                if place.reservation:
                    coordinator.cancel(place.reservation)
        for each in coordinator.list_reservations():
            found = Owner.parse(each.owner)
            if found is not None and found.has_ended():
                coordinator.cancel(each.token)

    def _find_reason(self, place: Place) -> str:
        """Return why a place has to be released, or ""."""
        own = [path.split("/")[1] for path in place.resources if self._is_ours(path)]
        boards = [board for name in own if (board := self._boards.get(name)) is not None]
        if not boards:
            return ""
        servers = [board.server for board in boards]
        return explain_release(
            place.owner, [None if server is None else server.idle_s for server in servers]
        )

    def _is_ours(self, path: str) -> bool:
        exporter, _, kind, _ = path.split("/")
        return exporter == self._rig.name and kind == RESOURCE_CLASS


def find_own_address(coordinator: str) -> str:
    """Return the address of this machine in the network of the coordinator at *coordinator*.

    Raises :exc:`~lenslink.RigError` if there is no such host. Nothing is sent.
    """
    host, _, port = coordinator.rpartition(":")
    try:
        family, _, _, _, target = socket.getaddrinfo(host.strip("[]"), int(port))[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except (OSError, OverflowError) as error:
        raise RigError(f"no labgrid coordinator at {coordinator}: {error}") from None


def export_rig(rig: Rig, address: str, hostname: str, say: Callable[[str], None]) -> None:
    """Export *rig* until an exception ends it. A coordinator that has ended is waited for.

    Raises :exc:`~lenslink.RigError` if the coordinator does not answer at first, or another
    exporter has the rig's name.
    """
    is_first, told = True, ""
    while True:
        exporter = LabgridExporter(rig, address, hostname, say)
        try:
            exporter.run()
        except RigError as error:
            if is_first and isinstance(error, Refused):
                raise RigError(f"{error}; end that one, or give the rig another name") from None
            if is_first and not exporter.was_connected:
                raise
            is_first = False
            if exporter.was_connected or str(error) != told:
                told = str(error)
                say(f"lenslink: {error}; trying again")
        time.sleep(_RETRY_S)
