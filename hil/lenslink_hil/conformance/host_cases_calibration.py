"""Cases for hosts: calibrations (SPEC.md, 7.1)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.calibration import Blur, Noise, encode_calibration, get_kind
from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import ManifestKey, MessageType
from lenslink_protocol.manifest import encode_entry
from lenslink_protocol.messages import CalibrationEntry, CalibrationPiece, GetCalibration

from .cases import Cases, NotClaimed, check
from .module_peer import HostResult, Script
from .packets import Packet

CASES: Cases[type[Script]] = Cases()

_UNKNOWN = 0x7FF0
_PIECE = 16
_NOISE = Noise(tuple((1000 * gain, 10_000 * gain, 100 * gain) for gain in (1, 2, 4, 8)))
_BLUR = Blur(((0, 90_000), (3300, 99_000)))


class _Calibrated(Script):
    """A module with two calibrations, which come in pieces of 16 bytes."""

    def make_calibrations(self) -> dict[int, bytes]:
        """Return the bytes of each calibration."""
        return {get_kind(each): encode_calibration(each) for each in (_NOISE, _BLUR)}

    def make_manifest(self) -> bytes:
        data = super().make_manifest()
        for kind, calibration in self.make_calibrations().items():
            entry = CalibrationEntry(kind, len(calibration), crc32(calibration))
            data += encode_entry(ManifestKey.CALIBRATION, entry.encode())
        return data

    def on_other(self, packet: Packet) -> None:
        message = packet.message() if packet.kind == MessageType.GET_CALIBRATION else None
        if isinstance(message, GetCalibration):
            self.send_reply(packet, self.make_calibration_piece(message))
        else:
            super().on_other(packet)

    def make_calibration_piece(self, message: GetCalibration) -> CalibrationPiece:
        """Return the answer to GetCalibration."""
        data = self.make_calibrations().get(message.kind, b"")
        piece = data[message.offset :][:_PIECE]
        return CalibrationPiece(message.kind, message.offset, len(data), piece)

    def find_asked(self) -> list[GetCalibration]:
        """Return what the host has asked for. A host that asks for nothing is not tested."""
        packets = self.find_packets(MessageType.GET_CALIBRATION)
        if not packets:
            raise NotClaimed("the host reads no calibrations")
        asked = []
        for packet in packets:
            message = packet.message()
            assert isinstance(message, GetCalibration)
            asked.append(message)
        return asked


@CASES.add("H-CAL-1")
class UnknownCalibrations(_Calibrated):
    """The module has calibrations of unknown kinds, too: the host does not ask for them."""

    def make_calibrations(self) -> dict[int, bytes]:
        return {_UNKNOWN: b"newer", **super().make_calibrations(), 0xFFFF: b"\0"}

    def judge(self, result: HostResult) -> None:
        known = super().make_calibrations()
        strange = {each.kind for each in self.find_asked()} - known.keys()
        check(not strange, f"the host asks for calibrations of unknown kinds: {strange}")
        self.check_whole_frame(result)


class _WrongPiece(_Calibrated):
    """The second piece of a calibration does not fit: the host does not read on behind it."""

    def make_wrong(self, piece: CalibrationPiece) -> CalibrationPiece:
        """Return the piece that does not fit."""
        raise NotImplementedError

    def make_calibration_piece(self, message: GetCalibration) -> CalibrationPiece:
        piece = super().make_calibration_piece(message)
        return self.make_wrong(piece) if message.offset == _PIECE else piece

    def judge(self, result: HostResult) -> None:
        del result
        later = [each for each in self.find_asked() if each.offset > _PIECE]
        check(not later, f"the host reads on behind a piece that does not fit: {later[:2]}")
        # A host may try again, but not for ever.
        again = [each for each in self.find_asked() if each.offset == _PIECE]
        check(len(again) < 100, f"the host asks {len(again)} times for a piece that does not fit")


@CASES.add("H-CAL-1")
class CalibrationFromElsewhere(_WrongPiece):
    """A piece begins at another offset than was asked for."""

    def make_wrong(self, piece: CalibrationPiece) -> CalibrationPiece:
        return replace(piece, offset=piece.offset + 1)


@CASES.add("H-CAL-1")
class CalibrationOfAnotherLength(_WrongPiece):
    """A piece states another total than the manifest does."""

    def make_wrong(self, piece: CalibrationPiece) -> CalibrationPiece:
        return replace(piece, total=piece.total + 1)


@CASES.add("H-CAL-1")
class CalibrationOfAnotherKind(_WrongPiece):
    """A piece is of another calibration."""

    def make_wrong(self, piece: CalibrationPiece) -> CalibrationPiece:
        return replace(piece, kind=piece.kind + 1)


@CASES.add("H-CAL-1")
class EmptyCalibrationPiece(_WrongPiece):
    """A piece is empty: the host does not ask for the same offset for ever."""

    def make_wrong(self, piece: CalibrationPiece) -> CalibrationPiece:
        return replace(piece, piece=b"")


class _WrongFirstPiece(_WrongPiece):
    """The first piece of a calibration does not fit: the host does not read on behind it."""

    def make_calibration_piece(self, message: GetCalibration) -> CalibrationPiece:
        piece = super().make_calibration_piece(message)
        return self.make_wrong(piece) if message.offset == 0 else piece

    def judge(self, result: HostResult) -> None:
        later = [each for each in self.find_asked() if each.offset]
        check(not later, f"the host reads on behind a first piece that does not fit: {later[:2]}")
        super().judge(result)


@CASES.add("H-CAL-1")
class FirstCalibrationPieceIsOther(_WrongFirstPiece):
    """The first piece is of another calibration."""

    def make_wrong(self, piece: CalibrationPiece) -> CalibrationPiece:
        return replace(piece, kind=piece.kind + 1)


@CASES.add("H-CAL-1")
class FirstCalibrationPieceIsLonger(_WrongFirstPiece):
    """The first piece states another total than the manifest does."""

    def make_wrong(self, piece: CalibrationPiece) -> CalibrationPiece:
        return replace(piece, total=piece.total + 16)
