"""Build what is released: ``make dist``.

It builds the last commit, not the files around it, and builds it twice. The two wheels must be the
same bytes, and the two sdists. dist/ then holds the wheel, the sdist, a bill of materials
(CycloneDX JSON) and SHA256SUMS. Another machine gets the same bytes with the same Python,
setuptools and zlib.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path

from sbom import make_sbom

ROOT = Path(__file__).resolve().parents[2]
_GIT_S = 60.0
_BUILD_S = 600.0
_BUILD = """
import os, sys
import setuptools.build_meta as build
os.umask(0o022)
folder = sys.argv[1]  # setuptools replaces the arguments
build.build_sdist(folder)
build.build_wheel(folder)
"""


class DistError(Exception):
    """Raised if nothing can be built. The message is one line."""


def _run_git(*words: str) -> bytes:
    # A checkout of somebody else's, as in a container, is refused by git otherwise.
    command = ["git", "-c", f"safe.directory={ROOT}", *words]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=_GIT_S, check=False)
    except OSError as error:
        raise DistError(f"git does not start: {error.strerror}") from error
    if done.returncode:
        raise DistError(f"git {words[0]}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout


def export_commit(folder: Path) -> None:
    """Write the files of the last commit into *folder*, with the modes of a fresh checkout."""
    with tarfile.open(fileobj=io.BytesIO(_run_git("archive", "--format=tar", "HEAD"))) as archive:
        for member in archive:
            path = folder / member.name
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            elif member.isfile():
                path.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                assert source is not None
                path.write_bytes(source.read())
                path.chmod(0o755 if member.mode & 0o100 else 0o644)
            else:
                raise DistError(f"{member.name} is neither a file nor a folder")


def build(folder: Path, epoch: int) -> dict[str, bytes]:
    """Return the wheel and the sdist of the last commit by their names.

    Args:
        folder: Where to build.
        epoch: Seconds since 1970, which every file of the archives gets as its time.
    """
    source, target = folder / "source", folder / "built"
    for path in (source, target):
        path.mkdir(parents=True)
    export_commit(source)
    environment = os.environ | {
        "SOURCE_DATE_EPOCH": str(epoch),
        # The order of sets must not show.
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, str(target)],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_BUILD_S,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise DistError(f"setuptools cannot build: {last}")
    found = {path.name: path.read_bytes() for path in target.iterdir()}
    return {
        name: normalise_sdist(data, epoch) if name.endswith(".tar.gz") else data
        for name, data in sorted(found.items())
    }


def normalise_sdist(data: bytes, epoch: int) -> bytes:
    """Return the sdist with sorted members that have no owner, and the time *epoch*.

    setuptools writes the times and the owner of the files that it finds.
    """
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as old,
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=epoch) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.size, plain.mtime = member.type, member.size, epoch
            plain.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(plain, old.extractfile(member) if member.isfile() else None)
    return packed.getvalue()


def write_dist(target: Path) -> list[str]:
    """Build twice, compare, and write all files into *target*; return their names."""
    epoch = int(_run_git("log", "-1", "--format=%ct", "HEAD"))
    commit = _run_git("rev-parse", "HEAD").decode().strip()
    with tempfile.TemporaryDirectory(prefix="lenslink-dist-") as folder:
        first, second = (build(Path(folder) / name, epoch) for name in ("one", "two"))
    different = [name for name in first | second if first.get(name) != second.get(name)]
    if different:
        raise DistError(f"two builds differ: {', '.join(different)}")
    files = dict(first)
    (wheel,) = [name for name in files if name.endswith(".whl")]
    project = tomllib.loads(_run_git("show", "HEAD:pyproject.toml").decode())["project"]
    installed = version(project["name"])
    if installed != project["version"]:
        raise DistError(
            f"this environment has {project['name']} {installed}, and the commit is "
            f"{project['version']}: run make check"
        )
    seed = f"{commit} {hashlib.sha256(files[wheel]).hexdigest()}"
    bill = make_sbom(project["name"], _find_tested_extras(project), epoch, seed)
    name = f"{project['name']}-{project['version']}.cdx.json"
    files[name] = json.dumps(bill, indent=1).encode() + b"\n"
    sums = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()]
    files["SHA256SUMS"] = "".join(sums).encode()
    target.mkdir(exist_ok=True)
    for name, data in files.items():
        temporary = target / f".{name}.tmp"
        temporary.write_bytes(data)
        temporary.replace(target / name)
    return list(files)


def _find_tested_extras(project: dict[str, object]) -> set[str]:
    """Return the extras that the extra ``dev`` contains: they are installed here, and tested."""
    extras = project.get("optional-dependencies")
    lines = extras.get("dev", []) if isinstance(extras, dict) else []
    start = f"{project['name']}["
    return {line[len(start) : -1] for line in lines if line.startswith(start)}


def main() -> int:
    """Build, and print the sums."""
    target = ROOT / "dist"
    try:
        if _run_git("status", "--porcelain"):
            print("dist: changes that are not committed are not in it", file=sys.stderr)
        write_dist(target)
    except (DistError, OSError, ImportError, subprocess.TimeoutExpired) as error:
        print(f"dist: {error}", file=sys.stderr)
        return 1
    print((target / "SHA256SUMS").read_text(), end="")
    print("dist: the wheel and the sdist were built twice, with the same bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
