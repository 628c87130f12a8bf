"""pytest plugin: ``--lens URL`` chooses the bench, and what did not run is said last and loud.

Fixtures: ``lens_url`` (the bench's URL), ``lens`` (a module opened for one test), ``seed`` (of
this run, printed in the header). It is loaded by every pytest in an environment that has LensLink
installed, so it imports nothing of LensLink's before a test asks for it.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lenslink import Device

DEFAULT_LENS = "sim:"
SEED_VARIABLE = "LENSLINK_TEST_SEED"

_SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lenslink")
    group.addoption(
        "--lens",
        metavar="URL",
        help=f"bench to run on (default: {DEFAULT_LENS}); one that is named must be there",
    )
    group.addoption(
        "--lens-seed",
        type=int,
        metavar="N",
        help=f"seed of the tests' own randomness (default: ${SEED_VARIABLE}, else drawn)",
    )


def pytest_configure(config: pytest.Config) -> None:
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is not None:
        config.stash[_SEED] = worker["lenslink_seed"]
        return
    seed = config.getoption("--lens-seed")
    if seed is None and (text := os.environ.get(SEED_VARIABLE)):
        try:
            seed = int(text)
        except ValueError:
            raise pytest.UsageError(f"{SEED_VARIABLE}={text} is not a whole number") from None
    config.stash[_SEED] = random.SystemRandom().getrandbits(32) if seed is None else seed


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each worker of pytest-xdist the seed that the header names."""
    node.workerinput["lenslink_seed"] = node.config.stash[_SEED]


def pytest_report_header(config: pytest.Config) -> str:
    lens = config.getoption("--lens") or f"{DEFAULT_LENS} (default)"
    return f"lens: {lens}; to repeat this run: --lens-seed={config.stash[_SEED]}"


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """Seed of this run; each test derives its own generator from it."""
    return pytestconfig.stash[_SEED]


@pytest.fixture(scope="session")
def lens_url(pytestconfig: pytest.Config) -> str:
    """URL of the bench.

    Without ``--lens`` and without a MicroPython, what needs a bench is skipped. A bench that was
    asked for by name has to be there, and so has a MicroPython that was.
    """
    named: str | None = pytestconfig.getoption("--lens")
    if named is None:
        _skip_without_micropython()
        return DEFAULT_LENS
    from lenslink import LensLinkError, open

    try:
        open(named).close()
    except LensLinkError as error:
        pytest.fail(f"--lens {named}: {error}", pytrace=False)
    return named


def _skip_without_micropython() -> None:
    from lenslink import RigError

    from .benches.micropython import find_micropython

    try:
        find_micropython()
    except RigError as error:
        if os.environ.get("MICROPYTHON"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture
def lens(lens_url: str) -> Iterator[Device]:
    """The module on the bench, opened for one test."""
    from lenslink import open

    with open(lens_url) as device:
        yield device


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """List what did not run after everything else: outermost wrapper, so last of all."""
    yield
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", ()))
    if not reasons:
        return
    terminalreporter.section("NOT RUN", sep="=", yellow=True, bold=True)
    for reason, count in reasons.most_common():
        tests = "test" if count == 1 else "tests"
        terminalreporter.line(f"NOT RUN: {count} {tests}: {reason}", yellow=True)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)
