"""The example of a transport of one's own, from its folder to a statement of conformance."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.cli_process import Cli
from helpers.slowdown import patience

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "hil/examples/pipe_transport"
RELAY = ROOT / "tests/helpers/socket_relay.py"
METADATA = "import setuptools.build_meta as b; b.prepare_metadata_for_build_wheel('installed')"


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has installed the example: its module and its entry point."""
    folder = tmp_path / "an example"
    shutil.copytree(EXAMPLE, folder)
    (folder / "installed").mkdir()
    subprocess.run(
        [sys.executable, "-c", METADATA],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=patience(60),
    )
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(folder / "installed")])}


def test_a_module_behind_pipes_gets_its_statement(
    installed: dict[str, str], tmp_path: Path
) -> None:
    with Cli(tmp_path) as cli:
        _, served = cli.serve("--width", "64", "--height", "64", "--scene", "ramp")
        command = shlex.join([sys.executable, str(RELAY), served.removeprefix("unix:")])
        url = f"pipe:{command}"
        done = cli.run("capture", url, "-o", "photo.npy", **installed)
        assert (done.returncode, "complete" in done.stderr) == (0, True)
        assert (tmp_path / "photo.npy").stat().st_size > 64 * 64 * 2

        case = ["--case", "fields_and_sequence"]
        done = cli.run("conform", "module", url, *case, "--json", **installed)
        assert done.returncode == 0, done.stdout
        (tmp_path / "results.json").write_text(done.stdout)
        assert json.loads(done.stdout)["run"]["capabilities"]
        done = cli.run("conform", "statement", "results.json", "-o", "statement.md")
        # One case is not the whole kit, and the statement says so.
        assert done.returncode == 11
        assert "**The module is not fully tested.**" in (tmp_path / "statement.md").read_text()

    done = cli.run("info", "pipe:no-such-program", **installed)
    assert (done.returncode, "cannot start no-such-program" in done.stderr) == (3, True)
    done = cli.run("info", f"pipe:{sys.executable} -c 'pass'", **installed)
    assert (done.returncode, "the program has ended" in done.stderr) == (5, True)
