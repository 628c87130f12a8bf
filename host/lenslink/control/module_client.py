"""Control a module that another process owns, and get its stills through the frame ring."""

from __future__ import annotations

import dataclasses
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Unpack, overload

from lenslink_protocol.messages import Event

from ..arguments import check_timeout, check_whole_number
from ..context import ClosesOnExit
from ..deadline import Deadline
from ..errors import Disconnected, NotFound, ProtocolError, StorageError, Timeout, UsageError
from ..frame_ring.reader import FrameRingReader
from ..frame_ring.shared_frame import SharedFrame
from ..settings import (
    PREVIEW,
    ROI,
    STILL,
    CaptureArguments,
    SetArguments,
    Settings,
    StreamArguments,
    StreamOptions,
    check_frames,
    read_arguments,
)
from ..thread_guard import ThreadGuarded, guarded
from . import control_socket
from .control_messages import (
    MAX_LINE,
    check_region,
    decode_event,
    decode_line,
    encode_line,
    make_error,
)
from .module_state import ModuleState

# While frames of a capture are awaited, the socket is looked at this often: it tells of errors.
_LOOK_S: Final = 0.05
# The owner closes the connection of a client that does not read; so many events are kept here.
_KEPT_EVENTS: Final = 1024
_POLL_S: Final = 0.02
_READ_BYTES: Final = 4096
_NO_FIELDS: Final[Mapping[str, object]] = {}


class ModuleClient(ThreadGuarded, ClosesOnExit):
    """Control the module that another process serves under *name*: a context manager.

    The owner runs ``lenslink stream URL -o ring:NAME``, or :meth:`lenslink.Device.serve` and its
    loop over frames. It answers while it waits for frames. Frames come through the frame ring: the
    preview by :class:`lenslink.FrameRingReader`, stills by :meth:`capture`.

    >>> import threading
    >>> def own(module):
    ...     for frame in module.stream():
    ...         frame.release()
    >>> with lenslink.open("sim:?width=64&height=64") as module:
    ...     module.serve("cam")
    ...     owner = threading.Thread(target=own, args=(module,))  # usually another process
    ...     owner.start()
    ...     with lenslink.ModuleClient("cam") as client:
    ...         with client.capture(exposure_us=2000) as frame:
    ...             print(frame.pixels.shape, frame.exposure_us)
    ...         client.stop()
    ...     owner.join()
    (64, 64) 2000

    Args:
        name: The name of the frame ring.
        timeout: The time limit of each call, in seconds.
        wait: How long to wait for the owner to appear, in seconds.

    Raises:
        NotFound: No process serves that name.
        DeviceBusy: The owner takes no further client. The first call raises this.
        StorageError: The socket belongs to another user.
    """

    def __init__(self, name: str, *, timeout: float = 30.0, wait: float = 0.0) -> None:
        self.name = name
        self._timeout = check_timeout(timeout)
        deadline = Deadline(check_timeout(wait, "wait"), f"waiting for the frame ring {name}")
        self._socket: socket.socket | None = _connect(name, deadline, self._timeout)
        self._unread = bytearray()
        self._last_id = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._captured: dict[int, dict[str, Any]] = {}
        self._events: deque[Event] = deque(maxlen=_KEPT_EVENTS)
        self._is_subscribed = False
        self._readers: list[FrameRingReader] = []

    # --- requests ---------------------------------------------------------------------------

    @property
    def state(self) -> ModuleState:
        """The state of module, link and ring, as the owner sees it now."""
        return ModuleState.from_json(self._call("state", None))

    def set(
        self,
        *,
        stream: int = PREVIEW,
        settings: Settings | None = None,
        timeout: float | None = None,
        **changes: Unpack[SetArguments],
    ) -> int:
        """Change the settings of a running stream, and return the first frame that has them.

        The arguments and errors are those of :meth:`lenslink.Device.set`.
        """
        asked, _ = read_arguments(SetArguments, changes, None, settings)
        return _get_number(self._set(stream, asked, timeout), "first_frame")

    def time_set(self, **changes: Unpack[SetArguments]) -> float:
        """Change the settings of the preview, and return how long the module took, in ms.

        The rest of the time until the answer is the owner's and this process' own.
        """
        asked, _ = read_arguments(SetArguments, changes, None)
        module_ms = self._set(PREVIEW, asked, None).get("module_ms")
        if not isinstance(module_ms, float):
            raise ProtocolError("the owner of the module answered without module_ms")
        return module_ms

    def _set(self, stream: int, asked: Settings, timeout: float | None) -> dict[str, Any]:
        stream = check_whole_number("stream", stream, PREVIEW, ROI)
        return self._call("set", timeout, {"stream": stream, "settings": _without_none(asked)})

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
    ) -> SharedFrame: ...

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
    ) -> Iterator[SharedFrame]: ...

    def capture(
        self,
        mode: str | None = None,
        *,
        frames: Sequence[Settings] | None = None,
        settings: Settings | None = None,
        options: StreamOptions | None = None,
        timeout: float | None = None,
        **changes: Unpack[CaptureArguments],
    ) -> SharedFrame | Iterator[SharedFrame]:
        """Take a still and return its frame, or take a bracket and return an iterator.

        The arguments are those of :meth:`lenslink.Device.capture`. The frames are those of the
        frame ring, without a copy. Release a still when you are done. The frames of a bracket come
        as they arrive, and each is released before the next: the ring has few slots.

        Raises:
            DeviceBusy: Another client's still is under way.
            StorageError: A frame was lost because the reader was slow and the ring had no free
                slot.
            Timeout: The frames did not arrive in time.
        """
        asked, chosen = read_arguments(CaptureArguments, changes, mode, settings, options)
        single = None if frames is None else check_frames(frames)
        seconds = self._timeout if timeout is None else check_timeout(timeout)
        capture = self._start_capture(asked, chosen, single or (), seconds)
        return self._take_still(capture) if single is None else self._take_bracket(capture)

    def start(
        self,
        mode: str | None = None,
        *,
        settings: Settings | None = None,
        options: StreamOptions | None = None,
        timeout: float | None = None,
        **changes: Unpack[StreamArguments],
    ) -> None:
        """Start the stream of a region of interest beside the owner's preview.

        The arguments are those of :meth:`lenslink.Device.start`, and ``roi`` must be one of them.
        The frames come through the frame ring, with the stream number :data:`lenslink.ROI`. A
        second call starts the region anew. :meth:`set` with ``roi_x`` and ``roi_y`` moves it. The
        stream ends with :meth:`stop`, with :meth:`close`, and when the module goes away.

        Raises:
            UsageError: There is no ``roi``, or the module does not have it.
            DeviceBusy: The owner has started such a stream itself.
        """
        asked, chosen = read_arguments(StreamArguments, changes, mode, settings, options)
        fields = {
            "settings": _without_none(asked),
            "options": _without_none(check_region(chosen)),
        }
        self._call("start", timeout, fields)

    def stop(self, stream: int = PREVIEW, timeout: float | None = None) -> None:
        """End a stream. The owner's loop over its frames ends then."""
        stream = check_whole_number("stream", stream, PREVIEW, ROI)
        self._call("stop", timeout, {"stream": stream})

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Yield what changes on the module, as :meth:`lenslink.Device.events` does.

        The first Events are the newest of each kind. *timeout* is in seconds without an Event,
        after which the iterator ends; for ever by default.
        """
        if not self._is_subscribed:
            self._call("events", None)
            self._is_subscribed = True
        while True:
            seconds = check_timeout(1e6 if timeout is None else timeout)
            try:
                self._run_until(lambda: bool(self._events), Deadline(seconds, "an event"))
            except Timeout:
                return
            yield self._events.popleft()

    @guarded
    def close(self) -> None:
        """Leave the owner. Idempotent; never raises."""
        for reader in self._readers:
            reader.close()
        self._readers.clear()
        if self._socket is not None:
            control_socket.close(self._socket)
            self._socket = None

    # --- stills -----------------------------------------------------------------------------

    def _start_capture(
        self,
        settings: Settings,
        options: StreamOptions,
        frames: tuple[Settings, ...],
        seconds: float,
    ) -> _Capture:
        deadline = Deadline(seconds, "the capture")
        # The reader joins first, so that the ring keeps every still for it.
        reader = FrameRingReader(self.name, "every", streams=(STILL,))
        self._readers.append(reader)
        try:
            asked = {
                "settings": _without_none(settings),
                "options": _without_none(options),
                "frames": [_without_none(each) for each in frames] or None,
                "timeout": seconds,
            }
            result = self._call("capture", seconds, asked)
            request, nonce, total = [
                _get_number(result, name) for name in ("request", "nonce", "count")
            ]
        except BaseException:
            self._end_reader(reader)
            raise
        return _Capture(reader, request, nonce, total, deadline)

    def _take_still(self, capture: _Capture) -> SharedFrame:
        """Return the only frame of a capture. Its release ends the reader."""
        try:
            frame = self._wait_for_still(capture)
        except BaseException:
            self._end_reader(capture.reader)
            raise
        frame.call_on_release(lambda: self._end_reader(capture.reader))
        return frame

    def _take_bracket(self, capture: _Capture) -> Iterator[SharedFrame]:
        try:
            for _ in range(capture.total):
                with self._wait_for_still(capture) as frame:
                    yield frame
        finally:
            self._end_reader(capture.reader)

    def _wait_for_still(self, capture: _Capture) -> SharedFrame:
        """Return the next frame of a capture."""
        while True:
            # What the owner says about the end was said after the last frame was published.
            self._receive_lines(0.0)
            captured = self._captured.get(capture.request)
            try:
                left = 0.0 if captured else min(_LOOK_S, capture.deadline.remaining())
                frame = capture.reader.next(left)
            except Timeout:
                if captured is None:
                    capture.deadline.check()
                    continue
                if captured.get("error") is not None:
                    raise make_error(captured["error"]) from None
                raise StorageError(
                    f"a still found no free slot in the frame ring {self.name}: "
                    "read faster, or make the ring with more slots"
                ) from None
            if frame.nonce == capture.nonce and frame.start.request == capture.request:
                return frame
            frame.release()

    def _end_reader(self, reader: FrameRingReader) -> None:
        reader.close()
        self._readers = [each for each in self._readers if each is not reader]

    # --- lines ------------------------------------------------------------------------------

    @guarded
    def _call(
        self, operation: str, timeout: float | None, fields: Mapping[str, object] = _NO_FIELDS
    ) -> dict[str, Any]:
        """Send a request and return the result of its answer."""
        seconds = self._timeout if timeout is None else check_timeout(timeout)
        deadline = Deadline(seconds, f"the answer to {operation}")
        self._last_id += 1
        number = self._last_id
        given = {name: value for name, value in fields.items() if value is not None}
        self._send(encode_line({"id": number, "op": operation, **given}), deadline)
        self._run_until(lambda: number in self._answers, deadline)
        answer = self._answers.pop(number)
        if answer.get("ok") is not True:
            raise make_error(answer.get("error"))
        result = answer.get("result")
        if not isinstance(result, dict):
            raise ProtocolError(f"the owner of the module answered {operation} without a result")
        return result

    def _send(self, line: bytes, deadline: Deadline) -> None:
        if len(line) > MAX_LINE:
            raise UsageError(f"the request is longer than {MAX_LINE} bytes")
        connection = self._get_socket()
        try:
            connection.settimeout(max(deadline.remaining(), 0.001))
            connection.sendall(line)
        except TimeoutError:
            # A part of the line may be sent, so no other line can follow it.
            self.close()
            raise Timeout(f"the owner took no request for {deadline.seconds:g} s") from None
        except OSError:
            # The owner may have said why before it ended the connection.
            self._receive_lines(0.0)
            raise self._lose() from None

    @guarded
    def _run_until(self, is_done: Callable[[], bool], deadline: Deadline) -> None:
        """Receive lines until *is_done* returns True."""
        while not is_done():
            deadline.check()
            self._receive_lines(deadline.remaining())

    @guarded
    def _receive_lines(self, seconds: float) -> None:
        """Wait up to *seconds* for bytes from the owner, and use the lines that are whole."""
        connection = self._get_socket()
        try:
            if not select.select([connection], [], [], seconds)[0]:
                return
            data = connection.recv(_READ_BYTES)
        except (OSError, ValueError):
            raise self._lose() from None
        if not data:
            raise self._lose()
        self._unread += data
        *lines, rest = bytes(self._unread).split(b"\n")
        self._unread = bytearray(rest)
        if len(rest) > MAX_LINE:
            self.close()
            raise ProtocolError(f"the owner of the module sent a line of over {MAX_LINE} bytes")
        for line in lines:
            self._use_line(line)

    def _use_line(self, line: bytes) -> None:
        try:
            message = decode_line(line)
        except UsageError as error:
            raise ProtocolError(f"the owner of the module sent nonsense: {error}") from None
        event = message.get("event")
        if event == "module":
            self._events.append(decode_event(message))
        elif event == "captured":
            self._captured = {_get_number(message, "request"): message}
        elif message.get("id") is None:
            self.close()
            raise make_error(message.get("error"))
        elif message["id"] == self._last_id:
            # Other answers are for calls that were interrupted.
            self._answers = {self._last_id: message}

    def _get_socket(self) -> socket.socket:
        if self._socket is None:
            raise Disconnected(f"the client of the frame ring {self.name} is closed")
        return self._socket

    def _lose(self) -> Disconnected:
        """Close the connection because the owner is gone, and return the error to raise."""
        self.close()
        return Disconnected(f"the process that served the frame ring {self.name} has ended")


class _Capture(NamedTuple):
    """Stills that were asked for, and the reader that gets them."""

    reader: FrameRingReader
    request: int
    nonce: int
    total: int
    deadline: Deadline


def _connect(name: str, deadline: Deadline, timeout: float) -> socket.socket:
    """Connect to the owner; wait for it until *deadline*."""
    while True:
        try:
            return control_socket.connect(name, Deadline(timeout, "connecting"))
        except NotFound:
            if not deadline.remaining():
                raise
        time.sleep(min(_POLL_S, deadline.remaining()))


def _without_none(of: Settings | StreamOptions) -> dict[str, object]:
    """Return the fields that are not None."""
    return {name: value for name, value in dataclasses.asdict(of).items() if value is not None}


def _get_number(result: dict[str, Any], name: str) -> int:
    value = result.get(name)
    if not isinstance(value, int):
        raise ProtocolError(f"the owner of the module answered without {name}")
    return value
