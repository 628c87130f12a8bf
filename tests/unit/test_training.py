"""Training: which tile size is chosen, on virtual time, and what is remembered of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from lenslink import training
from lenslink.training import BATCH_S, FEWEST, GAIN, MOST, MOST_KEPT, Memory, Training

OWN = 16384


def train(
    frame_s: Callable[[int], float],
    *,
    incomplete: int | None = None,
    adjust: Callable[[int], int] = lambda size: size,
) -> tuple[Training, list[tuple[int, int]]]:
    """Run it to its end; batches as (bytes of a tile, frames). Before each passes a second.

    *frame_s* is how long a frame takes, by its tiles' size; those of *incomplete* are damaged.
    """
    made, batches, now = Training(), [], 0.0
    size = OWN
    while True:
        if made.began(size):
            batches.append((size, made.count))
            now += 1.0
            for index in range(made.count):
                assert not made.over
                now += frame_s(size)
                made.frame(now, size != incomplete, index + 1 == made.count)
            assert made.over
        asked = made.next()
        if made.chosen is not None:
            assert asked == made.chosen
            return made, batches
        size = adjust(asked or OWN)


def test_the_modules_own_choice_comes_first_and_nothing_longer_is_tried() -> None:
    _, batches = train(lambda _: 0.1)
    assert [size for size, _ in batches] == [OWN, OWN, OWN // 2, OWN // 4]


@pytest.mark.parametrize("best", [OWN // 2, OWN // 4])
def test_what_is_fastest_is_chosen(best: int) -> None:
    made, _ = train(lambda size: 0.08 if size == best else 0.1)
    assert made.chosen == best


@pytest.mark.parametrize(("gain", "chosen"), [(GAIN - 0.01, 0), (GAIN + 0.01, OWN // 2)])
def test_the_modules_choice_stays_unless_another_pays(gain: float, chosen: int) -> None:
    made, _ = train(lambda size: 0.1 / gain if size == OWN // 2 else 0.1)
    assert made.chosen == chosen


def test_what_loses_frames_does_not_pay() -> None:
    made, _ = train(lambda size: size / OWN, incomplete=OWN // 4)
    assert made.chosen == OWN // 2


@pytest.mark.parametrize("frame_s", [1e-6, 0.001, 0.02, 0.7, 5.0])
def test_a_batch_is_long_enough_to_measure_and_no_longer(frame_s: float) -> None:
    _, batches = train(lambda _: frame_s)
    (_, first), *rest = batches
    assert first == FEWEST
    assert {count for _, count in rest} == {1 + max(FEWEST, min(MOST, -(-BATCH_S // frame_s)))}


def test_what_the_module_cannot_make_is_tried_once() -> None:
    """It rounds to whole rows: half of its choice and a quarter are the same."""
    _, batches = train(lambda _: 0.1, adjust=lambda size: max(size, OWN // 2))
    assert [size for size, _ in batches] == [OWN, OWN, OWN // 2]


def test_tiles_too_short_to_pay_are_not_tried() -> None:
    made = Training()
    made.began(3000)
    for now in range(FEWEST):
        made.frame(float(now), True, now + 1 == FEWEST)
    assert made.next() == 0
    assert made.began(3000)
    for now in range(made.count):
        made.frame(float(now), True, now + 1 == made.count)
    assert (made.next(), made.chosen) == (0, 0)


def test_a_frame_is_waited_for_as_long_as_frames_take() -> None:
    made = Training()
    made.began(OWN)
    assert made.patience_s == training.FIRST_S
    for now in (0.0, 2.0, 4.0):
        made.frame(now, True, now == 4.0)
    assert made.patience_s == 8.0


def test_a_batch_of_one_frame_measures_nothing() -> None:
    """The others were lost."""
    made = Training()
    made.began(OWN)
    made.frame(1.0, True, True)
    assert made.over
    for _ in range(3):
        made.began(made.next() or OWN)
        made.frame(2.0, True, True)
    assert made.next() == 0
    assert made.chosen == 0


# --- what is remembered ---------------------------------------------------------------------------


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "folder" / "training.json")


def test_it_is_remembered(memory: Memory) -> None:
    assert memory.tile_bytes("S1 1-2") is None
    memory.keep("S1 1-2", 4096)
    memory.keep("S1 1-3", 0)
    again = Memory(memory.path)
    assert (again.tile_bytes("S1 1-2"), again.tile_bytes("S1 1-3")) == (4096, 0)
    assert again.tile_bytes("S2 1-2") is None
    assert [path.name for path in memory.path.parent.iterdir()] == ["training.json"]


def test_the_oldest_are_forgotten(memory: Memory) -> None:
    for number in range(MOST_KEPT + 5):
        memory.keep(f"S{number}", 4096)
        memory.keep("S0", 2048)
    assert len(json.loads(memory.path.read_text())["tile_bytes"]) == MOST_KEPT
    assert memory.tile_bytes("S0") == 2048
    assert memory.tile_bytes("S1") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": "other"}',
        '{"schema": "lenslink.training/1"}',
        '{"schema": "lenslink.training/1", "tile_bytes": {"S": "4096"}}',
        '{"schema": "lenslink.training/1", "tile_bytes": {"S": true}}',
        "\0" * 100,
    ],
)
def test_a_file_that_is_none_is_ignored_and_said(
    memory: Memory, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    memory.path.parent.mkdir()
    memory.path.write_text(text)
    with caplog.at_level(logging.WARNING):
        assert memory.tile_bytes("S") is None
    assert [record.name for record in caplog.records] == ["lenslink.training"]
    memory.keep("S", 4096)
    assert memory.tile_bytes("S") == 4096


def test_sizes_that_no_tile_has_are_not_taken(memory: Memory) -> None:
    memory.path.parent.mkdir()
    sizes = {"A": -1, "B": 1 << 40, "C": 8192}
    memory.path.write_text(json.dumps({"schema": training.SCHEMA, "tile_bytes": sizes}))
    assert [memory.tile_bytes(key) for key in "ABC"] == [None, None, 8192]


def test_a_place_that_takes_nothing_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        Memory(tmp_path / "file" / "training.json").keep("S", 1)
    assert "not remembered" in caplog.text


def test_its_place_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LENSLINK_STATE_DIR", str(tmp_path))
    assert Memory().path == tmp_path / "training.json"
    monkeypatch.delenv("LENSLINK_STATE_DIR")
    assert Memory().path.parts[-2:] == ("lenslink", "training.json")
