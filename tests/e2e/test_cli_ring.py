"""Test ``lenslink stream -o ring:NAME`` with ``lenslink ring``."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.cli_process import Cli, finish, objects
from helpers.frame_rings import fresh_name

from lenslink.frame_ring import segment

SMALL = "sim:?scene=ramp&width=256&height=128"


@pytest.fixture
def cli(tmp_path: Path, only_sim: None) -> Iterator[Cli]:
    with Cli(tmp_path) as processes:
        yield processes


def test_frames_pass_from_one_command_to_the_other(cli: Cli):
    name = fresh_name()
    reader = cli.start("ring", name, "--policy", "every", "--frames", "5", "--json")
    stream = cli.start("stream", SMALL, "-o", f"ring:{name}")
    code, out, err = finish(reader)
    assert (code, err) == (0, [])
    *frames, summary = objects(out)
    assert [frame["schema"] for frame in frames] == ["lenslink.ring.frame/1"] * 5
    sequences = [frame["sequence"] for frame in frames]
    assert summary["schema"] == "lenslink.ring.summary/1"
    assert summary["frames"] == 5
    assert sequences[-1] - sequences[0] + 1 <= 5 + summary["dropped"]
    assert all(frame["status"] == "complete" and frame["mean"] > 0 for frame in frames)
    assert summary["bytes"] == sum(2 * frame["width"] * frame["height"] for frame in frames)
    assert 0 <= summary["latency_ms_p50"] <= summary["latency_ms_max"]
    stream.send_signal(signal.SIGINT)
    code, out, err = finish(stream)
    assert (code, out) == (130, [])
    assert "(interrupted)" in err[-1]
    assert not segment.path_of(name).exists()


def test_the_end_of_the_ring_ends_the_command(cli: Cli):
    name = fresh_name()
    reader = cli.start("ring", name, "--early")
    done = cli.run("stream", SMALL, "-o", f"ring:{name}", "--duration", "1.5", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["ended"] == "duration"
    code, out, err = finish(reader)
    assert (code, out) == (0, [])
    assert "frames" in err[-1]
    assert "skipped" in err[-1]


def test_a_ring_with_a_writer_is_refused_before_a_module_is_opened(cli: Cli):
    name = fresh_name()
    writer = cli.start("stream", SMALL, "-o", f"ring:{name}", "--json")
    assert writer.stdout.readline()
    done = cli.run("stream", "tcp:127.0.0.1:1", "-o", f"ring:{name}")
    assert done.returncode == 10
    assert "has a writer already" in done.stderr
    writer.send_signal(signal.SIGTERM)
    assert finish(writer)[0] == 143
    assert not segment.path_of(name).exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("ring", "nothing-here", "--timeout", "0.2"), 3, "there is no frame ring"),
        (("ring", "a/b"), 2, "no name for a frame ring"),
        (("stream", SMALL, "-o", "ring:"), 2, "no name for a frame ring"),
        (("stream", SMALL, "-o", "ring:x", "--scale16"), 2, "pixels as they arrived"),
    ],
)
def test_errors_are_explained(cli: Cli, words, code: int, says: str):
    done = cli.run(*words)
    assert done.returncode == code
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
