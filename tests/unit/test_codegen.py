"""Test the generator: the tree is up to date, and a changed file is noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from construct import GreedyBytes, Int8ul, Int16ub, Struct

from lenslink_protocol import codegen

GENERATED = [
    "protocol/lenslink_protocol/messages.py",
    "firmware/lensfw/wire.py",
    "protocol/SPEC.md",
]


def check(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lenslink_protocol.codegen", *options, str(root)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(root, tmp_path) -> Path:
    """Return a folder with copies of the generated files."""
    for path, _ in codegen.list_outputs(root):
        target = tmp_path / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


def test_the_tree_is_up_to_date(root):
    assert [path for path, text in codegen.list_outputs(root) if path.read_text() != text] == []
    done = check(root, "--check")
    assert (done.returncode, done.stdout) == (0, "")


def test_every_generated_file_is_checked(root):
    found = [path.relative_to(root).as_posix() for path, _ in codegen.list_outputs(root)]
    assert set(GENERATED) <= set(found)


@pytest.mark.parametrize("name", GENERATED)
def test_a_changed_file_is_noticed_and_mended(copy, name):
    path = copy / name
    sound = path.read_text(encoding="utf-8")
    damaged = sound.replace("readout_us", "readout_ms")
    assert damaged != sound
    path.write_text(damaged, encoding="utf-8")
    done = check(copy, "--check")
    assert done.returncode == 1
    assert done.stdout == f"differs from: {path}\n"
    assert path.read_text(encoding="utf-8") == damaged, "--check writes nothing"
    done = check(copy)
    assert (done.returncode, done.stdout) == (0, f"wrote: {path}\n")
    assert path.read_text(encoding="utf-8") == sound
    assert check(copy, "--check").returncode == 0


@pytest.mark.parametrize("name", GENERATED[:2])
def test_a_missing_file_is_noticed(copy, name):
    (copy / name).unlink()
    assert check(copy, "--check").returncode == 1


def test_a_field_without_codec_is_refused():
    with pytest.raises(TypeError, match="no codec for big"):
        codegen.list_fields(Struct("big" / Int16ub))
    with pytest.raises(TypeError, match="behind follows a tail"):
        codegen.list_fields(Struct("tail" / GreedyBytes, "behind" / Int8ul))


def test_an_unknown_marker_is_refused():
    with pytest.raises(KeyError):
        codegen.update_spec("<!-- generated: nothing -->\n<!-- end -->")
