"""CRC-32/ISO-HDLC by the fastest library that is installed: every byte of a frame goes through it.

isal comes with the installation; where it has no build for the machine, zlib-ng (PyPI: zlib-ng) is
as fast, and zlib, which Python always has, computes the same at a quarter of the rate.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

_LIBRARIES = {"isal": "isal.isal_zlib", "zlib-ng": "zlib_ng.zlib_ng", "zlib": "zlib"}


def _fastest() -> tuple[str, Callable[[Any], int]]:
    for name, module in _LIBRARIES.items():
        try:
            return name, import_module(module).crc32
        except ImportError:
            continue
    raise ImportError("no zlib: this Python was built without it")


LIBRARY, crc32 = _fastest()
"""Its name, and its function: bytes, or memory, to their CRC."""
