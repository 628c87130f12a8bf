"""Add barriers, and sleep on a word of shared memory: what plain loads and stores lack.

CPython copies an item of a ``memoryview`` of format ``Q`` or ``I`` with one aligned access of its
size. The frame ring relies on that for its loads and stores. Python has no barriers, so they come
from the system: ``membarrier()`` on Linux, ``OSMemoryBarrier()`` on macOS, 1 to 2 us each.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
import time
from typing import Final

from ..errors import RigError, UsageError

# The numbers of the system calls futex and membarrier.
_CALLS: Final = {
    "x86_64": (202, 324),
    "aarch64": (98, 283),
    "riscv64": (98, 283),
}
_FUTEX_WAIT, _FUTEX_WAKE = 0, 1
_MEMBARRIER_GLOBAL_EXPEDITED = 2
_EVERY_SLEEPER = 2**31 - 1
# Without a futex, a sleeper looks this often.
_POLL_S = 0.0005

_STRONG: Final = platform.machine() in ("x86_64", "AMD64")
"""True if the processor keeps stores in order and loads in order (TSO)."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Linux:
    def __init__(self) -> None:
        self._futex, self._membarrier = _CALLS[platform.machine()]
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long
        if self._call(self._membarrier, _MEMBARRIER_GLOBAL_EXPEDITED, 0, 0):
            reason = os.strerror(ctypes.get_errno())
            raise RigError(
                f"the frame ring needs membarrier(), which this system refuses: {reason}"
            )

    def fence(self) -> None:
        self._call(self._membarrier, _MEMBARRIER_GLOBAL_EXPEDITED, 0, 0)

    def sleep(self, address: int, value: int, seconds: float) -> None:
        whole = int(seconds)
        span = _Timespec(whole, int((seconds - whole) * 1e9))
        result = self._call(
            self._futex,
            ctypes.c_void_p(address),
            _FUTEX_WAIT,
            ctypes.c_uint32(value),
            ctypes.byref(span),
            None,
            0,
        )
        if result and ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT):
            raise RigError(f"the frame ring cannot sleep: {os.strerror(ctypes.get_errno())}")

    def wake(self, address: int) -> None:
        self._call(
            self._futex, ctypes.c_void_p(address), _FUTEX_WAKE, _EVERY_SLEEPER, None, None, 0
        )


class _Mac:
    def __init__(self) -> None:
        self._barrier = ctypes.CDLL("/usr/lib/libSystem.B.dylib").OSMemoryBarrier

    def fence(self) -> None:
        self._barrier()

    def sleep(self, address: int, value: int, seconds: float) -> None:
        del address, value
        time.sleep(min(seconds, _POLL_S))

    def wake(self, address: int) -> None:
        pass


def _system() -> _Linux | _Mac:
    if sys.platform == "darwin":
        return _Mac()
    if sys.platform == "linux" and platform.machine() in _CALLS and sys.maxsize > 2**32:
        return _Linux()
    raise UsageError("the frame ring needs Linux (64 bit: x86, ARM or RISC-V) or macOS")


_SYSTEM: Final = _system()

fence = _SYSTEM.fence
"""Execute a full barrier: all processors see what stands before it in the program."""

wake = _SYSTEM.wake
"""Wake all processes that sleep on the word at an address."""

sleep = _SYSTEM.sleep
"""Sleep until woken, while the 32-bit word at an address holds a value, for at most some seconds.

It may return at any time without a reason.
"""


def order() -> None:
    """Keep loads and stores before it before those behind it, except a load behind a store."""
    if not _STRONG:
        fence()
