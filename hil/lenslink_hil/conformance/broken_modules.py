"""Modules that break one clause each, in the ways in which implementers get the clause wrong.

The table is :data:`BROKEN`. ``selftest`` checks that a case of the clause fails each of them.
"""

from __future__ import annotations

from collections.abc import Callable

from lenslink_protocol.ids import (
    Capability,
    ConfigureFlag,
    Damage,
    EndStatus,
    ErrorCode,
    FrameState,
    MessageType,
    Outcome,
    TestAction,
)
from lenslink_protocol.messages import (
    Accepted,
    Capture,
    Configure,
    Configured,
    Error,
    FrameEnd,
    FrameStart,
    Hello,
    HelloReply,
    Log,
    ManifestPiece,
    Proof,
    Resent,
    Test,
)
from lenslink_protocol.params import MAX_BUSY_MS

from . import (
    broken_module_authentication,
    broken_module_calibration,
    broken_module_capture,
    broken_module_changes,
    broken_module_clock,
    broken_module_closing,
    broken_module_configure,
    broken_module_credits,
    broken_module_edges,
    broken_module_events,
    broken_module_growth,
    broken_module_lanes,
    broken_module_lists,
    broken_module_liveness,
    broken_module_manifest,
    broken_module_memory,
    broken_module_motion,
    broken_module_opening,
    broken_module_packets,
    broken_module_packing,
    broken_module_power,
    broken_module_query,
    broken_module_receiving,
    broken_module_requests,
    broken_module_resend,
    broken_module_roi,
    broken_module_settings,
    broken_module_stop_and_flush,
    broken_module_test_actions,
    broken_module_values,
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
    offer_version_1,
)
from .host_peer import PLENTY
from .packets import Packet, parse
from .peer_wire import Tamper
from .plain_module import PlainModule
from .virtual_module import VirtualModule

_DATA = (MessageType.FRAME_START, MessageType.TILE, MessageType.FRAME_END)


class AnySequence(Defect):
    """Takes packets whatever their sequence."""

    def __init__(self) -> None:
        self._count = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        del data
        self._count += 1
        return [packet.encode(sequence=self._count)]


class VendorAnswers(Defect):
    """Takes a vendor's type for a request."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(type=0x3F) if packet.kind >= 0xE0 else data]


class OtherHello(Defect):
    """Answers Hello under an id of its own."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        reply = packet.kind == MessageType.HELLO_REPLY
        return [packet.encode(frame=packet.id + 1) if reply else data]


class Immodest(Defect):
    """States capabilities that the host did not offer."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        reply = packet.kind == MessageType.HELLO_REPLY
        return [edit_message(packet, capabilities=3) if reply else data]


class Haunted(Defect):
    """Sends a tile of the old session in the new one."""

    def __init__(self) -> None:
        self._tile = b""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.TILE:
            self._tile = data
        elif packet.kind == MessageType.HELLO_REPLY and self._tile:
            return [data, self._tile]
        return [data]


class AnyHello(Defect):
    """Opens a session of every version."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [offer_version_1(packet) if packet.kind == MessageType.HELLO else data]


class Sleepy(Defect):
    """Answers every second Heartbeat."""

    def __init__(self) -> None:
        self._awake = False

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.HEARTBEAT_REPLY:
            return [data]
        self._awake = not self._awake
        return [data] if self._awake else []


class Uncounted(Defect):
    """Does not count what it sends."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        reply = packet.kind == MessageType.HEARTBEAT_REPLY
        return [edit_message(packet, sent=(0, 0, 0)) if reply else data]


class OtherIds(Defect):
    """Answers under ids of its own."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        replies = (MessageType.MANIFEST, MessageType.CONFIGURED, MessageType.ACCEPTED)
        return [packet.encode(frame=packet.id + 1) if packet.kind in replies else data]


class ExecutesAgain(Defect):
    """Takes a repeated request for a new one."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._fresh = 100_000
        self._as: dict[int, int] = {}

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        requests = (MessageType.CONFIGURE, MessageType.CAPTURE, MessageType.STREAM)
        if packet.kind not in requests or packet.id not in self._seen:
            self._seen.add(packet.id)
            return [data]
        self._fresh += 1
        self._as[self._fresh] = packet.id
        return [packet.encode(frame=self._fresh)]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind in _DATA or packet.id not in self._as:
            return [data]
        return [packet.encode(frame=self._as[packet.id])]


class KeepsOne(Defect):
    """Holds the answer to the last request only, and is silent about others."""

    def __init__(self) -> None:
        self._seen: list[int] = []

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CONFIGURE:
            return [data]
        again = packet.id in self._seen and packet.id != self._seen[-1]
        self._seen.append(packet.id)
        return [] if again else [data]


class Obliging(Defect):
    """Says yes in every state."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.ERROR:
            error = packet.message()
            if isinstance(error, Error) and error.code == ErrorCode.STATE:
                yes = Accepted(0, 0).encode()
                return [packet.encode(type=MessageType.ACCEPTED, payload=yes)]
        return [data]


class AppliesTests(Defect):
    """Applies what was only to be tried."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [edit_message(packet, flags=0) if packet.kind == MessageType.CONFIGURE else data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CONFIGURED:
            return [data]
        return [edit_message(packet, flags=ConfigureFlag.TEST_ONLY)]


class NeverAdjusted(Defect):
    """Applies something else and does not say so."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.CONFIGURED else None
        if isinstance(message, Configured) and message.flags & ConfigureFlag.ADJUSTED:
            return [edit_message(packet, flags=0)]
        return [data]


class AnyMode(Defect):
    """Takes a mode that it does not have for its first."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.CONFIGURE else None
        return [edit_message(packet, mode=1) if isinstance(message, Configure) else data]


class EndsLate(Defect):
    """Answers Stop before the frame under way has ended."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.FRAME_END:
            message = packet.message()
            if isinstance(message, FrameEnd) and message.status == EndStatus.ABORTED:
                self._held.append(data)
                return []
        if packet.kind in (MessageType.ACCEPTED, MessageType.FLUSHED):
            late, self._held = self._held, []
            return [data, *late]
        return [data]


class LeakyBarrier(Defect):
    """Sends a tile after Flushed."""

    def __init__(self) -> None:
        self._tile = b""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.TILE:
            self._tile = data
        return [data, self._tile] if packet.kind == MessageType.FLUSHED else [data]


class OwnCredit(Defect):
    """Sends as if everything were granted."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        granted = packet.kind == MessageType.HEARTBEAT
        return [edit_message(packet, limit=(PLENTY, PLENTY, PLENTY)) if granted else data]


class Stuck(Defect):
    """Answers nothing while a frame is under way."""

    def __init__(self) -> None:
        self._inside = False

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind in (MessageType.TILE, MessageType.FRAME_END):
            self._inside = packet.kind == MessageType.TILE
        return [] if self._inside and packet.kind == MessageType.MANIFEST else [data]


class SkipsNumbers(Defect):
    """Gives a number to every second frame only."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [packet.encode(frame=2 * packet.id) if packet.kind in _DATA else data]


class OtherWidth(Defect):
    """States another width than was configured."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.FRAME_START else None
        if not isinstance(message, FrameStart):
            return [data]
        return [edit_message(packet, width=message.width + 2)]


class LosesTiles(Defect):
    """Loses the first tile of each frame, and says that all is well."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        first = packet.kind == MessageType.TILE and (packet.header.x, packet.header.y) == (0, 0)
        return [] if first else [data]


class Miscounts(Defect):
    """Counts a tile too many."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.FRAME_END else None
        if not isinstance(message, FrameEnd):
            return [data]
        return [edit_message(packet, tiles=message.tiles + 1)]


class OneMore(Defect):
    """Takes a frame too many."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.CAPTURE else None
        if not isinstance(message, Capture):
            return [data]
        return [edit_message(packet, count=message.count + 1)]


class Tight(Defect):
    """Says that it sends a tile again, and does not."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if packet.kind == MessageType.TILE and packet.header.flags & 1 else [data]


class Repaints(Defect):
    """Sends other pixels the second time."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.TILE and packet.header.flags & 1:
            return [packet.encode(payload=bytes(len(packet.payload)))]
        return [data]


class ForgetsEnds(Defect):
    """Sends tiles again, but neither FrameStart nor FrameEnd."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [edit_message(packet, flags=0) if packet.kind == MessageType.RESEND else data]


class KnowsAll(Defect):
    """Claims to know frames that never were."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.RESENT else None
        if isinstance(message, Resent) and message.state == FrameState.UNKNOWN:
            return [edit_message(packet, state=FrameState.ENDED)]
        return [data]


class LongManifest(Defect):
    """Announces a byte more than there are."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.MANIFEST else None
        if not isinstance(message, ManifestPiece):
            return [data]
        return [edit_message(packet, total=message.total + 1)]


class ManyNames(Defect):
    """Has another maker on every ask."""

    def __init__(self) -> None:
        self._asks = 0

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.MANIFEST else None
        if not isinstance(message, ManifestPiece) or message.offset:
            return [data]
        self._asks += 1
        piece = message.piece
        return [edit_message(packet, piece=piece[:4] + bytes([64 + self._asks]) + piece[5:])]


class Amnesia(Defect):
    """Remembers no request."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        reply = packet.kind == MessageType.QUERY_REPLY
        return [edit_message(packet, outcome=Outcome.UNKNOWN) if reply else data]


class OneCounter(Defect):
    """Does not say what was sent on other lanes."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.FRAME_END else None
        if not isinstance(message, FrameEnd):
            return [data]
        return [edit_message(packet, last_sequence=(message.last_sequence[0], 0, 0, 0))]


class OneLaneLess(VirtualModule):
    """Keeps to a lane that has ended."""

    def end_lane(self, lane: int) -> bool:
        super().end_lane(lane)
        self._alive = [False] * self.lanes
        return True


class Unplugged(VirtualModule):
    """Does not notice that it is detached."""

    def set_attached(self, seated: bool) -> bool:
        del seated
        return True


class OpensAll(Defect):
    """Gives a refused host what it asks for all the same."""

    def __init__(self) -> None:
        self._refused = b""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.HELLO:
            self._hello = packet
        elif packet.kind in (MessageType.GET_MANIFEST, MessageType.HEARTBEAT):
            sequence = packet.header.sequence
            if self._hello.header.version != 0x10:
                open_it = offer_version_1(self._hello)
                hello = parse(open_it)
                assert hello is not None
                after = packet.encode(sequence=sequence + 1)
                return [hello.encode(sequence=sequence, frame=packet.id + 50), after]
        return [data]


class HasAll(Defect):
    """Uses capabilities that the host did not offer."""

    def __init__(self, more: int) -> None:
        self._more = more
        self._offered = 0

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HELLO else None
        if not isinstance(message, Hello):
            return [data]
        self._offered = message.capabilities
        return [edit_message(packet, capabilities=message.capabilities | self._more)]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.HELLO_REPLY else None
        if not isinstance(message, HelloReply):
            return [data]
        return [edit_message(packet, capabilities=message.capabilities & self._offered)]


class Agrees(Defect):
    """Accepts every test."""

    def __init__(self) -> None:
        self._tests: set[int] = set()

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.TEST:
            self._tests.add(packet.id)
        return [data]

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.ERROR or packet.id not in self._tests:
            return [data]
        return [packet.encode(type=MessageType.ACCEPTED, payload=Accepted(0, 0).encode())]


class Pretends(Defect):
    """Accepts tests, and does nothing."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.TEST else None
        if not isinstance(message, Test):
            return [data]
        return [edit_message(packet, action=TestAction.PENDING, ms=0)]


class LeavesPending(Defect):
    """Never answers what it called pending."""

    def __init__(self) -> None:
        self._pending: set[int] = set()

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind == MessageType.PENDING:
            self._pending.add(packet.id)
        answer = packet.kind == MessageType.ACCEPTED and packet.id in self._pending
        return [] if answer else [data]


class PendingForAnother(Defect):
    """Says Pending of another request."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        pending = packet.kind == MessageType.PENDING
        return [packet.encode(frame=packet.id + 1) if pending else data]


class LastWord(Defect):
    """Says something after Close."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.CLOSE:
            return [data]
        more = Log(1, 0, b"and besides").encode()
        sequence = packet.header.sequence + 1
        return [data, packet.encode(type=MessageType.LOG, sequence=sequence, payload=more)]


class Dozes(Defect):
    """Is silent for longer than its lease."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [edit_message(packet, lease_ms=50) if packet.kind == MessageType.BUSY else data]


class NextScheme(Defect):
    """Proves by another scheme than it was asked for."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.PROOF else None
        return (
            [edit_message(packet, scheme=message.scheme + 1)]
            if isinstance(message, Proof)
            else [data]
        )


class SameProof(Defect):
    """Has one proof for all."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [
            edit_message(packet, proof=b"genuine") if packet.kind == MessageType.PROOF else data
        ]


def _with(defect: Callable[[], Tamper], name: str = "") -> Broken:
    """Return the firmware's module with a defect on its line."""
    return Broken(name or getattr(defect, "__name__", "?"), lambda: VirtualModule(defect()))


def _of(module: type[VirtualModule | PlainModule]) -> Broken:
    """Return a broken module that is a class of its own."""
    return Broken(module.__name__, module)


def _unknown(kind: int) -> bool:
    return kind not in set(MessageType)


class OneFormat(Defect):
    """Sends what it always sends, whatever it lists."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [
            edit_message(packet, pixel_format=0) if packet.kind == MessageType.CONFIGURE else data
        ]


class Pads(Defect):
    """Says that its rows are padded."""

    kind: int = MessageType.CONFIGURED

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == self.kind else None
        if isinstance(message, Configured | FrameStart):
            return [edit_message(packet, stride=message.stride + 4)]
        return [data]


class PadsLater(Pads):
    """Says so when the frame begins."""

    kind = MessageType.FRAME_START


class CutsGroups(Defect):
    """Says that its tiles begin a pixel later."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        if packet.kind != MessageType.TILE:
            return [data]
        return [packet.encode(x=packet.header.x + 1, width=packet.header.width - 1)]


class DropsUnknown(Defect):
    """Does not answer a type that it does not know."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        return [] if _unknown(packet.kind) else [data]


class LeasesTooLong(Defect):
    """Announces 20 s of silence or of work."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        leased = packet.kind in (MessageType.BUSY, MessageType.PENDING)
        return [edit_message(packet, lease_ms=20_000) if leased else data]


class TakesAnyDuration(Defect):
    """Cuts the duration of a test instead of refusing it."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.TEST else None
        if not isinstance(message, Test):
            return [data]
        return [edit_message(packet, ms=min(message.ms, MAX_BUSY_MS))]


class OtherDamage(Defect):
    """Damages the header where the payload was named, and the payload where the header was."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.TEST else None
        if not isinstance(message, Test) or message.damage not in set(Damage):
            return [data]
        other = Damage.HEADER if message.damage == Damage.PAYLOAD else Damage.PAYLOAD
        return [edit_message(packet, damage=other)]


class ShortTests(Defect):
    """Ends each test after a quarter of its time."""

    def on_packet_to_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.TEST else None
        return [edit_message(packet, ms=message.ms // 4) if isinstance(message, Test) else data]


class CallsAllAdjusted(Defect):
    """Says ADJUSTED of every configuration."""

    def on_packet_from_peer(self, packet: Packet, data: bytes) -> list[bytes]:
        message = packet.message() if packet.kind == MessageType.CONFIGURED else None
        if not isinstance(message, Configured):
            return [data]
        return [edit_message(packet, flags=message.flags | ConfigureFlag.ADJUSTED)]


_TAMPERED: dict[str, tuple[Broken, ...]] = {
    "M-FRAME-1": (_with(OddFields), _with(OddSequence)),
    "M-FRAME-2": (_with(Heals),),
    "M-FRAME-3": (_with(OnlyClean),),
    "M-FRAME-4": (_with(Swallows),),
    "M-FRAME-5": (_with(AnyNonce), _with(AnySequence)),
    "M-FRAME-6": (_with(AnyMajor), _with(Swallows)),
    "M-GROW-1": (_with(Strict),),
    "M-GROW-2": (_with(VendorAnswers),),
    "M-HELLO-1": (
        _with(OtherHello),
        _with(lambda: drop_types(MessageType.HELLO_REPLY), "drops HELLO_REPLY"),
    ),
    "M-HELLO-2": (_with(Immodest),),
    "M-HELLO-3": (_with(Haunted),),
    "M-HELLO-4": (_of(Unplugged),),
    "M-HELLO-5": (_with(AnyHello),),
    "M-HELLO-6": (_with(OpensAll),),
    "M-CLOSE-1": (_with(lambda: ignore_types(MessageType.CLOSE), "ignores CLOSE"),),
    "M-CLOSE-2": (_with(lambda: drop_types(MessageType.CLOSE), "drops CLOSE"), _with(LastWord)),
    "M-LIVE-1": (_with(Sleepy),),
    "M-LIVE-2": (_with(Uncounted),),
    "M-LIVE-3": (
        _with(LeasesTooLong),
        _with(lambda: drop_types(MessageType.BUSY), "drops BUSY"),
        _with(Dozes),
    ),
    "M-REQ-1": (_with(OtherIds),),
    "M-REQ-2": (_with(ExecutesAgain), _with(KeepsOne)),
    "M-REQ-3": (_with(ExecutesAgain),),
    "M-REQ-4": (_with(DropsUnknown),),
    "M-REQ-5": (_with(LeasesTooLong), _with(LeavesPending), _with(PendingForAnother)),
    "M-QUERY-1": (_with(Amnesia),),
    "M-LANE-1": (_with(OneCounter),),
    "M-LANE-2": (_of(OneLaneLess),),
    "M-STATE-1": (_with(Obliging),),
    "M-STATE-2": (_with(AppliesTests),),
    "M-STATE-3": (_with(NeverAdjusted),),
    "M-STATE-4": (_with(AnyMode),),
    "M-STOP-1": (_with(EndsLate),),
    "M-STOP-2": (_with(LeakyBarrier),),
    "M-CREDIT-1": (_with(OwnCredit),),
    "M-CREDIT-2": (_with(Stuck),),
    "M-CAM-1": (_with(SkipsNumbers),),
    "M-CAM-2": (_with(OtherWidth),),
    "M-CAM-3": (_with(LosesTiles),),
    "M-CAM-4": (_with(Miscounts),),
    "M-CAM-5": (_with(OneMore),),
    "M-PACK-1": (
        _with(CallsAllAdjusted),
        _with(OneFormat),
    ),
    "M-PACK-2": (_with(Pads), _with(PadsLater)),
    "M-PACK-3": (_with(CutsGroups),),
    "M-RESEND-1": (_with(Tight),),
    "M-RESEND-2": (_with(Repaints),),
    "M-RESEND-3": (_with(ForgetsEnds),),
    "M-RESEND-4": (_with(KnowsAll),),
    "M-MANIFEST-1": (_with(LongManifest),),
    "M-MANIFEST-2": (_with(ManyNames),),
    "M-CAL-1": (),
    "M-CAL-2": (),
    "M-AUTH-1": (_with(NextScheme), _with(lambda: HasAll(Capability.AUTH), "has AUTH always")),
    "M-AUTH-2": (_with(SameProof),),
    "M-AUTH-3": (_with(SameProof),),
    "M-TEST-1": (
        _with(TakesAnyDuration),
        _with(lambda: HasAll(Capability.TEST), "has TEST always"),
        _with(Agrees),
    ),
    "M-TEST-2": (
        _with(ShortTests),
        _with(OtherDamage),
        _with(Pretends),
    ),
    "M-SET-1": (),
    "M-SET-2": (),
    "M-SET-3": (),
    "M-SET-4": (),
    "M-SET-5": (),
    "M-SET-6": (),
    "M-SET-7": (),
    "M-SET-8": (),
    "M-SET-9": (),
    "M-ROI-1": (),
    "M-ROI-2": (),
    "M-ROI-3": (),
    "M-TIME-1": (),
    "M-TIME-2": (),
    "M-PWR-1": (),
    "M-PWR-2": (),
    "M-PWR-3": (),
    "M-PWR-4": (),
    "M-PWR-5": (),
    "M-EVT-1": (),
    "M-EVT-2": (),
}

# The subjects with plain modules.
_SUBJECTS = (
    broken_module_packets,
    broken_module_receiving,
    broken_module_growth,
    broken_module_opening,
    broken_module_closing,
    broken_module_events,
    broken_module_liveness,
    broken_module_clock,
    broken_module_requests,
    broken_module_query,
    broken_module_memory,
    broken_module_configure,
    broken_module_lists,
    broken_module_settings,
    broken_module_values,
    broken_module_motion,
    broken_module_changes,
    broken_module_stop_and_flush,
    broken_module_credits,
    broken_module_power,
    broken_module_roi,
    broken_module_capture,
    broken_module_resend,
    broken_module_lanes,
    broken_module_edges,
    broken_module_packing,
    broken_module_manifest,
    broken_module_calibration,
    broken_module_authentication,
)


def _collect_plain(clause: str) -> tuple[Broken, ...]:
    """Return the plain modules that break *clause*."""
    found = (each for subject in _SUBJECTS for each in subject.CLASSES.get(clause, ()))
    return tuple(_of(each) for each in found)


BROKEN: dict[str, tuple[Broken, ...]] = {
    clause: tampered
    + tuple(
        _with(defect)
        for lines in (
            broken_module_packets.LINES,
            broken_module_opening.LINES,
            broken_module_closing.LINES,
            broken_module_liveness.LINES,
            broken_module_clock.LINES,
            broken_module_requests.LINES,
            broken_module_query.LINES,
            broken_module_configure.LINES,
            broken_module_capture.LINES,
            broken_module_resend.LINES,
            broken_module_test_actions.LINES,
        )
        for defect in lines.get(clause, ())
    )
    + _collect_plain(clause)
    for clause, tampered in _TAMPERED.items()
}
"""The broken modules of each clause: the firmware's with a defect on its line, and plain ones."""
