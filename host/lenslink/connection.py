"""The way to one module: its transport, and the locks that keep other processes away.

:class:`lenslink.Device` makes a :class:`ModuleConnection` from a URL and closes it. The connection
calls the opener of the URL's scheme (:mod:`.transports`) and :class:`~.lock.ModuleLock`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from .context import ClosesOnExit, run_to_end
from .deadline import Deadline
from .lock import ModuleLock, make_lock_key
from .transports import Transport, open_transport, parse, resolve

_log = logging.getLogger(__name__)

# Modules that other processes can reach, under a URL that names them.
_SHARED_SCHEMES = ("unix", "tcp", "shm")

Wrap = Callable[[Transport], Transport]
"""Put another transport around a module's: a recorder, for example."""


class ModuleConnection(ClosesOnExit):
    """An open transport to the module at *url*, and the locks that belong to it.

    Raises :exc:`~lenslink.errors.DeviceBusy` if another process has the module, and what the
    scheme's opener raises. Nothing is left open then.
    """

    def __init__(self, url: str, deadline: Deadline, wrap: Wrap | None = None) -> None:
        parsed, self._give_back = resolve(parse(url), deadline)
        self.url = url
        self._locks: list[ModuleLock] = []
        try:
            if parsed.scheme in _SHARED_SCHEMES:
                self._locks.append(ModuleLock(make_lock_key(parsed), url))
            transport = open_transport(parsed, deadline)
            if wrap is not None:
                transport = _wrap_transport(transport, wrap)
        except BaseException:
            run_to_end(self._release_locks, self._give_back)
            raise
        self.transport = transport
        self.is_open = True
        _log.debug("connected to %s", url)

    def lock_serial(self, serial: str) -> None:
        """Lock the module by its serial number, unless no other process can reach it.

        The lock by URL does not cover a module that is reached by two URLs.
        """
        if not self.transport.private:
            self._locks.append(ModuleLock(f"serial:{serial}", f"module {serial}"))

    def close(self) -> None:
        """Close the transport and release the locks. Idempotent; never raises."""
        self.is_open = False
        run_to_end(self.transport.close, self._release_locks, self._give_back)

    def _release_locks(self) -> None:
        while self._locks:
            self._locks[-1].release()
            self._locks.pop()


def _wrap_transport(transport: Transport, wrap: Wrap) -> Transport:
    try:
        return wrap(transport)
    except BaseException:
        transport.close()
        raise
