"""Runs the command line as a process, as a user starts it."""

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
# Words in the command line of the firmware's process: MicroPython, or the emulator of a chip.
_FIRMWARE = (b"lensfw.main", b"emulator.mjs")


class Cli:
    """Starts processes that share a runtime folder and a working folder, and ends them.

    Modules are served by ``lenslink sim``, or by the command *serves*.
    """

    def __init__(self, folder: Path, serves: str = "sim") -> None:
        self.serves = serves
        self.folder = folder
        # Not in the test's folder, because the path of a socket has at most 100 bytes.
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
        with interruptible():
            process = subprocess.Popen(
                [*LENSLINK, *args],
                cwd=self.folder,
                env=self.environment | options.pop("environment", {}),
                # Unbuffered, so that reading a line leaves the rest to communicate().
                bufsize=0,
                **(pipes | options),
            )
        self._started.append(process)
        return process

    def on_terminal(self, *args: str, **environment: str) -> Terminal:
        """Start a command with stderr on a terminal."""
        master, slave = pty.openpty()
        try:
            process = self.start(*args, stderr=slave, environment=environment)
        finally:
            os.close(slave)
        return Terminal(process, master)

    def serve(self, *options: str) -> tuple[subprocess.Popen[bytes], str]:
        """Start a serving command; return its process and its URL."""
        if self.serves == "usbip" and "--listen" not in options:
            # The default port may be in use.
            options += ("--listen", "127.0.0.1:0")
        process = self.start(self.serves, *options)
        url = process.stdout.readline().decode().strip()
        assert url, process.communicate()[1].decode()
        return process, url

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


class Terminal:
    """A process whose stderr is a terminal that the test reads."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.text = ""
        self._master = master

    def read_until(self, text: str) -> None:
        while text not in self.text:
            assert self._read(), f"the process ended before it printed {text!r}: {self.text!r}"

    def finish(self) -> str:
        """Read to the end and return stdout."""
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
def interruptible():
    """Start children that do not ignore SIGINT, even if this process does, as in CI."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def finish(process: subprocess.Popen[bytes]) -> tuple[int, list[str], list[str]]:
    """Wait for the end; return the exit code, the lines of stdout and those of stderr."""
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out.decode().splitlines(), err.decode().splitlines()


def objects(lines: list[str]) -> list[dict]:
    return [json.loads(line) for line in lines]


def children(pid: int) -> list[int]:
    """Return the descendants of the process *pid*."""
    tasks = Path(f"/proc/{pid}/task")
    if not Path("/proc/self/task").is_dir():
        pytest.skip("finding a process's children needs /proc")
    found = []
    for task in tasks.iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


def firmware(pid: int) -> int:
    """Return the descendant of *pid* that runs the firmware."""
    return next(
        child
        for child in children(pid)
        if any(word in Path(f"/proc/{child}/cmdline").read_bytes() for word in _FIRMWARE)
    )


def assert_gone(pids: list[int]) -> None:
    """Wait until all processes have ended; an orphan needs a moment to notice its peer's end."""
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
