"""What a transport is: bytes to and from one module, each call within a deadline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..deadline import Deadline
from ..url import Url

if TYPE_CHECKING:
    # It brings numpy, which no command needs for its help.
    from ..receive.frame_pool import Pool


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A module that could be opened."""

    url: str
    description: str
    serial: str | None = None
    busy: bool = False
    """Another process has it."""


@dataclass(frozen=True, slots=True)
class Line:
    """The line below a transport, as far as it is known: what a measured rate is held against."""

    bus: str | None = None
    """USB's negotiated speed (``full``, ``high``, ``super``), or a bench's name for its model."""
    ceiling: int | None = None
    """Bytes a second that it carries at best."""
    image_sha256: str | None = None
    """Of the firmware image at its other end, where a bench runs one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A clock's, and what the module's processor has done by then."""

    seconds: float
    clock: str = "wall"
    """``wall``, or ``emulated``: a rate on that one is no rate of this machine."""
    busy_s: float | None = None
    """Seconds of them that the processor was not idle; None where nobody counts."""


class Transport(Protocol):
    """Bytes in both directions.

    Once it has raised :exc:`~lenslink.errors.Disconnected` every later call raises it too.
    """

    private: bool
    """Nobody else can reach the module behind it, so it needs no lock."""
    note: str | None
    """What the user should know about how it was opened, in one line."""

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        """Fill *buffers* in order with what is there; wait up to *seconds* for the first byte.

        Returns the number of bytes, 0 if none came in time. Raises
        :exc:`~lenslink.errors.Disconnected` when the module is gone.
        """

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of *data*, or raise Disconnected or :exc:`~lenslink.errors.Timeout`."""

    def close(self) -> None:
        """Let go of everything. Idempotent; never raises."""


@runtime_checkable
class FillingTransport(Transport, Protocol):
    """A transport that can wait for many bytes in one call."""

    def fill_into(self, buffers: Sequence[memoryview]) -> int:
        """Fill *buffers* whole; less, or nothing, where the module pauses for some milliseconds.

        Raises :exc:`~lenslink.errors.Disconnected` when the module is gone.
        """


@runtime_checkable
class DirectPlacementTransport(Transport, Protocol):
    """A transport whose module may write pixels to where the frame is put together."""

    def frame_pool(self) -> Pool | None:
        """Where it does; None if this one does not."""


@runtime_checkable
class MultiLaneTransport(Transport, Protocol):
    """A transport of several lanes; lane 0 is what the methods of a transport are about."""

    lanes: int

    def ready(self, seconds: float) -> Sequence[int]:
        """Lanes that have bytes, or have ended; wait up to *seconds* for one."""

    def receive_lane_into(self, lane: int, buffers: Sequence[memoryview]) -> int | None:
        """What is there on a lane, without waiting; 0 if nothing is, None once it has ended.

        The end of lane 0 is the end of the module:
        :exc:`~lenslink.errors.Disconnected`.
        """


@runtime_checkable
class NarrowTransport(Transport, Protocol):
    """A transport over a line that drops what it cannot hold."""

    window: int | None
    """Bytes of a stream's tiles that may be on their way; None = as many as the link likes."""


@runtime_checkable
class KnownLine(Transport, Protocol):
    """A transport that knows its line; of others nothing is said."""

    line: Line


@runtime_checkable
class ClockedTransport(Transport, Protocol):
    """A transport to a bench whose time is its own."""

    def now(self) -> float:
        """Seconds of that time, never less than before: what the link's timers go by. Cheap."""

    def reading(self) -> Reading:
        """Its clock now; raises :exc:`~lenslink.errors.Disconnected` when the module is gone."""


class Opener(Protocol):
    """What an entry point of the group ``lenslink.transports`` names: one URL scheme."""

    options: Mapping[str, str]
    """Query keys, each with its line of help."""

    def open(self, url: Url, deadline: Deadline) -> Transport:
        """Connect, or raise a :exc:`~lenslink.errors.LensLinkError`."""

    def devices(self) -> list[DeviceInfo]:
        """What this scheme can find at the moment; never raises, never blocks for long."""
