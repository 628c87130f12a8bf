"""End a test that does not end, whatever it hangs in.

A thread of the interpreter's C code counts the time. It needs neither the GIL nor a signal, so it
also ends a test that holds the one and ignores the other. It writes the stacks of all threads and
ends the process: a worker of pytest-xdist. The controller starts another worker, and reports the
test as failed, with the stacks. The time of a test includes its fixtures, their teardown too.
"""

from __future__ import annotations

import contextlib
import faulthandler
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, BinaryIO, Final

import pytest

from .run_options import get_deadline, get_evidence_folder, named_urls, worker_input
from .session_evidence import (
    SessionRecorder,
    is_recording,
    make_name,
    make_replay_command,
)

_MAX_STACKS: Final = 100_000
_FOLDER = pytest.StashKey[Path]()
_STACKS = pytest.StashKey[BinaryIO]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each worker the folder that it writes the stacks into."""
    config = node.config
    if _FOLDER not in config.stash:
        folder = tempfile.TemporaryDirectory(prefix="lenslink-stacks-")
        config.add_cleanup(folder.cleanup)
        config.stash[_FOLDER] = Path(folder.name)
    node.workerinput["lenslink_stacks"] = str(config.stash[_FOLDER])


def pytest_configure(config: pytest.Config) -> None:
    """Open the file of the stacks, in a worker on a bench that was named."""
    worker = worker_input(config)
    if worker is None or not named_urls(config) or not get_deadline(config):
        return
    path = Path(worker["lenslink_stacks"]) / worker["workerid"]
    file = path.open("wb")
    config.stash[_STACKS] = file
    config.add_cleanup(file.close)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Count the time of one test."""
    extend(item.config, 0)
    try:
        return (yield)
    finally:
        if _STACKS in item.config.stash:
            faulthandler.cancel_dump_traceback_later()


def extend(config: pytest.Config, seconds: float) -> None:
    """Count anew: the deadline, or *seconds* if that is not 0, from now on."""
    file = config.stash.get(_STACKS, None)
    if file is not None:
        seconds = seconds or get_deadline(config)
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport, sched: Any) -> None:
    """Say in the report of a test whose worker has died why that was, and keep its recording."""
    del sched
    config = report.node.config
    worker = report.node.gateway.id
    stacks = _read_stacks(config, worker)
    if stacks:
        report.longrepr = (
            f"the test did not end within {get_deadline(config):g} s, and was killed; "
            "the stacks of its threads follow (--lens-deadline changes the limit)"
        )
        report.sections.append(("stacks", stacks))
    # A test that hangs or crashes has failed. pytest-xdist gives its report no phase.
    report.when = "call"
    report.duration = get_deadline(config) if stacks else 0.0
    if is_recording(config):
        recorder = SessionRecorder(get_evidence_folder(config), worker)
        path = recorder.keep(make_name(crashitem, worker), {})
        if path is not None:
            command = make_replay_command(config, crashitem, path)
            report.sections.append(("lenslink", f"recording: {path}\nto replay: {command}"))
            report.lens_recording = str(path)  # type: ignore[attr-defined]
            report.lens_replay = command  # type: ignore[attr-defined]


def _read_stacks(config: pytest.Config, worker: str) -> str:
    folder = config.stash.get(_FOLDER, None)
    if folder is None:
        return ""
    with contextlib.suppress(OSError), (folder / worker).open("rb") as file:
        return file.read(_MAX_STACKS).decode("utf-8", "replace")
    return ""
