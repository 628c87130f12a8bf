"""Processes that control a module through its owner: ``lenslink stream -o ring:NAME``."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.cli_process import Cli, finish
from helpers.frame_rings import fresh_name
from helpers.nightly_scale import tell
from helpers.slowdown import patience
from helpers.undisturbed import Moment

import lenslink
from lenslink import FrameRingReader, FrameStatus, ModuleClient, Settings
from lenslink.control import control_socket
from lenslink.errors import DeviceError, Disconnected, NotFound, UsageError
from lenslink_hil.benchmark.control_latency import LIMIT_MS
from lenslink_hil.plant.scene import SceneOptions
from lenslink_hil.plant.truth import open_truth

pytestmark = pytest.mark.usefixtures("only_sim")

PATIENCE_S = patience(30.0)
ISP = Path(__file__).parents[1] / "helpers" / "small_isp.py"


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with Cli(tmp_path) as processes:
        yield processes


@pytest.fixture
def name() -> Iterator[str]:
    """Yield a ring's name, and check that no socket of that name is left."""
    name = fresh_name()
    yield name
    assert not control_socket.path_of(name).exists(), "a control socket was left"


def test_an_isp_in_another_process_focuses_and_exposes(cli: Cli, name: str):
    """The picture is dark and out of focus. Twelve changes later it is neither."""
    scene: dict[str, Any] = {"scene": "edges", "depth": "1370", "lux": 200}
    scene |= {"width": 256, "height": 192}
    url = "sim:?" + "&".join(f"{key}={value}" for key, value in scene.items())
    owner = cli.start("stream", url, "-o", f"ring:{name}")
    command = [sys.executable, str(ISP), name]
    isp = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=PATIENCE_S * 3
    )
    assert isp.returncode == 0, isp.stderr
    chosen_mdpt = int(isp.stdout)
    with FrameRingReader(name, timeout=PATIENCE_S) as reader, reader.next() as frame:
        green = frame.pixels[0::2, 1::2].astype(float)
        level = (green.mean() - frame.black[1]) / (frame.white - frame.black[1])
        focus_mdpt, exposure_us = frame.focus_mdpt, frame.exposure_us
    owner.terminate()
    finish(owner)

    assert abs(math.log2(level / 0.18)) < 0.2, (level, exposure_us)
    truth = open_truth(SceneOptions(**scene))
    best = truth.find_best_focus((64, 48, 128, 96))
    settings = Settings(exposure_us, 1000, focus_mdpt, aperture_milli=1400)
    blur = truth.look(0, settings).blur_px[48:144, 64:192]
    print(f"focus {focus_mdpt} of {best:.0f} mdpt, blur {blur.mean():.2f} px, level {level:.3f}")
    assert best == 1370
    assert abs(chosen_mdpt - focus_mdpt) <= 20
    assert blur.mean() < 1.0, (focus_mdpt, best)


def test_the_owner_answers_at_once(cli: Cli, name: str, capsys: pytest.CaptureFixture[str]):
    """Time in which a process waited for a core does not count for the limit."""
    owner = cli.start("stream", "sim:?scene=prbs&width=160&height=120", "-o", f"ring:{name}")
    all_s, own_s = [], []
    with ModuleClient(name, wait=PATIENCE_S, timeout=PATIENCE_S) as client:
        for _ in range(60):
            began = Moment.take()
            _ = client.state
            ended = Moment.take()
            all_s.append(ended.seconds - began.seconds)
            own_s.append(ended.since(began))
    owner.terminate()
    finish(owner)
    most_s = sorted(all_s)[len(all_s) * 9 // 10]
    tell(capsys, f"the owner of a module answers 9 of 10 requests within {most_s * 1e3:.2f} ms")
    # The slowest of a sample is slow because of the machine. The benchmark sends 1,000 and more.
    assert sorted(own_s)[len(own_s) * 9 // 10] <= patience(LIMIT_MS / 1000)


def use_region(cli: Cli, client: ModuleClient, name: str) -> None:
    """Start a region of interest beside the preview, move it, and stop it."""
    client.start(roi=(16, 8, 64, 32), exposure_us=1000)
    with FrameRingReader(name, "every", streams=(lenslink.ROI,), timeout=PATIENCE_S) as reader:
        with reader.next() as frame:
            assert (frame.pixels.shape, frame.crop_x, frame.crop_y) == ((32, 64), 16, 8)
        told = cli.run("set", f"ring:{name}", "roi_x=32", "roi_y=24", "--json")
        assert told.returncode == 0, told.stderr
        first = json.loads(told.stdout)["first_frame"]
        for frame in reader:
            is_after = frame.number >= first
            assert (frame.crop_x, frame.crop_y) == ((32, 24) if is_after else (16, 8))
            assert frame.exposure_us == 1000
            if is_after:
                break
        assert cli.run("set", f"ring:{name}", "roi_x=9", "--still", "--roi").returncode == 2
    with pytest.raises(UsageError, match="roi="):
        client.start()
    client.stop(lenslink.ROI)
    assert not client.state.streams[lenslink.ROI].is_running


def test_clients_change_settings_and_take_stills(cli: Cli, name: str):
    """Through the command line and through Python, until the owner is killed."""
    url = "sim:?scene=prbs&width=160&height=120"
    owner = cli.start("stream", url, "-o", f"ring:{name}")
    with ModuleClient(name, wait=PATIENCE_S, timeout=PATIENCE_S) as client:
        # Settings.
        told = cli.run("set", f"ring:{name}", "exposure=3ms", "gain=2", "--json")
        assert told.returncode == 0, told.stderr
        said = json.loads(told.stdout)
        assert (said["exposure_us"], said["gain_milli"]) == (3000, 2000)
        with FrameRingReader(name, "every", streams=(0,), timeout=PATIENCE_S) as reader:
            first = client.set(exposure_us=2000)
            assert first > said["first_frame"]
            for frame in reader:
                assert frame.exposure_us == (2000 if frame.number >= first else 3000)
                assert frame.gain_milli == 2000
                if frame.number >= first:
                    break
        with pytest.raises(UsageError, match="the module takes"):
            client.set(gain_milli=1_000_000)
        with pytest.raises(DeviceError, match="not configured"):
            client.set(stream=1, gain_milli=2000)

        # Stills: the frames are the ring's, and the next call may come at once.
        with client.capture(exposure_us=1500) as frame:
            assert (frame.stream, frame.exposure_us) == (1, 1500)
            assert frame.status is FrameStatus.COMPLETE
            assert frame.pixels.shape == (120, 160)
        steps = [Settings(exposure_us=1000 * number) for number in range(1, 10)]
        taken = [(frame.number, frame.exposure_us) for frame in client.capture(frames=steps)]
        assert [us for _, us in taken] == [step.exposure_us for step in steps]
        assert [number for number, _ in taken] == list(range(taken[0][0], taken[0][0] + 9))

        use_region(cli, client, name)

        # State.
        shown = cli.run("ring", name, "--state")
        assert "attached" in shown.stdout + shown.stderr
        state = client.state
        assert state.is_attached
        assert state.url == url
        assert state.streams[0].is_running
        assert not state.streams[1].is_running
        assert {event.kind for event in client.events(timeout=0.2)} >= {1, 2, 3, 4}

        # Wrong names.
        assert cli.run("set", "ring:nosuch", "exposure=1ms").returncode == 3
        assert cli.run("set", name, "exposure=1ms").returncode == 2
        assert cli.run("set", f"ring:{name}", "zoom=2").returncode == 2

        # The end.
        owner.kill()
        owner.wait(PATIENCE_S)
        with pytest.raises(Disconnected, match="has ended"):
            _ = client.state
    with pytest.raises(NotFound):
        ModuleClient(name)
    lenslink.FrameRing(name, 1, frame_bytes=4096).close()
