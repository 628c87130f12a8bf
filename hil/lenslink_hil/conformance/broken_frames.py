"""Modules with wrong frames, pixels or manifests (SPEC.md, sections 6 and 7).

Each class is the plain module with one rule wrong. Its docstring says which.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lenslink.receive.unpacking import pack
from lenslink_protocol.ids import (
    EndStatus,
    ErrorCode,
    ManifestKey,
    MessageType,
    PixelFormat,
)
from lenslink_protocol.manifest import encode_entry, iterate_entries
from lenslink_protocol.messages import (
    Capture,
    Configure,
    Configured,
    FrameEnd,
    FrameStart,
    GetManifest,
    Header,
    ManifestPiece,
    Resend,
    StartStream,
)
from lenslink_protocol.packings import Layout, Packing, find_layout

from .plain_module import (
    HEIGHT,
    WIDTH,
    Exposure,
    Frame,
    Item,
    PlainModule,
    Rectangle,
    Refused,
    Stream,
)


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


class OtherStart(PlainModule):
    """A module whose FrameStart a subclass changes."""

    def change(self, start: FrameStart) -> FrameStart:
        return start

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        return self.change(super().frame_start(stream, plan, exposure))


class NamesTheLastRequest(OtherStart):
    """Names the last request of the session in FrameStart."""

    def change(self, start: FrameStart) -> FrameStart:
        assert self.session is not None
        return replace(start, request=self.session.last_request)


class StatesOtherHeight(OtherStart):
    """States the sensor's height in FrameStart."""

    def change(self, start: FrameStart) -> FrameStart:
        return replace(start, height=start.height * 2)


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


class _OtherPacking(PlainModule):
    wrong: tuple[Packing, Packing] | None = None
    """A packing, and the one that is sent instead."""

    def packing_of(self, frame: Frame) -> Layout:
        form = super().packing_of(frame)
        if self.wrong is None or form.packing != self.wrong[0]:
            return form
        return next(each for each in self.formats() if each.packing == self.wrong[1])


class MipiAsLsb(_OtherPacking):
    """Sends MIPI formats with the bytes of lsb."""

    wrong = (Packing.MIPI, Packing.LSB)


class LegacyAsMipi(_OtherPacking):
    """Sends the legacy format with the bytes of MIPI."""

    wrong = (Packing.LEGACY, Packing.MIPI)


class BigEndianWords(PlainModule):
    """Sends 16-bit words with the high byte first."""

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        data = super().pack_tile(frame, rectangle)
        if self.packing_of(frame).packing != Packing.UNPACKED:
            return data
        return np.frombuffer(data, "<u2").astype(">u2").tobytes()


class AlwaysUnpacked(PlainModule):
    """Applies its first format, whatever Configure names."""

    def chosen_format(self, message: Configure) -> Layout:
        del message
        return self.formats()[0]


class OtherPlan(PlainModule):
    """A module whose Configured a subclass changes."""

    def change(self, plan: Configured) -> Configured:
        return plan

    def plan_of(self, message: Configure) -> Configured:
        return self.change(super().plan_of(message))


class FrameBytesOfWords(OtherPlan):
    """States the bytes of an unpacked frame for each format."""

    def change(self, plan: Configured) -> Configured:
        return replace(plan, frame_bytes=2 * WIDTH * HEIGHT)


class UnlistedDefault(OtherPlan):
    """States a format that its manifest does not list."""

    def change(self, plan: Configured) -> Configured:
        if find_layout(plan.pixel_format).packing == Packing.LSB:
            return replace(plan, pixel_format=PixelFormat.GR12p)
        return plan


class CutsInsideGroups(PlainModule):
    """Cuts tiles at odd columns."""

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        found = super().rectangles_to_read(plan)
        if found[0][2] == WIDTH or find_layout(plan.pixel_format).group == 1:
            return found
        return [place for y in range(HEIGHT) for place in ((0, y, 7, 1), (7, y, WIDTH - 7, 1))]

    def pack_tile(self, frame: Frame, rectangle: Rectangle) -> bytes:
        x, y, width, height = rectangle
        rows = frame.pixels[y : y + height, x : x + width]
        return pack(np.ascontiguousarray(rows), self.packing_of(frame)).tobytes()


class EndsInsideGroups(PlainModule):
    """Ends a tile inside a group, and begins the next one with the same group."""

    def rectangles_to_read(self, plan: Configured) -> list[Rectangle]:
        found = super().rectangles_to_read(plan)
        if found[0][2] == WIDTH or find_layout(plan.pixel_format).group == 1:
            return found
        return [place for y in range(HEIGHT) for place in ((0, y, 31, 1), (31, y, WIDTH - 31, 1))]


class PiecesFromZero(PlainModule):
    """Sends the first piece of the manifest, whatever offset is asked for."""

    def on_get_manifest(self, number: int, message: GetManifest) -> None:
        data = self.manifest_bytes()
        self.answer(number, ManifestPiece(message.offset, len(data), data[: self.piece_bytes()]))


class EmptyBeyondTheEnd(PlainModule):
    """Sends an empty piece beyond the manifest's end."""

    def on_get_manifest(self, number: int, message: GetManifest) -> None:
        data = self.manifest_bytes()
        piece = data[message.offset :][: self.piece_bytes()]
        self.answer(number, ManifestPiece(message.offset, len(data), piece))


class TotalOfThePiece(PlainModule):
    """States as the total what is left from the offset on."""

    def on_get_manifest(self, number: int, message: GetManifest) -> None:
        data = self.manifest_bytes()
        if message.offset >= len(data):
            raise Refused(ErrorCode.UNSUPPORTED)
        piece = data[message.offset :][: self.piece_bytes()]
        self.answer(number, ManifestPiece(message.offset, len(data) - message.offset, piece))


class _OtherManifest(PlainModule):
    def change(self, key: int, value: bytes) -> bytes | None:
        del key
        return value

    def manifest_bytes(self) -> bytes:
        data = b""
        for key, value in iterate_entries(super().manifest_bytes()):
            changed = self.change(key, value)
            if changed is not None:
                data += encode_entry(key, changed)
        return data


class NoColors(_OtherManifest):
    """Has no colours in its manifest."""

    def change(self, key: int, value: bytes) -> bytes | None:
        return None if key == ManifestKey.COLOR else value


class NoSerial(_OtherManifest):
    """Has no serial in its manifest."""

    def change(self, key: int, value: bytes) -> bytes | None:
        return None if key == ManifestKey.SERIAL else value


class OddMode(_OtherManifest):
    """Has a mode with an odd width."""

    def change(self, key: int, value: bytes) -> bytes | None:
        if key != ManifestKey.MODE:
            return value
        return value[:2] + (WIDTH - 1).to_bytes(2, "little") + value[4:]


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-CAM-1": (
        NumbersPerStream,
        NumbersPerCapture,
        EndBeforeTheLastTile,
        TileBeforeStart,
    ),
    "M-CAM-2": (
        NamesTheLastRequest,
        StatesOtherHeight,
    ),
    "M-CAM-3": (
        SendsATileTwice,
        OverTheEdge,
        LongerThanTaken,
        LosesTheLastTile,
    ),
    "M-CAM-4": (
        CountsResentTiles,
        OldEndAgain,
        EndCountsItself,
    ),
    "M-CAM-5": (
        OneFrameLess,
        AlwaysOneFrame,
    ),
    "M-PACK-1": (AlwaysUnpacked,),
    "M-PACK-2": (
        MipiAsLsb,
        LegacyAsMipi,
        FrameBytesOfWords,
        UnlistedDefault,
    ),
    "M-PACK-3": (
        CutsInsideGroups,
        EndsInsideGroups,
        BigEndianWords,
    ),
    "M-MANIFEST-1": (
        PiecesFromZero,
        EmptyBeyondTheEnd,
        TotalOfThePiece,
    ),
    "M-MANIFEST-2": (
        NoColors,
        NoSerial,
        OddMode,
    ),
}
"""The broken modules of each clause."""
