"""A preview in batches: what is asked of the module, and what happens where it goes otherwise."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lenslink.deadline import Deadline
from lenslink.errors import DeviceError, Timeout
from lenslink.trainer import Trainer
from lenslink.training import FEWEST, Memory
from lenslink_protocol.messages import Accepted, Capture, StartStream

KEY = "S1 1-2"
OWN = 16384
SETTINGS = (8000, 2000, 500)


class Module:
    """A session and its module: frames of 0.1 s, faster with tiles of *best* bytes.

    Time is its own. Of *lost* frames nothing comes.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, best: int = OWN) -> None:
        self._now = 0.0
        self.asked: list[Any] = []
        self.lost: set[int] = set()
        self.best = best
        self.busy = False
        self.stopped = 0
        self._number = 10
        self._left = 0
        self._size = OWN
        monkeypatch.setattr(time, "monotonic", lambda: self._now)

    def configure(self, tile_bytes: int, deadline: Deadline) -> Any:
        deadline.check()
        if self.busy and self._left:
            raise DeviceError("state: stream 0 is running", 3)
        self._size = tile_bytes or OWN
        self.asked.append(tile_bytes)
        return SimpleNamespace(tile_bytes=self._size)

    def stop(self) -> None:
        self.stopped += 1
        self._left = 0

    def call(self, message: Any, reply: Any, deadline: Deadline) -> Any:
        assert reply is Accepted
        deadline.check()
        assert not self._left, "it is streaming"
        self.asked.append(message)
        self._left = message.count if isinstance(message, Capture) else 1 << 30
        return Accepted(0, self._number)

    def now(self) -> float:
        return self._now

    def frame(self, stream: int, deadline: Deadline) -> Any:
        assert stream == 0
        while True:
            if not self._left:
                self._now += max(0.0, deadline.remaining()) + 0.001
                raise Timeout(f"{deadline.what} took longer")
            number, self._number, self._left = self._number, self._number + 1, self._left - 1
            self._now += 0.05 if self._size == self.best else 0.1
            if number not in self.lost:
                return SimpleNamespace(number=number, complete=True)


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "training.json")


def trainer(module: Module, memory: Memory) -> Trainer:
    session: Any = module
    return Trainer(session, module.configure, module.stop, memory, KEY)


def patience() -> Deadline:
    return Deadline(30.0, "the next frame")


def frames(made: Trainer, count: int) -> list[int]:
    return [made.frame(patience()).number for _ in range(count)]


def test_frames_go_on_in_batches_then_without_end(
    monkeypatch: pytest.MonkeyPatch, memory: Memory
) -> None:
    module = Module(monkeypatch, best=OWN // 2)
    made = trainer(module, memory)
    made.start(SETTINGS, patience())
    assert frames(made, 40) == list(range(10, 50)), "nothing is left out"
    assert not made.busy
    sizes = [each for each in module.asked if isinstance(each, int)]
    assert sizes == [0, 0, OWN // 2, OWN // 4, OWN // 2]
    first, *others = [each for each in module.asked if not isinstance(each, int)]
    assert first == Capture(0, FEWEST, *SETTINGS)
    assert all(isinstance(each, Capture) for each in others[:-1])
    assert others[-1] == StartStream(0, 0, 0, 0, -1)
    # The settings are asked for once: the ring may be turned since.
    assert all((each.exposure_us, each.focus_mdpt) == (0, -1) for each in others)
    assert memory.tile_bytes(KEY) == OWN // 2


def test_what_is_known_is_used_at_once(monkeypatch: pytest.MonkeyPatch, memory: Memory) -> None:
    memory.keep(KEY, 4096)
    module = Module(monkeypatch)
    made = trainer(module, memory)
    made.start(SETTINGS, patience())
    assert not made.busy
    assert module.asked == [4096, StartStream(0, 0, *SETTINGS)]
    assert frames(made, 3) == [10, 11, 12]


def test_a_batch_whose_last_frame_is_lost_ends_the_training(
    monkeypatch: pytest.MonkeyPatch, memory: Memory
) -> None:
    module = Module(monkeypatch)
    module.lost = {10 + FEWEST - 1}
    made = trainer(module, memory)
    made.start(SETTINGS, patience())
    assert frames(made, 5) == [10, 11, 13, 14, 15]
    assert (module.stopped, made.busy) == (1, False)
    assert module.asked[-2:] == [0, StartStream(0, 0, 0, 0, -1)]
    assert memory.tile_bytes(KEY) is None, "the next preview tries again"


def test_a_frame_of_a_batch_that_is_lost_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, memory: Memory
) -> None:
    module = Module(monkeypatch)
    module.lost = {11}
    made = trainer(module, memory)
    made.start(SETTINGS, patience())
    assert frames(made, 30)[:4] == [10, 12, 13, 14]
    assert not module.stopped
    assert memory.tile_bytes(KEY) == 0


def test_another_streams_frames_take_numbers_of_a_batch(
    monkeypatch: pytest.MonkeyPatch, memory: Memory
) -> None:
    """So it seems to be over while it is not: the module refuses to be configured."""
    module = Module(monkeypatch)
    made = trainer(module, memory)
    made.start(SETTINGS, patience())
    module._number += FEWEST
    module.busy = True
    assert len(frames(made, 4)) == 4
    assert (module.stopped, made.busy) == (1, False)


def test_a_deadline_that_passes_leaves_the_batch(
    monkeypatch: pytest.MonkeyPatch, memory: Memory
) -> None:
    module = Module(monkeypatch)
    made = trainer(module, memory)
    made.start(SETTINGS, patience())
    left, module._left = module._left, 0
    with pytest.raises(Timeout):
        made.frame(Deadline(0.01, "the next frame"))
    assert made.busy
    assert not module.stopped
    module._left = left
    assert frames(made, 3) == [10, 11, 12]
