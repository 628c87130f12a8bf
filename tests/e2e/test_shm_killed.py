"""Test that at full speed over ``shm:`` one end notices when the other is killed."""

from __future__ import annotations

import gc
import json
import random
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from helpers.nightly_scale import choose, say
from helpers.slowdown import patience
from helpers.undisturbed import Moment

import lenslink
from lenslink import Disconnected, FrameStatus
from lenslink.deadline import Deadline
from lenslink.transports import open_transport, parse
from lenslink.transports.shm import ShmEnd, offer

if sys.platform != "linux":
    pytest.skip("shm: needs Linux", allow_module_level=True)

MOMENTS = choose(4, 50)
KNOWN_S = patience(0.2)
PATIENCE_S = patience(30)

# Each says a line once it is at work.
HOST = """
from lenslink.deadline import Deadline
from lenslink.transports import open_transport, parse
end = open_transport(parse("shm:lens"), Deadline(20))
print(flush=True)
room = [memoryview(bytearray(65536)), memoryview(bytearray(40))]
while True:
    end.receive_into(room, 20)
"""
MODULE = """
import socket
from lenslink.deadline import Deadline
from lenslink.transports.shm import offer
with socket.socket(socket.AF_UNIX) as server:
    server.bind("lens")
    server.listen()
    print(flush=True)
    end = offer(server.accept()[0])
while True:
    end.send(bytes(65576), Deadline(20))
"""

SOURCE = """
import sys
from lenslink_hil.benchmark.source import main
sys.argv[1:] = ["shm:lens", "--width", "640", "--height", "480", "--tile", "16384"]
main()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("killed", ["host", "module"])
def test_killed_at_any_moment(killed, seed, capsys):
    chance = random.Random(seed)
    # What earlier tests of this process left to be collected must not go while this one counts.
    gc.collect()
    before = left()
    known = []
    for _ in range(MOMENTS):
        known.append(_once(killed, chance.uniform(0, 0.05)))
        assert known[-1] < KNOWN_S, f"seed {seed}"
        assert left() == before, f"seed {seed}"
    say(
        capsys,
        f"the {killed} killed at {MOMENTS} moments (seed {seed}): known after "
        f"{1000 * sorted(known)[MOMENTS // 2]:.1f} ms, at worst {1000 * max(known):.1f} ms",
    )


def _once(killed: str, moment: float) -> float:
    """Return the seconds from the kill until the other end noticed."""
    path = Path("lens")
    path.unlink(missing_ok=True)
    if killed == "host":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()
            process = _start(HOST)
            end = offer(server.accept()[0])
        assert process.stdout is not None
        process.stdout.readline()
    else:
        process = _start(MODULE)
        assert process.stdout is not None
        process.stdout.readline()
        transport = open_transport(parse("shm:lens"), Deadline(20))
        assert isinstance(transport, ShmEnd)
        end = transport
    try:
        _work(end, killed, moment)
        process.kill()
        at = Moment.take()
        with pytest.raises(Disconnected, match=f"the {killed} closed the connection"):
            _work(end, killed, PATIENCE_S)
        return Moment.take().since(at)
    finally:
        process.kill()
        process.communicate()
        end.close()


def _work(end: ShmEnd, killed: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    room = [memoryview(bytearray(65536)), memoryview(bytearray(40))]
    while time.monotonic() < until:
        if killed == "host":
            end.send(bytes(65576), Deadline(PATIENCE_S))
        else:
            end.receive_into(room, PATIENCE_S)


def _start(script: str) -> subprocess.Popen[bytes]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", script], **pipes)


def left() -> tuple[int, int]:
    """Return the numbers of descriptors and of shared-memory mappings."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    return len(list(Path("/proc/self/fd").iterdir())), maps.count("memfd:lenslink")


def test_a_module_is_killed_during_direct_placement(seed, capsys):
    """Kill the module during direct placement: every complete frame is correct."""
    chance = random.Random(seed)
    # What earlier tests of this process left to be collected must not go while this one counts.
    gc.collect()
    before = left()
    frames, known = 0, []
    for _ in range(MOMENTS):
        Path("lens").unlink(missing_ok=True)
        process = _start(SOURCE)
        try:
            assert process.stdout is not None
            crcs = json.loads(process.stdout.readline())["crcs"]
            count, seconds = _stream(process, crcs, chance.uniform(0, 0.05))
        except AssertionError:
            print(f"seed {seed}")
            raise
        finally:
            process.kill()
            process.communicate()
        frames += count
        known.append(seconds)
        # As any memory of frames, theirs is there for as long as somebody could look at it.
        gc.collect()
        assert known[-1] < KNOWN_S, f"seed {seed}"
        assert left() == before, f"seed {seed}"
    say(
        capsys,
        f"a module that writes frames killed at {MOMENTS} moments (seed {seed}), {frames} frames: "
        f"known after at worst {1000 * max(known):.1f} ms",
    )


def _stream(process: subprocess.Popen[bytes], crcs: list[int], moment: float) -> tuple[int, float]:
    """Return the complete frames until the kill, and the seconds until it was noticed."""
    count = 0
    killed = None
    with lenslink.open("shm:lens") as device:
        device.start(tile_bytes=16384)
        end = time.monotonic() + moment
        with pytest.raises(Disconnected, match="the module closed the connection"):
            while True:
                with device.next_frame() as frame:
                    assert frame.status is FrameStatus.COMPLETE
                    assert zlib.crc32(frame.packed) == crcs[frame.number % len(crcs)]
                count += killed is None
                if killed is None and time.monotonic() > end:
                    process.kill()
                    killed = Moment.take()
        assert killed is not None
        return count, Moment.take().since(killed)
