"""Training on a virtual USB board: the frames are the caller's, and what pays is remembered."""

from __future__ import annotations

import itertools
import json
import logging
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from cli_process import Cli
from lab import micropython
from lab.slowdown import patience

import lenslink
from lenslink import Device, FrameStatus
from lenslink.deadline import Deadline
from lenslink.training import MOST
from lenslink_hil.plant.patterns import pattern
from lenslink_hil.usbip.virtualboard import VirtualBoard

SCENE = {"scene": "prbs", "width": "128", "height": "96", "seed": "5", "lanes": "2"}
PATIENCE_S = patience(20.0)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LENSLINK_STATE_DIR", str(tmp_path))
    return tmp_path / "training.json"


@pytest.fixture
def url(state: Path) -> Iterator[str]:
    micropython.interpreter()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        closing(VirtualBoard(SCENE, "S1", listener=listener)) as board,
    ):
        board.plug(Deadline(PATIENCE_S, "the board"))
        yield "usbip:{}:{}".format(*board.address)


def check(frame: lenslink.Frame) -> int:
    assert frame.status is FrameStatus.COMPLETE
    shown = {"bits": 12, "cfa": frame.cfa, "seed": 5, "frame_number": frame.number}
    np.testing.assert_array_equal(frame.pixels, pattern("prbs", 128, 96, **shown))
    return frame.number


def test_a_link_is_trained_once(url: str, state: Path, caplog: pytest.LogCaptureFixture) -> None:
    numbers = []
    with lenslink.open(url, timeout=PATIENCE_S) as device, caplog.at_level(logging.INFO):
        with closing(device.stream("full")) as frames:
            numbers.append(check(next(frames)))
            own = device.configuration()
            for frame in itertools.islice(frames, 5 * (1 + MOST)):
                with frame:
                    numbers.append(check(frame))
                if not device.training:
                    break
            assert not device.training
            numbers += [check(next(frames)) for _ in range(3)]
        chosen = device.configuration()
        assert own is not None and chosen is not None
        assert chosen.tile_bytes <= own.tile_bytes
        assert not any(device.stats.rejects.values())
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "nothing is left out"
    assert "trained" in caplog.text
    [(key, kept)] = json.loads(state.read_text())["tile_bytes"].items()
    assert key.startswith("S1 1-1 high 2 full")
    assert kept in (0, chosen.tile_bytes)
    with lenslink.open(url, timeout=PATIENCE_S) as again, closing(again.stream("full")) as frames:
        check(next(frames))
        assert not again.training
        assert again.configuration() == chosen


def is_trained(device: Device, **options: int) -> bool:
    with closing(device.stream("full", **options)) as frames:
        check(next(frames))
        return device.training


def test_what_is_pinned_is_not_trained(
    url: str, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lenslink.open(url, timeout=PATIENCE_S) as device:
        assert is_trained(device)
        assert not is_trained(device, tile_bytes=4096)
        # Paced frames tell nothing of the link.
        assert not is_trained(device, interval_us=1000)
        monkeypatch.setenv("LENSLINK_TRAINING", "off")
        assert not is_trained(device)
    assert not state.exists()


def test_a_board_of_its_own_is_not_remembered(state: Path) -> None:
    micropython.interpreter()
    query = "&".join(f"{key}={value}" for key, value in SCENE.items())
    with lenslink.open(f"usbip:?{query}", timeout=PATIENCE_S) as device:
        assert not is_trained(device)


def test_a_still_in_between(url: str) -> None:
    """Its frame takes one of the numbers of a batch."""
    with (
        lenslink.open(url, timeout=PATIENCE_S) as device,
        closing(device.stream("full")) as frames,
    ):
        for _ in range(3):
            check(next(frames))
            assert device.training
            with device.capture("full") as still:
                check(still)
        seen = [check(frame) for frame in itertools.islice(frames, 2 * MOST)]
        assert seen == sorted(set(seen))


def test_a_benchmark_measures_what_was_chosen(url: str, tmp_path: Path) -> None:
    with Cli(tmp_path) as cli:
        run = cli.run("bench", "link", url, "--mode", "full", "--frames", "5", "--json", "-v")
        assert run.returncode == 0, run.stderr
        assert "[lenslink.training] INFO: trained: " in run.stderr
        [kept] = json.loads((cli.runtime / "training.json").read_text())["tile_bytes"].values()
        again = cli.run("bench", "link", url, "--mode", "full", "--frames", "5", "--json", "-v")
        assert "trained" not in again.stderr
    first, second = json.loads(run.stdout), json.loads(again.stdout)
    assert first["tile_bytes"] == second["tile_bytes"]
    assert kept in (0, first["tile_bytes"])
    assert first["frames"] == 5
