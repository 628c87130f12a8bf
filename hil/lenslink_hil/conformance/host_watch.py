"""What a host must keep whatever the module does, checked in every case for hosts.

A case looks at one situation. :func:`find_breaches` looks at all packets of a case afterwards, so
that a host which breaks a clause only in the situation of another case is found too: behind a
refusal, during a lease, under loss. ``verdicts`` adds a verdict for each clause that is broken.

:class:`WatchedWire` notes what the case sends. What the host may not have understood counts in its
favour: bytes of no packet, damage, packets that are not fresh.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise

from lenslink_protocol.controls import Setting, read_settings
from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import Capability, ControlId, FrameState, ManifestKey, MessageType
from lenslink_protocol.manifest import iterate_entries
from lenslink_protocol.messages import (
    HEADER,
    MAGIC,
    Capture,
    Configure,
    Configured,
    Header,
    Heartbeat,
    Hello,
    HelloReply,
    Malformed,
    Pending,
    Resend,
    Resent,
    StartStream,
)
from lenslink_protocol.params import (
    HEADER_BYTES,
    MAX_BUSY_MS,
    MAX_CONTROL,
    MAX_LANES,
    MAX_PAYLOAD,
    MAX_RANGES,
    RESEND_TRIES,
    SILENCE_MS,
    VERSION_MAJOR,
)

from .module_peer import Script
from .packets import MASK_32, Packet, Parser
from .peer_wire import Wire
from .plain_module import do_meet

_Place = tuple[int, int, int, int]

# A packet may be on its way for so long, on a machine that does other things as well.
_ON_ITS_WAY_S = 0.2
_LATE_BEAT_S = SILENCE_MS / 2000 + 1.0
_UNCLEAN_S = 0.6
"""For so long bytes of no packet may keep a host from what follows them on their lane."""
_FROZEN_S = 0.15

_REQUESTS = (
    MessageType.HELLO,
    MessageType.GET_MANIFEST,
    MessageType.GET_CALIBRATION,
    MessageType.CONFIGURE,
    MessageType.CAPTURE,
    MessageType.STREAM,
    MessageType.SET_SETTINGS,
    MessageType.SET_BUDGET,
    MessageType.STOP,
    MessageType.FLUSH,
    MessageType.QUERY,
    MessageType.CHALLENGE,
)
_OF_CAPABILITIES = {
    MessageType.RESEND: Capability.RESEND,
    MessageType.CHALLENGE: Capability.AUTH,
    MessageType.TEST: Capability.TEST,
}
_STARTS = (MessageType.CAPTURE, MessageType.STREAM)
_FRAME_PACKETS = (MessageType.FRAME_START, MessageType.TILE, MessageType.FRAME_END)
_NUMBERED_ZERO = (MessageType.HEARTBEAT, MessageType.CLOSE)


class WatchedWire:
    """A wire that passes everything on to another one, and notes what the case sends."""

    def __init__(self, wire: Wire) -> None:
        self.lanes = wire.lanes
        self.headers: list[tuple[float, Header]] = []
        """When which header with a correct CRC was sent, wherever it stood."""
        self.damaged: set[Header] = set()
        """Those of the headers whose payload was sent damaged."""
        self.packets: list[Packet] = []
        """The packets that a host has to understand, with the time at which they were sent."""
        self._wire = wire
        self._last: dict[int, tuple[int, int]] = {}
        self._unclean_until = [0.0] * wire.lanes
        self._tails = [b""] * wire.lanes

    def now(self) -> float:
        return self._wire.now()

    def send(self, data: bytes, lane: int = 0) -> None:
        self._note(data, lane, self.now())
        self._wire.send(data, lane)

    def receive(self, seconds: float) -> bytes:
        return self._wire.receive(seconds)

    def receive_lane(self, lane: int) -> bytes:
        return self._wire.receive_lane(lane)

    def end_lane(self, lane: int) -> bool:
        return self._wire.end_lane(lane)

    def set_attached(self, attached: bool) -> bool:
        return self._wire.set_attached(attached)

    def reopen(self) -> bool:
        return self._wire.reopen()

    def close(self) -> None:
        self._wire.close()

    def _note(self, data: bytes, lane: int, now: float) -> None:
        found = list(_find_headers(self._tails[lane] + data))
        self._tails[lane] = (self._tails[lane] + data)[1 - HEADER_BYTES :]
        headers = [header for header, _ in found]
        self.headers += [(now, header) for header in headers]
        self.damaged |= {header for header, is_damaged in found if is_damaged}
        fresh = {header for header in headers if self._use_sequence(header, lane)}
        parser = Parser(lane)
        packets = parser.feed(data, now)
        if parser.damage or parser.waiting_bytes:
            self._unclean_until[lane] = now + _UNCLEAN_S
        if now >= self._unclean_until[lane]:
            self.packets += [packet for packet in packets if packet.header in fresh]

    def _use_sequence(self, header: Header, lane: int) -> bool:
        """Use up the sequence of a packet. Return False if it is not fresh."""
        if header.version >> 4 != VERSION_MAJOR:
            return False
        nonce, last = self._last.get(lane, (None, 0))
        is_next_session = nonce != header.nonce and header.type == MessageType.HELLO_REPLY
        is_newer = nonce == header.nonce and 0 < (header.sequence - last) & MASK_32 < 1 << 31
        is_first = lane > 0 and nonce is None
        if is_next_session or is_newer or is_first:
            self._last[lane] = (header.nonce, header.sequence)
            return True
        return False


def _find_headers(data: bytes) -> Iterator[tuple[Header, bool]]:
    """Yield every header with a correct CRC, wherever it begins, and True if it is damaged."""
    at = data.find(MAGIC)
    while 0 <= at <= len(data) - HEADER_BYTES:
        header = Header._make(HEADER.unpack_from(data, at)[1:])
        if crc32(data[at : at + HEADER_BYTES - 4]) == header.header_crc:
            payload = data[at + HEADER_BYTES :][: header.length]
            is_whole = len(payload) == header.length
            yield header, is_whole and crc32(payload) != header.payload_crc
        at = data.find(MAGIC, at + 1)


def find_breaches(script: Script) -> dict[str, str]:
    """Return the clauses that the host has broken in a case, each with what was seen.

    Args:
        script: The module of one session, once it has run. Its wire is a :class:`WatchedWire`.
    """
    found: dict[str, str] = {}
    if not isinstance(script.wire, WatchedWire):
        return found
    for nonce in dict.fromkeys(packet.header.nonce for packet in script.log):
        session = _Session(script, script.wire, nonce)
        for clause, look in _CHECKS:
            fault = next(iter(look(session)), "")
            if fault:
                found.setdefault(clause, fault)
    return found


class _Session:
    """The packets of one session of a case."""

    def __init__(self, script: Script, wire: WatchedWire, nonce: int) -> None:
        self.script = script
        self.log = [packet for packet in script.log if packet.header.nonce == nonce]
        self.sent = [packet for packet in wire.packets if packet.header.nonce == nonce]
        self.headers = [each for each in wire.headers if each[1].nonce == nonce]
        self.damaged = wire.damaged

    def find(self, *kinds: int) -> list[Packet]:
        """Return the host's packets of these types that can be decoded."""
        return [packet for packet in self.log if packet.kind in kinds and _is_sound(packet)]

    def find_sent(self, *kinds: int) -> list[Packet]:
        """Return the module's packets of these types that can be decoded."""
        return [packet for packet in self.sent if packet.kind in kinds and _is_sound(packet)]

    def find_values(self, key: int) -> list[bytes]:
        """Return the values of this key in the module's manifest."""
        found = []
        # Some cases have a manifest that breaks the rules.
        with contextlib.suppress(Malformed):
            for each, value in iterate_entries(self.script.make_manifest()):
                if each == key:
                    found.append(value)
        return found


def _is_sound(packet: Packet) -> bool:
    try:
        packet.message()
    except Malformed:
        return False
    return True


def _look_at_fields(session: _Session) -> Iterator[str]:
    for packet in session.log:
        head = packet.header
        if any((head.x, head.y, head.width, head.height)):
            yield f"{packet} names the place {(head.x, head.y, head.width, head.height)}"
        if head.stream and packet.kind != MessageType.RESEND:
            yield f"{packet} names stream {head.stream}"
        if packet.kind in _NUMBERED_ZERO and packet.id:
            yield f"{packet} has {packet.id} as its frame"
        if _is_sound(packet):
            message = packet.message()
            size = message.FIXED.size
            # The codec writes 0 into reserved fields, so another value shows here.
            if message.encode()[2:size] != packet.payload[2:size]:
                yield f"{packet} has a reserved field that is not 0"
    for before, after in pairwise(session.log):
        step = (after.header.sequence - before.header.sequence) & MASK_32
        if step != 1:
            yield f"{after} has a sequence {step} behind that of {before}"


def _look_at_hellos(session: _Session) -> Iterator[str]:
    answered = float("inf")
    for at, header in session.headers:
        if header.type == MessageType.HELLO_REPLY and header not in session.damaged:
            answered = min(at, answered)
    hellos = session.find(MessageType.HELLO)
    for hello in hellos[1:]:
        if (hello.id, hello.payload) != (hellos[0].id, hellos[0].payload):
            yield f"{hellos[0]} is repeated as {hello}"
    for packet in session.log:
        early = packet.kind not in (MessageType.HELLO, MessageType.CLOSE)
        if early and packet.at <= answered:
            yield f"{packet} is sent before Hello is answered"


def _look_at_capabilities(session: _Session) -> Iterator[str]:
    for packet in session.find(MessageType.HELLO):
        message = packet.message()
        assert isinstance(message, Hello)
        fits = MAX_CONTROL <= message.max_payload <= MAX_PAYLOAD
        if not (fits and 1 <= message.lanes <= MAX_LANES):
            yield f"Hello offers {message.lanes} lanes and a max_payload of {message.max_payload}"
    replies = [packet.message() for packet in session.find_sent(MessageType.HELLO_REPLY)]
    shared = 0
    for reply in replies:
        assert isinstance(reply, HelloReply)
        shared |= reply.capabilities
    for packet in session.find(*_OF_CAPABILITIES):
        wanted = _OF_CAPABILITIES[MessageType(packet.kind)]
        if replies and not shared & wanted:
            yield f"{packet} in a session without {wanted.name}"


def _look_at_the_end(session: _Session) -> Iterator[str]:
    script = session.script
    # A host that ends a session because of a fault may take that for no end in order.
    is_open = any(packet.kind in _STARTS for packet in session.log)
    has_closed = any(packet.kind == MessageType.CLOSE for packet in session.log)
    kinds = {header.type for _, header in session.headers}
    if script.end_time is None or has_closed or MessageType.CLOSE in kinds or not is_open:
        return
    if MessageType.HELLO_REPLY not in kinds or session.log[-1] is not script.log[-1]:
        return
    # A host that lets go of a silent module need not send Close.
    newest = max(at for at, header in session.headers if _is_believed(header))
    if script.end_time - newest < SILENCE_MS / 2000:
        yield f"the host went without Close, behind {session.log[-1]}"


def _is_believed(header: Header) -> bool:
    most = MAX_PAYLOAD if header.type == MessageType.TILE else MAX_CONTROL
    return header.version >> 4 == VERSION_MAJOR and header.length <= most


def _look_at_beats(session: _Session) -> Iterator[str]:
    others = [p.at for p in session.log if p.kind not in (MessageType.HELLO, MessageType.CLOSE)]
    ends = [p.at for p in session.log if p.kind == MessageType.CLOSE]
    ends += [at for at, header in session.headers if header.type == MessageType.CLOSE]
    if not others:
        return
    # Behind its last frame a host may decode or store frames, and wait for nothing.
    data = [at for at, header in session.headers if header.type in _FRAME_PACKETS]
    end = min([*ends, max(data or others)])
    beats = [p.at for p in session.find(MessageType.HEARTBEAT) if p.at < end]
    for before, after in pairwise([others[0], *beats, end]):
        if after - before > _LATE_BEAT_S:
            yield f"{after - before:.2f} s without a Heartbeat"


def _look_at_times(session: _Session) -> Iterator[str]:
    beats = [(p.at, p.message()) for p in session.find(MessageType.HEARTBEAT)]
    times = [(at, beat.time_us) for at, beat in beats if isinstance(beat, Heartbeat)]
    for (_, before), (_, after) in pairwise(times):
        if after < before:
            yield f"time_us {before}, then {after}"
    first: dict[int, float] = {}
    for at, time_us in times:
        if at - first.setdefault(time_us, at) > _FROZEN_S:
            yield f"time_us stays {time_us} for {at - first[time_us]:.2f} s"


def _look_at_ids(session: _Session) -> Iterator[str]:
    for before, after in pairwise(session.find(*_REQUESTS)):
        alike = (before.kind, before.payload) == (after.kind, after.payload)
        if after.id == before.id and not alike:
            yield f"id {after.id} is used for {before} and for {after}"
        if after.id < before.id:
            yield f"id {after.id} follows {before.id}"


def _look_at_leases(session: _Session) -> Iterator[str]:
    pendings = session.find_sent(MessageType.PENDING)
    for packet in session.find(*_REQUESTS):
        if packet.kind == MessageType.HELLO:
            continue
        ends = []
        for each in pendings:
            lease = each.message()
            if each.id == packet.id and each.at < packet.at - _ON_ITS_WAY_S:
                assert isinstance(lease, Pending)
                ends.append(each.at + min(lease.lease_ms, MAX_BUSY_MS) / 1000)
        left = max(ends, default=0.0) - packet.at
        if left > _ON_ITS_WAY_S / 2:
            yield f"{packet} is repeated {left:.2f} s before the end of its lease of Pending"


def _look_at_limits(session: _Session) -> Iterator[str]:
    beats = [packet.message() for packet in session.find(MessageType.HEARTBEAT)]
    limits = [beat.limit for beat in beats if isinstance(beat, Heartbeat)]
    for before, after in pairwise(limits):
        if any(low < high for low, high in zip(after, before, strict=True)):
            yield f"limits {after} follow {before}"


def _look_at_rectangles(session: _Session) -> Iterator[str]:
    plans = _find_plans(session)
    tiles = [packet for packet in session.sent if packet.kind == MessageType.TILE]
    for packet, asked in _find_resends(session):
        if len(asked) > MAX_RANGES:
            yield f"Resend has {len(asked)} rectangles"
        plan = plans.get(packet.header.stream)
        for place in asked:
            x, y, width, height = place
            if plan and not (
                width and height and x + width <= plan.width and y + height <= plan.height
            ):
                yield f"Resend asks for {place} of {plan.width} x {plan.height} pixels"
            received = [each for each in tiles if _has_pixels_of(each, packet, place)]
            if received and plan:
                yield f"Resend asks for {place}, of which {received[0]} has arrived"


def _has_pixels_of(tile: Packet, resend: Packet, place: _Place) -> bool:
    """Return True if a tile of 16-bit words has brought what a Resend asks for."""
    head = tile.header
    is_of_frame = (head.stream, tile.id) == (resend.header.stream, resend.id)
    is_there = tile.at < resend.at - _ON_ITS_WAY_S
    is_unpacked = len(tile.payload) == 2 * head.width * head.height
    at = head.x, head.y, head.width, head.height
    return is_of_frame and is_there and is_unpacked and do_meet(place, at)


def _look_at_gone(session: _Session) -> Iterator[str]:
    begun: set[tuple[int, int]] = set()
    gone: list[tuple[float, tuple[int, int], _Place]] = []
    for packet in session.sent:
        key = (packet.header.stream, packet.id)
        if packet.kind in (MessageType.FRAME_START, MessageType.TILE):
            begun.add(key)
        if packet.kind == MessageType.RESENT and key in begun and _is_sound(packet):
            gone += [(packet.at, key, place) for place in _find_gone(packet)]
    for packet, asked in _find_resends(session):
        key = (packet.header.stream, packet.id)
        for at, number, place in gone:
            met = [each for each in asked if do_meet(each, place)]
            if number == key and at < packet.at - _ON_ITS_WAY_S and met:
                yield f"Resend asks for {met[0]}, which Resent has called gone"


def _look_at_tries(session: _Session) -> Iterator[str]:
    data = (*_FRAME_PACKETS, MessageType.RESENT)
    counts: dict[tuple[int, int], tuple[float, int]] = {}
    for packet in session.find(MessageType.RESEND):
        key = (packet.header.stream, packet.id)
        came = [
            at for at, header in session.headers
            if header.type in data and (header.stream, header.frame) == key and at < packet.at
        ]  # fmt: skip
        newest = max(came, default=0.0)
        since, count = counts.get(key, (newest, 0))
        counts[key] = (newest, count + 1 if since == newest else 1)
        # One may have been on its way when the newest packet came.
        if counts[key][1] > RESEND_TRIES + 1:
            yield f"{counts[key][1]} Resends of frame {packet.id} without a packet of it"


def _look_at_formats(session: _Session) -> Iterator[str]:
    known = {int.from_bytes(v[:4], "little") for v in session.find_values(ManifestKey.FORMAT)}
    for packet in session.find(MessageType.CONFIGURE):
        message = packet.message()
        assert isinstance(message, Configure)
        if message.pixel_format not in {0, *known}:
            yield f"Configure names pixel format {message.pixel_format:#x}"


def _look_at_lists(session: _Session) -> Iterator[str]:
    for packet in session.find(*_STARTS):
        try:
            _read_list(packet)
        except Malformed as error:
            yield f"the settings list of {packet}: {error}"


def _look_at_controls(session: _Session) -> Iterator[str]:
    listed = {int.from_bytes(v[:2], "little") for v in session.find_values(ManifestKey.CONTROL)}
    for packet in session.find(*_STARTS):
        try:
            named = {setting.control for setting in _read_list(packet)}
        except Malformed:
            continue
        strange = named & set(ControlId) - listed
        if strange:
            yield f"{packet} names control {min(strange)}, which the manifest lacks"


def _read_list(packet: Packet) -> list[Setting]:
    message = packet.message()
    assert isinstance(message, (Capture, StartStream))
    return read_settings(message.settings, message.count if isinstance(message, Capture) else 0)


def _find_plans(session: _Session) -> dict[int, Configured]:
    """Return the newest Configured of each stream."""
    found = {}
    for packet in session.find_sent(MessageType.CONFIGURED):
        message = packet.message()
        assert isinstance(message, Configured)
        found[message.stream] = message
    return found


def _find_resends(session: _Session) -> Iterator[tuple[Packet, list[_Place]]]:
    for packet in session.find(MessageType.RESEND):
        message = packet.message()
        assert isinstance(message, Resend)
        yield packet, _split(message.ranges, message.count)


def _find_gone(packet: Packet) -> list[_Place]:
    message = packet.message()
    assert isinstance(message, Resent)
    if message.count > MAX_RANGES or len(message.gone) < 8 * message.count:
        return []
    everything = [(0, 0, MASK_32, MASK_32)] if message.state == FrameState.UNKNOWN else []
    return _split(message.gone, message.count) + everything


def _split(ranges: bytes, count: int) -> list[_Place]:
    most = min(count, len(ranges) // 8)
    return [(x, y, w, h) for x, y, w, h in struct.iter_unpack("<4H", ranges[: 8 * most])]


_CHECKS: tuple[tuple[str, Callable[[_Session], Iterator[str]]], ...] = (
    ("H-FRAME-1", _look_at_fields),
    ("H-HELLO-1", _look_at_hellos),
    ("H-HELLO-2", _look_at_capabilities),
    ("H-CLOSE-1", _look_at_the_end),
    ("H-LIVE-1", _look_at_beats),
    ("H-TIME-1", _look_at_times),
    ("H-REQ-1", _look_at_ids),
    ("H-REQ-4", _look_at_leases),
    ("H-SET-1", _look_at_lists),
    ("H-SET-2", _look_at_controls),
    ("H-CREDIT-1", _look_at_limits),
    ("H-RESEND-1", _look_at_rectangles),
    ("H-RESEND-3", _look_at_gone),
    ("H-RESEND-3", _look_at_tries),
    ("H-PACK-2", _look_at_formats),
)
