"""Modules that open, end or watch over sessions in a wrong way (SPEC.md, section 3).

Each class is the plain module with one rule wrong. Its docstring says which.
"""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import (
    Capability,
    CloseReason,
    ErrorCode,
    MessageType,
)
from lenslink_protocol.messages import (
    AnyMessage,
    Capture,
    Close,
    Error,
    Header,
    Heartbeat,
    HeartbeatReply,
    Hello,
    HelloReply,
    StartStream,
)
from lenslink_protocol.params import MAX_STREAMS

from .plain_module import (
    Item,
    PlainModule,
    State,
)


class HelloOnce(PlainModule):
    """Answers only the first Hello of a session."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        if self.session is None or header.nonce != self.session.nonce or self.is_refused:
            super().on_hello(header, payload)


class HelloStartsAnew(PlainModule):
    """Takes a repeated Hello for a new session."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        self.end_session()
        super().on_hello(header, payload)


class HelloUnderOwnNonce(PlainModule):
    """Answers Hello under a nonce of its own."""

    def encode(self, item: Item, lane: int) -> bytes:
        if item.kind != MessageType.HELLO_REPLY:
            return super().encode(item, lane)
        self.sequences[lane] += 1
        return encode_packet(item.kind, item.payload, nonce=7, sequence=0, frame=item.number)


class _OtherReply(PlainModule):
    def change(self, reply: HelloReply, message: Hello) -> HelloReply:
        del message
        return reply

    def hello_reply(self, message: Hello) -> HelloReply:
        return self.change(super().hello_reply(message), message)


class StatesAllLanes(_OtherReply):
    """States as many lanes as it has."""

    def change(self, reply: HelloReply, message: Hello) -> HelloReply:
        del message
        return replace(reply, lanes=self.lanes)


class StatesOwnCapabilities(_OtherReply):
    """States all that it can do."""

    def change(self, reply: HelloReply, message: Hello) -> HelloReply:
        del message
        return replace(reply, capabilities=self.capabilities)


class StatesNewestVersion(_OtherReply):
    """States a newer version than the host offered."""

    def change(self, reply: HelloReply, message: Hello) -> HelloReply:
        return replace(reply, version=max(0x11, message.version_max))


class AlwaysLogs(PlainModule):
    """Sends LOG whether the host wants it or not."""

    def log(self, text: str) -> None:
        kept, self.used_capabilities = self.used_capabilities, int(Capability.LOG)
        super().log(text)
        self.used_capabilities = kept


class _Keeps(PlainModule):
    names: tuple[str, ...] = ()

    def reset_session(self) -> None:
        kept = {name: getattr(self, name) for name in self.names if hasattr(self, name)}
        super().reset_session()
        for name, value in kept.items():
            setattr(self, name, value)


class KeepsConfiguration(_Keeps):
    """Lets streams stay configured in the next session."""

    names = ("streams",)

    def reset_session(self) -> None:
        super().reset_session()
        for each in self.streams:
            each.state = State.CONFIGURED if each.plan else State.UNCONFIGURED


class KeepsStreaming(_Keeps):
    """Lets a stream run on in the next session."""

    names = ("streams", "limits")


class KeepsCredits(_Keeps):
    """Spends the credits of the session before."""

    names = ("limits",)


class KeepsAnswers(_Keeps):
    """Answers ids of the session before with its answers."""

    names = ("answers",)


class KeepsCounts(_Keeps):
    """Counts the bytes of the session before."""

    names = ("sent",)


class AnswersDetached(PlainModule):
    """Answers Hello while it is detached."""

    def set_attached(self, attached: bool) -> bool:
        super().set_attached(attached)
        self.is_attached = True
        return True


class StaysDetached(PlainModule):
    """Never notices that it is attached again."""

    def set_attached(self, attached: bool) -> bool:
        super().set_attached(attached)
        self.is_attached = False
        return True


class SilentToOtherVersions(PlainModule):
    """Does not answer a Hello of another version."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        message = Hello.decode(payload)
        if self.is_version_shared(header, message):
            super().on_hello(header, payload)


class AcceptsOtherVersions(PlainModule):
    """Opens a session of any version."""

    def is_version_shared(self, header: Header, message: Hello) -> bool:
        del header, message
        return True


class RefusesAsUnsupported(PlainModule):
    """Refuses another version with UNSUPPORTED."""

    def answer(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, Error) and message.code == ErrorCode.VERSION:
            message = replace(message, code=ErrorCode.UNSUPPORTED)
        super().answer(number, message)


class LooksAtNewestOnly(PlainModule):
    """Compares only the host's newest version."""

    def is_version_shared(self, header: Header, message: Hello) -> bool:
        return message.version_max >> 4 >= 1


class AnswersRefused(PlainModule):
    """Serves a host that it has refused."""

    def is_of_session(self, header: Header) -> bool:
        return self.session is not None and header.nonce == self.session.nonce


class AnswersRefusedHeartbeats(PlainModule):
    """Answers Heartbeats of a host that it has refused."""

    def is_of_session(self, header: Header) -> bool:
        same = self.session is not None and header.nonce == self.session.nonce
        return super().is_of_session(header) or (same and header.type == MessageType.HEARTBEAT)


class RefusesForEver(PlainModule):
    """Never opens a session for a host that it has refused once."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        same = self.session is not None and header.nonce == self.session.nonce
        if not (same and self.is_refused):
            super().on_hello(header, payload)


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


class DeafInsideFrames(PlainModule):
    """Does not answer Heartbeats while a frame is under way."""

    def on_heartbeat(self, header: Header, message: Heartbeat) -> None:
        self.raise_limits(message)
        if self.readout is None and not self.data:
            self.send_control(self.heartbeat_reply(), header.frame)


class AnswersRaisedLimits(PlainModule):
    """Answers only a Heartbeat that raises a limit."""

    def on_heartbeat(self, header: Header, message: Heartbeat) -> None:
        before = list(self.limits)
        self.raise_limits(message)
        if self.limits != before:
            self.send_control(self.heartbeat_reply(), header.frame)


class _OtherCounts(PlainModule):
    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        return reply

    def heartbeat_reply(self) -> HeartbeatReply:
        return self.change(super().heartbeat_reply())


class BegunIsANumber(_OtherCounts):
    """States the newest frame's number instead of the number plus 1."""

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        preview, still, roi = (max(0, each - 1) for each in reply.begun)
        return replace(reply, begun=(preview, still, roi))


class BegunOfBoth(_OtherCounts):
    """States the newest frame of any stream for each stream."""

    def change(self, reply: HeartbeatReply) -> HeartbeatReply:
        newest = max(reply.begun)
        return replace(reply, begun=(newest, newest, newest))


class CountsFirstTimeOnly(PlainModule):
    """Does not count tiles that are sent again."""

    def count_tile(self, item: Item) -> None:
        if not item.flags:
            super().count_tile(item)


class CountsPerCapture(PlainModule):
    """Counts bytes from the beginning of each capture."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        super().on_start(number, message, count, interval_us)
        self.sent = [0] * MAX_STREAMS


class CountsHeaders(PlainModule):
    """Counts the headers of tiles too."""

    def count_tile(self, item: Item) -> None:
        super().count_tile(item)
        self.sent[item.stream] += 40


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-HELLO-1": (
        HelloOnce,
        HelloStartsAnew,
        HelloUnderOwnNonce,
    ),
    "M-HELLO-2": (
        StatesAllLanes,
        StatesOwnCapabilities,
        StatesNewestVersion,
        AlwaysLogs,
    ),
    "M-HELLO-3": (
        KeepsConfiguration,
        KeepsStreaming,
        KeepsCredits,
        KeepsAnswers,
        KeepsCounts,
    ),
    "M-HELLO-4": (
        AnswersDetached,
        StaysDetached,
    ),
    "M-HELLO-5": (
        SilentToOtherVersions,
        AcceptsOtherVersions,
        RefusesAsUnsupported,
        LooksAtNewestOnly,
    ),
    "M-HELLO-6": (
        AnswersRefused,
        AnswersRefusedHeartbeats,
        RefusesForEver,
    ),
    "M-CLOSE-1": (
        StreamsAfterClose,
        AnswersAfterClose,
        CloseKeepsConfiguration,
    ),
    "M-CLOSE-2": (
        NoFarewell,
        WrongFarewell,
    ),
    "M-LIVE-1": (
        DeafInsideFrames,
        AnswersRaisedLimits,
    ),
    "M-LIVE-2": (
        BegunIsANumber,
        BegunOfBoth,
        CountsFirstTimeOnly,
        CountsPerCapture,
        CountsHeaders,
    ),
}
"""The broken modules of each clause."""
