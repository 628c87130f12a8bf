"""The driver's main class: an open camera module.

:func:`lenslink.open` makes a :class:`Device`. The device owns a connection to the module
(:mod:`.connection`) and one session over it (:mod:`.session`). Each call sends a request through
the session and waits for the answer or the frame. There is no thread: the caller's thread drives
the link.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Unpack, overload

from lenslink_protocol.calibration import AnyCalibration, parse_calibration
from lenslink_protocol.ids import (
    CalibrationKind,
    ConfigureFlag,
    DiscardReason,
    ErrorCode,
    ModeUse,
    Outcome,
)
from lenslink_protocol.manifest import Manifest, Mode
from lenslink_protocol.messages import (
    Accepted,
    CalibrationEntry,
    Capture,
    Configure,
    Configured,
    Event,
    Flush,
    Flushed,
    HelloReply,
    Log,
    Malformed,
    Notice,
    Query,
    QueryReply,
    SetBudget,
    SetSettings,
    StartStream,
    Stop,
)
from lenslink_protocol.packings import Packing, find_layout

from .arguments import check_callable, check_timeout, check_type, check_whole_number
from .authentication import Authenticator, authenticate, make_authenticator
from .connection import ModuleConnection, Wrap
from .context import ClosesOnExit, run_to_end
from .deadline import Deadline
from .errors import (
    DeviceError,
    Disconnected,
    LensLinkError,
    NotFound,
    ProtocolError,
    StreamEnded,
    Timeout,
    UsageError,
)
from .frame import Frame, Identity
from .frame_builder import FrameBuilder
from .module_calibration import ModuleCalibration
from .module_controls import Control
from .module_description import ModuleDescription
from .module_power import Power, describe_power
from .receive import rice_decoding
from .request_handle import RequestHandle
from .session import Session
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
    encode_request_settings,
    read_arguments,
)
from .stats import Stats
from .stream_timing import StreamTiming
from .thread_guard import ThreadGuarded, guarded
from .transports import Transport, choose_url
from .transports.base import ClockedTransport, KnownLine, Line, Reading

if TYPE_CHECKING:
    from .control.control_service import ControlService
    from .frame_ring.slot_pool import SlotPool
    from .frame_ring.writer import FrameRing

_log = logging.getLogger(__name__)

_STOP_S = 5.0
_CLOSE_S = 0.5
_FOREVER_S = 1e9
_MAX_STREAM = 0xFFFF
_MAX_ID = 0xFFFFFFFF
_HALF = 1 << 31


def open(
    url: str | None = None,
    *,
    timeout: float = 30.0,
    wrap: Wrap | None = None,
    ring: FrameRing | None = None,
    authenticate: Authenticator | bytes | None = None,
) -> Device:
    """Open the module at *url* and return it.

    >>> with lenslink.open("sim:?width=64&height=64") as module:
    ...     print(module.manifest.model)
    LL-100

    Args:
        url: Where the module is, as ``lenslink list`` shows it. None means the only module there
            is.
        timeout: Seconds that opening may take. It is also the default of every later call.
        wrap: Put another transport around the module's, for example one that records it.
        ring: Receive frames into the slots of this :class:`lenslink.FrameRing`. Other processes see
            the frames strip by strip; here their pixels are read-only. The ring stays the caller's.
        authenticate: Ask the module to prove in each session that it is genuine, before anything
            else is asked: the 32 bytes of a key that the module shares, or another
            :class:`~lenslink.Authenticator`.

    Raises:
        UsageError: The URL is not understood.
        NotFound: No module is there.
        Ambiguous: No URL was given, and there are several modules.
        DeviceBusy: Another process has the module.
        NotGenuine: The module did not prove that it is genuine.
        Timeout: The module did not answer in time.
        ProtocolError: The module does not speak the protocol.
        Disconnected: The module went away meanwhile.
        RigError: The bench failed, not the module.
    """
    if wrap is not None:
        check_callable("wrap", wrap)
    return Device(choose_url(url), timeout, wrap, ring=ring, authenticate=authenticate)


class _FrameRequest(NamedTuple):
    """A request that the module may be sending frames for."""

    id: int
    is_running: bool = False
    """The caller of ``start()`` knows that the stream runs. Otherwise, unless a call that waits for
    the frame is under way, nobody waits for it any more."""


class Device(ThreadGuarded, ClosesOnExit):
    """An open module. Use it in a ``with`` statement.

    >>> with lenslink.open("sim:?width=64&height=64") as module:
    ...     with module.capture(exposure_us=2000) as frame:
    ...         print(frame.status, frame.exposure_us)
    FrameStatus.COMPLETE 2000

    A frame belongs to the request that it was taken for. A call that fails leaves nothing behind:
    the next call for the same stream ends what the module still does for the failed one.

    Only one thread may use a device at a time, because the caller's thread drives the link. Another
    thread gets :exc:`~lenslink.errors.UsageError` meanwhile.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        wrap: Wrap | None = None,
        opening: Deadline | None = None,
        *,
        with_session: bool = True,
        ring: FrameRing | None = None,
        authenticate: Authenticator | bytes | None = None,
    ) -> None:
        """Connect to *url* and open a session; see :func:`lenslink.open`.

        Args:
            opening: Bounds the opening, if that is not *timeout*.
            with_session: If False, only connect. Nothing but :meth:`renew` and :meth:`close` works
                then; :meth:`renew` may be tried several times.
        """
        self.url = check_type("url", url, str, "a URL, or None")
        self._timeout = check_timeout(timeout)
        self._authenticator = None if authenticate is None else make_authenticator(authenticate)
        self._ring = ring
        deadline = opening or Deadline(timeout, f"opening {url}")
        self._connection = ModuleConnection(url, deadline, wrap)
        self.note = self._transport.note
        """A line that says how the module was opened, or None."""
        self.private = self._transport.private
        """Nobody else can reach the module, and it ends with this connection."""
        self._builder = FrameBuilder()
        self._requests: dict[int, _FrameRequest] = {}
        self._description: ModuleDescription | None = None
        # By kind, length and CRC: a module that comes back need not send them again.
        self._calibrations: dict[CalibrationEntry, AnyCalibration | None] = {}
        self._serial: str | None = None
        self._request_time: float | None = None
        self._timings: dict[int, StreamTiming] = {}
        self._slot_pool: SlotPool | None = None
        self._service: ControlService | None = None
        self._own_service: ControlService | None = None
        try:
            self._session = self._make_session()
        except BaseException:
            self._connection.close()
            raise
        if with_session:
            try:
                self._open_session(deadline)
            except BaseException:
                self.close()
                raise

    def __repr__(self) -> str:
        module = "no module" if self._serial is None else f"module {self._serial}"
        closed = "" if self._connection.is_open else ", closed"
        return f"<lenslink.Device {self.url}: {module}, session 0x{self.nonce:08x}{closed}>"

    @property
    def _transport(self) -> Transport:
        return self._connection.transport

    def _make_session(self) -> Session:
        """Return a session that has not said Hello yet; its frames go to the ring, if any."""
        self._slot_pool = None
        self._budget_mw: int | None = None
        if self._ring is not None:
            # The frame ring needs Linux or macOS, so it is imported only where it is used.
            from .frame_ring.slot_pool import SlotPool
            from .frame_ring.writer import FrameRing

            check_type("ring", self._ring, FrameRing, "a lenslink.FrameRing")
            self._slot_pool = SlotPool(self._ring)
        session = Session(self._transport, self._slot_pool)
        if self._slot_pool is not None:
            self._slot_pool.nonce = session.link.nonce
            self._slot_pool.find_time = session.find_time
        if self._service is not None:
            session.serve(self._service)
        return session

    def _open_session(self, deadline: Deadline) -> None:
        """Say Hello, read the manifest, and check who answers."""
        session = self._session
        hello = session.say_hello(deadline)
        description = self._description = ModuleDescription(hello, session.read_manifest(deadline))
        if self._authenticator is not None:
            authenticate(session, hello, description.manifest, self._authenticator, deadline)
        serial = description.identity.serial
        if self._serial is None:
            self._connection.lock_serial(serial)
        elif serial != self._serial:
            raise NotFound(f"{self.url} is module {serial}, not {self._serial}")
        self._serial = serial
        if self._slot_pool is not None:
            self._slot_pool.modes = dict(description.modes)
        _log.debug("session 0x%08x with module %s is open", self.nonce, serial)

    @property
    def _opened(self) -> ModuleDescription:
        if self._description is None:
            raise Disconnected(f"no session with {self.url} is open")
        return self._description

    @property
    def session_info(self) -> HelloReply:
        """The module's answer to Hello: version, lanes, boot count, capabilities."""
        return self._opened.session_info

    @property
    def manifest(self) -> Manifest:
        """What the module says of itself: sensor, modes, formats, optics."""
        return self._opened.manifest

    @property
    def identity(self) -> Identity:
        """Maker, model, serial number and firmware of the module."""
        return self._opened.identity

    @property
    def controls(self) -> Mapping[str, Control]:
        """The controls of the module by their names, with units and ranges.

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     gain = module.controls["gain_milli"]
        ...     print(gain.minimum, gain.maximum, gain.unit)
        1000 64000 1/1000
        """
        return self._opened.controls

    @property
    def calibration(self) -> ModuleCalibration:
        """What was measured of the module, read when it is first asked for.

        >>> with lenslink.open("sim:?scene=flat&width=320") as module:
        ...     slope, offset = module.calibration.noise.at(gain=4)
        ...     print(f"{slope:.6f}")
        0.000271
        """
        return ModuleCalibration(self._load_calibration)

    @guarded
    def _load_calibration(self, kind: CalibrationKind) -> AnyCalibration | None:
        entry = self.manifest.find_calibration(kind)
        if entry is None:
            return None
        if entry not in self._calibrations:
            deadline = self._deadline(None, f"reading the calibration {kind.name}")
            data = self._session.read_calibration(entry, deadline)
            try:
                self._calibrations[entry] = parse_calibration(kind, data)
            except Malformed as error:
                raise ProtocolError(f"the module sent a malformed calibration: {error}") from None
        return self._calibrations[entry]

    @property
    def power(self) -> Power:
        """What the module may draw and has drawn, its supply, and how hot it is.

        What the module reports is as new as the last call that received something.

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     print(module.power.mode_mw["full"], "mW with frames")
        1700 mW with frames
        """
        events = self._session.link.newest_events
        return describe_power(self._opened.manifest, events, self._budget_mw)

    @guarded
    def grant_power(self, milliwatts: int, timeout: float | None = None) -> None:
        """Let the module draw so much, until the session ends.

        Streams that need more end. Without a grant, a module draws what its manifest states. See
        :attr:`power` for what it needs.

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     module.grant_power(500)
        ...     module.capture()
        Traceback (most recent call last):
        lenslink.errors.DeviceError: power: needs 1700 of 500 mW

        Raises:
            DeviceError: An idle module needs more. The grant before stays.
        """
        budget_mw = check_whole_number("milliwatts", milliwatts, 0, _MAX_ID)
        deadline = self._deadline(timeout, "the grant of power")
        self._session.call(SetBudget(budget_mw), Accepted, deadline)
        self._budget_mw = budget_mw

    @property
    def is_renewable(self) -> bool:
        """Return True if the module itself ended the last session: then :meth:`renew` may work."""
        return self._session.link.close_message is not None

    @guarded
    def authenticate(self, key: bytes | Authenticator, timeout: float | None = None) -> None:
        """Ask the module to prove that it is genuine. Return if it does.

        *key* is the key that the module shares, 32 bytes, or another scheme. Each call draws a new
        challenge. To ask in every session, before anything else, pass ``authenticate=`` to
        :func:`lenslink.open` instead.

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     module.authenticate(bytes(32))
        Traceback (most recent call last):
        lenslink.errors.NotGenuine: module ... cannot prove that it is genuine ...

        Raises:
            NotGenuine: The proof is wrong or missing. The session goes on.
            UsageError: The key does not have 32 bytes.
            Timeout: The module does not answer.
        """
        authenticator = make_authenticator(key)
        deadline = self._deadline(timeout, "authenticating the module")
        module = self._opened
        authenticate(self._session, module.session_info, module.manifest, authenticator, deadline)

    @guarded
    def renew(self, timeout: float | None = None) -> None:
        """Open another session over the same connection.

        Use it after the module ended a session because its contacts opened: the call waits until
        the module is seated again. Streams have to be configured anew.

        Raises:
            Disconnected: The connection is gone too.
            NotFound: The module that answers has another serial number.
            Timeout: No module answers.
        """
        deadline = self._deadline(timeout, f"opening a session with {self.url}")
        self._session.drop_frames()
        self._requests.clear()
        self._session = self._make_session()
        self._open_session(deadline)

    # --- configuration --------------------------------------------------------------------

    def find_mode(self, name: str | None, use: ModeUse) -> Mode:
        """Return the mode called *name*, or the module's own choice for *use* if that is None."""
        return self._opened.find_mode(name, use)

    @guarded
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

        The answer's ``flags`` say whether the module adjusted something.

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     answer = module.configure(lenslink.STILL, "full", packing="lsb")
        ...     print(answer.width, answer.stride)
        64 96

        Args:
            stream: :data:`lenslink.PREVIEW`, :data:`lenslink.STILL` or :data:`lenslink.ROI`.
            mode: The name of a mode. None leaves the choice to the module.
            options: Mode, packing and tile size; see :class:`~lenslink.StreamOptions`.
            test_only: Ask what the module would configure, and change nothing.
            timeout: Seconds until :exc:`~lenslink.errors.Timeout`.
            changes: ``packing``, ``tile_bytes`` and ``roi``. They win over *options*.

        Raises:
            UsageError: For a mode or packing that the module does not have, or a value out of
                range. Nothing was sent then.
        """
        _, chosen = read_arguments(ConfigureArguments, changes, mode, options=options)
        stream = check_whole_number("stream", stream, 0, _MAX_STREAM)
        check_type("test_only", test_only, bool, "True or False")
        return self._configure(stream, chosen, self._deadline(timeout, "configuring"), test_only)

    def _configure(
        self, stream: int, options: StreamOptions, deadline: Deadline, test_only: bool = False
    ) -> Configured:
        use = ModeUse.STILL if stream == STILL else ModeUse.PREVIEW
        flags = ConfigureFlag.TEST_ONLY if test_only else 0
        module = self._opened
        mode = module.find_mode(options.mode, use)
        if options.roi is not None:
            module.check_roi(options.roi, mode)
        pixel_format = module.find_pixel_format(options.packing)
        message = Configure(
            stream,
            flags,
            mode.id,
            pixel_format,
            options.tile_bytes or 0,
            *(options.roi or (0, 0, 0, 0)),
        )
        self._end_given_up(stream, deadline)
        if stream == STILL and stream in self._requests:
            _log.debug("a still of another process is under way: stopping it")
            self._stop(stream, deadline)
        answer = self._session.call(message, Configured, deadline)
        if not test_only:
            if not module.has_configuration(answer, options.roi):
                raise ProtocolError(f"the module configured something else: {answer}")
            self._session.configurations[stream] = answer
            if find_layout(answer.pixel_format).packing is Packing.RICE:
                rice_decoding.prepare()
        return answer

    def configuration(self, stream: int = PREVIEW) -> Configured | None:
        """Return what the module last configured for *stream*; None before that."""
        return self._session.configurations.get(stream)

    # --- frames ---------------------------------------------------------------------------

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
        """Take one still and return its frame, or take a bracket and return its frames.

        The frame says which settings the module applied. An incomplete frame says so in its
        ``status``.

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     frame = module.capture("full", exposure_us=10_000, gain_milli=2000)
        ...     print(frame.pixels.shape, frame.gain_milli)
        (64, 64) 2000

        A bracket is a list of settings. Its frames are consecutive frames of the sensor, in the
        order of the list:

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     steps = [lenslink.Settings(exposure_us=us) for us in (1000, 4000, 16_000)]
        ...     print([frame.exposure_us for frame in module.capture(frames=steps)])
        [1000, 4000, 16000]

        A region of interest is read out alone:

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     frame = module.capture("full", roi=(16, 32, 24, 8))
        ...     print(frame.pixels.shape, frame.crop_x, frame.crop_y)
        (8, 24) 16 32

        Args:
            mode: The name of a mode. None leaves the choice to the module.
            frames: The settings of each frame of a bracket, at most 16. They win over *settings*.
            settings: What the frame is exposed with; see :class:`~lenslink.Settings`.
            options: Mode, packing and tile size; see :class:`~lenslink.StreamOptions`.
            timeout: Seconds until :exc:`~lenslink.errors.Timeout`, for all frames.
            changes: Single fields of the two objects. They win over the objects.

        Raises:
            UsageError: For a value of a wrong type or out of range, and for a mode or packing that
                the module does not have. Nothing was sent then.
            DeviceError: The module refused: its supply is low, for example.
            Timeout: The frame did not arrive in time. ``error.request`` names the request for
                :meth:`query_outcome`.
            Disconnected: The module went away; ``error.request`` as above.
        """
        wanted, chosen = read_arguments(CaptureArguments, changes, mode, settings, options)
        single = None if frames is None else check_frames(frames)
        taken = self._capture(wanted, chosen, single, timeout)
        return taken if single is not None else taken[0]

    @guarded
    def _capture(
        self,
        wanted: Settings,
        chosen: StreamOptions,
        frames: tuple[Settings, ...] | None,
        timeout: float | None,
    ) -> list[Frame]:
        """Take one still, or a bracket if *frames* is not None, and return the frames."""
        deadline = self._deadline(timeout, "the capture")
        count = self._request_stills(wanted, chosen, frames or (), deadline)
        request = self._session.last_request
        taken: list[Frame] = []
        try:
            while len(taken) < count:
                taken.append(self._take_frame(STILL, deadline))
        except BaseException as error:
            for frame in taken:
                frame.release()
            if isinstance(error, (Disconnected, Timeout)):
                error.request = request
            raise
        del self._requests[STILL]
        # A frame that needed a Resend is finished after its successor. Numbers wrap.
        return sorted(taken, key=lambda frame: (frame.number - taken[0].number + _HALF) & _MAX_ID)

    def _request_stills(
        self,
        wanted: Settings,
        chosen: StreamOptions,
        frames: tuple[Settings, ...],
        deadline: Deadline,
    ) -> int:
        """Ask for a still, or for a bracket if *frames* is not empty; return how many will come."""
        entries = encode_request_settings(self.manifest, wanted, frames)
        self._configure(STILL, chosen, deadline)
        message = Capture(STILL, len(frames) or 1, entries)
        self._request_frames(STILL, message, deadline)
        return message.count

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
        """Return an iterator over preview frames. Closing the iterator ends the stream.

        The iterator also ends when :meth:`stop` or :meth:`flush` ends the stream. The arguments are
        those of :meth:`capture`, and ``interval_us``. They are checked at once. The stream starts
        when the first frame is asked for. Nothing is read while nobody iterates.

        With ``roi`` the frames are those of a stream of its own, :data:`lenslink.ROI`, which has
        only the region's pixels. It runs beside a preview.

        >>> from contextlib import closing
        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     with closing(module.stream(interval_us=33_000, exposure_us=8000)) as frames:
        ...         for frame in frames:
        ...             with frame:
        ...                 print(frame.exposure_us)
        ...             break
        8000

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     previews = module.stream()
        ...     regions = module.stream(roi=(0, 16, 24, 8))
        ...     print(next(previews).pixels.shape, next(regions).pixels.shape)
        (64, 64) (8, 24)

        Args:
            timeout: Seconds until :exc:`~lenslink.errors.Timeout`, for each frame.
            latest: Skip frames that were begun while the caller was away; see :meth:`next_frame`.
        """
        wanted, chosen = read_arguments(StreamArguments, changes, mode, settings, options)
        check_type("latest", latest, bool, "True or False")
        if timeout is not None:
            check_timeout(timeout)
        return self._stream_frames(wanted, chosen, timeout, latest)

    def _stream_frames(
        self, settings: Settings, options: StreamOptions, timeout: float | None, latest: bool
    ) -> Generator[Frame, None, None]:
        stream = options.stream
        before = self._requests.get(stream)
        own: _FrameRequest | None = None
        try:
            self.start(settings=settings, options=options, timeout=timeout)
            own = self._requests.get(stream)
            while self._requests.get(stream) == own:
                try:
                    frame = self.next_frame(timeout, latest=latest, stream=stream)
                except StreamEnded:
                    return
                yield frame
        finally:
            # The stream may be another one: one that ran before, or one that was started since.
            current = self._requests.get(stream)
            if current not in (None, before) and current == (own or current):
                self.stop(stream)

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
        """Configure and start the preview, or with ``roi`` the stream :data:`lenslink.ROI`.

        :meth:`next_frame` returns its frames.

        The arguments are those of :meth:`stream`; *timeout* is for the start.
        """
        wanted, chosen = read_arguments(StreamArguments, changes, mode, settings, options)
        entries = encode_request_settings(self.manifest, wanted)
        deadline = self._deadline(timeout, "starting the stream")
        stream = chosen.stream
        self._configure(stream, chosen, deadline)
        message = StartStream(stream, chosen.interval_us or 0, entries)
        self._timings[stream] = StreamTiming()
        self._request_frames(stream, message, deadline)
        self._requests[stream] = self._requests[stream]._replace(is_running=True)

    @guarded
    def next_frame(
        self, timeout: float | None = None, *, latest: bool = False, stream: int = PREVIEW
    ) -> Frame:
        """Return the next frame of a stream that was started. Wait for it if need be.

        Args:
            timeout: Seconds until :exc:`~lenslink.errors.Timeout`.
            latest: If the caller was away while the module began another frame, skip the frames
                that were begun before this call. Nothing is read between calls, so those frames
                would be old.
            stream: :data:`lenslink.PREVIEW` or :data:`lenslink.ROI`.

        Raises:
            StreamEnded: Another process has stopped the stream; see :meth:`serve`.
        """
        check_type("latest", latest, bool, "True or False")
        stream = check_whole_number("stream", stream, PREVIEW, ROI)
        deadline = self._deadline(timeout, "the next frame")
        timing = self._timings.setdefault(stream, StreamTiming())
        oldest_us = 0
        if latest and timing.is_away(self._session.now()):
            oldest_us = self._session.read_module_time(deadline)
        frame = self._take_frame(stream, deadline, oldest_us)
        timing.record(frame, self._session.now())
        return frame

    @guarded
    def set(
        self,
        *,
        stream: int = PREVIEW,
        settings: Settings | None = None,
        timeout: float | None = None,
        **changes: Unpack[SetArguments],
    ) -> int:
        """Change the settings of a stream that is configured or running.

        Return the number of the first frame that has them. The frames of the stream before it have
        the old ones. They last as those of :meth:`stream` do. The arguments are those of
        :meth:`capture`.

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     module.start(exposure_us=8000)
        ...     first = module.set(exposure_us=5000)
        ...     with module.next_frame() as frame:
        ...         print(frame.exposure_us == (5000 if frame.number >= first else 8000))
        True

        Raises:
            UsageError: A value is wrong, or the module does not have it. Nothing was sent.
            DeviceError: The stream is not configured, or takes stills.
        """
        stream = check_whole_number("stream", stream, PREVIEW, ROI)
        wanted, _ = read_arguments(SetArguments, changes, None, settings)
        message = SetSettings(stream, encode_request_settings(self.manifest, wanted))
        deadline = self._deadline(timeout, "the settings")
        self._end_given_up(stream, deadline)
        return self._session.call(message, Accepted, deadline).first_frame

    # --- for other processes --------------------------------------------------------------

    @guarded
    def serve(self, name: str | None = None, timeout: float | None = None) -> None:
        """Let other processes control the module, until it is closed.

        They use :class:`lenslink.ModuleClient`, or ``lenslink set ring:NAME``. Their requests are
        carried out while this process waits: in :meth:`next_frame`, in the loop over
        :meth:`stream`, and in :meth:`events`.

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     module.serve("cam")
        ...     with lenslink.FrameRingReader("cam") as reader, module.capture():
        ...         print(reader.next().stream)
        1

        Args:
            name: Make a frame ring of that name, and receive into it from now on: a new session
                begins. None serves the ring that the module was opened with.
            timeout: Seconds until :exc:`~lenslink.errors.Timeout`.

        Raises:
            UsageError: The module is served already, or a stream runs, or *name* does not fit.
            DeviceBusy: Another process has a frame ring of that name.
            StorageError: The socket cannot be made.
        """
        # The control socket needs Linux or macOS, so it is imported only where it is used.
        from .control.control_service import ControlService
        from .frame_ring.writer import FrameRing

        if self._service is not None:
            raise UsageError("the module is served already")
        if (name is None) == (self._ring is None):
            raise UsageError("serve() takes a name, unless the module was opened with ring=")
        if self._ring is not None:
            self._own_service = ControlService(self._ring, self)
            self.use_service(self._own_service)
            return
        if self._requests:
            raise UsageError("a stream runs: call serve() before it, or stop() it")
        self._ring = FrameRing(name or "")
        try:
            self._own_service = ControlService(self._ring, self, owns_ring=True)
            self.use_service(self._own_service)
            self.renew(timeout)
        except BaseException:
            self._ring.close()
            raise

    def use_service(self, service: ControlService) -> None:
        """Serve other processes by *service*, which stays the caller's."""
        service.device = self
        self._service = service
        self._session.serve(service)

    @property
    def is_attached(self) -> bool:
        """True while a session with the module is open, as far as the last call has noticed."""
        link = self._session.link
        return self._connection.is_open and link.session is not None and not link.close_message

    @property
    def serial(self) -> str | None:
        """The module's serial number; None before the first session."""
        return self._serial

    @property
    def configurations(self) -> Mapping[int, Configured]:
        """What the module has configured, by stream."""
        return dict(self._session.configurations)

    @property
    def newest_events(self) -> Mapping[int, Event]:
        """The newest Event of the session of each kind, also if it was taken."""
        return dict(self._session.link.newest_events)

    def is_running(self, stream: int) -> bool:
        """Return True if the module may be sending frames of *stream*."""
        return stream in self._requests

    @guarded
    def start_capture(
        self,
        settings: Settings,
        options: StreamOptions,
        frames: tuple[Settings, ...] = (),
        timeout: float | None = None,
    ) -> int:
        """Ask for stills beside a running preview, and return the request's id.

        :meth:`take_arrived` returns them as they arrive, in :meth:`next_frame` for example. The
        caller calls :meth:`end_capture` after the last one.
        """
        deadline = self._deadline(timeout, "the capture")
        self._request_stills(settings, options, frames, deadline)
        request = self._requests[STILL] = self._requests[STILL]._replace(is_running=True)
        return request.id

    def find_request(self, stream: int) -> int | None:
        """Return the id of the request whose frames may still come in *stream*, or None."""
        current = self._requests.get(stream)
        return current.id if current is not None and current.is_running else None

    def has_arrived(self, stream: int, request: int) -> bool:
        """Return True if a frame of *request* has arrived and was not taken."""
        return self._session.has_frame(stream, request)

    @guarded
    def take_arrived(self, stream: int, request: int) -> Frame | None:
        """Return the next frame of *request* that has arrived, or None."""
        if not self.has_arrived(stream, request):
            return None
        assembly = self._session.take_frame(stream, Deadline(0, "a frame"), request)
        assert assembly is not None
        return self._builder.build_frame(assembly, self._session, self._opened)

    def end_capture(self) -> None:
        """Forget a request for stills whose frames have all arrived."""
        self._requests.pop(STILL, None)

    @guarded
    def stop(self, stream: int = PREVIEW) -> None:
        """End a stream and drop its frames that were not taken. Does nothing without a module."""
        stream = check_whole_number("stream", stream, 0, _MAX_STREAM)
        try:
            self._stop(stream, Deadline(_STOP_S, "stopping"))
        except LensLinkError as error:
            # The next call that needs the link raises this error again.
            _log.debug("stream %d was not stopped: %s", stream, error)

    def _stop(self, stream: int, deadline: Deadline) -> None:
        """Send Stop. If that fails, the next call for the stream sends it again."""
        request = self._requests.get(stream)
        if request is not None:
            self._requests[stream] = request._replace(is_running=False)
        try:
            self._session.call(Stop(stream), Accepted, deadline)
        finally:
            self._session.frames.drop_stream(stream)
        self._requests.pop(stream, None)

    def _request_frames(
        self, stream: int, message: Capture | StartStream, deadline: Deadline
    ) -> None:
        """Send a request for frames of *stream*, and remember that the frames belong to it."""
        self._request_time = self._session.now()
        self._session.frames.first_tile_time = None
        # Before it is sent: an interrupt may come at any moment.
        self._requests[stream] = _FrameRequest(self._session.link.next_request_id)
        try:
            self._session.call(message, Accepted, deadline)
        except DeviceError:
            del self._requests[stream]
            raise

    def _end_given_up(self, stream: int, deadline: Deadline) -> None:
        """End the stream's request if a call gave it up: it failed or was interrupted."""
        request = self._requests.get(stream)
        if request is not None and not request.is_running:
            _log.debug("request %d was given up: stopping stream %d", request.id, stream)
            self._stop(stream, deadline)

    @guarded
    def flush(self, timeout: float | None = None) -> Flushed:
        """End every stream and drop all frames. After it, no frame of an earlier request comes."""
        answer = self._session.call(Flush(), Flushed, self._deadline(timeout, "the flush"))
        for stream in (PREVIEW, STILL, ROI):
            self._session.frames.drop_stream(stream)
        self._requests.clear()
        return answer

    # --- what else the module and the link can tell ---------------------------------------

    @guarded
    def query_outcome(self, request: RequestHandle, timeout: float | None = None) -> Outcome:
        """Ask the module what became of a request, also of one that was sent in an earlier session.

        A module remembers the last few requests of the last few sessions, until it restarts. The
        outcome of any other request is UNKNOWN.
        """
        check_type("request", request, RequestHandle, "a lenslink.RequestHandle")
        nonce = check_whole_number("request.nonce", request.nonce, 0, _MAX_ID)
        message = Query(nonce, check_whole_number("request.id", request.id, 0, _MAX_ID))
        try:
            answer = self._session.call(message, QueryReply, self._deadline(timeout, "the query"))
            return Outcome(answer.outcome)
        except DeviceError as error:
            if error.code != ErrorCode.UNKNOWN_REQUEST:
                raise
        except ValueError:
            _log.debug("the module answered with an unknown outcome: %s", answer)
        return Outcome.UNKNOWN

    @property
    def nonce(self) -> int:
        """The number of the session. Each packet and each frame of the session carries it."""
        return self._session.link.nonce

    @property
    def stats(self) -> Stats:
        """Counters since the module was opened, as they are now.

        >>> with lenslink.open("sim:?width=64&height=64") as module:
        ...     module.capture().release()
        ...     module.stats.complete
        1
        """
        frames = self._session.frames
        first = None
        if self._request_time is not None and frames.first_tile_time is not None:
            first = (frames.first_tile_time - self._request_time) * 1000
        return Stats(
            bytes=frames.counters.tile_bytes,
            complete=self._builder.complete_count,
            incomplete=self._builder.incomplete_count,
            lost_packets=self._session.link.lost_packets,
            discards={reason.value: self._session.discards[reason] for reason in DiscardReason},
            first_tile_ms=first,
            wire_bytes=self._session.wire_bytes,
        )

    @property
    def line(self) -> Line:
        """The line below the transport, as far as the transport knows it."""
        return self._transport.line if isinstance(self._transport, KnownLine) else Line()

    def read_clock(self) -> Reading:
        """Return the time of the clock that rates over this link refer to.

        That is the wall clock, or the own clock of an emulated bench.
        """
        if isinstance(self._transport, ClockedTransport):
            return self._transport.reading()
        return Reading(time.monotonic())

    @guarded
    def take_logs(self) -> list[Log]:
        """Return the lines that the module has logged since the last call, and forget them."""
        logs = list(self._session.link.logs)
        self._session.link.logs.clear()
        return logs

    @guarded
    def take_notices(self) -> list[Notice]:
        """Return what the module has announced since the last call, and forget it.

        ``reason`` is a :class:`lenslink_protocol.ids.NoticeReason` where the number is known:
        RELEASE, for example, if somebody pressed the release button.
        """
        notices = list(self._session.link.notices)
        self._session.link.notices.clear()
        return notices

    @guarded
    def take_events(self) -> list[Event]:
        """Return the Events that the module has sent since the last call, and forget them.

        ``kind`` is a :class:`lenslink_protocol.ids.EventKind` where the number is known. Its
        members say what ``value`` is, and what the counter counts.
        """
        events = list(self._session.link.events)
        self._session.link.events.clear()
        return events

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Yield what changes: focus ring, contacts, heat and supply.

        The first four Events are the states at the start of the session. An Event that was lost
        heals with the next one of its kind, because its counter is of all since the module's start.

        >>> with lenslink.open("sim:?width=64&height=64") as device:
        ...     print(next(device.events(timeout=5)).kind)
        1

        Args:
            timeout: seconds without an Event after which the iterator ends; for ever by default.

        Raises:
            Disconnected: the session has ended.
        """
        while True:
            found = self.wait_for_events(timeout)
            if not found:
                return
            yield from found

    @guarded
    def wait_for_events(self, timeout: float | None = None) -> list[Event]:
        """Return the Events that have come, or wait for the next; [] after *timeout* seconds."""
        link, service = self._session.link, self._service
        seconds = _FOREVER_S if timeout is None else check_timeout(timeout)
        deadline = Deadline(seconds, "an event")
        with contextlib.suppress(Timeout):
            while not link.events:
                if service is not None and service.has_work:
                    service.carry_out()
                self._session.run_until(
                    lambda: bool(link.events) or (service is not None and service.has_work),
                    deadline,
                )
        events = list(link.events)
        link.events.clear()
        return events

    @guarded
    def close(self) -> None:
        """End the session and give up the module. Idempotent; never raises."""
        deadline = Deadline(_CLOSE_S, "closing")
        run_to_end(
            lambda: self._session.close(deadline), self._connection.close, self._close_service
        )
        _log.debug("closed %s", self.url)

    def _close_service(self) -> None:
        if self._own_service is not None:
            self._own_service.close()

    def _deadline(self, timeout: float | None, purpose: str) -> Deadline:
        return Deadline(self._timeout if timeout is None else check_timeout(timeout), purpose)

    def _take_frame(self, stream: int, deadline: Deadline, oldest_us: int = 0) -> Frame:
        """Wait for the next frame of the stream's request and return it.

        Drops frames that were begun before *oldest_us* on the module's clock.
        """
        request = self._requests.get(stream)
        # While a still is awaited, only what asks is answered: a request could end the still.
        service = self._service if stream != STILL else None
        while True:
            if service is not None and service.has_work:
                service.carry_out()
                if self._requests.get(stream) != request:
                    raise StreamEnded("another process has stopped the stream: start() it again")
            # No request has the id 0: whatever comes without a request is dropped.
            number = request.id if request else 0
            assembly = self._session.take_frame(stream, deadline, number, service)
            if assembly is None:
                continue
            if assembly.frame_start is None or assembly.frame_start.timestamp_us >= oldest_us:
                return self._builder.build_frame(assembly, self._session, self._opened)
            _log.debug("dropped frame %d: it was begun before the call", assembly.number)
            self._session.pool.release(assembly.buffer)
