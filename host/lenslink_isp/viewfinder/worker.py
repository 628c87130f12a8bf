"""A thread for calls that block, used from asyncio: one object, one thread, one call at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from lenslink.context import ClosesOnExit

S = TypeVar("S", bound=ClosesOnExit)
R = TypeVar("R")


class Worker(Generic[S]):
    """A thread that has an object of its own: an async context manager.

    The object is made, used and closed in the thread.

    >>> async def read_state(name):
    ...     async with Worker(lambda: lenslink.ModuleClient(name)) as worker:
    ...         return await worker.call(lambda client: client.state)
    """

    def __init__(self, make: Callable[[], S]) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(1)
        self._subject: S | None = None

    async def __aenter__(self) -> Worker[S]:
        try:
            self._subject = await self._run(self._make)
        except BaseException:
            self._pool.shutdown()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._subject is not None
        await self._run(self._subject.close)
        self._pool.shutdown()

    @property
    def subject(self) -> S:
        """The object. Only methods that any thread may call are for the caller's thread."""
        assert self._subject is not None
        return self._subject

    async def call(self, function: Callable[[S], R]) -> R:
        """Return the result of *function*, called in the thread with the object."""
        return await self._run(lambda: function(self.subject))

    async def _run(self, function: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)
