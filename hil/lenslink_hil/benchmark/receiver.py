"""The process whose time is counted: a host with the driver in it, and nothing else.

It does what the lines on its standard input say, each a JSON object with ``do``, and answers each
with one: so the driver's runs and the bare ones alternate in one process, and drift of the machine
is in both. It ends with its standard input.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import lenslink
from lenslink import Device, Frame, FrameStatus
from lenslink.errors import LensLinkError, RigError
from lenslink_protocol.crc import crc32

from .bare import Bare, ping

RING_SLOTS = 2
"""A reader that keeps pace needs no more: one frame under way, one that it reads."""
WARM_FRAMES = 3
"""Before the clock starts: memory is taken from the system, and the pool filled."""
_TIMEOUT_S = 20.0


class Receiver:
    """Serves commands about the source at *url*."""

    def __init__(self, url: str, source: Mapping[str, Any]) -> None:
        self._url = url
        self._source = source
        self._bare: Bare | None = None
        # Frames of memory that the driver's last run took in turns.
        self._buffers = 1

    def driver(
        self, tile: int, frames: int, damage_at: int, ring: str | None = None
    ) -> dict[str, Any]:
        """Receive *frames* by the driver, into a ring if one is named.

        The frame at *damage_at*, counted from the first of the session, arrives damaged: it is
        checked, in time that does not count.
        """
        with self._open(ring) as device:
            idle = resident()[0]
            device.start(tile_bytes=tile)
            for _ in range(WARM_FRAMES):
                device.next_frame().release()
            before = device.stats
            checking, repaired = 0.0, False
            buffers = set()
            cpu, wall = time.process_time(), time.monotonic()
            for index in range(frames):
                frame = device.next_frame()
                if index == damage_at - WARM_FRAMES:
                    started = time.process_time()
                    repaired = self._check(frame)
                    checking += time.process_time() - started
                elif frame.status is not FrameStatus.COMPLETE:
                    raise RigError(f"frame {frame.number} came incomplete")
                buffers.add(frame.packed.ctypes.data)
                frame.release()
            wall = time.monotonic() - wall - checking
            cpu = time.process_time() - cpu - checking
            rejected = _rejected(device, before)
            peak = resident()[1]
        if ring is None:
            self._buffers = len(buffers)
        if not rejected.get("payload_crc"):
            raise RigError(f"a damaged tile was sent, and not rejected: {rejected}")
        return {
            "cpu_s": cpu,
            "wall_s": wall,
            "discards": rejected,
            "repaired": repaired,
            "idle_rss_bytes": idle,
            "peak_rss_bytes": peak,
        }

    def ring(self, **options: Any) -> dict[str, Any]:
        """The same; another process reads the ring meanwhile."""
        return self.driver(**options)

    @contextmanager
    def _open(self, ring: str | None) -> Iterator[Device]:
        """The source, with its frames in a ring of that name or in memory of this process."""
        with ExitStack() as stack:
            shared = None
            if ring is not None:
                size = self._source["frame_bytes"]
                shared = stack.enter_context(lenslink.FrameRing(ring, RING_SLOTS, frame_bytes=size))
            device = lenslink.open(self._url, timeout=_TIMEOUT_S, ring=shared)
            yield stack.enter_context(device)

    def _check(self, frame: Frame) -> bool:
        """Whether the damaged tile was made good; if it is said to be, its pixels must be right.

        It is not where frames are so small that four more have come before the answer to a resend.
        """
        crcs = self._source["crcs"]
        complete = frame.status is FrameStatus.COMPLETE
        if complete and crc32(contents(frame)) != crcs[frame.number % len(crcs)]:
            raise RigError("a frame arrived with other pixels than were sent")
        return complete

    def bare(self, frames: int) -> dict[str, Any]:
        cpu, wall = self._memory().receive(self._url, frames)
        return {"cpu_s": cpu, "wall_s": wall}

    def crc(self, frames: int) -> dict[str, Any]:
        cpu, wall = self._memory().checksum(frames)
        return {"cpu_s": cpu, "wall_s": wall}

    def copy(self, frames: int) -> dict[str, Any]:
        cpu, wall = self._memory().copy(frames)
        return {"cpu_s": cpu, "wall_s": wall}

    def ping(self, count: int, interval_s: float) -> dict[str, Any]:
        return {"trips_s": ping(self._url, count, interval_s, self._source["tile_bytes"])}

    def latency(self, tile: int, count: int, interval_us: int, ring: str) -> dict[str, Any]:
        """When the driver had each frame's first tile and the whole of it, monotonic ns."""
        with self._open(ring) as device:
            frames = device._session.frames
            device.start(tile_bytes=tile, interval_us=interval_us)
            device.next_frame().release()
            seen: dict[int, tuple[int, int]] = {}
            for _ in range(count):
                frames.first_tile = None
                with device.next_frame() as frame:
                    first = frames.first_tile
                    if first is not None:
                        seen[frame.number] = (round(first * 1e9), time.monotonic_ns())
        return {"seen": seen}

    def _memory(self) -> Bare:
        if self._bare is None or self._bare.buffers < self._buffers:
            source = self._source
            self._bare = Bare(source["frame_bytes"], source["tile_bytes"], self._buffers)
        return self._bare


def contents(frame: Frame) -> memoryview:
    """A frame's bytes as they came over the wire."""
    return frame.packed.data.cast("B")


def resident() -> tuple[int, int]:
    """Bytes of this process that are in memory: now, and at most since it was last asked."""
    status = Path("/proc/self/status")
    if not status.exists():
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak, peak
    found = {}
    for line in status.read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(":")
        if key in ("VmRSS", "VmHWM"):
            found[key] = int(value.split()[0]) * 1024
    # 5 sets the high-water mark back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return found["VmRSS"], found["VmHWM"]


def _rejected(device: Device, before: lenslink.stats.Stats) -> dict[str, int]:
    after = device.stats.discards
    changed = {cause: count - before.discards[cause] for cause, count in after.items()}
    return {cause: count for cause, count in changed.items() if count}


def main() -> None:
    """Serve until standard input ends."""
    source = json.loads(sys.argv[1])
    receiver = Receiver(source["url"], source)
    actions = {
        name: getattr(receiver, name)
        for name in ("driver", "ring", "bare", "crc", "copy", "ping", "latency")
    }
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = actions[command.pop("do")](**command)
        except LensLinkError as error:
            answer = {"error": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
