"""Check that what the documents tell people to type exists, and that their examples run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path

import click
import pytest
from helpers.slowdown import patience

from lenslink import errors
from lenslink.cli.main import cli
from lenslink_hil.benches.sim import OPTIONS
from lenslink_hil.conformance.clauses import load_clauses
from lenslink_hil.plugin import lens_fixtures, report_notes
from lenslink_hil.plugin.quarantine_file import read_quarantine
from lenslink_hil.rig.power_switch import list_switches, load_switch
from lenslink_hil.rig.rig_file import load_rig

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "firmware/README.md",
    "hil/README.md",
    "host/README.md",
    "protocol/README.md",
)
TEXT = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS}
MAX_README_LINES = 150
MAX_WORDS = 30


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def lenslink_lines() -> list[str]:
    lines = "".join("".join(blocks(text, "bash")) for text in TEXT.values()).splitlines()
    return sorted({line for line in lines if line.startswith("lenslink ")})


@pytest.mark.parametrize("name", DOCUMENTS)
def test_shell_lines_can_be_parsed(name: str) -> None:
    for block in blocks(TEXT[name], "bash"):
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
def test_commands_take_what_the_documents_give_them(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    if words == ["--help"]:
        return
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
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z0-9-]*)", TEXT[name], re.MULTILINE))
    assert named <= targets


def test_the_readme_is_short() -> None:
    assert len(TEXT["README.md"].splitlines()) <= MAX_README_LINES


def sentences(text: str) -> list[str]:
    """Return the sentences of a document's prose: no code, no tables, no headings."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "#", "!"))]
    joined = re.sub(r"\n(?!\n|- |\d+\. )", " ", "\n".join(lines))
    return [each.strip() for each in re.split(r"(?<=[.!?:])\s+|\n+", joined) if each.strip()]


@pytest.mark.parametrize("name", [*DOCUMENTS, "CHANGELOG.md"])
def test_no_sentence_is_long(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert [each for each in sentences(text) if len(each.split()) > MAX_WORDS] == []


@pytest.mark.parametrize("name", [*DOCUMENTS, "CHANGELOG.md"])
def test_links_lead_to_files(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [each for each in re.findall(r"\]\(([^)]+)\)", text) if "://" not in each]
    missing = [link for link in links if not ((ROOT / name).parent / link).exists()]
    assert not missing


def test_exit_codes_are_those_of_the_errors() -> None:
    table = TEXT["host/README.md"].split("| exit code | meaning |")[1].split("\n\n")[0]
    numbers = {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.LensLinkError)
    }
    # 0, test failure and interrupts are no exceptions of the driver's.
    assert numbers == codes | {0, 7, 130}


def test_every_option_of_sim_is_in_the_document() -> None:
    table = TEXT["hil/README.md"].split("`sim:` takes these options")[1].split("\n\n")[1]
    named = {
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert named == set(OPTIONS)


def test_every_variable_is_read_by_something() -> None:
    table = TEXT["host/README.md"].split("| variable | meaning |")[1].split("\n\n")[0]
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


END = "--- the end of an example"
# How many lines each Python example prints; a test file, or a script that prints nothing, has 0.
PRINTED = {
    "README.md": [1],
    "hil/README.md": [0, 0, 0],
    # A manifest and four modes; a still; ten frames; the settings; a bracket of three; a
    # calibration; an event of being attached; a module that proves itself; the frame that another
    # process would read; what a client set, and its bracket of three; a picture.
    "host/README.md": [5, 1, 10, 1, 3, 1, 1, 0, 1, 4, 1],
}


@pytest.mark.usefixtures("lens_url")
@pytest.mark.parametrize("name", PRINTED)
def test_the_python_examples_run(name: str, tmp_path: Path) -> None:
    script = ["import lenslink"]
    for text in blocks(TEXT[name], "python"):
        # Other tests run examples at the same time, and a ring has one writer.
        example = text.replace('"cam"', f'"cam-{os.getpid()}"')
        # Names of an example are not known to the next one.
        script += [f"exec({example!r}, {{'lenslink': lenslink}})", f"print({END!r})"]
    done = run([sys.executable, "-c", "\n".join(script)], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [text.count("\n") for text in done.stdout.split(f"{END}\n")[:-1]] == PRINTED[name]


def test_every_document_with_an_example_is_run() -> None:
    assert {name for name, text in TEXT.items() if blocks(text, "python")} == set(PRINTED)


@pytest.mark.usefixtures("lens_url")
def test_the_pytest_example_passes(tmp_path: Path) -> None:
    example = "\n".join(blocks(TEXT["hil/README.md"], "python"))
    (tmp_path / "test_example.py").write_text(example, encoding="utf-8")
    done = run([sys.executable, "-m", "pytest", "-q", "test_example.py"], tmp_path)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_the_rig_examples_are_rigs_and_quarantines(tmp_path: Path) -> None:
    quarantine, rig, simulated, waivers = blocks(TEXT["hil/README.md"], "toml")
    for number, text in enumerate((rig, simulated)):
        path = tmp_path / f"{number}.toml"
        path.write_text(text, encoding="utf-8")
        assert "left" in load_rig(path).boards
    (tmp_path / "quarantine.toml").write_text(quarantine, encoding="utf-8")
    assert read_quarantine(tmp_path / "quarantine.toml", date(2026, 1, 1))
    (waiver,) = tomllib.loads(waivers)["waiver"]
    assert waiver["clause"] in load_clauses()


def test_every_switch_and_fixture_is_in_the_document() -> None:
    for kind in list_switches():
        assert f"| `{kind}` |" in TEXT["hil/README.md"]
        for key in load_switch(kind).options:
            assert f"`{key}`" in TEXT["hil/README.md"]
    for name in ("lens", "lens_fresh", "lens_url", "lens_board", "lens_power", "lens_plant"):
        assert hasattr(lens_fixtures, name)
        assert f"| `{name}` |" in TEXT["hil/README.md"]
    assert hasattr(report_notes, "lens_report")
    assert "| `lens_report` |" in TEXT["hil/README.md"]


@pytest.mark.usefixtures("lens_url")
def test_the_ffmpeg_example_makes_a_film(tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("ffmpeg")
    (example,) = (block for block in blocks(TEXT["host/README.md"], "bash") if "ffmpeg" in block)
    # -pipefail by hand: sh has none, and either side may fail.
    done = run(["/bin/bash", "-o", "pipefail", "-c", example.replace("5", "1", 1)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "preview.mp4").stat().st_size > 1000
