"""Between the frames of a paced stream the driver gets ready for the next one, and only then."""

from __future__ import annotations

from contextlib import closing

from lab.rings import fresh_name

import lenslink
from lenslink import FrameStatus, Ring
from lenslink.rehearsal import Rehearsal

INTERVAL_US = 60_000
FRAMES = 8


def test_a_paced_stream(own_url, monkeypatch):
    """Not in the midst of a frame, at most once for each, and no frame is any other for it."""
    played = []
    play = Rehearsal.play

    def watched(self, now):
        played.append(device._session.frames.under_way)
        play(self, now)

    monkeypatch.setattr(Rehearsal, "play", watched)
    url = own_url(scene="prbs", width=64, height=64)
    with Ring(fresh_name(), 3) as ring, lenslink.open(url, ring=ring) as device:
        with closing(device.stream(interval_us=INTERVAL_US)) as frames:
            for number in range(FRAMES):
                with next(frames) as frame:
                    assert (frame.number, frame.status) == (number, FrameStatus.COMPLETE)
        assert ring.begun == ring.count(0)
    assert 0 < len(played) <= FRAMES
    assert not any(played)
