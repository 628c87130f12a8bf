"""What broken peers of several subjects share."""

from __future__ import annotations

from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import Configure, Configured, FrameStart

from .defects import Defect
from .module_peer import HEIGHT, ROWS, STRIDE, WIDTH
from .packets import Packet
from .plain_module import Exposure, PlainModule, Stream

STILL = 1
DATA = (MessageType.FRAME_START, MessageType.TILE, MessageType.FRAME_END)


class OtherStart(PlainModule):
    """A module whose FrameStart a subclass changes."""

    def change(self, start: FrameStart) -> FrameStart:
        return start

    def frame_start(self, stream: Stream, plan: Configured, exposure: Exposure) -> FrameStart:
        return self.change(super().frame_start(stream, plan, exposure))


class OtherPlan(PlainModule):
    """A module whose Configured a subclass changes."""

    def change(self, plan: Configured) -> Configured:
        return plan

    def plan_of(self, message: Configure) -> Configured:
        return self.change(super().plan_of(message))


class Overlay(Defect):
    """Puts a frame together by itself, and lets some tiles overwrite received pixels."""

    def __init__(self) -> None:
        self._pixels = bytearray(STRIDE * HEIGHT)
        self._is_received = bytearray(STRIDE * HEIGHT)

    def do_overwrite(self, packet: Packet) -> bool:
        """Return True for a tile that overwrites what is received."""
        raise NotImplementedError

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.TILE:
            self._write(packet)
            return []
        if packet.kind != MessageType.FRAME_END:
            return [data]
        size = STRIDE * ROWS
        first = packet.header.sequence - HEIGHT // ROWS
        strips = [
            packet.encode(
                type=MessageType.TILE,
                payload=bytes(self._pixels[row * STRIDE :][:size]),
                sequence=first + index,
                y=row,
                width=WIDTH,
                height=ROWS,
            )
            for index, row in enumerate(range(0, HEIGHT, ROWS))
        ]
        return [*strips, data]

    def _write(self, packet: Packet) -> None:
        head = packet.header
        is_forced = self.do_overwrite(packet)
        for row in range(head.height):
            at = (head.y + row) * STRIDE + 2 * head.x
            line = packet.payload[2 * head.width * row :][: 2 * head.width]
            for place, byte in enumerate(line, at):
                if is_forced or not self._is_received[place]:
                    self._pixels[place] = byte
                    self._is_received[place] = 1


class FirstOnly(Defect):
    """Loses every packet of a kind but the first one. A subclass names the kind."""

    kind = 0

    def __init__(self) -> None:
        self._count = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += packet.kind == self.kind
        return [] if packet.kind == self.kind and self._count > 1 else [data]
