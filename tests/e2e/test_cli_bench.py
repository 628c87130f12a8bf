"""Test info, capture, stream and doctor on a bench."""

from __future__ import annotations

import io
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.cli_process import PATIENCE_S, Cli, objects
from PIL import Image

# A colour, rather than bold or the cursor.
COLOUR = re.compile(r"\x1b\[[0-9;]*\b(3[0-8]|4[0-8]|9[0-7]|10[0-7])[0-9;]*m")


@pytest.fixture
def cli(tmp_path):
    with Cli(tmp_path) as started:
        yield started


def test_info(cli, scene_url):
    run = cli.run("info", scene_url(scene="prbs", width=320, height=240))
    assert (run.returncode, run.stderr) == (0, "")
    assert "320 x 240, 12 bit, RGGB" in run.stdout
    assert re.search(r"full +320 x 240 +none +preview and still", run.stdout)


def test_info_json(cli, scene_url):
    run = cli.run("info", "--json", scene_url(scene="prbs", width=320, height=240, cfa="BGGR"))
    assert (run.returncode, run.stderr) == (0, "")
    answer = json.loads(run.stdout)
    assert answer["schema"] == "lenslink.info/1"
    assert answer["sensor"]["cfa"] == "BGGR"
    assert answer["modes"][0]["use"] == ["preview", "still"]
    assert answer["session"]["version"] == "1.0"


def test_capture(cli, scene_url, scale):
    url = scene_url(scene="prbs", width=256, height=128, bits=14)
    folder = cli.folder / "my photos"
    folder.mkdir()
    run = cli.run("capture", url, "-o", "my photos/a.npy", "-o", "my photos/a.dng", "--json")
    assert (run.returncode, run.stderr) == (0, "")
    answer = json.loads(run.stdout)
    frame = answer["frame"]
    assert (frame["width"], frame["height"], frame["bits"], frame["cfa"]) == (256, 128, 14, "RGGB")
    assert (frame["status"], frame["received_fraction"]) == ("complete", 1.0)
    assert answer["bytes"] == 2 * 256 * 128
    assert {cause for cause, count in answer["discards"].items() if count} <= scale.repeated
    assert 0 < answer["first_tile_ms"] <= answer["seconds"] * 1000
    for file in answer["files"]:
        assert file["bytes"] == (cli.folder / file["path"]).stat().st_size
    assert np.load(folder / "a.npy").shape == (128, 256)


def test_the_device_of_the_environment(cli, scene_url):
    run = cli.run("info", "--json", LENSLINK_URL=scene_url(scene="prbs", width=64, height=64))
    assert json.loads(run.stdout)["sensor"]["width"] == 64


def test_settings_are_applied(cli, scene_url):
    url = scene_url(scene="prbs", width=64, height=64)
    settings = ["--exposure", "1/50", "--gain", "2", "--focus", "50cm"]
    frame = json.loads(cli.run("capture", url, "-o", "a.npy", "--json", *settings).stdout)["frame"]
    applied = (frame["exposure_us"], frame["gain_milli"], frame["focus_mdpt"])
    assert applied == (20_000, 2000, 2000)


@pytest.mark.parametrize("scene", ["missing.jpg", "damaged.png", "text.dng"])
def test_invalid_scenes_are_refused(scene, cli, own_url):
    (cli.folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    (cli.folder / "text.dng").write_text("no picture")
    run = cli.run("capture", own_url(scene=scene), "-o", "a.dng")
    assert (run.returncode, run.stdout) == (2, "")
    [line] = run.stderr.splitlines()
    assert line.startswith("lenslink: error: scene ")
    assert not (cli.folder / "a.dng").exists()


def test_an_unknown_mode(cli, scene_url):
    run = cli.run("stream", scene_url(scene="prbs", width=64, height=64), "--mode", "huge")
    assert (run.returncode, run.stdout) == (2, "")
    [line] = run.stderr.splitlines()
    assert "no mode 'huge' (it has full" in line


def test_stream_json(cli, scene_url):
    url = scene_url(scene="prbs", width=64, height=64)
    run = cli.run("stream", url, "--json", "--frames", "5", "-o", "a.raw")
    assert run.returncode == 0
    *frames, summary = objects(run.stdout.splitlines())
    assert [frame["number"] for frame in frames] == list(range(5))
    assert (summary["frames"], summary["incomplete"], summary["ended"]) == (5, 0, "frames")
    assert (cli.folder / "a.raw").stat().st_size == 5 * 64 * 64 * 2


def test_a_closed_pipe_ends_it_quietly(cli, scene_url):
    process = cli.start("stream", scene_url(scene="prbs", width=320, height=240), "-o", "-")
    with io.BufferedReader(process.stdout) as piped:
        assert len(piped.read(100_000)) == 100_000
    assert process.stderr.read() == b""
    assert process.wait(PATIENCE_S) == 0


def test_a_closed_pipe_ends_json_quietly(cli, scene_url):
    process = cli.start("stream", scene_url(scene="prbs", width=64, height=64), "--json")
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(PATIENCE_S) == 0


def test_a_full_disk_behind_stdout(cli, scene_url):
    with Path("/dev/full").open("wb") as full:
        url = scene_url(scene="prbs", width=64, height=64)
        process = cli.start("stream", url, "-o", "-", "-n", "2", stdout=full)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 9
    assert err.decode().splitlines() == ["lenslink: error: No space left on device"]


def test_the_modules_log_is_shown_under_its_logger(cli, scene_url):
    url = scene_url(scene="ramp", width=64, height=64)
    assert "[lenslink.module]" not in cli.run("info", url).stderr
    said = cli.run("info", url, "-v").stderr
    assert re.search(
        r"^\[lenslink\.module\] INFO: \d+\.\d{3} s: session .*$", said, re.MULTILINE
    ), said
    assert "DEBUG" not in said
    assert re.search(r"^\[lenslink\.[\w.]+\] DEBUG: ", cli.run("info", url, "-vv").stderr, re.M)
    assert re.search(r"^\[lenslink[\w.]+\] TRACE: ", cli.run("info", url, "-vvv").stderr, re.M)


@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_ffmpeg_reads_the_stream(cfa, cli, scene_url, tool):
    ffmpeg = tool("ffmpeg")
    url = scene_url(scene="bars", width=320, height=240, cfa=cfa)
    stream = cli.start("stream", url, "-v", "--scale16", "-o", "-", "-n", "3")
    options = [
        *("-f", "rawvideo", "-pixel_format", f"bayer_{cfa.lower()}16le"),
        *("-video_size", "320x240"),
    ]
    play = subprocess.run(
        [ffmpeg, "-hide_banner", "-loglevel", "error", *options, "-i", "-", "%d.png"],
        stdin=stream.stdout,
        cwd=cli.folder,
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    stream.stdout.close()
    said = stream.stderr.read().decode()
    assert stream.wait(PATIENCE_S) == 0
    assert play.stderr == b""
    # ffmpeg gets the options that the hint on stderr names.
    assert " ".join(options) in said
    assert cli.files() == ["1.png", "2.png", "3.png"]
    with Image.open(cli.folder / "3.png") as picture:
        assert picture.size == (320, 240)
        # The bars' colours are where they belong, so the CFA's phase was right.
        white, blue = (picture.convert("RGB").getpixel((x, 120)) for x in (20, 260))
    assert min(white) > 100
    assert blue[2] > 2 * max(blue[:2])


def test_a_terminal_sees_progress_and_nothing_is_left_of_it(cli, scene_url, scale):
    url = scene_url(scene="prbs", width=64, height=64)
    terminal = cli.on_terminal("stream", url, "-n", "5")
    out = terminal.finish()
    assert (terminal.process.returncode, out) == (0, "")
    assert "1 frames" in terminal.text
    assert "\x1b[2K" in terminal.text
    # Cursor shown again.
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")
    discards = "|".join(["no discards", *(rf"discards: \d+ {cause}\b" for cause in scale.repeated)])
    assert re.search(rf"5 frames, .*({discards})", terminal.text)


def test_quiet_is_quiet_even_on_a_terminal(cli, scene_url):
    url = scene_url(scene="prbs", width=64, height=64)
    terminal = cli.on_terminal("stream", "-q", url, "-n", "5")
    terminal.finish()
    assert terminal.text == ""


@pytest.mark.parametrize("args", [["doctor"], ["stream", "-n", "3"]])
def test_no_color(args, cli, scene_url):
    if args[0] == "stream":
        args = [*args, scene_url(scene="prbs", width=64, height=64)]
    terminal = cli.on_terminal(*args, NO_COLOR="1")
    out = terminal.finish()
    assert terminal.process.returncode == 0, terminal.text
    assert not COLOUR.search(terminal.text + out)


def test_doctor(cli, scene_url):
    scene_url()
    run = cli.run("doctor", "--json")
    answer = json.loads(run.stdout)
    assert (run.returncode, answer["schema"], answer["ok"]) == (0, "lenslink.doctor/1", True)
    checks = {check["name"]: check for check in answer["checks"]}
    assert checks["MicroPython"]["ok"]
    assert checks["sim: takes a frame"]["detail"] == "64 x 64 pixels, complete"


def test_doctor_says_what_is_wrong(cli):
    run = cli.run("doctor", MICROPYTHON="/nonexistent/micropython")
    assert run.returncode == 11
    assert re.search(r"MicroPython +FAILED +/nonexistent/micropython cannot be run", run.stdout)
    [line] = run.stderr.splitlines()
    assert line.endswith("the installation does not work: MicroPython, sim: takes a frame")


def test_the_program_runs_as_a_module(cli):
    run = cli.run("--version")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("lenslink 0.")
