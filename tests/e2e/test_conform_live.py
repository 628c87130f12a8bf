"""``lenslink conform`` on real processes: our module and our host conform."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.cli_process import Cli
from helpers.nightly_scale import choose
from helpers.slowdown import patience

from lenslink_hil.conformance.clauses import load_clauses
from lenslink_hil.kernel import guest_boards

TIMEOUT_S = 240
pytestmark = pytest.mark.timeout(TIMEOUT_S + 60)


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with Cli(tmp_path) as found:
        yield found


def verdicts(cli: Cli, *args: str) -> tuple[int, list[dict]]:
    process = cli.start("conform", args[0], "--json", *args[1:])
    out, error = process.communicate(timeout=patience(TIMEOUT_S))
    assert out, error.decode()
    return process.returncode, json.loads(out)["verdicts"]


def bad(found: list[dict]) -> list[dict]:
    return [each for each in found if each["verdict"] in ("failed", "error")]


def test_the_module_conforms(cli: Cli, lens_url: str) -> None:
    if guest_boards.is_in_guest():
        pytest.skip("a suite of its own: conform")
    # All cases pass on virtual time in the unit tests. Nightly runs them all here, too.
    status, found = verdicts(cli, "module", *choose(["--quick"], []), lens_url)
    assert bad(found) == []
    assert status == 0
    ours = {clause.id for clause in load_clauses().values() if clause.side == "module"}
    assert {each["clause"] for each in found} == ours


@pytest.mark.usefixtures("only_sim")
def test_a_module_of_several_lanes_conforms(cli: Cli) -> None:
    for clause in ("M-LANE-1", "M-LANE-2"):
        status, found = verdicts(cli, "module", "sim:?lanes=2", "--clause", clause)
        assert (status, {each["verdict"] for each in found}) == (0, {"passed"})


@pytest.mark.usefixtures("only_sim")
def test_a_module_of_two_buffers_conforms(cli: Cli) -> None:
    """Where buffers are few, a preview that runs must not keep a still from ever getting one."""
    status, found = verdicts(cli, "module", "sim:?board=pico", "--clause", "M-CAM-1")
    assert (status, {each["verdict"] for each in found}) == (0, {"passed"})


# What is about time, memory and processes; all others run on virtual time in the unit tests.
@pytest.mark.parametrize(
    "case",
    [
        "DamagedTile", "SlowAnswer", "FreshNonce", "Silence", "LostCredits", "Incomplete",
        "LostTile", "ManyGaps", "LargestManifest", "StopAlone",
    ],
)  # fmt: skip
def test_the_host_conforms(cli: Cli, case: str) -> None:
    listen = f"unix:{cli.runtime / 'kit'}"
    status, found = verdicts(cli, "host", listen, "--case", case)
    assert bad(found) == []
    assert found
    assert status == 0


@pytest.mark.parametrize("clause", ["H-LANE-1", "H-LANE-2"])
def test_a_host_of_several_lanes_conforms(cli: Cli, clause: str) -> None:
    """Over several connections; over one, nothing can be shown."""
    listen = f"unix:{cli.runtime / 'kit'}"
    for more, wanted in (("?lanes=2", "passed"), ("", "not claimed")):
        status, found = verdicts(cli, "host", listen + more, "--clause", clause)
        assert (status, {each["verdict"] for each in found}) == (0, {wanted})


AUTHENTICATES = """
import secrets, sys
import lenslink

class Toy:
    scheme = 0x8000

    def challenge(self):
        return secrets.token_bytes(16) if sys.argv[2] == "fresh" else b"always this"

    def check(self, challenge, proof, manifest, nonce):
        return proof == challenge

with lenslink.open(sys.argv[1], authenticate=Toy(), timeout=5) as module:
    module.capture()
"""


@pytest.mark.parametrize(("challenge", "verdict"), [("fresh", "passed"), ("one for all", "failed")])
def test_a_host_that_authenticates(cli: Cli, challenge: str, verdict: str) -> None:
    listen = f"unix:{cli.runtime / 'kit'}"
    host = ("--", sys.executable, "-c", AUTHENTICATES, "{url}", challenge)
    _, found = verdicts(cli, "host", listen, "--clause", "H-AUTH-1", *host)
    assert [each["verdict"] for each in found] == [verdict], found
    if verdict != "passed":
        return
    _, found = verdicts(cli, "host", listen, "--clause", "H-AUTH-2", *host)
    assert {each["verdict"] for each in found} == {"passed"}, found


def test_a_host_that_does_not_authenticate_claims_nothing(cli: Cli) -> None:
    listen = f"unix:{cli.runtime / 'kit'}"
    status, found = verdicts(cli, "host", listen, "--clause", "H-AUTH-1")
    assert (status, [each["verdict"] for each in found]) == (0, ["not claimed"])


def test_a_host_that_breaks_a_clause(cli: Cli) -> None:
    """It says that it has a frame, whatever was sent."""
    python = shlex.quote(sys.executable)
    liar = f"{python} -m lenslink capture {{url}} -o x.npy --force --timeout 5; exit 0"
    listen = f"unix:{cli.runtime / 'kit'}"
    args = ("host", listen, "--case", "Incomplete", "--json", "--", "/bin/sh", "-c", liar)
    process = cli.start("conform", *args)
    out, error = process.communicate(timeout=patience(TIMEOUT_S))
    assert process.returncode == 7, error.decode()
    assert [each["verdict"] for each in json.loads(out)["verdicts"]] == ["failed"]


def test_a_host_that_never_connects(cli: Cli) -> None:
    listen = f"unix:{cli.runtime / 'kit'}"
    command = ("--", sys.executable, "-c", "print('no thanks')", "{url}")
    done = cli.run("conform", "host", listen, "--clause", "H-CLOSE-1", *command)
    assert done.returncode == 11
    assert "no thanks" in done.stdout


def test_a_host_that_is_not_there(cli: Cli) -> None:
    listen = f"unix:{cli.runtime / 'kit'}"
    done = cli.run("conform", "host", listen, "--", "/nonexistent/host", "{url}")
    assert done.returncode == 2
    assert "/nonexistent/host" in done.stderr


def test_no_module(cli: Cli) -> None:
    done = cli.run("conform", "module", "unix:/nonexistent/lens")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
