"""Take a board for one job: its lock, its power, and the keeper that outlives the job."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from lenslink.context import ReleasesOnExit
from lenslink.deadline import Deadline
from lenslink.errors import RigError

from .board_lock import BoardLock, describe_holders, make_lock_path, take_first
from .keeper import Keeper
from .rig_file import Board, Rig
from .rig_power import RigPower

WAIT_S: Final = 30.0
"""How long a job waits for a board, unless it says otherwise."""
_KEEPER_GRACE_S: Final = 5.0
_log = logging.getLogger(__name__)


class ReservedBoard(Protocol):
    """A board that this job alone has, here or on another machine."""

    board: Board
    rig_file: Path | None
    """The rig's file; None if it is on another machine, or there is none."""
    power: RigPower | None
    """The board's power; None if this job cannot switch it."""

    def release(self) -> None:
        """Let others have the board. Idempotent; never raises."""

    def explain_loss(self) -> str:
        """Return why the board cannot be reached any more; "" if that is not known."""


class TakenBoard(ReleasesOnExit):
    """A board that no other job can take until :meth:`release`."""

    def __init__(
        self,
        board: Board,
        lock: BoardLock,
        rig_file: Path | None,
        controller: int | None,
        *,
        is_switched_on: bool = True,
    ) -> None:
        self.board = board
        self.rig_file = rig_file
        self.power: RigPower | None = None
        """The board's power; None if rig.toml names no switch for it."""
        self._lock = lock
        self._keeper: Keeper | None = None
        try:
            if board.power is not None or controller is not None:
                name = board.power.name if board.power else None
                self._keeper = Keeper(lock.descriptor, rig_file, name, controller)
            if board.power is not None and self._keeper is not None:
                self.power = RigPower(board.power, self._keeper.tell)
                if is_switched_on:
                    self.switch_on()
        except BaseException:
            self.release()
            raise

    def switch_on(self) -> None:
        """Switch a board on that rests without power, or that somebody has switched off.

        Raises :exc:`~lenslink.RigError` if its switch fails.
        """
        power = self.power
        if power is None:
            return
        if not power.entry.is_on_at_rest or power.read() is False:
            power.on()

    def release(self) -> None:
        """Leave the power in its rest state, and let others have the board. Idempotent."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            seconds = _KEEPER_GRACE_S + (self.board.power.timeout_s if self.board.power else 0)
            if not keeper.finish(seconds):
                _log.warning("board %s: its power is not in its rest state", self.board.name)
        self._lock.release()

    def explain_loss(self) -> str:
        """Return "": what the driver reports of a board of this machine says it all."""
        return ""


def take_board(
    boards: Sequence[Board],
    wait_s: float = WAIT_S,
    *,
    rig: Rig | None = None,
    on_wait: Callable[[str], None] | None = None,
    controller: int | None = None,
    command: str = "",
    is_switched_on: bool = True,
) -> TakenBoard:
    """Take the first of *boards* that is free.

    Args:
        boards: The boards that would do, at least one.
        wait_s: Seconds to wait for one.
        rig: Where the boards are from; None for boards that no rig.toml names.
        on_wait: Is told once who has the boards, if the call has to wait.
        controller: A process without which this one must not go on (:mod:`.keeper`).
        command: What the job does, for those who wait for the board.
        is_switched_on: Switch the board's power on if it is off.

    Raises:
        RigError: All boards are taken for so long, or the power cannot be switched on.
    """
    folder = rig.locks if rig is not None else None
    paths = [make_lock_path(board.address, folder) for board in boards]
    found = take_first(paths, Deadline(wait_s), on_wait, command)
    if found is None:
        names = ", ".join(board.name for board in boards)
        raise RigError(
            f"no board is free within {wait_s:g} s ({names}): held by {describe_holders(paths)}; "
            "wait longer (--lens-wait), or type: lenslink rig release"
        )
    index, lock = found
    file = rig.file if rig is not None else None
    return TakenBoard(boards[index], lock, file, controller, is_switched_on=is_switched_on)
