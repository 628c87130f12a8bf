"""The host's side of the boards: virtual boards, and the requests of the guest for them.

A request and its answer are a line of JSON each:

- ``{"do": "plug", "slot": 0, "cdc": false, "options": {...}, "fresh": true}`` starts a board, anew
  if ``fresh``. The answer is ``{"serial": "..."}``, once the guest can attach the board.
- ``{"do": "pull", "slot": 0}`` cuts the board's supply. The answer is ``{}``.
- ``{"error": "..."}`` is the answer to a request that failed.
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
"""The number of boards that the guest can have at once."""
_START_S: Final = 20.0
_MAX_LINE: Final = 65536


class HostBoards:
    """The boards. ``ports`` are those of each slot's USB/IP server; ``control`` takes requests."""

    def __init__(self) -> None:
        self._boards: list[VirtualBoard | None] = [None] * SLOTS
        self._kinds: list[object] = [None] * SLOTS
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(SLOTS + 1)]
        *self.ports, self.control = [each.getsockname()[1] for each in self._listeners]
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="boards", daemon=True).start()

    def close(self) -> None:
        """End all boards. Idempotent."""
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
        """Carry out the request in *line*; return the answer."""
        try:
            request = json.loads(line)
            slot = request["slot"]
            if slot not in range(SLOTS):
                raise UsageError(f"no slot {slot}")
            with self._lock:
                if request["do"] == "plug":
                    return {"serial": self._plug(slot, request)}
                if request["do"] == "pull":
                    self._cut_supply(slot)
                    return {}
            raise UsageError(f"unknown request '{request['do']}'")
        except LensLinkError as error:
            return {"error": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"malformed request: {type(error).__name__}: {error}"}

    def _plug(self, slot: int, request: Mapping[str, Any]) -> str:
        deadline = Deadline(_START_S, "starting the board")
        kind = (request["cdc"], request["options"])
        board = self._boards[slot]
        if board is not None and self._kinds[slot] != kind:
            self._boards[slot] = None
            board.close()
            board = None
        if board is None:
            board = VirtualBoard(
                request["options"], f"KERNEL-{slot}", cdc=kind[0], listener=self._listeners[slot]
            )
            self._boards[slot], self._kinds[slot] = board, kind
        if board.module is not None and (request["fresh"] or board.module.poll() is not None):
            board.unplug()
            board.wait_for(lambda counts: not counts["boards"], deadline)
        if board.module is None:
            board.plug(deadline)
        return board.serial

    def _cut_supply(self, slot: int) -> None:
        board = self._boards[slot]
        if board is None or board.module is None:
            raise UsageError(f"nothing is plugged in at slot {slot}")
        board.module.firmware.kill()
        board.module.wait(_START_S)
