"""Test the fallback folder of locks and sockets on a system without a runtime directory."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from types import SimpleNamespace

import platformdirs
import pytest

from lenslink import runtime
from lenslink.errors import StorageError
from lenslink.runtime import runtime_dir

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs users and their rights")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of a system that has no runtime directory for its users."""
    monkeypatch.delenv("LENSLINK_RUNTIME_DIR", raising=False)
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setattr(platformdirs, "user_runtime_path", lambda name: blocked / name)
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_the_fallback_is_made_for_its_user_alone(temporary: Path) -> None:
    folder = runtime_dir()
    assert folder == temporary / f"lenslink-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    # It is used again.
    assert runtime_dir() == folder


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_fallback_that_others_may_write_is_refused(temporary: Path, mode: int) -> None:
    folder = temporary / f"lenslink-{os.getuid()}"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(StorageError, match=f"other users may write .* chmod 700 {folder}"):
        runtime_dir()
    folder.chmod(0o755)
    assert runtime_dir() == folder


def test_a_fallback_of_another_user_is_refused(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The folder belongs to the user who runs this test, and the driver believes to be another.
    user = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: user)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    (temporary / f"lenslink-{user}").mkdir(mode=0o700)
    with pytest.raises(StorageError):
        runtime_dir()


def test_a_named_folder_that_others_may_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o777)
    with pytest.raises(StorageError, match="other users may write"):
        runtime_dir()


def test_a_folder_that_others_may_replace_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(tmp_path / "shared" / "mine"))
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(StorageError, match="other users may replace"):
        runtime_dir()
    # With the sticky bit, as in /tmp, only the owner may rename a folder.
    shared.chmod(0o1777)
    assert runtime_dir() == shared / "mine"


def test_another_users_link_to_a_folder_is_refused(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = os.getuid()
    target = temporary / "target"
    target.mkdir()
    link = temporary / f"lenslink-{user}"
    link.symlink_to(target)
    assert runtime_dir() == link
    lstat = Path.lstat

    def foreign(path: Path) -> object:
        return SimpleNamespace(st_uid=user + 1) if path == link else lstat(path)

    monkeypatch.setattr(Path, "lstat", foreign)
    with pytest.raises(StorageError, match="belongs to another user"):
        runtime_dir()


# --- scratch directories --------------------------------------------------------------------------


def test_the_scratch_directories_of_dead_processes_are_removed(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "is_process_alive", lambda pid: pid != 4711)
    stale = temporary / "lenslink-usb-4711-abc_1"
    alive = temporary / "lenslink-mpy-4712-abc_2"
    other = temporary / "lenslink-usb-4711"
    for folder in (stale, alive, other):
        folder.mkdir()
    (stale / "hosts").touch()
    assert runtime.remove_stale_scratch_dirs() == [stale]
    assert sorted(temporary.iterdir()) == [alive, other]


def test_a_scratch_directory_is_usable_for_sockets_with_a_long_tmpdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with (
        runtime.make_scratch_dir("usb") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
    ):
        assert f"-{os.getpid()}-" in folder
        listener.bind(f"{folder}/cables")


def test_a_missing_tmpdir_is_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/missing")
    with pytest.raises(StorageError, match="set TMPDIR"):
        runtime.make_scratch_dir("usb")
