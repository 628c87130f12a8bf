"""What is installed from a clone: a wheel that runs elsewhere and takes nobody else's name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.slowdown import patience

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "lenslink_protocol": "protocol",
    "lenslink": "host",
    "lenslink_program": "host",
    "lenslink_hil": "hil",
    "lenslink_isp": "host",
    "lensfw": "firmware",
}
# What running from a checkout leaves behind.
LEFTOVERS = (
    "lenslink_hil/__pycache__/old.cpython-311.pyc",
    "lensfw/old.mpy",
    "lensfw/boards/old.mpy",
    "lensfw/ports/old.mpy",
)


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """The output of a command that has to succeed, run as a user would from *cwd*."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LENSLINK_"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=patience(110),
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def ours() -> list[str]:
    """Files of the checkout, committed or about to be."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout: which files belong to it is not known")
    # A checkout of somebody else's, as in a container, is refused by git otherwise.
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(
        command, cwd=ROOT, capture_output=True, check=True, timeout=patience(60)
    )
    names = listed.stdout.decode().split("\0")
    return sorted({name for name in names if name and (ROOT / name).is_file()})


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone has that was worked in: no build/, which would put deleted modules into it."""
    folder = tmp_path_factory.mktemp("a clone")
    for name in ours():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    for name in LEFTOVERS:
        target = folder / PACKAGES[name.partition("/")[0]] / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"left behind")
    return folder


def build_wheel(source: Path, folder: Path) -> Path:
    # Without isolation: the build must not need the network.
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
    pip = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, source]
    run(*pip, cwd=folder, PYTHONDONTWRITEBYTECODE="1")
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def sdist(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    code = "import sys, setuptools.build_meta as m; m.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", code, folder, cwd=clone)
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(clone, tmp_path_factory.mktemp("wheel"))


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_installs_nothing_generic(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in contents(wheel)}
    (metadata,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {*PACKAGES, metadata}


def test_the_wheel_is_what_is_in_the_packages(wheel: Path) -> None:
    """Every file of a package, also the firmware's and the vectors, and no leftovers."""
    expected = {
        f"{package}/{name.removeprefix(f'{room}/{package}/')}"
        for name in ours()
        for package, room in PACKAGES.items()
        if name.startswith(f"{room}/{package}/")
    }
    found = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert found == expected
    assert "lensfw/module.py" in found


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    # By the command: Python 3.11.2, which is Debian's, has no filters; later ones ask for one.
    run(sys.executable, "-m", "tarfile", "-e", sdist, tmp_path, cwd=tmp_path)
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    folder = tmp_path / "wheel"
    folder.mkdir()
    again, first = contents(build_wheel(source, folder)), contents(wheel)
    # RECORD lists the hashes of all others.
    assert {k: v for k, v in again.items() if not k.endswith("/RECORD")} == {
        k: v for k, v in first.items() if not k.endswith("/RECORD")
    }


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts' folder of an environment that has the wheel, far from the checkout."""
    folder = tmp_path_factory.mktemp("else where")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install"]
    run(*pip, "--no-deps", "--no-index", "--quiet", wheel, cwd=folder)
    # What LensLink depends on is taken from this environment, to stay off the network. A .pth
    # file adds its folder only: the .pth files in there, our editable install's too, stay unread.
    site = Path(
        run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=folder).strip()
    )
    dependencies = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (site / "dependencies.pth").write_text("\n".join(dependencies) + "\n", encoding="utf-8")
    return scripts


def test_the_installed_packages_are_the_wheels(elsewhere: Path, tmp_path: Path) -> None:
    code = f"import {', '.join(PACKAGES)}\nfor m in ({', '.join(PACKAGES)}): print(m.__file__)"
    files = run(elsewhere / "python", "-c", code, cwd=tmp_path).splitlines()
    outside = [file for file in files if not Path(file).is_relative_to(elsewhere.parent)]
    assert len(files) == len(PACKAGES)
    assert not outside


def test_the_installed_command_takes_a_picture(elsewhere: Path, tmp_path: Path) -> None:
    url = "sim:?scene=ramp&width=64&height=64"
    scripts = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))
    run(elsewhere / "lenslink", "capture", url, "-o", "x.npy", cwd=tmp_path, PATH=scripts)
    y, x = np.indices((64, 64))
    pixels = np.load(tmp_path / "x.npy", allow_pickle=False)
    frame = int(pixels[0, 0])
    assert np.array_equal(pixels, (x + y + frame) & 0xFFF)
