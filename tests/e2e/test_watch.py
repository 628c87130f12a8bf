"""Test ``lenslink watch`` with modules that arrive and depart."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta

import pytest
from helpers.cli_process import PATIENCE_S, Cli, finish

SMALL = ("--scene", "ramp", "--width", "64", "--height", "64")


@pytest.fixture
def cli(tmp_path, only_sim):
    with Cli(tmp_path) as started:
        yield started


def event(process):
    """Return the next line, which is printed at the next change."""
    line = json.loads(process.stdout.readline())
    assert line["schema"] == "lenslink.watch/1"
    age = datetime.now(UTC) - datetime.fromisoformat(line["time"])
    assert timedelta(0) <= age + timedelta(seconds=1) < timedelta(seconds=PATIENCE_S)
    return line["event"], line["device"]["url"], line["device"]["serial"]


def test_arrivals_and_departures_are_printed(cli):
    first, first_url = cli.serve(*SMALL, "--serial", "ONE")
    watch = cli.start("watch", "--json")
    assert event(watch) == ("arrived", first_url, "ONE")
    second, second_url = cli.serve(*SMALL, "--serial", "TWO")
    assert event(watch) == ("arrived", second_url, "TWO")
    # Used by somebody: neither came nor went.
    assert cli.run("info", second_url).returncode == 0
    first.send_signal(signal.SIGTERM)
    assert event(watch) == ("departed", first_url, "ONE")
    # One that cannot say goodbye.
    second.kill()
    second.wait(PATIENCE_S)
    assert event(watch) == ("departed", second_url, "TWO")
    again, _ = cli.serve(*SMALL, "--serial", "TWO", "--listen", second_url)
    assert event(watch) == ("arrived", second_url, "TWO")
    watch.send_signal(signal.SIGINT)
    assert finish(watch) == (130, [], [])
    assert again.poll() is None


def test_the_text_output(cli):
    _, url = cli.serve(*SMALL, "--serial", "ONE")
    run = cli.run("watch", "--duration", "0.3")
    assert run.returncode == 0
    [line] = run.stdout.splitlines()
    words = ["arrived", url, "simulated module (ramp)", "ONE"]
    assert [word.strip() for word in line.split("  ")[1:]] == words
    assert run.stderr == "lenslink: watching for modules; Ctrl-C ends it\n"


def test_no_module_prints_nothing(cli):
    run = cli.run("watch", "--json", "--duration", "0.2")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_a_reader_of_the_output_may_stop(cli):
    """Stop reading, as 'lenslink watch | head -1' does."""
    cli.serve(*SMALL, "--serial", "ONE")
    watch = cli.start("watch", "--json")
    assert event(watch)[2] == "ONE"
    watch.stdout.close()
    watch.stdout = None
    cli.serve(*SMALL, "--serial", "TWO")
    _, err = watch.communicate(timeout=PATIENCE_S)
    assert (watch.returncode, err) == (0, b"")
