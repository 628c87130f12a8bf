"""A test rig without hardware: simulated boards, and a power switch that may misbehave."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lenslink.deadline import Deadline
from lenslink_hil.rig.rig_file import Rig, load_rig
from lenslink_hil.rig.simulated_board import SimulatedBoard
from lenslink_hil.rig.switch_sim import send_command

from .slowdown import patience

SCENE = {"scene": "ramp", "width": "64", "height": "64"}
MOODS = ("obeys", "lies", "lags", "hangs", "answers 500", "switches the wrong port")


class RigHarness:
    """Simulated boards in threads, and a rig.toml in *folder* whose switches are a PDU's.

    >>> with RigHarness(tmp_path, ["left", "right"]) as harness:  # doctest: +SKIP
    ...     harness.mood = "lies"
    """

    def __init__(
        self, folder: Path, names: Sequence[str], *, timeout: float = 5.0, more: str = ""
    ) -> None:
        self.folder = folder
        self.names = list(names)
        self.mood = "obeys"
        self.lag_s = 0.5
        self._stops: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._end = threading.Event()
        self._pdu = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self._pdu.daemon_threads = True
        self._timeout = timeout
        self._more = more

    @property
    def file(self) -> Path:
        return self.folder / "rig.toml"

    def load(self) -> Rig:
        return load_rig(self.file)

    def link(self, name: str) -> Path:
        return self.folder / f"{name}.lens"

    def command(self, name: str, command: str) -> str:
        """Send a command to a board: on, off, state, plug, unplug, wedge."""
        return send_command(str(self._control(name)), command, Deadline(patience(20)))

    def write(self, boards: str = "", *, rest: str = "on") -> None:
        """Write rig.toml; *boards* is added to each board's table."""
        port = self._pdu.server_address[1]
        text = 'name = "harness"\n' + self._more
        for name in self.names:
            text += f'[board.{name}]\nurl = "unix:{self.link(name)}"\npower = "{name}"\n{boards}\n'
            text += f'[power.{name}]\nswitch = "http"\nrest = "{rest}"\ntimeout = {self._timeout}\n'
            for key in ("on", "off", "state"):
                text += f'{key} = "http://127.0.0.1:{port}/{name}/{key}"\n'
            text += 'state_on = "power=on"\n'
        self.file.write_text(text)

    def __enter__(self) -> Self:
        self.write()
        for name in self.names:
            board = SimulatedBoard(
                str(self.link(name)), str(self._control(name)), f"SIM-{name}", SCENE
            )
            ours, theirs = socket.socketpair()
            self._stops.append(ours)
            self._start(lambda board=board, stop=theirs: _serve(board, stop))
        self._start(self._pdu.serve_forever)
        for name in self.names:
            end = time.monotonic() + patience(30)
            while not self.link(name).exists():
                assert time.monotonic() < end, f"board {name} did not start"
                time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._pdu.shutdown()
        self._pdu.server_close()
        for stop in self._stops:
            stop.close()
        for thread in self._threads:
            thread.join(patience(10))

    def _control(self, name: str) -> Path:
        return self.folder / f"{name}.power"

    def _start(self, function: object) -> None:
        thread = threading.Thread(target=function, daemon=True)  # type: ignore[arg-type]
        thread.start()
        self._threads.append(thread)

    def answer(self, name: str, action: str) -> tuple[int, str]:
        """Do what the PDU does in its mood, and return its answer."""
        if self.mood == "hangs":
            self._end.wait(patience(60))
            return 200, ""
        if self.mood == "answers 500":
            return 500, "relay board not found"
        if self.mood == "lags":
            self._end.wait(self.lag_s)
        if self.mood == "switches the wrong port":
            name = self.names[(self.names.index(name) + 1) % len(self.names)]
        if self.mood != "lies" or action == "state":
            action = self.command(name, action)
        return 200, f"power={action}"

    def _make_handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        harness = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, name, action = self.path.split("/")
                status, text = harness.answer(name, action)
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        return Handler


def _serve(board: SimulatedBoard, stop: socket.socket) -> None:
    with stop:
        board.serve(stop)
