"""Choose the processes that the tests run in, and end the run cleanly at SIGTERM.

On a bench that ``--lens`` names, tests run in worker processes of pytest-xdist, even if one worker
is enough. A test that hangs can then be killed with its worker, and the report still has all tests.
With ``-n auto`` there is a worker for each board that is free.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from types import FrameType
from typing import Any

import pytest

from .run_options import is_worker, named_urls

_NOTE = pytest.StashKey[str]()
_COUNT_S = 5.0
_STARTING_SCHEMES = ("sim", "pico", "replay")
"""Opening a URL of these schemes starts a new module, so that each worker can have its own."""


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """Choose the workers before pytest-xdist does."""
    config.stash[_NOTE] = _choose_workers(config)
    return (yield)


def _choose_workers(config: pytest.Config) -> str:
    """Set the number of workers unless the user has set it. Return a line for the report's head.

    The line is empty if there is nothing to say.
    """
    option = config.option
    if not option.lens or option.collectonly or is_worker(config):
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
    """Return the number of boards behind the URLs of ``--lens``, at least 1.

    Of a rig and of labgrid, only the boards that nobody has taken count. Returns None if there is
    no limit, because opening the URL starts a new module.
    """
    urls = named_urls(config)
    if not urls or (len(urls) == 1 and starts_module(urls[0])):
        return None
    boards = 0
    for url in urls:
        boards += _count_free(url) if url.startswith(("rig:", "labgrid:")) else 1
    return max(1, boards)


def starts_module(url: str) -> bool:
    """Return True if opening *url* starts a new module, which nobody else can reach."""
    scheme, _, rest = url.partition(":")
    return scheme in _STARTING_SCHEMES or (scheme == "usbip" and (not rest or rest.startswith("?")))


def _count_free(url: str) -> int:
    from lenslink import LensLinkError
    from lenslink.deadline import Deadline
    from lenslink.transports import parse

    from ..rig.board_lock import BoardLock, make_lock_path
    from .held_module import LABGRID, find_rig_boards

    try:
        if (place := parse(url)).scheme == LABGRID:
            from ..labgrid.held_place import count_free_places

            return count_free_places(place, Deadline(_COUNT_S))
        rig, boards = find_rig_boards(url)
        taken = [BoardLock.is_taken(make_lock_path(b.address, rig.locks)) for b in boards]
    except LensLinkError:
        # The fixtures report the error, as a rig error of each test.
        return 1
    return taken.count(False)


def pytest_configure(config: pytest.Config) -> None:
    """Let SIGTERM end the run as Ctrl-C does: boards are released and reports are written."""
    is_main = threading.current_thread() is threading.main_thread()
    if not config.option.lens or is_worker(config) or not is_main:
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
