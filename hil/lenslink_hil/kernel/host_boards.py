"""The host's side: virtual boards, and a line of JSON for each thing the guest wants done to them.

``{"do": "plug", "slot": 0, "cdc": false, "options": {...}, "fresh": true}`` is answered
``{"serial": "..."}`` once the board can be attached, and has just started if it was to;
``{"do": "pull", "slot": 0}`` by ``{}`` once its supply has been cut.
``{"error": "..."}`` says what was wrong.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Mapping
from typing import Any, Final

from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError, UsageError

from ..usbip.firmware_board import VirtualBoard

SLOTS: Final = 2
"""Boards that the guest can have at once."""
_START_S: Final = 20.0
_MAX_LINE: Final = 65536


class Boards:
    """``ports`` are where each slot's USB/IP server listens, ``control`` is where this does."""

    def __init__(self) -> None:
        self._boards: list[VirtualBoard | None] = [None] * SLOTS
        self._kinds: list[object] = [None] * SLOTS
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(SLOTS + 1)]
        *self.ports, self.control = [each.getsockname()[1] for each in self._listeners]
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="boards", daemon=True).start()

    def close(self) -> None:
        """End everything. Idempotent."""
        for listener in self._listeners:
            listener.close()
        with self._lock:
            for board in self._boards:
                if board is not None:
                    board.close()
            self._boards = [None] * SLOTS

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listeners[-1].accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rwb") as stream:
            while line := stream.readline(_MAX_LINE):
                stream.write(json.dumps(self.answer(line)).encode() + b"\n")
                stream.flush()

    def answer(self, line: bytes) -> dict[str, Any]:
        """Do what a line asks for."""
        try:
            order = json.loads(line)
            slot = order["slot"]
            if slot not in range(SLOTS):
                raise UsageError(f"no slot {slot}")
            with self._lock:
                if order["do"] == "plug":
                    return {"serial": self._plug(slot, order)}
                if order["do"] == "pull":
                    self._pull(slot)
                    return {}
            raise UsageError(f"{order['do']} is nothing that can be done")
        except LensLinkError as error:
            return {"error": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"no order: {type(error).__name__}: {error}"}

    def _plug(self, slot: int, order: Mapping[str, Any]) -> str:
        deadline = Deadline(_START_S, "starting the board")
        kind = (order["cdc"], order["options"])
        board = self._boards[slot]
        if board is not None and self._kinds[slot] != kind:
            self._boards[slot] = None
            board.close()
            board = None
        if board is None:
            board = VirtualBoard(
                order["options"], f"KERNEL-{slot}", cdc=kind[0], listener=self._listeners[slot]
            )
            self._boards[slot], self._kinds[slot] = board, kind
        if board.module is not None and (order["fresh"] or board.module.poll() is not None):
            board.unplug()
            board.wait_for(lambda counts: not counts["boards"], deadline)
        if board.module is None:
            board.plug(deadline)
        return board.serial

    def _pull(self, slot: int) -> None:
        board = self._boards[slot]
        if board is None or board.module is None:
            raise UsageError(f"nothing is plugged in at slot {slot}")
        board.module.firmware.kill()
        board.module.wait(_START_S)
