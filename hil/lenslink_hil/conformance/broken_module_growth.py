"""Modules that break a clause on growth (SPEC.md, 2.3)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import ErrorCode, MessageType
from lenslink_protocol.messages import BY_TYPE, AnyMessage, Error, Header, Malformed, Resend

from .plain_module import PlainModule


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


class FlagsMustBeKnown(PlainModule):
    """Rejects a header with flags that it does not know."""

    def is_header_sound(self, header: Header) -> bool:
        return super().is_header_sound(header) and header.flags & ~1 == 0


class ReservedMustBeZero(PlainModule):
    """Refuses a Capture whose reserved field is not 0."""

    def decode(self, kind: int, payload: bytes) -> AnyMessage:
        if kind == MessageType.CAPTURE and payload[3:4] != b"\0":
            raise Malformed("a reserved field is not 0")
        return super().decode(kind, payload)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-GROW-1": (
        ExactHello,
        ExactCapture,
        ExactHeartbeat,
        ExactFlush,
        TailAtFixedOffset,
        PadsShortMessages,
        ChangesAtKnownPlace,
        StartsAtKnownPlace,
    ),
    "M-GROW-2": (
        VendorUsesIds,
        VendorIsRefused,
        VendorEndsSession,
        DeafAfterStrangers,
        FlagsMustBeKnown,
        ReservedMustBeZero,
    ),
}
"""The plain modules that break a clause."""
