"""Test ``lenslink sim``: other processes find, open, share and lose its module."""

from __future__ import annotations

import json
import signal
import socket

import pytest
from helpers.cli_process import PATIENCE_S, Cli, assert_gone, children, finish, objects

SMALL = ("--scene", "ramp", "--width", "64", "--height", "64")


@pytest.fixture
def cli(tmp_path, only_sim):
    with Cli(tmp_path) as started:
        yield started


def test_one_module_many_processes(cli):
    server, url = cli.serve(*SMALL)
    assert url.startswith("unix:")
    [found] = json.loads(cli.run("list", "--json").stdout)["devices"]
    assert found == {
        "url": url,
        "description": "simulated module (ramp)",
        "serial": f"SIM-{server.pid}",
        "busy": False,
    }
    # The first host has the module ...
    first = cli.start("stream", url, "--json")
    assert first.stdout.readline()
    modules = children(server.pid)
    # ... so the second one is refused at once, whether it names the module or not.
    for args in (["info", url], ["info"]):
        second = cli.run(*args)
        assert (second.returncode, second.stdout) == (10, "")
        assert second.stderr == f"lenslink: error: {url} is in use by another process\n"
    assert json.loads(cli.run("list", "--json").stdout)["devices"][0]["busy"]
    first.send_signal(signal.SIGINT)
    status, out, err = finish(first)
    assert (status, err, objects(out)[-1]["ended"]) == (130, [], "interrupted")
    assert_gone(modules)
    # The next host finds the same module, started again.
    info = json.loads(cli.run("info", "--json").stdout)
    assert (info["url"], info["serial"]) == (url, f"SIM-{server.pid}")
    assert info["session"]["boot_count"] == 2
    run = cli.run("capture", "-o", "a.npy", "--json")
    assert json.loads(run.stdout)["frame"]["status"] == "complete"
    server.send_signal(signal.SIGTERM)
    status, out, err = finish(server)
    assert (status, out) == (143, [])
    assert err == [
        "lenslink: serving a simulated module at this URL; Ctrl-C ends it",
        "lenslink: interrupted",
    ]
    assert not list(cli.runtime.rglob("sim-*"))
    assert cli.run("info").returncode == 3


def test_a_host_that_is_killed_makes_room_for_the_next(cli):
    server, url = cli.serve(*SMALL)
    first = cli.start("stream", url, "--json")
    assert first.stdout.readline()
    modules = children(server.pid)
    first.kill()
    first.wait(PATIENCE_S)
    assert_gone(modules)
    assert cli.run("info", url).returncode == 0


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_ends_takes_its_module_along(signum, cli):
    server, url = cli.serve(*SMALL, "-q")
    host = cli.start("stream", url, "--json")
    assert host.stdout.readline()
    modules = children(server.pid)
    server.send_signal(signum)
    assert finish(server) == (128 + signum, [], [])
    assert_gone(modules)
    status, out, err = finish(host)
    assert status == 5
    assert objects(out)[-1]["ended"] == "disconnected"
    assert len(err) == 1


def test_a_host_that_does_not_see_the_lock_is_refused(cli):
    _, url = cli.serve(*SMALL)
    host = cli.start("stream", url, "--json")
    assert host.stdout.readline()
    with socket.socket(socket.AF_UNIX) as other:
        other.settimeout(PATIENCE_S)
        other.connect(url.removeprefix("unix:"))
        assert other.recv(1) == b""


def test_tcp(cli):
    _, url = cli.serve(*SMALL, "--listen", "tcp:127.0.0.1:0", "--serial", "BENCH-7")
    assert url.startswith("tcp:127.0.0.1:")
    info = json.loads(cli.run("info", "--json").stdout)
    assert (info["url"], info["serial"]) == (url, "BENCH-7")
    taken = cli.run("sim", *SMALL, "--listen", url)
    assert taken.returncode == 2
    [line] = taken.stderr.splitlines()
    assert "Address already in use" in line


def test_a_path_with_spaces(cli):
    server, url = cli.serve(*SMALL, "--listen", "unix:my lens")
    assert url.endswith("/my%20lens")
    run = cli.run("capture", url, "-o", "a.npy")
    assert run.returncode == 0
    # Only its owner may open it.
    assert (cli.folder / "my lens").stat().st_mode & 0o077 == 0
    server.send_signal(signal.SIGTERM)
    finish(server)
    assert cli.files() == ["a.npy"]


def test_addresses_that_are_taken(cli):
    _, _ = cli.serve(*SMALL, "--listen", "unix:lens")
    run = cli.run("sim", *SMALL, "--listen", "unix:lens")
    assert (run.returncode, run.stdout) == (2, "")
    assert "another process listens there" in run.stderr
    (cli.folder / "file").write_text("mine")
    run = cli.run("sim", *SMALL, "--listen", "unix:file")
    assert (run.returncode, run.stdout) == (2, "")
    assert "no socket" in run.stderr
    assert (cli.folder / "file").read_text() == "mine"


def test_a_socket_that_was_left_behind_is_no_obstacle(cli):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(cli.runtime / "left"))
    _, url = cli.serve(*SMALL, "--listen", f"unix:{cli.runtime}/left")
    assert cli.run("info", url).returncode == 0


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--scene", "missing.jpg"], "no such file"),
        (["--width", "63"], "must be even"),
        (["--bits", "twelve"], "not a whole number"),
        (["--board", "toaster"], "no board 'toaster'"),
        (["--mode", "huge"], "modes are"),
        (["--sceen", "ramp"], "--scene"),
        (["--listen", "usb:"], "unknown device URL scheme"),
        (["--listen", "tcp:localhost"], "a host and a port"),
        (["--listen", "unix:/" + "x" * 200], "at most 103 bytes"),
        (["--listen", "unix:a?b=c"], "no option 'b'"),
    ],
)
def test_bad_input(args, text, cli):
    run = cli.run("sim", *args)
    assert (run.returncode, run.stdout) == (2, "")
    [line] = run.stderr.splitlines()
    assert text in line
    assert cli.files() == []
    assert not list(cli.runtime.rglob("sim-*"))


def test_a_registry_file_of_a_dead_process_is_ignored(cli):
    server, _ = cli.serve(*SMALL)
    [entry] = (cli.runtime / "modules").iterdir()
    server.kill()
    server.wait(PATIENCE_S)
    assert entry.exists()
    assert json.loads(cli.run("list", "--json").stdout)["devices"] == []
    assert not entry.exists()
