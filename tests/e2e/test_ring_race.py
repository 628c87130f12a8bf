"""Test that a writer and readers at full speed on two cores never mix frames."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.frame_rings import SIZE, assert_pixels, fresh_name, publish
from helpers.nightly_scale import choose, say
from helpers.slowdown import patience

from lenslink import FrameRing, FrameRingReader
from lenslink.errors import Disconnected

FRAMES = choose(10_000, 2_000_000)


def read(name: str, policy: str) -> None:
    """Check in the other process that each delivered frame is whole and all others are counted."""
    with FrameRingReader(name, policy, wait=30) as reader:
        print("ready", flush=True)
        first = last = 0
        try:
            while True:
                with reader.next() as frame:
                    assert frame.sequence > last
                    first, last = first or frame.sequence, frame.sequence
                    assert frame.number == frame.sequence
                    assert_pixels(frame.packed, 0, frame.sequence)
                    # Once more, after the writer has had time to do wrong.
                    assert_pixels(frame.packed, 0, frame.sequence)
        except Disconnected:
            missed = reader.skipped_frames + reader.dropped_frames
            before = 0 if policy == "every" else first - 1
            assert reader.delivered_frames + missed == last - before
            print(reader.delivered_frames, missed, flush=True)


@pytest.mark.timeout(choose(120, 3600))
@pytest.mark.parametrize("slots", [1, 6])
def test_no_reader_sees_a_mixture_of_frames(slots: int, capsys: pytest.CaptureFixture[str]) -> None:
    name = fresh_name()
    with FrameRing(name, slots, frame_bytes=SIZE) as ring:
        readers = [
            subprocess.Popen(
                [sys.executable, "-m", "e2e.test_ring_race", name, policy],
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[1],
            )
            for policy in ("latest", "every")
        ]
        for reader in readers:
            assert reader.stdout.readline() == "ready\n"
        for _ in range(FRAMES):
            publish(ring)
        ring.close()
        found = [reader.communicate(timeout=patience(60))[0].split() for reader in readers]
        assert [reader.returncode for reader in readers] == [0, 0]
    taken = [int(words[0]) for words in found]
    assert min(taken) > 0
    say(capsys, f"{FRAMES} frames through {slots} slots, read {taken}")


if __name__ == "__main__":
    read(*sys.argv[1:])
