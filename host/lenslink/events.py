"""Events that :func:`lenslink.attach` reports to its ``on_event``."""

from __future__ import annotations

from dataclasses import dataclass

from lenslink_protocol.ids import NoticeReason


@dataclass(frozen=True, slots=True)
class Attached:
    """The module is attached, and set up as it was before it went away.

    >>> def show(event):
    ...     print(type(event).__name__, event.away_s)
    >>> lenslink.attach("sim:?width=64&height=64", on_event=show).close()
    Attached 0.0
    """

    url: str
    """Where the module is."""
    serial: str
    """The module's serial number."""
    nonce: int
    """The number of the new session. Frames that carry it were read out after this event."""
    boot_count: int
    """How often the module has started. It stays the same if the module did not restart."""
    away_s: float
    """Seconds since the detachment was noticed; 0 the first time."""


@dataclass(frozen=True, slots=True)
class Detached:
    """The module went away.

    >>> lenslink.Detached("usb:LL-1", "LL-1", reason="the module ended the session").reason
    'the module ended the session'
    """

    url: str
    """Where the module was."""
    serial: str
    """The module's serial number."""
    reason: str
    """How that was noticed."""


@dataclass(frozen=True, slots=True)
class Warned:
    """The module announced what is about to happen, for example that somebody takes it off.

    >>> from lenslink_protocol.ids import NoticeReason
    >>> lenslink.Warned("usb:LL-1", "LL-1", NoticeReason.RELEASE, within_ms=200).reason.name
    'RELEASE'
    """

    url: str
    """Where the module is."""
    serial: str
    """The module's serial number."""
    reason: NoticeReason | int
    """What is about to happen; a plain number if this version does not know it."""
    within_ms: int
    """Milliseconds until then at the most; 0 if that is not known."""


Event = Attached | Detached | Warned
