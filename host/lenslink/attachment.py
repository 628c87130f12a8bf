"""A module that comes and goes: found again by its serial number, and set up as it was.

:func:`lenslink.attach` makes an :class:`Attachment`. Each of its calls asks the reconnector
(:mod:`.reconnector`) for an open device, makes the request there, and makes the request again if
the module went away meanwhile. There is no thread: a call that waits for a frame also looks for the
module, within its deadline.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Unpack, overload

from lenslink_protocol.ids import ErrorCode, MessageType, NoticeReason, Outcome
from lenslink_protocol.messages import Configured

from .arguments import check_callable, check_timeout, check_type, check_whole_number
from .authentication import Authenticator
from .context import ClosesOnExit
from .deadline import Deadline
from .device import Device
from .errors import DeviceError, Disconnected, StreamEnded, Timeout, UsageError
from .events import Attached, Detached, Event, Warned
from .frame import Frame
from .reconnector import NotReattached, Reconnector
from .request_handle import RequestHandle
from .settings import (
    PREVIEW,
    ROI,
    STILL,
    CaptureArguments,
    ConfigureArguments,
    SetArguments,
    Settings,
    StreamArguments,
    StreamOptions,
    check_frames,
    read_arguments,
)
from .thread_guard import ThreadGuarded, guarded

if TYPE_CHECKING:
    from .frame_ring.writer import FrameRing

_log = logging.getLogger(__name__)

# A contact that opens takes the supply before the module knows that it is detached, and the supply
# is sampled anew only some time after the contact has closed. A supply that is low for longer than
# this is a fault that the caller has to hear of.
_LOW_SUPPLY_S = 2.0
_LOW_SUPPLY_POLL_S = 0.02


def attach(
    url: str | None = None,
    *,
    serial: str | None = None,
    timeout: float = 30.0,
    on_event: Callable[[Event], None] | None = None,
    ring: FrameRing | None = None,
    authenticate: Authenticator | None = None,
) -> Attachment:
    """Wait for a module, and keep it across detachments.

    A request goes on after the module was off for a while. From the first session on, the module is
    known by its serial number. It may come back at another URL.

    >>> from contextlib import closing
    >>> with lenslink.attach("sim:?width=64&height=64") as module:
    ...     with closing(module.stream()) as frames:
    ...         with next(frames) as frame:
    ...             print(frame.status)
    FrameStatus.COMPLETE

    Args:
        url: Where the module is. None means the only module there is.
        serial: The module's serial number. It may be anywhere then.
        timeout: Seconds to wait for the module. It is also the default of every later call,
            detachments included.
        on_event: Called, from inside the calls below, with :class:`Attached`, :class:`Detached` and
            :class:`Warned`.
        ring: Receive frames into this ring, as :func:`lenslink.open` does, across detachments.
        authenticate: Ask the module to prove that it is genuine, each time it comes. If it does
            not, the call that waits for the module raises :exc:`~lenslink.errors.NotGenuine`. The
            next call looks for the module again.

    Raises:
        LensLinkError: What kept the module from being attached; see :func:`lenslink.open`.
    """
    return Attachment(url, serial, timeout, on_event, ring=ring, authenticate=authenticate)


class Attachment(ThreadGuarded, ClosesOnExit):
    """A module across its detachments. Use it in a ``with`` statement.

    Calls raise :exc:`~lenslink.errors.Disconnected` only if the module is not back by their
    deadline. They may be called again then. Nothing is noticed between calls.

    Which states there are, and what changes them, is said in
    :class:`lenslink.reconnector.Reconnector`.

    >>> with lenslink.attach("sim:?width=64&height=64") as module:
    ...     with module.capture() as frame:
    ...         print(frame.width, module.attachments)
    64 1
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
        """Wait for the module; see :func:`lenslink.attach`."""
        if url is not None:
            check_type("url", url, str, "a URL, or None")
        if serial is not None:
            check_type("serial", serial, str, "a serial number, or None")
        if on_event is not None:
            check_callable("on_event", on_event)
        self._timeout = check_timeout(timeout)
        self._on_event = on_event
        self._ring = ring
        self._reconnector = Reconnector(url, serial, self._timeout, ring, authenticate)
        self._setup = _Setup()
        self._running: dict[int, _RunningStream] = {}
        self._start_count = 0
        self._low_supply_since: float | None = None
        try:
            self._attach(self._deadline(None, "waiting for the module"))
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        state = self._reconnector.state.value
        return f"<lenslink.Attachment {self.url}: module {self.serial}, {state}>"

    @property
    def url(self) -> str | None:
        """Where the module is, or was last."""
        return self._reconnector.url

    @property
    def serial(self) -> str | None:
        """The module's serial number."""
        return self._reconnector.serial

    @property
    def attachments(self) -> int:
        """How often the module was attached."""
        return self._reconnector.attachment_count

    # --- requests -------------------------------------------------------------------------

    @guarded
    def wait(self, timeout: float | None = None) -> Device:
        """Wait until the module is attached, and return its device for what is not offered here."""
        return self._attach(self._deadline(timeout, "waiting for the module"))

    @guarded
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
            device = self._attach(deadline)
            try:
                answer = device.configure(stream, options=chosen, timeout=deadline.remaining())
            except Disconnected as error:
                self._on_lost(error)
            else:
                self._setup.options[stream] = chosen
                return answer

    @overload
    def capture(
        self,
        mode: str | None = None,
        *,
        frames: None = None,
        settings: Settings | None = None,
        options: StreamOptions | None = None,
        timeout: float | None = None,
        **changes: Unpack[CaptureArguments],
    ) -> Frame: ...

    @overload
    def capture(
        self,
        mode: str | None = None,
        *,
        frames: Sequence[Settings],
        settings: Settings | None = None,
        options: StreamOptions | None = None,
        timeout: float | None = None,
        **changes: Unpack[CaptureArguments],
    ) -> list[Frame]: ...

    def capture(
        self,
        mode: str | None = None,
        *,
        frames: Sequence[Settings] | None = None,
        settings: Settings | None = None,
        options: StreamOptions | None = None,
        timeout: float | None = None,
        **changes: Unpack[CaptureArguments],
    ) -> Frame | list[Frame]:
        """Take one still, or a bracket, as :meth:`Device.capture` does, at most once.

        If the module goes away during the capture, the module is asked for the outcome when it is
        back. A capture that was not done is done then.

        Raises:
            Disconnected: The capture was done and its frame is lost, or the outcome is not known.
                ``error.outcome`` says which.
        """
        asked, chosen = read_arguments(CaptureArguments, changes, mode, settings, options)
        single = None if frames is None else check_frames(frames)
        taken = self._capture(asked, chosen, single, timeout)
        return taken if single is not None else taken[0]

    @guarded
    def _capture(
        self,
        asked: Settings,
        chosen: StreamOptions,
        frames: tuple[Settings, ...] | None,
        timeout: float | None,
    ) -> list[Frame]:
        """Take one still, or a bracket if *frames* is not None, and return the frames."""
        deadline = self._deadline(timeout, "the capture")
        while True:
            device = self._attach(deadline)
            wanted = self._setup.complete(STILL, asked)
            try:
                if frames is None:
                    taken = [
                        device.capture(
                            settings=wanted, options=chosen, timeout=deadline.remaining()
                        )
                    ]
                else:
                    taken = device.capture(
                        frames=frames, settings=wanted, options=chosen, timeout=deadline.remaining()
                    )
            except Disconnected as error:
                self._on_lost(error)
                self._check_repeatable(error, deadline)
            except DeviceError as error:
                self._wait_for_supply(error, deadline)
            else:
                for each in taken:
                    self._on_frame(each, None if frames is None else wanted)
                return taken

    def stream(
        self,
        mode: str | None = None,
        *,
        settings: Settings | None = None,
        options: StreamOptions | None = None,
        timeout: float | None = None,
        latest: bool = False,
        **changes: Unpack[StreamArguments],
    ) -> Generator[Frame, None, None]:
        """Return an iterator over preview frames, as :meth:`Device.stream` does.

        *timeout* is for each frame, detachments included. After a detachment ``frame.nonce`` is
        another one: that of the :class:`Attached` event before the frame.
        """
        asked, chosen = read_arguments(StreamArguments, changes, mode, settings, options)
        check_type("latest", latest, bool, "True or False")
        if timeout is not None:
            check_timeout(timeout)
        return self._stream_frames(asked, chosen, timeout, latest)

    def _stream_frames(
        self, settings: Settings, options: StreamOptions, timeout: float | None, latest: bool
    ) -> Generator[Frame, None, None]:
        stream, own = options.stream, self._start_count + 1
        try:
            self.start(settings=settings, options=options, timeout=timeout)
            while self._is_start(stream, own):
                try:
                    frame = self.next_frame(timeout, latest=latest, stream=stream)
                except StreamEnded:
                    return
                yield frame
        finally:
            # Nothing to stop if a later start() has ended this stream.
            if self._is_start(stream, own):
                self.stop(stream)

    def _is_start(self, stream: int, number: int) -> bool:
        """Return True if a stream runs that the start() of that number has started."""
        running = self._running.get(stream)
        return running is not None and running.start == number

    @guarded
    def start(
        self,
        mode: str | None = None,
        *,
        settings: Settings | None = None,
        options: StreamOptions | None = None,
        timeout: float | None = None,
        **changes: Unpack[StreamArguments],
    ) -> None:
        """Start a stream as :meth:`Device.start` does, and again when the module returns.

        If the stream runs already, it is ended. Options that are not given are those that were
        configured last.
        """
        asked, chosen = read_arguments(StreamArguments, changes, mode, settings, options)
        stream = chosen.stream
        configured = replace(self._setup.options.get(stream, StreamOptions()), roi=None)
        deadline = self._deadline(timeout, "starting the stream")
        if stream in self._running:
            self.stop(stream)
        self._start_count += 1
        options = chosen.filled_from(configured)
        self._running[stream] = _RunningStream(options, self._start_count, attachment=0)
        before = self._setup.list_settings()
        self._setup.forget_crop(stream)
        self._setup.ask(stream, asked)
        try:
            self._start_streams(deadline, stream, asked)
        except UsageError:
            # The module does not have what was asked for. Later calls must not ask for it again.
            del self._running[stream]
            self._setup.restore_settings(before)
            raise

    @guarded
    def next_frame(
        self, timeout: float | None = None, *, latest: bool = False, stream: int = PREVIEW
    ) -> Frame:
        """Return the next frame of a stream that was started, as :meth:`Device.next_frame`.

        With a short *timeout* several modules can take turns: a module that is away raises
        :exc:`~lenslink.errors.Disconnected`, and the call may be made again.
        """
        deadline = self._deadline(timeout, "the next frame")
        while True:
            device = self._start_streams(deadline)
            try:
                frame = device.next_frame(deadline.remaining(), latest=latest, stream=stream)
            except StreamEnded:
                self._running.pop(stream, None)
                raise
            except Disconnected as error:
                self._on_lost(error)
            else:
                return self._on_frame(frame)

    @guarded
    def set(
        self,
        *,
        stream: int = PREVIEW,
        settings: Settings | None = None,
        timeout: float | None = None,
        **changes: Unpack[SetArguments],
    ) -> int:
        """Change the settings of a stream, as :meth:`Device.set` does.

        If the module is away, the call waits for it. The settings are kept: a module that goes
        away and returns is given them again.
        """
        asked, _ = read_arguments(SetArguments, changes, None, settings)
        stream = check_whole_number("stream", stream, PREVIEW, ROI)
        deadline = self._deadline(timeout, "the settings")
        while True:
            device = self._start_streams(deadline)
            wanted = self._setup.complete(stream, asked)
            try:
                first = device.set(stream=stream, settings=wanted, timeout=deadline.remaining())
            except Disconnected as error:
                self._on_lost(error)
            else:
                self._setup.change(stream, asked, first)
                return first

    @guarded
    def stop(self, stream: int = PREVIEW) -> None:
        """End a stream. Sends nothing while the module is away."""
        stream = check_whole_number("stream", stream, PREVIEW, ROI)
        self._running.pop(stream, None)
        if self._reconnector.device is not None:
            self._reconnector.device.stop(stream)

    @guarded
    def serve(self, timeout: float | None = None) -> None:
        """Let other processes control the module, also across its detachments.

        See :meth:`lenslink.Device.serve`. The attachment must have been made with ``ring=``. While
        the module is away, its state says so, and other requests wait until it is back.

        Raises:
            UsageError: There is no ring, or the module is served already.
            StorageError: The socket cannot be made.
        """
        # The control socket needs Linux or macOS, so it is imported only where it is used.
        from .control.control_service import ControlService

        if self._reconnector.service is not None:
            raise UsageError("the module is served already")
        if self._ring is None:
            raise UsageError("serve() needs a frame ring: call attach() with ring=")
        device = self._attach(self._deadline(timeout, "waiting for the module"))
        self._reconnector.service = ControlService(self._ring, device)
        device.use_service(self._reconnector.service)

    @guarded
    def close(self) -> None:
        """End the session and give up the module. Idempotent; never raises."""
        self._reconnector.close()
        if self._reconnector.service is not None:
            self._reconnector.service.close()

    # --- going and coming -----------------------------------------------------------------

    def _deadline(self, timeout: float | None, purpose: str) -> Deadline:
        return Deadline(self._timeout if timeout is None else check_timeout(timeout), purpose)

    def _attach(self, deadline: Deadline) -> Device:
        """Return the attached module's device; wait for it, and set it up, if it is away."""
        if self._reconnector.device is not None:
            return self._reconnector.device
        is_return = self._reconnector.attachment_count > 0
        device = self._reconnector.attach(deadline, self._configure_streams)
        away = time.monotonic() - self._reconnector.detachment.time if is_return else 0.0
        self._low_supply_since = None
        if is_return:
            self._setup.lose_settings()
        boot = device.session_info.boot_count
        self._report(Attached(device.url, device.identity.serial, device.nonce, boot, away))
        return device

    def _configure_streams(self, device: Device, deadline: Deadline) -> None:
        """Configure each stream as it was before the module went away."""
        for stream, options in self._setup.options.items():
            device.configure(stream, options=options, timeout=deadline.remaining())

    def _on_lost(self, error: Disconnected) -> None:
        """Report that the module went away during a request."""
        device = self._reconnector.device
        if device is not None:
            self._report_notices(device)
        if self._reconnector.on_lost(error):
            self._report(Detached(self.url or "", self.serial or "", str(error)))

    def _wait_for_supply(self, error: DeviceError, deadline: Deadline) -> None:
        """Wait a moment if a request was refused for want of supply; else raise *error*.

        The caller makes the request again. If a contact has opened, the module soon ends the
        session, and the request is made when the module is attached again.
        """
        now = time.monotonic()
        if self._low_supply_since is None:
            self._low_supply_since = now
        is_over = now - self._low_supply_since >= _LOW_SUPPLY_S or not deadline.remaining()
        if error.code != ErrorCode.POWER or is_over:
            self._low_supply_since = None
            raise error
        time.sleep(min(_LOW_SUPPLY_POLL_S, deadline.remaining()))

    # --- streams and settings -------------------------------------------------------------

    def _start_streams(
        self, deadline: Deadline, started: int = PREVIEW, asked: Settings | None = None
    ) -> Device:
        """Return the attached module's device, with all streams running that were started.

        *asked* are the settings of the stream *started* beyond those it has.
        """
        while True:
            device = self._attach(deadline)
            waiting = [
                stream
                for stream, running in self._running.items()
                if running.attachment != self.attachments
            ]
            if not waiting:
                return device
            stream = waiting[0]
            running = self._running[stream]
            own = asked if asked is not None and stream == started else Settings()
            wanted = self._setup.complete(stream, own)
            try:
                device.start(settings=wanted, options=running.options, timeout=deadline.remaining())
            except Disconnected as error:
                self._on_lost(error)
            except DeviceError as error:
                self._wait_for_supply(error, deadline)
            else:
                self._low_supply_since = None
                self._running[stream] = running._replace(attachment=self.attachments)

    def _on_frame(self, frame: Frame, asked: Settings | None = None) -> Frame:
        """Remember the settings of *frame*, report notices, and return it."""
        self._low_supply_since = None
        self._setup.remember(frame, asked)
        if self._reconnector.device is not None:
            self._report_notices(self._reconnector.device)
        return frame

    # --- at most once ---------------------------------------------------------------------

    def _check_repeatable(self, error: Disconnected, deadline: Deadline) -> None:
        """Return if the request may be sent again; else raise *error* with the outcome."""
        request = error.request
        if request is None or request.type != MessageType.CAPTURE:
            # A request that only prepares may be made twice.
            return
        outcome = self._query_outcome(request, deadline)
        if outcome is not Outcome.NOT_DONE:
            sentence = (
                "was done, but its frame is lost"
                if outcome is Outcome.DONE
                else "may have been done"
            )
            final = Disconnected(f"{error}: the capture {sentence}")
            final.request, final.outcome = request, outcome
            raise final from error

    def _query_outcome(self, request: RequestHandle, deadline: Deadline) -> Outcome:
        """Return the outcome of a request; UNKNOWN if the module is not back by the deadline."""
        while True:
            try:
                return self._attach(deadline).query_outcome(request, deadline.remaining())
            except (NotReattached, Timeout):
                return Outcome.UNKNOWN
            except Disconnected as error:
                self._on_lost(error)

    # --- events ---------------------------------------------------------------------------

    def _report_notices(self, device: Device) -> None:
        """Report each notice of the module as a :class:`Warned` event."""
        for notice in device.take_notices():
            number = notice.reason
            reason = NoticeReason(number) if number in set(NoticeReason) else number
            self._report(Warned(self.url or "", self.serial or "", reason, notice.within_ms))

    def _report(self, event: Event) -> None:
        _log.debug("%s", event)
        if self._on_event is not None:
            self._on_event(event)


class _RunningStream(NamedTuple):
    """A stream that was started and not stopped."""

    options: StreamOptions
    start: int
    """The number of the start() that started it."""
    attachment: int
    """The attachment in which it was started last, counted from 1; 0 before the first."""


class _Setup:
    """What the module is to be set up with when it returns."""

    def __init__(self) -> None:
        self.options: dict[int, StreamOptions] = {}
        """What each stream was configured with."""
        self._settings: dict[int, Settings] = {}
        """By stream, without the focus: those of its last frame, and those asked for since."""
        self._focus = Settings()
        """Where the lens was last, or where it was to go since."""
        self._lost_streams: set[int] = set()
        """The module came back, and has not been given the settings of these streams yet."""
        self._first_frames: dict[int, int] = {}
        """By stream, the first frame that has the settings of the last change."""

    def lose_settings(self) -> None:
        """Record that the module came back with its default settings."""
        self._lost_streams = {PREVIEW, STILL, ROI}
        self._first_frames.clear()

    def complete(self, stream: int, asked: Settings) -> Settings:
        """Return what to ask the module for, if the caller asks for *asked*.

        Only a module that came back is given the earlier settings: on any other, somebody may have
        turned the focus ring since.
        """
        if stream not in self._lost_streams:
            return asked
        return asked.filled_from(self._settings.get(stream, Settings())).filled_from(self._focus)

    def ask(self, stream: int, asked: Settings) -> None:
        """Keep settings that the caller asked for, before a frame has them."""
        if asked.focus_mdpt is not None:
            self._focus = Settings(focus_mdpt=asked.focus_mdpt)
        others = replace(asked, focus_mdpt=None)
        if stream == STILL:
            # Each capture configures its crop anew.
            others = replace(others, roi_x=None, roi_y=None)
        self._settings[stream] = others.filled_from(self._settings.get(stream, Settings()))

    def forget_crop(self, stream: int) -> None:
        """Forget where the region of a stream was: it is configured anew."""
        kept = self._settings.get(stream, Settings())
        self._settings[stream] = replace(kept, roi_x=None, roi_y=None)

    def list_settings(self) -> tuple[dict[int, Settings], Settings]:
        """Return the settings by stream, and the focus."""
        return dict(self._settings), self._focus

    def restore_settings(self, settings: tuple[dict[int, Settings], Settings]) -> None:
        """Go back to what :meth:`list_settings` returned."""
        self._settings, self._focus = settings

    def change(self, stream: int, asked: Settings, first_frame: int) -> None:
        """Keep settings that the stream has from a frame on."""
        self._lost_streams.discard(stream)
        self._first_frames[stream] = first_frame
        self.ask(stream, asked)

    def remember(self, frame: Frame, asked: Settings | None = None) -> None:
        """Keep the settings that the module applied to *frame*.

        *asked* is what lasts of a bracket: the settings of its single frames do not.
        """
        first = self._first_frames.get(frame.stream)
        if first is not None:
            # Numbers wrap.
            if (frame.number - first) & 0xFFFFFFFF >= 1 << 31:
                return
            del self._first_frames[frame.stream]
        self._lost_streams.discard(frame.stream)
        if asked is not None:
            self.ask(frame.stream, asked)
            return
        applied = Settings.from_applied(
            frame.exposure_us, frame.gain_milli, frame.focus_mdpt, frame.aperture_milli
        )
        if frame.is_moving:
            applied = replace(applied, focus_mdpt=None)
        self.ask(frame.stream, applied)
