"""Objects for a ``with`` statement: every block ends them, and one class says how."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lenslink.context import ClosesOnExit, ReleasesOnExit

ROOT = Path(__file__).resolve().parents[2]


class Port(ClosesOnExit):
    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


class Slot(ReleasesOnExit):
    def __init__(self):
        self.released = 0

    def release(self):
        self.released += 1


def test_a_block_closes_the_object_once():
    with Port() as port:
        assert isinstance(port, Port)
        assert port.closed == 0
    assert port.closed == 1


def test_a_block_releases_the_object_once():
    with Slot() as slot:
        assert isinstance(slot, Slot)
        assert slot.released == 0
    assert slot.released == 1


def test_an_exception_ends_the_object_and_goes_on():
    port, slot = Port(), Slot()
    with pytest.raises(KeyboardInterrupt), port, slot:
        raise KeyboardInterrupt
    assert (port.closed, slot.released) == (1, 1)


@pytest.mark.parametrize("base", [ClosesOnExit, ReleasesOnExit])
def test_a_subclass_that_defines_no_end_is_found_out(base):
    with pytest.raises(NotImplementedError), base():
        pass


def test_no_other_class_of_driver_and_bench_writes_the_pair_again():
    found = [
        str(path.relative_to(ROOT))
        for package in ("host/lenslink", "hil/lenslink_hil")
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name == "__enter__"
    ]
    assert found == ["host/lenslink/context.py"] * 2
