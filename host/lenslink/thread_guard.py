"""A guard against several threads in one object at the same time.

:class:`lenslink.Device` and :class:`lenslink.Attachment` have no locks: the thread of the caller
drives the link. Their methods carry the decorator :func:`guarded`, so that a second thread gets an
error instead of corrupting the link's state.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from .errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")


class ThreadGuarded:
    """Base class of objects that only one thread may use at a time.

    Threads may use the object one after the other. A thread that is inside may call further
    methods.
    """

    _thread: int | None = None
    """The thread that is inside a guarded method."""


G = TypeVar("G", bound=ThreadGuarded)


def guarded(method: Callable[Concatenate[G, P], R]) -> Callable[Concatenate[G, P], R]:
    """Make *method* raise UsageError while another thread is inside the object."""

    @functools.wraps(method)
    def guarded_method(self: G, /, *args: P.args, **kwargs: P.kwargs) -> R:
        # An interrupt (Ctrl-C) or a switch of threads happens at a call, never between these
        # statements: so no thread slips in, and none stays inside when it is interrupted.
        thread = threading.get_ident()
        outer = self._thread
        if outer is not None and outer != thread:
            raise UsageError(
                f"{type(self).__name__}.{method.__name__.lstrip('_')}() was called while another "
                "thread is inside the object: only one thread may use it at a time"
            )
        try:
            self._thread = thread
            return method(self, *args, **kwargs)
        finally:
            self._thread = outer

    return guarded_method
