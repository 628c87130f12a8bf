"""Modules that break a clause in one field, one direction or one moment only.

Classes of :data:`CLASSES` are plain modules that override one rule. Those of :data:`LINES` are
defects on the line of the firmware's module.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lenslink_protocol.ids import ErrorCode, MessageType, TestAction
from lenslink_protocol.messages import (
    BY_TYPE,
    Accepted,
    Close,
    Configure,
    Configured,
    Error,
    Header,
    Heartbeat,
    HeartbeatReply,
    Log,
    Malformed,
    Test,
)
from lenslink_protocol.packings import Packing

from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper
from .plain_module import WIDTH, Frame, PlainModule, Rectangle, Stream


class TakesLowerLimits(PlainModule):
    """Takes the newest limit, also if it is lower than one before."""

    def raise_limits(self, message: Heartbeat) -> None:
        self.limits = list(message.limit)


class LimitsOf32Bits(PlainModule):
    """Keeps the low 32 bits of a limit."""

    def raise_limits(self, message: Heartbeat) -> None:
        preview, still, roi = (each & 0xFFFFFFFF for each in message.limit)
        super().raise_limits(Heartbeat((preview, still, roi), 0))


class AnswersOneOfMany(PlainModule):
    """Answers one of the Heartbeats that arrive together."""

    _answered = -1.0

    def on_heartbeat(self, header: Header, message: Heartbeat) -> None:
        if self.time == self._answered:
            self.raise_limits(message)
            return
        self._answered = self.time
        super().on_heartbeat(header, message)


class HidesSchemes(PlainModule):
    """Does not list its authentication scheme."""

    def list_schemes(self) -> list[int]:
        return []


class ListsASchemeTooMany(PlainModule):
    """Lists a scheme that it does not have."""

    def list_schemes(self) -> list[int]:
        return [*super().list_schemes(), 0x8002]


class StatesFourLanes(Defect):
    """States four lanes in each FrameEnd."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_end = packet.kind == MessageType.FRAME_END
        return [edit_message(packet, lanes=4) if is_end else data]


class ResentOfNoStream(Defect):
    """Sends Resent with stream 0 in its header."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(stream=0) if packet.kind == MessageType.RESENT else data]


class SwapsSides(Defect):
    """States the height of the still's mode as its width."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.CONFIGURED else None
        if not isinstance(message, Configured) or message.stream == 0:
            return [data]
        return [edit_message(packet, width=message.height, height=message.width)]


class ActionOutlivesSession(Defect):
    """Closes the next session with the action of the one before."""

    def __init__(self) -> None:
        self._is_armed = False
        self._nonce = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.TEST else None
        if isinstance(message, Test) and message.action == TestAction.DETACH:
            self._is_armed, self._nonce = True, packet.header.nonce
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_next = self._is_armed and packet.header.nonce != self._nonce
        if not is_next or packet.kind != MessageType.ACCEPTED:
            return [data]
        self._is_armed = False
        return [data, packet.encode(type=MessageType.CLOSE, payload=Close(1).encode(), frame=0)]


class LogsTroubles(Defect):
    """Sends a line of its log about each refusal, whatever the session has."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.ERROR:
            return [data]
        line = Log(3, 0, b"refused").encode()
        return [data, packet.encode(type=MessageType.LOG, payload=line, frame=0)]


class AnswersTwoAfterBusy(Defect):
    """Answers two of the Heartbeats that came while it was BUSY."""

    def __init__(self) -> None:
        self._left = -1

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.BUSY:
            self._left = 2
        elif packet.kind == MessageType.HEARTBEAT_REPLY and self._left >= 0:
            self._left = max(0, self._left - 1)
            return [data] if self._left else []
        return [data]


class SecondPendingOfNobody(Defect):
    """Sends each Pending but the first one under id 0."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == MessageType.PENDING
        is_later = packet.kind == MessageType.PENDING and self._count > 1
        return [packet.encode(frame=0) if is_later else data]


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


class MalformedIsForgotten(PlainModule):
    """Does not remember a request that was malformed."""

    def on_request(self, header: Header, payload: bytes) -> None:
        try:
            if header.type in BY_TYPE and header.type != MessageType.TILE:
                self.decode(header.type, payload)
        except Malformed:
            self.send_control(Error(ErrorCode.MALFORMED, b""), header.frame)
            return
        super().on_request(header, payload)


class AcceptedIsDone(PlainModule):
    """Calls a Capture done that never began a frame."""

    def has_begun(self, stream: Stream) -> bool:
        return True


class LastPartTooWide(PlainModule):
    """Gives the last part of each row the width of the others."""

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        found = super().rectangles_to_read(plan)
        widest = max(width for _, _, width, _ in found)
        return [(x, y, widest, height) for x, y, _, height in found]

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        x, y, width, height = rectangle
        inside = super().pack_tile(frame, (x, y, min(width, WIDTH - x), height))
        return inside.ljust(self.packing_of(frame).count_bytes(width) * height, b"\0")


class ForgetsMaxPayload(PlainModule):
    """Looks at the host's max_payload only if Configure has no limit."""

    def plan_of(self, message: Configure) -> Configured:
        most = self.max_payload
        if message.tile_bytes:
            self.max_payload = 1 << 22
        plan = super().plan_of(message)
        self.max_payload = most
        return plan


class FlagsStillsOnly(Defect):
    """Sends tiles of the preview again without the flag RESENT."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_preview = packet.kind == MessageType.TILE and packet.header.stream == 0
        return [packet.encode(flags=0) if is_preview else data]


class CountsStillsOnly(Defect):
    """States no bytes of the preview in HeartbeatReply."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT_REPLY else None
        if not isinstance(message, HeartbeatReply):
            return [data]
        return [edit_message(packet, sent=(0, *message.sent[1:]))]


class HighBits(PlainModule):
    """Puts unpacked pixels into the high bits of their words."""

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        data = super().pack_tile(frame, rectangle)
        form = self.packing_of(frame)
        if form.packing != Packing.UNPACKED:
            return data
        words = np.frombuffer(data, "<u2") << (16 - form.depth)
        return words.astype("<u2").tobytes()


class SetsSpareBits(PlainModule):
    """Has 10 bits and 62 columns, so rows end inside a group. Sets the spare bits there."""

    depth = 10

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        data = super().pack_tile(frame, rectangle)
        if self.packing_of(frame).packing != Packing.LSB or rectangle[0] + rectangle[2] < WIDTH:
            return data
        rows = np.frombuffer(data, np.uint8).reshape(rectangle[3], -1).copy()
        rows[:, -1] |= 0xF0
        return rows.tobytes()


class LowBitsOfWholeGroups(SetsSpareBits):
    """Puts the low bits of a cut MIPI group where a whole group has those of its last pixels."""

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        data = PlainModule.pack_tile(self, frame, rectangle)
        if self.packing_of(frame).packing != Packing.MIPI or rectangle[0] + rectangle[2] < WIDTH:
            return data
        rows = np.frombuffer(data, np.uint8).reshape(rectangle[3], -1).copy()
        rows[:, -1] <<= 4
        return rows.tobytes()


class LosesAPixelOfMipi(PlainModule):
    """Shows a scene that stands still, and not the first pixel of it in MIPI formats."""

    def picture(self, number: int) -> NDArray[np.uint16]:
        return super().picture(100)

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        data = super().pack_tile(frame, rectangle)
        if self.packing_of(frame).packing != Packing.MIPI or rectangle[:2] != (0, 0):
            return data
        return b"\0" + data[1:]


class StallsFromTheFirstByte(PlainModule):
    """Gives up a packet that takes longer than STALL_MS from its first byte on."""

    _begun = 0.0

    def send(self, data: bytes, lane: int = 0) -> None:
        if not self.buffer:
            self._begun = self.time
        super().send(data, lane)
        self.last_byte = self._begun


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-CREDIT-1": (TakesLowerLimits, LimitsOf32Bits),
    "M-CAM-3": (LastPartTooWide, ForgetsMaxPayload),
    "M-FRAME-4": (StallsFromTheFirstByte,),
    "M-LIVE-1": (AnswersOneOfMany,),
    "M-PACK-2": (LosesAPixelOfMipi,),
    "M-PACK-3": (HighBits, SetsSpareBits, LowBitsOfWholeGroups),
    "M-REQ-2": (MalformedIsForgotten,),
    "M-QUERY-1": (AcceptedIsDone,),
    "M-CREDIT-2": (AnswersOneOfMany,),
    "M-MANIFEST-2": (HidesSchemes, ListsASchemeTooMany),
}
"""The plain modules that break a clause."""

LINES: dict[str, tuple[type[Tamper], ...]] = {
    "M-CAM-4": (StatesFourLanes,),
    "M-HELLO-2": (LogsTroubles,),
    "M-HELLO-3": (AnswersOldPending,),
    "M-LIVE-1": (AnswersTwoAfterBusy,),
    "M-LIVE-2": (CountsStillsOnly,),
    "M-RESEND-2": (FlagsStillsOnly,),
    "M-REQ-5": (SecondPendingOfNobody,),
    "M-RESEND-1": (ResentOfNoStream,),
    "M-STATE-1": (SwapsSides,),
    "M-TEST-2": (ActionOutlivesSession,),
}
"""The defects on the line of the firmware's module."""
