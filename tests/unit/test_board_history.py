"""The history of a board's figures: planted drops are found, and noise is no drop."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from helpers.nightly_scale import choose, say

from lenslink.errors import StorageError
from lenslink_hil.report.board_history import (
    FEWEST,
    RECENT,
    append_run,
    judge_figure,
    make_history_path,
    read_series,
)
from lenslink_hil.report.report_document import Trend

SIGMA = 0.02
LEVEL = 30.0


def series(generator: random.Random, level: float = LEVEL) -> list[float]:
    return [generator.gauss(level, SIGMA * level) for _ in range(generator.randint(FEWEST, 60))]


def count_drops(count: int, drop: float, *, is_smaller_better: bool = False) -> int:
    """Return how many of *count* histories are judged to have dropped by their next run."""
    found = 0
    for seed in range(count):
        generator = random.Random(seed)
        earlier = series(generator)
        change = 1 + drop if is_smaller_better else 1 - drop
        value = generator.gauss(LEVEL * change, SIGMA * LEVEL)
        trend, text = judge_figure(value, earlier, is_smaller_better=is_smaller_better)
        assert (trend is Trend.DROPPED) == bool(text)
        found += trend is Trend.DROPPED
    return found


def test_twenty_planted_drops_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert count_drops(20, 0.15) == 20
    assert count_drops(20, 0.15, is_smaller_better=True) == 20
    # A drop of 15 % with a noise of 2 % is 2.5 sigma away from the bound of 10 %.
    many = choose(200, 20_000)
    found = count_drops(many, 0.15)
    say(capsys, f"planted drops of 15 %: {found} of {many} found")
    assert found >= 0.97 * many


def test_noise_is_no_drop() -> None:
    assert count_drops(200, 0.0) == 0
    assert count_drops(200, 0.0, is_smaller_better=True) == 0


def test_a_noisy_figure_needs_more_than_a_tenth() -> None:
    noisy = [20.0, 30.0, 40.0] * 6
    assert judge_figure(25.0, noisy)[0] is Trend.STEADY
    assert judge_figure(25.0, [30.0] * 18)[0] is Trend.DROPPED
    # A rise is never a drop, and a level of 0 has no share.
    assert judge_figure(60.0, [30.0] * 18)[0] is Trend.STEADY
    assert judge_figure(1.0, [0.0] * 18, is_smaller_better=True)[0] is Trend.DROPPED


def test_few_runs_give_no_verdict() -> None:
    assert judge_figure(1.0, [30.0] * (FEWEST - 1)) == (Trend.UNKNOWN, "")
    assert judge_figure(1.0, [30.0] * FEWEST)[0] is Trend.DROPPED


def test_only_the_last_runs_count() -> None:
    assert judge_figure(20.0, [30.0] * 100 + [20.0] * RECENT)[0] is Trend.STEADY


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = make_history_path(tmp_path / "a new" / "folder", "LL/1")
    assert path.name == "LL-1.jsonl"
    assert read_series(path, "a", "usb") == []
    for value in (1.0, 2.0):
        append_run(path, "today", {"a": value, "b": 5.0}, {"link": "usb"})
    append_run(path, "today", {"a": 9.0}, {"link": "serial"})
    assert read_series(path, "a", "usb") == [1.0, 2.0]
    assert read_series(path, "a", "serial") == [9.0]


def test_a_line_that_was_cut_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append_run(path, "today", {"a": 1.0}, {"link": "usb"})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole + whole[:length])
        append_run(path, "today", {"a": 2.0}, {"link": "usb"})
        # What was cut behind its last brace is whole.
        expected = [1.0, 1.0, 2.0] if length == len(whole) - 1 else [1.0, 2.0]
        assert read_series(path, "a", "usb") == expected
    path.write_bytes(b'[1]\n"x"\n\xff\n{"link": "usb", "figures": {"a": NaN}}\n' + whole)
    assert read_series(path, "a", "usb") == [1.0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="it is not Linux: no /dev/full")
def test_a_full_disk_is_said() -> None:
    with pytest.raises(StorageError, match="the disk is full"):
        append_run(Path("/dev/full"), "today", {"a": 1.0}, {"link": os.name})
