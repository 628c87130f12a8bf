"""Hosts that break a clause on calibrations (SPEC.md, 7.1)."""

from __future__ import annotations

from dataclasses import replace

from lenslink_protocol.messages import CalibrationEntry, CalibrationPiece

from .virtual_host import VirtualHost


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


class LooksAtLaterPieces(VirtualHost):
    """Takes the first piece of a calibration, whatever kind and total it states."""

    def is_calibration_piece_wrong(
        self, piece: CalibrationPiece, data: bytes, entry: CalibrationEntry
    ) -> bool:
        if not data:
            piece = replace(piece, kind=entry.kind, total=entry.total)
        return super().is_calibration_piece_wrong(piece, data, entry)


HOSTS: dict[str, tuple[type[VirtualHost], ...]] = {
    "H-CAL-1": (
        ReadsAnyCalibration,
        AppendsAnyOffset,
        AppendsAnyTotal,
        AppendsAnyKind,
        AsksForEmptyPiecesForEver,
        LooksAtLaterPieces,
    ),
}
"""The hosts that break a clause by themselves."""
