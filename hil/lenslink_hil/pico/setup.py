"""Node and rp2040js: found, and installed into the cache by ``lenslink pico setup``."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from lenslink.deadline import Deadline
from lenslink.errors import RigError, StorageError, Timeout

from .micropython_image import cache

_OLDEST_NODE: Final = 18
_PROBE_S: Final = 10.0
_LIBRARY: Final = "rp2040js"
_PACKAGE: Final = ("package.json", "package-lock.json")


def find_node() -> str:
    """Node on PATH, of a version that will do; :exc:`~lenslink.errors.RigError` otherwise."""
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


def pinned() -> str:
    """The version of rp2040js that the lock file has."""
    lock = json.loads((files(__package__) / "package-lock.json").read_text("utf-8"))
    return str(lock["packages"][f"node_modules/{_LIBRARY}"]["version"])


def _folder() -> Path:
    return cache() / f"{_LIBRARY}-{pinned()}"


def find_library() -> Path:
    """The folder of rp2040js; :exc:`~lenslink.errors.RigError` if it is not installed."""
    path = _folder() / "node_modules" / _LIBRARY
    if not (path / "package.json").is_file():
        raise RigError(f"{_LIBRARY} is not installed: type: lenslink pico setup")
    return path


def install(deadline: Deadline) -> Path:
    """``npm ci`` into the cache, once; the folder of rp2040js.

    What is half installed is never found: the folder gets its name when all of it is there. Raises
    RigError without node or npm or a registry, StorageError, or Timeout.
    """
    find_node()
    npm = shutil.which("npm")
    if npm is None:
        raise RigError("no npm on PATH: it comes with Node.js (https://nodejs.org)")
    try:
        cache().mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="installing-", dir=cache()))
    except OSError as error:
        raise StorageError(f"{cache()}: {error.strerror or error}") from None
    try:
        for name in _PACKAGE:
            with as_file(files(__package__) / name) as source:
                shutil.copyfile(source, scratch / name)
        _npm_ci(npm, scratch, deadline)
        shutil.rmtree(_folder(), ignore_errors=True)
        scratch.replace(_folder())
    except OSError as error:
        raise StorageError(f"{cache()}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return find_library()


def _npm_ci(npm: str, folder: Path, deadline: Deadline) -> None:
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
        last = [line for line in answer.stderr.splitlines() if line.strip()]
        raise RigError(f"npm ci failed: {last[0] if last else 'it does not say why'}")
