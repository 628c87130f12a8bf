"""Both link machines on virtual time: no process, no socket, no clock, hours in seconds.

The firmware's module runs on CPython behind ports that answer at once; the host's link and
reassembly are the driver's own. Between them are two lines with a rate, a latency and, for each
packet, a seeded chance of being lost. Everything repeats exactly for the same seed.
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
from lenslink.receive.frame_pool import Pool
from lenslink.receive.reassembly import Assembly, Reassembly
from lenslink.receive.unpacking import pack
from lenslink_protocol.ids import DiscardReason
from lenslink_protocol.link import Link, Request
from lenslink_protocol.messages import AnyMessage, Configure, Configured, StartStream, Stop
from lenslink_protocol.packings import layout

Picture = Callable[[int], bytes]
"""The rows of a frame by its number."""


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
    """Microseconds that pass when they are told to."""

    def __init__(self) -> None:
        self.us = 0

    def now(self) -> int:
        return self.us

    @property
    def seconds(self) -> float:
        return self.us / 1e6


class InstantPorts:
    """A seated module's ports: rows are there when asked for, the supply is good.

    The picture can be read once: rows that were read are gone, as on a sensor. Of a picture whose
    *width* is known they come in the format that is asked for, else as they are.
    """

    CONTACT = 1
    ADC = 2
    RING = 3

    def __init__(self, picture: Picture, width: int | None = None) -> None:
        self.events: list[tuple[int, int, int]] = [(self.CONTACT, 0, 1), (self.CONTACT, 1, 1)]
        self._picture = picture
        self._width = width
        self._rows = memoryview(b"")

    def request_rows(
        self,
        number: int,
        mode: int,
        settings: tuple[int, int, int],
        pixel_format: int = 0,
        tile: tuple[int, int] = (0, 0),
    ) -> None:
        del mode, settings, tile
        rows = self._picture(number)
        if self._width is not None:
            pixels = np.frombuffer(rows, "<u2").reshape(-1, self._width)
            rows = pack(pixels, layout(pixel_format)).tobytes()
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
        # 5 V through the divider; 25 degrees from the TMP36.
        self.events.append((self.ADC, channel, 3103 if channel == 0 else 931))

    def step(self, count: int) -> None:
        """The motor follows at once."""

    def set_load(self, milliamperes: int) -> None:
        """Nobody pays for it."""

    def snapshot(self) -> tuple[tuple[tuple[int, int, int], ...], bytes]:
        """Return the events that wait and the rows that have not been read."""
        return tuple(self.events), bytes(self._rows)


class Outcome(Protocol):
    """What happens to a packet on a line: it arrives as these pieces, maybe none."""

    def __call__(self, packet: bytes) -> list[bytes]: ...


def intact(packet: bytes) -> list[bytes]:
    """The outcome of a packet on a perfect line."""
    return [packet]


@dataclass
class Loss:
    """Loses each packet with a probability."""

    probability: float
    seed: int
    lost: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def __call__(self, packet: bytes) -> list[bytes]:
        if self._random.random() < self.probability:
            self.lost += 1
            return []
        return [packet]


@dataclass
class Line:
    """One direction: bytes a second, seconds on the way, and the packets' outcome."""

    rate: float
    latency_s: float
    outcome: Outcome = intact
    free_at: float = 0.0

    def carry(self, packet: bytes, now: float) -> list[tuple[float, bytes]]:
        """When each piece arrives."""
        self.free_at = max(self.free_at, now) + len(packet) / self.rate
        return [(self.free_at + self.latency_s, piece) for piece in self.outcome(packet)]


class VirtualLinks:
    """A module and a host, joined by two lines."""

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
        # When, a count that keeps the order, the lane or None towards the module, bytes.
        self._arrivals: list[tuple[float, int, int | None, bytes]] = []
        self._order = itertools.count()

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Let time pass until *until* holds; False if *limit_s* passed before."""
        end = self.clock.seconds + limit_s
        while not until():
            if self.clock.seconds >= end:
                return False
            self._step()
        return True

    def call(self, message: AnyMessage, limit_s: float = 5.0) -> AnyMessage | None:
        """A request's answer; None if none came in time."""
        return self._answer(self.link.request(message, self.clock.seconds), limit_s)

    def open(self, limit_s: float = 5.0) -> bool:
        """Hello; whether it was answered."""
        reply = self._answer(self.link.hello(self.clock.seconds), limit_s)
        self.frames.resend = True
        return reply is not None

    def start(self, stream: int, mode: int) -> None:
        """Configure a stream and start it."""
        answer = self.call(Configure(stream, 0, mode, 0, 0))
        if not isinstance(answer, Configured):
            raise TypeError(f"not configured: {answer}")
        self.configurations[stream] = answer
        self.call(StartStream(stream, 0, 0, 0, -1))

    def stop(self, stream: int) -> None:
        """Stop a stream and forget what is left of it."""
        self.call(Stop(stream))
        self.frames.abandon(stream)

    def kill_lane(self, lane: int) -> None:
        """Cut a lane other than 0: what is on it never arrives, and both ends know."""
        del self._up[lane]
        self._arrivals = [each for each in self._arrivals if each[2] != lane]
        heapq.heapify(self._arrivals)
        self.link.lane_lost(lane)

    def frame(self, limit_s: float) -> Assembly | None:
        """The next finished frame, or None."""
        self.run(lambda: bool(self.frames.finished), limit_s)
        return self.frames.finished.popleft() if self.frames.finished else None

    def _answer(self, request: Request, limit_s: float) -> AnyMessage | None:
        self.run(lambda: request.done, limit_s)
        self.link.forget(request)
        return request.reply

    def _step(self) -> None:
        """Everything that happens at this moment, then on to the next."""
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
        """The module takes no time: it reads all that it has memory for."""
        while self.module.step():
            pass

    def _send(self, line: Line, lane: int | None, packet: bytes, now: float) -> None:
        for at, piece in line.carry(packet, now):
            heapq.heappush(self._arrivals, (at, next(self._order), lane, piece))

    def _deliver(self, lane: int | None, data: bytes, now: float) -> None:
        if lane is not None:
            # Through the link, which also learns from it that the module is alive.
            self.link.feed(data, now, lane)
        else:
            feed_module(self.module.link, data, self.clock.us)

    def _advance(self, now: float) -> None:
        """To the next arrival, the line's being free, or a timer: a millisecond at most."""
        moments = [now + 0.001]
        if self._arrivals:
            moments.append(self._arrivals[0][0])
        moments += [line.free_at for line in self._up.values() if line.free_at > now]
        self.clock.us = max(self.clock.us + 1, round(min(moments) * 1e6))
