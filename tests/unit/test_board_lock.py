"""The lock of a board: one holder, who is named, and who may die at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.slowdown import patience

from lenslink.deadline import Deadline
from lenslink.errors import RigError
from lenslink_hil.rig.board_lock import BoardLock, make_lock_path, read_holder, take_first
from lenslink_hil.rig.keeper import guard


def test_one_holder_at_a_time_and_it_is_named(tmp_path: Path) -> None:
    path = make_lock_path("usb:LL-1", tmp_path)
    assert read_holder(path) is None
    lock = BoardLock.try_to_take(path, "the first job")
    assert lock is not None
    assert BoardLock.try_to_take(path) is None
    assert BoardLock.is_taken(path)
    holder = read_holder(path)
    assert holder is not None
    assert (holder.pid, holder.command) == (os.getpid(), "the first job")
    lock.release()
    lock.release()
    assert read_holder(path) is None
    again = BoardLock.try_to_take(path)
    assert again is not None
    again.release()


def test_the_first_that_is_free_is_taken_and_a_wait_names_the_holder(tmp_path: Path) -> None:
    paths = [make_lock_path(name, tmp_path) for name in ("a", "b")]
    first = take_first(paths, Deadline(0), command="job one")
    second = take_first(paths, Deadline(0), command="job two")
    assert first is not None
    assert second is not None
    assert (first[0], second[0]) == (0, 1)
    told: list[str] = []
    assert take_first(paths, Deadline(0.05), told.append) is None
    (text,) = told
    assert "job one" in text
    assert "job two" in text
    timer = threading.Timer(0.1, second[1].release)
    timer.start()
    third = take_first(paths, Deadline(patience(20)))
    timer.join()
    assert third is not None
    assert third[0] == 1
    third[1].release()
    first[1].release()


HOLD = """
import sys
from pathlib import Path
from lenslink_hil.rig.board_lock import BoardLock
lock = BoardLock.try_to_take(Path(sys.argv[1]))
print("taken", flush=True)
sys.stdin.read()
"""


def test_a_holder_that_is_killed_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "board.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    with process.stdout, process.stdin:
        assert process.stdout.readline() == b"taken\n"
        assert BoardLock.is_taken(path)
        process.kill()
        process.wait()
    assert not BoardLock.is_taken(path)


def test_a_lock_that_cannot_be_opened_is_a_rig_error(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="cannot lock a board"):
        BoardLock.try_to_take(tmp_path / "missing" / "board.lock")


def test_a_damaged_note_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "board.lock"
    lock = BoardLock.try_to_take(path)
    assert lock is not None
    path.write_text("[]")
    assert read_holder(path) is None
    lock.release()


# --- the keeper: how a job left its power ------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "is_on"),
    [(b"", True), (b"off\n", False), (b"off\non\n", True), (b"on\noff\n", False)],
)
def test_the_keeper_knows_how_the_job_left_the_power(lines: bytes, is_on: bool) -> None:
    read, write = os.pipe()
    os.write(write, lines)
    os.close(write)
    try:
        assert guard(os.getppid(), None, read) is is_on
    finally:
        os.close(read)


def test_a_job_without_its_controller_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lenslink_hil.rig import keeper

    monkeypatch.setattr(keeper, "_CONTROLLER_S", 0.05)
    monkeypatch.setattr(keeper, "_POLL_S", 0.01)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    job = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    read, write = os.pipe()
    thread = threading.Thread(target=guard, args=(job.pid, gone.pid, read), daemon=True)
    # The job is this process's child and not the parent of guard(), so guard() would return.
    monkeypatch.setattr(os, "getppid", lambda: job.pid)
    thread.start()
    assert job.wait(patience(20)) == -signal.SIGKILL
    os.close(write)
    thread.join(patience(5))
    assert not thread.is_alive()
    os.close(read)
