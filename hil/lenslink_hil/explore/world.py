"""One state of an exploration: a host, a module, and the packets on their way between them.

Both machines are the real ones, of the driver and of the firmware. These things are smaller:

- The frame has 4 x 6 pixels and three tiles of 16 bytes.
- The credit window is two tiles.
- Timers are multiples of a tick of 1/16 s, so that times can be compared exactly.

These things are left out:

- Bytes between packets. Each packet arrives whole, with a damaged payload, or not at all.
- Log lines.
- The module's clock stands still. Its link has one timer only, for packets that stop in the middle.

:mod:`.search` calls :meth:`World.list_actions` and :meth:`World.act`. The invariants are checked
here, where packets are sent and received. A broken one raises :exc:`.violation.Violation`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lensfw import framing as module_framing
from lensfw import module as firmware
from lenslink.receive import reassembly as host_reassembly
from lenslink.receive import resend_timer as host_resend_timer
from lenslink.receive.assembly import Assembly, AssemblySnapshot, AssemblyState
from lenslink.receive.frame_pool import Buffer, Pool
from lenslink.receive.reassembly import Reassembly
from lenslink_protocol import framing as host_framing
from lenslink_protocol import link as host_link
from lenslink_protocol.ids import Capability, DiscardReason, Flag, MessageType
from lenslink_protocol.link import Link
from lenslink_protocol.messages import (
    Accepted,
    AnyMessage,
    Capture,
    Configure,
    Configured,
    Flush,
    Flushed,
    FrameEnd,
    Header,
    HelloReply,
)
from lenslink_protocol.params import HEADER_BYTES

from ..module_snapshot import snapshot_module
from ..virtual_time import InstantPorts, VirtualClock
from .violation import Violation, parse_header

WIDTH, HEIGHT, ROWS = 4, 6, 2
TILE_BYTES = 2 * WIDTH * ROWS
FRAME_BYTES = 2 * WIDTH * HEIGHT
WINDOW = 2 * TILE_BYTES
TICK = 1 / 16
_MODE = 1
_FIRST_NONCE = 0x1000

Action = tuple[str, int]
"""What happens next, and on which lane. Lane -1 leads from the host to the module."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How often each fault may happen in one run, and the size of the set-up."""

    losses: int = 2
    """A packet is lost, or the payload of a tile is damaged."""
    duplicates: int = 1
    """A packet arrives twice in a row."""
    swaps: int = 1
    """A packet overtakes the packet that was sent before it on the same lane."""
    late: int = 0
    """A copy of a packet arrives again at any later time."""
    early: int = 0
    """A timer fires while packets are on their way. Other timers wait for the packets."""
    restarts: int = 1
    """The host opens a new session."""
    lanes: int = 1
    capacity: int = 2
    """Packets that may be on their way to the host on one lane. Then the module waits."""
    buffers: int = 4
    """Tiles that the module has memory for. At most two of them are filled or wait."""
    flush: bool = False
    """The host flushes as soon as its capture is accepted, instead of waiting for the frame."""


def picture(number: int) -> bytes:
    """Return the bytes of a frame. Each frame has other bytes."""
    return bytes((17 * number + at + 1) & 0xFF for at in range(FRAME_BYTES))


class _Pool(Pool):
    """A pool whose new memory has known contents, so that each run gives the same states."""

    def acquire(self, size: int, frame: int = -1) -> Buffer:
        for index, buffer in enumerate(self._free):
            if buffer.size == size:
                return self._free.pop(index)
        return np.full(size, 0xEE, dtype=np.uint8)


class _Link(Link):
    """A link that checks that no packet of another session reaches it."""

    def on_packet(self, header: Header, payload: memoryview, in_place: bool, lane: int = 0) -> None:
        if header.nonce != self.nonce:
            raise Violation("the host took a packet of another session")
        super().on_packet(header, payload, in_place, lane)


def _configuration(bounds: Bounds) -> dict[str, Any]:
    mode = {
        "id": _MODE,
        "name": "small",
        "width": WIDTH,
        "height": HEIGHT,
        "binning": 1,
        "use": ["preview"],
        "active_area": [0, 0, HEIGHT, WIDTH],
    }
    return {
        "maker": "LensLink",
        "model": "explored",
        "serial": "EXPLORED",
        "board": "none",
        "boot_count": 1,
        "reset_reason": 0,
        "limits": {"tile_bytes": TILE_BYTES, "tiles": bounds.buffers, "in_flight": 2},
        "sensor": {
            "width": WIDTH,
            "height": HEIGHT,
            "bits": 12,
            "cfa": "RGGB",
            "orientation": 1,
            "white": 4095,
            "black": [64] * 4,
            "illuminant": 21,
            "color_matrix": [1, 1] * 9,
            "neutral": [1, 1] * 3,
            "modes": [mode],
            # The module's clock stands still, so an exposure takes no time.
            "exposure_us": [0, 0, 0],
        },
        "optics": {
            "focal_um": 1,
            "focal_35mm_um": 1,
            "aperture_milli": 1400,
            "focus_max_mdpt": 3300,
        },
        "motor": {"steps": 2000, "steps_per_s": 8000},
        "power": {"idle_mw": 150, "active_mw": 1400},
        "scale": {"pixels_milli": 1, "rate_milli": 1},
    }


_PATCHES: tuple[tuple[Any, str, Any], ...] = (
    # Little memory, since each state is saved with all of it. No packet is longer.
    (host_framing, "_HUNT_BYTES", 256),
    (host_framing, "MAX_CONTROL", 256),
    (module_framing, "_PACKET", 256),
    (host_link, "WINDOW", WINDOW),
    # One grant per window, so that a lost grant matters.
    (host_link, "_GRANTS", 1),
    # No log lines.
    (host_link, "CAPABILITIES", Capability.RESEND),
    (host_link, "HEARTBEAT_MS", 125),
    (host_link, "_FLOWING_S", 0.25),
    (host_link, "HELLO_RETRY_MS", 125),
    (host_link, "REQUEST_RETRY_MS", 250),
    (host_resend_timer, "RETRY_S", TICK),
    (host_reassembly, "_QUIET_S", 2 * TICK),
    (host_reassembly, "END_GRACE_MS", 125),
    (host_reassembly, "FRAME_STALE_MS", 1000),
    (host_reassembly, "RESEND_TRIES", 4),
)


@contextlib.contextmanager
def shrink_machines() -> Iterator[None]:
    """Make the machines as small as the module's docstring says, and watch for repeated requests.

    Machines that are made inside the ``with`` block have the smaller buffers. They must run inside
    such a block, too.
    """
    request, opened = firmware.Module.handle_request, firmware.Module.on_session_open

    def watched_request(self: Any, kind: int, number: int, values: Any) -> None:
        _count_execution(self.executed, (self.link.nonce, number))
        request(self, kind, number, values)

    def watched_opened(self: Any) -> None:
        _count_execution(self.executed, (self.link.nonce, 0))
        # An old Hello that overtakes a new Hello opens the old session again. This does no harm:
        # the host hears nothing and opens a new session. But the requests of the old session must
        # not be executed a second time.
        self.executed = {e for e in self.executed if e[1] or e[0] == self.link.nonce}
        opened(self)

    patches = (
        *_PATCHES,
        (firmware.Module, "handle_request", watched_request),
        (firmware.Module, "on_session_open", watched_opened),
    )
    before = [getattr(owner, name) for owner, name, _ in patches]
    for owner, name, value in patches:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(patches, before, strict=True):
            setattr(owner, name, value)


def _count_execution(executed: set[tuple[int, int]], what: tuple[int, int]) -> None:
    if what in executed:
        raise Violation(f"request {what[1]} was executed twice")
    executed.add(what)


class World:
    """One state. :meth:`list_actions` returns what may happen next, and :meth:`act` does it."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.now = 1024.0
        self.faults_left = {
            "lose": bounds.losses,
            "twice": bounds.duplicates,
            "swap": bounds.swaps,
            "late": bounds.late,
            "early": bounds.early,
            "restart": bounds.restarts,
        }
        self.late_packets: list[tuple[int, bytes]] = []
        """Lane and bytes of packets that may arrive at any time."""
        self.session_nonces: dict[int, int] = {}
        """The nonce of the session in which a frame began, by frame number."""
        self.has_flushed = False
        """The module has sent Flushed in its current session."""
        self.tile_counts: dict[int, int] = {}
        """Tiles that were sent for the first time, by frame number."""
        self.ended_frames: set[int] = set()
        clock = VirtualClock()
        self.module: Any = firmware.Module(_configuration(bounds), InstantPorts(picture), clock)
        self.module.executed = set()
        self.module.link.max_lanes = bounds.lanes
        while not self.module.is_attached():
            self.module.step()
            clock.us += 10_000
        self.pool = _Pool()
        self.down: list[bytes] = []
        self.up: list[list[bytes]] = [[] for _ in range(bounds.lanes)]
        self.nonce = _FIRST_NONCE
        self._open_session()

    # --- the host's program ---------------------------------------------------------------

    def _open_session(self) -> None:
        """Open a session. Packets of the last session stay on their way."""
        self.configurations: dict[int, Configured] = {}
        discards: Counter[DiscardReason] = Counter()
        self.frames = Reassembly(self.pool, discards, self.configurations.get)
        self.link = _Link(self.nonce, self.frames, discards, self.bounds.lanes)
        self.stage = 0
        self.has_frame = False
        self.has_given_up = False
        self.request = self.link.send_hello(self.now)
        self._poll_host()

    def _poll_host(self) -> None:
        """Poll the host's link as the driver does after each packet, and check the frames."""
        self.link.poll(self.now)
        if self.link.is_silent(self.now):
            if self.module.link.nonce == self.nonce:
                raise Violation("the host gave up a module that serves it")
            self.has_given_up = True
        reply = self.request.reply
        if reply is not None and self.stage < 3 + self.bounds.flush:
            self._on_reply(reply)
        while self.frames.finished_frames:
            self._take_frame(self.frames.finished_frames.popleft())
        for assembly in self.frames.snapshot().open:
            self._check_pixels(assembly)
        while self.link.outgoing:
            self.down.append(self.link.outgoing.popleft())

    def _on_reply(self, reply: AnyMessage) -> None:
        """Go on to the next request: hello, configure, capture and, within bounds, flush."""
        expected = (HelloReply, Configured, Accepted, Flushed)[self.stage]
        if not isinstance(reply, expected):
            raise Violation(f"stage {self.stage} was answered with {reply}")
        self.stage += 1
        if isinstance(reply, HelloReply):
            self.frames.can_resend = True
            self.request = self.link.send_request(Configure(0, 0, _MODE, 0, 0), self.now)
        elif isinstance(reply, Configured):
            self.configurations[0] = reply
            self.request = self.link.send_request(Capture(0, 1), self.now)
        elif isinstance(reply, Accepted) and self.bounds.flush:
            self.request = self.link.send_request(Flush(), self.now)

    def _check_pixels(self, assembly: AssemblySnapshot) -> None:
        """Check that each byte that counts as received is the picture's."""
        wanted = picture(assembly.number)
        for (start, end), held in zip(
            assembly.received_ranges.ranges, assembly.pixels, strict=True
        ):
            if held != wanted[start:end]:
                raise Violation(f"frame {assembly.number} has a wrong pixel")

    def _take_frame(self, assembly: Assembly) -> None:
        """Take a finished frame as the application does, and check it."""
        self._check_pixels(assembly.snapshot())
        number = assembly.number
        if self.session_nonces.get(number) != self.nonce:
            raise Violation(f"frame {number} is of another session")
        if self.has_frame:
            raise Violation(f"frame {number} was not asked for")
        whole = assembly.received_ranges.is_complete
        aborted = assembly.frame_end is not None and assembly.frame_end.status != 0
        served = self.module.link.nonce == self.nonce
        if served and not whole and not assembly.unavailable_ranges.count and not aborted:
            raise Violation(f"frame {number} is incomplete, and the module still holds the rest")
        if assembly.frame_start is None or assembly.frame_start.request != 3:
            raise Violation(f"frame {number} names another request")
        self.pool.release(assembly.buffer)
        self.has_frame = True

    @property
    def credit(self) -> int:
        """Bytes of tiles that the module may still send."""
        outbox = snapshot_module(self.module).outbox
        return outbox.limit[0] - outbox.sent[0]

    @property
    def is_done(self) -> bool:
        """Everything was answered and the window is open again, or the host gave up."""
        if self.has_given_up:
            return True
        if self.module.link.nonce != self.nonce or self.credit < WINDOW:
            return False
        return self.stage == 4 if self.bounds.flush else self.stage == 3 and self.has_frame

    # --- what may happen ------------------------------------------------------------------

    def list_actions(self) -> list[Action]:
        """Return everything that may happen next."""
        found: list[Action] = []
        if self.faults_left["restart"]:
            found.append(("restart", 0))
        if self.has_given_up:
            return found
        for lane, channel in enumerate([self.down, *self.up], -1):
            if not channel:
                continue
            found.append(("take", lane))
            if self.faults_left["lose"]:
                found.append(("lose", lane))
                if lane >= 0 and channel[0][5] == MessageType.TILE:
                    found.append(("damage", lane))
            if self.faults_left["twice"]:
                found.append(("twice", lane))
            if self.faults_left["late"]:
                found.append(("late", lane))
            if self.faults_left["swap"] and len(channel) > 1:
                found.append(("swap", lane))
        found += [("arrive", index) for index in range(len(self.late_packets))]
        if not self.down and not any(self.up):
            found.append(("timer", 0))
        elif self.faults_left["early"]:
            found.append(("early", 0))
        return found

    def act(self, action: Action) -> None:
        """Do an action, then let the module send what it can.

        Raises:
            Violation: An invariant does not hold.
        """
        what, lane = action
        if what == "damage":
            self.faults_left["lose"] -= 1
        elif what in self.faults_left:
            self.faults_left[what] -= 1
        if what in {"timer", "early"}:
            self._timer()
        elif what == "restart":
            self.nonce += 1
            self.frames.drop_stream(0)
            self._open_session()
        elif what == "arrive":
            self._deliver_packet(*self.late_packets.pop(lane))
        else:
            channel = self.up[lane] if lane >= 0 else self.down
            packet = channel.pop(1 if what == "swap" else 0)
            if what == "damage":
                self._deliver_packet(lane, packet[:-1] + bytes([packet[-1] ^ 0x55]))
            elif what != "lose":
                self._deliver_packet(lane, packet)
            if what == "twice":
                self._deliver_packet(lane, packet)
            elif what == "late":
                self.late_packets.append((lane, packet))
        self._send_packets()

    def _deliver_packet(self, lane: int, packet: bytes) -> None:
        """Let a packet arrive, and let its receiver answer."""
        if lane < 0:
            receiver = self.module.link.receiver
            space = receiver.get_space()
            space[: len(packet)] = packet
            receiver.add_received(len(packet), 0)
            self.module.step()
            return
        self.link.feed(packet, self.now, lane)
        self._poll_host()

    def _timer(self) -> None:
        """Move the clock to the host's next timer, and poll the host."""
        link = self.link.snapshot()
        moments = [link.next_heartbeat] if link.session is not None else []
        moments += [request.next_try for request in link.requests]
        if link.session is not None:
            # The host gives the module up when more than this time has passed.
            moments.append(max(link.last_sign_of_life, link.busy_until) + 14 * TICK + TICK)
        for assembly in self.frames.snapshot().open:
            if assembly.state is not AssemblyState.FINISHED:
                moments += [
                    *(request.expiry for request in assembly.requests),
                    assembly.last_packet_time + 2 * TICK + TICK,
                    assembly.last_packet_time + 1.0 + TICK,
                ]
        later = [moment for moment in moments if moment > self.now]
        self.now = min(later, default=self.now + TICK)
        self._poll_host()

    def _send_packets(self) -> None:
        """Let the module send until each lane is full or nothing waits."""
        link = self.module.link
        moved = True
        while moved:
            moved = False
            for lane, channel in enumerate(self.up):
                if len(channel) >= self.bounds.capacity:
                    continue
                item = link.take_packet(lane)
                if item is None:
                    continue
                view, tile = item
                packet = bytes(view)
                self._check_order(packet, lane)
                channel.append(packet)
                if tile is not None:
                    link.release_tile(tile)
                self.module.step()
                moved = True

    def _check_order(self, packet: bytes, lane: int) -> None:
        """Check that a packet of the module keeps the order of the protocol."""
        header = parse_header(packet)
        number = header.frame
        if header.type == MessageType.HELLO_REPLY:
            self.has_flushed = False
        elif header.type == MessageType.TILE:
            if self.credit < 0:
                raise Violation("a tile was sent without credit")
            if header.flags & Flag.RESENT:
                return
            if self.has_flushed or number in self.ended_frames:
                raise Violation(f"a tile of frame {number} comes after its end")
            self.tile_counts[number] = self.tile_counts.get(number, 0) + 1
        elif header.type == MessageType.FRAME_START:
            self.session_nonces.setdefault(number, header.nonce)
        elif header.type == MessageType.FRAME_END:
            message = FrameEnd.decode(packet[HEADER_BYTES:])
            if number in self.ended_frames:
                return
            if self.has_flushed:
                raise Violation(f"frame {number} ends after Flushed")
            self.ended_frames.add(number)
            self._check_last_sequence(message.last_sequence, header, lane)
            if message.tiles != self.tile_counts.get(number, 0):
                raise Violation(f"frame {number} ends before its tiles")
            if message.status == 0 and message.tiles != 3:
                raise Violation(f"frame {number} ends in order without all of its tiles")
        elif header.type == MessageType.FLUSHED:
            self.has_flushed = True
            self._check_last_sequence(
                Flushed.decode(packet[HEADER_BYTES:]).last_sequence, header, lane
            )

    def _check_last_sequence(self, last: tuple[int, ...], header: Header, lane: int) -> None:
        """Check that a packet names the sequence of the packet before it on lane 0."""
        if lane != 0 or (last[0] - header.sequence) & 0xFFFFFFFF != 0xFFFFFFFF:
            raise Violation("last_sequence is not that of the packet before")
