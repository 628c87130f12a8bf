"""Files in a recording: facts of a test, and names that must not leave the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lenslink.errors import StorageError
from lenslink_hil.recording.kept_files import describe_recording, extract_files
from lenslink_hil.recording.lcap import Recording


def test_a_test_is_described_with_the_command_that_repeats_it() -> None:
    facts = {"schema": "x", "test": "tests/test_a.py::test_b[1 2]", "seed": 7, "problem": None}
    recording = Recording({"url": "usb:"}, files={"test.json": json.dumps(facts).encode()})
    found = describe_recording(recording, Path("a folder/x.lcap"))
    assert found["to repeat"] == (
        "pytest 'tests/test_a.py::test_b[1 2]' --lens 'replay:a folder/x.lcap' --lens-seed=7"
    )
    assert (found["url"], found["ended"]) == ("usb:", "without an end")
    assert not {"schema", "problem"} & set(found)


@pytest.mark.parametrize("data", [b"", b"[1]", b"\xff", b'{"test": 3}'])
def test_facts_that_are_none_are_left_out(data: bytes) -> None:
    recording = Recording({}, files={"test.json": data}, end_reason="done")
    assert "to repeat" not in describe_recording(recording, Path("x"))


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "/root/.profile", "..", "a\\..\\b", "C:x", "\0", "log of it.txt"]
    recording = Recording({}, files={name: name.encode() for name in names})
    folder = tmp_path / "new" / "folder"
    with pytest.raises(StorageError, match="two files of the recording would be"):
        extract_files(recording, folder, False)
    recording.files.pop("\0")
    paths = extract_files(recording, folder, True)
    assert sorted(path.name for path in paths) == [
        "C-x", "b", "log-of-it.txt", "passwd", "profile", "unnamed",
    ]  # fmt: skip
    assert {path.parent for path in paths} == {folder}
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    with pytest.raises(StorageError, match="exists: use --force"):
        extract_files(recording, folder, False)
