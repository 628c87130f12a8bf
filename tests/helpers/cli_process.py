"""The command line as a process: started as a user starts it, watched from outside."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from helpers.slowdown import patience

LENSLINK = [sys.executable, "-m", "lenslink"]
PATIENCE_S = patience(60)
# In its command line: MicroPython's, or that of the emulator of a chip that runs it.
_FIRMWARE = (b"lensfw.main", b"emulator.mjs")


class Cli:
    """Processes that share a runtime folder and a working folder of their own, until its end.

    Modules are served by ``lenslink sim``, or by what *serves*.
    """

    def __init__(self, folder: Path, serves: str = "sim") -> None:
        self.serves = serves
        self.folder = folder
        # Not in the test's folder: the path of a socket has at most some 100 bytes.
        self.runtime = Path(tempfile.mkdtemp(prefix="ll-"))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LENSLINK_", "NO_COLOR"))}
        own = {"LENSLINK_RUNTIME_DIR": str(self.runtime)}
        self.environment = kept | own | {"TERM": "xterm"}
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Cli:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        shutil.rmtree(self.runtime)

    def run(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*LENSLINK, *args],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def start(self, *args: str, **options: object) -> subprocess.Popen[bytes]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with _interruptible():
            process = subprocess.Popen(
                [*LENSLINK, *args],
                cwd=self.folder,
                env=self.environment | options.pop("environment", {}),
                # A line that is read leaves what follows to communicate().
                bufsize=0,
                **(pipes | options),
            )
        self._started.append(process)
        return process

    def on_terminal(self, *args: str, **environment: str) -> Terminal:
        """Start with stderr on a terminal."""
        master, slave = pty.openpty()
        try:
            process = self.start(*args, stderr=slave, environment=environment)
        finally:
            os.close(slave)
        return Terminal(process, master)

    def serve(self, *options: str) -> tuple[subprocess.Popen[bytes], str]:
        """Such a command, and the URL it serves."""
        if self.serves == "usbip" and "--listen" not in options:
            # Its own port may be somebody else's.
            options += ("--listen", "127.0.0.1:0")
        process = self.start(self.serves, *options)
        url = process.stdout.readline().decode().strip()
        assert url, process.communicate()[1].decode()
        return process, url

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


class Terminal:
    """A process whose stderr is a terminal that we read."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.text = ""
        self._master = master

    def read_until(self, text: str) -> None:
        while text not in self.text:
            assert self._read(), f"the process ended before it said {text!r}: {self.text!r}"

    def finish(self) -> str:
        """Read to the end; stdout."""
        while self._read():
            pass
        os.close(self._master)
        return self.process.communicate(timeout=PATIENCE_S)[0].decode()

    def _read(self) -> bool:
        try:
            piece = os.read(self._master, 65536)
        except OSError:  # Linux: the other end is closed
            return False
        self.text += piece.decode()
        return bool(piece)


@contextlib.contextmanager
def _interruptible():
    """Children inherit it if this process ignores SIGINT, as jobs in the background of CI do."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def finish(process: subprocess.Popen[bytes]) -> tuple[int, list[str], list[str]]:
    """Exit code, lines of stdout, lines of stderr."""
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out.decode().splitlines(), err.decode().splitlines()


def objects(lines: list[str]) -> list[dict]:
    return [json.loads(line) for line in lines]


def children(pid: int) -> list[int]:
    """The processes that *pid* has started, and those that they have."""
    tasks = Path(f"/proc/{pid}/task")
    if not Path("/proc/self/task").is_dir():
        pytest.skip("finding a process's children needs /proc")
    found = []
    for task in tasks.iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


def firmware(pid: int) -> int:
    """The process among the children of *pid* that runs the firmware."""
    return next(
        child
        for child in children(pid)
        if any(word in Path(f"/proc/{child}/cmdline").read_bytes() for word in _FIRMWARE)
    )


def assert_gone(pids: list[int]) -> None:
    """They have ended, or do so now: an orphan notices a moment later that its peer is gone."""
    assert pids
    deadline = time.monotonic() + PATIENCE_S
    for pid in pids:
        while _runs(pid):
            assert time.monotonic() < deadline, f"process {pid} was left behind"
            time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
