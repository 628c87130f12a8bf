"""Programs in Python that tests put into a folder, to be started by their path."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def write_script(path: Path, code: str) -> Path:
    """Write an executable program that this Python runs.

    A first line ``#!`` takes no path with a space or of more than 127 bytes, as a checkout's may
    be. So the shell starts Python, and without PATH: to Python, the shell's lines are a string.
    """
    head = f"#!/bin/sh\n'''exec' {shlex.quote(sys.executable)} \"$0\" \"$@\"\n' '''\n"
    path.write_text(head + code)
    path.chmod(0o755)
    return path
