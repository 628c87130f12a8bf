"""The benchmark of metering: its figures, its split, and what it says of the goals."""

from __future__ import annotations

import json

import pytest

from lenslink.cli.main import main
from lenslink_hil.benchmark import metering_error


@pytest.fixture
def few(monkeypatch):
    """A benchmark of two photographs and one chart, in two lights."""
    monkeypatch.setattr(metering_error, "KELVINS", (2850, 6500))
    monkeypatch.setattr(metering_error, "HELD_OUT", ("coffee",))
    monkeypatch.setattr(metering_error, "CHARTS", ("edges",))
    monkeypatch.setattr(metering_error, "_CROPS", {"whole": (0.0, 0.0, 1.0, 1.0)})
    monkeypatch.setattr(metering_error, "_STEPS_EV", (-3,))
    monkeypatch.setattr(metering_error, "_MOST_FRAMES", 30)


def test_every_group_has_every_method(few):
    told = []
    result = metering_error.measure_all(told.append, ["whole"])
    assert told == ["coffee whole", "astronaut whole", "edges"]
    rows = {(each["scenes"], each["method"]): each for each in result["white_balance"]}
    groups = {"held out, photographs": 2, "held out, charts": 2, "held out, all": 4, "chosen on": 2}
    assert {group for group, _ in rows} == groups.keys()
    assert {method for _, method in rows} == {"ours", "grey world", "a model of libcamera"}
    assert all(each["pictures"] == groups[group] for (group, _), each in rows.items())
    # A grey chart has the colour of the light. The photograph of the split is no riddle either.
    assert rows["held out, charts", "ours"]["p95_degrees"] < 1
    assert rows["chosen on", "ours"]["p95_degrees"] < 1
    assert rows["chosen on", "ours"]["settled_frames"] <= 5
    frames = {each["method"]: each["most_frames"] for each in result["exposure"]}
    assert frames["ours"] <= 4 < frames["a model of libcamera"]
    text = metering_error.format_verdict(result)
    assert text.startswith(("met: ", "NOT MET: "))


def test_the_command_prints_a_table_and_json(few, monkeypatch, capsys):
    result = metering_error.measure_all(lambda text: None, ["whole"])
    monkeypatch.setattr(metering_error, "measure_all", lambda report: result)
    assert main(["bench", "metering"]) == 0
    out = capsys.readouterr().out
    assert "held out, all (4)" in out
    assert "exposure, -3 EV, ours" in out
    assert main(["bench", "metering", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "lenslink.bench.metering/1"
