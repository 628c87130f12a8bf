"""Modules that break a clause on Hello, and what a new session begins with (SPEC.md, 3.1)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import Capability, ErrorCode, MessageType
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Error,
    Event,
    Header,
    Hello,
    HelloReply,
    Log,
    Resend,
)

from .defects import Defect
from .host_peer import ROI
from .packets import Packet
from .peer_wire import Tamper
from .plain_module import Item, PlainModule, State, Stream


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


class HelloForgetsAnswers(PlainModule):
    """Forgets the kept answers with a repeated Hello."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        if self.session is not None and self.session.nonce == header.nonce:
            self.answers.clear()
        super().on_hello(header, payload)


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


class ResendsWithoutCapability(PlainModule):
    """Answers Resend in a session without RESEND."""

    def on_resend(self, header: Header, message: Resend) -> None:
        self.used_capabilities |= Capability.RESEND
        super().on_resend(header, message)


class LogsTroubles(Defect):
    """Sends a line of its log about each refusal, whatever the session has."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.ERROR:
            return [data]
        line = Log(3, 0, b"refused").encode()
        return [data, packet.encode(type=MessageType.LOG, payload=line, frame=0)]


class EventsWithLog(Defect):
    """Sends an Event in a session that has LOG."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HELLO_REPLY else None
        if not isinstance(message, HelloReply) or not message.capabilities & Capability.LOG:
            return [data]
        event = Event(1, 0, 0, 0, 0).encode()
        sequence = packet.header.sequence + 1
        return [data, packet.encode(type=0x1E, payload=event, sequence=sequence, frame=0)]


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


class RoiStaysConfigured(PlainModule):
    """Keeps the configuration of the region of interest if a Hello ends its session."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        roi = self.streams[ROI]
        is_next = self.session is not None and header.nonce != self.session.nonce
        super().on_hello(header, payload)
        if is_next and roi.plan is not None:
            self.streams[ROI] = Stream(State.CONFIGURED, roi.plan)


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


class RefusedHelloChangesNothing(PlainModule):
    """Goes on with its session when it refuses a Hello of another host."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        message = Hello.decode(payload)
        other = self.session is not None and header.nonce != self.session.nonce
        if other and not self.is_version_shared(header, message):
            refusal = Error(ErrorCode.VERSION, b"").encode()
            packet = encode_packet(
                MessageType.ERROR, refusal, nonce=header.nonce, sequence=0, frame=header.frame
            )
            self.put(0, packet)
            return
        super().on_hello(header, payload)


class AnswersOldPending(Defect):
    """Answers a request of the session before that was pending."""

    def __init__(self) -> None:
        self._pending: Packet | None = None

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.PENDING:
            self._pending = packet
        before = self._pending
        is_next = packet.kind == MessageType.HELLO_REPLY and before is not None
        if not is_next or before is None or before.header.nonce == packet.header.nonce:
            return [data]
        return [data, before.encode(type=MessageType.ACCEPTED, payload=Accepted(0, 0).encode())]


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


class EmptyRangeIsMalformed(PlainModule):
    """Does not answer a Hello whose oldest version is newer than its newest."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        message = Hello.decode(payload)
        if message.version_min <= message.version_max:
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


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-HELLO-1": (HelloOnce, HelloStartsAnew, HelloUnderOwnNonce, HelloForgetsAnswers),
    "M-HELLO-2": (
        StatesAllLanes,
        StatesOwnCapabilities,
        StatesNewestVersion,
        AlwaysLogs,
        ResendsWithoutCapability,
    ),
    "M-HELLO-3": (
        KeepsConfiguration,
        RoiStaysConfigured,
        KeepsStreaming,
        KeepsCredits,
        KeepsAnswers,
        KeepsCounts,
        RefusedHelloChangesNothing,
    ),
    "M-HELLO-4": (AnswersDetached, StaysDetached),
    "M-HELLO-5": (
        SilentToOtherVersions,
        EmptyRangeIsMalformed,
        AcceptsOtherVersions,
        RefusesAsUnsupported,
        LooksAtNewestOnly,
    ),
    "M-HELLO-6": (AnswersRefused, AnswersRefusedHeartbeats, RefusesForEver),
    "M-REQ-2": (HelloForgetsAnswers,),
}
"""The plain modules that break a clause."""

LINES: dict[str, tuple[type[Tamper], ...]] = {
    "M-HELLO-2": (LogsTroubles, EventsWithLog),
    "M-HELLO-3": (AnswersOldPending,),
}
"""The defects on the line of the firmware's module, by clause."""
