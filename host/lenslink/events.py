"""What :func:`lenslink.attach` tells of its module."""

from __future__ import annotations

from dataclasses import dataclass

from lenslink_protocol.ids import NoticeReason


@dataclass(frozen=True, slots=True)
class Attached:
    """The module is there, and set up as it was."""

    url: str
    serial: str
    nonce: int
    """The new session: frames that carry it were read out since."""
    boot_count: int
    """Of the module; the same as before if it has not restarted."""
    away_s: float
    """How long it was away, as far as was noticed; 0 the first time."""


@dataclass(frozen=True, slots=True)
class Detached:
    """The module went away."""

    url: str
    serial: str
    reason: str


@dataclass(frozen=True, slots=True)
class Warned:
    """The module says what is about to happen: RELEASE, somebody is about to take it off."""

    url: str
    serial: str
    reason: NoticeReason | int
    within_ms: int
    """Expected within; 0 = unknown."""


Event = Attached | Detached | Warned
