"""A camera module as its user sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Unpack

from lenslink_protocol.ids import (
    Cfa,
    ConfigureFlag,
    DiscardReason,
    ErrorCode,
    ModeUse,
    Outcome,
)
from lenslink_protocol.manifest import Manifest, Mode
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Configure,
    Configured,
    Flush,
    Flushed,
    HelloReply,
    Log,
    Notice,
    Query,
    QueryReply,
    StartStream,
    Stop,
)
from lenslink_protocol.packings import Packing, layout

from .authentication import Authenticator, authenticate
from .context import ClosesOnExit
from .deadline import Deadline
from .errors import (
    DeviceError,
    Disconnected,
    LensLinkError,
    NotFound,
    ProtocolError,
    Timeout,
    UsageError,
)
from .frame import ColorCalibration, Frame, FrameStatus, Identity
from .lock import ModuleLock, key_of
from .receive.reassembly import Assembly, rows
from .request_handle import RequestHandle
from .session import Session
from .settings import (
    CaptureArguments,
    ConfigureArguments,
    Settings,
    StreamArguments,
    StreamOptions,
    read_arguments,
)
from .stats import Stats
from .transports import Transport, choose, open_transport, parse
from .transports.base import ClockedTransport, KnownLine, Line, Reading

if TYPE_CHECKING:
    from .frame_ring.slot_pool import SlotPool
    from .frame_ring.writer import FrameRing

PREVIEW, STILL = 0, 1
_STOP_S = 5.0
_CLOSE_S = 0.5


Wrap = Callable[[Transport], Transport]


def open(
    url: str | None = None,
    *,
    timeout: float = 30.0,
    wrap: Wrap | None = None,
    ring: FrameRing | None = None,
    authenticate: Authenticator | None = None,
) -> Device:
    """Open the module at *url*, or the only one there is.

    *timeout* bounds the opening, and is the default deadline of every later call, in seconds.
    *wrap* may put a transport of its own around the module's: one that records it, say.
    With a *ring* (:class:`lenslink.FrameRing`), which stays the caller's, frames are received into
    its slots: other processes see them, strip by strip, and here their pixels are read-only.
    With *authenticate* (:class:`lenslink.Authenticator`) the module has to prove in each session
    that it is genuine, before anything else is asked: else :exc:`~lenslink.errors.NotGenuine`.
    Raises :exc:`~lenslink.errors.UsageError`, :exc:`~lenslink.errors.NotFound`,
    :exc:`~lenslink.errors.Ambiguous`, :exc:`~lenslink.errors.DeviceBusy`,
    :exc:`~lenslink.errors.Timeout`, :exc:`~lenslink.errors.ProtocolError`,
    :exc:`~lenslink.errors.Disconnected` or :exc:`~lenslink.errors.RigError`.
    """
    return Device(choose(url), timeout, wrap, ring=ring, authenticate=authenticate)


class Device(ClosesOnExit):
    """An open module: a context manager. Made by :func:`lenslink.open`.

    Not for use by several threads at once: the caller's thread is what drives the link.

    Without *greet* it is only connected: nothing works before :meth:`renew`, which may be tried
    again.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        wrap: Wrap | None = None,
        opening: Deadline | None = None,
        greet: bool = True,
        *,
        ring: FrameRing | None = None,
        authenticate: Authenticator | None = None,
    ) -> None:
        self.url = url
        self._timeout = timeout
        self._authenticator = authenticate
        self._locks: list[ModuleLock] = []
        self._complete = 0
        self._incomplete = 0
        self._asked: float | None = None
        deadline = opening or Deadline(timeout, f"opening {url}")
        parsed = parse(url)
        if parsed.scheme in ("unix", "tcp", "shm"):
            self._locks.append(ModuleLock(key_of(parsed), url))
        try:
            transport = open_transport(parsed, deadline)
            if wrap is not None:
                transport = _wrapped(transport, wrap)
        except BaseException:
            self._unlock()
            raise
        self.note = transport.note
        self.private = transport.private
        """Nobody else can reach the module, and it lasts as long as this."""
        self._transport = transport
        self._ring = ring
        self._feed: SlotPool | None = None
        self._session = self._new_session()
        self._serial: str | None = None
        if greet:
            try:
                self._greet(deadline)
            except BaseException:
                self.close()
                raise

    def _new_session(self) -> Session:
        self._feed = None
        if self._ring is not None:
            # The frame ring needs Linux or macOS, so it is imported only where it is used.
            from .frame_ring.slot_pool import SlotPool

            self._feed = SlotPool(self._ring)
        session = Session(self._transport, self._feed)
        if self._feed is not None:
            self._feed.nonce = session.link.nonce
        return session

    def _greet(self, deadline: Deadline) -> None:
        """Say hello, and learn who answers."""
        self.session: HelloReply = self._session.hello(deadline)
        self.manifest: Manifest = self._session.manifest(deadline)
        if self._authenticator is not None:
            authenticate(self._session, self.session, self.manifest, self._authenticator, deadline)
        maker, model, serial = self.manifest.maker, self.manifest.model, self.manifest.serial
        if self._serial is None and not self.private:
            self._locks.append(ModuleLock(f"serial:{serial}", f"module {serial}"))
        if self._serial not in (None, serial):
            raise NotFound(f"{self.url} is module {serial}, not {self._serial}")
        self._serial = serial
        self.identity = Identity(maker, model, serial, self.manifest.firmware)
        color = self.manifest.color
        self._color = ColorCalibration(
            tuple(zip(color.matrix[::2], color.matrix[1::2], strict=True)),
            tuple(zip(color.neutral[::2], color.neutral[1::2], strict=True)),
            color.illuminant,
        )
        self._modes = {mode.id: mode for mode in self.manifest.modes}
        if self._feed is not None:
            self._feed.modes = self._modes

    @property
    def stands(self) -> bool:
        """Whether the last session was ended by the module itself: then :meth:`renew` may do."""
        return self._session.link.closed is not None

    def renew(self, timeout: float | None = None) -> None:
        """Open another session over the transport that still stands.

        For a module that ended the last one because its contacts opened: this waits until it is
        seated again. Streams have to be configured anew. :exc:`~lenslink.errors.Disconnected` where
        the transport has gone too, :exc:`~lenslink.errors.NotFound` where the module that answers
        has another serial number, :exc:`~lenslink.errors.Timeout` where none does.
        """
        self._session.release()
        self._session = self._new_session()
        self._greet(self._deadline(timeout, f"opening a session with {self.url}"))

    # --- configuration --------------------------------------------------------------------

    def mode(self, name: str | None, use: ModeUse) -> Mode:
        """The mode called *name*, or the module's choice for *use*."""
        if name is None:
            return self.manifest.mode_for(use)
        found = self.manifest.mode_named(name)
        if found is None:
            known = ", ".join(mode.name for mode in self.manifest.modes)
            raise UsageError(f"the module has no mode '{name}' (it has {known})")
        return found

    def pixel_format(self, packing: str | None) -> int:
        """The code of the module's pixels in that packing; 0, its own choice, for None."""
        if packing is None:
            return 0
        known = {layout(code).packing: code for code in self.manifest.formats}
        if packing not in known:
            raise UsageError(f"the module has no packing '{packing}' (it has {', '.join(known)})")
        return known[Packing(packing)]

    def configure(
        self,
        stream: int = PREVIEW,
        mode: str | None = None,
        *,
        options: StreamOptions | None = None,
        test_only: bool = False,
        timeout: float | None = None,
        **changes: Unpack[ConfigureArguments],
    ) -> Configured:
        """Prepare *stream* and return what the module configured.

        The answer's ``flags`` say what the module adjusted.

        Args:
            stream: 0 is the preview, 1 the still.
            mode: The name of a mode. None leaves the choice to the module.
            options: Mode, packing and tile size; see :class:`~lenslink.StreamOptions`.
            test_only: Ask what the module would configure, and change nothing.
            timeout: Seconds until :exc:`~lenslink.errors.Timeout`.
            changes: ``packing`` and ``tile_bytes``. They win over *options*.

        Raises:
            UsageError: For a mode or packing that the module does not have, or a value out of
                range. Nothing was sent then.
        """
        _, chosen = read_arguments(ConfigureArguments, changes, mode, options=options)
        return self._configure(stream, chosen, self._deadline(timeout, "configuring"), test_only)

    def _configure(
        self, stream: int, options: StreamOptions, deadline: Deadline, test_only: bool = False
    ) -> Configured:
        use = ModeUse.STILL if stream == STILL else ModeUse.PREVIEW
        flags = ConfigureFlag.TEST_ONLY if test_only else 0
        mode = self.mode(options.mode, use).id
        pixel_format = self.pixel_format(options.packing)
        message = Configure(stream, flags, mode, pixel_format, options.tile_bytes or 0)
        answer = self._session.call(message, Configured, deadline)
        if not test_only:
            self._accept(stream, answer)
        return answer

    def _accept(self, stream: int, answer: Configured) -> None:
        mode = self._modes.get(answer.mode)
        fits = (
            mode is not None
            and (answer.width, answer.height) == (mode.width, mode.height)
            and answer.pixel_format in self.manifest.formats
            and answer.stride == layout(answer.pixel_format).bytes_of(answer.width)
            and answer.frame_bytes == answer.stride * answer.height
        )
        if not fits:
            raise ProtocolError(f"the module configured something else: {answer}")
        self._session.configurations[stream] = answer

    # --- frames ---------------------------------------------------------------------------

    def capture(
        self,
        mode: str | None = None,
        *,
        settings: Settings | None = None,
        options: StreamOptions | None = None,
        timeout: float | None = None,
        **changes: Unpack[CaptureArguments],
    ) -> Frame:
        """Take one still and return its frame.

        The frame says which settings the module applied. An incomplete frame says so in its
        ``status``.

        >>> with lenslink.open("sim:") as module:
        ...     frame = module.capture("full", exposure_us=10_000, gain_milli=2000)

        Args:
            mode: The name of a mode. None leaves the choice to the module.
            settings: What the frame is exposed with; see :class:`~lenslink.Settings`.
            options: Mode, packing and tile size; see :class:`~lenslink.StreamOptions`.
            timeout: Seconds until :exc:`~lenslink.errors.Timeout`.
            changes: Single fields of the two objects. They win over the objects.

        Raises:
            UsageError: For a value of a wrong type or out of range, and for a mode or packing that
                the module does not have. Nothing was sent then.
        """
        wanted, chosen = read_arguments(CaptureArguments, changes, mode, settings, options)
        deadline = self._deadline(timeout, "the capture")
        self._configure(STILL, chosen, deadline)
        self._begin()
        self._session.call(Capture(STILL, 1, *wanted.to_wire()), Accepted, deadline)
        request = self._session.last
        try:
            return self._frame(self._session.frame(STILL, deadline))
        except (Disconnected, Timeout) as error:
            error.request = request
            raise

    def stream(
        self,
        mode: str | None = None,
        *,
        settings: Settings | None = None,
        options: StreamOptions | None = None,
        timeout: float | None = None,
        **changes: Unpack[StreamArguments],
    ) -> Generator[Frame, None, None]:
        """Return an iterator over preview frames. Closing the iterator ends the stream.

        The arguments are those of :meth:`capture`, and ``interval_us``. They are checked at once.
        The stream starts with the first frame that is asked for. *timeout* is for each frame.
        Frames are sent as they are taken up: nothing is read while nobody iterates.

        >>> with closing(module.stream(interval_us=33_000, exposure_us=8000)) as frames:
        ...     for frame in frames:
        ...         ...
        """
        wanted, chosen = read_arguments(StreamArguments, changes, mode, settings, options)
        return self._preview(wanted, chosen, timeout)

    def _preview(
        self, settings: Settings, options: StreamOptions, timeout: float | None
    ) -> Generator[Frame, None, None]:
        self.start(settings=settings, options=options, timeout=timeout)
        try:
            while True:
                yield self.next_frame(timeout)
        finally:
            self.stop(PREVIEW)

    def start(
        self,
        mode: str | None = None,
        *,
        settings: Settings | None = None,
        options: StreamOptions | None = None,
        timeout: float | None = None,
        **changes: Unpack[StreamArguments],
    ) -> None:
        """Configure and start the preview. :meth:`next_frame` returns its frames.

        The arguments are those of :meth:`stream`.
        """
        wanted, chosen = read_arguments(StreamArguments, changes, mode, settings, options)
        deadline = self._deadline(timeout, "starting the stream")
        self._configure(PREVIEW, chosen, deadline)
        self._begin()
        message = StartStream(PREVIEW, chosen.interval_us or 0, *wanted.to_wire())
        self._session.call(message, Accepted, deadline)

    def next_frame(self, timeout: float | None = None) -> Frame:
        """The next preview frame of a stream that was started."""
        deadline = self._deadline(timeout, "the next frame")
        return self._frame(self._session.frame(PREVIEW, deadline))

    def configuration(self, stream: int = PREVIEW) -> Configured | None:
        """What the module last configured for *stream*; None before."""
        return self._session.configurations.get(stream)

    def stop(self, stream: int = PREVIEW) -> None:
        """End a stream and drop what is left of it. Does nothing once the module is gone."""
        try:
            self._session.call(Stop(stream), Accepted, Deadline(_STOP_S, "stopping"))
        except LensLinkError:
            # Whoever ends a stream is told of a broken link by the next call that needs it.
            return
        finally:
            self._session.frames.abandon(stream)

    def flush(self, timeout: float | None = None) -> Flushed:
        """End every stream; when it returns, nothing of an earlier request follows."""
        answer = self._session.call(Flush(), Flushed, self._deadline(timeout, "the flush"))
        for stream in (PREVIEW, STILL):
            self._session.frames.abandon(stream)
        return answer

    # --- the rest -------------------------------------------------------------------------

    def outcome(self, request: RequestHandle, timeout: float | None = None) -> Outcome:
        """What became of a request, also of an earlier session: done, not done, or unknown.

        A module forgets when it restarts, and keeps the last few requests of the last few sessions.
        """
        message = Query(request.nonce, request.id)
        try:
            answer = self._session.call(message, QueryReply, self._deadline(timeout, "asking"))
            return Outcome(answer.outcome)
        except DeviceError as error:
            if error.code != ErrorCode.UNKNOWN_REQUEST:
                raise
        except ValueError:
            pass
        return Outcome.UNKNOWN

    @property
    def nonce(self) -> int:
        """The session, as every packet and every frame of it names it."""
        return self._session.link.nonce

    @property
    def stats(self) -> Stats:
        """What was counted since the module was opened."""
        frames = self._session.frames
        first = None
        if self._asked is not None and frames.first_tile is not None:
            first = (frames.first_tile - self._asked) * 1000
        return Stats(
            bytes=frames.bytes,
            complete=self._complete,
            incomplete=self._incomplete,
            lost_packets=self._session.link.lost,
            discards={cause.value: self._session.discards[cause] for cause in DiscardReason},
            first_tile_ms=first,
            wire_bytes=self._session.wire_bytes,
        )

    @property
    def line(self) -> Line:
        """What is known of the line that the module is at."""
        return self._transport.line if isinstance(self._transport, KnownLine) else Line()

    def reading(self) -> Reading:
        """The clock that rates over this link are of: the wall's, or a bench's own."""
        if isinstance(self._transport, ClockedTransport):
            return self._transport.reading()
        return Reading(time.monotonic())

    def logs(self) -> list[Log]:
        """The lines the module has logged since the last call."""
        logs = list(self._session.link.logs)
        self._session.link.logs.clear()
        return logs

    def notices(self) -> list[Notice]:
        """What the module has seen coming since the last call: a release, for one.

        ``reason`` is a :class:`lenslink_protocol.ids.NoticeReason` where it is known.
        """
        notices = list(self._session.link.notices)
        self._session.link.notices.clear()
        return notices

    def close(self) -> None:
        """End the session and let go of the module. Idempotent; never raises."""
        self._session.close(Deadline(_CLOSE_S, "closing"))
        self._unlock()

    def _unlock(self) -> None:
        while self._locks:
            self._locks.pop().release()

    def _deadline(self, timeout: float | None, what: str) -> Deadline:
        return Deadline(self._timeout if timeout is None else timeout, what)

    def _begin(self) -> None:
        self._asked = self._session.now()
        self._session.frames.first_tile = None

    def _frame(self, assembly: Assembly) -> Frame:
        start = assembly.start
        if start is None:
            raise ProtocolError("a frame without its beginning")
        complete = assembly.complete
        uncovered = assembly.clear_gaps()
        if complete:
            self._complete += 1
        else:
            self._incomplete += 1
        mode = self._modes.get(start.mode)
        black = start.black_milli
        pool, buffer = self._session.pool, assembly.buffer
        return Frame(
            packed=rows(assembly),
            layout=assembly.layout,
            bits=start.bits,
            cfa=Cfa(start.cfa).name,
            black=(black[0] / 1000, black[1] / 1000, black[2] / 1000, black[3] / 1000),
            white=start.white,
            active_area=mode.active_area if mode else (0, 0, start.height, start.width),
            orientation=start.orientation,
            color=self._color,
            identity=self.identity,
            number=assembly.number,
            stream=assembly.stream,
            timestamp_us=start.timestamp_us,
            exposure_us=start.exposure_us,
            gain_milli=start.gain_milli,
            focus_mdpt=start.focus_mdpt,
            temperature_mc=start.temperature_mc,
            status=FrameStatus.COMPLETE if complete else FrameStatus.INCOMPLETE,
            received_fraction=assembly.received_ranges.count / assembly.received_ranges.size,
            uncovered=uncovered,
            nonce=self._session.link.nonce,
            _recycle=lambda: pool.release(buffer),
        )


def _wrapped(transport: Transport, wrap: Wrap) -> Transport:
    try:
        return wrap(transport)
    except BaseException:
        transport.close()
        raise
