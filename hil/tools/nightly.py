"""Run what takes too long for CI, at full scale: ``make nightly``.

Each step is a command. The lines of its output that state a result replace the step's section of
tests/NIGHTLY.md, with date, commit and machine. So the repository holds the last run of each step.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests/NIGHTLY.md"

_PYTEST = ("-m", "pytest", "--timeout=0", "-q")
STEPS: dict[str, tuple[str, ...]] = {
    "explore": (*_PYTEST, "tests/unit/test_explore.py"),
    "loss": (*_PYTEST, "tests/unit/test_loss.py"),
    "stills": (*_PYTEST, "tests/unit/test_still_beside_preview.py"),
    "settings": (*_PYTEST, "tests/unit/test_set_settings.py"),
    "surprise-removal": (
        *_PYTEST,
        "tests/unit/test_surprise_removal.py",
        "tests/unit/test_interrupted_calls.py",
        "tests/e2e/test_surprise_removal_processes.py",
    ),
    "attach": (*_PYTEST, "tests/unit/test_virtual_body.py", "tests/e2e/test_attach.py"),
    "frame-times": (*_PYTEST, "tests/property/test_any_clock.py", "tests/e2e/test_frame_times.py"),
    "control": ("-m", "lenslink", "bench", "control", "sim:"),
    "plant": ("-m", "lenslink", "bench", "plant", "--stills"),
    "faults": (
        *_PYTEST,
        "tests/property/test_fault_sweep.py",
        "tests/property/test_fault_live.py",
    ),
    "hostile": (
        *_PYTEST,
        "tests/firmware/test_hostile_host.py",
        "tests/e2e/test_hostile_host_process.py",
    ),
    "soak": (*_PYTEST, "tests/e2e/test_soak.py"),
    "viewfinder": (*_PYTEST, "tests/e2e/test_viewfinder_growth.py"),
    "pico": (*_PYTEST, "tests/firmware/test_arch_pico.py", "tests/e2e/test_pico.py"),
    "focus-ring": (*_PYTEST, "tests/e2e/test_focus_ring.py"),
    "ring": (
        *_PYTEST,
        "tests/property/test_any_frame_ring_use.py",
        "tests/e2e/test_ring_processes.py",
    ),
    "sessions": (*_PYTEST, "tests/property/test_faulty_sessions.py"),
    "reopen": (*_PYTEST, "tests/e2e/test_served_module.py"),
    "interrupts": (*_PYTEST, "tests/e2e/test_interrupts.py"),
    "api": (*_PYTEST, "tests/property/test_any_api_use.py", "tests/e2e/test_api_use.py"),
    "physics": (*_PYTEST, "tests/unit/test_plant_physics.py", "tests/e2e/test_emva_path.py"),
    "conform": ("-m", "lenslink", "conform", "module", "sim:"),
    "camera-tests": (*_PYTEST, "tests/unit/test_camera_tests.py"),
    "rig": (*_PYTEST, "tests/e2e/test_fault_drill.py", "tests/e2e/test_rig_doctor.py"),
    "report": (*_PYTEST, "tests/unit/test_board_history.py", "tests/e2e/test_ci_recipes.py"),
    # CI runs the end-to-end tests on sim:. These are two more benches, at the scale of CI.
    "e2e-usbip": (*_PYTEST, "tests/e2e", "--lens", "usbip:"),
    "e2e-pico": (*_PYTEST, "tests/e2e", "--lens", "pico:"),
    "labgrid": (*_PYTEST, "tests/e2e/test_labgrid.py"),
    # The same suite with two workers, each on a board of a rig.
    "e2e-rig": ("hil/tools/rig_suite.py", "rig"),
    "e2e-labgrid": ("hil/tools/rig_suite.py", "labgrid"),
    # CI runs samples of these in the guests of make test-kernel.
    "e2e-kernel": (
        "-m",
        "lenslink_hil.kernel",
        "--all",
        "usb:conform",
        "usb:e2e",
        "usb:kernel",
        "serial:conform",
        "serial:e2e",
        "serial:kernel",
    ),
    "flash": (
        *_PYTEST,
        "tests/unit/test_flash_power_cuts.py",
        "tests/firmware/test_flash_vfs.py",
        "tests/e2e/test_flash_board.py",
    ),
    "fuzz": ("-m", "tests.fuzz", "all", "--seconds", "600", "--keep"),
    "mutate": ("hil/tools/mutate.py",),
}

# Lines that state what was run and the result.
_COUNTS = re.compile(
    r"\[nightly\]|\d states, |inputs, exit |of \d+ mutants|^all: |^FAILED|^ERROR|NOT RUN"
    r"|stills complete|\(limit: |frames/s|region \d|an emulated Pico|the owner of a module"
    r"|\d+ (passed|failed|errors?|skipped)\b.* (in |left out)"
)
_HEAD = """# Nightly: the last run of each step

`make nightly` runs what takes too long for CI, and writes this file.
`make nightly ARGS='soak loss'` runs some steps. The figures are of the machine named with them and
of simulated modules, never of a board.
"""


def make_environment(name: str) -> dict[str, str]:
    """Return the environment variables that make tests run at full scale."""
    return {} if name.startswith("e2e-") else {"LENSLINK_NIGHTLY": "1"}


def run_step(name: str) -> tuple[int, str]:
    """Run a step, and return its exit code and its section."""
    command = STEPS[name]
    began = time.monotonic()
    lines = []
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **make_environment(name), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if _COUNTS.search(line):
            lines.append(line.strip(" \n="))
    code = process.wait()
    took = time.monotonic() - began
    return code, format_section(name, command, code, took, lines)


def format_section(
    name: str, command: Iterable[str], code: int, seconds: float, lines: Iterable[str]
) -> str:
    """Return a step's section of the results."""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if hasattr(os, "getloadavg"):
        machine += f", load {os.getloadavg()[0]:.1f} at the end"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    shown = " ".join(command).removeprefix(" ".join(_PYTEST))
    variables = "".join(f"{key}={value} " for key, value in make_environment(name).items())
    command_text = f"{variables}python " + ("-m pytest" if shown != " ".join(command) else "")
    return "\n".join(
        [
            f"## {name}",
            "",
            f"{when}, commit {_read_commit()}, {machine}, {python}: "
            f"exit {code} after {seconds:.0f} s.",
            "",
            "```text",
            f"$ {command_text}{shown}",
            *lines,
            "```",
            "",
        ]
    )


def _read_commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    others = [line for line in changed.splitlines() if not line.endswith(RESULTS.name)]
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" and changes" if others else "")


def replace_section(text: str, name: str, fresh: str) -> str:
    """Return the results with a step's section replaced, in the order of the steps."""
    found = {part.split("\n", 1)[0]: f"## {part}" for part in text.split("\n## ")[1:]}
    found[name] = fresh
    parts = [found[step].strip() + "\n" for step in STEPS if step in found]
    return "\n".join([_HEAD, *parts])


def main() -> int:
    """Run the steps, and return 0 if every step succeeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"which of {', '.join(STEPS)}")
    options = parser.parse_args()
    unknown = [step for step in options.steps if step not in STEPS]
    if unknown:
        parser.error(f"no step '{unknown[0]}' (there are {', '.join(STEPS)})")
    failed = []
    for name in options.steps or STEPS:
        code, fresh = run_step(name)
        text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
        RESULTS.write_text(replace_section(text, name, fresh), encoding="utf-8")
        if code:
            failed.append(name)
    outcome = f"FAILED: {', '.join(failed)}" if failed else "every step succeeded"
    print(f"nightly: {outcome}; see {RESULTS}")
    return 7 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
