"""Modules that break a clause on captured frames, FrameStart and FrameEnd (SPEC.md, 6)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import EndStatus, MessageType
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Configure,
    Configured,
    FrameEnd,
    FrameStart,
    Header,
    Resend,
    StartStream,
)

from .broken_steps import OtherStart
from .defects import Defect, edit_message
from .packets import Packet
from .peer_wire import Tamper
from .plain_module import HEIGHT, WIDTH, Exposure, Frame, Item, PlainModule, Rectangle, Stream


class NumbersPerStream(PlainModule):
    """Numbers the frames of each stream for itself."""

    def expose(self, index: int, stream: Stream) -> Exposure:
        counts: dict[int, int] = getattr(self, "counts", {})
        self.counts = counts
        self.next_frame = counts.get(index, 0)
        exposure = super().expose(index, stream)
        counts[index] = exposure.number + 1
        return exposure


class NumbersPerCapture(PlainModule):
    """Numbers the frames of each capture from 0."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        self.next_frame = 0
        super().on_start(number, message, count, interval_us)


class EndBeforeTheLastTile(PlainModule):
    """Sends FrameEnd before the last tile."""

    def end_frame(self, frame: Frame, status: EndStatus) -> None:
        super().end_frame(frame, status)
        if len(self.data) > 1 and self.data[-2].kind == MessageType.TILE:
            self.data[-2:] = [self.data[-1], self.data[-2]]


class TileBeforeStart(PlainModule):
    """Sends the first tile before FrameStart."""

    def read_tiles(self) -> None:
        super().read_tiles()
        for at, item in enumerate(self.data[:-1]):
            after = self.data[at + 1]
            if item.kind == MessageType.FRAME_START and after.kind == MessageType.TILE:
                self.data[at], self.data[at + 1] = after, item
                return


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


class NumberUsedTwice(PlainModule):
    """Gives the number of a frame without tiles to the next frame."""

    def stop(self, index: int) -> None:
        readout = self.readout
        super().stop(index)
        if readout is not None and not readout.sent_tiles:
            self.next_frame = readout.number


class NamesTheLastRequest(OtherStart):
    """Names the last request of the session in FrameStart."""

    def change(self, start: FrameStart) -> FrameStart:
        assert self.session is not None
        return replace(start, request=self.session.last_request)


class StatesOtherHeight(OtherStart):
    """States the sensor's height in FrameStart."""

    def change(self, start: FrameStart) -> FrameStart:
        return replace(start, height=start.height * 2)


class WhiteOfSixteenBits(OtherStart):
    """States a white level beyond its bits."""

    def change(self, start: FrameStart) -> FrameStart:
        return replace(start, white=65535)


class OtherPhase(OtherStart):
    """States another colour phase than its pixel format has."""

    def change(self, start: FrameStart) -> FrameStart:
        return replace(start, cfa=3)


class SendsATileTwice(PlainModule):
    """Sends the first tile of a frame twice."""

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        found = super().rectangles_to_read(plan)
        return [found[0], *found]


class OverTheEdge(PlainModule):
    """Lets the last tile reach beyond the frame."""

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        found = super().rectangles_to_read(plan)
        x, y, width, height = found[-1]
        return [*found[:-1], (x, y + 1, width, height)]

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        x, y, width, height = rectangle
        top = min(y, HEIGHT - height)
        return super().pack_tile(frame, (x, top, width, height))


class LongerThanTaken(PlainModule):
    """Ignores the longest payload that the host takes."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        super().on_hello(header, payload)
        self.max_payload = 1 << 20


class LosesTheLastTile(PlainModule):
    """Leaves the last tile of a frame out, and says OK."""

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        return super().rectangles_to_read(plan)[:-1]


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


class CountsResentTiles(PlainModule):
    """Counts tiles sent again in FrameEnd."""

    def on_resend(self, header: Header, message: Resend) -> None:
        frame = self.frame_of(header.stream, header.frame)
        if frame is not None and frame.end is not None:
            end = FrameEnd.decode(frame.end)
            frame.end = replace(end, tiles=end.tiles + message.count).encode()
        super().on_resend(header, message)


class OldEndAgain(PlainModule):
    """Sends FrameEnd again with the sequences of the first time."""

    def encode(self, item: Item, lane: int) -> bytes:
        ends: dict[int, list[int]] = getattr(self, "ends", {})
        self.ends = ends
        if item.kind != MessageType.FRAME_END:
            return super().encode(item, lane)
        first = ends.setdefault(item.number, self.last_sequences())
        self.is_old, self.old = True, first
        try:
            return super().encode(item, lane)
        finally:
            self.is_old = False

    def last_sequences(self) -> list[int]:
        return self.old if getattr(self, "is_old", False) else super().last_sequences()


class EndCountsItself(PlainModule):
    """States its own sequence in FrameEnd."""

    def last_sequences(self) -> list[int]:
        found = super().last_sequences()
        return [(found[0] + 1) & 0xFFFFFFFF, *found[1:]]


class StatesFourLanes(Defect):
    """States four lanes in each FrameEnd."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_end = packet.kind == MessageType.FRAME_END
        return [edit_message(packet, lanes=4) if is_end else data]


class OneFrameLess(PlainModule):
    """Sends one frame less than a Capture of several asked for."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        super().on_start(number, message, count - 1 if count > 1 else count, interval_us)


class AlwaysOneFrame(PlainModule):
    """Sends one frame whatever a Capture asks for."""

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        super().on_start(number, message, min(count, 1), interval_us)


class CountOfEightBits(PlainModule):
    """Keeps eight bits of the count of a Capture."""

    mask = 0xFF

    def on_start(
        self, number: int, message: Capture | StartStream, count: int, interval_us: int
    ) -> None:
        super().on_start(number, message, count & self.mask if count > 0 else count, interval_us)


class CountOfFifteenBits(CountOfEightBits):
    """Keeps fifteen bits of the count of a Capture."""

    mask = 0x7FFF


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-CAM-1": (
        NumbersPerStream,
        NumbersPerCapture,
        EndBeforeTheLastTile,
        TileBeforeStart,
        AcceptedAfterStart,
        NumberUsedTwice,
    ),
    "M-CAM-2": (NamesTheLastRequest, StatesOtherHeight, WhiteOfSixteenBits, OtherPhase),
    "M-CAM-3": (
        SendsATileTwice,
        OverTheEdge,
        LongerThanTaken,
        LosesTheLastTile,
        LastPartTooWide,
        ForgetsMaxPayload,
    ),
    "M-CAM-4": (CountsResentTiles, OldEndAgain, EndCountsItself),
    "M-CAM-5": (OneFrameLess, AlwaysOneFrame, CountOfEightBits, CountOfFifteenBits),
}
"""The plain modules that break a clause."""

LINES: dict[str, tuple[type[Tamper], ...]] = {
    "M-CAM-4": (StatesFourLanes,),
}
"""The defects on the line of the firmware's module, by clause."""
