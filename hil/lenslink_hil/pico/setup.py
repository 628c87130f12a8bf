"""Find Node and rp2040js, and install rp2040js into the cache (``lenslink pico setup``)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from lenslink.deadline import Deadline
from lenslink.errors import RigError, StorageError, Timeout
from lenslink.runtime import is_process_alive

from .micropython_image import cache_folder

_OLDEST_NODE: Final = 18
_PROBE_S: Final = 10.0
_LIBRARY: Final = "rp2040js"
_INSTALLING: Final = "installing-"
_PACKAGE: Final = ("package.json", "package-lock.json")


def find_node() -> str:
    """Return the path of Node; RigError if there is none, or if it is too old."""
    path = shutil.which("node")
    if path is None:
        raise RigError(
            f"no node on PATH: install Node.js {_OLDEST_NODE} or newer (https://nodejs.org)"
        )
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_PROBE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RigError(f"{path} cannot be run: {error}") from None
    major = answer.stdout.strip().removeprefix("v").partition(".")[0]
    if not major.isdecimal() or int(major) < _OLDEST_NODE:
        raise RigError(f"{path} is Node {answer.stdout.strip()}; {_OLDEST_NODE} or newer is needed")
    return path


def read_pinned_version() -> str:
    """Return the version of rp2040js that the lock file names."""
    lock = json.loads((files(__package__) / "package-lock.json").read_text("utf-8"))
    return str(lock["packages"][f"node_modules/{_LIBRARY}"]["version"])


def _install_folder() -> Path:
    return cache_folder() / f"{_LIBRARY}-{read_pinned_version()}"


def find_library() -> Path:
    """Return the folder of rp2040js; RigError if it is not installed."""
    path = _install_folder() / "node_modules" / _LIBRARY
    if not (path / "package.json").is_file():
        raise RigError(f"{_LIBRARY} is not installed: type: lenslink pico setup")
    return path


def install_library(deadline: Deadline) -> Path:
    """Install rp2040js into the cache with ``npm ci``; return its folder.

    The folder gets its name when everything is in it, so that nobody finds half an installation.

    Raises:
        RigError: node or npm is missing, or npm fails.
        StorageError: the cache cannot be written.
        Timeout: npm did not end in time.
    """
    find_node()
    npm = shutil.which("npm")
    if npm is None:
        raise RigError("no npm on PATH: it comes with Node.js (https://nodejs.org)")
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        _remove_stale_installations()
        prefix = f"{_INSTALLING}{os.getpid()}-"
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=cache_folder()))
    except OSError as error:
        raise StorageError(f"{cache_folder()}: {error.strerror or error}") from None
    try:
        for name in _PACKAGE:
            with as_file(files(__package__) / name) as source:
                shutil.copyfile(source, scratch / name)
        _run_npm_ci(npm, scratch, deadline)
        shutil.rmtree(_install_folder(), ignore_errors=True)
        scratch.replace(_install_folder())
    except OSError as error:
        raise StorageError(f"{cache_folder()}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return find_library()


def _remove_stale_installations() -> None:
    """Remove the folders of installations that were killed."""
    for folder in cache_folder().glob(f"{_INSTALLING}*"):
        pid = folder.name.removeprefix(_INSTALLING).partition("-")[0]
        if not pid.isdecimal() or not is_process_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _run_npm_ci(npm: str, folder: Path, deadline: Deadline) -> None:
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        answer = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=max(deadline.remaining(), 0.001),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Timeout(
            f"npm ci did not end within {deadline.seconds:g} s; --timeout gives it longer"
        ) from None
    if answer.returncode:
        lines = [line for line in answer.stderr.splitlines() if line.strip()]
        raise RigError(f"npm ci failed: {lines[0] if lines else 'it gives no reason'}")
