"""Modules that receive, or number packets, in a wrong way (SPEC.md, section 2).

Each class is the plain module with one rule wrong. Its docstring says which.
"""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import (
    ErrorCode,
    MessageType,
)
from lenslink_protocol.messages import (
    AnyMessage,
    Error,
    Header,
    Malformed,
    Resend,
)
from lenslink_protocol.params import MAX_CONTROL

from .plain_module import (
    Item,
    PlainModule,
)


class KeepsSequences(PlainModule):
    """Counts on in the second session of a connection."""

    def reset_session(self) -> None:
        kept = getattr(self, "sequences", None)
        super().reset_session()
        self.sequences = kept or self.sequences


class CountsFromOne(PlainModule):
    """Gives its first packet the sequence 1."""

    def reset_session(self) -> None:
        super().reset_session()
        self.sequences = [1] * self.lanes


class OneCountForAllLanes(PlainModule):
    """Numbers the packets of all lanes by one counter."""

    def encode(self, item: Item, lane: int) -> bytes:
        self.sequences = [max(self.sequences)] * self.lanes
        return super().encode(item, lane)


class CountsTilesApart(PlainModule):
    """Gives tiles the sequence of the packet before them."""

    def encode(self, item: Item, lane: int) -> bytes:
        if item.kind == MessageType.TILE and self.sequences[lane]:
            self.sequences[lane] -= 1
        return super().encode(item, lane)


class StreamInReplies(PlainModule):
    """Names a stream in the headers of replies."""

    def emit(self, item: Item) -> None:
        is_reply = item.kind in (MessageType.CONFIGURED, MessageType.ACCEPTED)
        super().emit(replace(item, stream=1) if is_reply else item)


class _ActsOnDamage(PlainModule):
    kind: int = 0

    def is_payload_sound(self, header: Header, payload: bytes) -> bool:
        return header.type == self.kind or super().is_payload_sound(header, payload)


class ActsOnDamagedHeartbeat(_ActsOnDamage):
    """Takes a Heartbeat whose payload CRC fails."""

    kind = MessageType.HEARTBEAT


class ActsOnDamagedResend(_ActsOnDamage):
    """Takes a Resend whose payload CRC fails."""

    kind = MessageType.RESEND


class ActsOnDamagedClose(_ActsOnDamage):
    """Takes a Close whose payload CRC fails."""

    kind = MessageType.CLOSE


class ActsOnDamagedHello(_ActsOnDamage):
    """Takes a Hello whose payload CRC fails."""

    kind = MessageType.HELLO


class NoHeaderCrc(PlainModule):
    """Does not look at the header's CRC."""

    def is_header_sound(self, header: Header) -> bool:
        return header.length <= MAX_CONTROL


class SkipsDamagedPayload(PlainModule):
    """Throws a damaged payload away instead of searching it."""

    def on_damaged_payload(self, header: Header) -> None:
        super().on_damaged_payload(header)
        del self.buffer[: header.length]


class SkipsAfterBadHeader(PlainModule):
    """Throws 40 bytes away behind a header whose CRC fails."""

    def is_header_sound(self, header: Header) -> bool:
        if super().is_header_sound(header):
            return True
        del self.buffer[1:41]
        return False


class RestartsAfterHalfAMagic(PlainModule):
    """Looks for a magic only where the previous attempt ended."""

    def parse_buffer(self) -> None:
        at = self.buffer.find(b"\x8a\x4c")
        if (
            at >= 0
            and len(self.buffer) - at > 0
            and not self.buffer[at:].startswith(b"\x8a\x4c\x4c\x4b")
        ):
            del self.buffer[: at + 4]
        super().parse_buffer()


class OnePacketAPiece(PlainModule):
    """Handles one packet of each piece that it receives."""

    def send(self, data: bytes, lane: int = 0) -> None:
        self.is_taken = False
        super().send(data, lane)

    def on_packet(self, header: Header, payload: bytes) -> None:
        if not self.is_taken:
            self.is_taken = True
            super().on_packet(header, payload)


class WaitsHalfASecond(PlainModule):
    """Waits 500 ms for the rest of a packet."""

    stall_s = 0.5


class ForgetsStalledBytes(PlainModule):
    """Throws away all that came of a packet that stopped."""

    def check_stall(self) -> None:
        if self.buffer and self.time - self.last_byte >= self.stall_s:
            self.buffer.clear()


class GivesUpEarly(PlainModule):
    """Gives a packet up after 20 ms."""

    stall_s = 0.02


class NoWrap(PlainModule):
    """Compares sequences as plain numbers."""

    def use_sequence(self, sequence: int) -> bool:
        if sequence <= self.newest_sequence:
            return False
        self.newest_sequence = sequence
        return True


class AnyStep(PlainModule):
    """Takes every sequence but the newest."""

    def use_sequence(self, sequence: int) -> bool:
        fresh = sequence != self.newest_sequence
        self.newest_sequence = sequence
        return fresh


class DamageKeepsSequence(PlainModule):
    """Does not use up the sequence of a packet whose payload is damaged."""

    def on_damaged_payload(self, header: Header) -> None:
        del self.buffer[:40]


class _NotFresh(PlainModule):
    kinds: tuple[int, ...] = ()

    def on_packet(self, header: Header, payload: bytes) -> None:
        if header.type in self.kinds and self.session is not None:
            step = self.newest_sequence + 1
            header = header._replace(nonce=self.session.nonce, sequence=step)
        super().on_packet(header, payload)


class StaleHeartbeats(_NotFresh):
    """Takes every Heartbeat, fresh or not."""

    kinds = (MessageType.HEARTBEAT,)


class StaleClose(_NotFresh):
    """Takes every Close, fresh or not."""

    kinds = (MessageType.CLOSE,)


class ShorterThanAllowed(PlainModule):
    """Rejects a header that announces exactly MAX_CONTROL bytes."""

    def is_header_sound(self, header: Header) -> bool:
        return super().is_header_sound(header) and header.length < MAX_CONTROL


class LongTilesFromHost(PlainModule):
    """Believes a header of a tile that announces more than MAX_CONTROL."""

    def is_header_sound(self, header: Header) -> bool:
        if header.type == MessageType.TILE:
            header = header._replace(length=0)
        return super().is_header_sound(header)


class OwnMinorOnly(PlainModule):
    """Rejects packets of a newer minor version."""

    def is_header_sound(self, header: Header) -> bool:
        return super().is_header_sound(header) and header.version & 0xF == 0


class _Exact(PlainModule):
    kind: int = 0

    def decode(self, kind: int, payload: bytes) -> AnyMessage:
        message = super().decode(kind, payload)
        if kind == self.kind and len(payload) != message.FIXED.size:
            raise Malformed("another size than expected")
        return message


class ExactHello(_Exact):
    """Takes a Hello of exactly the known size."""

    kind = MessageType.HELLO


class ExactCapture(_Exact):
    """Takes a Capture of exactly the known size."""

    kind = MessageType.CAPTURE


class ExactHeartbeat(_Exact):
    """Takes a Heartbeat of exactly the known size."""

    kind = MessageType.HEARTBEAT


class ExactFlush(_Exact):
    """Takes a Flush of exactly the known size."""

    kind = MessageType.FLUSH


class TailAtFixedOffset(PlainModule):
    """Reads the rectangles of Resend from byte 6, however long the fixed part is."""

    def decode(self, kind: int, payload: bytes) -> AnyMessage:
        message = super().decode(kind, payload)
        return replace(message, ranges=payload[6:]) if isinstance(message, Resend) else message


class PadsShortMessages(PlainModule):
    """Takes a message that is too short, as if zeros followed."""

    def decode(self, kind: int, payload: bytes) -> AnyMessage:
        try:
            return super().decode(kind, payload)
        except (Malformed, KeyError):
            padded = b"\x40\x00" + payload[2:] + bytes(64)
            return super().decode(kind, padded)


class _SeesVendor(PlainModule):
    def on_packet(self, header: Header, payload: bytes) -> None:
        if header.type >= 0xE0 and self.is_of_session(header):
            self.on_vendor(header)
        super().on_packet(header, payload)

    def on_vendor(self, header: Header) -> None:
        """Do what the module should not do."""


class VendorUsesIds(_SeesVendor):
    """Lets a vendor's packet use up its id."""

    def on_vendor(self, header: Header) -> None:
        assert self.session is not None
        self.session.last_request = max(self.session.last_request, header.frame)


class VendorIsRefused(_SeesVendor):
    """Refuses a vendor's packet."""

    def on_vendor(self, header: Header) -> None:
        self.send_control(Error(ErrorCode.UNKNOWN_REQUEST, b""), header.frame)


class VendorEndsSession(_SeesVendor):
    """Ends the session at a vendor's packet."""

    def on_vendor(self, header: Header) -> None:
        del header
        self.end_session()


class DeafAfterStrangers(PlainModule):
    """Ignores Hello once a packet has come without a session."""

    is_deaf = False

    def on_packet(self, header: Header, payload: bytes) -> None:
        self.is_deaf = self.is_deaf or (self.session is None and header.type >= 0xE0)
        if not self.is_deaf:
            super().on_packet(header, payload)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-FRAME-1": (
        KeepsSequences,
        CountsFromOne,
        OneCountForAllLanes,
        CountsTilesApart,
        StreamInReplies,
    ),
    "M-FRAME-2": (
        ActsOnDamagedHeartbeat,
        ActsOnDamagedResend,
        ActsOnDamagedClose,
        ActsOnDamagedHello,
        NoHeaderCrc,
    ),
    "M-FRAME-3": (
        SkipsDamagedPayload,
        SkipsAfterBadHeader,
        RestartsAfterHalfAMagic,
        OnePacketAPiece,
    ),
    "M-FRAME-4": (
        WaitsHalfASecond,
        ForgetsStalledBytes,
        GivesUpEarly,
    ),
    "M-FRAME-5": (
        NoWrap,
        AnyStep,
        DamageKeepsSequence,
        StaleHeartbeats,
        StaleClose,
    ),
    "M-FRAME-6": (
        ShorterThanAllowed,
        LongTilesFromHost,
        OwnMinorOnly,
    ),
    "M-GROW-1": (
        ExactHello,
        ExactCapture,
        ExactHeartbeat,
        ExactFlush,
        TailAtFixedOffset,
        PadsShortMessages,
    ),
    "M-GROW-2": (
        VendorUsesIds,
        VendorIsRefused,
        VendorEndsSession,
        DeafAfterStrangers,
    ),
}
"""The broken modules of each clause."""
