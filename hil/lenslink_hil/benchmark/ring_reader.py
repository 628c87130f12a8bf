"""The process that stands for the ISP: it reads a frame ring and notes when each frame began.

Each line of standard input names a frame ring. The process waits for the ring and reads it to its
end.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from lenslink import FrameRingReader
from lenslink.errors import Disconnected, LensLinkError

_WAIT_S = 20.0


def read_ring(ring: str) -> dict[str, Any]:
    """Return when the first and the last rows of each frame could be read, in monotonic ns."""
    seen: dict[int, tuple[int, int]] = {}
    with FrameRingReader(ring, "latest", early=True, wait=_WAIT_S, timeout=_WAIT_S) as reader:
        began = time.process_time()
        try:
            while True:
                with reader.next() as frame:
                    first = time.monotonic_ns()
                    frame.wait()
                    seen[frame.number] = (first, time.monotonic_ns())
        except Disconnected:
            spent = time.process_time() - began
        return {
            "seen": seen,
            "cpu_s": spent,
            "taken": reader.delivered_frames,
            "skipped": reader.skipped_frames,
        }


def main() -> None:
    """Read rings until standard input ends."""
    for line in sys.stdin:
        try:
            answer = read_ring(json.loads(line)["ring"])
        except LensLinkError as error:
            answer = {"error": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
