"""``lenslink its`` on a module of two processes: it is a camera."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from helpers.cli_process import Cli
from helpers.slowdown import patience

# The module runs in real time, so a frame may be late where the machine is busy.
TRIES = 3


def test_a_simulated_module_is_a_camera(scene_url: Callable[..., str], tmp_path: Path) -> None:
    for left in reversed(range(TRIES)):
        with Cli(tmp_path) as cli:
            process = cli.start("its", scene_url(width=320, height=240), "--json")
            out, error = process.communicate(timeout=patience(60))
        assert process.returncode in (0, 7), (out, error)
        tests = json.loads(out)["tests"]
        failed = [each for each in tests if each["verdict"] == "failed"]
        if not failed:
            break
        print("failed:", *failed, sep="\n")
        assert left, failed
    found = {each["test"]: each["verdict"] for each in tests}
    # A picture is not seen through a lens. Everything else is there.
    without_lens = {name for name, verdict in found.items() if verdict == "not claimed"}
    assert without_lens == {"iris_is_applied", "focus_is_repeatable", "autofocus_succeeds"}
    assert {found[name] for name in found.keys() - without_lens} == {"passed"}
