"""Options of the pytest plugin: the quarantine, requires(), times, and bounds of recordings."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from lenslink_hil.plugin.needed_features import explain_nonsense, list_known_features
from lenslink_hil.plugin.quarantine_file import QuarantineError, find_quarantine, read_quarantine
from lenslink_hil.plugin.run_options import parse_seconds
from lenslink_hil.plugin.session_evidence import MAX_FILES, SessionRecorder, make_name, prune

TODAY = date(2026, 12, 1)
GOOD = """
[[quarantine]]
test = "tests/test_focus.py::test_*[left]"
board = "left*"
reason = "the lens is loose"
owner = "ana"
expires = 2026-12-01
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "quarantine.toml"
    path.write_text(text)
    return path


def test_an_entry_is_found_by_test_and_board(tmp_path: Path) -> None:
    entries = read_quarantine(write(tmp_path, GOOD), TODAY)
    found = find_quarantine(entries, "tests/test_focus.py::test_near[left]", "left-2")
    assert str(found) == "the lens is loose (ana, until 2026-12-01)"
    assert find_quarantine(entries, "tests/test_focus.py::test_near[left]", "right") is None
    assert find_quarantine(entries, "tests/test_focus.py::test_nearl", "left") is None


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("2026-12-01", "2026-11-30", "entry 1 expired on 2026-11-30"),
        ("2026-12-01", '"2026-12-01"', "expires is no date"),
        ("2026-12-01", "2026-12-01T00:00:00", "expires is no date"),
        ("owner", "ownr", "unknown key 'ownr'; did you mean 'owner'?"),
        ('owner = "ana"', "", "owner is missing"),
        ('reason = "the lens is loose"', 'reason = " "', "reason is missing"),
        ("[[quarantine]]", "[quarantine]", "it may have [[quarantine]] tables"),
        ("[[quarantine]]", "[[quarantin]]", "it may have [[quarantine]] tables"),
        ("[[quarantine]]", "[[", "Invalid"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, good: str, bad: str, said: str) -> None:
    path = write(tmp_path, GOOD.replace(good, bad, 1))
    with pytest.raises(QuarantineError) as caught:
        read_quarantine(path, TODAY)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(QuarantineError, match="No such file"):
        read_quarantine(tmp_path / "missing.toml", TODAY)


# --- what a marker may ask for -----------------------------------------------------------


def test_a_feature_that_no_module_can_have_is_named() -> None:
    assert {"focus", "aperture", "resend", "events", "optics", "power"} <= list_known_features()
    assert explain_nonsense(["focus", "mode:anything"], ["transport", "board", "role"]) == ""
    assert "did you mean 'focus'" in explain_nonsense(["focuss"], [])
    assert "requires(transprt=)" in explain_nonsense([], ["transprt"])


# --- times and recordings ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90", 90), ("1.5s", 1.5), ("10m", 600), ("1h", 3600)]
)
def test_a_time_has_a_unit(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "ten", "1d", "1e9", "nan", "999999h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time such as"):
        parse_seconds(text)


def test_recordings_are_pruned(tmp_path: Path) -> None:
    import os

    for number in range(MAX_FILES + 3):
        path = tmp_path / f"{number:03}.lcap"
        path.touch()
        os.utime(path, (2e9 + number, 2e9 + number))
    (tmp_path / "old.lcap").touch()
    os.utime(tmp_path / "old.lcap", (1, 1))
    (tmp_path / "notes.txt").touch()
    prune(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [f"{number:03}.lcap" for number in range(3, MAX_FILES + 3)] + ["notes.txt"]
    prune(tmp_path / "missing")


def test_a_name_of_a_recording_is_a_file_name_of_bounded_length() -> None:
    name = make_name("tests/test_a.py::test_b[../../etc/\0\n" + "x" * 500 + "]", "gw0")
    assert "/" not in name
    assert name.isprintable()
    assert len(name) < 120


def test_a_recorder_that_has_recorded_nothing_keeps_nothing(tmp_path: Path) -> None:
    recorder = SessionRecorder(tmp_path / "out", "main")
    recorder.begin()
    assert recorder.keep("name", {}) is None
    recorder.discard()
    assert not (tmp_path / "out").exists()
