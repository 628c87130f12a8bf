"""Sessions of both link machines on virtual time, over lines that fault as planned.

One module serves session after session, as a real one does from host to host: what one of them
leaves behind is what the next one stumbles over.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from helpers import module_world
from lenslink.receive.assembly import Assembly
from lenslink.receive.frame_pool import Buffer, Pool
from lenslink.receive.reassembly import Reassembly
from lenslink_hil.faults.fault_plan import Damage, Fault, FaultPlan, Kind, Plug
from lenslink_hil.faults.faulty_link import faulty_lines
from lenslink_hil.virtual_time import Line, VirtualLinks
from lenslink_protocol.ids import CloseReason, MessageType
from lenslink_protocol.link import Link
from lenslink_protocol.messages import (
    HEADER,
    Accepted,
    Capture,
    Configure,
    Configured,
    GetManifest,
    Header,
    ManifestPiece,
)
from lenslink_protocol.params import STALL_MS

RATE = 1e7
LATENCY_S = 0.0002
MODE = 1
FRAMES = 2
# With no timer of either machine shorter than this, nothing is missed by skipping quiet time.
_IDLE_S = 0.01
_DEADLINE_S = 8.0
# What is late on one of several lanes is taken for lost: a lost last packet has no other sign.
_LAG_S = STALL_MS / 1000

_PICTURES = [bytes(module_world.gradient(number, MODE)) for number in range(64)]


def picture(number: int) -> bytes:
    """The rows of a frame; of the 64 before it each is another."""
    return _PICTURES[number % 64]


class CountingPool(Pool):
    """Knows how many of its buffers are out."""

    def __init__(self) -> None:
        super().__init__()
        self.out = 0

    def acquire(self, size: int, frame: int = -1) -> Buffer:
        self.out += 1
        return super().acquire(size, frame)

    def release(self, buffer: Buffer) -> None:
        self.out -= 1
        super().release(buffer)


@dataclass
class Outcome:
    """What came of a session."""

    opened: bool = False
    manifest: bool = False
    configured: bool = False
    accepted: bool = False
    complete: dict[int, bool] = field(default_factory=dict)
    """Frames that the host handed on."""
    intact: set[int] = field(default_factory=set)
    """Frames of which every packet arrived as it was sent."""
    begun: int = 0
    """Frames that the module began to read out in this session."""
    discards: Counter[str] = field(default_factory=Counter)
    module_discards: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    wrong: list[int] = field(default_factory=list)
    """Frames with a pixel that was said to be good and is not."""
    seconds: float = 0.0


class FaultHarness(VirtualLinks):
    """A :class:`VirtualLinks` whose module outlives its sessions."""

    def __init__(self, lanes: int = 1) -> None:
        lines = [Line(RATE, 0) for _ in range(1 + lanes)]
        super().__init__(module_world.configuration(), picture, *lines)
        self.lanes = lanes
        self.pool = CountingPool()
        self._nonce = 0x1000
        self.up = self.down = faulty_lines(FaultPlan(), RATE, LATENCY_S)[0]
        # Packets of frames: their types by frame, then by lane and number on it.
        self._sent: dict[int, dict[tuple[int, int], int]] = {}
        while not self.module.is_attached():
            self._idle()

    def attach(self, plan: FaultPlan) -> None:
        """A host comes along, over lines with these faults."""
        plug = Plug()
        pairs = [faulty_lines(plan, RATE, LATENCY_S, lane, plug) for lane in range(self.lanes)]
        self.ups = dict(enumerate(up for up, _ in pairs))
        self.up, self.down = pairs[0]
        self._up, self._down = {**self.ups}, self.down
        self._arrivals.clear()
        self._sent = {}
        # The frame that was next when the module opened the session: one whose close was lost goes
        # on reading out until then.
        self._first: int | None = None
        self.discards = Counter()
        self.module.link.discards.clear()
        self.configurations = {}
        self.frames = Reassembly(self.pool, self.discards, self.configurations.get)
        self._nonce += 1
        self.link = Link(self._nonce, self.frames, self.discards, self.lanes)

    def happened(self) -> list[Fault]:
        """The faults that there were, of those that were planned."""
        damages = [*(up.damage for up in self.ups.values()), self.down.damage]
        return [fault for damage in damages for fault in damage.applied_faults]

    @property
    def dead(self) -> bool:
        """The plug is out, and what was on its way has arrived."""
        return self.up.plug.is_pulled and not self._arrivals

    def session(self, plan: FaultPlan, *, manifest: bool = False) -> Outcome:
        """Hello, manifest, configure, two frames, a control, close."""
        self.attach(plan)
        outcome = Outcome()
        began = self.clock.seconds
        self._talk(outcome, manifest)
        outcome.seconds = self.clock.seconds - began
        if self._first is not None:
            outcome.begun = self.module.next_frame - self._first
        outcome.intact = self._intact()
        outcome.discards = Counter({cause.value: n for cause, n in self.discards.items() if n})
        outcome.module_discards = Counter(self.module.link.discards)
        outcome.lost = self.link.lost_packets
        return outcome

    def abandon(self) -> int:
        """What a driver does with a session that has ended; how many buffers are still out."""
        for lane in self.link.lanes:
            self.frames.cancel_reservation(lane.number)
        for stream in (0, 1):
            self.frames.drop_stream(stream)
        return self.pool.out

    def drain(self, seconds: float) -> None:
        """Let time pass."""
        self.run(lambda: False, seconds)

    def unseat(self) -> None:
        """Both contacts open, and the module has had the time to notice; it says so to nobody."""
        ports = self.module.ports
        ports.events += [(ports.CONTACT, 0, 0), (ports.CONTACT, 1, 0)]
        self.drain(0.04)

    def seat(self) -> None:
        """On again."""
        ports = self.module.ports
        ports.events += [(ports.CONTACT, 0, 1), (ports.CONTACT, 1, 1)]
        while not self.module.is_attached():
            self._idle()

    def _talk(self, outcome: Outcome, manifest: bool) -> None:
        outcome.opened = self._ask(None, None)
        self.frames.can_resend = True
        if outcome.opened and manifest:
            outcome.manifest = self._ask(GetManifest(0), ManifestPiece)
        if outcome.opened:
            outcome.configured = self._ask(Configure(0, 0, MODE, 0, 0), Configured)
        if outcome.configured:
            outcome.accepted = self._ask(Capture(0, FRAMES), Accepted)
            for _ in range(FRAMES):
                self._take(outcome)
        if outcome.opened and not self.dead:
            self._ask(Configure(1, 1, MODE, 0, 0), Configured)
        self.link.send_close(CloseReason.ORDERLY)
        self.drain(0.002)

    def _ask(self, message: object, kind: type | None) -> bool:
        if message is None:
            request = self.link.send_hello(self.clock.seconds)
        else:
            request = self.link.send_request(message, self.clock.seconds)
        self.run(lambda: request.is_done or self.dead, _DEADLINE_S)
        self.link.forget_request(request)
        if kind is Configured and isinstance(request.reply, Configured) and not message.flags:
            self.configurations[message.stream] = request.reply
        return request.is_done and (kind is None or isinstance(request.reply, kind))

    def _take(self, outcome: Outcome) -> None:
        self.run(lambda: bool(self.frames.finished_frames) or self.dead, _DEADLINE_S)
        if not self.frames.finished_frames:
            return
        frame: Assembly = self.frames.finished_frames.popleft()
        want = picture(frame.number)
        got = frame.buffer.tobytes()
        at = 0
        for start, end in (*frame.received_ranges.find_gaps(0, len(want)), (len(want), 0)):
            if got[at:start] != want[at:start]:
                outcome.wrong.append(frame.number)
            at = end
        outcome.complete[frame.number] = frame.received_ranges.is_complete
        self.pool.release(frame.buffer)

    def _intact(self) -> set[int]:
        """Frames whose first packets arrived untouched, all of them."""
        found = set()
        hit = {
            (lane, number)
            for lane, up in self.ups.items()
            for number in up.damage.damaged_packets
            | up.damage.stalled_packets
            | self._late(up.damage)
        }
        for number, packets in self._sent.items():
            whole = {MessageType.FRAME_START, MessageType.FRAME_END} <= set(packets.values())
            if whole and not packets.keys() & hit:
                found.add(number)
        return found

    def _late(self, damage: Damage) -> set[int]:
        """Packets of one of several lanes, from where its stalls are more than others wait for."""
        stalls = [fault for fault in damage.applied_faults if fault.kind is Kind.STALL]
        if self.lanes == 1 or sum(fault.seconds for fault in stalls) < _LAG_S:
            return set()
        return set(range(min(fault.packet or 0 for fault in stalls), damage.packet + 1))

    # --- virtual time ---------------------------------------------------------------------

    def _idle(self) -> None:
        self.module.step()
        self.clock.us += 10_000

    def _send(self, line: Line, lane: int | None, packet: bytes, now: float) -> None:
        if lane is None or self.up.plug.is_pulled:
            super()._send(line, lane, packet, now)
            return
        damage = self.ups[lane].damage
        number = damage.packet
        header = Header._make(HEADER.unpack_from(packet)[1:])
        opens = header.type == MessageType.HELLO_REPLY and header.nonce == self._nonce
        if opens and self._first is None:
            self._first = self.module.next_frame
        of_frame = MessageType.FRAME_START <= header.type <= MessageType.FRAME_END
        # Not what a session before has left, whose close was lost.
        if of_frame and not header.flags and header.nonce == self._nonce:
            self._sent.setdefault(header.frame, {})[lane, number] = header.type
        super()._send(line, lane, packet, now)
        if damage.end is not None and damage.packet == number:
            # Cut off inside.
            damage.damaged_packets.add(number)

    def _step(self) -> None:
        for lane, up in self.ups.items():
            # What is on a cut lane has arrived or is lost; then both ends are told.
            on_it = any(each[2] == lane for each in self._arrivals)
            if up.lane_plug.is_pulled and lane in self._up and not on_it:
                self.kill_lane(lane)
        super()._step()

    def _advance(self, now: float) -> None:
        moments = [now + _IDLE_S]
        if self._arrivals:
            moments.append(self._arrivals[0][0])
        moments += [line.free_at for line in self._up.values() if line.free_at > now]
        self.clock.us = max(self.clock.us + 1, math.ceil(min(moments) * 1e6))
