"""Cases for modules: the manifest (SPEC.md, 7)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from lenslink_protocol.ids import Capability, ControlId, ErrorCode, ManifestKey, ModeUse
from lenslink_protocol.manifest import iterate_entries
from lenslink_protocol.messages import (
    TEXT_BY_KEY,
    Challenge,
    Flush,
    Flushed,
    GetManifest,
    ManifestPiece,
    ModeEntry,
    Proof,
    Stop,
)
from lenslink_protocol.params import MAX_CONTROL, MAX_TEXT

from .cases import Cases, Failed, NotClaimed, check
from .host_peer import ALL, PLENTY, PREVIEW, HostPeer
from .packets import MASK_32, describe

CASES: Cases[Callable[[HostPeer], None]] = Cases()


@CASES.add("M-MANIFEST-1")
def pieces_fit(peer: HostPeer) -> None:
    """The pieces make up as much as HelloReply says; from anywhere; and not beyond the end."""
    reply = peer.open_session()
    data = peer.read_manifest_bytes()
    check(len(data) == reply.manifest_bytes, f"{len(data)} bytes, not {reply.manifest_bytes}")
    piece = peer.call(GetManifest(5), ManifestPiece)
    want = data[5 : 5 + len(piece.piece)]
    check(piece.offset == 5 and piece.piece == want, "a piece from byte 5 on differs")
    check(piece.total == len(data), f"a piece states {piece.total} bytes in all")
    peer.expect_error(GetManifest(len(data)), ErrorCode.UNSUPPORTED)


@CASES.add("M-MANIFEST-1")
def pieces_from_anywhere(peer: HostPeer) -> None:
    """A piece begins at the byte that was asked for, and the last byte is a piece of its own."""
    peer.open_session()
    data = peer.read_manifest_bytes()
    for offset in (0, 1, 17, len(data) // 2, len(data) - 1):
        piece = peer.call(GetManifest(offset), ManifestPiece)
        said = f"a piece from byte {offset}: offset {piece.offset}, total {piece.total}"
        check((piece.offset, piece.total) == (offset, len(data)), said)
        wanted = data[offset : offset + len(piece.piece)]
        check(piece.piece and piece.piece == wanted, f"the piece from byte {offset} differs")
    for offset in (len(data), len(data) + 1, 1 << 20, 0xFFFFFFFF):
        peer.expect_error(GetManifest(offset), ErrorCode.UNSUPPORTED)


@CASES.add("M-MANIFEST-1")
def far_beyond_the_end(peer: HostPeer) -> None:
    """Offsets beyond the end are UNSUPPORTED, large ones too; the last byte is a piece."""
    reply = peer.open_session()
    total = reply.manifest_bytes
    for offset in (total, total + 1, 0x10000, 0x7FFFFFFF, MASK_32):
        peer.expect_error(GetManifest(offset), ErrorCode.UNSUPPORTED)
    piece = peer.call(GetManifest(total - 1), ManifestPiece)
    said = f"the last byte is answered with {describe(piece)}"
    check(len(piece.piece) == 1 and piece.total == total, said)
    most = MAX_CONTROL - ManifestPiece.FIXED.size
    check(len(peer.call(GetManifest(0), ManifestPiece).piece) <= most, "a piece is too long")


@CASES.add("M-MANIFEST-2")
def what_it_says(peer: HostPeer) -> None:
    """Its entries are there and sound, and the same when it is read again."""
    peer.open_session()
    data = peer.read_manifest_bytes()
    try:
        manifest = peer.read_manifest()
    except ValueError as error:
        raise Failed(f"the manifest: {error}") from None
    check(manifest.color is not None, "the manifest has no colours")
    texts = (manifest.maker, manifest.model, manifest.serial, manifest.firmware, manifest.board)
    check(all(texts), f"the manifest lacks a text: {texts}")
    check(peer.read_manifest_bytes() == data, "the manifest differs when it is read again")


@CASES.add("M-MANIFEST-2")
def the_same_in_each_session(peer: HostPeer) -> None:
    """The manifest is the same in the next session, and while a stream runs."""
    peer.open_session()
    data = peer.read_manifest_bytes()
    peer.close()
    fresh = peer.start_session()
    fresh.open_session()
    check(fresh.read_manifest_bytes() == data, "the manifest differs in the next session")
    fresh.configure(PREVIEW)
    fresh.grant_credits(PLENTY, PLENTY)
    fresh.start_stream(20000)
    check(fresh.read_manifest_bytes() == data, "the manifest differs while a stream runs")


@CASES.add("M-MANIFEST-2", "M-MANIFEST-1")
def the_same_whatever_is_offered(peer: HostPeer) -> None:
    """The manifest and its length are the same in sessions with all capabilities, one, and none."""
    session = peer
    data = b""
    for capabilities in (sum(Capability), 0, *Capability):
        reply = session.open_session(capabilities)
        found = session.read_manifest_bytes()
        said = f"HelloReply states {reply.manifest_bytes} bytes, and {len(found)} come"
        check(reply.manifest_bytes == len(found), said)
        name = f"the capabilities {int(capabilities):#x}"
        check(found == (data or found), f"the manifest differs in a session with {name}")
        data = found
        session = session.start_session()


@CASES.add("M-MANIFEST-2", "M-AUTH-1")
def schemes_are_listed(peer: HostPeer) -> None:
    """The manifest lists the schemes of a module with AUTH: each is proved, and some other not."""
    has_auth = peer.open_session(ALL | Capability.AUTH).capabilities & Capability.AUTH
    listed = [
        struct.unpack_from("<H", value)[0]
        for key, value in iterate_entries(peer.read_manifest_bytes())
        if key == ManifestKey.AUTH
    ]
    if not has_auth:
        raise NotClaimed("the module proves nothing (no AUTH)")
    check(listed, "the module has AUTH, and the manifest lists no scheme")
    for scheme in listed:
        answer = peer.try_call(Challenge(scheme, peer.source.randbytes(32)))
        said = f"scheme {scheme:#x} is listed, and a challenge gets {describe(answer)}"
        check(isinstance(answer, Proof), said)
    other = next(each for each in range(0x8000, 0x9000) if each not in listed)
    peer.expect_error(Challenge(other, b"c"), ErrorCode.UNSUPPORTED)


@CASES.add("M-MANIFEST-2", is_first=True)
def the_manifest_after_a_frame(peer: HostPeer) -> None:
    """The manifest is the same before and after frames, refusals and a Flush."""
    peer.open_session()
    first = peer.read_manifest_bytes()
    peer.take_still()
    peer.configure(PREVIEW)
    peer.start_stream()
    peer.wait_for_frame(PREVIEW)
    peer.try_call(Stop(9))
    check(first == peer.read_manifest_bytes(), "the manifest changes while the preview runs")
    peer.call(Flush(), Flushed)
    fresh = peer.start_session()
    fresh.open_session()
    check(first == fresh.read_manifest_bytes(), "the manifest changes behind frames and a Flush")
    fresh.close()


def _read_entries(peer: HostPeer) -> list[tuple[int, bytes]]:
    return list(iterate_entries(peer.read_manifest_bytes()))


@CASES.add("M-MANIFEST-2")
def texts_names_and_reserved_fields(peer: HostPeer) -> None:
    """Texts are UTF-8 without a zero at the end, names ASCII, masks known, reserved fields 0."""
    peer.open_session()
    entries = _read_entries(peer)
    for key, value in entries:
        if key in TEXT_BY_KEY:
            try:
                value.decode()
            except UnicodeDecodeError:
                raise Failed(f"{ManifestKey(key).name} is no UTF-8: {value.hex()}") from None
            said = f"{ManifestKey(key).name} is {value!r}"
            check(len(value) <= MAX_TEXT and not value.endswith(b"\0"), said)
        elif key == ManifestKey.SENSOR:
            check(
                not value[_SENSOR_RESERVED], f"reserved of SensorEntry is {value[_SENSOR_RESERVED]}"
            )
        elif key == ManifestKey.COLOR:
            said = f"reserved of ColorEntry is {value[2:4].hex()}"
            check(not any(value[2:4]), said)
        elif key == ManifestKey.MODE:
            mode = ModeEntry.decode(value)
            name = mode.name.rstrip(b"\0")
            said = f"the name of mode {mode.id} is {mode.name!r}"
            check(name and name.isascii() and name.decode("ascii").isprintable(), said)
            check(mode.use <= sum(ModeUse), f"use of mode {mode.id} is {mode.use:#x}")
    schemes = [value.hex() for key, value in entries if key == ManifestKey.AUTH]
    check(len(set(schemes)) == len(schemes), f"the manifest lists a scheme twice: {schemes}")


_SENSOR_RESERVED = 7


@CASES.add("M-MANIFEST-2", "M-SET-2")
def ranges_of_flags(peer: HostPeer) -> None:
    """SETTLED has the values 0 and 1, and a place of the ROI is not negative."""
    peer.open_session()
    manifest = peer.get_manifest()
    settled = manifest.find_control(ControlId.SETTLED)
    if settled is not None:
        ends = (settled.minimum, settled.maximum)
        said = f"the manifest states {ends} as the range of SETTLED"
        check(0 <= settled.minimum <= settled.maximum <= 1, said)
    for control in (ControlId.ROI_X, ControlId.ROI_Y):
        entry = manifest.find_control(control)
        said = f"the manifest states a negative place of {control.name}"
        check(entry is None or entry.minimum >= 0, said)
