"""Test ``lenslink bench``: its output, and that it leaves nothing behind."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers.cli_process import PATIENCE_S, Cli, assert_gone, children, finish

from lenslink.frame_ring import segment


@pytest.fixture
def cli(tmp_path):
    with Cli(tmp_path) as started:
        yield started


def traces(cli: Cli, pid: int) -> list[Path]:
    """What is there of a benchmark: its folder, and its rings."""
    rings = segment.folder().glob(f"lenslink-*-bench-{pid}-*")
    return [*cli.runtime.glob("ll-bench-*"), *rings]


def start(cli: Cli, *words: str) -> subprocess.Popen[bytes]:
    return cli.start("bench", "host", *words, environment={"TMPDIR": str(cli.runtime)})


def test_help(cli):
    run = cli.run("bench", "--help")
    assert (run.returncode, run.stderr) == (0, "")
    assert "host" in run.stdout
    assert "peers" in run.stdout
    run = cli.run("bench", "host", "--help")
    assert "--quick" in run.stdout
    assert "lenslink bench host --output BENCHMARKS.md" in run.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["host", "--fast"], "No such option"),
        (["host", "--transport", "usb"], "'usb' is not one of"),
        (["hosts"], "No such command"),
        (["host", "--plot", "a.gif"], "--plot writes .png or .txt"),
        (["host", "--output", "notes.md"], "notes.md is not a report"),
        (["peers", "--quick"], "No such option"),
    ],
)
def test_invalid_arguments_are_refused(cli, words, said):
    (cli.folder / "notes.md").write_text("mine\n")
    run = cli.run("bench", *words)
    assert (run.returncode, run.stdout) == (2, "")
    [line] = run.stderr.splitlines()
    assert said in line
    assert (cli.folder / "notes.md").read_text() == "mine\n"


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_the_benchmark(cli, signum, code):
    process = start(cli, "--quick")
    try:
        end = time.monotonic() + PATIENCE_S
        # Its folder is there once it has begun; a socket in it, once a source runs.
        while not any(path.is_dir() and any(path.iterdir()) for path in traces(cli, process.pid)):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.02)
        left = children(process.pid)
        assert left
        process.send_signal(signum)
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert (process.returncode, out) == (code, b"")
    assert err == b"lenslink: interrupted\n"
    assert not traces(cli, process.pid)
    assert_gone(left)


# --- lenslink bench link --------------------------------------------------------------------------

SCENE = "scene=prbs&width=128&height=96&seed=5"
KEYS = {
    "schema", "wire_bytes_per_s", "pixel_bytes_per_s", "ceiling_bytes_per_s", "clock", "bus",
    "lanes", "tile_bytes", "encoding", "discards", "cpu_busy", "image_sha256",
}  # fmt: skip


@pytest.mark.parametrize(
    ("url", "bus", "ceiling", "lanes"),
    [
        (f"sim:?{SCENE}&lanes=2", None, None, 2),
        (f"sim:?{SCENE}&board=pico", None, 896_000, 1),
        (f"usbip:?{SCENE}&lanes=4", "high", 53_248_000, 4),
        (f"usbip:?{SCENE}&speed=full", "full", 1_216_000, 1),
    ],
)
def test_a_link(cli, url, bus, ceiling, lanes):
    words = ["--frames", "5", "--tile-bytes", "8192", "--packing", "lsb", "--check", "prbs"]
    run = cli.run("bench", "link", url, "--mode", "full", "--seed", "5", "--json", *words)
    assert (run.returncode, run.stderr) == (0, "")
    found = json.loads(run.stdout)
    assert found.keys() >= KEYS
    assert (found["schema"], found["url"]) == ("lenslink.bench.link/2", url)
    assert (found["bus"], found["ceiling_bytes_per_s"], found["lanes"]) == (bus, ceiling, lanes)
    assert (found["clock"], found["cpu_busy"], found["image_sha256"]) == ("wall", None, None)
    assert (found["encoding"], found["frames"], found["incomplete"]) == ("RG12p", 5, 0)
    assert 0 < found["tile_bytes"] <= 8192
    assert found["wire_bytes_per_s"] > found["pixel_bytes_per_s"] > 0
    assert (found["checked"], found["wrong_pixels"]) == ("prbs", 0)
    assert not any(found["discards"].values())


def test_a_link_for_people_and_in_the_report(cli):
    url = f"usbip:?{SCENE}"
    run = cli.run("bench", "link", url, "--duration", "0.2", "--output", "B.md")
    assert run.returncode == 0
    assert run.stderr.splitlines() == ["wrote B.md"]
    assert " of 53,248,000: " in run.stdout.splitlines()[0]
    report = (cli.folder / "B.md").read_text()
    assert run.stdout.splitlines()[0].split(None, 1)[1] in report
    assert f"`{url}`" in report


def test_a_pixel_that_is_wrong_fails(cli):
    run = cli.run("bench", "link", f"sim:?{SCENE}", "--frames", "2", "--check", "prbs")
    assert run.returncode == 7
    assert "WRONG" in run.stdout


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["sim:?scene=ramp", "--packing", "best"], 2, "'best' is not one of"),
        (["sim:?scene=ramp", "--frames", "5", "--duration", "1"], 2, "give one of them"),
        (["sim:?scene=ramp", "--mode", "wide"], 2, "no mode 'wide'"),
        (["sim:?scene=ramp&bits=14", "--packing", "legacy"], 2, "no packing 'legacy'"),
        (["unix:nobody"], 3, "nobody"),
        (["unix:nobody", "--sweep"], 3, "nobody"),
        (["sim:?scene=ramp", "--sweep", "--output", "B.md"], 2, "no place for a sweep"),
        (["sim:?scene=ramp", "--output", "notes.md"], 2, "notes.md is not a report"),
    ],
)
def test_links_that_cannot_be_measured(cli, words, status, said):
    (cli.folder / "notes.md").write_text("mine\n")
    run = cli.run("bench", "link", *words)
    assert (run.returncode, run.stdout) == (status, "")
    [line] = run.stderr.splitlines()
    assert said in line


def test_a_sweep(cli):
    words = ["--sweep", "--mode", "full", "--frames", "2", "--json"]
    run = cli.run("bench", "link", f"sim:?{SCENE}", *words, "--check", "prbs", "--seed", "5")
    assert (run.returncode, run.stderr) == (0, "")
    found = json.loads(run.stdout)
    assert (found["schema"], found["interrupted"]) == ("lenslink.bench.sweep/1", False)
    points = found["points"]
    [default] = [point for point in points if point["default"]]
    [chosen] = [point for point in points if point["chosen"]]
    assert {point["lanes"] for point in points} == {1, 2, 3, 4}
    assert {point["packing"] for point in points} == {"unpacked", "lsb", "mipi", "legacy", "rice"}
    assert len({point["tile_bytes"] for point in points}) > 2
    assert all(point["frames_per_s"] > 0 for point in points)
    assert found["gain"] == chosen["frames_per_s"] / default["frames_per_s"]
    assert (found["not_run"], found["wrong_pixels"]) == ([], 0)
    # The printed command does what was measured.
    again = cli.run(*shlex.split(found["command"])[1:], "--frames", "1", "--json")
    assert again.returncode == 0


def test_a_sweep_is_interrupted(cli):
    words = ["--sweep", "--duration", "0.2", "--packing", "lsb", "-v"]
    process = cli.start("bench", "link", f"sim:?{SCENE}", *words)
    # Each opening says so in the module's log: at the second one, the first has been measured.
    for _ in range(2):
        while b"session" not in (line := process.stderr.readline()):
            assert line
    process.send_signal(signal.SIGINT)
    status, output, _ = finish(process)
    assert status == 130
    assert any(line.startswith("default") or line.startswith("chosen") for line in output)
    assert any(line.startswith("interrupted: ") for line in output)
    assert any(line.startswith("command    lenslink stream ") for line in output)


def test_a_link_is_interrupted(cli):
    process = cli.start("bench", "link", f"sim:?{SCENE}", "--duration", "60", "-v")
    # The module's log says that the session is open.
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    status, output, errors = finish(process)
    assert (status, output) == (130, [])
    assert errors[-1] == "lenslink: interrupted"
