"""The process whose time is counted: a host with the driver, and nothing else.

Each line of standard input is a command, a JSON object with ``do``; each gets one line of JSON as
its answer. So the driver's runs and the bare runs take turns in one process, and a drift of the
machine changes both. The process ends with standard input.
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

from .bare import BareTransport, measure_pings

RING_SLOTS = 2
"""One frame that is written, and one that the reader reads."""
WARM_FRAMES = 3
"""Frames before the clock starts, so that the pool has taken its memory from the system."""
_TIMEOUT_S = 20.0


class Receiver:
    """Executes commands with the source at *url*. Each ``run_`` method is a command."""

    def __init__(self, url: str, source: Mapping[str, Any]) -> None:
        self._url = url
        self._source = source
        self._bare: BareTransport | None = None
        # Buffers that the driver's last run used in turns.
        self._buffers = 1

    def run_driver(
        self, tile: int, frames: int, damage_at: int, ring: str | None = None
    ) -> dict[str, Any]:
        """Receive *frames* with the driver, into a frame ring if *ring* names one.

        The frame at *damage_at*, counted from the first of the session, arrives damaged. Its pixels
        are checked, in time that does not count.
        """
        with self._open(ring) as device:
            idle = read_resident()[0]
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
                    repaired = self._check_repaired(frame)
                    checking += time.process_time() - started
                elif frame.status is not FrameStatus.COMPLETE:
                    raise RigError(f"frame {frame.number} arrived incomplete")
                buffers.add(frame.packed.ctypes.data)
                frame.release()
            wall = time.monotonic() - wall - checking
            cpu = time.process_time() - cpu - checking
            discards = _count_discards(device, before)
            peak = read_resident()[1]
        if ring is None:
            self._buffers = len(buffers)
        if not discards.get("payload_crc"):
            raise RigError(f"a damaged tile was sent, and not discarded: {discards}")
        return {
            "cpu_s": cpu,
            "wall_s": wall,
            "discards": discards,
            "repaired": repaired,
            "idle_rss_bytes": idle,
            "peak_rss_bytes": peak,
        }

    def run_ring(self, **options: Any) -> dict[str, Any]:
        """Do the same while another process reads the frame ring."""
        return self.run_driver(**options)

    @contextmanager
    def _open(self, ring: str | None) -> Iterator[Device]:
        """Open the source, with frames in the frame ring of that name or in this process."""
        with ExitStack() as stack:
            shared = None
            if ring is not None:
                size = self._source["frame_bytes"]
                shared = stack.enter_context(lenslink.FrameRing(ring, RING_SLOTS, frame_bytes=size))
            device = lenslink.open(self._url, timeout=_TIMEOUT_S, ring=shared)
            yield stack.enter_context(device)

    def _check_repaired(self, frame: Frame) -> bool:
        """Return True if the damaged tile was repaired. Then the frame's pixels must be right.

        Small frames are not repaired: four more arrive before the answer to a Resend.
        """
        crcs = self._source["crcs"]
        complete = frame.status is FrameStatus.COMPLETE
        if complete and crc32(frame_bytes(frame)) != crcs[frame.number % len(crcs)]:
            raise RigError("a frame arrived with other pixels than were sent")
        return complete

    def run_bare(self, frames: int) -> dict[str, Any]:
        cpu, wall = self._take_memory().receive(self._url, frames)
        return {"cpu_s": cpu, "wall_s": wall}

    def run_crc(self, frames: int) -> dict[str, Any]:
        cpu, wall = self._take_memory().compute_crcs(frames)
        return {"cpu_s": cpu, "wall_s": wall}

    def run_copy(self, frames: int) -> dict[str, Any]:
        cpu, wall = self._take_memory().copy_frames(frames)
        return {"cpu_s": cpu, "wall_s": wall}

    def run_ping(self, count: int, interval_s: float) -> dict[str, Any]:
        return {"trips_s": measure_pings(self._url, count, interval_s, self._source["tile_bytes"])}

    def run_latency(self, tile: int, count: int, interval_us: int, ring: str) -> dict[str, Any]:
        """Return when each frame's first tile and last tile were received, in monotonic ns."""
        with self._open(ring) as device:
            frames = device._session.frames
            device.start(tile_bytes=tile, interval_us=interval_us)
            device.next_frame().release()
            seen: dict[int, tuple[int, int]] = {}
            for _ in range(count):
                frames.first_tile_time = None
                with device.next_frame() as frame:
                    first = frames.first_tile_time
                    if first is not None:
                        seen[frame.number] = (round(first * 1e9), time.monotonic_ns())
        return {"seen": seen}

    def _take_memory(self) -> BareTransport:
        if self._bare is None or self._bare.buffers < self._buffers:
            source = self._source
            self._bare = BareTransport(source["frame_bytes"], source["tile_bytes"], self._buffers)
        return self._bare


def frame_bytes(frame: Frame) -> memoryview:
    """Return a frame's bytes as they were on the wire."""
    return frame.packed.data.cast("B")


def read_resident() -> tuple[int, int]:
    """Return this process' resident bytes: now, and the most since the last call."""
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
    # 5 resets the high-water mark to what is resident now.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return found["VmRSS"], found["VmHWM"]


def _count_discards(device: Device, before: lenslink.stats.Stats) -> dict[str, int]:
    after = device.stats.discards
    changed = {cause: count - before.discards[cause] for cause, count in after.items()}
    return {cause: count for cause, count in changed.items() if count}


def main() -> None:
    """Execute commands until standard input ends."""
    source = json.loads(sys.argv[1])
    receiver = Receiver(source["url"], source)
    actions = {
        name: getattr(receiver, f"run_{name}")
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
