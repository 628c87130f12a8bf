"""Test the fallback folder of locks and sockets on a system without a runtime directory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs
import pytest

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


@pytest.mark.xfail(
    strict=True,
    raises=pytest.fail.Exception,
    reason="the rights of a fallback folder that exists already are not looked at: where others "
    "may write, they can replace the locks and the sockets of served modules",
)
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_fallback_that_others_may_write_is_refused(temporary: Path, mode: int) -> None:
    folder = temporary / f"lenslink-{os.getuid()}"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(StorageError):
        runtime_dir()


@pytest.mark.xfail(
    strict=True,
    raises=pytest.fail.Exception,
    reason="the owner of a fallback folder that exists already is not looked at: another user who "
    "made it first owns the place of the locks and the sockets of served modules",
)
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
