"""Test that every ending leaves no process, no partial file and no traceback."""

from __future__ import annotations

import os
import re
import signal

import pytest
from helpers import bench_scale
from helpers.cli_process import PATIENCE_S, Cli, assert_gone, children, finish, firmware, objects

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
# 100 megapixels take seconds, so every fault happens inside the frame.
LONG = {"scene": "ramp", "mode": "full"}


@pytest.fixture
def cli(tmp_path):
    with Cli(tmp_path) as started:
        yield started


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_a_signal_during_a_stream(signum, code, cli, own_url):
    process = cli.start("stream", own_url(scene="prbs", width=320, height=240), "--json")
    assert process.stdout.readline()
    left = children(process.pid)
    process.send_signal(signum)
    status, out, err = finish(process)
    assert (status, err) == (code, [])
    assert objects(out)[-1]["ended"] == "interrupted"
    assert_gone(left)


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_a_signal_during_a_stream_into_a_file(signum, code, cli, scene_url):
    url = scene_url(scene="prbs", width=320, height=240)
    args = ("stream", url, "--json", "-o", "a.raw")
    process = cli.start(*args)
    assert process.stdout.readline()
    assert process.stdout.readline()  # so the first is in the file
    process.send_signal(signum)
    status, out, _ = finish(process)
    assert status == code
    assert objects(out)[-1]["frames"] >= 1
    assert cli.files() == ["a.raw"]
    assert (cli.folder / "a.raw").stat().st_size % (320 * 240 * 2) == 0
    # Not all requested frames came, so there is no file.
    process = cli.start("stream", url, "--json", "-o", "b.raw", "-n", "1000000")
    assert process.stdout.readline()
    process.send_signal(signum)
    status, _, err = finish(process)
    assert (status, err) == (code, ["lenslink: interrupted"])
    assert cli.files() == ["a.raw"]


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_a_signal_during_a_capture(signum, code, cli, own_url):
    terminal = cli.on_terminal("capture", own_url(**LONG), "-o", "a.npy")
    terminal.read_until("capturing")
    left = children(terminal.process.pid)
    terminal.process.send_signal(signum)
    assert terminal.finish() == ""
    assert terminal.process.returncode == code
    assert "Traceback" not in terminal.text
    assert terminal.text.count("lenslink:") == 1
    assert cli.files() == []
    assert_gone(left)


def test_the_firmware_killed_during_a_capture(cli, own_url):
    terminal = cli.on_terminal("capture", own_url(**LONG), "-o", "a.dng")
    terminal.read_until("capturing")
    left = children(terminal.process.pid)
    os.kill(firmware(terminal.process.pid), signal.SIGKILL)
    assert terminal.finish() == ""
    assert terminal.process.returncode == 5
    assert terminal.text.count("lenslink:") == 1
    assert "lenslink: error: the firmware was killed by signal 9" in terminal.text
    assert cli.files() == []
    assert_gone(left)


def test_the_firmware_killed_during_a_stream(cli, own_url):
    url = own_url(scene="prbs", width=320, height=240)
    process = cli.start("stream", url, "--json")
    assert process.stdout.readline()
    left = children(process.pid)
    os.kill(firmware(process.pid), signal.SIGKILL)
    status, out, err = finish(process)
    # With --json the error is an object too, on stderr.
    [error] = objects(err)
    assert (status, error["error"], error["exit_code"]) == (5, "Disconnected", 5)
    assert error["message"] == bench_scale.killed_words(url)
    assert objects(out)[-1]["ended"] == "disconnected"
    assert_gone(left)


def test_a_host_that_is_killed_leaves_no_module(cli, own_url):
    process = cli.start("stream", own_url(scene="prbs", width=320, height=240), "--json")
    assert process.stdout.readline()
    left = children(process.pid)
    process.kill()
    process.wait(PATIENCE_S)
    assert_gone(left)


def test_a_module_that_is_too_slow(cli, scene_url):
    run = cli.run("capture", scene_url(**LONG), "-o", "a.npy", "--timeout", "0.5")
    assert run.returncode == 8
    [line] = run.stderr.splitlines()
    # On a busy machine the plant may be late too.
    assert re.search(r"(took longer than|was not ready within) 0\.5 s$", line), line
    assert cli.files() == []
