"""The options of a run: the boards that ``--lens`` names, the seed, times and folders."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import Any, Final

import pytest

DEFAULT_LENS: Final = "sim:"
URL_VARIABLE: Final = "LENSLINK_URL"
SEED_VARIABLE: Final = "LENSLINK_TEST_SEED"
DEADLINE_S: Final = 600.0
WAIT_S: Final = 30.0
EVIDENCE: Final = "out/evidence"
NO_EVIDENCE: Final = "none"

_SEED = pytest.StashKey[int]()
_SOURCE = pytest.StashKey[str]()
"""What named the bench: the option or the variable; absent if nothing did."""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)?")
_UNITS: Final = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_MAX_S: Final = 1e6


def parse_seconds(text: str) -> float:
    """Return seconds of ``90``, ``90s``, ``10m`` or ``1h``; raise ValueError for anything else.

    >>> parse_seconds("10m")
    600.0
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or float(match[1]) * _UNITS[match[2]] > _MAX_S:
        raise ValueError(f"{text!r} is no time such as 90s, 10m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the plugin."""
    group = parser.getgroup("lenslink")
    group.addoption(
        "--lens",
        action="append",
        metavar="URL",
        help="bench to run on: a URL, rig: for any board of rig.toml, rig:NAME for a board or a "
        "role; several times for several boards, with a worker for each (default: "
        f"${URL_VARIABLE}, else {DEFAULT_LENS}); a bench that is named must be there",
    )
    group.addoption(
        "--lens-seed",
        type=int,
        metavar="N",
        help=f"seed of the tests' own randomness (default: ${SEED_VARIABLE}, else drawn)",
    )
    group.addoption(
        "--lens-wait",
        metavar="TIME",
        help=f"wait so long for a board that another job has: 10m (default: {WAIT_S:g}s)",
    )
    group.addoption(
        "--lens-deadline",
        metavar="TIME",
        help="end a test that takes longer, whatever it hangs in; 0 for never (default: "
        f"the setting lens_deadline, else {DEADLINE_S / 60:g}m)",
    )
    group.addoption(
        "--lens-evidence",
        metavar="FOLDER",
        help=f"where recordings of failed tests are kept, or {NO_EVIDENCE} (default: {EVIDENCE})",
    )
    group.addoption(
        "--lens-quarantine",
        metavar="FILE",
        help="tests whose failures are reported apart, each with a reason, an owner and an end "
        "(default: the setting lens_quarantine, else none)",
    )
    group.addoption(
        "--lens-report",
        metavar="FILE",
        help="write the results as JSON; lenslink report FILE -o report.html makes a page of it",
    )
    group.addoption(
        "--lens-history",
        metavar="FOLDER",
        help="keep the figures of each board there, and fail a test whose figure has dropped",
    )
    parser.addini("lens_deadline", "the default of --lens-deadline", default="")
    parser.addini("lens_quarantine", "the default of --lens-quarantine", default="")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the bench and the seed of this run, and check the times."""
    if config.option.lens:
        config.stash[_SOURCE] = "--lens"
    elif url := os.environ.get(URL_VARIABLE):
        config.option.lens = [url]
        config.stash[_SOURCE] = URL_VARIABLE
    for name in ("--lens-wait", "--lens-deadline"):
        _read_seconds(name, config.getoption(name) or "0")
    _read_seconds("lens_deadline", config.getini("lens_deadline") or "0")
    config.stash[_SEED] = _choose_seed(config)


def _choose_seed(config: pytest.Config) -> int:
    worker = worker_input(config)
    if worker is not None:
        return int(worker["lenslink_seed"])
    seed: int | None = config.getoption("--lens-seed")
    if seed is None and (text := os.environ.get(SEED_VARIABLE)):
        try:
            seed = int(text)
        except ValueError:
            raise pytest.UsageError(f"{SEED_VARIABLE}={text} is not a whole number") from None
    return random.SystemRandom().getrandbits(32) if seed is None else seed


def _read_seconds(name: str, text: str) -> float:
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise pytest.UsageError(f"{name}: {error}") from None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each worker of pytest-xdist the seed that the header names."""
    node.workerinput["lenslink_seed"] = node.config.stash[_SEED]


def pytest_report_header(config: pytest.Config) -> str:
    """Print the bench and the seed, and how to repeat the run."""
    source = config.stash.get(_SOURCE, "default")
    lens = ", ".join(named_urls(config) or [DEFAULT_LENS])
    lens += "" if source == "--lens" else f" ({source})"
    return f"lens: {lens}; to repeat this run: --lens-seed={get_seed(config)}"


def worker_input(config: pytest.Config) -> dict[str, Any] | None:
    """Return what the controller gave this worker of pytest-xdist; None outside of a worker."""
    found: dict[str, Any] | None = getattr(config, "workerinput", None)
    return found


def is_worker(config: pytest.Config) -> bool:
    """Return True in a worker process of pytest-xdist."""
    return worker_input(config) is not None


def named_urls(config: pytest.Config) -> list[str]:
    """Return the URLs that ``--lens`` or the environment names; empty for the default."""
    return list(config.option.lens or ())


def get_source(config: pytest.Config) -> str:
    """Return what named the bench."""
    return config.stash.get(_SOURCE, "default")


def get_seed(config: pytest.Config) -> int:
    """Return the seed of this run."""
    return config.stash[_SEED]


def get_wait(config: pytest.Config) -> float:
    """Return how long to wait for a board, in seconds."""
    text = config.getoption("--lens-wait")
    return WAIT_S if text is None else parse_seconds(text)


def get_deadline(config: pytest.Config) -> float:
    """Return how long a test may take, in seconds; 0 for ever."""
    text = config.getoption("--lens-deadline") or config.getini("lens_deadline")
    return DEADLINE_S if not text else parse_seconds(text)


def get_evidence_folder(config: pytest.Config) -> Path:
    """Return where recordings of failed tests are kept."""
    return config.invocation_params.dir / (config.getoption("--lens-evidence") or EVIDENCE)


def get_report_path(config: pytest.Config) -> Path | None:
    """Return the file of the report; None if none is wanted."""
    return _get_path(config, "--lens-report")


def get_history_folder(config: pytest.Config) -> Path | None:
    """Return the folder of the boards' histories; None if none is kept."""
    return _get_path(config, "--lens-history")


def _get_path(config: pytest.Config, option: str) -> Path | None:
    text: str | None = config.getoption(option)
    return config.invocation_params.dir / text if text else None
