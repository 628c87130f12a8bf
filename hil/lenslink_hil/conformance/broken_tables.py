"""Modules that overlook a row of SPEC.md's normative tables.

Each class is the plain module with one rule wrong. Its docstring says which.
"""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import (
    Capability,
    ErrorCode,
    MessageType,
    Outcome,
)
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Configured,
    Error,
    FrameStart,
    Header,
    Hello,
    Malformed,
    Query,
    Resend,
)

from .broken_frames import OtherPlan, OtherStart
from .plain_module import (
    HEIGHT,
    WIDTH,
    Frame,
    Item,
    PlainModule,
    Rectangle,
)


class ReservedIsSet(PlainModule):
    """Sets a reserved field of Accepted."""

    def emit(self, item: Item) -> None:
        if item.kind == MessageType.ACCEPTED:
            item = replace(item, payload=item.payload[:3] + b"\x01" + item.payload[4:])
        super().emit(item)


class FlagsMustBeKnown(PlainModule):
    """Rejects a header with flags that it does not know."""

    def is_header_sound(self, header: Header) -> bool:
        return super().is_header_sound(header) and header.flags & ~1 == 0


class ReservedMustBeZero(PlainModule):
    """Refuses a Capture whose reserved field is not 0."""

    def decode(self, kind: int, payload: bytes) -> AnyMessage:
        if kind == MessageType.CAPTURE and payload[3:4] != b"\0":
            raise Malformed("a reserved field is not 0")
        return super().decode(kind, payload)


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


class OneRowATile(OtherPlan):
    """Sends one row a tile, however long a tile may be."""

    def change(self, plan: Configured) -> Configured:
        return replace(plan, tile_bytes=min(plan.stride, plan.tile_bytes))


class WhiteOfSixteenBits(OtherStart):
    """States a white level beyond its bits."""

    def change(self, start: FrameStart) -> FrameStart:
        return replace(start, white=65535)


class OtherPhase(OtherStart):
    """States another colour phase than its pixel format has."""

    def change(self, start: FrameStart) -> FrameStart:
        return replace(start, cfa=3)


class ReadsTooManyRectangles(PlainModule):
    """Answers a Resend that announces more rectangles than it has, or than are allowed."""

    def is_resend_sound(self, message: Resend) -> bool:
        del message
        return True


class OutsideIsGone(PlainModule):
    """Names rectangles outside the frame as gone."""

    def gone_of(self, frame: Frame, rectangles: list[Rectangle]) -> list[Rectangle]:
        outside = [each for each in rectangles if each[1] >= HEIGHT or each[0] >= WIDTH]
        return super().gone_of(frame, rectangles) + outside


class ResentFirst(PlainModule):
    """Sends Resent before the tiles that it speaks of."""

    def on_resend(self, header: Header, message: Resend) -> None:
        count = len(self.data)
        super().on_resend(header, message)
        front = self.data[: len(self.data) - count]
        resent = [each for each in front if each.kind == MessageType.RESENT]
        rest = [each for each in front if each.kind != MessageType.RESENT]
        self.data[: len(front)] = resent + rest


class FlagsEverything(PlainModule):
    """Sets the flag RESENT in FrameStart and FrameEnd too."""

    def on_resend(self, header: Header, message: Resend) -> None:
        count = len(self.data)
        super().on_resend(header, message)
        for each in self.data[: len(self.data) - count]:
            each.flags = 1


class SendsPerRectangle(PlainModule):
    """Sends a tile again for each rectangle that meets it."""

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        found: list[Item] = []
        for each in rectangles:
            found += super().tiles_again(frame, [each])
        return found


class SettingsOfRefused(PlainModule):
    """Keeps the settings of a Capture that it refuses."""

    def execute(self, number: int, message: AnyMessage) -> None:
        if isinstance(message, Capture) and message.stream < len(self.streams):
            settings = self.read_list(message.settings, message.count)
            self.take_settings(self.streams[message.stream], settings)
        super().execute(number, message)


class AcceptedAfterStart(PlainModule):
    """Answers Capture behind the first FrameStart."""

    def answer(self, number: int, message: AnyMessage) -> None:
        if not isinstance(message, Accepted):
            super().answer(number, message)
            return
        while self.readout is None:
            self.time += 0.001
            self.begin_frame()
        self.send_data()
        super().answer(number, message)


class LanesOfZero(PlainModule):
    """States 0 for lanes that the session does not have."""

    def last_sequences(self) -> list[int]:
        found = super().last_sequences()
        return [*found[: self.used_lanes], *[0] * (4 - self.used_lanes)]


class RefusedIsNoRequest(PlainModule):
    """Does not count a refused request as the last one."""

    def answer(self, number: int, message: AnyMessage) -> None:
        super().answer(number, message)
        if isinstance(message, Error) and self.session is not None:
            self.session.last_request = self.previous_request


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


class ResendsWithoutCapability(PlainModule):
    """Answers Resend in a session without RESEND."""

    def on_resend(self, header: Header, message: Resend) -> None:
        self.used_capabilities |= Capability.RESEND
        super().on_resend(header, message)


class UnknownUsesId(PlainModule):
    """Takes the id of an unknown type for the newest request."""

    def send_control(self, message: AnyMessage, number: int = 0) -> None:
        super().send_control(message, number)
        is_unknown = isinstance(message, Error) and message.code == ErrorCode.UNKNOWN_REQUEST
        if is_unknown and self.session is not None:
            self.session.last_request = number


class GapsAreUnknown(PlainModule):
    """Says UNKNOWN of an id that was left out."""

    def outcome_of(self, message: Query) -> Outcome:
        session = self.session
        is_gap = session is not None and message.request < session.last_request
        if is_gap and session is not None and message.request not in session.outcomes:
            return Outcome.UNKNOWN
        return super().outcome_of(message)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-HELLO-2": (ResendsWithoutCapability,),
    "M-REQ-4": (UnknownUsesId,),
    "M-QUERY-1": (GapsAreUnknown,),
    "M-FRAME-1": (ReservedIsSet,),
    "M-GROW-2": (
        FlagsMustBeKnown,
        ReservedMustBeZero,
    ),
    "M-HELLO-3": (RefusedHelloChangesNothing,),
    "M-CLOSE-1": (
        NumbersPerSession,
        SettingsOverSessions,
    ),
    "M-STATE-1": (SettingsOfRefused,),
    "M-STATE-3": (OneRowATile,),
    "M-STOP-2": (RefusedIsNoRequest,),
    "M-CAM-1": (AcceptedAfterStart,),
    "M-CAM-2": (
        WhiteOfSixteenBits,
        OtherPhase,
    ),
    "M-RESEND-1": (
        ReadsTooManyRectangles,
        OutsideIsGone,
        ResentFirst,
    ),
    "M-RESEND-2": (
        FlagsEverything,
        SendsPerRectangle,
    ),
    "M-LANE-1": (LanesOfZero,),
}
"""The broken modules of each clause."""
