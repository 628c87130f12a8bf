"""Record each session of the link, and keep the recording of a test that failed.

The recording is written while the test runs, so it is there even if the process is killed. It is
removed when the test passes. A kept recording holds the test's messages, its log and what it ran
on, but no environment. Recordings are bounded: :data:`MAX_BYTES` each, :data:`MAX_FILES` in all,
:data:`MAX_AGE_S` old.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from .run_options import NO_EVIDENCE, get_evidence_folder, get_seed, named_urls, worker_input

if TYPE_CHECKING:
    from lenslink.transports import Transport

    from ..recording.lcap import Direction, Writer

MAX_BYTES: Final = 256 << 20
MAX_FILES: Final = 50
MAX_AGE_S: Final = 30 * 86400.0
_MAX_TEXT: Final = 200_000
_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]+")

RECORDER = pytest.StashKey["SessionRecorder"]()


class SessionRecorder:
    """Writes what goes over the link, one file for a test; its file may be replaced at any time.

    A file that cannot be written ends the recording and not the test: :attr:`problem` says why.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self.folder = folder
        self.path = folder / f"running-{worker}.lcap"
        """The recording of the test that runs."""
        self.problem = ""
        self._writer: Writer | None = None
        self._info: dict[str, object] = {}

    def wrap(self, transport: Transport, url: str) -> Transport:
        """Return the *transport* to *url* with all its bytes recorded."""
        from lenslink.transports import parse

        from ..recording.recorder import count_lanes, make_info, wrap_transport

        self._info = make_info(parse(url), count_lanes(transport))
        self._begin()
        return wrap_transport(transport, self)

    def begin(self) -> None:
        """Begin the recording of a test. Raises :exc:`~lenslink.RigError` if the disk is full."""
        self._begin()
        if self.problem:
            from lenslink import RigError

            raise RigError(f"cannot record: {self.problem}; free some space, or --lens-evidence")

    def _begin(self) -> None:
        """Begin the file anew: what was recorded before belongs to no test that runs."""
        from lenslink import StorageError

        from ..recording.lcap import Writer

        self.discard()
        self.problem = ""
        if not self._info:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writer = Writer.create(self.path, True, self._info)
        except OSError as error:
            self.problem = f"{self.folder}: {error.strerror or error}"
        except StorageError as error:
            self.problem = str(error)

    def write_data(
        self, lane: int, direction: Direction, pieces: Sequence[memoryview | bytes]
    ) -> None:
        """Write bytes that went over a lane."""
        writer = self._writer
        if writer is None:
            return
        if writer.data_bytes > MAX_BYTES:
            self._stop(f"it ends after {MAX_BYTES >> 20} MB")
            return
        self._attempt(lambda: writer.write_data(lane, direction, pieces))

    def write_lane_end(self, lane: int, reason: str) -> None:
        """Write that a lane has ended."""
        writer = self._writer
        if writer is not None:
            self._attempt(lambda: writer.write_lane_end(lane, reason))

    def _attempt(self, write: Callable[[], None]) -> None:
        from lenslink import StorageError

        try:
            write()
        except StorageError as error:
            self._stop(str(error))

    def _stop(self, problem: str) -> None:
        self.problem = problem
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def discard(self) -> None:
        """Remove the file of the test that runs."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        with contextlib.suppress(OSError):
            self.path.unlink()

    def keep(self, name: str, files: dict[str, bytes]) -> Path | None:
        """Keep the recording as *name*, with *files* in it; return its path, None if there is none.

        The next test begins a file of its own.
        """
        from lenslink import StorageError

        writer, self._writer = self._writer, None
        if writer is None and not self.path.exists():
            return None
        target = self.folder / f"{name}.lcap"
        with contextlib.suppress(OSError, StorageError):
            if writer is not None:
                for each, data in files.items():
                    writer.write_file(each, data[:_MAX_TEXT])
                writer.finish("the test failed")
            self.path.replace(target)
            prune(self.folder)
            return target
        return None


def prune(folder: Path) -> None:
    """Remove the recordings that are too old or too many. Never raises."""
    now = datetime.now(UTC).timestamp()
    with contextlib.suppress(OSError):
        files = sorted(folder.glob("*.lcap"), key=lambda path: -path.stat().st_mtime)
        for index, path in enumerate(files):
            if index >= MAX_FILES or now - path.stat().st_mtime > MAX_AGE_S:
                path.unlink()


def make_name(nodeid: str, worker: str) -> str:
    """Return the name of a recording: the time, the test, and the worker."""
    when = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    test = _NAME.sub("-", nodeid.rpartition("/")[2]).strip("-")[:80]
    return f"{when}-{test}-{worker}"


def make_replay_command(config: pytest.Config, nodeid: str, path: Path) -> str:
    """Return the command that runs the test on the recording."""
    test = config.rootpath / nodeid if "::" in nodeid else Path(nodeid)
    return shlex.join(
        ["pytest", str(test), "--lens", f"replay:{path}", f"--lens-seed={get_seed(config)}"]
    )


def get_worker_id(config: pytest.Config) -> str:
    """Return the name of this worker process; ``main`` without pytest-xdist."""
    worker = worker_input(config)
    return "main" if worker is None else str(worker["workerid"])


def is_recording(config: pytest.Config) -> bool:
    """Return True if sessions are recorded: on a bench that was named and is no recording."""
    urls = named_urls(config)
    is_wanted = config.getoption("--lens-evidence") != NO_EVIDENCE
    return is_wanted and bool(urls) and not urls[0].startswith("replay:")


def pytest_configure(config: pytest.Config) -> None:
    """Make the recorder of this process."""
    if is_recording(config):
        folder = get_evidence_folder(config)
        config.stash[RECORDER] = SessionRecorder(folder, get_worker_id(config))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the recording of a test that was not judged."""
    if (recorder := config.stash.get(RECORDER, None)) is not None:
        recorder.discard()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Keep the recording of a test that failed, in the outermost wrapper: the outcome is known."""
    report: pytest.TestReport = yield
    recorder = item.config.stash.get(RECORDER, None)
    if recorder is None:
        return report
    if report.failed or hasattr(report, "quarantine"):
        _keep(item, report, recorder)
    elif report.when == "teardown":
        recorder.discard()
    return report


def _keep(item: pytest.Item, report: pytest.TestReport, recorder: SessionRecorder) -> None:
    from ..report.run_facts import list_run_facts

    config = item.config
    notes = json.loads(getattr(report, "lens_notes", "{}"))
    pictures = notes.pop("pictures", ())
    log = notes.pop("module_log", ())
    facts = {
        "schema": "lenslink.evidence/1",
        "test": item.nodeid,
        "phase": report.when,
        "seed": get_seed(config),
        "pytest": pytest.__version__,
        **list_run_facts(),
        "pictures": [each["title"] for each in pictures],
        **notes,
        "message": report.longreprtext[-_MAX_TEXT:],
        "problem": recorder.problem or None,
        **{k: v for k, v in item.user_properties if k.startswith("lens_")},
    }
    texts = {"test.json": json.dumps(facts, default=str), "module log.txt": "\n".join(log)}
    texts |= {f"{name}.txt": text for name, text in report.sections}
    files = {name: text.encode() for name, text in texts.items() if text}
    for number, each in enumerate(pictures, 1):
        files[f"picture {number}.jpg"] = base64.b64decode(each["jpeg"])
    path = recorder.keep(make_name(item.nodeid, get_worker_id(config)), files)
    if path is None:
        return
    text = f"recording: {path}\nto replay: {make_replay_command(config, item.nodeid, path)}"
    if recorder.problem:
        text += f"\nthe recording is not whole: {recorder.problem}"
    report.sections.append(("lenslink", text))
    report.lens_recording = str(path)  # type: ignore[attr-defined]
    report.lens_replay = make_replay_command(config, item.nodeid, path)  # type: ignore[attr-defined]
