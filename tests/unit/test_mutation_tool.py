"""hil/tools/mutate.py on a module of its own: it finds what tests miss, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.slowdown import patience

TOOL = Path(__file__).resolve().parents[2] / "hil/tools/mutate.py"

MODULE = '''
class Counter(dict):
    """Counts."""

    limit = 10

    def __init__(self):
        super().__init__()
        self.value = 0

    @property
    def double(self):
        return self.value * 2

    @staticmethod
    def is_small(number):
        return number < 10

    def add(self, number):
        if number in self:
            return None
        self.value += number
        return self.value

    class Inner:
        def half(self, number):
            return number // 2


def without_a_test(number):
    return number - 1


def equal(number):
    return number
'''

TESTS = """
from counted import Counter

def test_all():
    counter = Counter()
    assert counter.value == 0
    assert counter.add(3) == 3
    assert counter.double == 6
    counter[4] = 1
    assert counter.add(4) is None
    assert [Counter.is_small(n) for n in (9, 10)] == [True, False]
    assert Counter.Inner().half(7) == 3
"""

SCRIPT = """
import importlib.util, pathlib, sys
sys.path.insert(0, sys.argv[1])
spec = importlib.util.spec_from_file_location("mutate", sys.argv[2])
mutate = sys.modules["mutate"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutate)
folder = pathlib.Path(sys.argv[1])
mutate.ROOT = folder
mutate.TARGETS = {"counted": (folder / "counted.py", ["test_counted.py"])}
sys.exit(mutate.main(["--log", str(folder / "log"), *sys.argv[3:]]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "counted.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "test_counted.py").write_text(TESTS, encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, str(folder), str(TOOL), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=patience(120)
    )


def line_of(text: str) -> int:
    return MODULE.splitlines().index(text) + 1


def test_survivors_are_what_no_test_notices(folder: Path) -> None:
    done = run(folder)
    survivors = [line.split()[1] for line in done.stdout.splitlines() if "survived" in line]
    unnoticed = {line_of("    return number - 1"), line_of("    return number")}
    # super().__init__() of an empty dict does nothing that a test could notice.
    unnoticed.add(line_of("        super().__init__()"))
    assert {int(each.split(":")[1]) for each in survivors} == unnoticed, done.stdout + done.stderr
    assert len(survivors) == 5
    assert done.stdout.splitlines()[-1] == "all: 20 mutants, 15 killed (75.0%)"
    assert done.returncode == 7


def test_the_status_says_whether_enough_was_killed(folder: Path) -> None:
    assert run(folder, "--least", "0.7").returncode == 0


def test_the_sources_stay_as_they_are(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.glob("*.py")}
    run(folder, "--sample", "0.2")
    assert {path: path.read_bytes() for path in folder.glob("*.py")} == before


def test_tests_that_fail_without_a_mutant_end_the_run(folder: Path) -> None:
    (folder / "test_counted.py").write_text("def test_all():\n    assert False\n", encoding="utf-8")
    done = run(folder)
    assert done.returncode == 1
    assert "counted: the tests fail without a mutant" in done.stdout


def test_a_mutant_that_never_ends_is_killed(folder: Path) -> None:
    loop = "def run(n):\n    while n:\n        n -= 1\n"
    (folder / "counted.py").write_text(loop, encoding="utf-8")
    tests = "import counted\ndef test_it():\n    counted.run(3)\n"
    (folder / "test_counted.py").write_text(tests, encoding="utf-8")
    done = run(folder)
    survivors = [line.split(": ")[-1] for line in done.stdout.splitlines() if "survived" in line]
    # The loop then never begins, and the test asserts nothing. All other mutants never end.
    assert survivors == ["condition negated"], done.stdout + done.stderr
    assert "all: 4 mutants, 3 killed" in done.stdout
