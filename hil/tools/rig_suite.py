"""Run the end-to-end tests and the conformance kit on two simulated boards at once.

``python hil/tools/rig_suite.py rig`` runs them over ``rig:``, and ``... labgrid`` over ``labgrid:``
with a coordinator and an exporter of its own. Two workers run the tests, each on a board.
More words are arguments for pytest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RIG = 'name = "suite"\n[board.left]\nurl = "sim:"\n[board.right]\nurl = "sim:"\n'


def run_suites(
    python: Path | str, url: str, environment: Mapping[str, str], more: Sequence[str]
) -> list[int]:
    """Run the tests with two workers, then the kit on both boards; return the exit codes."""
    where = dict(os.environ) | environment
    pytest = [
        str(python), "-m", "pytest", "--timeout=0", "-q", "tests/e2e", "--lens", url, "-n", "2",
        "--lens-evidence", "none", *more,
    ]  # fmt: skip
    conform = [str(python), "-m", "lenslink", "conform", "module", url]
    codes = [subprocess.run(pytest, cwd=ROOT, env=where, check=False).returncode]
    kits = [subprocess.Popen(conform, cwd=ROOT, env=where) for _ in range(2)]
    return codes + [each.wait() for each in kits]


def main() -> int:
    """Run the suites, and return 0 if all of them succeeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["rig", "labgrid"])
    options, more = parser.parse_known_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rig suite ")))
        file = folder / "rig.toml"
        file.write_text(RIG, encoding="utf-8")
        if options.kind == "rig":
            codes = run_suites(sys.executable, "rig:", {"LENSLINK_RIG": str(file)}, more)
        else:
            sys.path.insert(0, str(ROOT / "tests"))
            from helpers.labgrid_harness import LabgridHarness, NoLabgrid, find_python

            from lenslink_hil.benches.micropython import find_micropython
            from lenslink_hil.rig.rig_file import load_rig

            try:
                python = find_python()
            except NoLabgrid as problem:
                print(f"NOT RUN: {problem}")
                return 0
            # labgrid's Python has no MicroPython beside it.
            os.environ["MICROPYTHON"] = find_micropython().path
            site = stack.enter_context(LabgridHarness(python, folder, load_rig(file)))
            site.run("-m", "lenslink", "rig", "places")
            codes = run_suites(python, "labgrid:?rig=suite", site.environment, more)
    print(f"all: exit codes of pytest and of the kit on two boards: {codes}")
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
