"""CRC-32/ISO-HDLC by the fastest installed library. Every byte of a frame goes through it.

isal comes with the installation. If isal has no build for the machine, zlib-ng (PyPI: zlib-ng) is
as fast. zlib, which Python always has, computes the same value at a quarter of the rate. Other
modules of protocol, host and hil import :func:`crc32` from here and name no library.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

_LIBRARIES = {"isal": "isal.isal_zlib", "zlib-ng": "zlib_ng.zlib_ng", "zlib": "zlib"}


class Crc32(Protocol):
    """Compute the CRC of *data*, any object with the buffer interface.

    *value* is the CRC of the data before it.

    >>> crc32(b"56789", crc32(b"1234")) == crc32(b"123456789") == 0xCBF43926
    True
    """

    def __call__(self, data: Any, value: int = 0, /) -> int: ...


def _fastest() -> tuple[str, Crc32]:
    for name, module in _LIBRARIES.items():
        try:
            return name, import_module(module).crc32
        except ImportError:
            continue
    raise ImportError("no zlib: this Python was built without it")


LIBRARY, crc32 = _fastest()
"""The library's name, and its function."""
