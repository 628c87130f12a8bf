"""What README and CONTRIBUTING tell people to type exists, and what they claim is so."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from helpers.slowdown import patience

from lenslink import errors
from lenslink.cli.main import cli
from lenslink_hil.benches.sim import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def lenslink_lines() -> list[str]:
    lines = "".join(blocks(README, "bash")).splitlines()
    return [line for line in lines if line.startswith("lenslink ")]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_shell_lines_can_be_parsed(name: str) -> None:
    found = blocks((ROOT / name).read_text(encoding="utf-8"), "bash")
    assert found
    for block in found:
        done = subprocess.run(
            ["/bin/sh", "-n"],
            input=block,
            capture_output=True,
            text=True,
            timeout=patience(10),
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("line", lenslink_lines())
def test_commands_take_what_the_readme_gives_them(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    words = words[: next((i for i, word in enumerate(words) if word in "|&"), len(words))]
    context = cli.make_context("lenslink", words[:])
    _, command, rest = cli.resolve_command(context, words)
    assert command is not None
    # Parses and checks every option and argument, and runs nothing.
    with command.make_context(command.name, rest, parent=context) as parsed:
        assert isinstance(parsed, click.Context)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.MULTILINE))
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z0-9-]*)", text, re.MULTILINE))
    assert named
    assert named <= targets


@pytest.mark.parametrize("name", [*DOCUMENTS, "CHANGELOG.md"])
def test_links_lead_to_files(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [each for each in re.findall(r"\]\(([^)]+)\)", text) if "://" not in each]
    missing = [link for link in links if not (ROOT / link).is_file()]
    assert not missing


def test_exit_codes_are_those_of_the_errors() -> None:
    stated = re.search(r"^Exit codes: .*?\n\n", README, re.MULTILINE | re.DOTALL)
    assert stated
    numbers = {int(number) for number in re.findall(r"\b(\d+) [a-z]", stated[0])}
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.LensLinkError)
    }
    # 0, test failure and interrupts are no exceptions of the driver's.
    assert numbers - {143} == codes | {0, 7, 130}


def test_every_option_of_sim_is_in_the_readme() -> None:
    table = README.split("`sim:` takes these options")[1].split("\n\n")[1]
    named = {
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert named == set(OPTIONS)


def test_every_variable_is_read_by_something() -> None:
    table = README.split("| variable | meaning |")[1].split("\n\n")[0]
    sources = [
        path.read_text(encoding="utf-8")
        for folder in ("host", "hil", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if path != Path(__file__)
    ]
    for name in re.findall(r"^\| `(\w+)`", table, re.MULTILINE):
        # rich reads NO_COLOR itself.
        assert name == "NO_COLOR" or any(name in source for source in sources), name


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    scripts = sysconfig.get_path("scripts") + os.pathsep + os.environ["PATH"]
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": scripts},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )


@pytest.mark.usefixtures("lens_url")
def test_the_python_examples_run(tmp_path: Path) -> None:
    examples = blocks(README, "python")
    lines = []
    for example in examples:
        done = run([sys.executable, "-c", f"import lenslink\n{example}"], tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        lines.append(len(done.stdout.splitlines()))
    # A model, a capture and ten frames; the settings of a frame; the frame that an ISP read; the
    # event of being attached.
    assert lines == [12, 1, 1, 1]


@pytest.mark.usefixtures("lens_url")
def test_the_ffmpeg_example_makes_a_film(tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("ffmpeg")
    (example,) = (block for block in blocks(README, "bash") if "ffmpeg" in block)
    # -pipefail by hand: sh has none, and either side may fail.
    done = run(["/bin/bash", "-o", "pipefail", "-c", example.replace("5", "1", 1)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "preview.mp4").stat().st_size > 1000
