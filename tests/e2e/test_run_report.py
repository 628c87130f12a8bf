"""The report of a run, in the CI recipe for sim:, with a drop and failures; and of a killed run."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers.ci_runner import Runner, list_steps
from helpers.inner_pytest import InnerPytest
from helpers.slowdown import patience
from PIL import Image

from lenslink.cli.main import main
from lenslink_hil.report.board_history import append_run, make_history_path, read_series
from lenslink_hil.report.report_document import ResultKind, State, Trend
from lenslink_hil.report.report_reader import read_report

SIM = "sim:"
TESTS = """
import pytest

def test_is_steady(lens, lens_report):
    with lens.capture(roi=(0, 0, 64, 64)) as frame:
        lens_report.add_picture(frame, "a ramp")
    lens_report.add_figure("frames_per_s", 30.1, "1/s")

def test_drops(lens, lens_report):
    lens.capture(roi=(0, 0, 64, 64)).release()
    lens_report.add_figure("frames_per_s", 25.0, "1/s")

def test_fails(lens, lens_report):
    lens_report.add_figure("frames_per_s", 1.0)
    with lens.capture(roi=(0, 0, 64, 64), exposure_us=8000) as frame:
        lens_report.add_picture(frame, "8 ms")
        assert frame.exposure_us == 8001

@pytest.mark.requires(transport="usb")
def test_needs_usb(lens):
    pass

def test_has_no_power_switch(lens_power):
    pass

def test_uses_no_board(lens_report):
    lens_report.add_figure("once", 1)
    with pytest.raises(Exception, match="a test has each figure once"):
        lens_report.add_figure("once", 1)
    with pytest.raises(Exception, match="no name of a figure"):
        lens_report.add_figure("two words", 1)
    with pytest.raises(Exception, match="not finite"):
        lens_report.add_figure("x", float("inf"))
"""
WAITS = """
import threading

def test_passes():
    pass

def test_waits():
    open("waits", "w").close()
    threading.Event().wait()
"""


def name(test: str) -> str:
    return f"test_module.py::{test}"


def show_evidence(recording: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check what the recording of the failed test says of it, and holds."""
    capsys.readouterr()
    extracted = folder / "extracted"
    assert main(["replay", recording, "--about", "--json", "--extract", str(extracted)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "lenslink.recording/1"
    assert found["test"] == name("test_fails")
    assert found["lens_firmware"].startswith("lensfw ")
    assert {"lenslink", "python", "host", "seed", "counters", "lens_serial"} <= set(found)
    assert found["to repeat"].startswith(f"pytest {name('test_fails')} --lens ")
    assert found["pictures"] == ["8 ms"]
    with Image.open(extracted / "picture-1.jpg") as picture:
        assert max(picture.size) == 32
    # The module says something when it starts a stream.
    assert "level" in (extracted / "module-log.txt").read_text()
    assert main(["replay", recording, "--about"]) == 0
    assert "frame.exposure_us == 8001" in capsys.readouterr().out
    assert main(["replay", recording, "--extract", str(extracted)]) == 2


def test_a_run_is_reported_and_a_drop_fails_its_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory(prefix="ll-") as runtime:
        runner = Runner(tmp_path, Path(runtime), TESTS)
        history = make_history_path(runner.folder / "history", SIM)
        for _ in range(8):
            values = {
                f"{name(test)} frames_per_s": 30.0 for test in ("test_is_steady", "test_drops")
            }
            append_run(history, "earlier", values, {"link": "sim"})
        install, test, page = list_steps("github-sim.yml", "sim")
        runner.run(install)
        text = runner.run(
            test, pytest.ExitCode.TESTS_FAILED, PYTEST_ADDOPTS="--lens-history history"
        )
        runner.run(page)
    verdict = "Failed: 2 of 6 tests on 2 boards; 1 rig error, 1 skipped."
    assert verdict in text
    assert runner.summary.read_text().startswith(f"**{verdict}**")
    html = (runner.folder / "out/report.html").read_text()
    assert f"<p class='verdict failed'>{verdict}</p>" in html
    junit = {
        str(case.get("name")): case
        for case in ElementTree.parse(runner.folder / "out/junit.xml").iter("testcase")  # noqa: S314
    }
    assert [each.tag for each in junit["test_drops"]] == ["properties", "failure"]
    properties = {each.get("name"): each.get("value") for each in junit["test_is_steady"][0]}
    assert properties["lens_figure_frames_per_s"] == "30.1"

    report = read_report(runner.folder / "out/report.json")
    assert report.state is State.FINISHED
    assert (report.not_reached, list(report.boards)) == (0, [SIM, ""])
    assert report.boards[SIM]["firmware"].startswith("lensfw ")
    assert report.runs[0]["bench"] == SIM
    found = {each.test.rpartition("::")[2]: each for each in report.results}
    assert {test: each.kind for test, each in found.items()} == {
        "test_is_steady": ResultKind.PASSED,
        "test_drops": ResultKind.FAILED,
        "test_fails": ResultKind.FAILED,
        "test_needs_usb": ResultKind.SKIPPED,
        "test_has_no_power_switch": ResultKind.RIG_ERROR,
        "test_uses_no_board": ResultKind.PASSED,
    }
    steady, dropped, failed = (
        found[each] for each in ("test_is_steady", "test_drops", "test_fails")
    )
    assert [each.title for each in steady.pictures] == ["a ramp"]
    assert steady.figures[0].trend is Trend.STEADY
    assert steady.counters["frames"] == 1
    assert steady.counters["bytes"] > 64 * 64 * 1.5
    assert dropped.message == (
        "frames_per_s: 25 is 16.7 % worse than 30, the median of the last 8 runs"
    )
    assert dropped.figures[0].earlier == (30.0,) * 8
    assert Path(failed.recording).is_file()
    assert f"replay:{failed.recording}" in failed.replay.replace("'", "")
    show_evidence(failed.recording, tmp_path, capsys)
    # The figure of a test that failed otherwise is no measurement.
    for test, last in (("test_is_steady", 30.1), ("test_drops", 25.0)):
        assert read_series(history, f"{name(test)} frames_per_s", "sim") == [30.0] * 8 + [last]
    assert read_series(history, f"{name('test_fails')} frames_per_s", "sim") == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_leaves_a_report_that_says_so(tmp_path: Path, number: int) -> None:
    path = tmp_path / "report.json"
    path.write_text("{}")
    run = InnerPytest(tmp_path, WAITS, "--lens-report", "report.json")
    until = time.monotonic() + patience(60)
    while not (tmp_path / "waits").exists() and time.monotonic() < until:
        time.sleep(0.02)
    run.process.send_signal(number)
    assert run.wait() != 0
    report = read_report(path)
    assert report.state is State.ABANDONED
    if number == signal.SIGINT:
        assert [each.kind for each in report.results] == [ResultKind.PASSED]
        assert "Abandoned: the run did not reach its end; 0 failed of 1 test" in run.text
        assert report.not_reached == 1


def test_a_report_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    run = InnerPytest(tmp_path, WAITS, "--lens-report", "out/report.json")
    assert run.wait() == pytest.ExitCode.USAGE_ERROR
    assert "--lens-report: cannot write " in run.text
    assert "Traceback" not in run.text
