"""The installed program ``lenslink``, which ends quietly when it is interrupted during its imports.

Importing the command line takes a moment. Until :func:`lenslink.cli.main.main` installs its own
handlers, Python would answer Ctrl-C with a traceback. So this package is not part of ``lenslink``:
it imports nothing of it before its handler is in place.
"""

from __future__ import annotations

import os
import signal

_INTERRUPTED = 130


def main() -> int:
    """Import the command line and run it; return the exit code."""
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_default:
        signal.signal(signal.SIGINT, _end)
    from lenslink.cli.main import main as run

    if is_default:
        # The command line replaces this handler by its own.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return run()


def _end(signum: int, frame: object) -> None:
    """End the process at once: during imports there is nothing to clean up."""
    del signum, frame
    os.write(2, b"lenslink: interrupted\n")
    os._exit(_INTERRUPTED)
