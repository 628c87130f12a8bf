"""Serve all simulated boards of a rig: ``lenslink rig simulate``."""

from __future__ import annotations

import queue
import socket
import threading
from typing import Final

from lenslink.cli.screen import Screen
from lenslink.errors import LensLinkError, RigError
from lenslink.transports import parse

from .rig_file import Board, Rig
from .simulated_board import SimulatedBoard

_END_S: Final = 10.0


def make_boards(rig: Rig) -> list[SimulatedBoard]:
    """Return the rig's simulated boards; raise :exc:`~lenslink.RigError` if it has none."""
    boards = []
    for board in rig.boards.values():
        if board.power is None or board.power.kind != "sim":
            continue
        url = parse(board.url)
        if url.scheme != "unix":
            raise RigError(f'board {board.name}: a simulated board has url = "unix:PATH"')
        control = str(board.power.options["socket"])
        boards.append(SimulatedBoard(url.path, control, _choose_serial(board), _SCENE))
    if not boards:
        raise RigError(f"{rig.file}: no board has a power switch of the kind 'sim'")
    return boards


_SCENE: Final = {"scene": "ramp", "width": "640", "height": "480"}


def _choose_serial(board: Board) -> str:
    return board.serial or f"SIM-{board.name}"


def serve_boards(rig: Rig, screen: Screen) -> None:
    """Serve the boards, each in a thread, until an exception ends it: a signal's, for example."""
    boards = make_boards(rig)
    ends: queue.SimpleQueue[LensLinkError | None] = queue.SimpleQueue()
    stops: list[socket.socket] = []
    threads = []
    for board in boards:
        ours, theirs = socket.socketpair()
        stops.append(ours)
        thread = threading.Thread(target=_serve, args=(board, theirs, ends), daemon=True)
        thread.start()
        threads.append(thread)
    screen.say(f"lenslink: serving {len(boards)} simulated boards; Ctrl-C ends them")
    try:
        error = None
        while error is None and any(thread.is_alive() for thread in threads):
            try:
                # A wait without a limit could not be interrupted everywhere.
                error = ends.get(timeout=1.0)
            except queue.Empty:
                continue
        if error is not None:
            raise error
    finally:
        for stop in stops:
            stop.close()
        for thread in threads:
            thread.join(_END_S)


def _serve(
    board: SimulatedBoard, stop: socket.socket, ends: queue.SimpleQueue[LensLinkError | None]
) -> None:
    with stop:
        try:
            board.serve(stop)
        except LensLinkError as error:
            ends.put(error)
        except OSError as error:
            ends.put(RigError(f"{board.path}: {error.strerror or error}"))
        else:
            ends.put(None)
