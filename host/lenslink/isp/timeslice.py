"""A short time slice: whoever is woken often, for little, need not wait for who has the core.

Where driver and reader share a core, a reader that is woken for a frame's first rows finds the
driver at work, and waits until it pauses: half a millisecond and more. Linux (6.12 and later) lets
a thread say how long its slice shall be, without privileges: ``sched_setattr()`` with a ``runtime``
under the usual policy. Whoever has the shorter one gets the core when it is woken; the share of
each stays what it was, and on a core of its own nobody notices.

The driver keeps the slice it has: with a shorter one it would be woken for less at a time, and do a
fifth less for the same work.
"""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from typing import Final

READER_NS: Final = 100_000
"""Of a reader that wants a frame's first rows: the shortest that Linux grants."""

# sched_setattr, sched_getattr
_CALLS: Final = {
    "x86_64": (314, 315),
    "aarch64": (274, 275),
    "riscv64": (274, 275),
}
_SCHED_OTHER: Final = 0


class _Attributes(ctypes.Structure):
    """``struct sched_attr`` as it was at first; what came later is left as it is."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


class ShortSlice:
    """Of the thread that makes this, until :meth:`end`; what it starts meanwhile inherits it.

    A thread that has a shorter one, or another policy, keeps it; so does every thread where the
    system knows nothing of the kind, or refuses.
    """

    def __init__(self, nanoseconds: int) -> None:
        self._before: int | None = None
        self._thread = threading.get_native_id()
        found = _read()
        if found is not None and found.runtime > nanoseconds:
            before, found.runtime = found.runtime, nanoseconds
            if _write(found):
                self._before = before

    def end(self) -> None:
        """Put back what was before, if this is the same thread. Idempotent."""
        before, self._before = self._before, None
        if before is not None and threading.get_native_id() == self._thread:
            found = _read()
            if found is not None:
                found.runtime = before
                _write(found)


def slice_ns(thread: int = 0) -> int | None:
    """A thread's time slice, this one's if none is named; None where there is nothing to change."""
    found = _read(thread)
    return None if found is None else found.runtime


def _read(thread: int = 0) -> _Attributes | None:
    if sys.platform != "linux" or platform.machine() not in _CALLS:
        return None
    found = _Attributes()
    size = ctypes.c_uint(ctypes.sizeof(found))
    call = _CALLS[platform.machine()][1]
    if ctypes.CDLL(None).syscall(call, thread, ctypes.byref(found), size, ctypes.c_uint(0)):
        return None
    # Linux before 6.12 says 0, and would take any runtime without a word.
    return found if found.policy == _SCHED_OTHER and found.runtime else None


def _write(wanted: _Attributes) -> bool:
    call = _CALLS[platform.machine()][0]
    done: int = ctypes.CDLL(None).syscall(call, 0, ctypes.byref(wanted), ctypes.c_uint(0))
    return done == 0
