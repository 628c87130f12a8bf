"""labgrid on loopback: a coordinator, our exporter, and the boards of a simulated rig.

labgrid's packages overwrite pyserial. So they have a virtual environment of their own, in the
user's cache. It is made once for each version. Behind its packages it finds those of the
environment that runs the tests, and so LensLink itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import platformdirs
from filelock import FileLock, Timeout

from lenslink_hil.rig.rig_file import Rig

from .cli_process import interruptible
from .slowdown import patience

ROOT: Final = Path(__file__).resolve().parents[2]
INSTALL_S: Final = 120.0
_START_S: Final = 30.0
_BEHIND: Final = "LABGRID_TESTS_BEHIND"
_PATH_FILE: Final = f"import os, site; p = os.environ.get({_BEHIND!r}); p and site.addsitedir(p)\n"


class NoLabgrid(Exception):
    """labgrid cannot be installed here, and why."""


def find_python() -> Path:
    """Return the Python of labgrid's environment, which is made if it is missing.

    Raises :exc:`NoLabgrid` with the reason if that fails.
    """
    if sys.platform != "linux":
        raise NoLabgrid("labgrid needs Linux")
    requirement = _read_version()
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    folder = platformdirs.user_cache_path("lenslink") / "labgrid" / f"{requirement}-py{version}"
    python, complete = folder / "bin/python", folder / "complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{folder}.lock", timeout=patience(INSTALL_S)):
            if not complete.exists():
                _install(folder, python, requirement)
                complete.touch()
    except (OSError, Timeout, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        last = (said.decode("utf-8", "replace").strip().splitlines() or [str(error)])[-1]
        raise NoLabgrid(f"labgrid cannot be installed: {last}") from None
    return python


def _read_version() -> str:
    """Return ``labgrid==VERSION`` of the lock file."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert "labgrid" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]  # fmt: skip
    return next(line.split()[0] for line in lines if line.startswith("labgrid=="))


def _install(folder: Path, python: Path, requirement: str) -> None:
    _run(sys.executable, "-m", "venv", "--clear", "--without-pip", folder)
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile",
         "--disable-pip-version-check", "--constraint", ROOT / "requirements.lock", requirement,
    )  # fmt: skip
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (folder / "lib" / version / "site-packages/behind.pth").write_text(_PATH_FILE)


def _run(*arguments: object) -> None:
    subprocess.run(
        list(map(str, arguments)), capture_output=True, timeout=patience(INSTALL_S), check=True
    )


class LabgridHarness:
    """A coordinator, and an exporter of *rig*, in *folder*.

    >>> with LabgridHarness(python, tmp_path, rig) as site:  # doctest: +SKIP
    ...     site.run("-m", "lenslink", "info", "labgrid:harness-left")
    """

    def __init__(self, python: Path, folder: Path, rig: Rig) -> None:
        self.python = python
        self.folder = folder
        self.rig = rig
        self.environment = {
            _BEHIND: sysconfig.get_path("purelib"),
            "LENSLINK_RIG": str(rig.file),
            "NO_COLOR": "1",
        }
        self.exporter: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> LabgridHarness:
        home = self.folder / "coordinator"
        home.mkdir()
        with contextlib.ExitStack() as abort:
            abort.callback(self.close)
            _, line = self.start(
                "-m", "labgrid.remote.coordinator", "-l", "127.0.0.1:0",
                until=b"listening on ", folder=home,
            )  # fmt: skip
            self.environment["LG_COORDINATOR"] = line.split()[-1]
            self.start_exporter()
            abort.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        for process in reversed(self._started):
            end_process(process)

    def start_exporter(self) -> None:
        """Start the exporter, and wait until the coordinator knows it."""
        words = ("-m", "lenslink", "rig", "exporter", str(self.rig.file))
        self.exporter, _ = self.start(*words, until=b"lenslink: exporting")

    def restart_exporter(self) -> None:
        """Start the exporter again if it has ended."""
        if self.exporter is None or self.exporter.poll() is not None:
            self.start_exporter()

    def kill_exporter(self) -> None:
        """Kill the exporter as a lost machine would."""
        assert self.exporter is not None
        self.exporter.kill()
        self.exporter.wait()

    def start(
        self, *arguments: str, until: bytes, folder: Path | None = None
    ) -> tuple[subprocess.Popen[bytes], str]:
        """Start labgrid's Python, and wait for a line of output with *until* in it."""
        number = len(self._started)
        path = self.folder / f"output {number}"
        with path.open("wb") as output, interruptible():
            process = subprocess.Popen(
                [str(self.python), *arguments],
                cwd=folder or self.folder,
                env=self.make_environment() | {"PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._started.append(process)
        end = time.monotonic() + patience(_START_S)
        while True:
            found = [line for line in path.read_bytes().splitlines() if until in line]
            if found:
                return process, found[0].decode()
            assert process.poll() is None, path.read_text()
            assert time.monotonic() < end, path.read_text()
            time.sleep(0.02)

    def make_environment(self) -> dict[str, str]:
        """Return the environment of processes beside the exporter."""
        return {k: v for k, v in os.environ.items() if not k.startswith("LG_")} | self.environment

    def run(self, *arguments: str) -> str:
        """Run labgrid's Python to its end, and return what it printed; it must succeed."""
        done = self.try_to_run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def try_to_run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run labgrid's Python to its end."""
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=self.folder,
            env=self.make_environment(),
            capture_output=True,
            text=True,
            timeout=patience(60),
            check=False,
        )

    def run_script(self, script: str, *arguments: str) -> Any:
        """Run *script*, and return the JSON that it prints as its last line."""
        return json.loads(self.run("-c", script, *arguments).splitlines()[-1])


@contextlib.contextmanager
def ending(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    """End *process* behind the block."""
    try:
        yield process
    finally:
        end_process(process)


def end_process(process: subprocess.Popen[Any]) -> None:
    """End a process as Ctrl-C does, else by force."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(patience(10))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
