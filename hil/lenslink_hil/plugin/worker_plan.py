"""Choose the processes that the tests run in, and end the run in order at SIGTERM.

On a bench that ``--lens`` names, tests run in a worker of pytest-xdist, even if there is only one:
a process that hangs can be killed only from outside, and the report is whole all the same. With
``-n auto`` there is a worker for each board that is free.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from types import FrameType
from typing import Any

import pytest

from .run_options import named_urls, worker_input

_NOTE = pytest.StashKey[str]()
_OWN = ("sim", "pico", "replay")
"""Opening one of these starts its module: as many as are wanted."""


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """Choose the workers before pytest-xdist does."""
    config.stash[_NOTE] = _choose_workers(config)
    return (yield)


def _choose_workers(config: pytest.Config) -> str:
    """Set the number of workers where it is ours to set; return the line that says so."""
    option = config.option
    if not option.lens or option.collectonly or worker_input(config) is not None:
        return ""
    boards = count_boards(config)
    if not config.pluginmanager.has_plugin("xdist"):
        return "lens: a test that hangs cannot be killed: pip install pytest-xdist"
    if option.numprocesses is None and not option.tx:
        if option.usepdb or option.trace or option.capture == "no":
            return "lens: tests run in this process, where a test that hangs cannot be killed"
        option.numprocesses = 1 if boards is None or len(option.lens) == 1 else boards
        workers = "one worker process" if option.numprocesses == 1 else f"{boards} workers"
        return f"lens: tests run in {workers}, so that a test that hangs can be killed"
    if isinstance(option.numprocesses, int) and boards is not None and option.numprocesses > boards:
        option.numprocesses = boards
        return f"lens: {boards} workers, one for each board"
    return ""


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say which processes the tests run in, where the plugin has chosen."""
    return config.stash.get(_NOTE, "") or None


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return the number of boards for ``-n auto``; None lets pytest-xdist count the cores."""
    return count_boards(config) if config.option.lens else None


def count_boards(config: pytest.Config) -> int | None:
    """Return how many boards the named URLs mean: of a rig, those that are free, at least one.

    Returns None if the bench starts as many modules as are wanted.
    """
    urls = named_urls(config)
    if not urls or (len(urls) == 1 and is_own(urls[0])):
        return None
    boards = 0
    for url in urls:
        boards += _count_free(url) if url.startswith("rig:") else 1
    return max(1, boards)


def is_own(url: str) -> bool:
    """Return True if opening *url* starts a module, which nobody else can reach."""
    scheme, _, rest = url.partition(":")
    return scheme in _OWN or (scheme == "usbip" and (not rest or rest.startswith("?")))


def _count_free(url: str) -> int:
    from lenslink import LensLinkError

    from ..rig.board_lock import BoardLock, make_lock_path
    from .held_module import find_rig_boards

    try:
        rig, boards = find_rig_boards(url)
        taken = [BoardLock.is_taken(make_lock_path(b.address, rig.locks)) for b in boards]
    except LensLinkError:
        # The fixtures report it, as a rig error of each test.
        return 1
    return taken.count(False)


def pytest_configure(config: pytest.Config) -> None:
    """Let SIGTERM end the run as Ctrl-C does: boards are released and reports are written."""
    is_main = threading.current_thread() is threading.main_thread()
    if not config.option.lens or worker_input(config) is not None or not is_main:
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end_run)
        config.add_cleanup(_restore_signal)


def _restore_signal() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_run(number: int, frame: FrameType | None) -> None:
    del frame
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pytest.exit("the run was abandoned: SIGTERM", returncode=128 + number)
