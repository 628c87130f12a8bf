"""Run host and module on virtual time: no process, no socket, no clock, hours in seconds.

:class:`VirtualLinks` joins the driver's link and reassembly to the firmware's module, which runs on
CPython behind :class:`InstantPorts`. Between them are :class:`Line` objects with a rate, a latency
and, for each packet, an outcome: it arrives, or a seeded fault hits it. A run repeats exactly for
the same seed. Tests, the conformance kit and :mod:`.faults.faulty_link` use it.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from lensfw import module as firmware
from lenslink.receive.assembly import Assembly
from lenslink.receive.frame_pool import Pool
from lenslink.receive.reassembly import Reassembly
from lenslink.receive.unpacking import pack
from lenslink_protocol.ids import DiscardReason
from lenslink_protocol.link import Link, Request
from lenslink_protocol.messages import AnyMessage, Configure, Configured, StartStream, Stop
from lenslink_protocol.packings import find_layout

from .plant.pin_records import ENERGY

Picture = Callable[[int], bytes]
"""Returns the rows of a frame by its number."""


def feed_module(link: Any, data: bytes, now_us: int) -> None:
    """Let the firmware's *link* receive *data*, as a stream transport hands bytes to it."""
    rest = memoryview(data)
    while rest:
        space = link.receiver.get_space()
        count = min(len(space), len(rest))
        space[:count] = rest[:count]
        link.receiver.add_received(count, now_us)
        rest = rest[count:]
        link.poll()


class VirtualClock:
    """A clock in microseconds that stands still until ``us`` is set."""

    def __init__(self) -> None:
        self.us = 0

    def now(self) -> int:
        return self.us

    @property
    def seconds(self) -> float:
        return self.us / 1e6


class InstantPorts:
    """The ports of a seated module: rows are ready at once, and the supply is good.

    A picture can be read once, as on a sensor. If its *width* is given, the crop's rows are packed
    into the requested format. Otherwise all rows are sent as they are.
    """

    CONTACT = 1
    ADC = 2
    RING = 3

    def __init__(self, picture: Picture, width: int | None = None) -> None:
        self.events: list[tuple[int, int, int]] = [(self.CONTACT, 0, 1), (self.CONTACT, 1, 1)]
        self._picture = picture
        self._width = width
        self._rows = memoryview(b"")

    def request_rows(self, number: int, *request: Any) -> None:
        _, _, pixel_format, _, (x, y, columns, height) = request
        rows = self._picture(number)
        if self._width is not None:
            pixels = np.frombuffer(rows, "<u2").reshape(-1, self._width)
            pixels = np.ascontiguousarray(pixels[y : y + height, x : x + columns])
            rows = pack(pixels, find_layout(pixel_format)).tobytes()
        self._rows = memoryview(rows)

    def read_rows(self, view: memoryview) -> int:
        count = min(len(view), len(self._rows))
        view[:count] = self._rows[:count]
        self._rows = self._rows[count:]
        return count

    def skip_rows(self, count: int) -> None:
        self._rows = self._rows[count:]

    def take_event(self) -> tuple[int, int, int] | None:
        return self.events.pop(0) if self.events else None

    def sample(self, channel: int) -> None:
        if channel == ENERGY:
            return  # no gauge: the energy of its frames is unknown
        # 5 V through the divider; 25 degrees from the TMP36.
        self.events.append((self.ADC, channel, 3103 if channel == 0 else 931))

    def step(self, count: int) -> None:
        """Move the motor: it arrives at once, so nothing is left to do."""

    def set_iris(self, milli: int) -> None:
        """Move the iris: nothing depends on it."""

    def set_load(self, milliamperes: int) -> None:
        """Change the load of the supply: it is good at any load."""

    def snapshot(self) -> tuple[tuple[tuple[int, int, int], ...], bytes]:
        """Return the events that wait and the rows that have not been read."""
        return tuple(self.events), bytes(self._rows)


class Outcome(Protocol):
    """Decides what happens to a packet on a line: it returns the pieces that arrive, maybe none."""

    def __call__(self, packet: bytes) -> list[bytes]: ...


def intact(packet: bytes) -> list[bytes]:
    """Return the outcome of a packet on a perfect line: the packet."""
    return [packet]


@dataclass
class Loss:
    """An outcome that loses each packet with a probability.

    >>> loss = Loss(1.0, seed=1)
    >>> loss(b"packet"), loss.lost_packets
    ([], 1)
    """

    probability: float
    seed: int
    lost_packets: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def __call__(self, packet: bytes) -> list[bytes]:
        if self._random.random() < self.probability:
            self.lost_packets += 1
            return []
        return [packet]


@dataclass
class Line:
    """One direction of a link: a rate, a latency, and the outcome of its packets."""

    rate: float
    """Bytes a second."""
    latency_s: float
    """Seconds from the end of sending to the arrival."""
    outcome: Outcome = intact
    free_at: float = 0.0
    """When the last packet has been sent, in seconds."""

    def carry(self, packet: bytes, now: float) -> list[tuple[float, bytes]]:
        """Send a packet. Return its pieces, each with the time when it arrives."""
        self.free_at = max(self.free_at, now) + len(packet) / self.rate
        return [(self.free_at + self.latency_s, piece) for piece in self.outcome(packet)]


class VirtualLinks:
    """A host and a module, joined by one line down and one line up for each lane.

    Args:
        configuration: The module's configuration.
        picture: Returns the rows of each frame.
        up: Lane 0 from the module to the host.
        down: From the host to the module.
        *more_up: Further lanes from the module to the host.
    """

    def __init__(
        self,
        configuration: Mapping[str, Any],
        picture: Picture,
        up: Line,
        down: Line,
        *more_up: Line,
    ) -> None:
        self.clock = VirtualClock()
        self.module: Any = firmware.Module(configuration, InstantPorts(picture), self.clock)
        self.discards: Counter[DiscardReason] = Counter()
        self.configurations: dict[int, Configured] = {}
        self.frames = Reassembly(Pool(), self.discards, self.configurations.get)
        self._up: dict[int, Line] = dict(enumerate((up, *more_up)))
        self._down = down
        self.link = Link(0x5EED5EED, self.frames, self.discards, len(self._up))
        self.module.link.max_lanes = len(self._up)
        # Heap: time, a count that keeps the order, the lane or None towards the module, bytes.
        self._arrivals: list[tuple[float, int, int | None, bytes]] = []
        self._order = itertools.count()

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Let time pass until *until* returns True. Return False if *limit_s* passes first."""
        end = self.clock.seconds + limit_s
        while not until():
            if self.clock.seconds >= end:
                return False
            self._step()
        return True

    def call(self, message: AnyMessage, limit_s: float = 5.0) -> AnyMessage | None:
        """Send a request. Return its answer, or None if none arrives in time."""
        return self._answer(self.link.send_request(message, self.clock.seconds), limit_s)

    def open(self, limit_s: float = 5.0) -> bool:
        """Open a session. Return True if the module answers."""
        reply = self._answer(self.link.send_hello(self.clock.seconds), limit_s)
        self.frames.can_resend = True
        return reply is not None

    def start(self, stream: int, mode: int) -> None:
        """Configure a stream and start it; raises TypeError if the module refuses."""
        answer = self.call(Configure(stream, 0, mode, 0, 0))
        if not isinstance(answer, Configured):
            raise TypeError(f"not configured: {answer}")
        self.configurations[stream] = answer
        self.call(StartStream(stream, 0))

    def stop(self, stream: int) -> None:
        """Stop a stream and drop its frames."""
        self.call(Stop(stream))
        self.frames.drop_stream(stream)

    def kill_lane(self, lane: int) -> None:
        """Cut a lane other than 0. Packets on it never arrive, and both ends know that."""
        del self._up[lane]
        self._arrivals = [each for each in self._arrivals if each[2] != lane]
        heapq.heapify(self._arrivals)
        self.link.on_lane_end(lane)

    def frame(self, limit_s: float) -> Assembly | None:
        """Return the next finished frame, or None if there is none within *limit_s*."""
        self.run(lambda: bool(self.frames.finished_frames), limit_s)
        return self.frames.finished_frames.popleft() if self.frames.finished_frames else None

    def _answer(self, request: Request, limit_s: float) -> AnyMessage | None:
        self.run(lambda: request.is_done, limit_s)
        self.link.forget_request(request)
        return request.reply

    def _step(self) -> None:
        """Do everything that happens at this moment, then advance to the next."""
        now = self.clock.seconds
        while self._arrivals and self._arrivals[0][0] <= now:
            _, _, lane, data = heapq.heappop(self._arrivals)
            self._deliver(lane, data, now)
        self.link.poll(now)
        while self.link.outgoing:
            self._send(self._down, None, self.link.outgoing.popleft(), now)
        self._work()
        for lane, line in self._up.items():
            while line.free_at <= now:
                item = self.module.link.take_packet(lane)
                if item is None:
                    break
                view, tile = item
                self._send(line, lane, bytes(view), now)
                if tile is not None:
                    self.module.link.release_tile(tile)
                self._work()
        self._advance(now)

    def _work(self) -> None:
        """Let the module work until it has nothing to do. This takes no time."""
        while self.module.step():
            pass

    def _send(self, line: Line, lane: int | None, packet: bytes, now: float) -> None:
        for at, piece in line.carry(packet, now):
            heapq.heappush(self._arrivals, (at, next(self._order), lane, piece))

    def _deliver(self, lane: int | None, data: bytes, now: float) -> None:
        if lane is not None:
            self.link.feed(data, now, lane)
        else:
            feed_module(self.module.link, data, self.clock.us)

    def _advance(self, now: float) -> None:
        """Advance to the next arrival, the end of a transmission, or by one millisecond."""
        moments = [now + 0.001]
        if self._arrivals:
            moments.append(self._arrivals[0][0])
        moments += [line.free_at for line in self._up.values() if line.free_at > now]
        self.clock.us = max(self.clock.us + 1, round(min(moments) * 1e6))
