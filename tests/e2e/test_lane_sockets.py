"""Test several lanes between real processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import numpy as np
import pytest
from helpers import bench_scale
from helpers.discards import count_discards

import lenslink
from lenslink import FrameStatus
from lenslink.transports.usb_lanes import UsbTransport
from lenslink_hil.benches.sim import SimTransport
from lenslink_hil.plant.patterns import make_pattern


@pytest.mark.parametrize("lanes", [2, 4])
def test_every_pixel_over_several_lanes(
    scene_url: Callable[..., str], scale: bench_scale.Scale, lanes: int
) -> None:
    size = scale.size(640, 480)
    url = scene_url(scene="prbs", **size, seed=3, lanes=lanes)
    with lenslink.open(url) as module:
        assert module.session_info.lanes == lanes
        with closing(module.stream()) as frames:
            for _, frame in zip(range(20), frames, strict=False):
                assert frame.status is FrameStatus.COMPLETE
                wanted = make_pattern(
                    "prbs", **size, bits=12, cfa="RGGB", seed=3, frame_number=frame.number
                )
                np.testing.assert_array_equal(frame.pixels, wanted)
        assert not count_discards(module.stats, scale.repeated)


def test_frames_go_on_when_a_lane_dies(
    scene_url: Callable[..., str], scale: bench_scale.Scale
) -> None:
    url = scene_url(scene="prbs", **scale.size(640, 480), lanes=3)
    with lenslink.open(url) as module:
        transport = module._session._transport
        assert isinstance(transport, SimTransport | UsbTransport)
        with closing(module.stream()) as frames:
            for _, frame in zip(range(10), frames, strict=False):
                assert frame.status is FrameStatus.COMPLETE
            transport.kill_lane(2)
            module._session.link.on_lane_end(2)
            numbers = [frame.number for _, frame in zip(range(20), frames, strict=False)]
        assert len(numbers) == 20
        # What was on the lane when it died may be gone; all that begins later is whole.
        with closing(module.stream()) as frames:
            for _, frame in zip(range(10), frames, strict=False):
                assert frame.status is FrameStatus.COMPLETE
