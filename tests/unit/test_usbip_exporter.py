"""The USB/IP server's process and its folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from helpers.slowdown import patience

from lenslink import runtime
from lenslink_hil.usbip.client import list_devices
from lenslink_hil.usbip.exporter import Exporter

PATIENCE_S = patience(20.0)


def test_a_long_temporary_folder_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Unix socket's path has at most 104 bytes on macOS and 108 on Linux."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with closing(Exporter()) as exporter:
        assert list_devices(exporter.address, PATIENCE_S) == []
        exporter.connect_cable().close()


def test_the_folder_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    code = "import signal; from lenslink_hil.usbip.exporter import Exporter; e = Exporter()"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; print(e.address, flush=True); signal.pause()"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as client:
            client.connect(address)
        folder = Path(address).parent
        assert folder.is_dir()
        os.kill(process.pid, signal.SIGKILL)
    removed = runtime.remove_stale_scratch_dirs()
    assert folder in removed
    assert not folder.exists()
    assert runtime.remove_stale_scratch_dirs() == []
