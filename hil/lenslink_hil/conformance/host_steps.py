"""What cases for hosts of several subjects share: constants, and modules to derive cases from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lenslink_protocol.ids import EndStatus, MessageType
from lenslink_protocol.messages import FrameEnd, Heartbeat, Hello, Resend, Stop
from lenslink_protocol.params import RESEND_RETRY_MS, SILENCE_MS

from .cases import NotClaimed, check
from .module_peer import (
    HEIGHT,
    PIXELS,
    PREVIEW_TASK,
    ROWS,
    STRIDE,
    TILE,
    WRONG,
    HostResult,
    Item,
    Script,
    tile_item,
)
from .packets import NO_PACKET, Packet

WRONG_TILE = WRONG * (TILE // 2)

# What a real host, a process on a busy machine, may be late.
SLACK_S = 0.5
BELIEVED_S = 2.5
"""A host that repeats a request only now has waited for the end of a lease."""
_LET_GO_S = 0.15
"""The same for a host that has half of SILENCE_MS in hand."""
LOST_ROW = 8
LAST_ROW = HEIGHT - ROWS


def lose_tile(item: Item) -> Item:
    """Return the item, lost on its way if it is the tile of row ``LOST_ROW``."""
    return replace(item, is_lost=True) if item.place[1] == LOST_ROW and item.place[3] else item


class LosingModule(Script):
    """The tile of row ``LOST_ROW`` is lost on its way."""

    def make_items(self) -> list[Item]:
        return [lose_tile(item) for item in super().make_items()]


class Lanes(Script):
    """Two lanes; the tile of row ``LOST_ROW`` is lane 1's."""

    needs_resend = True
    used_lanes = 2
    _end_at = 0.0

    def on_hello(self, packet: Packet, message: Hello) -> None:
        if self.wire.lanes < 2 or message.lanes < 2:
            raise NotClaimed("the host opens one lane only (LISTEN-URL?lanes=2 waits for two)")
        super().on_hello(packet, message)

    def take_lane_1_tile(self, row: int = LOST_ROW) -> bytes:
        """Return a tile as lane 1's next packet; it takes credit as any other."""
        tile = tile_item(row)
        self.sent[self._stream] += TILE
        return self.pack(
            tile.kind, tile.payload, self.frame, stream=self._stream, place=tile.place, lane=1
        )

    def make_items(self) -> list[Item]:
        return [
            item for item in super().make_items() if item.place[1] != LOST_ROW or not item.place[3]
        ]

    def _finish_payload(self, item: Item) -> bytes:
        payload = super()._finish_payload(item)
        if item.kind != MessageType.FRAME_END:
            return payload
        self._end_at = self.wire.now()
        message = FrameEnd.decode(payload)
        lanes = (message.last_sequence[0], self.lane_1_sequence - 1, NO_PACKET, NO_PACKET)
        return replace(message, last_sequence=lanes).encode()

    def check_not_early(self, packet: Packet, message: Resend) -> None:
        """Check that a Resend comes no earlier than RESEND_RETRY_MS after FrameEnd."""
        # FrameEnd comes to the host a little later than it is sent.
        early = packet.at - self._end_at < RESEND_RETRY_MS / 1000
        check(not early, f"Resend of a tile that was still on its way: {message}")


def cut_tile(x: int, y: int, width: int, height: int, **more: Any) -> Item:
    """Return a tile of the frame that is any rectangle."""
    rows = [PIXELS[row * STRIDE + 2 * x :][: 2 * width] for row in range(y, y + height)]
    return Item(MessageType.TILE, b"".join(rows), (x, y, width, height), **more)


class Preview(Script):
    """Sends frames of the preview until Stop. The host takes three, and ends in order."""

    task = PREVIEW_TASK
    interval_s = 0.05
    limit_s = 12.0

    _is_running = False
    _next = 0.0

    def start_frame(self) -> None:
        self._is_running = True
        self._next = self.wire.now() + self.interval_s
        super().start_frame()

    def _serve_once(self) -> None:
        super()._serve_once()
        if self._is_running and not self.queue and self.wire.now() >= self._next:
            self.frame += 1
            self.start_frame()

    def on_stop(self, packet: Packet, message: Stop) -> None:
        self.end_frame()
        super().on_stop(packet, message)

    def end_frame(self) -> None:
        """End the frame under way, as a module does before it answers Stop."""
        self._is_running = False
        if self.queue:
            end = self.make_end_item()
            aborted = replace(FrameEnd.decode(end.payload), status=int(EndStatus.ABORTED))
            self.queue = [replace(end, payload=aborted.encode())]
            self.send_waiting()

    def judge(self, result: HostResult) -> None:
        check(
            result.ok, f"the host has no three whole frames: {result.detail or 'no reason given'}"
        )
        check(self.find_packets(MessageType.STOP, MessageType.FLUSH), "the preview is not stopped")
        if result.pixels is not None:
            self.check_whole_frame(result)


class FallsSilent(Script):
    """The module says nothing any more from some moment on: the host lets go of it."""

    silent_since = 0.0
    """When the silence began that counts; 0 before."""
    limit_s = 6.0

    def on_packet(self, packet: Packet) -> None:
        if not self.silent_since or packet.kind == MessageType.CLOSE:
            super().on_packet(packet)

    def judge(self, result: HostResult) -> None:
        check_let_go(self, self.silent_since)
        check(not result.ok, "the host claims to have a frame")


def check_let_go(script: Script, since: float) -> None:
    """Check that the host has let go of a module that is silent since a moment, and in time.

    *since* is 0 if the session ended before the silence began.
    """
    check(since > 0, "the session ended before the moment that the case waits for")
    has_gone = script.end_time is not None or script.is_closed
    check(has_gone, "the host has not noticed that the module is silent")
    silence = (script.wire.now() if script.end_time is None else script.end_time) - since
    most = 2 * SILENCE_MS / 1000 + _LET_GO_S
    check(silence <= most, f"the host let go after {silence:.1f} s of silence")


class BusyModule(Script):
    """Is BUSY and silent for a while, then sends its frame."""

    limit_s = 12.0
    silence_s = 2.0
    _is_busy = False
    _began = 0.0

    def make_busy(self) -> bytes:
        raise NotImplementedError

    def start_frame(self) -> None:
        self.wire.send(self.make_busy())
        self._is_busy = True
        self._began = self.wire.now()
        self.call_later(self.silence_s, self._wake)

    def _wake(self) -> None:
        self._is_busy = False
        super().start_frame()

    def send_waiting(self) -> None:
        if not self._is_busy:
            super().send_waiting()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_busy:
            super().on_heartbeat(packet, message)
