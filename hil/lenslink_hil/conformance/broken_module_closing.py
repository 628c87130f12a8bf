"""Modules that break a clause on Close, and what is left of a session (SPEC.md, 3.2)."""

from __future__ import annotations

from lenslink_protocol.ids import CloseReason, EndStatus, MessageType
from lenslink_protocol.messages import AnyMessage, Close, FrameEnd, Header

from .broken_module_opening import KeepsConfiguration, RoiStaysConfigured
from .defects import Defect
from .packets import Packet
from .peer_wire import Tamper
from .plain_module import Lens, PlainModule, State


class StreamsAfterClose(PlainModule):
    """Stops answering at Close, and streams on."""

    def connect(self) -> None:
        self.is_deaf = False
        super().connect()

    def on_close(self, payload: bytes) -> None:
        del payload
        self.is_deaf = True

    def on_hello(self, header: Header, payload: bytes) -> None:
        self.is_deaf = False
        super().on_hello(header, payload)

    def is_of_session(self, header: Header) -> bool:
        return super().is_of_session(header) and not self.is_deaf


class AnswersAfterClose(PlainModule):
    """Answers Heartbeats after Close."""

    def on_close(self, payload: bytes) -> None:
        del payload
        for stream in self.streams:
            stream.state = State.UNCONFIGURED


class CloseKeepsConfiguration(KeepsConfiguration):
    """Lets streams stay configured after Close."""


class NumbersPerSession(PlainModule):
    """Numbers the frames of each session from 0."""

    def reset_session(self) -> None:
        super().reset_session()
        self.next_frame = 0


class SettingsOverSessions(PlainModule):
    """Keeps the settings of its streams over sessions."""

    def reset_session(self) -> None:
        kept = [stream.values for stream in getattr(self, "streams", [])]
        super().reset_session()
        for stream, values in zip(self.streams, kept, strict=False):
            stream.values = values


class LensGoesHome(PlainModule):
    """Moves the lens to infinity at the end of a session."""

    def end_session(self) -> None:
        super().end_session()
        self.lens = Lens()


class KnownReasonsOnly(PlainModule):
    """Ignores a Close whose reason it does not know."""

    def on_close(self, payload: bytes) -> None:
        message = self.decode(MessageType.CLOSE, payload)
        if isinstance(message, Close) and message.reason <= 3:
            super().on_close(payload)


class NumbersPerConnection(PlainModule):
    """Numbers frames from 0 on each connection."""

    def connect(self) -> None:
        self.next_frame = 0
        super().connect()


class NoFarewell(PlainModule):
    """Ends the session without Close when it is detached."""

    def set_attached(self, attached: bool) -> bool:
        self.is_attached = attached
        if not attached:
            self.end_session()
        return True


class WrongFarewell(PlainModule):
    """Says ORDERLY when it is detached."""

    def send_control(self, message: AnyMessage, number: int = 0) -> None:
        is_close = isinstance(message, Close)
        super().send_control(Close(CloseReason.ORDERLY) if is_close else message, number)


class EndsFramesAfterClose(Defect):
    """Sends FrameEnd of the frame under way behind Close."""

    def __init__(self) -> None:
        self._open: Packet | None = None

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.FRAME_START:
            self._open = packet
        elif packet.kind == MessageType.FRAME_END:
            self._open = None
        if packet.kind != MessageType.CLOSE or self._open is None:
            return [data]
        end = FrameEnd(EndStatus.ABORTED, 1, 0, 0, (0, 0, 0, 0), 0).encode()
        sequence = packet.header.sequence + 1
        late = self._open.encode(type=MessageType.FRAME_END, payload=end, sequence=sequence)
        return [data, late]


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-CLOSE-1": (
        StreamsAfterClose,
        AnswersAfterClose,
        CloseKeepsConfiguration,
        NumbersPerSession,
        SettingsOverSessions,
        RoiStaysConfigured,
        LensGoesHome,
        KnownReasonsOnly,
        NumbersPerConnection,
    ),
    "M-CLOSE-2": (NoFarewell, WrongFarewell),
}
"""The plain modules that break a clause."""

LINES: dict[str, tuple[type[Tamper], ...]] = {
    "M-CLOSE-2": (EndsFramesAfterClose,),
    "M-TEST-2": (EndsFramesAfterClose,),
}
"""The defects on the line of the firmware's module, by clause."""
