"""Modules that break a clause on Resend and Resent (SPEC.md, 6.1)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import EndStatus, FrameState, MessageType, ResendFlag
from lenslink_protocol.messages import FrameEnd, FrameStart, Header, Resend
from lenslink_protocol.params import MAX_RANGES, MAX_STREAMS

from .defects import Defect
from .packets import Packet
from .peer_wire import Tamper
from .plain_module import HEIGHT, WIDTH, Frame, Item, PlainModule, Rectangle


class ExactTilesOnly(PlainModule):
    """Sends again only rectangles that are exactly a tile."""

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        return super().tiles_again(frame, [each for each in rectangles if each in frame.held])


class SixteenRectangles(PlainModule):
    """Reads at most sixteen rectangles."""

    def rectangles_of(self, message: Resend) -> list[Rectangle]:
        return super().rectangles_of(message)[:16]


class OneRectangleLess(PlainModule):
    """Ignores the last of MAX_RANGES rectangles."""

    def rectangles_of(self, message: Resend) -> list[Rectangle]:
        return super().rectangles_of(message)[: MAX_RANGES - 1]


class StillsOnly(PlainModule):
    """Sends nothing of the preview again."""

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        return super().tiles_again(frame, rectangles) if frame.stream == 1 else []


class NothingIsGone(PlainModule):
    """Does not say what it no longer holds."""

    tiles_kept = 8

    def gone_of(self, frame: Frame, rectangles: list[Rectangle]) -> list[Rectangle]:
        del frame, rectangles
        return []


class FirstRectangleOnly(PlainModule):
    """Answers only the first rectangle."""

    def rectangles_of(self, message: Resend) -> list[Rectangle]:
        return super().rectangles_of(message)[:1]


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


class NamesGoneTwice(PlainModule):
    """Names a gone tile once for each rectangle that meets it."""

    def gone_of(self, frame: Frame, rectangles: list[Rectangle]) -> list[Rectangle]:
        found: list[Rectangle] = []
        for each in rectangles:
            found += super().gone_of(frame, [each])
        return found[:MAX_RANGES]


class EightGoneTiles(PlainModule):
    """Names at most eight gone tiles."""

    def gone_of(self, frame: Frame, rectangles: list[Rectangle]) -> list[Rectangle]:
        return super().gone_of(frame, rectangles)[:8]


class EdgesOfSixteenBits(PlainModule):
    """Computes the right and lower edge of a rectangle modulo 2^16."""

    def rectangles_of(self, message: Resend) -> list[Rectangle]:
        return [
            (x, y, max(0, (x + width & 0xFFFF) - x), max(0, (y + height & 0xFFFF) - y))
            for x, y, width, height in super().rectangles_of(message)
        ]


class ResentFirst(PlainModule):
    """Sends Resent before the tiles that it speaks of."""

    def on_resend(self, header: Header, message: Resend) -> None:
        count = len(self.data)
        super().on_resend(header, message)
        front = self.data[: len(self.data) - count]
        resent = [each for each in front if each.kind == MessageType.RESENT]
        rest = [each for each in front if each.kind != MessageType.RESENT]
        self.data[: len(front)] = resent + rest


class ResentOfNoStream(Defect):
    """Sends Resent with stream 0 in its header."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(stream=0) if packet.kind == MessageType.RESENT else data]


class FlushForgetsFrames(PlainModule):
    """Forgets with a Flush what it holds for Resend."""

    def on_flush(self, number: int) -> None:
        super().on_flush(number)
        self.frames.clear()


class ResentWithoutFlag(PlainModule):
    """Sends tiles again without the flag RESENT."""

    def encode(self, item: Item, lane: int) -> bytes:
        return super().encode(replace(item, flags=0), lane)


class ResendsNewPixels(PlainModule):
    """Reads the sensor again for a tile that is sent again."""

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        frame.pixels = frame.pixels + 1
        found = super().tiles_again(frame, rectangles)
        return [replace(each, payload=self.pack_tile(frame, each.rectangle)) for each in found]


class ResendsShifted(PlainModule):
    """Sends the bytes of the tile before, for a tile that is sent again."""

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        found = super().tiles_again(frame, rectangles)
        payloads = list(frame.held.values())
        return [replace(each, payload=payloads[0]) for each in found]


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


class FlagsStillsOnly(Defect):
    """Sends tiles of the preview again without the flag RESENT."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        is_preview = packet.kind == MessageType.TILE and packet.header.stream == 0
        return [packet.encode(flags=0) if is_preview else data]


class NewestPixels(PlainModule):
    """Sends a tile again with the pixels of the newest frame."""

    def tiles_again(self, frame: Frame, rectangles: list[Rectangle]) -> list[Item]:
        newest = [each for each in self.frames if each.stream == frame.stream][-1]
        return [
            replace(each, payload=self.pack_tile(newest, each.rectangle))
            for each in super().tiles_again(frame, rectangles)
        ]


class FlagsEndedFramesOnly(PlainModule):
    """Sends tiles of a frame that is under way again without the flag RESENT."""

    def encode(self, item: Item, lane: int) -> bytes:
        frame = self.frame_of(item.stream, item.number)
        if item.kind == MessageType.TILE and frame is not None and self.waits_for_end(frame):
            item = replace(item, flags=0)
        return super().encode(item, lane)

    def waits_for_end(self, frame: Frame) -> bool:
        """Return True if FrameEnd of a frame was not sent yet."""
        waiting = (each.number for each in self.data if each.kind == MessageType.FRAME_END)
        return frame.end is None or frame.number in waiting


class StartOfTheNewestRequest(PlainModule):
    """Names the newest request in a FrameStart that is sent again."""

    def on_resend(self, header: Header, message: Resend) -> None:
        frame = self.frame_of(header.stream, header.frame)
        if frame is not None and self.session is not None:
            start = FrameStart.decode(frame.start)
            frame.start = replace(start, request=self.session.last_request).encode()
        super().on_resend(header, message)


class EnergyOfTheNewestFrame(PlainModule):
    """States other energy in a FrameEnd that is sent again."""

    def on_resend(self, header: Header, message: Resend) -> None:
        frame = self.frame_of(header.stream, header.frame)
        if frame is not None and frame.end is not None:
            frame.end = replace(FrameEnd.decode(frame.end), energy_uj=0).encode()
        super().on_resend(header, message)


class FinishedFramesOnly(PlainModule):
    """Knows nothing of a frame that is under way."""

    def frame_of(self, index: int, number: int) -> Frame | None:
        frame = super().frame_of(index, number)
        return frame if frame is None or frame.end is not None else None


class StartAfterResent(PlainModule):
    """Sends FrameStart again after Resent."""

    def on_resend(self, header: Header, message: Resend) -> None:
        count = len(self.data)
        super().on_resend(header, message)
        added = len(self.data) - count
        front = self.data[:added]
        starts = [each for each in front if each.kind == MessageType.FRAME_START]
        rest = [each for each in front if each.kind != MessageType.FRAME_START]
        self.data[:added] = rest + starts


class FlagsUnsaid(PlainModule):
    """Does not say in Resent that it sends FrameStart or FrameEnd again."""

    def emit(self, item: Item) -> None:
        if item.kind == MessageType.RESENT:
            item = replace(item, payload=item.payload[:2] + b"\0" + item.payload[3:])
        super().emit(item)


class StartUnsaidUnderWay(PlainModule):
    """Does not say in Resent that it sends FrameStart of a frame under way again."""

    def emit(self, item: Item) -> None:
        if item.kind == MessageType.RESENT and item.payload[3] == FrameState.UNDER_WAY:
            item = replace(item, payload=item.payload[:2] + b"\0" + item.payload[3:])
        super().emit(item)


class AlwaysBothEnds(PlainModule):
    """Sends FrameStart and FrameEnd again whether they were asked for or not."""

    def on_resend(self, header: Header, message: Resend) -> None:
        both = ResendFlag.START | ResendFlag.END
        super().on_resend(header, replace(message, flags=int(both)))


class EndsOnDemand(PlainModule):
    """Sends FrameEnd of a frame under way if END asks for it."""

    def on_resend(self, header: Header, message: Resend) -> None:
        super().on_resend(header, message)
        frame = self.frame_of(header.stream, header.frame)
        if frame is not None and frame.end is None and message.flags & ResendFlag.END:
            end = FrameEnd(EndStatus.OK, self.used_lanes, 0, 1000, (0, 0, 0, 0), 0).encode()
            self.emit(Item(MessageType.FRAME_END, end, frame.number, frame.stream))


class AnyStreamsFrame(PlainModule):
    """Looks for a frame by its number alone."""

    def frame_of(self, index: int, number: int) -> Frame | None:
        found = [each for each in self.frames if each.number == number]
        return found[0] if found and index < MAX_STREAMS else None


class SilentOnUnknown(PlainModule):
    """Does not answer Resend of a frame that it does not know."""

    def on_resend(self, header: Header, message: Resend) -> None:
        if self.frame_of(header.stream, header.frame) is not None:
            super().on_resend(header, message)


class UnknownIsEnded(PlainModule):
    """Calls a frame that it does not know ENDED."""

    def emit(self, item: Item) -> None:
        if item.kind == MessageType.RESENT and item.payload[3] == FrameState.UNKNOWN:
            state = bytes([FrameState.ENDED])
            item = replace(item, payload=item.payload[:3] + state + item.payload[4:])
        super().emit(item)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-RESEND-1": (
        ExactTilesOnly,
        SixteenRectangles,
        OneRectangleLess,
        StillsOnly,
        NothingIsGone,
        FirstRectangleOnly,
        ReadsTooManyRectangles,
        OutsideIsGone,
        ResentFirst,
        FlushForgetsFrames,
        NamesGoneTwice,
        EightGoneTiles,
        EdgesOfSixteenBits,
    ),
    "M-RESEND-2": (
        ResentWithoutFlag,
        ResendsNewPixels,
        ResendsShifted,
        FlagsEverything,
        SendsPerRectangle,
        NewestPixels,
        FlagsEndedFramesOnly,
    ),
    "M-CAM-2": (StartOfTheNewestRequest,),
    "M-RESEND-3": (
        FinishedFramesOnly,
        StartAfterResent,
        FlagsUnsaid,
        StartUnsaidUnderWay,
        AlwaysBothEnds,
        EndsOnDemand,
        StartOfTheNewestRequest,
        EnergyOfTheNewestFrame,
    ),
    "M-RESEND-4": (AnyStreamsFrame, SilentOnUnknown, UnknownIsEnded),
}
"""The plain modules that break a clause."""

LINES: dict[str, tuple[type[Tamper], ...]] = {
    "M-RESEND-1": (ResentOfNoStream,),
    "M-RESEND-2": (FlagsStillsOnly,),
}
"""The defects on the line of the firmware's module, by clause."""
