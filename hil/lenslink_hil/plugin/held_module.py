"""The board that a process of pytest keeps, and the module on it: opened once, reset for each test.

A session of the link begins anew for each test, over a connection that stays. What cannot be opened
is recovered in steps, each bounded, and each counted::

    step      what is done                                  given up after
    --------  --------------------------------------------  ----------------------------
    session   Hello, over the open connection               the time of a first opening, and 3 s
    port      the connection is closed and opened again     the same
    power     the power is cycled, and then as for a port   the same, and the switch's timeout

A board that no step brings back is broken: every later test has the same rig error at once.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import lenslink
from lenslink.deadline import Deadline
from lenslink.device import Device
from lenslink.errors import (
    Disconnected,
    LensLinkError,
    MissingExtra,
    NotFound,
    ProtocolError,
    RigError,
    Timeout,
    UsageError,
)
from lenslink.transports import parse

from ..rig.rig_doctor import explain_mismatch
from ..rig.rig_file import Board, Rig, find_rig_file, load_rig
from ..rig.taken_board import ReservedBoard, take_board

if TYPE_CHECKING:
    from lenslink.transports import Transport

_STEP_S: Final = 3.0
_FIRST_S: Final = 30.0
DEFAULT_S: Final = 30.0
"""Seconds that each call of a test may take, unless it says otherwise."""
LABGRID: Final = "labgrid"
"""The scheme of URLs of places."""
_log = logging.getLogger(__name__)

Wrap = Callable[["Transport", str], "Transport"]
"""Puts a recorder around the transport to a URL."""


def find_rig_boards(url: str) -> tuple[Rig, list[Board]]:
    """Return the rig and the boards that a ``rig:`` URL means."""
    parsed = parse(url)
    rig = load_rig(find_rig_file(parsed.options.get("file")))
    return rig, rig.find_boards(parsed.path)


def take_named_board(
    urls: Sequence[str],
    wait_s: float,
    *,
    on_wait: Callable[[str], None] | None = None,
    controller: int | None = None,
    command: str = "",
) -> ReservedBoard:
    """Take the first free board that *urls* mean; see :func:`.taken_board.take_board`.

    Places of labgrid (:mod:`..labgrid`) and boards of this machine do not mix.

    Raises :exc:`~lenslink.RigError` if there is none, and :exc:`~lenslink.UsageError` for a URL
    that makes no sense.
    """
    parsed = [parse(url) for url in urls]
    if all(url.scheme == LABGRID for url in parsed):
        from ..labgrid.held_place import take_place

        return take_place(parsed, Deadline(wait_s, "waiting for a place"), on_wait)
    if any(url.scheme == LABGRID for url in parsed):
        raise UsageError("--lens: places of labgrid and boards of this machine in one run")
    boards: list[Board] = []
    rig: Rig | None = None
    for url in urls:
        if parse(url).scheme == "rig":
            found, more = find_rig_boards(url)
            if rig is not None and rig.file != found.file:
                raise UsageError("--lens: boards of two rigs in one run")
            rig = found
            boards += more
        else:
            boards.append(Board(url, url, url))
    return take_board(
        boards, wait_s, rig=rig, on_wait=on_wait, controller=controller, command=command
    )


class HeldModule:
    """A board, and the module on it.

    Args:
        taken: The board; None for a module that is started by being opened.
        url: The URL of the module.
        wrap: Puts a recorder around each transport.
    """

    def __init__(self, taken: ReservedBoard | None, url: str, wrap: Wrap | None = None) -> None:
        self.board = taken.board if taken is not None else Board(url, url, url)
        self.taken = taken
        self.recoveries: Counter[str] = Counter()
        """How often each step of a recovery was needed."""
        self.transport: Transport | None = None
        """The transport at the moment, without its recorder."""
        self._url = url
        self._wrap = wrap
        self._device: Device | None = None
        self._open_s = 0.0
        self._broken = ""

    @property
    def url(self) -> str:
        return self._url

    @property
    def device(self) -> Device | None:
        """The open module; None if there is no connection."""
        return self._device

    def start_session(self, url: str) -> Device:
        """Return the module at *url* in a new session: stopped, with its defaults.

        Raises :exc:`~lenslink.RigError` if the module cannot be brought back, or is another one.
        """
        if url != self._url:
            self.close_connection()
            self._url = url
        if self._broken:
            raise RigError(self._broken)
        device = self._recover()
        identity = device.identity
        problem = explain_mismatch(
            self.board, identity.serial, device.manifest.board, identity.firmware
        )
        if problem:
            self._broken = problem
            self.close_connection()
            raise RigError(problem)
        return device

    def examine(self) -> str:
        """Return why the board is lost, after a test that failed; "" if it is there."""
        if self._broken:
            return self._broken
        try:
            self._recover()
        except RigError as error:
            # A module that is there and does not answer is the module's own failure.
            is_silent = isinstance(error.__cause__, Timeout | ProtocolError)
            return "" if is_silent else str(error)
        except LensLinkError:
            return ""
        return ""

    def close_connection(self) -> None:
        """Close the connection; the next session opens another. Idempotent."""
        device, self._device = self._device, None
        self.transport = None
        if device is not None:
            device.close()

    def close(self) -> None:
        """Close the connection, and release the board with its power in its rest state."""
        self.close_connection()
        if self.taken is not None:
            self.taken.release()

    # --- recovery ---------------------------------------------------------------------------

    def _recover(self) -> Device:
        """Open a session with as few steps as possible."""
        steps: list[tuple[str, Callable[[], Device]]] = [("port", self._open)]
        if self._device is not None:
            steps.insert(0, ("session", self._renew))
        if self.taken is not None and self.taken.power is not None:
            steps.append(("power", self._cycle_power))
        is_new = self._device is None
        failure: LensLinkError | None = None
        for name, step in steps:
            try:
                device = step()
            except (UsageError, MissingExtra):
                raise
            except LensLinkError as error:
                _log.debug("board %s: %s: %s", self.board.name, name, error)
                failure = error
                continue
            if failure is not None or not (is_new or name == "session"):
                self.recoveries[name] += 1
            return device
        assert failure is not None
        self.close_connection()
        self._broken = self._explain(failure, [name for name, _ in steps])
        raise RigError(self._broken) from failure

    def _explain(self, error: LensLinkError, steps: Sequence[str]) -> str:
        tried = ", ".join(steps)
        reason = str(error)
        if isinstance(error, lenslink.DeviceBusy):
            return (
                f"board {self.board.name} is in use: {reason}, and that process has not reserved "
                "the board; end it"
            )
        if self.taken is not None and (cause := self.taken.explain_loss()):
            return f"board {self.board.name} is lost: {cause} (tried: {tried})"
        return (
            f"board {self.board.name} is lost ({reason}; tried: {tried}); check its cable and "
            "its power, then type: lenslink rig doctor"
        )

    def _renew(self) -> Device:
        assert self._device is not None
        self._device.renew(self._step_timeout)
        return self._device

    def _open(self) -> Device:
        self.close_connection()
        began = time.monotonic()
        timeout = self._step_timeout if self._open_s else _FIRST_S
        opening = Deadline(timeout, f"opening {self._url}")
        device = Device(self._url, DEFAULT_S, self._wrap_transport, opening, with_session=False)
        try:
            device.renew(timeout)
        except BaseException:
            device.close()
            raise
        self._open_s = self._open_s or time.monotonic() - began
        self._device = device
        return device

    def _cycle_power(self) -> Device:
        assert self.taken is not None
        assert self.taken.power is not None
        self.close_connection()
        self.taken.power.cycle()
        end = time.monotonic() + self._step_timeout
        while True:
            with contextlib.suppress(NotFound, Disconnected):
                return self._open()
            if time.monotonic() >= end:
                return self._open()
            time.sleep(0.1)

    @property
    def _step_timeout(self) -> float:
        return _STEP_S + 2 * self._open_s

    def _wrap_transport(self, transport: Transport) -> Transport:
        self.transport = transport
        return transport if self._wrap is None else self._wrap(transport, self._url)
