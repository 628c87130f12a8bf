"""Describe faults of a link as a plan, and apply them to its bytes.

A :class:`FaultPlan` says exactly what happens, and nothing else happens. So a session that failed
fails again from its printed plan (:meth:`FaultPlan.to_json`). :class:`Damage` applies the faults of
one lane and direction; :mod:`.faulty_link` carries the result. Production code uses none of this.

A position counts the bytes of the undamaged stream, by lane and direction, from 0; or the bytes
of the n-th packet. So a fault keeps its position, whatever another fault removes or adds before it.
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

# Half of the silence after which a receiver gives up a packet: two such stalls are enough.
_STALL_S = STALL_MS / 2000


class Direction(enum.StrEnum):
    """The direction of the bytes that a fault hits."""

    UP = "up"
    """From the module to the host."""
    DOWN = "down"


class Kind(enum.StrEnum):
    """What a fault does at its position in the stream."""

    DROP = "drop"
    """``count`` bytes are lost; 0: all to the end of their packet."""
    FLIP = "flip"
    """The bits of ``mask`` change in one byte."""
    INSERT = "insert"
    """``data`` is inserted before the byte."""
    DUPLICATE = "duplicate"
    """``count`` bytes arrive twice, one copy after the other; 0: all to the end of their packet."""
    TRUNCATE = "truncate"
    """The rest of the packet is lost."""
    STALL = "stall"
    """Nothing arrives for ``seconds``, then the rest. Other lanes are not delayed."""
    SPLIT = "split"
    """The bytes before it and the bytes after it arrive separately."""
    RATE = "rate"
    """From here on the line carries ``rate`` bytes a second; 0: the line's own rate."""
    LATENCY = "latency"
    """From here on every byte arrives ``seconds`` later."""
    CUT = "cut"
    """This lane ends here, in both directions. The other lanes go on."""
    UNPLUG = "unplug"
    """Every lane ends here, in both directions."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Only the fields that its kind names have a meaning.

    It hits byte ``at`` of the stream, or byte ``at`` of packet ``packet``. If the packet is
    shorter, the fault does not happen.
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
    """All faults of a session, and the seed from which they were drawn, if any."""

    faults: tuple[Fault, ...] = ()
    seed: int | None = None

    def to_json(self) -> str:
        """Return the plan as one line, which :meth:`from_json` reads."""
        blank = asdict(Fault(Kind.DROP, Direction.UP, 0))
        always = ("kind", "direction", "at")
        faults = [
            {k: v for k, v in asdict(fault).items() if k in always or v != blank[k]}
            for fault in self.faults
        ]
        return json.dumps({"seed": self.seed, "faults": faults})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the plan that :meth:`to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: The text is no plan.
        """
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

    def select(self, direction: Direction, lane: int = 0) -> list[Fault]:
        """Return the faults of one lane and direction."""
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
    """Return a plan of 1 to *most* random faults. The same seed gives the same plan.

    Args:
        seed: Of the random numbers.
        packets: The faults hit the first packets of each direction: so many up, so many down.
        most: The largest number of faults.
        kinds: The kinds to choose from.
        longest_stall_s: The longest stall or latency, in seconds.
        lanes: The number of lanes.
    """
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
    # Prefer headers: every packet has one, and they are the interesting part.
    at = rng.choice((0, rng.randrange(HEADER_BYTES), rng.randrange(2 * HEADER_BYTES)))
    # The host sends on lane 0 only.
    lane = rng.randrange(lanes) if lanes > 1 and direction is Direction.UP else 0
    fault = Fault(kind, direction, at, packet, lane)
    match kind:
        case Kind.FLIP:
            return replace(fault, mask=rng.randrange(1, 256))
        case Kind.INSERT:
            # A receiver could take the beginning of a packet for a packet.
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
    """Seconds that the line stands still before the bytes."""
    latency: float
    """Seconds that the bytes arrive later."""
    rate: float
    """Bytes a second from now on; 0: the line's own."""
    data: bytearray = field(default_factory=bytearray)


class Damage:
    """Applies the faults of one lane and direction to its bytes, without I/O."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.end: Kind | None = None
        """The CUT or UNPLUG that has happened, or None."""
        self.damaged_packets: set[int] = set()
        """Numbers of the packets that did not arrive as they were sent."""
        self.stalled_packets: set[int] = set()
        """Numbers of the packets that stalled so long that a receiver may give them up."""
        self.applied_faults: list[Fault] = []
        """Faults that have happened."""
        self.position = 0
        """Undamaged bytes so far."""
        self.packet = 0
        """Number of the packet that the next byte belongs to."""
        self._in_packet: dict[int | None, list[Fault]] = {}
        for fault in faults:
            self._in_packet.setdefault(fault.packet, []).append(fault)
        # Faults to come, with their positions: of the stream, and of the current packet.
        self._anywhere = _sort_faults(self._in_packet.pop(None, []), 0)
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
        """Return the pieces of *data* that arrive. Once :attr:`end` is set, there are none."""
        pieces = [self._make_piece()]
        view = memoryview(data)
        self._apply_due(pieces)
        while view and self.end is None:
            count = self._count_undisturbed(len(view))
            self._carry_bytes(view[:count], pieces)
            view = view[count:]
            if view or self._is_end_due():
                self._apply_due(pieces)
        return [piece for piece in pieces if piece.data or piece.pause]

    # --- positions ------------------------------------------------------------------------

    def _begin_packet(self) -> None:
        self._start = self.position
        self._next = 0
        self._header.clear()
        self._drop_rest = False
        self._faults = _sort_faults(self._in_packet.pop(self.packet, []), self._start)

    def _count_undisturbed(self, most: int) -> int:
        """Return how many bytes can be carried before a fault or a packet begins or ends."""
        if self._mask:
            return 1
        ends = [self.position + most]
        ends += [queue[0][0] for queue in (self._faults, self._anywhere) if queue]
        # The length of a packet is known once its header has been carried.
        ends.append(self._next or self._start + HEADER_BYTES)
        if self._drop_until > self.position:
            ends.append(self._drop_until)
        ends += [until for until, _ in self._repeats if until is not None]
        return max(1, min(ends) - self.position)

    def _carry_bytes(self, view: memoryview, pieces: list[Piece]) -> None:
        """Carry bytes inside which no fault and no packet begins or ends."""
        if not self._next:
            self._header += view
        for _, repeat in self._repeats:
            repeat.extend(view)
        if self._drop_rest or self.position < self._drop_until:
            self.damaged_packets.add(self.packet)
        elif self._mask:
            pieces[-1].data.append(view[0] ^ self._mask)
            self.damaged_packets.add(self.packet)
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
                    self.damaged_packets.add(self.packet)
        if ended:
            self.packet += 1
            self._begin_packet()

    def _make_piece(self, pause: float = 0.0) -> Piece:
        return Piece(pause, self._latency, self._rate)

    # --- faults ---------------------------------------------------------------------------

    def _is_end_due(self) -> bool:
        """The lane ends before its next byte: it ends now, not when that byte is sent."""
        return any(
            at == self.position and fault.kind in (Kind.CUT, Kind.UNPLUG)
            for queue in (self._faults, self._anywhere)
            for at, fault in queue[:1]
        )

    def _apply_due(self, pieces: list[Piece]) -> None:
        """Apply every fault of this position."""
        for queue in (self._faults, self._anywhere):
            while queue and queue[0][0] <= self.position and self.end is None:
                _, fault = queue.pop(0)
                self.applied_faults.append(fault)
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
                    self.damaged_packets.add(self.packet)
            case Kind.DUPLICATE:
                until = self.position + fault.count if fault.count else None
                self._repeats.append((until, bytearray()))
            case Kind.SPLIT:
                pieces.append(self._make_piece())
            case Kind.STALL:
                pieces.append(self._make_piece(fault.seconds))
                if inside and fault.seconds >= _STALL_S:
                    self.stalled_packets.add(self.packet)
            case Kind.RATE:
                self._rate = fault.rate
                pieces.append(self._make_piece())
            case Kind.LATENCY:
                self._latency = fault.seconds
                pieces.append(self._make_piece())
            case Kind.CUT | Kind.UNPLUG:
                self.end = fault.kind


def _sort_faults(faults: Iterable[Fault], start: int) -> list[tuple[int, Fault]]:
    """Return faults with their positions in the stream, in order."""
    return sorted(((start + fault.at, fault) for fault in faults), key=lambda each: each[0])


class Plug:
    """The plug of a link, which its lanes share."""

    def __init__(self, pull: Callable[[], None] = lambda: None) -> None:
        self._pull = pull
        self.pulled_at: float | None = None
        """When it was pulled, on the caller's clock. None while it is plugged in."""

    @property
    def is_pulled(self) -> bool:
        """The plug has been pulled."""
        return self.pulled_at is not None

    def pull(self, now: float) -> None:
        """Pull the plug. Does nothing if it is pulled already."""
        if not self.is_pulled:
            self.pulled_at = now
            self._pull()
