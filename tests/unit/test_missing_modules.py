"""The driver on a system without POSIX: it imports, shows its help, and opens TCP."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from helpers.slowdown import patience

# What Windows lacks. pyserial chooses termios by the name of the system, so its transport is left
# out: this system has another name.
HIDE = """
import os, select, signal, socket, sys, warnings
for name in ("fcntl", "termios", "tty", "pty", "pwd", "grp", "resource", "syslog"):
    sys.modules[name] = None
del socket.AF_UNIX
for module, names in (
    (os, "fork killpg setsid openpty sched_getaffinity mkfifo memfd_create fchmod pread pwrite"),
    (select, "poll epoll"),
    (signal, "SIGKILL SIGHUP SIGUSR1 SIGPIPE SIGALRM setitimer pthread_sigmask"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
# filelock says that it falls back to plain files. On Windows it has msvcrt.
warnings.simplefilter("ignore", UserWarning)
"""
TRY = """
import contextlib, importlib, io, json, pkgutil
problems = {}
for package in ("lenslink_protocol", "lenslink", "lenslink_hil.plugin"):
    paths = importlib.import_module(package).__path__
    for found in pkgutil.walk_packages(paths, package + "."):
        if not found.name.endswith("__main__"):
            try:
                importlib.import_module(found.name)
            except BaseException as error:
                problems[found.name] = f"{type(error).__name__}: {error}"

import lenslink
from lenslink.cli.main import main

def call(*words):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(io.StringIO()) as error:
            return main(list(words)), out.getvalue() + error.getvalue()

def open_module(url):
    try:
        lenslink.open(url, timeout=0.3)
    except lenslink.LensLinkError as error:
        return f"{type(error).__name__}: {error}"

with socket.create_server(("127.0.0.1", 0)) as server:
    tcp = open_module(f"tcp:127.0.0.1:{server.getsockname()[1]}")
print(json.dumps({
    "problems": problems,
    "help": call("--help"),
    "stream": call("stream", "--help"),
    "ring": call("ring", "cam"),
    "unix": open_module("unix:/tmp/lens"),
    "tcp": tcp,
}))
"""
RING = "frame rings need Linux or macOS: this Python has no fcntl"


@pytest.fixture(scope="module")
def tried() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", HIDE + TRY],
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_module_of_the_driver_imports_or_says_what_it_needs(tried: dict[str, Any]) -> None:
    problems = tried["problems"]
    assert "termios" in problems.pop("lenslink.transports.serial")
    assert set(problems.values()) == {f"UsageError: {RING}"}
    # Frames for other processes, and the requests of other processes.
    packages = {name.rpartition(".")[0] for name in problems}
    assert packages == {"lenslink.frame_ring", "lenslink.control"}


def test_the_command_line_works_and_refuses_a_frame_ring_in_one_line(tried: dict[str, Any]) -> None:
    for name in ("help", "stream"):
        status, text = tried[name]
        assert (status, text[:6]) == (0, "Usage:")
    assert tried["ring"] == [2, f"lenslink: error: {RING}\n"]


def test_a_unix_socket_is_refused_and_tcp_is_tried(tried: dict[str, Any]) -> None:
    assert tried["unix"] == "UsageError: this Python has no Unix sockets: use tcp:"
    assert tried["tcp"].startswith("Timeout: ")
