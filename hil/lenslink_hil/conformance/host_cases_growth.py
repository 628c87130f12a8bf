"""Cases for hosts: fixed parts that grow, and types of the vendor range (SPEC.md, 2.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lenslink_protocol.ids import BusyReason, ManifestKey, MessageType
from lenslink_protocol.messages import BY_TYPE, AnyMessage, Busy, Configure, HeartbeatReply
from lenslink_protocol.params import VERSION_MAJOR

from .cases import Cases, check
from .host_cases_resend import GoneTile, PartlyGone
from .host_steps import BusyModule, check_let_go
from .module_peer import WIDTH, HostResult, Item, Script
from .packets import Packet

CASES: Cases[type[Script]] = Cases()

RESERVED = {
    MessageType.HELLO_REPLY: (5,),
    MessageType.ACCEPTED: (3,),
    MessageType.NOTICE: (3,),
    MessageType.FRAME_START: (23, 38, 39),
}
"""Where the reserved bytes of a message are."""


@CASES.add("H-GROW-1")
class LongerAndShorter(Script):
    """Every message has fields appended; one that is too short comes before the right one."""

    def pack(self, kind: int, payload: bytes, number: int = 0, **more: object) -> bytes:
        if kind != MessageType.TILE and len(payload) >= 2:
            size = int.from_bytes(payload[:2], "little")
            grown = (size + 4).to_bytes(2, "little")
            # FrameEnd ends with its own sequences: what is appended stands behind them.
            payload = grown + payload[2:size] + b"more" + payload[size:]
        more.setdefault("version", VERSION_MAJOR << 4 | 0xF)
        return super().pack(kind, payload, number, **more)

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self.wire.send(Script.pack(self, MessageType.CONFIGURED, b"\x1e\x00\x01\x00", packet.id))
        super().on_configure(packet, message)


@CASES.add("H-GROW-1")
class WrongSizes(Script):
    """Messages whose size is wrong come before the right answer, and are ignored."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        wrong = replace(self.make_configured(message), width=2 * WIDTH).encode()
        for size in (20, 200):
            payload = size.to_bytes(2, "little") + wrong[2:]
            self.wire.send(self.pack(MessageType.CONFIGURED, payload, packet.id))
        for payload in (b"", b"\x04", b"\x04\x00", b"\x09\x00\x05\x00"):
            self.wire.send(self.pack(MessageType.ERROR, payload, packet.id))
        for payload in (b"", b"\x03\x00", b"\x04\x00\x01"):
            self.wire.send(self.pack(MessageType.CLOSE, payload))
        super().on_configure(packet, message)


@CASES.add("H-GROW-1")
class GrownResent(GoneTile):
    """The rectangles of a grown Resent are read behind its fixed part."""

    def pack(self, kind: int, payload: bytes, number: int = 0, **more: object) -> bytes:
        if kind == MessageType.RESENT:
            size = int.from_bytes(payload[:2], "little")
            payload = (size + 4).to_bytes(2, "little") + payload[2:size] + b"more" + payload[size:]
        return super().pack(kind, payload, number, **more)


@CASES.add("H-GROW-1")
class GrownResentOfTwo(PartlyGone):
    """A grown Resent calls one of two tiles gone; the other was lost again."""

    def pack(self, kind: int, payload: bytes, number: int = 0, **more: object) -> bytes:
        if kind == MessageType.RESENT:
            size = int.from_bytes(payload[:2], "little")
            # As long as a rectangle, and one that is nowhere.
            payload = (size + 8).to_bytes(2, "little") + payload[2:size] + bytes(8) + payload[size:]
        return super().pack(kind, payload, number, **more)


@CASES.add("H-GROW-1", "H-CREDIT-2")
class GrownReplies(Script):
    """HeartbeatReply has more fields, and says that all that was granted is used up and lost."""

    def start_frame(self) -> None:
        self.sent[self._stream] = self.limits[self._stream]
        super().start_frame()

    def send_reply(self, packet: Packet, message: AnyMessage, **more: Any) -> None:
        if not isinstance(message, HeartbeatReply):
            super().send_reply(packet, message, **more)
            return
        payload = message.encode()
        grown = (len(payload) + 6).to_bytes(2, "little") + payload[2:] + b"\xa5" * 6
        self.wire.send(self.pack(MessageType.HEARTBEAT_REPLY, grown, packet.id, **more))


@CASES.add("H-GROW-2")
class UnknownTypes(Script):
    """Types of the vendor range, types that do not exist, and flags that do not."""

    def pack(self, kind: int, payload: bytes, number: int = 0, **more: object) -> bytes:
        flags = more.get("flags", 0)
        assert isinstance(flags, int)
        return super().pack(kind, payload, number, **more | {"flags": flags | 0xFE})

    def on_configure(self, packet: Packet, message: Configure) -> None:
        for kind in (0xE0, 0xFF, 0x5F, 0x7E):
            self.wire.send(self.pack(kind, b"\x02\x00whatever", packet.id))
        super().on_configure(packet, message)


@CASES.add("H-GROW-2")
class UnknownFlagsInPayloads(PartlyGone):
    """Configured and Resent have flags that do not exist. What Resent calls gone is gone."""

    def pack(self, kind: int, payload: bytes, number: int = 0, **more: object) -> bytes:
        at = {MessageType.CONFIGURED: 3, MessageType.RESENT: 2}.get(MessageType(kind))
        if at is not None:
            payload = payload[:at] + bytes([payload[at] | 0xF0]) + payload[at + 1 :]
        return super().pack(kind, payload, number, **more)

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        went_on = self.find_packets(MessageType.CAPTURE, MessageType.STREAM)
        check(went_on, "a Configured with flags that do not exist is not taken")


def _find_value(data: bytes, key: int) -> int:
    """Return where the value of an entry begins."""
    at = 0
    while int.from_bytes(data[at : at + 2], "little") != key:
        at += 4 + int.from_bytes(data[at + 2 : at + 4], "little")
    return at + 4


@CASES.add("H-GROW-2")
class ReservedValues(Script):
    """Reserved fields of messages and of the manifest have values."""

    def pack(self, kind: int, payload: bytes, number: int = 0, **more: object) -> bytes:
        data = bytearray(payload)
        for at in RESERVED.get(MessageType(kind), ()) if kind in BY_TYPE else ():
            data[at] = 0xA5
        return super().pack(kind, bytes(data), number, **more)

    def make_manifest(self) -> bytes:
        data = bytearray(super().make_manifest())
        for key, at in ((ManifestKey.SENSOR, 7), (ManifestKey.COLOR, 2)):
            data[_find_value(bytes(data), key) + at] = 0xA5
        return bytes(data)


@CASES.add("H-GROW-2")
class UnknownInAFrame(Script):
    """Types that do not exist stand between the tiles of a frame, under its number."""

    def make_items(self) -> list[Item]:
        found = super().make_items()
        for at, kind in ((6, 0x4F), (4, 0xE0), (2, 0x5F), (1, 0x43)):
            found.insert(at, Item(kind, b"\x02\x00whatever", flags=0x80))
        return found


@CASES.add("H-GROW-2", "H-LIVE-2")
class BusyWithReservedValues(BusyModule):
    """A reserved field of Busy has a value: the lease is 0.3 s, and then the module is gone."""

    silence_s = 11.0

    def make_busy(self) -> bytes:
        payload = bytearray(Busy(BusyReason.FLASH, 300).encode())
        payload[3] = 5
        return self.pack(MessageType.BUSY, bytes(payload))

    def judge(self, result: HostResult) -> None:
        check_let_go(self, self._began and self._began + 0.3)
        check(not result.ok, "the host claims to have a frame")
