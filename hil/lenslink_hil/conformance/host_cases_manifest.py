"""Cases for hosts: the manifest (SPEC.md, 7)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.ids import ControlId, ManifestKey, MessageType, PixelFormat
from lenslink_protocol.manifest import encode_entry, iterate_entries
from lenslink_protocol.messages import (
    AuthEntry,
    CalibrationEntry,
    ControlEntry,
    DelayEntry,
    FocusEntry,
    FormatEntry,
    GetManifest,
    ManifestPiece,
    OpticsEntry,
    PowerEntry,
    ScaleEntry,
)
from lenslink_protocol.params import MAX_MANIFEST

from .cases import Cases, check
from .module_peer import HostResult, Script
from .packets import Packet

CASES: Cases[type[Script]] = Cases()

_VENDOR_SCHEME = 0x8001
_UNKNOWN_KIND = 0x7FF0


@CASES.add("H-MANIFEST-1")
class StrangeManifest(Script):
    """Keys that do not exist yet, a vendor's, and values that have grown."""

    def make_manifest(self) -> bytes:
        grown = (ManifestKey.SENSOR, ManifestKey.COLOR, ManifestKey.MODE)
        data = encode_entry(0x7FF0, b"newer") + encode_entry(0x8001, b"a vendor's")
        for key, value in iterate_entries(super().make_manifest()):
            data += encode_entry(key, value + b"more" if key in grown else value)
        return data


@CASES.add("H-MANIFEST-1")
class GrownEntries(Script):
    """Entries that a manifest need not have have grown, each by another number of bytes."""

    def make_manifest(self) -> bytes:
        optional = (
            (ManifestKey.FORMAT, FormatEntry(PixelFormat.RG12).encode()),
            (ManifestKey.OPTICS, OpticsEntry(4000, 26_000, 1400, 10_000).encode()),
            (
                ManifestKey.CONTROL,
                ControlEntry(ControlId.EXPOSURE, 1, 10, 1_000_000, 1, 10_000).encode(),
            ),
            (ManifestKey.POWER, PowerEntry(100, 200).encode()),
            (ManifestKey.SCALE, ScaleEntry(1000, 1000).encode()),
            (ManifestKey.AUTH, AuthEntry(_VENDOR_SCHEME).encode()),
            (ManifestKey.DELAY, DelayEntry(1).encode()),
            (ManifestKey.FOCUS, FocusEntry(0, 0).encode()),
            (ManifestKey.FOCUS, FocusEntry(100, 5000).encode()),
            (ManifestKey.CALIBRATION, CalibrationEntry(_UNKNOWN_KIND, 10, 0).encode()),
        )
        data = super().make_manifest()
        for more, (key, value) in enumerate(optional, 1):
            data += encode_entry(key, value + bytes(more))
        return data


@CASES.add("H-MANIFEST-1")
class AnyOrder(Script):
    """Entries stand in another order, with unknown ones that are empty, first and last."""

    def make_manifest(self) -> bytes:
        entries = list(iterate_entries(super().make_manifest()))
        data = encode_entry(0x0003 + 0x7000, b"")
        for key, value in reversed(entries):
            data += encode_entry(key, value)
        return data + encode_entry(0xFFFF, b"\x01\x00") + encode_entry(0x7FFE, b"")


@CASES.add("H-MANIFEST-2")
class EndlessManifest(Script):
    """A manifest of 16 MiB: the host does not read it."""

    limit_s = 3.0

    def make_piece(self, message: GetManifest) -> ManifestPiece:
        check(message.offset == 0, f"the host reads on in a manifest of 16 MiB ({message})")
        return replace(super().make_piece(message), total=1 << 24)

    def judge(self, result: HostResult) -> None:
        check(not result.ok, "the host claims to have a frame")


@CASES.add("H-MANIFEST-2", "H-MANIFEST-1")
class LargestManifest(Script):
    """A manifest of exactly MAX_MANIFEST bytes is read."""

    limit_s = 15.0

    def make_manifest(self) -> bytes:
        data = super().make_manifest()
        return data + encode_entry(0x8001, bytes(MAX_MANIFEST - len(data) - 4))


class _WrongPieces(Script):
    """A manifest whose pieces do not fit: the host does not read on in it."""

    limit_s = 3.0
    good_pieces = 1
    """Pieces that fit, before one that does not."""
    piece_bytes = 100
    _wrong_at = 0.0

    def make_wrong(self, piece: ManifestPiece) -> ManifestPiece:
        """Return the piece that does not fit."""
        raise NotImplementedError

    def make_piece(self, message: GetManifest) -> ManifestPiece:
        piece = super().make_piece(message)
        return replace(piece, piece=piece.piece[: self.piece_bytes])

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        asked = sorted({p.id for p in self.find_packets(MessageType.GET_MANIFEST)})
        if len(asked) <= self.good_pieces:
            super().on_get_manifest(packet, message)
            return
        more = len(asked) > self.good_pieces + 1
        check(not more, f"the host reads on behind a piece that does not fit ({message})")
        self.send_reply(packet, self.make_wrong(self.make_piece(message)))

    def judge(self, result: HostResult) -> None:
        later = self.find_packets(MessageType.CONFIGURE, MessageType.CAPTURE, MessageType.STREAM)
        check(not later, f"the host goes on with {[str(p) for p in later[:2]]}")
        check(not result.ok, "the host claims to have a frame")


@CASES.add("H-MANIFEST-2")
class OneByteTooMany(_WrongPieces):
    """HelloReply and each piece state a manifest of MAX_MANIFEST + 1 bytes, and it has them."""

    good_pieces = 0
    piece_bytes = 1000

    def make_manifest(self) -> bytes:
        data = super().make_manifest()
        return data + encode_entry(0x8001, bytes(MAX_MANIFEST + 1 - len(data) - 4))

    def make_wrong(self, piece: ManifestPiece) -> ManifestPiece:
        return piece


@CASES.add("H-MANIFEST-2")
class LongPieces(_WrongPieces):
    """A piece states MAX_MANIFEST + 1 bytes, and HelloReply fewer."""

    good_pieces = 0

    def make_wrong(self, piece: ManifestPiece) -> ManifestPiece:
        return replace(piece, total=MAX_MANIFEST + 1)


@CASES.add("H-MANIFEST-2")
class PieceFromElsewhere(_WrongPieces):
    """A piece begins at another offset than was asked for."""

    def make_wrong(self, piece: ManifestPiece) -> ManifestPiece:
        return replace(piece, offset=piece.offset + 1)


@CASES.add("H-MANIFEST-2")
class OtherTotal(_WrongPieces):
    """A piece states another total than the first one."""

    def make_wrong(self, piece: ManifestPiece) -> ManifestPiece:
        return replace(piece, total=piece.total + 1)


@CASES.add("H-MANIFEST-2")
class EmptyPiece(_WrongPieces):
    """A piece is empty: the host does not ask for the same offset for ever."""

    def make_wrong(self, piece: ManifestPiece) -> ManifestPiece:
        return replace(piece, piece=b"")


@CASES.add("H-MANIFEST-2")
class PieceBeyondTheEnd(_WrongPieces):
    """The last piece is longer than the manifest."""

    def make_wrong(self, piece: ManifestPiece) -> ManifestPiece:
        data = self.make_manifest()
        return replace(piece, piece=data[piece.offset :] + b"beyond")


@CASES.add("H-MANIFEST-2")
class EarlierPiece(Script):
    """A piece begins before the offset that was asked for: it does not fit."""

    limit_s = 4.0

    def make_piece(self, message: GetManifest) -> ManifestPiece:
        data = self.make_manifest()
        offset = max(0, message.offset - 10)
        return ManifestPiece(offset, len(data), data[offset:][:110])

    def judge(self, result: HostResult) -> None:
        asked = [GetManifest.decode(p.payload).offset
                 for p in self.find_packets(MessageType.GET_MANIFEST)]  # fmt: skip
        used = [offset for offset in asked if offset > 110]
        check(not used, f"behind a piece of another offset byte {used[:1]} is asked for")
        configured = self.find_packets(MessageType.CONFIGURE)
        check(not configured, "a stream is configured by a manifest whose pieces do not fit")
        check(not result.ok, "the host claims to have a frame")


@CASES.add("H-MANIFEST-2")
class FirstPieceFromElsewhere(PieceFromElsewhere):
    """The first piece begins at offset 1."""

    good_pieces = 0
