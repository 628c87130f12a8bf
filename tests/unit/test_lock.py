"""One owner per module; a glance at the lock is none."""

from __future__ import annotations

import threading

import pytest

from lenslink import DeviceBusy
from lenslink.lock import ModuleLock, is_locked


@pytest.fixture(autouse=True)
def runtime(monkeypatch, tmp_path):
    monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(tmp_path))


def test_one_owner():
    first = ModuleLock("serial:1", "module 1")
    assert is_locked("serial:1")
    assert not is_locked("serial:2")
    with pytest.raises(DeviceBusy, match="module 1 is in use by another process"):
        ModuleLock("serial:1", "module 1")
    first.release()
    first.release()
    assert not is_locked("serial:1")
    ModuleLock("serial:1", "module 1").release()


def test_a_glance_is_no_owner():
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
