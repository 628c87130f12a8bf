"""Times without what other programs took: a busy core costs nothing, our own work and sleep do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.undisturbed import Moment

WORK_S = 0.3
pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or not Path("/proc/self/schedstat").exists(),
    reason="looks into Linux' /proc",
)


def work() -> None:
    """Need a core for a while."""
    end = time.thread_time() + WORK_S
    while time.thread_time() < end:
        pass


@pytest.fixture
def one_core():
    """Run this process, and what it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def test_work_and_sleep_count():
    began = Moment.take()
    work()
    time.sleep(0.2)
    # Waits of other threads of this process, such as those of earlier tests, are taken off too.
    assert Moment.take().since(began) > WORK_S + 0.05


@pytest.mark.usefixtures("one_core")
def test_waiting_for_a_core_does_not_count():
    code = "while True: pass"
    # No child of ours: what a child waits counts too.
    busy = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import os\nif os.fork() == 0:\n print(os.getpid(), flush=True)\n {code}",
        ],
        stdout=subprocess.PIPE,
    )
    assert busy.stdout is not None
    loop = int(busy.stdout.readline())
    busy.wait()
    try:
        began = Moment.take()
        work()
        ended = Moment.take()
    finally:
        os.kill(loop, 9)
        busy.stdout.close()
    assert ended.seconds - began.seconds > 1.5 * WORK_S, "the loop took its share"
    assert ended.since(began) < 1.3 * WORK_S


@pytest.mark.usefixtures("one_core")
def test_what_a_child_or_another_thread_waits_does_not_count():
    code = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    thread = threading.Thread(target=work)
    began = Moment.take()
    child = subprocess.Popen([sys.executable, "-c", code])
    thread.start()
    thread.join()
    ended = Moment.take()
    assert child.wait() == 0
    assert ended.since(began) < ended.seconds - began.seconds - 0.1
