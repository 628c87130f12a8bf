"""Hosts that break one clause each, in the ways in which implementers get the clause wrong.

The table is :data:`BROKEN`. ``selftest`` checks that a case of the clause fails each of them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from lenslink.receive.assembly import Assembly
from lenslink.receive.reassembly import Reassembly
from lenslink_protocol.controls import Setting, encode_settings
from lenslink_protocol.framing import VERSION
from lenslink_protocol.hmac_proof import make_proof
from lenslink_protocol.ids import ControlId, ErrorCode, MessageType, PixelFormat
from lenslink_protocol.manifest import Manifest, Mode
from lenslink_protocol.messages import (
    AnyMessage,
    Close,
    Configure,
    Error,
    FrameEnd,
    FrameStart,
    GetManifest,
    Heartbeat,
    HelloReply,
    ManifestPiece,
    Proof,
    Resend,
)
from lenslink_protocol.params import AUTH_BYTES, EVERY_FRAME, MAX_CONTROL

from . import (
    broken_host_authentication,
    broken_host_calibration,
    broken_host_capture,
    broken_host_clock,
    broken_host_closing,
    broken_host_credits,
    broken_host_growth,
    broken_host_lanes,
    broken_host_liveness,
    broken_host_manifest,
    broken_host_messages,
    broken_host_opening,
    broken_host_packets,
    broken_host_packing,
    broken_host_requests,
    broken_host_resend,
    broken_host_settings,
    broken_host_watch,
)
from .defects import (
    AnyMajor,
    AnyNonce,
    Broken,
    Defect,
    Heals,
    OddFields,
    OddSequence,
    OnlyClean,
    Strict,
    Swallows,
    drop_types,
    edit_message,
    ignore_types,
)
from .host_cases_authentication import OTHER_SERIAL
from .module_peer import HEIGHT, WIDTH
from .packets import Packet
from .peer_wire import Tamper
from .virtual_host import VirtualHost
from .virtual_module import KEY


class AnySequence(Defect):
    """Takes packets whatever their sequence."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        self._count += 1
        # Sealed anew, but a damaged payload stays damaged.
        changes = {"payload_crc": packet.header.payload_crc, "sequence": self._count}
        return [packet.encode(**changes)] if data else []


class VendorEnds(Defect):
    """Takes a vendor's type for the end of the session."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind < 0xE0:
            return [data]
        return [packet.encode(type=MessageType.CLOSE, payload=Close(0).encode())]


class ManyNonces(Defect):
    """Says Hello under another nonce each time."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.HELLO:
            return [data]
        return [packet.encode(nonce=packet.header.nonce ^ packet.header.sequence)]


class Presumes(Defect):
    """Takes every capability to be the session's."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        reply = packet.kind == MessageType.HELLO_REPLY
        return [edit_message(packet, capabilities=3) if reply else data]


class Undeterred(Defect):
    """Goes on after its Hello was refused."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.ERROR else None
        if isinstance(message, Error) and message.code == ErrorCode.VERSION:
            yes = HelloReply(VERSION, 1, 0, 0, MAX_CONTROL, 300, 1, 1).encode()
            return [packet.encode(type=MessageType.HELLO_REPLY, payload=yes)]
        return [data]


class OneBeat(Defect):
    """Sends one Heartbeat, and no other."""

    def __init__(self) -> None:
        self._sent = False

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.HEARTBEAT:
            return [data]
        first, self._sent = not self._sent, True
        return [data] if first else []


class OtherIds(Defect):
    """Repeats a request under another id."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        again = packet.kind == MessageType.CONFIGURE and packet.id in self._seen
        self._seen.add(packet.id)
        return [packet.encode(frame=packet.id + 50) if again else data]


class AnyAnswer(Defect):
    """Takes whatever answer comes next for its own."""

    def __init__(self) -> None:
        self._asked = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.CONFIGURE:
            self._asked = packet.id
        return [data]

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(frame=self._asked) if packet.kind == MessageType.CONFIGURED else data]


class Hasty(Defect):
    """Sends the next request without waiting for the answer."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CONFIGURE:
            return [data]
        ask = GetManifest(0).encode()
        return [
            data,
            packet.encode(type=MessageType.GET_MANIFEST, frame=packet.id + 1, payload=ask),
        ]


class Falling(Defect):
    """Takes credits back."""

    def __init__(self) -> None:
        self._less = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HEARTBEAT else None
        if not isinstance(message, Heartbeat):
            return [data]
        self._less += 1000
        limit = tuple(max(0, each - self._less) for each in message.limit)
        return [edit_message(packet, limit=limit)]


class ForgetsLost(Defect):
    """Waits for ever for tiles that were lost."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        reply = packet.kind == MessageType.HEARTBEAT_REPLY
        return [edit_message(packet, sent=(0, 0, 0)) if reply else data]


class LastWins(Defect):
    """Lets a tile that comes again overwrite the first."""

    def __init__(self) -> None:
        self._tiles: dict[tuple[int, int], bytes] = {}

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.TILE:
            self._tiles[packet.header.x, packet.header.y] = data
            return []
        if packet.kind == MessageType.FRAME_END:
            # Their sequences are below this one's, and rise among themselves.
            tiles = sorted(self._tiles.values(), key=lambda tile: tile[12:16])
            return [*tiles, data]
        return [data]


class Clamps(Defect):
    """Moves a tile that is outside into the frame."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        head = packet.header
        outside = head.x + head.width > WIDTH or head.y + head.height > HEIGHT
        if packet.kind != MessageType.TILE or not outside:
            return [data]
        return [packet.encode(x=0, y=0)]


class RoundsToGroups(Defect):
    """Moves a tile that begins inside a group to where the group begins."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        odd = packet.kind == MessageType.TILE and packet.header.x % 2
        return [packet.encode(x=packet.header.x - 1) if odd else data]


class OwnFormat(Defect):
    """Asks for the format that it likes best."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        asks = packet.kind == MessageType.CONFIGURE
        return [edit_message(packet, pixel_format=PixelFormat.RG14) if asks else data]


class AsksForAll(Defect):
    """Asks for a whole frame where a tile is missing."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.RESEND:
            return [data]
        return [edit_message(packet, count=1, ranges=struct.pack("<4H", 0, 0, WIDTH, HEIGHT))]


class NeverAsksForStart(Defect):
    """Asks for tiles and ends only."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESEND else None
        return [
            edit_message(packet, flags=message.flags & 2) if isinstance(message, Resend) else data
        ]


class Impatient(Defect):
    """Takes FrameEnd for the last packet of every lane."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.FRAME_END else None
        if not isinstance(message, FrameEnd):
            return [data]
        return [edit_message(packet, last_sequence=(message.last_sequence[0], 0xFFFFFFFF, 0, 0))]


class Insists(Defect):
    """Sends each Resend three times."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [data] * 3 if packet.kind == MessageType.RESEND else [data]


class KnownKeysOnly(Defect):
    """Refuses a manifest with a key that it does not know."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.MANIFEST else None
        if isinstance(message, ManifestPiece) and b"a vendor's" in message.piece:
            return [packet.encode(type=MessageType.ERROR, payload=Error(2, b"").encode())]
        return [data]


class TakesAnyCrop(Defect):
    """Does not look at the crop of a FrameStart."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.FRAME_START else None
        if not isinstance(message, FrameStart):
            return [data]
        return [packet.encode(payload=replace(message, crop_x=0, crop_y=0).encode())]


class OddCrop(VirtualHost):
    """Asks for a crop that begins at an odd column."""

    def choose_crop(self, mode: Mode) -> tuple[int, int, int, int]:
        return 1, 0, mode.width - 2, mode.height


class WideCrop(VirtualHost):
    """Asks for a crop that is wider than the mode."""

    def choose_crop(self, mode: Mode) -> tuple[int, int, int, int]:
        return 0, 0, mode.width + 2, mode.height


class CropWithoutSize(VirtualHost):
    """Asks for a crop that has a place and no size."""

    def choose_crop(self, mode: Mode) -> tuple[int, int, int, int]:
        return 2, 2, 0, 0


class SetsTwice(VirtualHost):
    """Sets the exposure twice."""

    def settings(self, manifest: Manifest) -> bytes:
        return 2 * encode_settings([Setting(ControlId.EXPOSURE, EVERY_FRAME, 10_000)])


class SetsOtherFrames(VirtualHost):
    """Sets the exposure of a second frame, and takes one."""

    def settings(self, manifest: Manifest) -> bytes:
        return encode_settings([Setting(ControlId.EXPOSURE, 1, 10_000)])


class SetsLargeValues(VirtualHost):
    """Sets an exposure of 20 minutes."""

    def settings(self, manifest: Manifest) -> bytes:
        return encode_settings([Setting(ControlId.EXPOSURE, EVERY_FRAME, 1_200_000_000)])


class CutsTheList(VirtualHost):
    """Sends values of three bytes."""

    def settings(self, manifest: Manifest) -> bytes:
        return super().settings(manifest)[:-1]


class SetsEverything(VirtualHost):
    """Sets all controls that it knows."""

    def settings(self, manifest: Manifest) -> bytes:
        return encode_settings([Setting(each, EVERY_FRAME, 1) for each in ControlId])


class SetsGain(VirtualHost):
    """Sets a gain, whether the module has one or not."""

    def settings(self, manifest: Manifest) -> bytes:
        return encode_settings([Setting(ControlId.GAIN, EVERY_FRAME, 1000)])


class SetsFocus(VirtualHost):
    """Focuses on infinity before each still."""

    def settings(self, manifest: Manifest) -> bytes:
        return super().settings(manifest) + encode_settings(
            [Setting(ControlId.FOCUS, 0, 0), Setting(ControlId.SETTLED, 0, 1)]
        )


class KnownRangesOnly(Defect):
    """Refuses a manifest with a control whose least value is negative."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.MANIFEST else None
        if isinstance(message, ManifestPiece) and b"\xf9\xff\xff\xff" in message.piece:
            return [packet.encode(type=MessageType.ERROR, payload=Error(2, b"").encode())]
        return [data]


class KnownControlsOnly(Defect):
    """Refuses a manifest with a control that it does not know."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.MANIFEST else None
        if isinstance(message, ManifestPiece) and b"\x24\x00\x14\x00\xf0\x7f" in message.piece:
            return [packet.encode(type=MessageType.ERROR, payload=Error(2, b"").encode())]
        return [data]


class KnownFrameFlagsOnly(Defect):
    """Discards a FrameStart with flags that it does not know."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.FRAME_START else None
        return [] if isinstance(message, FrameStart) and message.flags & ~3 else [data]


class Bottomless(Defect):
    """Reads whatever a manifest announces."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        found = packet.kind == MessageType.MANIFEST
        return [edit_message(packet, total=60000) if found else data]


class Patient(VirtualHost):
    """Waits for a silent module as long as it takes."""

    def is_gone(self) -> bool:
        return False


class Credulous(VirtualHost):
    """Takes every frame for a whole one."""

    def is_whole(self, frame: Assembly) -> bool:
        del frame
        return True


class WaitsForEnd(VirtualHost):
    """Never gives up a frame whose end does not come."""

    def reassembly(self) -> Reassembly:
        found = super().reassembly()
        found.expire_frames = lambda now: None  # type: ignore[method-assign]
        return found


class Trusting(VirtualHost):
    """Takes every module for a genuine one."""

    def is_genuine(
        self, challenge: bytes, reply: AnyMessage | None, serial: str, firmware: str
    ) -> bool:
        del challenge, reply, serial, firmware
        return True


class SameChallenge(VirtualHost):
    """Has one challenge for all."""

    def challenge(self) -> bytes:
        return b"prove it".ljust(AUTH_BYTES, b"!")


class ComparesTheStart(VirtualHost):
    """Compares as many bytes as the proof has."""

    def is_genuine(
        self, challenge: bytes, reply: AnyMessage | None, serial: str, firmware: str
    ) -> bool:
        expected = make_proof(KEY, challenge, self.link.nonce, serial, firmware)
        return isinstance(reply, Proof) and expected.startswith(reply.proof)


class ComparesTheFirstBytes(VirtualHost):
    """Compares as many bytes as its own proof has."""

    def is_genuine(
        self, challenge: bytes, reply: AnyMessage | None, serial: str, firmware: str
    ) -> bool:
        expected = make_proof(KEY, challenge, self.link.nonce, serial, firmware)
        return isinstance(reply, Proof) and reply.proof.startswith(expected)


class ComparesAllButTheLast(VirtualHost):
    """Compares one byte too few."""

    def is_genuine(
        self, challenge: bytes, reply: AnyMessage | None, serial: str, firmware: str
    ) -> bool:
        expected = make_proof(KEY, challenge, self.link.nonce, serial, firmware)
        return isinstance(reply, Proof) and reply.proof[:-1] == expected[:-1]


class AcceptsAnySession(VirtualHost):
    """Takes a proof of any session that it has opened, for the challenge of that session."""

    _pairs: ClassVar[list[tuple[bytes, int]]] = []

    def is_genuine(
        self, challenge: bytes, reply: AnyMessage | None, serial: str, firmware: str
    ) -> bool:
        self._pairs.append((challenge, self.link.nonce))
        proofs = [make_proof(KEY, *pair, serial, firmware) for pair in self._pairs]
        return isinstance(reply, Proof) and reply.proof in proofs


class AcceptsAnyModule(VirtualHost):
    """Takes a proof of another module for that of this one."""

    def is_genuine(
        self, challenge: bytes, reply: AnyMessage | None, serial: str, firmware: str
    ) -> bool:
        others = (serial, OTHER_SERIAL)
        proofs = [make_proof(KEY, challenge, self.link.nonce, each, firmware) for each in others]
        return isinstance(reply, Proof) and reply.proof in proofs


class ShortChallenges(VirtualHost):
    """Challenges with 16 bytes."""

    def challenge(self) -> bytes:
        return super().challenge()[:16]

    def is_genuine(
        self, challenge: bytes, reply: AnyMessage | None, serial: str, firmware: str
    ) -> bool:
        return isinstance(reply, Proof)


class RefusesAll(VirtualHost):
    """Takes no module for a genuine one."""

    def is_genuine(
        self, challenge: bytes, reply: AnyMessage | None, serial: str, firmware: str
    ) -> bool:
        del challenge, reply, serial, firmware
        return False


class AllOrNothing(VirtualHost):
    """Ends with any of its lanes."""

    def end_lane(self, lane: int) -> bool:
        self.link.on_lane_end(lane)
        self.give_up("a lane has ended")
        return True


class AsksLater(Defect):
    """Configures a stream before it knows whom it speaks to."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CHALLENGE:
            return [data]
        early = Configure(1, 0, 1, 0, 0).encode()
        return [packet.encode(type=MessageType.CONFIGURE, payload=early), data]


def _with(defect: Callable[[], Tamper], name: str = "", nonce: int | None = None) -> Broken:
    """Return the driver with a defect on its line."""
    made = name or getattr(defect, "__name__", "?")
    return Broken(made, lambda: VirtualHost(defect(), nonce))


def _of(host: type[VirtualHost]) -> Broken:
    """Return a broken host that is a class of its own."""
    return Broken(host.__name__, host)


_BASIC: dict[str, tuple[Broken, ...]] = {
    "H-FRAME-1": (_with(OddFields), _with(OddSequence)),
    "H-FRAME-2": (_with(Heals),),
    "H-FRAME-3": (_with(OnlyClean),),
    "H-FRAME-4": (_with(Swallows),),
    "H-FRAME-5": (_with(AnyNonce), _with(AnySequence)),
    "H-FRAME-6": (_with(AnyMajor), _with(Swallows)),
    "H-GROW-1": (_with(Strict),),
    "H-GROW-2": (_with(VendorEnds),),
    "H-HELLO-1": (_with(ManyNonces), _with(Tamper, "OneNonce", nonce=0x12345678)),
    "H-HELLO-2": (_with(Presumes),),
    "H-HELLO-3": (_with(Undeterred),),
    "H-CLOSE-1": (_with(lambda: drop_types(MessageType.CLOSE), "drops CLOSE"),),
    "H-CLOSE-2": (_with(lambda: ignore_types(MessageType.CLOSE), "ignores CLOSE"),),
    "H-LIVE-1": (_with(OneBeat),),
    "H-LIVE-2": (_of(Patient),),
    "H-LIVE-3": (_with(lambda: ignore_types(MessageType.BUSY), "ignores BUSY"),),
    "H-TIME-1": (),
    "H-REQ-1": (_with(OtherIds),),
    "H-REQ-2": (_with(AnyAnswer),),
    "H-REQ-3": (_with(Hasty),),
    "H-REQ-4": (_with(lambda: ignore_types(MessageType.PENDING), "ignores PENDING"),),
    "H-CREDIT-1": (_with(Falling),),
    "H-CREDIT-2": (_with(ForgetsLost),),
    "H-CAM-1": (_of(Credulous),),
    "H-CAM-2": (_with(LastWins),),
    "H-CAM-3": (_with(Clamps), _with(TakesAnyCrop)),
    "H-CAM-4": (_of(WaitsForEnd),),
    "H-PACK-1": (_with(RoundsToGroups),),
    "H-PACK-2": (_with(OwnFormat),),
    "H-SET-1": (_of(SetsTwice), _of(SetsOtherFrames), _of(SetsLargeValues), _of(CutsTheList)),
    "H-SET-2": (_of(SetsEverything), _of(SetsGain), _of(SetsFocus)),
    "H-SET-3": (
        _with(KnownControlsOnly),
        _with(KnownFrameFlagsOnly),
        _with(KnownRangesOnly),
    ),
    "H-ROI-1": (_of(OddCrop), _of(WideCrop), _of(CropWithoutSize)),
    "H-RESEND-1": (
        _with(AsksForAll),
        _with(lambda: drop_types(MessageType.RESEND), "drops RESEND"),
    ),
    "H-RESEND-2": (_with(NeverAsksForStart),),
    "H-RESEND-3": (
        _with(lambda: ignore_types(MessageType.RESENT), "ignores RESENT"),
        _with(Insists),
    ),
    "H-LANE-1": (_with(Impatient),),
    "H-LANE-2": (_of(AllOrNothing), _with(lambda: drop_types(MessageType.RESEND), "drops RESEND")),
    "H-AUTH-1": (_of(SameChallenge), _with(AsksLater)),
    "H-AUTH-2": (_of(Trusting),),
    "H-AUTH-3": (
        _of(ComparesTheStart),
        _of(ComparesTheFirstBytes),
        _of(ComparesAllButTheLast),
        _of(AcceptsAnySession),
        _of(AcceptsAnyModule),
        _of(ShortChallenges),
        _of(RefusesAll),
    ),
    "H-MANIFEST-1": (_with(KnownKeysOnly),),
    "H-MANIFEST-2": (_with(Bottomless),),
    "H-CAL-1": (),
}

BROKEN: dict[str, tuple[Broken, ...]] = {
    clause: basic
    + tuple(
        _with(defect)
        for lines in (
            broken_host_packets.LINES,
            broken_host_messages.LINES,
            broken_host_growth.LINES,
            broken_host_opening.LINES,
            broken_host_closing.LINES,
            broken_host_liveness.LINES,
            broken_host_clock.LINES,
            broken_host_requests.LINES,
            broken_host_settings.LINES,
            broken_host_credits.LINES,
            broken_host_capture.LINES,
            broken_host_resend.LINES,
            broken_host_lanes.LINES,
            broken_host_packing.LINES,
            broken_host_manifest.LINES,
            broken_host_authentication.LINES,
        )
        for defect in lines.get(clause, ())
    )
    + tuple(
        _of(host)
        for hosts in (
            broken_host_packets.HOSTS,
            broken_host_messages.HOSTS,
            broken_host_closing.HOSTS,
            broken_host_liveness.HOSTS,
            broken_host_capture.HOSTS,
            broken_host_resend.HOSTS,
            broken_host_lanes.HOSTS,
            broken_host_manifest.HOSTS,
            broken_host_calibration.HOSTS,
            broken_host_authentication.HOSTS,
        )
        for host in hosts.get(clause, ())
    )
    + tuple(
        replace(_with(defect), case=case)
        for defect, case in broken_host_watch.IN_CASES.get(clause, ())
    )
    for clause, basic in _BASIC.items()
}
"""The broken hosts of each clause."""
