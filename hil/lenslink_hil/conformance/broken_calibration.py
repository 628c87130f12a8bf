"""Modules and hosts that break a clause about calibrations (M-CAL, H-CAL)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.calibration import Blur, Defect, Defects, Noise, encode_calibration, get_kind
from lenslink_protocol.ids import CalibrationKind
from lenslink_protocol.messages import CalibrationEntry, CalibrationPiece, GetCalibration

from .plain_module import PlainModule
from .virtual_host import VirtualHost


class CalibrationFromZero(PlainModule):
    """Begins each piece of a calibration at its start."""

    def calibration_piece(self, message: GetCalibration) -> CalibrationPiece:
        piece = super().calibration_piece(replace(message, offset=0))
        return replace(piece, offset=message.offset)


class StatesTheLengthOfThePiece(PlainModule):
    """States the length of the piece for that of the calibration."""

    def calibration_piece(self, message: GetCalibration) -> CalibrationPiece:
        piece = super().calibration_piece(message)
        return replace(piece, total=len(piece.piece))


class StatesTheOffsetOfTheNext(PlainModule):
    """States the offset behind a piece of a calibration."""

    def calibration_piece(self, message: GetCalibration) -> CalibrationPiece:
        piece = super().calibration_piece(message)
        return replace(piece, offset=piece.offset + len(piece.piece))


class OldCrc(PlainModule):
    """Was calibrated again, and its manifest was not."""

    def crc_of(self, data: bytes) -> int:
        return super().crc_of(data) ^ 1


class AnyKind(PlainModule):
    """Answers for a calibration that it does not list."""

    def calibration(self, kind: int) -> bytes | None:
        return super().calibration(kind) or b"\0"


class FallingGains(PlainModule):
    """Lists the gains of its noise profile from the highest."""

    def calibrations(self) -> dict[int, bytes]:
        noise = Noise(((2000, 20, 2), (1000, 10, 1)))
        return {get_kind(noise): encode_calibration(noise)}


class CutBlur(PlainModule):
    """States more points of its blur than there are."""

    def calibrations(self) -> dict[int, bytes]:
        blur = Blur(((0, 90_000), (3300, 99_000)))
        return {CalibrationKind.BLUR: encode_calibration(blur)[:-8]}


class SamePixelTwice(PlainModule):
    """Lists a defect twice."""

    def calibrations(self) -> dict[int, bytes]:
        defects = Defects((Defect(1, 5, 5), Defect(1, 5, 5)))
        return {get_kind(defects): encode_calibration(defects)}


class ReadsAnyCalibration(VirtualHost):
    """Reads every calibration, of unknown kinds too."""

    def is_known_calibration(self, entry: CalibrationEntry) -> bool:
        del entry
        return True


class AppendsAnyOffset(VirtualHost):
    """Appends each piece of a calibration, whatever offset it states."""

    def is_calibration_piece_wrong(
        self, piece: CalibrationPiece, data: bytes, entry: CalibrationEntry
    ) -> bool:
        whole = replace(piece, offset=len(data))
        return super().is_calibration_piece_wrong(whole, data, entry)


class AppendsAnyTotal(VirtualHost):
    """Appends each piece of a calibration, whatever total it states."""

    def is_calibration_piece_wrong(
        self, piece: CalibrationPiece, data: bytes, entry: CalibrationEntry
    ) -> bool:
        whole = replace(piece, total=entry.total)
        return super().is_calibration_piece_wrong(whole, data, entry)


class AppendsAnyKind(VirtualHost):
    """Appends each piece of a calibration, whatever kind it states."""

    def is_calibration_piece_wrong(
        self, piece: CalibrationPiece, data: bytes, entry: CalibrationEntry
    ) -> bool:
        whole = replace(piece, kind=entry.kind)
        return super().is_calibration_piece_wrong(whole, data, entry)


class AsksForEmptyPiecesForEver(VirtualHost):
    """Asks again for an offset of a calibration when it gets an empty piece."""

    def is_calibration_piece_wrong(
        self, piece: CalibrationPiece, data: bytes, entry: CalibrationEntry
    ) -> bool:
        return bool(piece.piece) and super().is_calibration_piece_wrong(piece, data, entry)


MODULES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-CAL-1": (
        CalibrationFromZero,
        StatesTheLengthOfThePiece,
        StatesTheOffsetOfTheNext,
        OldCrc,
        AnyKind,
    ),
    "M-CAL-2": (FallingGains, CutBlur, SamePixelTwice),
}
"""The plain modules that break a clause."""

HOSTS: dict[str, tuple[type[VirtualHost], ...]] = {
    "H-CAL-1": (
        ReadsAnyCalibration,
        AppendsAnyOffset,
        AppendsAnyTotal,
        AppendsAnyKind,
        AsksForEmptyPiecesForEver,
    ),
}
"""The broken hosts."""
