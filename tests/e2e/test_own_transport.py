"""The example of a transport of one's own, from its folder to a statement of conformance."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.cli_process import Cli
from helpers.slowdown import patience

from lenslink import transports
from lenslink.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "hil/examples/pipe_transport"
RELAY = ROOT / "tests/helpers/socket_relay.py"
METADATA = "import setuptools.build_meta as b; b.prepare_metadata_for_build_wheel('installed')"


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the example for this process: its module, and its entry point."""
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
    for path in (folder, folder / "installed"):
        monkeypatch.syspath_prepend(str(path))
    # Another test may have looked for transports before.
    transports._entry_points.cache_clear()
    yield
    transports._entry_points.cache_clear()
    sys.modules.pop("pipe_transport", None)


@pytest.mark.usefixtures("_installed")
def test_a_module_behind_pipes_gets_its_statement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, results = tmp_path / "photo.npy", tmp_path / "results.json"
    with Cli(tmp_path) as cli:
        _, served = cli.serve("--width", "64", "--height", "64", "--scene", "ramp")
        command = shlex.join([sys.executable, str(RELAY), served.removeprefix("unix:")])
        assert main(["capture", f"pipe:{command}", "-o", str(photo)]) == 0
        assert "complete" in capsys.readouterr().err
        assert photo.stat().st_size > 64 * 64 * 2

        case = ["--case", "fields_and_sequence"]
        assert main(["conform", "module", f"pipe:{command}", *case, "--json"]) == 0
        results.write_text(capsys.readouterr().out)
        assert json.loads(results.read_text())["run"]["capabilities"]
    # One case is not the whole kit, and the statement says so.
    assert main(["conform", "statement", str(results)]) == 11
    assert "**The module is not fully tested.**" in capsys.readouterr().out

    assert main(["info", "pipe:no-such-program"]) == 3
    assert "cannot start no-such-program" in capsys.readouterr().err
    assert main(["info", "pipe:true"]) == 5
    assert "the program has ended" in capsys.readouterr().err
    assert main(["info", "pipe:'"]) == 2
