"""Remove what killed processes of this user have left behind.

:func:`.transports.open_transport` calls this whenever a module is opened, and ``lenslink doctor``
on request.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from .errors import LensLinkError
from .lock import remove_stale_locks
from .runtime import remove_stale_scratch_dirs

_log = logging.getLogger(__name__)


def remove_leftovers() -> list[Path]:
    """Remove lock files, scratch directories and frame rings of dead processes; never raise.

    Returns the paths that were removed.
    """
    removed = [*remove_stale_locks(), *remove_stale_scratch_dirs()]
    with contextlib.suppress(LensLinkError, OSError):
        # Windows has no frame rings: the import is refused.
        from .frame_ring import segment

        removed += segment.clean()
    for path in removed:
        _log.debug("removed %s", path)
    return removed
