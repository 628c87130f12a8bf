"""Run each function of ``suites/`` on CPython and on MicroPython."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import pytest
from helpers import micropython_process

HERE = Path(__file__).resolve().parent
SUITES = sorted(path.stem for path in (HERE / "suites").glob("[a-z]*.py"))


def functions(suite: str) -> list[str]:
    tree = ast.parse((HERE / f"suites/{suite}.py").read_text(encoding="utf-8"))
    found = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name for name in found if name.startswith("test_")]


CASES = [(suite, name) for suite in SUITES for name in functions(suite)]


@pytest.mark.parametrize(("suite", "name"), CASES)
def test_on_cpython(suite, name, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    getattr(importlib.import_module(f"suites.{suite}"), name)()


@pytest.mark.parametrize(("suite", "name"), CASES)
def test_on_micropython(suite, name):
    results = micropython_process.suite(suite)
    assert name in results, "it did not run"
    if results[name]:
        pytest.fail(results[name], pytrace=False)


def test_no_function_hides_another():
    assert len(set(CASES)) == len(CASES)


def test_the_interpreter_is_not_this_one():
    assert (
        micropython_process.run("-c", "import sys; print(sys.implementation[0])") == "micropython\n"
    )
    assert sys.implementation.name == "cpython"
