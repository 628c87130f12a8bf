"""Every public name has a docstring with an example, and the examples hold.

The examples open modules on the default bench, so they run here and not with the unit tests.
"""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lenslink
from lenslink import settings

pytestmark = pytest.mark.usefixtures("only_sim", "own_folder")

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
OBJECTS = {name: getattr(lenslink, name) for name in lenslink.__all__}
# Objects that can have a docstring. Constants cannot.
DOCUMENTED = [
    name for name, value in OBJECTS.items() if (inspect.isclass(value) or inspect.isroutine(value))
]


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples write files. They must not end up in the checkout."""
    monkeypatch.chdir(tmp_path)


def examples(name: str, value: object) -> Iterator[doctest.DocTest]:
    """Yield the doctests of an object and of its methods."""
    names: dict[str, Any] = {"lenslink": lenslink, **vars(settings)}
    for found in doctest.DocTestFinder(exclude_empty=True).find(value, name, globs=names):
        if found.examples:
            yield found


def check(test: doctest.DocTest) -> None:
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    assert runner.run(test, out=report.append).failed == 0, "".join(report)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_public_name_has_examples_that_hold(name: str) -> None:
    value = OBJECTS[name]
    assert inspect.getdoc(value), f"{name} has no docstring"
    assert doctest.DocTestParser().get_examples(value.__doc__ or ""), f"{name} has no example"
    for test in examples(name, value):
        check(test)


def test_the_examples_of_the_package_hold() -> None:
    tests = doctest.DocTestParser().get_doctest(lenslink.__doc__ or "", {}, "lenslink", None, 0)
    assert tests.examples
    check(tests)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_public_methods_and_properties_have_docstrings(name: str) -> None:
    value = OBJECTS[name]
    if not inspect.isclass(value):
        return
    missing = [
        f"{name}.{member}"
        for member, attribute in vars(value).items()
        if not member.startswith("_")
        and (inspect.isroutine(attribute) or isinstance(attribute, property))
        and not inspect.getdoc(attribute)
    ]
    assert not missing


def test_the_package_shows_its_whole_interface() -> None:
    assert set(lenslink.__all__) <= set(dir(lenslink))
    assert lenslink.__version__
    for name in lenslink.__all__:
        assert getattr(lenslink, name) is not None
