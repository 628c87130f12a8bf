"""A module that comes and goes: waited for, found again by its serial number, set up as it was.

There is no thread here either: who waits for a frame is who waits for the module. While it is away
it is looked for every 100 ms, within the deadline of the call.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Unpack

from lenslink_protocol.ids import ErrorCode, MessageType, NoticeReason, Outcome
from lenslink_protocol.messages import Configured

from .authentication import Authenticator
from .context import ClosesOnExit
from .deadline import Deadline
from .device import PREVIEW, Device
from .errors import (
    DeviceBusy,
    DeviceError,
    Disconnected,
    LensLinkError,
    NotFound,
    NotGenuine,
    ProtocolError,
    Timeout,
    VersionMismatch,
)
from .events import Attached, Detached, Event, Warned
from .frame import Frame
from .request_handle import RequestHandle
from .settings import (
    CaptureArguments,
    ConfigureArguments,
    Settings,
    StreamArguments,
    StreamOptions,
    read_arguments,
)
from .transports import choose, list_devices

if TYPE_CHECKING:
    from .frame_ring.writer import FrameRing

_POLL_S = 0.1
# How long a connection stands without a module that answers before it is looked for elsewhere.
_PATIENCE_S = 10.0

# A contact that opens takes the supply before the module knows that it is detached, and the supply
# is sampled anew only some time after the contact has closed. A supply that is low for longer than
# this is a fault that the caller has to hear of.
_LOW_SUPPLY_S = 2.0
_LOW_SUPPLY_POLL_S = 0.02

# What a module that is on its way off or on may cause: try again.
_PASSING = (NotFound, DeviceBusy, Disconnected, Timeout, ProtocolError)


class _Away(Disconnected):
    """The module is not back in time."""


def attach(
    url: str | None = None,
    *,
    serial: str | None = None,
    timeout: float = 30.0,
    on_event: Callable[[Event], None] | None = None,
    ring: FrameRing | None = None,
    authenticate: Authenticator | None = None,
) -> Attachment:
    """Wait for a module and keep it: what is asked of it goes on after it was off for a while.

    The module is the one with that *serial*, or the one at *url*, or the only one there is; from
    then on it is known by its serial number and may come back at another URL. *timeout* bounds the
    wait and is the default deadline of every later call, detachments included. *on_event* is
    called, from inside those calls, with :class:`Attached`, :class:`Detached` and :class:`Warned`.
    With a *ring*, frames are received into it, as by :func:`lenslink.open`, across detachments.
    With *authenticate* the module has to prove that it is genuine whenever it comes: else the call
    that waits for it lets go of it and raises :exc:`~lenslink.errors.NotGenuine`; the next one
    looks again.

    >>> with lenslink.attach("unix:/run/lens", on_event=print) as lens:
    ...     for frame in lens.stream():
    ...         ...
    """
    return Attachment(url, serial, timeout, on_event, ring=ring, authenticate=authenticate)


class Attachment(ClosesOnExit):
    """A module across its detachments: a context manager. Made by :func:`lenslink.attach`.

    Its calls raise :exc:`~lenslink.errors.Disconnected` only when the module is not back by their
    deadline, and may be called again. Nothing is noticed between calls.
    """

    def __init__(
        self,
        url: str | None,
        serial: str | None,
        timeout: float,
        on_event: Callable[[Event], None] | None,
        *,
        ring: FrameRing | None = None,
        authenticate: Authenticator | None = None,
    ) -> None:
        self.url = url
        """Where the module is, or was last."""
        self.serial = serial
        self.attachments = 0
        """How often the module came."""
        self._timeout = timeout
        self._on_event = on_event
        self._ring = ring
        self._authenticator = authenticate
        self._device: Device | None = None
        self._attached = False
        self._why = ""
        self._turn = -1
        self._lost_at = 0.0
        self._low_supply_since: float | None = None
        self._waiting_since = 0.0
        self._plans: dict[int, StreamOptions] = {}
        # Those of the last frame, or those asked for since.
        self._settings = Settings()
        self._restore = False
        self._stream: StreamOptions | None = None
        self._streaming = 0
        try:
            self._ready(Deadline(timeout, "waiting for the module"))
        except BaseException:
            self.close()
            raise

    # --- what is asked of the module ------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Device:
        """The open module, once it is attached: for what is not offered here."""
        return self._ready(self._deadline(timeout, "waiting for the module"))

    def configure(
        self,
        stream: int = PREVIEW,
        mode: str | None = None,
        *,
        options: StreamOptions | None = None,
        timeout: float | None = None,
        **changes: Unpack[ConfigureArguments],
    ) -> Configured:
        """Prepare *stream* as :meth:`Device.configure` does, and again when the module returns."""
        _, chosen = read_arguments(ConfigureArguments, changes, mode, options=options)
        deadline = self._deadline(timeout, "configuring")
        while True:
            device = self._ready(deadline)
            try:
                answer = device.configure(stream, options=chosen, timeout=deadline.remaining())
            except Disconnected as error:
                self._lost(error)
            else:
                self._plans[stream] = chosen
                return answer

    def capture(
        self,
        mode: str | None = None,
        *,
        settings: Settings | None = None,
        options: StreamOptions | None = None,
        timeout: float | None = None,
        **changes: Unpack[CaptureArguments],
    ) -> Frame:
        """Take one still as :meth:`Device.capture` does, at most once.

        If the module goes away meanwhile, it is asked when it is back. What was not done is done
        then; else :exc:`~lenslink.errors.Disconnected` is raised, whose ``outcome`` says if the
        capture was done, its frame being lost, or that this is unknown.
        """
        asked, chosen = read_arguments(CaptureArguments, changes, mode, settings, options)
        deadline = self._deadline(timeout, "the capture")
        while True:
            device = self._ready(deadline)
            wanted = self._wanted(asked)
            try:
                frame = device.capture(
                    settings=wanted, options=chosen, timeout=deadline.remaining()
                )
            except Disconnected as error:
                self._lost(error)
                self._judge(error, deadline)
            except DeviceError as error:
                self._wait_for_supply(error, deadline)
            else:
                return self._seen(frame)

    def stream(
        self,
        mode: str | None = None,
        *,
        settings: Settings | None = None,
        options: StreamOptions | None = None,
        timeout: float | None = None,
        **changes: Unpack[StreamArguments],
    ) -> Generator[Frame, None, None]:
        """Return an iterator over preview frames, as :meth:`Device.stream` does.

        *timeout* is for each frame, gaps included. After a gap ``frame.nonce`` is another: that of
        the :class:`Attached` event before it.
        """
        asked, chosen = read_arguments(StreamArguments, changes, mode, settings, options)
        return self._preview(asked, chosen, timeout)

    def _preview(
        self, settings: Settings, options: StreamOptions, timeout: float | None
    ) -> Generator[Frame, None, None]:
        self.start(settings=settings, options=options, timeout=timeout)
        try:
            while True:
                yield self.next_frame(timeout)
        finally:
            self.stop()

    def start(
        self,
        mode: str | None = None,
        *,
        settings: Settings | None = None,
        options: StreamOptions | None = None,
        timeout: float | None = None,
        **changes: Unpack[StreamArguments],
    ) -> None:
        """Start the preview. Options that are not given are those last configured."""
        asked, chosen = read_arguments(StreamArguments, changes, mode, settings, options)
        self._stream = chosen.filled_from(self._plans.get(PREVIEW, StreamOptions()))
        self._streaming = 0
        self._settings = asked.filled_from(self._settings)
        self._started(self._deadline(timeout, "starting the stream"), asked)

    def next_frame(self, timeout: float | None = None) -> Frame:
        """The next preview frame of a stream that was started.

        With a short *timeout* several modules can take turns: one that is away raises
        :exc:`~lenslink.errors.Disconnected`, and this can be called again.
        """
        deadline = self._deadline(timeout, "the next frame")
        while True:
            device = self._started(deadline)
            try:
                frame = device.next_frame(deadline.remaining())
            except Disconnected as error:
                self._lost(error)
            else:
                return self._seen(frame)

    def stop(self) -> None:
        """End the preview. Does nothing while the module is away."""
        self._stream = None
        if self._device is not None and self._attached:
            self._device.stop(PREVIEW)

    def close(self) -> None:
        """End the session and let go of the module. Idempotent; never raises."""
        self._drop()

    # --- going and coming -----------------------------------------------------------------

    def _deadline(self, timeout: float | None, what: str) -> Deadline:
        return Deadline(self._timeout if timeout is None else timeout, what)

    def _lost(self, error: Disconnected) -> None:
        """The module went away in the middle of a call."""
        if not self._attached:
            return
        self._warn()
        self._attached = False
        self._lost_at = self._waiting_since = time.monotonic()
        self._why = str(error)
        self._tell(Detached(self.url or "", self.serial or "", self._why))

    def _wait_for_supply(self, error: DeviceError, deadline: Deadline) -> None:
        """Wait a moment if a request was refused for want of supply; else raise *error*.

        The caller makes the request again. If a contact has opened, the module soon ends the
        session, and the request is made when the module is attached again.
        """
        now = time.monotonic()
        if self._low_supply_since is None:
            self._low_supply_since = now
        over = now - self._low_supply_since >= _LOW_SUPPLY_S or not deadline.remaining()
        if error.code != ErrorCode.POWER or over:
            self._low_supply_since = None
            raise error
        time.sleep(min(_LOW_SUPPLY_POLL_S, deadline.remaining()))

    def _ready(self, deadline: Deadline) -> Device:
        """The module, attached and set up; waits for it."""
        if self._device is not None and self._attached:
            return self._device
        reason: LensLinkError | None = None
        while True:
            try:
                device = self._reopen(deadline)
                self._set_up(device, deadline)
            except _Away:
                raise
            except (VersionMismatch, NotGenuine):
                raise
            except _PASSING as error:
                # That the last attempt was cut short says less than how those before it ended.
                if reason is None or not isinstance(error, Timeout):
                    reason = error
            else:
                return device
            time.sleep(min(_POLL_S, deadline.remaining()))
            if not deadline.remaining():
                raise self._away(deadline, reason) from reason

    def _reopen(self, deadline: Deadline) -> Device:
        """The module in a new session, or what is in the way of it.

        A connection that is still waiting for its module at the deadline is kept: the next call
        goes on waiting. A simulated module is only started by being connected to.
        """
        if self._device is None:
            self._device = self._connected(deadline)
            self._waiting_since = time.monotonic()
        device = self._device
        left = deadline.remaining()
        patience = max(0.0, self._waiting_since + _PATIENCE_S - time.monotonic())
        if device.private:  # it is nowhere else
            patience = math.inf
        try:
            device.renew(min(left, patience))
            serial = device.manifest.serial
            if self.serial not in (None, serial):
                raise NotFound(f"{device.url} is module {serial}, not {self.serial}")
        except NotGenuine:
            self._drop()
            serial = device.manifest.serial
            if self.serial not in (None, serial):  # nor is it the one that is waited for
                raise NotFound(f"{device.url} is module {serial}, not {self.serial}") from None
            raise
        except _PASSING as error:
            # Its contacts may open again before it has said who it is: it will answer the next one.
            over = not isinstance(error, Timeout) and not device.stands
            if over or patience <= left:
                self._drop()
            if over and device.private and self.attachments:
                raise _Away(f"{self._why}; it cannot come back") from None
            raise
        self.url, self.serial = device.url, serial
        return device

    def _connected(self, deadline: Deadline) -> Device:
        """A connection to where the module may be, each time to another such place."""
        reason: LensLinkError = NotFound(f"module {self.serial} is not there")
        urls = self._candidates()
        for _ in urls:
            self._turn += 1
            url = urls[self._turn % len(urls)]
            opening = Deadline(min(deadline.remaining(), _PATIENCE_S), f"opening {url}")
            try:
                return Device(
                    url,
                    self._timeout,
                    opening=opening,
                    greet=False,
                    ring=self._ring,
                    authenticate=self._authenticator,
                )
            except _PASSING as error:
                reason = error
        raise reason

    def _candidates(self) -> list[str]:
        """URLs where the module may be."""
        if self.serial is None:
            return [choose(self.url)]
        found = list_devices()
        urls = [device.url for device in found if device.serial == self.serial]
        # One that no transport lists, or whose serial number nobody knows, has to be tried.
        known = {device.url for device in found if device.serial is not None}
        if self.url is not None and self.url not in known:
            urls.append(self.url)
        return urls

    def _set_up(self, device: Device, deadline: Deadline) -> None:
        for stream, options in self._plans.items():
            device.configure(stream, options=options, timeout=deadline.remaining())
        away = time.monotonic() - self._lost_at if self.attachments else 0.0
        self._low_supply_since = None
        self._restore = self.attachments > 0
        self._attached = True
        self.attachments += 1
        boot = device.session.boot_count
        self._tell(Attached(device.url, device.manifest.serial, device.nonce, boot, away))

    def _away(self, deadline: Deadline, reason: LensLinkError) -> LensLinkError:
        if not self.attachments:
            return reason
        return _Away(
            f"module {self.serial} went away ({self._why}) and was not back within "
            f"{deadline.seconds:g} s: {reason}"
        )

    def _drop(self) -> None:
        device, self._device = self._device, None
        self._attached = False
        if device is not None:
            device.close()

    # --- as it was ------------------------------------------------------------------------

    def _started(self, deadline: Deadline, asked: Settings | None = None) -> Device:
        """The module with its preview running, if one was started."""
        while True:
            device = self._ready(deadline)
            if self._stream is None or self._streaming == self.attachments:
                return device
            wanted = self._wanted(asked or Settings())
            try:
                device.start(settings=wanted, options=self._stream, timeout=deadline.remaining())
            except Disconnected as error:
                self._lost(error)
            except DeviceError as error:
                self._wait_for_supply(error, deadline)
            else:
                self._low_supply_since = None
                self._streaming = self.attachments
                self._restore = False

    def _wanted(self, asked: Settings) -> Settings:
        """What to ask for: after a detachment, what was applied before it, unless told otherwise.

        Not else: the ring may have been turned since.
        """
        return asked.filled_from(self._settings) if self._restore else asked

    def _seen(self, frame: Frame) -> Frame:
        self._low_supply_since = None
        self._restore = False
        applied = Settings.from_wire(frame.exposure_us, frame.gain_milli, frame.focus_mdpt)
        self._settings = applied.filled_from(self._settings)
        self._warn()
        return frame

    # --- at most once ---------------------------------------------------------------------

    def _judge(self, error: Disconnected, deadline: Deadline) -> None:
        """Return if the request may be sent again; else raise *error* with its outcome."""
        request = error.request
        if request is None or request.type != MessageType.CAPTURE:
            # Preparations, which may be made twice.
            return
        outcome = self._outcome(request, deadline)
        if outcome is not Outcome.NOT_DONE:
            known = (
                "was done, but its frame is lost"
                if outcome is Outcome.DONE
                else "may have been done"
            )
            final = Disconnected(f"{error}: the capture {known}")
            final.request, final.outcome = request, outcome
            raise final from error

    def _outcome(self, request: RequestHandle, deadline: Deadline) -> Outcome:
        while True:
            try:
                return self._ready(deadline).outcome(request, deadline.remaining())
            except (_Away, Timeout):
                return Outcome.UNKNOWN
            except Disconnected as error:
                self._lost(error)

    # --- events ---------------------------------------------------------------------------

    def _warn(self) -> None:
        if self._device is None:
            return
        for notice in self._device.notices():
            reason = notice.reason
            known = NoticeReason(reason) if reason in set(NoticeReason) else reason
            self._tell(Warned(self.url or "", self.serial or "", known, notice.within_ms))

    def _tell(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)
