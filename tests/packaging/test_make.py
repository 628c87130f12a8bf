"""The two commands' first step, hil/tools/venv.sh, and the Makefile in front of it."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.slowdown import patience

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "hil/tools/venv.sh"
# All that the script calls besides Python: with nothing else on PATH, what it finds is known.
PROGRAMS = ("sh", "awk", "cat", "cksum", "du", "head", "rm")

# A package as small as possible: no dependency, and it builds itself without any tool.
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "small"
version = "1"
[project.optional-dependencies]
demo = []
dev = []
"""
BACKEND = """\
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "small-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("small-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: small\\n"
            "Version: 1\\nProvides-Extra: demo\\nProvides-Extra: dev\\n")
        wheel.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: us\\n"
            "Root-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("small-1.dist-info/RECORD", "")
    return name
"""


_PIP = next(iter(importlib.util.find_spec("pip").submodule_search_locations))
_PACKAGES = f".venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
_LENDS_PIP = f"""\
if [ "$1 $2" = "-m venv" ]; then
    shift 2
    {shlex.quote(sys.executable)} -m venv --without-pip "$@" &&
        exec {shutil.which("ln")} -s {shlex.quote(_PIP)} {_PACKAGES}
fi
"""


class Newcomer:
    """A checkout whose path has a space, and a PATH with only the Pythons a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "a check out"
        self.path = folder / "bin"
        (self.checkout / SCRIPT).parent.mkdir(parents=True)
        self.path.mkdir()
        shutil.copy(ROOT / SCRIPT, self.checkout / SCRIPT)
        (self.checkout / "pyproject.toml").write_text(PYPROJECT)
        (self.checkout / "backend.py").write_text(BACKEND)
        (self.checkout / "requirements.lock").write_text("")
        for name in PROGRAMS:
            found = shutil.which(name)
            assert found, name
            (self.path / name).symlink_to(found)

    def has(self, name: str, pretend: str = "", *, lends_pip: bool = False) -> None:
        """Put this Python on PATH under *name*, after it has run *pretend*.

        With *lends_pip*, its environments get the pip of this environment. To unpack and compile
        one takes ten times as long as all the rest.
        """
        wrapper = self.path / name
        if pretend:
            # The script asks by -c; whatever it asks is answered by the changed interpreter.
            pretend = f"{pretend}; exec(sys.argv[1])"
            lines = f'[ "$1" = -c ] && exec "{sys.executable}" -c \'import sys; {pretend}\' "$2"\n'
        elif lends_pip:
            lines = _LENDS_PIP
        else:
            lines = ""
        wrapper.write_text(f'#!/bin/sh\n{lines}exec "{sys.executable}" "$@"\n')
        wrapper.chmod(0o755)

    def run(self, what: str = "demo", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", SCRIPT, what],
            cwd=self.checkout,
            env={
                "PATH": str(self.path),
                "HOME": str(self.checkout.parent),
                "PIP_NO_INDEX": "1",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=patience(100),
            check=False,
        )

    def refused(self, **environment: str) -> str:
        """The one line that says what is wrong; nothing was made."""
        done = self.run(**environment)
        assert done.returncode == 2
        assert done.stdout == ""
        assert not (self.checkout / ".venv").exists()
        (line,) = done.stderr.splitlines()
        return line

    def works(self) -> bool:
        python = self.checkout / ".venv/bin/python"
        code = "import importlib.metadata as m; m.version('small')"
        return (
            subprocess.run([python, "-c", code], timeout=patience(60), check=False).returncode == 0
        )


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    return Newcomer(tmp_path)


def pretend_version(major: int, minor: int) -> str:
    return f'sys.version_info = ({major}, {minor}, 2, "final", 0)'


NO_VENV = 'sys.modules["ensurepip"] = None'
NO_WHEEL = 'import platform; platform.machine = lambda: "riscv64"'


def test_without_a_python(newcomer: Newcomer) -> None:
    assert newcomer.refused() == (
        "lenslink: no Python found; install Python 3.11, 3.12 or 3.13 (with venv)"
    )


@pytest.mark.parametrize(("version", "age"), [((3, 9), "old"), ((2, 7), "old"), ((3, 14), "new")])
def test_a_python_of_the_wrong_age(newcomer: Newcomer, version: tuple[int, int], age: str) -> None:
    newcomer.has("python3", pretend_version(*version))
    line = newcomer.refused()
    assert f"Python {version[0]}.{version[1]}.2 is too {age}; install Python 3.11" in line


def test_a_python_without_venv(newcomer: Newcomer) -> None:
    newcomer.has("python3", f"{pretend_version(3, 11)}; {NO_VENV}")
    newcomer.has("python", pretend_version(3, 8))
    line = newcomer.refused()
    assert "Python 3.11.2 has no venv" in line
    assert line.endswith("sudo apt install python3.11-venv")


def test_a_better_python_further_down_is_taken(newcomer: Newcomer) -> None:
    newcomer.has("python3", pretend_version(3, 9))
    newcomer.has("python3.13", NO_VENV)
    newcomer.has("python3.12")
    assert newcomer.run("python").stdout == "python3.12\n"


def test_the_python_that_was_named_and_no_other(newcomer: Newcomer, tmp_path: Path) -> None:
    newcomer.has("python3")
    newcomer.has("my old python", pretend_version(3, 10))
    assert "my old python: Python 3.10.2 is too old" in newcomer.refused(
        PYTHON=str(tmp_path / "bin/my old python")
    )
    assert newcomer.refused(PYTHON="/nowhere/python").startswith(
        "lenslink: PYTHON=/nowhere/python does not run"
    )


def test_a_platform_without_a_micropython(newcomer: Newcomer) -> None:
    newcomer.has("python3", NO_WHEEL)
    line = newcomer.refused()
    assert line.startswith(f"lenslink: no MicroPython for this platform ({sys.platform} riscv64")
    assert "MICROPYTHON" in line


def test_a_micropython_that_was_named_wrongly(newcomer: Newcomer) -> None:
    newcomer.has("python3")
    assert newcomer.refused(MICROPYTHON="/nowhere/mp").startswith(
        "lenslink: MICROPYTHON=/nowhere/mp is not a program"
    )


def test_made_once_and_again_only_when_needed(newcomer: Newcomer) -> None:
    newcomer.has("python3")
    first = newcomer.run()
    assert (first.returncode, first.stderr) == (0, "")
    assert re.search(r"^Installed: \d+ packages, \d+ MB in \.venv$", first.stdout, re.MULTILINE)
    assert newcomer.works()

    started = os.times()
    assert newcomer.run().stdout == ""
    ended = os.times()
    # CPU time, which no other process has a share in.
    spent_user_s = ended.children_user - started.children_user
    assert spent_user_s + ended.children_system - started.children_system < 2

    # What tests need is more: once more, and from then on nothing for the demo either.
    assert "Making" not in (dev := newcomer.run("dev").stdout)
    assert "Installed" in dev
    assert newcomer.run("demo").stdout == ""

    pyproject = newcomer.checkout / "pyproject.toml"
    pyproject.write_text(PYPROJECT + "# changed\n")
    assert "Installed" in newcomer.run("dev").stdout


def test_a_half_made_environment_recovers(newcomer: Newcomer) -> None:
    newcomer.has("python3", lends_pip=True)
    venv = newcomer.checkout / ".venv"

    # Interrupted while venv was at work.
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to("/nowhere/python")
    assert newcomer.run().returncode == 0
    assert newcomer.works()

    # Interrupted while pip was at work.
    (venv / "lenslink-unfinished").touch()
    assert "Making" in newcomer.run().stdout
    assert newcomer.works()

    # The checkout was moved: scripts in .venv/bin name the old place.
    newcomer.checkout = newcomer.checkout.rename(newcomer.checkout.with_name("else where"))
    assert "Making" in newcomer.run().stdout
    assert newcomer.works()


def test_a_failing_installation_is_not_taken_for_done(newcomer: Newcomer) -> None:
    newcomer.has("python3", lends_pip=True)
    (newcomer.checkout / "backend.py").write_text("raise SystemExit(1)\n")
    failed = newcomer.run()
    assert failed.returncode == 2
    assert failed.stderr.endswith("see above); then run make again\n")
    assert not list(newcomer.checkout.glob(".venv/lenslink-d*"))
    assert (newcomer.checkout / ".venv/lenslink-unfinished").exists()


def test_help_lists_every_target() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = " ".join(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE))
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", text, re.MULTILINE))
    assert targets == set(phony.split())
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    shown = [
        subprocess.run(
            [make, *goal],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=patience(60),
            check=True,
        ).stdout
        for goal in ([], ["help"])
    ]
    assert shown[0] == shown[1], "help is not the default target"
    assert set(re.findall(r"^  make ([a-z0-9-]+) +\S", shown[0], re.MULTILINE)) == targets


def test_the_script_is_plain_sh() -> None:
    """Debian's sh is dash, macOS' an old bash: no arrays, no [[, no local."""
    for path in sorted((ROOT / "hil/tools").glob("*.sh")):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("#!/bin/sh\n")
        assert not re.search(r"\[\[|\blocal |\bfunction |<<<|\$'", text), path.name
