"""A request that can be asked for after the session in which it was sent is gone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestHandle:
    """What :meth:`lenslink.Device.outcome` takes."""

    nonce: int
    """The session in which it was sent."""
    id: int
    type: int
    """Its message type (:class:`lenslink_protocol.ids.MessageType`)."""
