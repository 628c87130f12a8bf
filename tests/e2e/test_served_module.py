"""Test a served module from host to host: opened again at once, or by two hosts at a time."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.cli_process import Cli
from helpers.nightly_scale import choose, say
from helpers.slowdown import patience

import lenslink
from lenslink import DeviceBusy, FrameStatus

pytestmark = pytest.mark.usefixtures("only_sim")

# For each of three transports.
CYCLES = choose(4, 334)
SMALL = ("--scene", "ramp", "--width", "64", "--height", "64")


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with Cli(tmp_path) as processes:
        yield processes


@pytest.fixture(params=["unix", "tcp", "shm"])
def url(request: pytest.FixtureRequest, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> str:
    """Serve a module over each transport, and return its URL."""
    if request.param == "shm" and sys.platform != "linux":
        pytest.skip("shm: needs Linux")
    monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(cli.runtime))
    address = "tcp:127.0.0.1:0" if request.param == "tcp" else f"{request.param}:{cli.runtime}/m"
    return cli.serve(*SMALL, "--listen", address)[1]


@pytest.mark.timeout(choose(180, 3600))
def test_a_module_can_be_opened_again_at_once(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    for cycle in range(CYCLES):
        with lenslink.open(url, timeout=patience(30)) as device, device.capture() as frame:
            assert frame.status is FrameStatus.COMPLETE, f"cycle {cycle}"
    seconds = (time.monotonic() - start) / CYCLES
    say(capsys, f"{url}: {CYCLES} times opened, captured and closed, {seconds:.2f} s each")


def test_a_second_host_is_told_that_the_module_is_busy(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lenslink.open(url, timeout=patience(30)) as device:
        # A host on another machine does not see the lock.
        other = tmp_path / "other"
        other.mkdir()
        monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(other))
        with pytest.raises(DeviceBusy, match="another host has opened the module"):
            lenslink.open(url, timeout=patience(30))
        device.capture().release()


def test_a_silent_connection_does_not_block_the_module(url: str) -> None:
    scheme, _, address = url.partition(":")
    if scheme == "tcp":
        host, _, port = address.rpartition(":")
        stranger = socket.create_connection((host, int(port)))
    else:
        stranger = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stranger.connect(address)
    with stranger, lenslink.open(url, timeout=patience(30)) as device:
        device.capture().release()
