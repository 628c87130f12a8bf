"""The one definition of the frame ring's memory: what the host's driver and an ISP share.

It is a contract with programs of others, as the wire is; the C header ``lenslink_ring.h`` is
generated from it (:mod:`.ringheader`), and the driver uses it as it stands. All is little-endian,
and every field is aligned to its own size, so that C lays the structures out alike.

A file in shared memory holds a page of control data and then the slots' payloads::

    0                 Header
    READERS_AT        READERS times Reader
    SLOTS_AT          as many Slot as the header says
    PAYLOADS_AT       the payloads, payload_bytes apart

Who may write what: the writer everything but the reader entries; a reader its own entry and its own
byte of ``asleep``. So no field has two writers, and nobody needs compare-and-swap.

Who lives: the writer holds a write lock on the file's first byte, a reader one on the first byte of
its entry, both as open file description locks (``F_OFD_SETLK``). The kernel lets go of them when
their holder dies, however it dies, and knows nothing of pids that are used again. Whoever gets the
lock of an entry owns that entry, and whoever gets the writer's lock may remove the file.

Fields marked atomic are read and written by one aligned access of their size. How the two sides
keep in order:

- The writer stores a frame's pixels before ``rows_ready`` and its description before ``mark``
  (release); a reader loads these before those (acquire).
- To take a slot the writer stores a ``mark`` with the next generation, passes a full fence, and
  loads every ``held``. A reader stores ``held``, passes a full fence, and loads ``mark`` again. One
  of them sees the other: either the reader finds another generation and lets go, or the writer
  finds the slot held and puts the old ``mark`` back.
- A reader that sleeps stores its ``asleep`` and waits on ``bell`` with the value that it loaded
  before it last looked; the writer adds 1 to ``bell``, passes a full fence at each change of a
  frame's state, and wakes whom it sees asleep. For strips it passes none: a sleeper missed there is
  woken by the next one. Nobody sleeps longer than 100 ms without looking.

In C these are the atomics of C11. x86 keeps loads and stores in order by itself, but for a store
followed by a load: that takes the fence. ARM keeps nothing: release, acquire and fence are
instructions there, which Python lacks. There Python uses for all three a full barrier of the
system's: ``membarrier()`` on Linux.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from .params import MAX_HEIGHT, MAX_STREAMS, MAX_WIDTH

MAGIC: Final = int.from_bytes(b"LLRING\r\n", "little")
VERSION: Final = 1
"""Another one is refused. Structures may grow at their ends: the header says how large they are."""
READERS: Final = 16
HOLDS: Final = 4
"""Slots that a reader can hold at once."""
MAX_SLOTS: Final = 64
MAX_UNCOVERED: Final = 16
"""Ranges of bytes that did not arrive; where there are more, the last one reaches over them all."""
READERS_AT: Final = 256
SLOTS_AT: Final = 4096
PAYLOADS_AT: Final = 65536
"""The largest page of any machine: payloads can be mapped apart from all else."""
MAX_PAYLOAD_BYTES: Final = 2 * MAX_WIDTH * MAX_HEIGHT
GENERATION_SHIFT: Final = 3


class SlotState(enum.IntEnum):
    """The low three bits of ``mark``; the rest is the slot's generation."""

    FREE = 0
    FILLING = 1
    """A frame is on its way, of which nothing but stream and sequence is known."""
    STARTED = 2
    """Its description is there, and ``rows_ready`` rises."""
    FINISHED = 3
    """Nothing of it changes any more; what did not arrive is 0."""
    ABORTED = 4
    """It was given up: only ``rows_ready`` rows of it are there."""


class Policy(enum.IntEnum):
    """What becomes of a reader that is slower than the frames."""

    LATEST = 1
    """It skips frames."""
    EVERY = 2
    """Finished frames wait for it; when slots are short, the newest are dropped for it."""


class Asleep(enum.IntEnum):
    """What a reader waits for."""

    AWAKE = 0
    FRAME = 1
    """A frame that begins or ends."""
    STRIP = 2
    """Rows too."""


class FrameState(enum.IntEnum):
    """``status`` of a slot that is FINISHED or ABORTED."""

    COMPLETE = 0
    INCOMPLETE = 1


@dataclass(frozen=True, slots=True)
class Word:
    """One field: ``code`` is a :mod:`struct` code of fixed size, ``count`` 1 or an array's."""

    name: str
    code: str
    count: int
    doc: str
    atomic: bool
    offset: int

    @property
    def size(self) -> int:
        return struct.calcsize(f"<{self.code}")


class Part:
    """One structure of the ring: its fields in order, and its size with what is kept for later."""

    def __init__(self, name: str, doc: str, size: int, *words: tuple[str, str, str]) -> None:
        self.name = name
        self.doc = doc
        self.size = size
        self.words: list[Word] = []
        offset = 0
        for word, kind, text in words:
            atomic = kind.startswith("atomic ")
            code, _, count = kind.removeprefix("atomic ").partition("*")
            field = Word(word, code, int(count or 1), text, atomic, offset)
            if offset % field.size:
                raise ValueError(f"{name}.{word} is not aligned")
            self.words.append(field)
            offset += field.size * field.count
        self.used = offset
        if offset > size or size % 8:
            raise ValueError(f"{name} takes {offset} of {size} bytes")

    @cached_property
    def at(self) -> dict[str, int]:
        """Offset by name."""
        return {word.name: word.offset for word in self.words}

    @cached_property
    def format(self) -> struct.Struct:
        """All of it but what is kept for later."""
        return struct.Struct("<" + "".join(f"{word.count}{word.code}" for word in self.words))

    def unpack(self, data: bytes) -> dict[str, int | tuple[int, ...]]:
        """The fields by name; arrays are tuples."""
        values = self.format.unpack_from(data)
        found: dict[str, int | tuple[int, ...]] = {}
        at = 0
        for word in self.words:
            piece = values[at : at + word.count]
            found[word.name] = piece[0] if word.count == 1 else piece
            at += word.count
        return found


HEADER: Final = Part(
    "header",
    "what begins the file",
    READERS_AT,
    ("magic", "atomic Q", "written last of all, when the file is made"),
    ("version", "I", "of this layout"),
    ("header_bytes", "I", "size of this structure"),
    ("file_bytes", "Q", "size of the file"),
    ("slots", "I", "how many slots there are"),
    ("readers", "I", "how many reader entries there are"),
    ("readers_at", "I", "offset of the first reader entry"),
    ("reader_bytes", "I", "from one reader entry to the next"),
    ("slots_at", "I", "offset of the first slot"),
    ("slot_bytes", "I", "from one slot to the next"),
    ("payloads_at", "Q", "offset of the first payload"),
    ("payload_bytes", "Q", "from one payload to the next"),
    ("writer_pid", "I", "for people: the lock tells whether it lives"),
    ("closed", "atomic I", "1 once the writer has ended the ring in good order"),
    ("turns", "atomic Q", "counts the changes of any slot's state"),
    ("begun", f"atomic Q*{MAX_STREAMS}", "frames begun, by stream, the dropped ones included"),
    ("dropped", f"atomic Q*{MAX_STREAMS}", "of them, those for which no slot was free"),
    ("asleep", f"atomic B*{READERS}", "what each reader waits for; written by that reader"),
    ("bell", "atomic I", "a futex: counts what is worth waking up for"),
)

READER: Final = Part(
    "reader",
    "a reader's entry: only that reader writes it, and the writer once that reader is dead",
    128,
    ("policy", "atomic Q", "0 where there is no reader"),
    ("streams", "atomic Q", "a bit for each stream that it reads"),
    ("held", f"atomic Q*{HOLDS}", "slots it reads from, counted from 1; 0 is none"),
    ("seen", f"atomic Q*{MAX_STREAMS}", "sequence of its last frame, by stream"),
    ("taken", "atomic Q", "frames it has had"),
    ("skipped", "atomic Q", "frames that it did not take (LATEST)"),
    ("dropped", "atomic Q", "frames that it did not get, since slots were short (EVERY)"),
    ("pid", "Q", "for people"),
)

SLOT: Final = Part(
    "slot",
    "a slot: one frame, and what is known of it",
    512,
    ("mark", "atomic Q", "generation << 3 | state"),
    ("rows_ready", "atomic Q", "rows from the top on that arrived and passed their CRC"),
    ("sequence", "atomic Q", "counts the frames of the stream that were begun, from 1"),
    ("stream", "atomic I", "0 preview, 1 still"),
    ("nonce", "I", "session of the link that the frame came in"),
    ("number", "I", "the module's frame counter"),
    ("pixel_format", "I", "PFNC code"),
    ("width", "I", "pixels a row"),
    ("height", "I", "rows"),
    ("stride", "I", "bytes a row"),
    ("bits", "I", "bits a pixel"),
    ("cfa", "I", "colour filter array phase, as on the wire"),
    ("orientation", "I", "EXIF orientation, 1 to 8"),
    ("white", "I", "white level, DN"),
    ("gain_milli", "I", "gain, 1/1000"),
    ("black_milli", "I*4", "black level of the 2 x 2 pixels, 1/1000 DN"),
    ("active_area", "I*4", "top, left, bottom, right of the pixels that see light"),
    ("focus_mdpt", "i", "focus, milli-dioptres, 0 = infinity"),
    ("temperature_mc", "i", "sensor temperature, 1/1000 degree C"),
    ("timestamp_us", "Q", "module's clock at the start of readout, us"),
    ("exposure_us", "Q", "exposure time, us"),
    ("begun_ns", "Q", "host's CLOCK_MONOTONIC when the frame's first packet came, ns"),
    ("first_rows_ns", "atomic Q", "the same when its first rows were ready; 0 before"),
    ("finished_ns", "Q", "the same when it was finished"),
    ("covered_bytes", "Q", "bytes that arrived and passed their CRC"),
    ("status", "I", "FINISHED: complete or incomplete"),
    ("uncovered_count", "I", "ranges below"),
    ("uncovered", f"Q*{2 * MAX_UNCOVERED}", "first byte and byte behind it of what did not arrive"),
)


def file_bytes(slots: int, payload_bytes: int) -> int:
    """Size of the whole."""
    return PAYLOADS_AT + slots * payload_bytes
