"""Base classes for objects that are used in a ``with`` statement.

A class that owns something inherits :class:`ClosesOnExit` and defines ``close()``. A class that
borrows something inherits :class:`ReleasesOnExit` and defines ``release()``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self


class ClosesOnExit:
    """Call :meth:`close` at the end of a ``with`` block, also when the block raises.

    >>> class Port(ClosesOnExit):
    ...     def close(self):
    ...         print("closed")
    >>> with Port() as port:
    ...     print("open")
    open
    closed
    """

    __slots__ = ()

    def close(self) -> None:
        """Give up everything that the object owns. A subclass must define this."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class ReleasesOnExit:
    """Call :meth:`release` at the end of a ``with`` block, also when the block raises."""

    __slots__ = ()

    def release(self) -> None:
        """Give back what the object borrowed. A subclass must define this."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def run_to_end(*steps: Callable[[], None]) -> None:
    """Call all *steps* in order, also if one of them is interrupted; then raise the interrupt.

    For methods that give up resources. Each step must be idempotent, because a step that was
    interrupted is called again.
    """
    interrupt: BaseException | None = None
    for step in steps:
        for _ in range(2):
            try:
                step()
                break
            except BaseException as error:
                interrupt = interrupt or error
    if interrupt is not None:
        raise interrupt
