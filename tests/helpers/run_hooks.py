"""pytest hooks for a run as a whole: stretched time limits, and the order of a parallel run."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_timeout

from lenslink_hil.plugin.run_options import named_urls
from lenslink_hil.plugin.worker_plan import count_boards

from . import phases
from .slowdown import VARIABLE, current_slowdown, share_cores, slowdown

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

_FOLDER = pytest.StashKey[Path]()
"""Of a parallel run: each worker writes into it, and has its runtime folder in it."""
_RAN = ("passed", "failed", "error", "xfailed", "xpassed")
# Half of the time a test waits, for a process that it has started or for a deadline. Three workers
# are a little faster, but then tests that run in real time fail now and then.
_WORKERS_PER_CORE = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that renews the table of durations."""
    parser.addoption(
        "--write-durations",
        action="store_true",
        help="write how long each file took: a parallel run begins with the longest files",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Measure the slowdown before any test module asks for it, and before workers inherit it."""
    worker = _worker_folder(config)
    # A worker inherits what the run has found.
    share_cores(0 if worker else len(config.getoption("tx", None) or ()))
    # Workers do not see each other's modules. A bench that was named is locked where its user does.
    if worker is not None and not named_urls(config):
        os.environ["LENSLINK_RUNTIME_DIR"] = str(worker)


def pytest_report_header() -> str:
    """Return the line that says how far time limits are stretched."""
    return f"time limits: times {slowdown():.1f}, which {VARIABLE} overrides"


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> bool:
    """Stretch the time limit of every test by the slowdown: that of now, if it has grown."""
    stretched = settings._replace(timeout=settings.timeout * current_slowdown())
    return pytest_timeout.pytest_timeout_set_timer(item, stretched)


# --- a parallel run: pytest -n ----------------------------------------------------------


def _worker_folder(config: pytest.Config) -> Path | None:
    """Return the folder of this process if it is a worker."""
    worker = getattr(config, "workerinput", None)
    return None if worker is None else Path(worker["folder"])


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> Generator[None, int, int]:
    """Return two workers for each core, or as many as there are boards."""
    count = yield
    return count if count_boards(config) else count * _WORKERS_PER_CORE


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Make the folder of the run. Its path is short: sockets lie in it."""
    config.stash[_FOLDER] = Path(tempfile.mkdtemp(prefix="ll-"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Give a worker its folder."""
    folder = node.config.stash[_FOLDER] / node.gateway.id
    folder.mkdir(mode=0o700)
    node.workerinput["folder"] = str(folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config) -> phases.SharedThenAlone | None:
    """Run shared tests in parallel and then the exclusive ones; respect another ``--dist``."""
    if config.getoption("dist") != "load":
        return None
    workers, durations = len(config.getoption("tx")), phases.read_durations()
    return phases.SharedThenAlone(workers, config.stash[_FOLDER], durations)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what uses a bench that all workers share: one that does not start a module itself."""
    from helpers import bench_scale

    named = named_urls(config)
    # Each worker has a board of its own if there are several.
    if not named or bench_scale.scheme_of(named[0]) in (*bench_scale.OWN, "rig:") or named[1:]:
        return
    for item in items:
        if "lens_url" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.exclusive)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector away from what is collected: 300,000 objects that stay.

    It would look at them again and again: a tenth of the CPU time of tests with many objects.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """In a worker, write which tests are exclusive, before xdist reports the tests."""
    if (folder := _worker_folder(session.config)) is not None:
        phases.write_exclusive(folder, session.items)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Let a parallel run fail if it executed no test, for example because all were skipped.

    Write the durations if they are wanted.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--write-durations") and reporter is not None:
        stats = reporter.stats.values()
        reports = [each for found in stats for each in found if isinstance(each, pytest.TestReport)]
        phases.write_durations(phases.DURATIONS, reports)
    if exitstatus or reporter is None or _FOLDER not in session.config.stash:
        return
    if not any(reporter.stats.get(outcome) for outcome in _RAN):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder of the run."""
    if folder := config.stash.get(_FOLDER, None):
        shutil.rmtree(folder, ignore_errors=True)
