"""A still does not stop the preview: the module reads both out at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from itertools import islice

import lenslink
from lenslink import FrameStatus


def test_the_preview_goes_on_while_a_still_is_read(scene_url: Callable[..., str]) -> None:
    with (
        lenslink.open(scene_url(scene="ramp")) as module,
        closing(module.stream()) as frames,
    ):
        before = list(islice(frames, 20))
        interval = (before[-1].timestamp_us - before[0].timestamp_us) / (len(before) - 1)
        still = module.capture("full")
        assert still.status is FrameStatus.COMPLETE
        after = next(frames)
        # Numbers count the frames of both streams: all between but one were previews.
        shown = after.number - before[-1].number - 1
        during = (after.timestamp_us - before[-1].timestamp_us) / shown
        print(f"frame interval {interval / 1000:.1f} ms, {during / 1000:.1f} ms during a still")
        # With half of the bytes or more its interval at most doubles, however fast the machine is
        # at the moment; two tiles to one leave room for a link that is busy otherwise.
        previews = shown * after.pixels.nbytes
        assert previews / (previews + still.pixels.nbytes) > 0.6
        assert not any(module.stats.discards.values())
