"""Test ``shm:`` with a served module: frames, one owner, and either end killed."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from helpers.cli_process import PATIENCE_S, Cli, assert_gone, children, finish, firmware, objects
from helpers.slowdown import patience
from helpers.undisturbed import Moment

import lenslink
from lenslink import FrameStatus
from lenslink_hil.plant.patterns import make_pattern

if sys.platform != "linux":
    pytest.skip("shm: needs Linux", allow_module_level=True)

SIZE = ("--scene", "prbs", "--width", "640", "--height", "480", "--seed", "7")
KNOWN_S = patience(0.2)


@pytest.fixture
def cli(tmp_path):
    with Cli(tmp_path) as started:
        yield started


@pytest.fixture
def served(cli, monkeypatch):
    """Run ``lenslink sim --listen shm:`` in this process's runtime folder; yield it and its URL."""
    monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(cli.runtime))
    return cli.serve(*SIZE, "--listen", f"shm:{cli.runtime}/lens")


def test_frames_arrive_over_shared_memory(served):
    _, url = served
    with lenslink.open(url) as device, closing(device.stream()) as frames:
        for frame in itertools.islice(frames, 5):
            with frame:
                assert frame.status is FrameStatus.COMPLETE
                expected = make_pattern(
                    "prbs", 640, 480, bits=12, cfa=frame.cfa, seed=7, frame_number=frame.number
                )
                np.testing.assert_array_equal(frame.pixels, expected)
        assert not any(device.stats.discards.values())


def test_the_command_line_captures_over_shared_memory(cli, served):
    server, url = served
    run = cli.run("capture", url, "-o", "a.npy", "--json")
    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(run.stdout)["frame"]["status"] == "complete"
    assert np.load(cli.folder / "a.npy").shape == (480, 640)
    process = cli.start("stream", url, "--json")
    assert process.stdout.readline()
    [listed] = objects(cli.run("list", "--json").stdout.splitlines())[0]["devices"]
    assert (listed["url"], listed["busy"]) == (url, True)
    # However the address is written, the module has one owner.
    other = url.replace("/lens", "/../" + cli.runtime.name + "/lens")
    run = cli.run("info", other)
    assert (run.returncode, run.stdout) == (10, "")
    assert run.stderr.splitlines() == [f"lenslink: error: {other} is in use by another process"]
    # One that does not see the lock is refused by the module.
    (cli.folder / "elsewhere").mkdir()
    run = cli.run("info", url, LENSLINK_RUNTIME_DIR=str(cli.folder / "elsewhere"))
    assert (run.returncode, run.stdout) == (10, "")
    assert run.stderr.splitlines() == [
        "lenslink: error: the module is in use: another host has opened the module"
    ]
    process.send_signal(signal.SIGINT)
    status, out, err = finish(process)
    assert (status, err) == (130, [])
    assert objects(out)[-1]["incomplete"] == 0
    server.send_signal(signal.SIGINT)
    assert finish(server)[0] == 130
    assert not (cli.runtime / "lens").exists()


@pytest.mark.parametrize("whom", ["firmware", "server"])
def test_the_module_killed_during_a_stream(whom, served):
    server, url = served
    with lenslink.open(url) as device, closing(device.stream()) as frames:
        with next(frames):
            pass
        left = children(server.pid)
        victim = firmware(server.pid) if whom == "firmware" else server.pid
        killed = []

        def kill() -> None:
            killed.append(Moment.take())
            os.kill(victim, signal.SIGKILL)

        timer = threading.Timer(0.05, kill)
        timer.start()
        with pytest.raises(lenslink.Disconnected, match="the module closed the connection"):
            for frame in frames:
                with frame:
                    pass
        assert Moment.take().since(killed[0]) < KNOWN_S
        timer.join()
    assert_gone(left)


def test_a_server_that_was_killed_is_followed_by_another(cli, served):
    server, url = served
    server.kill()
    server.wait(PATIENCE_S)
    assert cli.run("info", url).returncode == 3
    _, again = cli.serve(*SIZE, "--listen", url)
    assert again == url
    assert cli.run("info", url).returncode == 0


def test_a_host_that_is_killed_frees_the_module(cli, served):
    server, url = served
    process = cli.start("stream", url, "--json")
    assert process.stdout.readline()
    left = children(server.pid)
    process.kill()
    process.wait(PATIENCE_S)
    assert_gone(left)
    assert shared(server.pid) == 0
    run = cli.run("info", url)
    assert (run.returncode, run.stderr) == (0, "")


def shared(pid: int) -> int:
    """Return how many pieces of shared memory the process maps; the last goes a moment later."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").count("memfd:lenslink")
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.01)


def test_a_recording_is_served(cli, own_url):
    url = own_url(scene="ramp", width=64, height=64)
    run = cli.run("record", url, "-o", "a.lcap", "-n", "2")
    assert run.returncode == 0, run.stderr
    process = cli.start("replay", "a.lcap", "--listen", "shm:lens")
    served = process.stdout.readline().decode().strip()
    assert served == f"shm:{cli.folder}/lens"
    with socket.socket(socket.AF_UNIX) as silent:
        # A connection that sends nothing blocks nobody.
        silent.connect(str(cli.folder / "lens"))
        for _ in range(2):
            run = cli.run("stream", served, "--json", "-n", "2")
            assert (run.returncode, objects(run.stdout.splitlines())[-1]["frames"]) == (0, 2)
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 130
    assert not (cli.folder / "lens").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "shm:"], "shm: needs a path"),
        (["--listen", "shm:/" + "x" * 200], "at most 103 bytes"),
        (["--listen", "shm:a?b=c"], "no option 'b'"),
        (["--listen", "shm:file"], "a file of that name exists and is no socket"),
    ],
)
def test_bad_addresses_are_refused(arguments, words, cli):
    (cli.folder / "file").write_text("precious")
    run = cli.run("sim", *SIZE, *arguments)
    assert (run.returncode, run.stdout) == (2, "")
    [line] = run.stderr.splitlines()
    assert line.startswith("lenslink: error: ")
    assert words in line
    assert (cli.folder / "file").read_text() == "precious"
