"""Modules that break a clause on the manifest (SPEC.md, 7)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import Capability, ControlId, ErrorCode, ManifestKey
from lenslink_protocol.manifest import encode_entry, iterate_entries
from lenslink_protocol.messages import GetManifest, Hello, HelloReply, ManifestPiece

from .plain_module import WIDTH, PlainModule, Refused


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


class HidesSchemes(PlainModule):
    """Does not list its authentication scheme."""

    def list_schemes(self) -> list[int]:
        return []


class ListsASchemeTooMany(PlainModule):
    """Lists a scheme that it does not have."""

    def list_schemes(self) -> list[int]:
        return [*super().list_schemes(), 0x8002]


class ManifestOfTheDay(PlainModule):
    """Changes its serial number once it has taken a frame."""

    def manifest_bytes(self) -> bytes:
        data = super().manifest_bytes()
        return data.replace(b"PLAIN-1", b"PLAIN-2") if self.next_frame else data


class HidesWhatIsNotShared(PlainModule):
    """Lists its authentication schemes in sessions with AUTH only."""

    def list_schemes(self) -> list[int]:
        return super().list_schemes() if self.used_capabilities & Capability.AUTH else []


class LengthWithEvents(PlainModule):
    """States a longer manifest in the HelloReply of a session with EVENTS."""

    def hello_reply(self, message: Hello) -> HelloReply:
        reply = super().hello_reply(message)
        return replace(reply, manifest_bytes=reply.manifest_bytes + 4 * self.has_events())


class TextsWithAZero(_OtherManifest):
    """Ends its model with a zero byte."""

    def change(self, key: int, value: bytes) -> bytes | None:
        return value + b"\0" if key == ManifestKey.MODEL else value


class TextsOfLatin1(_OtherManifest):
    """Has a maker that is no UTF-8."""

    def change(self, key: int, value: bytes) -> bytes | None:
        return b"M\xfcller" if key == ManifestKey.MAKER else value


class ReservedOfColors(_OtherManifest):
    """Sets the reserved field of its colours."""

    def change(self, key: int, value: bytes) -> bytes | None:
        return value[:2] + b"\1\0" + value[4:] if key == ManifestKey.COLOR else value


class ModesWithoutName(_OtherManifest):
    """Has modes without a name."""

    def change(self, key: int, value: bytes) -> bytes | None:
        return value[:16] + bytes(16) + value[32:] if key == ManifestKey.MODE else value


class UnknownUse(_OtherManifest):
    """Sets a bit of a mode's use that there is not."""

    def change(self, key: int, value: bytes) -> bytes | None:
        return value[:7] + b"\7" + value[8:] if key == ManifestKey.MODE else value


class SettledOfMany(_OtherManifest):
    """States more values of SETTLED than there are."""

    def change(self, key: int, value: bytes) -> bytes | None:
        is_settled = key == ManifestKey.CONTROL and value[0] == ControlId.SETTLED
        return value[:8] + b"\5\0\0\0" + value[12:] if is_settled else value


class SilentWhileStreaming(PlainModule):
    """Refuses to send its manifest while a stream runs."""

    def on_get_manifest(self, number: int, message: GetManifest) -> None:
        if self.running_streams():
            raise Refused(ErrorCode.STATE)
        super().on_get_manifest(number, message)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-MANIFEST-1": (
        PiecesFromZero,
        EmptyBeyondTheEnd,
        TotalOfThePiece,
        LengthWithEvents,
        SilentWhileStreaming,
    ),
    "M-MANIFEST-2": (
        NoColors,
        NoSerial,
        OddMode,
        HidesSchemes,
        ListsASchemeTooMany,
        ManifestOfTheDay,
        HidesWhatIsNotShared,
        TextsWithAZero,
        TextsOfLatin1,
        ReservedOfColors,
        ModesWithoutName,
        UnknownUse,
        SettledOfMany,
    ),
    "M-SET-2": (SettledOfMany,),
}
"""The plain modules that break a clause."""
