"""Keep one file for each module that a process of this user serves, so that hosts can list it.

``lenslink sim`` and ``lenslink usbip`` write the files. The transports list them.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from ..errors import StorageError, UsageError
from ..lock import is_locked, make_lock_key
from ..runtime import is_process_alive, make_runtime_subdir
from ..url import parse_url
from .base import DeviceInfo


def get_registry_dir() -> Path:
    """Return the folder of the registered modules' files; create it if it is missing."""
    return make_runtime_subdir("modules")


def list_registered(scheme: str) -> list[DeviceInfo]:
    """Return the registered modules with a URL of *scheme*; never raise.

    The files of processes that died are removed.
    """
    modules = []
    with contextlib.suppress(OSError, StorageError):
        for path in sorted(get_registry_dir().glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, UsageError):
                entry = json.loads(path.read_text(encoding="utf-8"))
                if not is_process_alive(entry["pid"]):
                    path.unlink()
                elif entry["url"].startswith(f"{scheme}:"):
                    url = parse_url(entry["url"], (scheme,))
                    busy = is_locked(make_lock_key(url))
                    info = DeviceInfo(url.text, entry["description"], entry["serial"], busy)
                    modules.append(info)
    return modules
