"""Cases for modules: calibrations (SPEC.md, 7.1)."""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.calibration import parse_calibration
from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import CalibrationKind, ErrorCode
from lenslink_protocol.messages import (
    Accepted,
    CalibrationEntry,
    CalibrationPiece,
    GetCalibration,
    Malformed,
    Stop,
)
from lenslink_protocol.params import MAX_CONTROL

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import PLENTY, PREVIEW, HostPeer
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
        # 0x10000 is an offset that has no other bits than those above 16.
        beyond = max(entry.total, 0x10000)
        for offset in (entry.total, entry.total + 1, beyond, 0x7FFFFFFF, 0xFFFFFFFF):
            peer.expect_error(GetCalibration(entry.kind, offset), ErrorCode.UNSUPPORTED)
        for offset in (entry.total // 2, 1, entry.total // 3, 0):
            piece = peer.call(GetCalibration(entry.kind, offset), CalibrationPiece)
            said = f"the piece of {entry} from byte {offset} differs"
            check(piece.piece == data[offset : offset + len(piece.piece)], said)
            check(piece.offset == offset, said)


@CASES.add("M-CAL-1")
def unlisted_calibrations(peer: HostPeer) -> None:
    """A kind that the manifest does not list is UNSUPPORTED."""
    peer.open_session()
    listed = {entry.kind for entry in peer.get_manifest().calibrations}
    strange = {0, _UNKNOWN, 0xFFFF, *CalibrationKind, *(kind | 0x100 for kind in listed)}
    for kind in strange - listed:
        peer.expect_error(GetCalibration(kind, 0), ErrorCode.UNSUPPORTED)


@CASES.add("M-CAL-1", "M-MANIFEST-1", "M-STATE-1")
def read_while_a_stream_runs(peer: HostPeer) -> None:
    """Manifest and calibrations are read while streams run, and are the same behind frames."""
    peer.open_session()
    entries = peer.get_manifest().calibrations
    before = [_read(peer, entry) for entry in entries]
    whole = peer.read_manifest_bytes()
    peer.configure(PREVIEW)
    peer.grant_credits(PLENTY, PLENTY)
    peer.start_stream()
    peer.wait_for_frame(PREVIEW)
    check(peer.read_manifest_bytes() == whole, "the manifest differs while a stream runs")
    for entry, data in zip(entries, before, strict=True):
        said = f"{entry} differs while a stream runs"
        check(_read(peer, entry) == data, said)
    peer.call(Stop(PREVIEW), Accepted)
    for entry, data in zip(entries, before, strict=True):
        check(_read(peer, entry) == data, f"{entry} differs behind frames")


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
