"""Cases for hosts: rules that hold at one moment only, where they are easily overlooked."""

from __future__ import annotations

import struct
from dataclasses import replace

from lenslink_protocol.ids import BusyReason, FrameState, MessageType
from lenslink_protocol.messages import Busy, Configure, Heartbeat, Resend, Resent

from .cases import Cases, check
from .module_peer import (
    HEIGHT,
    ROWS,
    TILE,
    WIDTH,
    HostResult,
    Item,
    Script,
    rectangles,
    tile_item,
)
from .packets import Packet

CASES: Cases[type[Script]] = Cases()

_LAST = HEIGHT - ROWS
_LOST = 8
_CUT = 60
"""Bytes that a tile loses: fewer than FrameEnd has, so FrameEnd begins inside its payload."""


@CASES.add("H-FRAME-3")
class EndInsideATile(Script):
    """The last bytes of a tile are lost, and FrameEnd, which stands there, is found."""

    needs_resend = True

    def _encode_item(self, item: Item) -> bytes:
        data = super()._encode_item(item)
        is_cut = item.place == tile_item(_LAST).place and not item.flags
        return data[:-_CUT] if is_cut else data

    def on_resend(self, packet: Packet, message: Resend) -> None:
        said = "the host asks for a FrameEnd that came behind a tile that was cut short"
        check(not message.flags & 2, said)
        super().on_resend(packet, message)


@CASES.add("H-LIVE-2")
class SlowTile(Script):
    """A tile takes longer than SILENCE_MS, and its bytes never pause for long: nobody is gone."""

    limit_s = 12.0
    _parts = 16
    _step_s = 0.12
    _is_slow = False

    def send_waiting(self) -> None:
        while self.queue and not self._is_slow:
            item = self.queue[0]
            if item.place != tile_item(_LAST).place:
                rest, self.queue = self.queue[1:], [item]
                super().send_waiting()
                left = bool(self.queue)
                self.queue += rest
                if left:
                    return
                continue
            if self.sent[self._stream] + TILE > self.limits[self._stream]:
                return
            self.queue.pop(0)
            self.sent[self._stream] += TILE
            self._send_slowly(self._encode_item(item))

    def _send_slowly(self, data: bytes) -> None:
        self._is_slow = True
        size = -(-len(data) // self._parts)
        for part in range(self._parts):
            piece = data[part * size :][:size]
            self.call_later(part * self._step_s, lambda piece=piece: self.wire.send(piece))  # type: ignore[misc]
        self.call_later((self._parts - 1) * self._step_s + 0.01, self._go_on)

    def _go_on(self) -> None:
        self._is_slow = False
        self.send_waiting()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_slow:
            super().on_heartbeat(packet, message)

    def on_resend(self, packet: Packet, message: Resend) -> None:
        if not self._is_slow:
            super().on_resend(packet, message)


@CASES.add("H-LIVE-3")
class ShorterBusyBehind(Script):
    """A Busy of 2.5 s, then one of 0.3 s, and silence for 2 s: the latest end counts."""

    limit_s = 12.0
    _is_busy = False

    def start_frame(self) -> None:
        self.send_message(Busy(BusyReason.FLASH, 2500))
        self.send_message(Busy(BusyReason.OTHER, 300))
        self._is_busy = True
        self.call_later(2.0, self._wake)

    def _wake(self) -> None:
        self._is_busy = False
        super().start_frame()

    def send_waiting(self) -> None:
        if not self._is_busy:
            super().send_waiting()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_busy:
            super().on_heartbeat(packet, message)


@CASES.add("H-REQ-1")
class RepeatedOften(Script):
    """Configure is answered when it comes for the fifth time: each time it is the same."""

    limit_s = 12.0

    def on_configure(self, packet: Packet, message: Configure) -> None:
        asked = self.find_packets(MessageType.CONFIGURE)
        first = asked[0]
        alike = (packet.id, packet.payload) == (first.id, first.payload)
        said = f"Configure {first.id} is repeated as {packet.id}, or otherwise than before"
        check(alike, f"{said}, the {len(asked)}th time")
        if len(asked) >= 5:
            super().on_configure(packet, message)


@CASES.add("H-RESEND-3")
class GoneWhileUnderWay(Script):
    """What Resent calls gone of a frame that is under way is not asked for when it has ended."""

    needs_resend = True
    limit_s = 12.0
    _place = (0, _LOST, WIDTH, ROWS)
    _has_answered = False
    _said = 0.0

    def make_items(self) -> list[Item]:
        found = super().make_items()
        return [replace(item, is_lost=item.place == self._place) for item in found]

    def send_waiting(self) -> None:
        # FrameEnd waits until the loss has been asked for.
        kinds = [item.kind for item in self.queue]
        if self._has_answered or MessageType.FRAME_END not in kinds:
            super().send_waiting()
            return
        at = kinds.index(MessageType.FRAME_END)
        rest, self.queue = self.queue[at:], self.queue[:at]
        super().send_waiting()
        self.queue += rest

    def on_resend(self, packet: Packet, message: Resend) -> None:
        asked = rectangles(message)
        meets = any(y < _LOST + ROWS and y + height > _LOST for _, y, _, height in asked)
        is_late = packet.at > self._said + 0.1
        check(not (self._said and is_late and meets), f"Resend of what was called gone: {asked}")
        if meets:
            self._said = self._said or packet.at
        gone = struct.pack("<4H", *self._place) if meets else b""
        state = FrameState.ENDED if self._has_answered else FrameState.UNDER_WAY
        flags = message.flags & (3 if self._has_answered else 1)
        items = [self.make_start_item()] if flags & 1 else []
        items.append(Item(MessageType.RESENT, Resent(flags, state, len(gone) // 8, gone).encode()))
        if flags & 2:
            items.append(self.make_end_item())
        self.queue = items + self.queue
        if meets:
            # FrameEnd follows a little later, when Resent has arrived.
            self.call_later(0.2, self._end)

    def _end(self) -> None:
        self._has_answered = True
        self.send_waiting()

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "a frame without one of its tiles is handed on as a whole one")
