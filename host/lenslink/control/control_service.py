"""Carry out what other processes ask of the module that this process owns.

:meth:`lenslink.Device.serve` makes a :class:`ControlService`. The device's session calls
:meth:`~ControlService.poll` while it waits for the module. The device calls
:meth:`~ControlService.carry_out` between two frames, when no request of its own is under way.

A still that a client asked for goes so::

    state     event                                             next state
    --------  ------------------------------------------------  ----------
    IDLE      the command ``capture``                           UNDER_WAY
    UNDER_WAY the last frame has arrived                        IDLE
    UNDER_WAY the time is over: the stream of stills is stopped IDLE
    UNDER_WAY the owner stopped it, or the session has ended    IDLE

The state is :attr:`ControlService.capture`: None is IDLE. Each way back to IDLE sends the client a
line with the event ``captured``.

A region of interest that a client started is :attr:`ControlService.region`. Its frames go through
the ring, and the service releases them here. It ends when somebody stops it, when its client
leaves, and with the session.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from lenslink_protocol.ids import EventKind
from lenslink_protocol.messages import Event

from ..context import ClosesOnExit
from ..errors import DeviceBusy, Disconnected, LensLinkError, Timeout
from ..settings import ROI, STILL, Settings, StreamOptions
from .client_connection import ClientConnection
from .control_messages import (
    ChangeSettings,
    Command,
    StartRegion,
    StopStream,
    TakeStills,
    encode_error,
    encode_event,
    encode_line,
)
from .control_server import ControlServer
from .module_state import ModuleState, StreamState

if TYPE_CHECKING:
    from lenslink_protocol.messages import Configured

    from ..frame import Frame
    from ..frame_ring.writer import FrameRing
    from ..stats import Stats

# A module that does not answer must not keep the owner from its frames for long.
_ANSWER_S: Final = 5.0
# How long the session may wait for the module before it looks at the socket again. With clients,
# this is what a request waits for; without, how long a client waits to be accepted.
_WITH_CLIENTS_S: Final = 0.001
_WITHOUT_CLIENTS_S: Final = 0.02

_log = logging.getLogger(__name__)


@dataclass
class RemoteCapture:
    """Stills that a client has asked for and that have not all arrived."""

    client: ClientConnection
    request: int
    nonce: int
    count: int
    end: float
    """When the client stops waiting, on the monotonic clock in seconds."""
    numbers: list[int] = field(default_factory=list)
    """The frames that have arrived."""


@dataclass(frozen=True)
class RemoteRegion:
    """The stream of a region of interest that a client has started."""

    client: ClientConnection
    request: int
    nonce: int


class Owner(Protocol):
    """What a service needs of the device that owns the module: see :class:`lenslink.Device`."""

    @property
    def url(self) -> str: ...
    @property
    def serial(self) -> str | None: ...
    @property
    def nonce(self) -> int: ...
    @property
    def is_attached(self) -> bool: ...
    @property
    def stats(self) -> Stats: ...
    @property
    def configurations(self) -> Mapping[int, Configured]: ...
    @property
    def newest_events(self) -> Mapping[int, Event]: ...
    def is_running(self, stream: int) -> bool: ...
    def start(
        self, *, settings: Settings | None, options: StreamOptions | None, timeout: float | None
    ) -> None: ...
    def stop(self, stream: int) -> None: ...
    def start_capture(
        self,
        settings: Settings,
        options: StreamOptions,
        frames: tuple[Settings, ...],
        timeout: float | None,
    ) -> int: ...
    def find_request(self, stream: int) -> int | None: ...
    def has_arrived(self, stream: int, request: int) -> bool: ...
    def take_arrived(self, stream: int, request: int) -> Frame | None: ...
    def end_capture(self) -> None: ...
    def set(self, *, stream: int, settings: Settings | None, timeout: float | None) -> int: ...


class ControlService(ClosesOnExit):
    """Serve the control socket of *ring* for *device*.

    The ring is closed with the service if it *owns_ring*.
    """

    def __init__(self, ring: FrameRing, device: Owner, *, owns_ring: bool = False) -> None:
        self._ring = ring
        self._owns_ring = owns_ring
        self.device = device
        """The device that the requests are for. An attachment sets another one."""
        self.capture: RemoteCapture | None = None
        """The stills under way; None if there are none."""
        self.region: RemoteRegion | None = None
        """The region of interest that a client has started; None if there is none."""
        self._server = ControlServer(ring.name, self._describe, self._list_events)

    # --- for the session --------------------------------------------------------------------

    @property
    def descriptor(self) -> int:
        """A descriptor that is readable while a client waits for :meth:`poll`."""
        return self._server.descriptor

    @property
    def wait_s(self) -> float:
        """How long the session may wait before it calls :meth:`poll` again, in seconds."""
        return _WITH_CLIENTS_S if self._server.clients else _WITHOUT_CLIENTS_S

    def poll(self, seconds: float = 0.0) -> None:
        """Read the clients' requests, and answer those that only ask. See
        :meth:`.control_server.ControlServer.poll`.
        """
        self._server.poll(seconds)

    def on_event(self, event: Event) -> None:
        """Pass an Event of the module to the clients that have asked for events."""
        self._server.publish(encode_line(encode_event(event)))

    @property
    def has_work(self) -> bool:
        """True if :meth:`carry_out` has something to do."""
        return (
            self._server.has_commands
            or (self.capture is not None and self._has_news(STILL, self.capture))
            or (self.capture is not None and time.monotonic() > self.capture.end)
            or (self.region is not None and self._has_news(ROI, self.region))
        )

    def _has_news(self, stream: int, asked: RemoteCapture | RemoteRegion) -> bool:
        """Return True if a frame of a client's request has arrived, or if the request has ended."""
        device = self.device
        return (
            device.nonce != asked.nonce
            or device.find_request(stream) != asked.request
            or device.has_arrived(stream, asked.request)
            or not asked.client.is_open
        )

    # --- for the device ---------------------------------------------------------------------

    def carry_out(self) -> None:
        """Look after the frames that clients have asked for, and carry out one command."""
        self._continue_capture()
        self._continue_region()
        waiting = self._server.take_command()
        if waiting is None:
            return
        client, number, command = waiting
        try:
            result = self._do(client, command)
        except LensLinkError as error:
            # If the module is gone, the owner's own call raises that.
            self._server.refuse(client, number, error)
        except BaseException:
            self._server.refuse(client, number, Disconnected("the owner was interrupted"))
            raise
        else:
            self._server.answer(client, number, result)

    def close(self) -> None:
        """Drop all clients, and remove the socket. Idempotent; never raises."""
        self._server.close()
        if self._owns_ring:
            self._ring.close()

    def _do(self, client: ClientConnection, command: Command) -> Mapping[str, object]:
        began = time.monotonic()
        match command:
            case ChangeSettings():
                first = self.device.set(
                    stream=command.stream, settings=command.settings, timeout=_ANSWER_S
                )
                return {"first_frame": first, "module_ms": (time.monotonic() - began) * 1000}
            case TakeStills():
                return self._start_capture(client, command)
            case StartRegion():
                return self._start_region(client, command)
            case StopStream():
                self.device.stop(command.stream)
        return {}

    # --- stills -----------------------------------------------------------------------------

    def _start_capture(self, client: ClientConnection, asked: TakeStills) -> Mapping[str, object]:
        if self.capture is not None:
            raise DeviceBusy("another still is under way: ask again when it has arrived")
        request = self.device.start_capture(asked.settings, asked.options, asked.frames, _ANSWER_S)
        count = len(asked.frames) or 1
        end = time.monotonic() + asked.timeout
        self.capture = RemoteCapture(client, request, self.device.nonce, count, end)
        return {"request": request, "nonce": self.device.nonce, "count": count}

    def _continue_capture(self) -> None:
        capture, device = self.capture, self.device
        if capture is None:
            return
        if device.nonce != capture.nonce:
            self._end_capture(Disconnected("the module went away during the capture"))
            return
        while frame := device.take_arrived(STILL, capture.request):
            # The frame stays in the ring for its readers.
            capture.numbers.append(frame.number)
            frame.release()
        if len(capture.numbers) >= capture.count:
            device.end_capture()
            self._end_capture(None)
        elif device.find_request(STILL) != capture.request:
            self._end_capture(DeviceBusy("the owner of the module has stopped the capture"))
        elif time.monotonic() > capture.end or not capture.client.is_open:
            device.stop(STILL)
            self._end_capture(Timeout("the capture took too long"))

    def _end_capture(self, error: LensLinkError | None) -> None:
        capture, self.capture = self.capture, None
        assert capture is not None
        told = None if error is None else encode_error(error)
        message = {"event": "captured", "request": capture.request, "frames": capture.numbers}
        self._server.send(capture.client, {**message, "error": told})

    # --- a region of interest ---------------------------------------------------------------

    def _start_region(self, client: ClientConnection, asked: StartRegion) -> Mapping[str, object]:
        device = self.device
        if device.is_running(ROI):
            if self.region is None:
                raise DeviceBusy("the owner of the module has started that stream")
            device.stop(ROI)
        self.region = None
        device.start(settings=asked.settings, options=asked.options, timeout=_ANSWER_S)
        request = device.find_request(ROI)
        assert request is not None
        self.region = RemoteRegion(client, request, device.nonce)
        return {"request": request, "nonce": device.nonce}

    def _continue_region(self) -> None:
        region, device = self.region, self.device
        if region is None:
            return
        if device.nonce != region.nonce or device.find_request(ROI) != region.request:
            self.region = None
        elif not region.client.is_open:
            self.region = None
            device.stop(ROI)
        else:
            while frame := device.take_arrived(ROI, region.request):
                # The frame stays in the ring for its readers.
                frame.release()

    # --- state ------------------------------------------------------------------------------

    def _list_events(self) -> list[bytes]:
        return [encode_line(encode_event(each)) for each in self.device.newest_events.values()]

    def _describe(self) -> Mapping[str, object]:
        device, events = self.device, self.device.newest_events
        stats = device.stats
        power = events.get(EventKind.POWER)
        return ModuleState(
            is_attached=device.is_attached,
            url=device.url,
            serial=device.serial,
            nonce=device.nonce,
            streams={
                stream: StreamState(
                    each.mode,
                    each.width,
                    each.height,
                    each.stride,
                    each.pixel_format,
                    device.is_running(stream),
                )
                for stream, each in device.configurations.items()
            },
            contacts=_value_of(events.get(EventKind.CONTACTS), 0xFF),
            heat=_value_of(events.get(EventKind.HEAT)),
            supply_mv=_value_of(power),
            energy_uj=None if power is None else power.counter | power.counter_high << 32,
            focus_ring=_value_of(events.get(EventKind.RING)),
            complete_frames=stats.complete,
            incomplete_frames=stats.incomplete,
            tile_bytes=stats.bytes,
            lost_packets=stats.lost_packets,
            discarded_packets=sum(stats.discards.values()),
            begun_frames=self._ring.begun_frames,
            dropped_frames=self._ring.dropped_frames,
            clients=self._server.clients,
        ).to_json()


def _value_of(event: Event | None, mask: int = -1) -> int | None:
    return None if event is None else event.value & mask
