"""Getting ready for a frame that is due changes nothing."""

from __future__ import annotations

import gc
import math
from pathlib import Path

import pytest
from lab.rings import HEIGHT, SIZE, begin, description, fill, fresh_name

from lenslink import Ring, RingReader
from lenslink.errors import Timeout
from lenslink.isp import reader as reader_module
from lenslink.isp import segment
from lenslink.pace import Pace
from lenslink.pool import Pool
from lenslink.rehearsal import Rehearsal


class Due(Pace):
    """Of something that is due now, whatever the clock says, until it was got ready for."""

    def __init__(self) -> None:
        super().__init__()
        self.is_due = True

    def wait(self, now: float) -> float:
        del now
        return 0.0 if self.is_due else math.inf

    def ready(self) -> None:
        self.is_due = False


def test_a_frame_is_received_each_time():
    taken = []

    class Watched(Pool):
        def release(self, buffer):
            taken.append(bytes(buffer[:4]))
            super().release(buffer)

    rehearsal = Rehearsal(Watched())
    for _ in range(5):
        rehearsal.play(1.0)
    assert taken == [bytes(4)] * 5
    assert not rehearsal._frames._rejects


@pytest.fixture
def ring():
    with Ring(fresh_name(), 2, frame_bytes=SIZE) as ring:
        yield ring


def test_nobody_sees_it_in_the_ring(ring):
    """Nor is anything left: neither a name, nor a descriptor, nor memory."""
    names, descriptors = rings_of(ring), len(list(Path("/dev/fd").iterdir()))
    control = bytes(ring._control)
    rehearsal = Rehearsal(ring.feed().another())
    for _ in range(3):
        rehearsal.play(1.0)
    assert rings_of(ring) == names
    assert bytes(ring._control) == control
    del rehearsal
    gc.collect()
    assert len(list(Path("/dev/fd").iterdir())) == descriptors
    assert rings_of(ring) == names == [segment.path_of(ring.name)]


def rings_of(ring: Ring) -> list[Path]:
    """What is in the folder of rings under its name."""
    return [path for path in segment.folder().iterdir() if ring.name in path.name]


def test_a_reader_gets_ready_and_has_taken_nothing(ring, monkeypatch):
    slot = begin(ring, 0)
    assert slot is not None
    slot.start(description(slot.sequence))
    fill(slot, HEIGHT)
    slot.finish(True, SIZE, (), HEIGHT)
    slot.let_go()
    with RingReader(ring.name, early=True, timeout=0) as reader:
        entry = bytes(ring._control[segment_of(reader)])
        seen = []
        frame = reader_module.RingFrame
        monkeypatch.setattr(
            reader_module, "RingFrame", lambda *args: seen.append(args[1]) or frame(*args)
        )
        reader._pace = Due()
        assert reader._get_ready() > 0
        assert seen == [slot.index]
        assert bytes(ring._control[segment_of(reader)]) == entry
        # Once for each frame that is due.
        assert reader._get_ready() > 0
        assert seen == [slot.index]
        with reader.next() as taken:
            assert taken.sequence == slot.sequence
        with pytest.raises(Timeout):
            reader.next()


def segment_of(reader: RingReader) -> slice:
    """The reader's entry in the control data."""
    at = 8 * reader._entry
    return slice(at, at + reader._reader_bytes)
