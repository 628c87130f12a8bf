"""The fuzzers of tests/fuzz: what they began with and found, and for some seconds on with atheris.

1 s each, 10 minutes with LENSLINK_NIGHTLY=1.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from helpers.nightly_scale import choose

NAMES = (
    "host_framing",
    "module_frames",
    "messages",
    "manifest",
    "capture",
    "host_link",
    "module_link",
)
SECONDS = choose(1, 600)


@pytest.fixture
def targets(root, monkeypatch):
    monkeypatch.syspath_prepend(root)
    from tests.fuzz import targets

    assert tuple(targets.TARGETS) == NAMES
    return targets


@pytest.mark.parametrize("name", NAMES)
def test_what_is_known(targets, name):
    known = targets.inputs(name)
    assert len(known) >= 3
    for data in known:
        targets.TARGETS[name][0](data)
        targets.TARGETS[name][0](data[:-1])


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="NOT RUN: atheris is not installed (wheels for Python 3.11 only)",
)
@pytest.mark.timeout(SECONDS + 100)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not(root, name):
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(SECONDS)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout
