"""The benchmark of the plant: what it counts, and how it is shown."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lenslink.errors import UsageError
from lenslink_hil.benchmark import plant_rate
from lenslink_hil.commands.bench import bench
from lenslink_hil.plant.binning import Crop


def test_the_rates_are_those_of_the_frames(monkeypatch):
    seen = []
    monkeypatch.setattr(
        plant_rate,
        "_time_frame",
        lambda scene, mode, number, focus, crop=None: (
            seen.append((mode, number, focus, crop)) or cost(number, focus)
        ),
    )

    def cost(number, focus):
        return 2.0 if number == 0 else 0.02 + 0.18 * (focus != 1000)

    result = plant_rate.measure_all(("flat",), False, lambda text: None)
    assert result["schema"] == "lenslink.bench.plant/1"
    (scene,) = result["scenes"]
    assert scene["still"] is None
    assert scene["preview"] == {
        "width": 1280,
        "height": 960,
        "first_cpu_s": 2.0,
        "rest_cpu_s": 0.02,
        "moving_cpu_s": pytest.approx(0.2),
    }
    assert scene["roi_cpu_s"] == pytest.approx(0.2)
    # Every frame has a number of its own, or the noise would be the same. So has every region.
    assert {crop for *_, crop in seen} == {None, Crop(512, 352, 256, 256)}
    assert len({(number, crop) for _, number, _, crop in seen}) == len(seen)
    shown = next(iter(plant_rate.format_rows(result)))
    assert shown[2:] == ("50.0 frames/s", "50% of a core", "5.0 frames/s", "2.00 s")


@pytest.mark.parametrize("has_stills", [False, True])
def test_the_cheap_scene_has_a_still_and_others_on_demand(monkeypatch, has_stills):
    monkeypatch.setattr(plant_rate, "_time_frame", lambda *arguments: 0.1)
    result = plant_rate.measure_all(("edges", "flat"), has_stills, lambda text: None)
    edges, flat = (scene["still"] for scene in result["scenes"])
    assert (edges["width"], edges["height"]) == (4096, 3072)
    assert (flat is not None) is has_stills
    stills = [row for row in plant_rate.format_rows(result) if row[1] == "still 4096 x 3072"]
    assert [row[2] for row in stills] == ["10.0 frames/s"] * (1 + has_stills)


def test_a_scene_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match="no such file"):
        plant_rate.measure_all(("nothing",), False, lambda text: None)


def test_the_command_prints_one_json_object(monkeypatch):
    monkeypatch.setattr(plant_rate, "_time_frame", lambda *arguments: 0.01)
    run = CliRunner().invoke(bench, ["plant", "--scene", "dark", "--json"])
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert result["scenes"][0]["scene"] == "dark"
    assert result["scenes"][0]["roi_cpu_s"] > 0
