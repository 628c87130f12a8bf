"""``lenslink pico setup``: the folders that an installation leaves in the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lenslink.deadline import Deadline
from lenslink.errors import RigError
from lenslink_hil.pico import setup


def fail_npm(npm: str, folder: Path, deadline: Deadline) -> None:
    """Take the place of ``npm ci``."""
    del npm, folder, deadline
    raise RigError("npm ci failed")


def test_an_installation_removes_the_folders_of_killed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(setup, "find_node", lambda: "node")
    monkeypatch.setattr(setup.shutil, "which", lambda name: name)
    monkeypatch.setattr(setup, "_run_npm_ci", fail_npm)
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    for pid in (killed.pid, os.getppid()):
        (tmp_path / f"installing-{pid}-abc").mkdir()
    with pytest.raises(RigError, match="npm ci failed"):
        setup.install_library(Deadline(10.0, "npm ci"))
    # The other installation still runs; its folder is its own.
    assert [path.name for path in tmp_path.iterdir()] == [f"installing-{os.getppid()}-abc"]
