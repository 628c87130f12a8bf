"""Modules that take the wrong packets, or use the wrong sequences up (SPEC.md, 2.1)."""

from __future__ import annotations

from lenslink_protocol.crc import crc32
from lenslink_protocol.framing import VERSION
from lenslink_protocol.ids import VENDOR_FIRST, ErrorCode, MessageType
from lenslink_protocol.messages import (
    BY_TYPE,
    HEADER,
    AnyMessage,
    Error,
    Header,
    Hello,
    Malformed,
)
from lenslink_protocol.params import HEADER_BYTES, MAX_CONTROL, VERSION_MAJOR

from .plain_module import Item, PlainModule

_UNCHECKED_BYTES = 512
_BUFFER_BYTES = HEADER_BYTES + MAX_CONTROL


class CountsInAByte(PlainModule):
    """Counts the packets of each lane in 8 bits."""

    def encode(self, item: Item, lane: int) -> bytes:
        self.sequences[lane] &= 0xFF
        return super().encode(item, lane)


class CountsLane1InAByte(PlainModule):
    """Counts the packets of lane 1 in 8 bits."""

    def encode(self, item: Item, lane: int) -> bytes:
        if lane:
            self.sequences[lane] &= 0xFF
        return super().encode(item, lane)


class BelievesSettings(PlainModule):
    """Does not check the payload CRC of SetSettings, SetBudget and GetCalibration."""

    def is_payload_sound(self, header: Header, payload: bytes) -> bool:
        unchecked = (
            MessageType.SET_SETTINGS, MessageType.SET_BUDGET, MessageType.GET_CALIBRATION,
        )  # fmt: skip
        return header.type in unchecked or super().is_payload_sound(header, payload)


class BelievesLongPayloads(PlainModule):
    """Does not check the CRC of a long payload."""

    def is_payload_sound(self, header: Header, payload: bytes) -> bool:
        return len(payload) > _UNCHECKED_BYTES or super().is_payload_sound(header, payload)


class SmallBuffer(PlainModule):
    """Loses what does not fit into its buffer of one packet."""

    def send(self, data: bytes, lane: int = 0) -> None:
        super().send(data[: _BUFFER_BYTES - len(self.buffer)], lane)


class StallsInSessionsOnly(PlainModule):
    """Gives up a packet that stops only while a session is open."""

    def check_stall(self) -> None:
        if self.session is not None:
            super().check_stall()


class StallsBesideFrames(PlainModule):
    """Gives up no packet while a frame is under way."""

    def check_stall(self) -> None:
        if self.readout is None:
            super().check_stall()


class StallsOnce(PlainModule):
    """Waits for the rest of a packet that it finds inside one that it has given up."""

    _is_waiting = False

    def send(self, data: bytes, lane: int = 0) -> None:
        self._is_waiting = False
        super().send(data, lane)

    def check_stall(self) -> None:
        if self._is_waiting or not self.buffer or self.time - self.last_byte < self.stall_s:
            return
        if len(self.buffer) >= HEADER_BYTES:
            self.on_stalled(Header._make(HEADER.unpack_from(self.buffer)[1:]))
        del self.buffer[0]
        self.parse_buffer()
        self._is_waiting = True


class _KeepsSequence(PlainModule):
    """Uses the sequences of some packets not up. A subclass says of which."""

    def is_spared(self, header: Header, payload: bytes) -> bool:
        raise NotImplementedError

    def on_packet(self, header: Header, payload: bytes) -> None:
        session, newest = self.session, self.newest_sequence
        super().on_packet(header, payload)
        if session is not None and self.session is session and self.is_spared(header, payload):
            self.newest_sequence = newest


class VendorsUseNoSequence(_KeepsSequence):
    """Uses no sequence up for a vendor's type."""

    def is_spared(self, header: Header, payload: bytes) -> bool:
        return header.type >= VENDOR_FIRST


class UnknownUseNoSequence(_KeepsSequence):
    """Uses no sequence up for an unknown type."""

    def is_spared(self, header: Header, payload: bytes) -> bool:
        return header.type not in set(MessageType)


class MalformedUseNoSequence(_KeepsSequence):
    """Uses no sequence up for a malformed message."""

    def is_spared(self, header: Header, payload: bytes) -> bool:
        try:
            self.decode(header.type, payload)
        except (KeyError, Malformed):
            return header.type in BY_TYPE
        return False


class HellosUseNoSequence(_KeepsSequence):
    """Uses no sequence up for a repeated Hello."""

    def is_spared(self, header: Header, payload: bytes) -> bool:
        return header.type == MessageType.HELLO


class _BelievesSequence(PlainModule):
    """Uses up the sequence of a header that is not believed. A subclass says of which."""

    def is_taken(self, header: Header) -> bool:
        raise NotImplementedError

    def is_header_sound(self, header: Header) -> bool:
        is_sound = super().is_header_sound(header)
        is_own = self.session is not None and header.nonce == self.session.nonce
        if not is_sound and is_own and self.is_taken(header):
            self.use_sequence(header.sequence)
        return is_sound


class ForeignUseSequences(_BelievesSequence):
    """Uses up the sequence of a header of another major version."""

    def is_taken(self, header: Header) -> bool:
        return header.version >> 4 != VERSION_MAJOR


class TooLongUseSequences(_BelievesSequence):
    """Uses up the sequence of a header that announces too much."""

    def is_taken(self, header: Header) -> bool:
        return header.length > MAX_CONTROL


class DamagedGoBack(PlainModule):
    """Takes the sequence of a damaged packet for the newest one, an old one too."""

    def on_damaged_payload(self, header: Header) -> None:
        super().on_damaged_payload(header)
        if self.session is not None and header.nonce == self.session.nonce:
            self.newest_sequence = header.sequence


class StalledGoBack(PlainModule):
    """Takes the sequence of a packet that stopped for the newest one, an old one too."""

    def on_stalled(self, header: Header) -> None:
        newest = self.newest_sequence
        self.newest_sequence = (header.sequence - 1) & 0xFFFFFFFF
        super().on_stalled(header)
        if self.newest_sequence != header.sequence:
            self.newest_sequence = newest


class AnyFirstSequence(PlainModule):
    """Takes any sequence of the packet behind Hello."""

    _is_first = False

    def on_hello(self, header: Header, payload: bytes) -> None:
        before = self.session
        super().on_hello(header, payload)
        self._is_first = self._is_first or self.session is not before

    def use_sequence(self, sequence: int) -> bool:
        if self._is_first:
            self._is_first = False
            self.newest_sequence = sequence
            return True
        return super().use_sequence(sequence)


class TakesOldQueries(PlainModule):
    """Answers a Query with an old sequence."""

    def on_packet(self, header: Header, payload: bytes) -> None:
        newest = self.newest_sequence
        if header.type == MessageType.QUERY and self.is_of_session(header):
            self.newest_sequence = (header.sequence - 1) & 0xFFFFFFFF
            super().on_packet(header, payload)
            self.newest_sequence = max(newest, self.newest_sequence)
            return
        super().on_packet(header, payload)


class ForeignCloses(PlainModule):
    """Ends the session at a Close of another major version."""

    def is_header_sound(self, header: Header) -> bool:
        is_sound = crc32(self.buffer[: HEADER_BYTES - 4]) == header.header_crc
        if is_sound and header.type == MessageType.CLOSE and header.length <= MAX_CONTROL:
            return True
        return super().is_header_sound(header)


class LongForeignHellos(PlainModule):
    """Believes any length of a Hello of another major version."""

    def is_header_sound(self, header: Header) -> bool:
        is_sound = crc32(self.buffer[: HEADER_BYTES - 4]) == header.header_crc
        is_foreign = header.version >> 4 != VERSION_MAJOR and header.type == MessageType.HELLO
        return super().is_header_sound(header) or (is_sound and is_foreign)


class RefusesForeignHellos(PlainModule):
    """Refuses a Hello in a header of another major version under the nonce of its session."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        is_own = self.session is not None and header.nonce == self.session.nonce
        if is_own and not self.is_refused and header.version >> 4 != VERSION_MAJOR:
            self.use_sequence(header.sequence)
            self.send_control(Error(ErrorCode.VERSION, b""), header.frame)
            return
        super().on_hello(header, payload)


class HeaderDecides(PlainModule):
    """Judges a Hello by the version in its header."""

    def is_version_shared(self, header: Header, message: Hello) -> bool:
        return header.version == VERSION


class HeaderMustFit(PlainModule):
    """Refuses a Hello whose header has another major version, whatever it offers."""

    def is_version_shared(self, header: Header, message: Hello) -> bool:
        is_own = header.version >> 4 == VERSION_MAJOR
        return is_own and super().is_version_shared(header, message)


class AnswersOldRefusedHellos(PlainModule):
    """Answers a Hello with an old sequence under a nonce that it has refused."""

    def on_hello(self, header: Header, payload: bytes) -> None:
        if self.is_refused and self.session is not None and header.nonce == self.session.nonce:
            self.newest_sequence = (header.sequence - 1) & 0xFFFFFFFF
        super().on_hello(header, payload)


class StaysRefused(PlainModule):
    """Does not hear the Close of a nonce that it has refused."""

    def on_refused_close(self, header: Header, payload: bytes) -> None:
        """Ignore the Close."""


class _Exact(PlainModule):
    """Takes some messages only in the length that it knows."""

    kinds: tuple[int, ...] = (MessageType.SET_BUDGET, MessageType.GET_CALIBRATION)

    def is_wrong(self, kind: int, payload: bytes) -> bool:
        return int.from_bytes(payload[:2], "little") != BY_TYPE[kind].FIXED.size

    def decode(self, kind: int, payload: bytes) -> AnyMessage:
        if kind in self.kinds and self.is_wrong(kind, payload):
            raise Malformed("another size than this module knows")
        return super().decode(kind, payload)


class ExactBudgets(_Exact):
    """Refuses SetBudget and GetCalibration with more fields."""


class NoTails(_Exact):
    """Refuses bytes behind the fixed part of messages that have no tail."""

    kinds = (MessageType.STOP, MessageType.FLUSH, MessageType.HELLO, MessageType.CLOSE)

    def is_wrong(self, kind: int, payload: bytes) -> bool:
        return int.from_bytes(payload[:2], "little") < len(payload)


class ReadsReserved(_Exact):
    """Refuses SetBudget and SetSettings with a value in a reserved field."""

    kinds = (MessageType.SET_BUDGET, MessageType.SET_SETTINGS)

    def is_wrong(self, kind: int, payload: bytes) -> bool:
        return bool(payload[3])


class FillsUp(PlainModule):
    """Fills a short SetBudget or GetCalibration up with zeros."""

    def decode(self, kind: int, payload: bytes) -> AnyMessage:
        if kind in (MessageType.SET_BUDGET, MessageType.GET_CALIBRATION):
            size = BY_TYPE[kind].FIXED.size
            payload = (size.to_bytes(2, "little") + payload[2:]).ljust(size, b"\0")
        return super().decode(kind, payload)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-FRAME-1": (CountsInAByte, CountsLane1InAByte),
    "M-LANE-1": (CountsLane1InAByte,),
    "M-FRAME-2": (BelievesSettings, BelievesLongPayloads),
    "M-FRAME-3": (SmallBuffer,),
    "M-FRAME-4": (StallsInSessionsOnly, StallsBesideFrames, StallsOnce),
    "M-FRAME-5": (
        VendorsUseNoSequence,
        UnknownUseNoSequence,
        MalformedUseNoSequence,
        HellosUseNoSequence,
        ForeignUseSequences,
        TooLongUseSequences,
        DamagedGoBack,
        StalledGoBack,
        AnyFirstSequence,
        TakesOldQueries,
    ),
    "M-FRAME-6": (ForeignCloses, LongForeignHellos),
    "M-HELLO-1": (RefusesForeignHellos,),
    "M-HELLO-2": (HeaderMustFit,),
    "M-HELLO-5": (HeaderDecides, HeaderMustFit),
    "M-HELLO-6": (AnswersOldRefusedHellos, StaysRefused),
    "M-GROW-1": (ExactBudgets, NoTails, FillsUp),
    "M-GROW-2": (ReadsReserved,),
}
"""The plain modules that break a clause."""
