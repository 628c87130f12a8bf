"""Cases for modules: calibrations (SPEC.md, 7.1)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.calibration import parse_calibration
from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import CalibrationKind, ErrorCode
from lenslink_protocol.messages import CalibrationEntry, CalibrationPiece, GetCalibration, Malformed
from lenslink_protocol.params import MAX_CONTROL

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import HostPeer
from .packets import describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()

_UNKNOWN = 0x7FF0


def _read(peer: HostPeer, entry: CalibrationEntry) -> bytes:
    """Return a calibration. Raise :exc:`Failed` if its pieces do not fit."""
    data = b""
    while len(data) < entry.total:
        piece = peer.call(GetCalibration(entry.kind, len(data)), CalibrationPiece)
        said = f"byte {len(data)} of {entry} was asked for, and came {describe(piece)}"
        fits = (piece.kind, piece.offset, piece.total) == (entry.kind, len(data), entry.total)
        check(fits and piece.piece, said)
        check(len(piece.piece) <= MAX_CONTROL - CalibrationPiece.FIXED.size, "a piece is too long")
        data += piece.piece
    check(len(data) == entry.total, f"{len(data)} bytes come of {entry}")
    return data


@CASES.add("M-CAL-1")
def calibrations_fit(peer: HostPeer) -> None:
    """The pieces make up what the manifest states: length, CRC, from anywhere, not beyond."""
    peer.open_session()
    for entry in peer.get_manifest().calibrations:
        data = _read(peer, entry)
        check(crc32(data) == entry.crc32, f"the CRC of {entry} is {crc32(data):#x}")
        last = peer.call(GetCalibration(entry.kind, entry.total - 1), CalibrationPiece)
        check(last.piece == data[-1:], f"the last byte is answered with {describe(last)}")
        for offset in (entry.total, 0x7FFFFFFF, 0xFFFFFFFF):
            peer.expect_error(GetCalibration(entry.kind, offset), ErrorCode.UNSUPPORTED)


@CASES.add("M-CAL-1")
def unlisted_calibrations(peer: HostPeer) -> None:
    """A kind that the manifest does not list is UNSUPPORTED."""
    peer.open_session()
    listed = {entry.kind for entry in peer.get_manifest().calibrations}
    for kind in {0, _UNKNOWN, 0xFFFF, *CalibrationKind} - listed:
        peer.expect_error(GetCalibration(kind, 0), ErrorCode.UNSUPPORTED)


@CASES.add("M-CAL-2")
def rules_of_calibrations(peer: HostPeer) -> None:
    """Each calibration keeps the rules of Table 14."""
    peer.open_session()
    entries = peer.get_manifest().calibrations
    if not entries:
        raise NotClaimed("the module has no calibrations")
    for entry in entries:
        try:
            parse_calibration(entry.kind, _read(peer, entry))
        except Malformed as error:
            raise Failed(str(error)) from None
