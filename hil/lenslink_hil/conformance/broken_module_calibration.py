"""Modules that break a clause on calibrations (SPEC.md, 7.1)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.calibration import Blur, Defect, Defects, Noise, encode_calibration, get_kind
from lenslink_protocol.ids import CalibrationKind, ErrorCode
from lenslink_protocol.messages import CalibrationPiece, GetCalibration

from .plain_module import PlainModule, Refused


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


class NoPiecesWhileStreaming(PlainModule):
    """Refuses to send its calibration while a stream runs."""

    def calibration_piece(self, message: GetCalibration) -> CalibrationPiece:
        if self.running_streams():
            raise Refused(ErrorCode.STATE)
        return super().calibration_piece(message)


class LowByteOfTheKind(PlainModule):
    """Looks at the low byte of a kind."""

    def calibration(self, kind: int) -> bytes | None:
        return super().calibration(kind & 0xFF)


class Offsets16Bits(PlainModule):
    """Looks at the low 16 bits of an offset."""

    def calibration_piece(self, message: GetCalibration) -> CalibrationPiece:
        low = replace(message, offset=message.offset & 0xFFFF)
        return replace(super().calibration_piece(low), offset=message.offset)


class InOrderOnly(PlainModule):
    """Sends the next piece of its calibration, whatever offset inside is asked for."""

    _next = 0

    def calibration_piece(self, message: GetCalibration) -> CalibrationPiece:
        at = self._next if 0 < message.offset < 200 else message.offset
        piece = super().calibration_piece(replace(message, offset=at % 384))
        self._next = at + len(piece.piece)
        return replace(piece, offset=message.offset)


CLASSES: dict[str, tuple[type[PlainModule], ...]] = {
    "M-CAL-1": (
        CalibrationFromZero,
        StatesTheLengthOfThePiece,
        StatesTheOffsetOfTheNext,
        OldCrc,
        AnyKind,
        NoPiecesWhileStreaming,
        LowByteOfTheKind,
        Offsets16Bits,
        InOrderOnly,
    ),
    "M-CAL-2": (FallingGains, CutBlur, SamePixelTwice),
    "M-STATE-1": (NoPiecesWhileStreaming,),
}
"""The plain modules that break a clause."""
