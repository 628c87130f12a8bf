"""Modules that keep a rule for one stream, session, lane or message, and not for its sibling.

Classes of :data:`CLASSES` are plain modules that override one rule. Those of :data:`LINES` are
defects on the line of the firmware's module.
"""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import (
    Capability,
    ConfigureFlag,
    EndStatus,
    FrameFlag,
    MessageType,
    ResendFlag,
    TestAction,
)
from lenslink_protocol.messages import (
    BY_TYPE,
    Accepted,
    AnyMessage,
    Busy,
    Capture,
    Close,
    Configure,
    Configured,
    Event,
    FrameEnd,
    GetManifest,
    Header,
    HelloReply,
    Resend,
    StartStream,
    Stop,
    Test,
)
from lenslink_protocol.packings import Layout

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper
from .plain_module import HEIGHT, WIDTH, Frame, Item, PlainModule, Rectangle, State, Stream

_MASK = 0xFFFFFFFF
_STILL = 1


class UncountedBesideTiles(PlainModule):
    """Does not count a HeartbeatReply while tiles wait."""

    def encode(self, item: Item, lane: int) -> bytes:
        before = self.sequences[lane]
        data = super().encode(item, lane)
        if item.kind == MessageType.HEARTBEAT_REPLY and self.data:
            self.sequences[lane] = before
        return data


class LanesCountOn(PlainModule):
    """Counts other lanes than 0 on over sessions."""

    def reset_session(self) -> None:
        before = getattr(self, "sequences", [0] * self.lanes)
        super().reset_session()
        self.sequences[1:] = before[1:]


class SearchesTheEnd(PlainModule):
    """Searches the last 256 bytes of a payload whose CRC fails."""

    def on_damaged_payload(self, header: Header) -> None:
        super().on_damaged_payload(header)
        del self.buffer[: max(0, header.length - 256)]


class ClosedByThePast(PlainModule):
    """Obeys a Close of the session before."""

    def on_packet(self, header: Header, payload: bytes) -> None:
        is_past = bool(self.past) and header.nonce == self.past[0].nonce
        if header.type == MessageType.CLOSE and is_past:
            self.end_session()
        super().on_packet(header, payload)


class GrantedByThePast(PlainModule):
    """Takes the limits of a Heartbeat of any session."""

    def on_packet(self, header: Header, payload: bytes) -> None:
        if header.type == MessageType.HEARTBEAT and not self.is_of_session(header):
            message = self.decode(header.type, payload)
            self.raise_limits(message)  # type: ignore[arg-type]
        super().on_packet(header, payload)


class _ReadsListsAtKnownPlace(PlainModule):
    kinds: tuple[int, ...] = ()

    def decode(self, kind: int, payload: bytes) -> AnyMessage:
        if kind in self.kinds and len(payload) >= 2:
            payload = BY_TYPE[kind].FIXED.size.to_bytes(2, "little") + payload[2:]
        return super().decode(kind, payload)


class ChangesAtKnownPlace(_ReadsListsAtKnownPlace):
    """Reads the list of SetSettings behind the fixed part that this version knows."""

    kinds = (MessageType.SET_SETTINGS,)


class StartsAtKnownPlace(_ReadsListsAtKnownPlace):
    """Reads the lists of Capture and StartStream there."""

    kinds = (MessageType.CAPTURE, MessageType.STREAM)


class HelloForgetsAnswers(PlainModule):
    """Forgets the kept answers with a repeated Hello."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        if self.session is not None and self.session.nonce == header.nonce:
            self.answers.clear()
        super().on_hello(header, payload)


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


class HighTypesUseIds(PlainModule):
    """Takes the number of an unknown type from 0x80 for the newest id."""

    def on_request(self, header: Header, payload: bytes) -> None:
        super().on_request(header, payload)
        if header.type >= 0x80 and self.session is not None:
            self.session.last_request = header.frame


class LimitHidesFormat(PlainModule):
    """Says ADJUSTED of a pixel format only if Configure has no limit of tiles."""

    def plan_of(self, message: Configure) -> Configured:
        plan = super().plan_of(message)
        is_kept = message.tile_bytes == plan.tile_bytes
        return replace(plan, flags=plan.flags & ~ConfigureFlag.ADJUSTED) if is_kept else plan


class StillStopsEarly(PlainModule):
    """Answers Stop of the still before its FrameEnd."""

    def on_stop(self, number: int, message: Stop) -> None:
        if message.stream == _STILL:
            self.answer(number, Accepted(message.stream, self.next_frame))
            self.stop(message.stream)
        else:
            super().on_stop(number, message)


class LastSingleLasts(PlainModule):
    """Keeps the setting of the last frame of a Capture."""

    def choose_values(self, stream: Stream) -> tuple[dict[int, int], int]:
        found = super().choose_values(stream)
        if stream.unexposed == 1:
            for (control, frame), value in stream.single.items():
                if frame == stream.begun:
                    stream.values[control] = value
        return found


class AdjustedSticks(PlainModule):
    """Says ADJUSTED of each frame behind one whose value was out of range."""

    _adjusted = -1

    def choose_values(self, stream: Stream) -> tuple[dict[int, int], int]:
        values, flags = super().choose_values(stream)
        if flags & FrameFlag.ADJUSTED:
            self._adjusted = stream.request
        is_sticky = self._adjusted == stream.request
        return values, flags | (FrameFlag.ADJUSTED if is_sticky else 0)


class PreviewGivesWay(PlainModule):
    """Lets frames of the still between those of a Capture of the preview."""

    def next_stream(self) -> int | None:
        due = [
            index
            for index in (1, 0)
            if self.streams[index].state is State.STREAMING
            and self.streams[index].unexposed
            and self.time >= self.streams[index].next_start
        ]
        return next(iter(due), None)


class ResentsNeedOneByte(PlainModule):
    """Sends a tile again if any credit is left."""

    def has_credit(self, item: Item) -> bool:
        if item.flags & 1:
            return self.sent[item.stream] < self.limits[item.stream]
        return super().has_credit(item)


class _DeafBesideAStill(PlainModule):
    kinds: tuple[type[AnyMessage], ...] = ()

    def execute(self, number: int, message: AnyMessage) -> None:
        is_waiting = any(each.stream == _STILL and each.kind == MessageType.TILE
                         for each in self.data)  # fmt: skip
        if not (is_waiting and isinstance(message, self.kinds)):
            super().execute(number, message)


class NoManifestBesideAStill(_DeafBesideAStill):
    """Does not answer GetManifest while a frame of the still waits."""

    kinds = (GetManifest,)


class NoStartBesideAStill(_DeafBesideAStill):
    """Does not answer Capture and StartStream while a frame of the still waits."""

    kinds = (Capture, StartStream)


class NewestPixels(PlainModule):
    """Sends a tile again with the pixels of the newest frame."""

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        newest = [each for each in self.frames if each.stream == frame.stream][-1]
        return [
            replace(each, payload=self.pack_tile(newest, each.rectangle))
            for each in super().tiles_again(frame, rectangles)
        ]


class EndsOnDemand(PlainModule):
    """Sends FrameEnd of a frame under way if END asks for it."""

    def on_resend(self, header: Header, message: Resend) -> None:
        super().on_resend(header, message)
        frame = self.frame_of(header.stream, header.frame)
        if frame is not None and frame.end is None and message.flags & ResendFlag.END:
            end = FrameEnd(EndStatus.OK, self.used_lanes, 0, 1000, (0, 0, 0, 0), 0).encode()
            self.emit(Item(MessageType.FRAME_END, end, frame.number, frame.stream))


class LanesOfThisFrame(PlainModule):
    """States in FrameEnd only lanes that a tile of the frame went by. Has tiles of whole frames."""

    _used: set[int] = set()  # noqa: RUF012

    def chosen_tile_bytes(self, message: Configure, form: Layout) -> int:
        whole = form.count_bytes(WIDTH) * HEIGHT
        is_whole = message.tile_bytes >= whole
        return whole if is_whole else super().chosen_tile_bytes(message, form)

    def emit(self, item: Item) -> None:
        if item.kind == MessageType.FRAME_START:
            self._used = {0}
        super().emit(item)

    def encode(self, item: Item, lane: int) -> bytes:
        if item.kind == MessageType.TILE:
            self._used = self._used | {lane}
        return super().encode(item, lane)

    def last_sequences(self) -> list[int]:
        found = super().last_sequences()
        return [each if lane in self._used else _MASK for lane, each in enumerate(found)]


class DeadLaneInTurn(PlainModule):
    """Goes on to give every second tile to a lane that has ended."""

    def lane_of(self, item: Item) -> int:
        if item.kind != MessageType.TILE:
            return 0
        return next(self.turn) % self.used_lanes


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


class EventsWithLog(Defect):
    """Sends an Event in a session that has LOG."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HELLO_REPLY else None
        if not isinstance(message, HelloReply) or not message.capabilities & Capability.LOG:
            return [data]
        event = Event(1, 0, 0, 0, 0).encode()
        sequence = packet.header.sequence + 1
        return [data, packet.encode(type=0x1E, payload=event, sequence=sequence, frame=0)]


class _EndsEarly(Defect):
    """Ends an action after 85 % of its time."""

    action: int = TestAction.BUSY

    def __init__(self) -> None:
        self._ms = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.TEST else None
        if not isinstance(message, Test) or message.action != self.action:
            return [data]
        self._ms = message.ms
        return [edit_message(packet, ms=message.ms * 85 // 100)]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_busy = packet.kind == MessageType.BUSY and isinstance(packet.message(), Busy)
        return [edit_message(packet, lease_ms=self._ms) if is_busy else data]


class BusyEndsEarly(_EndsEarly):
    """Is silent for 85 % of the time of BUSY."""


class StallEndsEarly(_EndsEarly):
    """Stalls for 85 % of the time of STALL."""

    action = TestAction.STALL


class PendingEndsEarly(_EndsEarly):
    """Answers after 85 % of the time of PENDING."""

    action = TestAction.PENDING


class DetachesEarly(_EndsEarly):
    """Closes after 85 % of the time of DETACH."""

    action = TestAction.DETACH


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-FRAME-1": (UncountedBesideTiles, LanesCountOn),
    "M-FRAME-3": (SearchesTheEnd,),
    "M-FRAME-5": (ClosedByThePast, GrantedByThePast),
    "M-GROW-1": (ChangesAtKnownPlace, StartsAtKnownPlace),
    "M-HELLO-1": (HelloForgetsAnswers,),
    "M-CLOSE-1": (KnownReasonsOnly, NumbersPerConnection),
    "M-REQ-2": (HelloForgetsAnswers,),
    "M-REQ-4": (HighTypesUseIds,),
    "M-STATE-3": (LimitHidesFormat,),
    "M-STOP-1": (StillStopsEarly,),
    "M-CREDIT-1": (ResentsNeedOneByte,),
    "M-CREDIT-2": (NoManifestBesideAStill, NoStartBesideAStill),
    "M-SET-3": (LastSingleLasts,),
    "M-SET-4": (AdjustedSticks,),
    "M-SET-5": (PreviewGivesWay,),
    "M-RESEND-2": (NewestPixels,),
    "M-RESEND-3": (EndsOnDemand,),
    "M-LANE-1": (LanesCountOn, LanesOfThisFrame),
    "M-LANE-2": (DeadLaneInTurn,),
}
"""The plain modules that break a clause."""

LINES: dict[str, tuple[type[Tamper], ...]] = {
    "M-HELLO-2": (EventsWithLog,),
    "M-CLOSE-2": (EndsFramesAfterClose,),
    "M-TEST-2": (
        EndsFramesAfterClose,
        BusyEndsEarly,
        StallEndsEarly,
        PendingEndsEarly,
        DetachesEarly,
    ),
}
"""The defects on the line of the firmware's module."""
