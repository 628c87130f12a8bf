"""Test that a module has one owner, and that a look at its lock does not count as one."""

from __future__ import annotations

import errno
import os
import threading
import warnings
from pathlib import Path

import pytest
from filelock import FileLock

from lenslink import DeviceBusy
from lenslink.errors import StorageError
from lenslink.lock import ModuleLock, is_locked, make_lock_key, remove_stale_locks
from lenslink.url import parse_url


@pytest.fixture(autouse=True)
def runtime(monkeypatch, tmp_path):
    monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(tmp_path))


def test_a_module_has_one_owner():
    first = ModuleLock("serial:1", "module 1")
    assert is_locked("serial:1")
    assert not is_locked("serial:2")
    with pytest.raises(DeviceBusy, match="module 1 is in use by another process"):
        ModuleLock("serial:1", "module 1")
    first.release()
    first.release()
    assert not is_locked("serial:1")
    ModuleLock("serial:1", "module 1").release()


def test_a_look_at_the_lock_does_not_keep_an_owner_out():
    """``lenslink watch`` looks ten times a second."""
    held, done = threading.Event(), threading.Event()

    def glance():
        lock = ModuleLock("serial:1", "module 1")
        held.set()
        done.wait(0.01)
        lock.release()

    thread = threading.Thread(target=glance)
    thread.start()
    assert held.wait(10)
    ModuleLock("serial:1", "module 1").release()
    thread.join()


def count_files(tmp_path: Path) -> int:
    return len(list((tmp_path / "locks").iterdir()))


def test_a_released_lock_leaves_no_file(tmp_path):
    lock = ModuleLock("serial:1", "module 1")
    assert count_files(tmp_path) == 1
    assert is_locked("serial:1")
    assert count_files(tmp_path) == 1
    lock.release()
    assert not is_locked("serial:1")
    assert count_files(tmp_path) == 0


def test_the_locks_of_dead_processes_are_removed_and_those_of_living_ones_are_not(tmp_path):
    living = ModuleLock("serial:1", "module 1")
    stale = tmp_path / "locks" / "stale.lock"
    stale.touch()
    assert remove_stale_locks() == [stale]
    assert is_locked("serial:1")
    living.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
def test_a_child_neither_releases_nor_removes_its_parents_lock(tmp_path):
    lock = ModuleLock("serial:1", "module 1")
    with warnings.catch_warnings():
        # Python 3.12 and later warn of fork() in a process with threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        lock.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert count_files(tmp_path) == 1
    with pytest.raises(DeviceBusy):
        ModuleLock("serial:1", "module 1")
    lock.release()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.ENOSPC, errno.EIO])
def test_a_lock_that_cannot_be_opened_is_a_storage_error(code, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(FileLock, "acquire", fail)
    words = "belongs to another user" if code == errno.EACCES else os.strerror(code)
    with pytest.raises(StorageError, match=words):
        ModuleLock("serial:1", "module 1")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("unix:lens", "unix:folder/../lens", True),
        ("unix:lens", "unix:./lens", True),
        ("unix:lens", "unix:%6cens", True),
        ("shm:lens", "shm:link/lens", True),
        ("unix:lens", "unix:lens2", False),
        ("unix:lens", "shm:lens", False),
        ("unix:%00lens", "unix:%00lens", True),
        ("unix:%00lens", "unix:%00other", False),
        ("tcp:LocalHost:7650", "tcp:localhost:7650", True),
        ("tcp:localhost:7650", "tcp:localhost:7651", False),
    ],
)
def test_an_address_has_one_key(one, other, same, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    keys = [make_lock_key(parse_url(text, ("unix", "shm", "tcp"))) for text in (one, other)]
    assert (keys[0] == keys[1]) is same
    if one == "unix:lens":
        assert keys[0] == make_lock_key(parse_url(f"unix:{tmp_path}/lens", ("unix",)))
