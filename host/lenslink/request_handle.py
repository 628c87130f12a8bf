"""The name of a request that outlives its session."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestHandle:
    """Name a request, so that :meth:`lenslink.Device.query_outcome` can ask for its outcome.

    Errors carry the handle of the request that failed, as ``error.request``.

    >>> with lenslink.open("sim:?width=64&height=64") as module:
    ...     request = lenslink.RequestHandle(module.nonce, id=1_000_000, type=0)
    ...     print(module.query_outcome(request).name)
    NOT_DONE
    """

    nonce: int
    """The number of the session in which the request was sent."""
    id: int
    """The number of the request in its session."""
    type: int
    """The :class:`lenslink_protocol.ids.MessageType` of the request."""
