"""The user's runtime directory: locks, and the modules that are simulated at the moment."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

import platformdirs

from .errors import StorageError


def runtime_dir() -> Path:
    """$LENSLINK_RUNTIME_DIR, else the system's for this user, else one in the temporary folder.

    It is made if it is missing. :exc:`~lenslink.errors.StorageError` if none can be made.
    """
    named = os.environ.get("LENSLINK_RUNTIME_DIR")
    fallback = Path(tempfile.gettempdir()) / f"lenslink-{_user()}"
    candidates = [Path(named)] if named else [_platform(), fallback]
    reason: OSError | None = None
    for candidate in candidates:
        try:
            candidate.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            reason = error
        else:
            return candidate
    raise StorageError(f"no runtime directory: {reason}")


def _platform() -> Path:
    with warnings.catch_warnings():
        # Where XDG_RUNTIME_DIR is not set (a container, cron) it warns, on stderr, of its fallback.
        warnings.simplefilter("ignore")
        return platformdirs.user_runtime_path("lenslink")


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
