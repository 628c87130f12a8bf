"""pyproject.toml and the lock file: each dependency has its reason, and nobody's machine shows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = ROOT / "pyproject.toml"
LOCK = ROOT / "requirements.lock"


def name_of(requirement: str) -> str:
    """A requirement's name as PEP 503 normalises it, for comparing."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def requirements() -> list[str]:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    return [*project["dependencies"], *(each for extra in extras for each in extra)]


@pytest.mark.parametrize("requirement", requirements())
def test_a_dependency_says_why_it_is_there(requirement: str) -> None:
    lines = [line.strip() for line in PYPROJECT.read_text(encoding="utf-8").splitlines()]
    index = lines.index(f'"{requirement}",')
    assert lines[index - 1].startswith("# "), f"no comment above {requirement}"


def test_the_lock_covers_every_dependency() -> None:
    pins = [
        line for line in LOCK.read_text(encoding="utf-8").splitlines() if re.match(r"[a-z]", line)
    ]
    assert all(re.match(r"[a-z0-9.-]+==[^ ]+( ; .+)?$", line) for line in pins), "make lock"
    pinned = {name_of(line) for line in pins}
    # These two come with the environment, not out of the lock: ours, and the build's.
    wanted = {name_of(each) for each in requirements()} - {"lenslink", "setuptools"}
    # These name their version themselves.
    wanted -= {name_of(each) for each in requirements() if "==" in each}
    assert wanted <= pinned, f"not locked: {sorted(wanted - pinned)}; run make lock"


@pytest.mark.parametrize("path", [PYPROJECT, LOCK], ids=lambda path: path.name)
def test_no_index_and_no_folder_is_named(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"index-url|find-links|file://|/home/|/root/|/tmp/", text)
    # Addresses of the project's own are the only ones.
    assert all("lenslink" in address for address in re.findall(r"https?://\S+", text))
