"""Turn the system's errors at opening a transport into the driver's."""

from __future__ import annotations

import errno

from ..errors import LensLinkError, NotFound, RigError, UsageError

# This process or this machine is short of something. The device may well be there.
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC)


def explain_os_error(shown: str, error: OSError) -> LensLinkError:
    """Return the error to raise when opening *shown* has failed with *error*."""
    if error.errno is None:  # The path is too long for AF_UNIX.
        return UsageError(f"{shown}: {error}")
    kind = RigError if error.errno in _SHORTAGES else NotFound
    return kind(f"{shown}: {error.strerror or error}")
