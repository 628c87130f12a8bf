"""Cases for hosts: heartbeats, and how a host waits (SPEC.md, 3.4)."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

from lenslink_protocol.ids import BusyReason, MessageType, NoticeReason
from lenslink_protocol.messages import (
    Busy,
    Configure,
    GetManifest,
    Heartbeat,
    HeartbeatReply,
    Log,
    Notice,
    Pending,
    Resend,
    Stop,
)
from lenslink_protocol.params import MAX_CONTROL, SILENCE_MS

from .cases import Cases, check
from .host_steps import (
    LAST_ROW,
    SLACK_S,
    BusyModule,
    FallsSilent,
    Preview,
    check_let_go,
)
from .module_peer import TILE, HostResult, Item, Script, tile_item
from .packets import Packet, damage_payload_crc

CASES: Cases[type[Script]] = Cases()

_SILENCE_S = SILENCE_MS / 1000
# A beat that is late by itself is no fault: the machine does other things as well.
_MOST_S = SILENCE_MS / 2000 + SLACK_S
_USUAL_S = SILENCE_MS / 2000 + 0.08


@CASES.add("H-LIVE-1")
class Heartbeats(Script):
    """The frame takes 1.5 s to come: meanwhile the host shows that it lives."""

    def start_frame(self) -> None:
        self.call_later(1.5, super().start_frame)
        for tenths in range(1, 15):
            # Its own signs of life, which answer nothing.
            self.call_later(tenths / 10, lambda: self.send_message(Notice(NoticeReason.HEAT, 0)))

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        begun = self.find_packets(MessageType.CAPTURE, MessageType.STREAM)[0].at
        check_beats(self, begun, begun + 1.5)


def check_beats(script: Script, begin: float, end: float) -> None:
    """Check that no two Heartbeats between two moments are further apart than they may be."""
    beats = [p.at for p in script.find_packets(MessageType.HEARTBEAT) if begin < p.at < end]
    longest = max(after - before for before, after in pairwise([begin, *beats, end]))
    said = f"{longest:.2f} s without a Heartbeat, {SILENCE_MS / 2000:g} s are the most"
    check(longest <= _MOST_S, said)
    usual = median(after - before for before, after in pairwise(beats)) if len(beats) > 2 else 0.0
    said = f"{usual:.2f} s between most Heartbeats, {SILENCE_MS / 2000:g} s are the most"
    check(usual <= _USUAL_S, said)


@CASES.add("H-LIVE-1")
class BeatsWhileItAsks(Script):
    """Configure is answered by Pending, then after 1.4 s: meanwhile Heartbeats come."""

    _asked = 0.0

    def on_configure(self, packet: Packet, message: Configure) -> None:
        if self._asked:
            return
        self._asked = packet.at
        self.send_reply(packet, Pending(1500))
        self.call_later(1.4, lambda: self.send_reply(packet, self.make_configured(message)))

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check_beats(self, self._asked, self._asked + 1.4)


@CASES.add("H-LIVE-1")
class BeatsInsideAFrame(Script):
    """A frame takes 1.4 s from its first tile to its last: meanwhile Heartbeats come."""

    # A host that could ask again would have the whole frame sooner.
    capabilities = 0
    _begun = 0.0

    def start_frame(self) -> None:
        self.begun[self._stream] = self.frame + 1
        self._begun = self.wire.now()
        for at, item in enumerate(self.make_items()):
            self.call_later(at / 10, lambda item=item: self._send_one(item))  # type: ignore[misc]

    def _send_one(self, item: Item) -> None:
        self.queue.append(item)
        self.send_waiting()

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check_beats(self, self._begun, self._begun + 1.3)


@CASES.add("H-LIVE-1")
class BeatsDuringBusy(Script):
    """The module is BUSY for 1.4 s and silent: meanwhile Heartbeats come."""

    _busy = 0.0
    _is_silent = False

    def start_frame(self) -> None:
        self.send_message(Busy(BusyReason.CALIBRATION, 1500))
        self._busy, self._is_silent = self.wire.now(), True
        self.call_later(1.4, self._go_on)

    def _go_on(self) -> None:
        self._is_silent = False
        super().start_frame()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_silent:
            super().on_heartbeat(packet, message)

    def judge(self, result: HostResult) -> None:
        self.check_whole_frame(result)
        check_beats(self, self._busy, self._busy + 1.4)


@CASES.add("H-LIVE-1")
class BeatsOfAPreview(Preview):
    """A frame comes every 0.6 s: between them Heartbeats come."""

    capabilities = 0
    interval_s = 0.6

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        begun = self.find_packets(MessageType.STREAM, MessageType.CAPTURE)[0].at
        check_beats(self, begun, begun + 1.2)


@CASES.add("H-LIVE-1")
class BeatsDuringALongBusy(BusyModule):
    """Heartbeats go on in their interval for 2.4 s in which none is answered."""

    silence_s = 2.4

    def make_busy(self) -> bytes:
        return self.pack(MessageType.BUSY, Busy(BusyReason.FLASH, 5000).encode())

    def judge(self, result: HostResult) -> None:
        check_beats(self, self._began, self._began + self.silence_s)
        self.check_whole_frame(result)


@CASES.add("H-LIVE-2")
class Silence(FallsSilent):
    """The module says nothing any more: the host lets go of it."""

    limit_s = 8.0

    def start_frame(self) -> None:
        self.silent_since = self.wire.now()


@CASES.add("H-LIVE-2")
class SilentToARequest(FallsSilent):
    """The module falls silent at Configure."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self.silent_since = self.wire.now()


@CASES.add("H-LIVE-2")
class SilentAfterBusy(FallsSilent):
    """The module says BUSY for 0.5 s, and nothing any more: the lease ends, and so the wait."""

    def start_frame(self) -> None:
        self.send_message(Busy(BusyReason.FLASH, 500))
        self.silent_since = self.wire.now() + 0.5


@CASES.add("H-LIVE-2")
class SilentButForNoise(FallsSilent):
    """The module sends nothing but bytes of no packet any more."""

    def start_frame(self) -> None:
        self.silent_since = self.wire.now()
        for tenths in range(1, 40):
            self.call_later(tenths / 10, lambda: self.wire.send(b"noise and nothing else"))


@CASES.add("H-LIVE-2")
class ShortSilence(Script):
    """The module is silent for 0.7 s, and goes on: the host is still there."""

    _is_silent = False

    def start_frame(self) -> None:
        self._is_silent = True
        self.call_later(0.7, self._go_on)

    def _go_on(self) -> None:
        self._is_silent = False
        super().start_frame()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_silent:
            super().on_heartbeat(packet, message)


class _OnlyLife(ShortSilence):
    """For a while nothing comes but packets that the host discards. Their headers are believed."""

    _life_s = 2 * _SILENCE_S + 0.3

    def make_sign(self) -> bytes:
        """Return a packet that the host discards."""
        raise NotImplementedError

    def start_frame(self) -> None:
        self._is_silent = True
        for tenths in range(1, int(10 * self._life_s)):
            self.call_later(tenths / 10, lambda: self.wire.send(self.make_sign()))
        self.call_later(self._life_s, self._go_on)


@CASES.add("H-LIVE-2")
class DamagedIsLife(_OnlyLife):
    """Packets whose payload is damaged are a sign of life."""

    def make_sign(self) -> bytes:
        return damage_payload_crc(self.pack(MessageType.LOG, bytes(20)))


@CASES.add("H-LIVE-2")
class OldIsLife(_OnlyLife):
    """Packets that are not fresh are a sign of life: old ones, and those of another session."""

    _count = 0

    def make_sign(self) -> bytes:
        self._count += 1
        newest = self.sequence
        nonce = self.nonce ^ (self._count % 2)
        old = self.pack(MessageType.LOG, bytes(20), sequence=newest - 1, nonce=nonce)
        self.sequence = newest
        return old


@CASES.add("H-LIVE-2")
class OtherSessionIsLife(_OnlyLife):
    """Sound packets of another session alone are a sign of life."""

    def make_sign(self) -> bytes:
        own = self.sequence
        other = self.pack(MessageType.LOG, bytes(20), nonce=self.nonce ^ 1)
        self.sequence = own
        return other


@CASES.add("H-LIVE-2")
class UnknownIsLife(_OnlyLife):
    """Packets of unknown types are a sign of life, and so are messages that are too short."""

    _count = 0

    def make_sign(self) -> bytes:
        self._count += 1
        return self.pack((0x7E, MessageType.LOG)[self._count % 2], b"")


@CASES.add("H-LIVE-2")
class SlowTile(Script):
    """A tile takes longer than SILENCE_MS, and its bytes never pause for long: nobody is gone."""

    limit_s = 12.0
    _parts = 16
    _step_s = 0.12
    _is_slow = False

    def send_waiting(self) -> None:
        while self.queue and not self._is_slow:
            item = self.queue[0]
            if item.place != tile_item(LAST_ROW).place:
                rest, self.queue = self.queue[1:], [item]
                super().send_waiting()
                left = bool(self.queue)
                self.queue += rest
                if left:
                    return
                continue
            if self.sent[self._stream] + TILE > self.limits[self._stream]:
                return
            self.queue.pop(0)
            self.sent[self._stream] += TILE
            self._send_slowly(self._encode_item(item))

    def _send_slowly(self, data: bytes) -> None:
        self._is_slow = True
        size = -(-len(data) // self._parts)
        for part in range(self._parts):
            piece = data[part * size :][:size]
            self.call_later(part * self._step_s, lambda piece=piece: self.wire.send(piece))  # type: ignore[misc]
        self.call_later((self._parts - 1) * self._step_s + 0.01, self._go_on)

    def _go_on(self) -> None:
        self._is_slow = False
        self.send_waiting()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_slow:
            super().on_heartbeat(packet, message)

    def on_resend(self, packet: Packet, message: Resend) -> None:
        if not self._is_slow:
            super().on_resend(packet, message)


class _HeadersOnly(FallsSilent):
    """Sends nothing but headers that are not believed, once the frame is asked for."""

    limit_s = 8.0

    def make_header(self) -> bytes:
        raise NotImplementedError

    def start_frame(self) -> None:
        self.silent_since = self.wire.now()
        for at in range(1, 30):
            self.call_later(0.2 * at, lambda: self.wire.send(self.make_header()))


@CASES.add("H-LIVE-2")
class OtherMajorIsNoLife(_HeadersOnly):
    """Headers of another major version are no sign of life."""

    def make_header(self) -> bytes:
        return self.pack(MessageType.LOG, b"", version=0x20)


@CASES.add("H-LIVE-2")
class TooLongIsNoLife(_HeadersOnly):
    """Headers with a length over the limit are no sign of life."""

    def make_header(self) -> bytes:
        return self.pack(MessageType.LOG, bytes(MAX_CONTROL + 100))[:40]


@CASES.add("H-LIVE-3")
class BusyLease(BusyModule):
    """The module is BUSY for 2 s, silent for 1.8 s, then sends its frame."""

    limit_s = Script.limit_s
    silence_s = 1.8

    def make_busy(self) -> bytes:
        return self.pack(MessageType.BUSY, Busy(BusyReason.FLASH, 2000).encode())


class _Leases(Script):
    """The module is silent under leases of BUSY, then sends its frame."""

    leases: tuple[tuple[float, int], ...] = ()
    """After how many seconds which lease is said, ms."""
    silent_s = 0.0
    _is_silent = False

    def start_frame(self) -> None:
        for after, lease in self.leases:
            self.call_later(after, lambda ms=lease: self._say_busy(ms))  # type: ignore[misc]
        self._is_silent = True
        self.call_later(self.silent_s, self._go_on)

    def _say_busy(self, lease_ms: int) -> None:
        self.send_message(Busy(BusyReason.OTHER, lease_ms))

    def _go_on(self) -> None:
        self._is_silent = False
        super().start_frame()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_silent:
            super().on_heartbeat(packet, message)


@CASES.add("H-LIVE-3")
class BusyTwice(_Leases):
    """A second Busy comes before the first lease ends: the second lease counts."""

    leases = ((0.0, 600), (0.5, 1700))
    silent_s = 2.1


@CASES.add("H-LIVE-3", "H-LIVE-2")
class QuietAfterBusy(_Leases):
    """The module is silent for 0.6 s after a lease of 1 s: silence counts from the lease's end."""

    leases = ((0.0, 1000),)
    silent_s = 1.6


@CASES.add("H-LIVE-3")
class BusyInARequest(Script):
    """The module says BUSY for 2 s instead of answering Configure, and answers after 1.8 s."""

    _is_silent = False
    _has_answered = False

    def on_configure(self, packet: Packet, message: Configure) -> None:
        if self._is_silent or self._has_answered:
            return
        self._is_silent = True
        self.send_message(Busy(BusyReason.FLASH, 2000))

        def answer() -> None:
            self._is_silent, self._has_answered = False, True
            self.send_reply(packet, self.make_configured(message))

        self.call_later(1.8, answer)

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_silent:
            super().on_heartbeat(packet, message)


@CASES.add("H-LIVE-3")
class ShorterBusyBehind(Script):
    """A Busy of 2.5 s, then one of 0.3 s, and silence for 2 s: the latest end counts."""

    limit_s = 12.0
    _is_busy = False

    def start_frame(self) -> None:
        self.send_message(Busy(BusyReason.FLASH, 2500))
        self.send_message(Busy(BusyReason.OTHER, 300))
        self._is_busy = True
        self.call_later(2.0, self._wake)

    def _wake(self) -> None:
        self._is_busy = False
        super().start_frame()

    def send_waiting(self) -> None:
        if not self._is_busy:
            super().send_waiting()

    def on_heartbeat(self, packet: Packet, message: Heartbeat) -> None:
        if not self._is_busy:
            super().on_heartbeat(packet, message)


@CASES.add("H-LIVE-3")
class BusyBeyondTheMost(BusyModule):
    """A lease of more than MAX_BUSY_MS counts as MAX_BUSY_MS."""

    def make_busy(self) -> bytes:
        return self.pack(MessageType.BUSY, Busy(BusyReason.FLASH, 60_000).encode())


@CASES.add("H-LIVE-3")
class PacketsInALease(BusyModule):
    """A few packets come at the beginning of a lease of 2.5 s, and do not end it."""

    silence_s = 2.4

    def make_busy(self) -> bytes:
        return self.pack(MessageType.BUSY, Busy(BusyReason.FLASH, 2500).encode())

    def start_frame(self) -> None:
        super().start_frame()
        self.call_later(0.2, self._send_some)

    def _send_some(self) -> None:
        self.send_message(Log(2, 0, b"still there"))
        self.send_message(Notice(NoticeReason.HEAT, 0))
        self.send_message(HeartbeatReply(0, (0, 0, 0), (0, 0, 0), 0, 0))
        self.wire.send(damage_payload_crc(self.pack(MessageType.LOG, bytes(20))))
        self.wire.send(self.pack(0xE5, b"a vendor's"))


@CASES.add("H-LIVE-2")
class SilentAfterPending(FallsSilent):
    """Configure gets Pending of 5 s, and nothing follows: Pending is no lease of silence."""

    def on_configure(self, packet: Packet, message: Configure) -> None:
        self.send_reply(packet, Pending(5000))
        self.silent_since = self.wire.now()


@CASES.add("H-LIVE-2")
class SilentAtTheManifest(FallsSilent):
    """The module answers Hello, and nothing any more."""

    def on_get_manifest(self, packet: Packet, message: GetManifest) -> None:
        self.silent_since = self.silent_since or self.wire.now()


@CASES.add("H-LIVE-2")
class SilentAtStop(FallsSilent, Preview):
    """The module falls silent when the preview is to stop."""

    def on_stop(self, packet: Packet, message: Stop) -> None:
        self._is_running = False
        self.queue.clear()
        self.silent_since = self.silent_since or self.wire.now()

    def judge(self, result: HostResult) -> None:
        # A host without Stop ends with Flush or Close.
        if self.find_packets(MessageType.STOP):
            check_let_go(self, self.silent_since)


@CASES.add("H-LIVE-3")
class BusyInAFrame(BusyModule):
    """The module is BUSY for 2.5 s inside a frame, and goes on: the frame is whole."""

    silence_s = 2.4
    capabilities = 0
    _rest: tuple[Item, ...] = ()

    def make_busy(self) -> bytes:
        return self.pack(MessageType.BUSY, Busy(BusyReason.FLASH, 2500).encode())

    def start_frame(self) -> None:
        Script.start_frame(self)

    def make_items(self) -> list[Item]:
        items = super().make_items()
        self._rest = tuple(items[5:])
        self.call_later(0.02, super().start_frame)
        return items[:5]

    def _wake(self) -> None:
        self._is_busy = False
        self.queue += self._rest
        self.send_waiting()


@CASES.add("H-LIVE-1")
class BeatsAtStop(Preview):
    """Stop is answered after 1.5 s, with a Pending before: meanwhile Heartbeats come."""

    _asked = 0.0

    def on_stop(self, packet: Packet, message: Stop) -> None:
        if self._asked:
            return
        self._asked = packet.at
        self.end_frame()
        self.send_reply(packet, Pending(1600))
        self.call_later(1.5, lambda: Script.on_stop(self, packet, message))

    def judge(self, result: HostResult) -> None:
        super().judge(result)
        if self._asked:
            check_beats(self, self._asked, self._asked + 1.5)
