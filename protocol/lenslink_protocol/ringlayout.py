"""Define the frame ring's memory, which the host's driver and an ISP share.

This layout is a contract with programs of others, as the wire format is. The C header
``lenslink_ring.h`` is generated from it (:mod:`.ringheader`), and the driver reads its offsets
from here. All words are little-endian. Every word is aligned to its own size, so that C lays
the structures out alike.

A file in shared memory holds a page of control data, followed by the slots' payloads::

    0                 Header
    READERS_AT        READERS times Reader
    SLOTS_AT          as many Slot as the header says
    PAYLOADS_AT       the payloads, payload_bytes apart

A slot holds one frame. The low bits of its state word are its state, the others its
generation::

    state     event                                            next state
    --------  -----------------------------------------------  ----------
    any       the writer takes the slot, and no reader has     FREE, next generation
              pinned it
    FREE      a frame's first packet arrives                   FILLING
    FILLING   the frame's description arrives                  STARTED
    STARTED   nothing of the frame will change any more        FINISHED
    FILLING   the frame is given up                            ABORTED
    STARTED   the frame is given up                            ABORTED

A slot has the whole payload of its frame's FrameStart, with the layout of the wire. So a reader
in another process learns what the driver learns, and a new field of FrameStart needs no other
place. C reads the fields in ``struct lenslink_ring_frame_start``.

A reader pins a slot in the states STARTED and FINISHED by one of its pins, and reads its pixels
until it clears the pin. The writer does not take a pinned slot.

Who may write what: a reader writes its own entry and its own byte of ``asleep``. The writer
writes everything else. So no word has two writers, and nobody needs compare-and-swap.

Who is alive: the writer holds a write lock on the file's first byte, a reader one on the first
byte of its entry. Both are open file description locks (``F_OFD_SETLK``). The kernel releases
them when their holder dies for any reason, and reused process ids do not matter. The process
that gets an entry's lock owns that entry. A process that gets the writer's lock may remove the
file.

Words marked atomic are read and written by one aligned access of their size. The two sides keep
this order:

- The writer stores a frame's pixels before ``rows_ready``, and its description before
  ``state_word`` (release). A reader loads ``rows_ready`` and ``state_word`` first (acquire).
- To take a slot, the writer stores a ``state_word`` with the next generation, executes a full
  fence, and loads all ``pins``. A reader stores its pin, executes a full fence, and loads
  ``state_word`` again. One of them sees the other. Either the reader finds another generation
  and clears its pin, or the writer finds the slot pinned and restores the old ``state_word``.
- A reader that sleeps stores its ``asleep`` and waits on ``doorbell`` with the value that it
  loaded before its last look. At each change of a slot's state, the writer adds 1 to
  ``doorbell``, executes a full fence and wakes the sleepers that it sees. For new rows it
  executes no fence. A sleeper that is missed then is woken by the next rows. Nobody sleeps
  longer than 100 ms without looking.
- ``generation_counter`` counts the changes of any slot's state. A reader that loads the same
  value before and after its look at all slots has seen them at one moment.

In C these are the atomics of C11. x86 keeps loads in order and stores in order by itself. Only
a store that is followed by a load needs the fence. ARM keeps no order: release, acquire and
fence are instructions there, which Python lacks. Python uses a full barrier of the system
instead: ``membarrier()`` on Linux.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from .messages import FrameStart
from .params import MAX_HEIGHT, MAX_STREAMS, MAX_WIDTH

MAGIC: Final = int.from_bytes(b"LLRING\r\n", "little")
VERSION: Final = 2
"""Other versions are refused. Structures may grow at their ends: the header has their sizes."""
READERS: Final = 16
PINS: Final = 4
"""Slots that a reader can pin at once."""
MAX_SLOTS: Final = 64
MAX_MISSING_RANGES: Final = 16
"""Ranges of bytes that did not arrive. If there are more, the last one spans all that follow."""
READERS_AT: Final = 256
SLOTS_AT: Final = 4096
PAYLOADS_AT: Final = 65536
"""The largest page size of any machine, so that payloads can be mapped separately."""
MAX_PAYLOAD_BYTES: Final = 2 * MAX_WIDTH * MAX_HEIGHT
GENERATION_SHIFT: Final = 3
FRAME_START_BYTES: Final = -(-FrameStart.FIXED.size // 8) * 8
"""Room for the payload of a FrameStart: C aligns the structure to its 64-bit field."""


class SlotState(enum.IntEnum):
    """Name the low three bits of ``state_word``; the rest is the slot's generation."""

    FREE = 0
    FILLING = 1
    """A frame is under way. Only its stream and sequence are known."""
    STARTED = 2
    """The frame's description is there, and ``rows_ready`` rises."""
    FINISHED = 3
    """Nothing of the frame changes any more. Bytes that did not arrive are 0."""
    ABORTED = 4
    """The frame was given up. Only ``rows_ready`` rows are there."""


class Policy(enum.IntEnum):
    """Say what happens to a reader that is slower than the frames."""

    LATEST = 1
    """The reader skips frames."""
    EVERY = 2
    """Finished frames wait for the reader. When slots are short, it loses the newest frames."""


class Asleep(enum.IntEnum):
    """Say what a sleeping reader waits for."""

    AWAKE = 0
    FRAME = 1
    """The start or the end of a frame."""
    ROWS = 2
    """New rows as well."""


class FrameState(enum.IntEnum):
    """Name the values of ``status`` in a slot that is FINISHED or ABORTED."""

    COMPLETE = 0
    INCOMPLETE = 1


@dataclass(frozen=True, slots=True)
class Word:
    """Describe one word; *code* is its :mod:`struct` code, *count* is more than 1 for an array."""

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
    """Describe one structure: its words in order, and its size including reserved bytes."""

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
        """The words' offsets by name."""
        return {word.name: word.offset for word in self.words}

    @cached_property
    def format(self) -> struct.Struct:
        """The format of all words, without the reserved bytes."""
        return struct.Struct("<" + "".join(f"{word.count}{word.code}" for word in self.words))

    def unpack(self, data: bytes) -> dict[str, int | tuple[int, ...]]:
        """Return the words by name; arrays are tuples."""
        values = self.format.unpack_from(data)
        fields: dict[str, int | tuple[int, ...]] = {}
        at = 0
        for word in self.words:
            piece = values[at : at + word.count]
            fields[word.name] = piece[0] if word.count == 1 else piece
            at += word.count
        return fields


HEADER: Final = Part(
    "header",
    "the beginning of the file",
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
    ("writer_pid", "I", "for people; the lock tells whether the writer is alive"),
    ("closed", "atomic I", "1 once the writer has ended the ring properly"),
    ("generation_counter", "atomic Q", "counts the changes of any slot's state"),
    ("frame_counts", f"atomic Q*{MAX_STREAMS}", "frames begun, by stream, including dropped ones"),
    ("drop_counts", f"atomic Q*{MAX_STREAMS}", "frames for which no slot was free, by stream"),
    ("asleep", f"atomic B*{READERS}", "what each reader waits for; the reader writes it"),
    ("doorbell", "atomic I", "a futex: counts the events that sleepers wait for"),
)

READER: Final = Part(
    "reader",
    "a reader's entry: that reader writes it, or the writer once the reader is dead",
    128,
    ("policy", "atomic Q", "0 where there is no reader"),
    ("streams", "atomic Q", "a bit for each stream that the reader wants"),
    ("pins", f"atomic Q*{PINS}", "slots that the reader uses, counted from 1; 0 is none"),
    ("last_sequences", f"atomic Q*{MAX_STREAMS}", "sequence of its last frame, by stream"),
    ("delivered_frames", "atomic Q", "frames that the reader got"),
    ("skipped_frames", "atomic Q", "frames that the reader was too slow for (LATEST)"),
    ("dropped_frames", "atomic Q", "frames lost because slots were short (EVERY)"),
    ("pid", "Q", "for people"),
)

SLOT: Final = Part(
    "slot",
    "a slot: one frame and its description",
    512,
    ("state_word", "atomic Q", "generation << 3 | state"),
    ("rows_ready", "atomic Q", "rows from the top that arrived and passed their CRC"),
    ("sequence", "atomic Q", "number of the frame in its stream, from 1; dropped frames count"),
    ("stream", "atomic I", "0 preview, 1 still, 2 region of interest (ROI)"),
    ("nonce", "I", "nonce of the link's session"),
    ("number", "I", "the module's frame counter"),
    ("unused", "I", "0"),
    ("active_area", "I*4", "top, left, bottom, right of the pixels that see light"),
    ("time_ns", "Q", "host's CLOCK_MONOTONIC in mid-exposure of row 0, ns; 0 = unknown"),
    (
        "time_bound_ns",
        "Q",
        "error bound of time_ns, ns; 0 = unknown; row_time_ns leads from row to row",
    ),
    ("begin_ns", "Q", "host's CLOCK_MONOTONIC at the frame's first packet, ns"),
    ("first_rows_ns", "atomic Q", "the same when its first rows were ready; 0 before"),
    ("end_ns", "Q", "the same at the frame's end"),
    ("received_bytes", "Q", "bytes that arrived and passed their CRC"),
    ("energy_uj", "Q", "energy that the FrameEnd reports, uJ; 0 = unknown"),
    ("status", "I", "FINISHED: complete or incomplete"),
    ("missing_count", "I", "number of ranges below"),
    ("missing_ranges", f"Q*{2 * MAX_MISSING_RANGES}", "half-open ranges of missing bytes"),
    ("frame_start", f"B*{FRAME_START_BYTES}", "payload of the frame's FrameStart, as on the wire"),
)


def file_bytes(slots: int, payload_bytes: int) -> int:
    """Return the size of the file."""
    return PAYLOADS_AT + slots * payload_bytes
