"""The program of the page's process: pictures, camera session and web server.

:mod:`.page_process` starts it. If it fails, it writes the error on standard output, as
:mod:`lenslink.control.control_messages` writes errors.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import sys

from lenslink.cli.log_output import set_verbosity, show_logs
from lenslink.cli.screen import print_line
from lenslink.control.control_messages import encode_error, encode_line
from lenslink.errors import LensLinkError

from .camera_session import CameraSession
from .page_process import PageTask
from .page_server import serve_page


def main() -> int:
    """Do the task on standard input; return the exit code."""
    # The owner's process wrote it.
    task = pickle.load(sys.stdin.buffer)  # noqa: S301
    assert isinstance(task, PageTask)
    with show_logs(print_line):
        set_verbosity(task.verbose, task.is_quiet)
        try:
            asyncio.run(_serve(task))
        except LensLinkError as error:
            sys.stdout.buffer.write(encode_line({"error": encode_error(error)}))
            return error.exit_code
    return 0


async def _serve(task: PageTask) -> None:
    listener = socket.socket(fileno=task.listener)
    session = CameraSession(task.ring, task.profile)
    with session.stills, listener:
        await serve_page(session, listener, task.token, is_loopback=task.is_loopback)


if __name__ == "__main__":
    sys.exit(main())
