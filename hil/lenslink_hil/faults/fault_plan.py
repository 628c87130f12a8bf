"""Faults on demand: a link that damages what it carries exactly as a plan says.

Never part of the production path: :mod:`.faulty` puts it around any transport on real time, or in
a line's place on virtual time. What happens is what the :class:`FaultPlan` says and nothing else,
so that a session which failed fails again from its printed plan (:meth:`FaultPlan.to_json`).

Positions are those of the undamaged stream: of the bytes as they were sent, by lane and direction,
counted from 0; or of a byte inside the n-th packet. So a fault stays where it is whatever another
fault before it removes or adds.
"""

from __future__ import annotations

import enum
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Self

from lenslink_protocol.messages import HEADER, Header
from lenslink_protocol.params import HEADER_BYTES, STALL_MS

# Inside a packet that is half of what makes a receiver give it up; two of them do.
_STALL_S = STALL_MS / 2000


class Direction(enum.StrEnum):
    """Of the bytes that a fault hits."""

    UP = "up"
    """From the module to the host."""
    DOWN = "down"


class Kind(enum.StrEnum):
    """What a fault does at its position."""

    DROP = "drop"
    """``count`` bytes vanish; 0: all up to the end of their packet."""
    FLIP = "flip"
    """The bits of ``mask`` change in one byte."""
    INSERT = "insert"
    """``data`` comes before the byte."""
    DUPLICATE = "duplicate"
    """``count`` bytes come twice, the repeat behind them; 0: all up to the end of their packet."""
    TRUNCATE = "truncate"
    """The rest of the packet vanishes."""
    STALL = "stall"
    """Nothing for ``seconds``, then the rest. On one lane of several: it is overtaken."""
    SPLIT = "split"
    """The bytes before arrive apart from those behind."""
    RATE = "rate"
    """From here on ``rate`` bytes a second; 0: as fast as can be."""
    LATENCY = "latency"
    """From here on every byte takes ``seconds`` longer."""
    CUT = "cut"
    """This lane is dead from here on, in both directions; the others go on."""
    UNPLUG = "unplug"
    """Every lane is dead from here on, in both directions."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; what a kind does not name is not looked at.

    It hits byte ``at`` of the stream, or byte ``at`` of packet ``packet``; one inside a packet that
    is not so long does not happen.
    """

    kind: Kind
    direction: Direction
    at: int
    packet: int | None = None
    lane: int = 0
    count: int = 0
    mask: int = 1
    data: str = ""
    """Hexadecimal."""
    seconds: float = 0.0
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Every fault of a session, and the seed they were drawn from, if they were."""

    faults: tuple[Fault, ...] = ()
    seed: int | None = None

    def to_json(self) -> str:
        """One line, from which :meth:`from_json` makes the same plan."""
        blank = asdict(Fault(Kind.DROP, Direction.UP, 0))
        always = ("kind", "direction", "at")
        faults = [
            {k: v for k, v in asdict(fault).items() if k in always or v != blank[k]}
            for fault in self.faults
        ]
        return json.dumps({"seed": self.seed, "faults": faults})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The plan that was printed. Raises ValueError, KeyError or TypeError if it is none."""
        read = json.loads(text)
        faults = tuple(
            replace(
                Fault(**fault),
                kind=Kind(fault["kind"]),
                direction=Direction(fault["direction"]),
            )
            for fault in read["faults"]
        )
        return cls(faults, read["seed"])

    def on(self, direction: Direction, lane: int = 0) -> list[Fault]:
        """The faults of one lane and direction."""
        return [f for f in self.faults if f.direction == direction and f.lane == lane]


HARMLESS = (Kind.SPLIT, Kind.STALL, Kind.LATENCY, Kind.RATE)
DAMAGE = (Kind.DROP, Kind.FLIP, Kind.INSERT, Kind.DUPLICATE, Kind.TRUNCATE)


def random_plan(
    seed: int,
    packets: tuple[int, int],
    *,
    most: int = 4,
    kinds: Sequence[Kind] = (*DAMAGE, Kind.SPLIT, Kind.STALL),
    longest_stall_s: float = 0.6,
    lanes: int = 1,
) -> FaultPlan:
    """1 to *most* faults of *kinds* in the first *packets* (up, down), the same for a seed."""
    rng = random.Random(seed)
    return FaultPlan(
        tuple(
            _random_fault(rng, packets, kinds, longest_stall_s, lanes)
            for _ in range(rng.randint(1, most))
        ),
        seed,
    )


def _random_fault(
    rng: random.Random,
    packets: tuple[int, int],
    kinds: Sequence[Kind],
    longest_stall_s: float,
    lanes: int,
) -> Fault:
    kind = rng.choice(kinds)
    direction = rng.choice((Direction.UP, Direction.UP, Direction.DOWN))
    packet = rng.randrange(packets[direction == Direction.DOWN])
    # Headers are the interesting part, and every packet has one.
    at = rng.choice((0, rng.randrange(HEADER_BYTES), rng.randrange(2 * HEADER_BYTES)))
    # The host says all it says on lane 0.
    lane = rng.randrange(lanes) if lanes > 1 and direction is Direction.UP else 0
    fault = Fault(kind, direction, at, packet, lane)
    match kind:
        case Kind.FLIP:
            return replace(fault, mask=rng.randrange(1, 256))
        case Kind.INSERT:
            # The beginning of a packet is what a receiver could fall for.
            lure = rng.choice((b"", b"", HEADER.pack(*_LURE)[: rng.randint(1, HEADER_BYTES)]))
            return replace(fault, data=(lure or rng.randbytes(rng.randint(1, 50))).hex())
        case Kind.DROP | Kind.DUPLICATE:
            return replace(fault, count=rng.choice((0, 1, rng.randint(2, 300))))
        case Kind.STALL | Kind.LATENCY:
            return replace(fault, seconds=round(rng.uniform(0.0, longest_stall_s), 4))
        case Kind.RATE:
            return replace(fault, rate=float(rng.randint(100_000, 10_000_000)))
        case _:
            return fault


_LURE = (b"\x8aLLK", 0x10, 0x41, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@dataclass(slots=True)
class Piece:
    """Bytes that arrive together."""

    pause: float
    """Seconds that the line stands still before them."""
    latency: float
    """Seconds that they take longer."""
    rate: float
    """Bytes a second from now on; 0: the line's own."""
    data: bytearray = field(default_factory=bytearray)


class Damage:
    """The faults of one lane and direction, without I/O: bytes in, pieces out."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.end: Kind | None = None
        """CUT or UNPLUG, once it has happened."""
        self.touched: set[int] = set()
        """Numbers of the packets that did not arrive as they were sent."""
        self.halted: set[int] = set()
        """Those inside which the line stood still so long that a receiver may give them up."""
        self.done: list[Fault] = []
        """Faults that have happened."""
        self.position = 0
        """Undamaged bytes so far."""
        self.packet = 0
        """Number of the packet that the next byte belongs to."""
        self._in_packet: dict[int | None, list[Fault]] = {}
        for fault in faults:
            self._in_packet.setdefault(fault.packet, []).append(fault)
        # Faults that are to come, by position: those of any packet, and those of this one.
        self._anywhere = _in_order(self._in_packet.pop(None, []), 0)
        self._faults: list[tuple[int, Fault]] = []
        self._header = bytearray()
        self._start = 0
        self._next = 0
        self._mask = 0
        self._drop_until = 0
        self._drop_rest = False
        self._repeats: list[tuple[int | None, bytearray]] = []
        self._latency = 0.0
        self._rate = 0.0
        self._begin_packet()

    def feed(self, data: bytes | bytearray | memoryview) -> list[Piece]:
        """What arrives of *data*; nothing more once :attr:`end` is set."""
        pieces = [self._piece()]
        view = memoryview(data)
        self._strike(pieces)
        while view and self.end is None:
            count = self._uniform(len(view))
            self._carry(view[:count], pieces)
            view = view[count:]
            if view or self._ends_here():
                self._strike(pieces)
        return [piece for piece in pieces if piece.data or piece.pause]

    # --- positions ------------------------------------------------------------------------

    def _begin_packet(self) -> None:
        self._start = self.position
        self._next = 0
        self._header.clear()
        self._drop_rest = False
        self._faults = _in_order(self._in_packet.pop(self.packet, []), self._start)

    def _uniform(self, most: int) -> int:
        """How many bytes can be carried before anything begins or ends; at least 1."""
        if self._mask:
            return 1
        ends = [self.position + most]
        ends += [queue[0][0] for queue in (self._faults, self._anywhere) if queue]
        # A packet's length is known once its header has passed.
        ends.append(self._next or self._start + HEADER_BYTES)
        if self._drop_until > self.position:
            ends.append(self._drop_until)
        ends += [until for until, _ in self._repeats if until is not None]
        return max(1, min(ends) - self.position)

    def _carry(self, view: memoryview, pieces: list[Piece]) -> None:
        """Bytes inside which nothing begins or ends."""
        if not self._next:
            self._header += view
        for _, repeat in self._repeats:
            repeat.extend(view)
        if self._drop_rest or self.position < self._drop_until:
            self.touched.add(self.packet)
        elif self._mask:
            pieces[-1].data.append(view[0] ^ self._mask)
            self.touched.add(self.packet)
        else:
            pieces[-1].data += view
        self._mask = 0
        self.position += len(view)
        if not self._next and len(self._header) == HEADER_BYTES:
            length = Header._make(HEADER.unpack(self._header)[1:]).length
            self._next = self._start + HEADER_BYTES + length
        ended = self.position == self._next
        for each in list(self._repeats):
            until, kept = each
            if until == self.position or (until is None and ended):
                self._repeats.remove(each)
                pieces[-1].data += kept
                if not ended:
                    self.touched.add(self.packet)
        if ended:
            self.packet += 1
            self._begin_packet()

    def _piece(self, pause: float = 0.0) -> Piece:
        return Piece(pause, self._latency, self._rate)

    # --- faults ---------------------------------------------------------------------------

    def _ends_here(self) -> bool:
        """Whether the lane dies before its next byte: it does so now, not with that byte."""
        return any(
            at == self.position and fault.kind in (Kind.CUT, Kind.UNPLUG)
            for queue in (self._faults, self._anywhere)
            for at, fault in queue[:1]
        )

    def _strike(self, pieces: list[Piece]) -> None:
        """Every fault of this position."""
        for queue in (self._faults, self._anywhere):
            while queue and queue[0][0] <= self.position and self.end is None:
                _, fault = queue.pop(0)
                self.done.append(fault)
                self._apply(fault, pieces)

    def _apply(self, fault: Fault, pieces: list[Piece]) -> None:
        inside = self.position > self._start
        match fault.kind:
            case Kind.DROP if fault.count:
                self._drop_until = max(self._drop_until, self.position + fault.count)
            case Kind.DROP | Kind.TRUNCATE:
                self._drop_rest = True
            case Kind.FLIP:
                self._mask ^= fault.mask
            case Kind.INSERT:
                pieces[-1].data += bytes.fromhex(fault.data)
                if inside:
                    self.touched.add(self.packet)
            case Kind.DUPLICATE:
                until = self.position + fault.count if fault.count else None
                self._repeats.append((until, bytearray()))
            case Kind.SPLIT:
                pieces.append(self._piece())
            case Kind.STALL:
                pieces.append(self._piece(fault.seconds))
                if inside and fault.seconds >= _STALL_S:
                    self.halted.add(self.packet)
            case Kind.RATE:
                self._rate = fault.rate
                pieces.append(self._piece())
            case Kind.LATENCY:
                self._latency = fault.seconds
                pieces.append(self._piece())
            case Kind.CUT | Kind.UNPLUG:
                self.end = fault.kind


def _in_order(faults: Iterable[Fault], start: int) -> list[tuple[int, Fault]]:
    """By where in the stream they are."""
    return sorted(((start + fault.at, fault) for fault in faults), key=lambda each: each[0])


class Plug:
    """What the lanes of a link share: whether it is plugged in."""

    def __init__(self, pull: Callable[[], None] = lambda: None) -> None:
        self._pull = pull
        self.pulled_at: float | None = None
        """On the clock of whoever pulled it."""

    @property
    def pulled(self) -> bool:
        return self.pulled_at is not None

    def pull(self, now: float) -> None:
        """Once."""
        if not self.pulled:
            self.pulled_at = now
            self._pull()
