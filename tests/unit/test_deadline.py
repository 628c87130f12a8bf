"""Deadlines: on the monotonic clock, and named in the error."""

from __future__ import annotations

import pytest

from lenslink import deadline
from lenslink.deadline import Deadline
from lenslink.errors import Timeout


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that stands at ``clock.now``; no other clock may be asked."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(deadline, "time", made)
    return made


def test_it_runs_out(clock):
    made = Deadline(2.5, "the capture")
    assert made.remaining() == 2.5
    clock.now += 2.0
    assert made.remaining() == 0.5
    made.check()
    clock.now += 0.5
    assert made.remaining() == 0.0
    with pytest.raises(Timeout, match=r"^the capture took longer than 2\.5 s$"):
        made.check()
    clock.now += 100
    assert made.remaining() == 0.0


def test_no_time_at_all(clock):
    with pytest.raises(Timeout, match="the call took longer than 0 s"):
        Deadline(0).check()
    assert Deadline(-1).remaining() == 0.0
    del clock
