"""Define what a transport is: bytes to and from one module, each call within a deadline.

The session calls these methods. A transport implements :class:`Transport`, and the other protocols
for what else it can do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..deadline import Deadline
from ..url import Url

if TYPE_CHECKING:
    # This import brings numpy, which no command needs for its help.
    from ..receive.frame_pool import Pool


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """Describe a module that could be opened.

    >>> lenslink.DeviceInfo("usb:LL-1", "module on USB", serial="LL-1").busy
    False
    """

    url: str
    """What :func:`lenslink.open` takes."""
    description: str
    """The kind of module, in a few words."""
    serial: str | None = None
    """The module's serial number, where the transport can tell without opening the module."""
    busy: bool = False
    """True if another process has opened it."""


@dataclass(frozen=True, slots=True)
class Line:
    """What is known of the line below a transport. Measured rates are compared with it."""

    bus: str | None = None
    """USB's negotiated speed (``full``, ``high``, ``super``), or a bench's name for its model."""
    ceiling: int | None = None
    """Bytes a second that the line carries at best."""
    image_sha256: str | None = None
    """SHA-256 of the firmware image at the other end, where a bench runs one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Hold a clock's reading, and how long the module's processor has worked by then."""

    seconds: float
    clock: str = "wall"
    """``wall`` or ``emulated``. A rate on an emulated clock says nothing about this machine."""
    busy_s: float | None = None
    """Seconds in which the processor was not idle; None if nothing counts them."""


class Transport(Protocol):
    """Move bytes in both directions.

    Once a call has raised :exc:`~lenslink.errors.Disconnected`, every later call raises it too.
    """

    private: bool
    """True if no other process can reach the module, so that it needs no lock."""
    note: str | None
    """One line that the user should know about how the transport was opened."""

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        """Fill *buffers* in order with the bytes that are there.

        Wait up to *seconds* for the first.

        Returns the number of bytes, or 0 if none arrived in time. Raises
        :exc:`~lenslink.errors.Disconnected` when the module is gone.
        """

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Send all of *data*, or raise Disconnected or :exc:`~lenslink.errors.Timeout`."""

    def close(self) -> None:
        """Release everything that the transport owns. Idempotent; never raises."""


@runtime_checkable
class FillingTransport(Transport, Protocol):
    """A transport that can wait for many bytes in one call."""

    def fill_into(self, buffers: Sequence[memoryview]) -> int:
        """Fill *buffers* completely, or less where the module pauses for some milliseconds.

        Returns the number of bytes. Raises :exc:`~lenslink.errors.Disconnected` when the module is
        gone.
        """


@runtime_checkable
class DirectPlacementTransport(Transport, Protocol):
    """A transport whose module may write pixels straight into the host's frames."""

    def frame_pool(self) -> Pool | None:
        """Return the pool of zero-copy buffers; None if this module does not use one."""


@runtime_checkable
class MultiLaneTransport(Transport, Protocol):
    """A transport of several lanes. The methods of :class:`Transport` concern lane 0."""

    lanes: int

    def ready(self, seconds: float) -> Sequence[int]:
        """Return the lanes that have bytes or have ended; wait up to *seconds* for one."""

    def receive_lane_into(self, lane: int, buffers: Sequence[memoryview]) -> int | None:
        """Receive the bytes that have arrived on a lane; return 0 if there are none. Do not wait.

        Returns None once the lane has ended. The end of lane 0 is the end of the module and raises
        :exc:`~lenslink.errors.Disconnected`.
        """


@runtime_checkable
class WakeableTransport(Transport, Protocol):
    """A transport whose waits end early when a descriptor becomes readable."""

    def wake_on(self, descriptor: int) -> None:
        """End each wait for bytes early while *descriptor* is readable. Idempotent."""


@runtime_checkable
class NarrowTransport(Transport, Protocol):
    """A transport over a line that discards what it cannot hold."""

    window: int | None
    """Bytes of a stream's tiles that may be under way; None if the link decides."""


@runtime_checkable
class KnownLine(Transport, Protocol):
    """A transport that knows its line."""

    line: Line


@runtime_checkable
class ClockedTransport(Transport, Protocol):
    """A transport to a bench that has a clock of its own."""

    def now(self) -> float:
        """Return the bench's time in seconds. It never goes back.

        The link calls this for all its timers, so that the call has to be fast.
        """

    def reading(self) -> Reading:
        """Read the clock; raise :exc:`~lenslink.errors.Disconnected` when the module is gone."""


class Opener(Protocol):
    """Open one URL scheme; entry points of the group ``lenslink.transports`` name such objects."""

    options: Mapping[str, str]
    """Query keys, each with its line of help."""

    def open(self, url: Url, deadline: Deadline) -> Transport:
        """Connect, or raise a :exc:`~lenslink.errors.LensLinkError`."""

    def devices(self) -> list[DeviceInfo]:
        """Return the modules that this scheme can find now; never raise, never block for long."""


@runtime_checkable
class Directory(Protocol):
    """Look up URLs that stand for other URLs: ``rig:left`` is the board *left* of a test rig.

    Such objects are entry points of the group ``lenslink.transports`` too.
    """

    options: Mapping[str, str]
    """Query keys, each with its line of help."""

    def resolve(self, url: Url, deadline: Deadline) -> tuple[str, Callable[[], None]]:
        """Reserve what *url* stands for.

        Returns the URL to open, and the function that ends the reservation. The function is
        idempotent and never raises.
        """

    def devices(self) -> list[DeviceInfo]:
        """Return the modules that this scheme can find now; never raise, never block for long."""
