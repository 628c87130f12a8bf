"""``lenslink its`` on a module of two processes: it is a camera."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from helpers.cli_process import Cli
from helpers.slowdown import patience


def test_a_simulated_module_is_a_camera(scene_url: Callable[..., str], tmp_path: Path) -> None:
    with Cli(tmp_path) as cli:
        process = cli.start("its", scene_url(width=320, height=240), "--json")
        out, error = process.communicate(timeout=patience(60))
    assert process.returncode == 0, (out, error)
    found = {each["test"]: each["verdict"] for each in json.loads(out)["tests"]}
    # A picture is not seen through a lens. Everything else is there.
    without_lens = {name for name, verdict in found.items() if verdict == "not claimed"}
    assert without_lens == {"iris_is_applied", "focus_is_repeatable", "autofocus_succeeds"}
    assert {found[name] for name in found.keys() - without_lens} == {"passed"}
