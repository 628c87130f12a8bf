"""Find the user's runtime directory, which holds locks and the registered modules' files."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

import platformdirs

from .errors import StorageError


def runtime_dir() -> Path:
    """Return the runtime directory; create it if it is missing.

    It is $LENSLINK_RUNTIME_DIR, else the system's runtime directory for this user, else a folder in
    the temporary directory. Raises :exc:`~lenslink.errors.StorageError` if none can be created.
    """
    named = os.environ.get("LENSLINK_RUNTIME_DIR")
    fallback = Path(tempfile.gettempdir()) / f"lenslink-{_get_user_name()}"
    candidates = [Path(named)] if named else [_get_platform_dir(), fallback]
    reason: OSError | None = None
    for candidate in candidates:
        try:
            candidate.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            reason = error
        else:
            return candidate
    raise StorageError(f"no runtime directory: {reason}")


def _get_platform_dir() -> Path:
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR (in a container, in cron) platformdirs prints a warning.
        warnings.simplefilter("ignore")
        return platformdirs.user_runtime_path("lenslink")


def _get_user_name() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
