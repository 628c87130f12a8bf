"""Keep one file for each module that a process of this user serves, so that hosts can list it.

``lenslink sim`` and ``lenslink usbip`` write the files. The transports list them.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

from ..errors import StorageError, UsageError
from ..lock import is_locked, key_of
from ..runtime import runtime_dir
from ..url import parse_url
from .base import DeviceInfo


def get_registry_dir() -> Path:
    """Return the folder of the registered modules' files; create it if it is missing."""
    folder = runtime_dir() / "modules"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def list_registered(scheme: str) -> list[DeviceInfo]:
    """Return the registered modules with a URL of *scheme*; never raise.

    The files of processes that died are removed.
    """
    modules = []
    with contextlib.suppress(OSError, StorageError):
        for path in sorted(get_registry_dir().glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, UsageError):
                entry = json.loads(path.read_text(encoding="utf-8"))
                if not _is_alive(entry["pid"]):
                    path.unlink()
                elif entry["url"].startswith(f"{scheme}:"):
                    url = parse_url(entry["url"], (scheme,))
                    busy = is_locked(key_of(url))
                    info = DeviceInfo(url.text, entry["description"], entry["serial"], busy)
                    modules.append(info)
    return modules


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":  # os.kill() would end the process
        return True
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return True
