"""pytest plugin: ``--lens URL`` chooses the bench, and the summary ends with what did not run.

Fixtures: ``lens_url`` is the URL of the bench, ``lens`` a module that is opened for one test, and
``seed`` the seed of the run. Every pytest in an environment that has LensLink loads the plugin, so
the plugin imports LensLink only when a test asks for a fixture.
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
URL_VARIABLE = "LENSLINK_URL"
SEED_VARIABLE = "LENSLINK_TEST_SEED"

_SEED = pytest.StashKey[int]()
_SOURCE = pytest.StashKey[str]()
"""What named the bench: the option or the variable; absent if nothing did."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options ``--lens`` and ``--lens-seed``."""
    group = parser.getgroup("lenslink")
    group.addoption(
        "--lens",
        metavar="URL",
        help=f"bench to run on (default: ${URL_VARIABLE}, else {DEFAULT_LENS}); a bench that is "
        "named must be there",
    )
    group.addoption(
        "--lens-seed",
        type=int,
        metavar="N",
        help=f"seed of the tests' own randomness (default: ${SEED_VARIABLE}, else drawn)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the bench and the seed of this run."""
    if config.option.lens:
        config.stash[_SOURCE] = "--lens"
    elif url := os.environ.get(URL_VARIABLE):
        config.option.lens = url
        config.stash[_SOURCE] = URL_VARIABLE
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
    """Print the bench and the seed, and how to repeat the run."""
    lens = config.option.lens or DEFAULT_LENS
    source = config.stash.get(_SOURCE, "default")
    lens += "" if source == "--lens" else f" ({source})"
    return f"lens: {lens}; to repeat this run: --lens-seed={config.stash[_SEED]}"


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """Return the seed of this run. Each test derives its own generator from the seed."""
    return pytestconfig.stash[_SEED]


@pytest.fixture(scope="session")
def lens_url(pytestconfig: pytest.Config) -> str:
    """Return the URL of the bench.

    If no bench is named and there is no MicroPython, the test is skipped. A bench or a MicroPython
    that is named must be there, or the test fails.
    """
    named: str | None = pytestconfig.option.lens
    if named is None:
        _skip_without_micropython()
        return DEFAULT_LENS
    from lenslink import LensLinkError, open

    try:
        open(named).close()
        problem = None
    except LensLinkError as error:
        problem = str(error)
    if problem is not None:
        # Outside of the handler, or pytest prints the cause as well.
        pytest.fail(f"{pytestconfig.stash[_SOURCE]} {named}: {problem}", pytrace=False)
    return named


def _skip_without_micropython() -> None:
    from lenslink import RigError

    from .benches.micropython import find_micropython

    try:
        find_micropython()
    except RigError as error:
        problem = str(error)
    else:
        return
    if os.environ.get("MICROPYTHON"):
        pytest.fail(problem, pytrace=False)
    pytest.skip(problem)


@pytest.fixture
def lens(lens_url: str) -> Iterator[Device]:
    """Open the module on the bench for one test."""
    from lenslink import open

    with open(lens_url) as device:
        yield device


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """List what did not run, after everything else: this is the outermost wrapper."""
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
