"""Processes that control a module through its owner: ``lenslink stream -o ring:NAME``."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.cli_process import Cli, finish
from helpers.frame_rings import fresh_name
from helpers.slowdown import patience

from lenslink import FrameRingReader, Settings
from lenslink.control import control_socket
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
