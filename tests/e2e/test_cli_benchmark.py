"""``lenslink bench``, as it is typed: what it prints, and what it leaves behind."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from cli_process import PATIENCE_S, Cli, assert_gone, children

from lenslink.isp import segment


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
def test_what_makes_no_sense(cli, words, said):
    (cli.folder / "notes.md").write_text("mine\n")
    run = cli.run("bench", *words)
    assert (run.returncode, run.stdout) == (2, "")
    [line] = run.stderr.splitlines()
    assert said in line
    assert (cli.folder / "notes.md").read_text() == "mine\n"


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_is_interrupted(cli, signum, code):
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
