"""An unplug, seen from each call of a device that somebody opened without attach()."""

from __future__ import annotations

import gc
import random

import pytest
from helpers.attach_harness import Lens, assert_picture, install

import lenslink
from lensfw import contacts
from lenslink import Disconnected, NotFound, RequestHandle, Timeout
from lenslink.device import Device
from lenslink.session import Session
from lenslink_protocol.ids import NoticeReason

URL = "bay:1"
KNOWN_S = 0.2


@pytest.fixture
def bay(monkeypatch, tmp_path):
    return install(monkeypatch, tmp_path)


@pytest.fixture
def lens(bay):
    made = Lens(bay.clock, "LENS-1")
    bay.plug(URL, made)
    return made


CALLS = {
    "capture": Device.capture,
    "configure": Device.configure,
    "start": Device.start,
    "stream": lambda device: next(device.stream()),
    "next_frame": Device.next_frame,
    "set": lambda device: device.set(gain_milli=2000),
    "flush": Device.flush,
    "outcome": lambda device: device.query_outcome(RequestHandle(1, 2, 3)),
    "renew": Device.renew,
}


@pytest.mark.parametrize("call", CALLS)
def test_while_it_waits(bay, lens, call):
    """A module that says nothing more, then is pulled out."""
    with Device(URL, 30) as device:
        bay.open[0].silent = True
        pulled = bay.clock.seconds + 0.4
        bay.clock.after(0.4, lambda: bay.pull(URL))
        with pytest.raises(Disconnected):
            CALLS[call](device)
        assert bay.clock.seconds - pulled < KNOWN_S
        for again in CALLS.values():
            began = bay.clock.seconds
            with pytest.raises(Disconnected):
                again(device)
            assert bay.clock.seconds - began < 0.01
        device.stop()
    assert not bay.open


def test_silence_is_known_within_a_second(bay, lens):
    with Device(URL, 30) as device:
        device.start()
        device.next_frame()
        bay.open[0].silent = True
        began = bay.clock.seconds
        with pytest.raises(Disconnected, match="no sign of life"):
            for _ in range(10):
                device.next_frame()
        assert bay.clock.seconds - began < 1


def test_another_session_over_the_same_transport(bay, lens):
    with Device(URL, 30) as device:
        first = device.nonce
        device.configure(0, "mode2")
        lens.interrupt(0.01, 0.05)
        with pytest.raises(Disconnected, match="detach"):
            device.next_frame()
        device.renew()
        assert device.nonce != first
        with device.capture() as frame:
            assert_picture(frame, 1)
            assert frame.nonce == device.nonce
        with pytest.raises(lenslink.DeviceError):
            device._session.call(
                lenslink.device.StartStream(0, 0),
                lenslink.device.Accepted,
                lenslink.deadline.Deadline(1),
            )


def test_a_module_that_stays_half_on(bay, lens):
    with Device(URL, 30) as device:
        lens.contact(contacts.DETECT_PIN, 0)
        with pytest.raises(Disconnected):
            device.next_frame()
        began = bay.clock.seconds
        with pytest.raises(Timeout):
            device.renew(timeout=2)
        assert bay.clock.seconds - began == pytest.approx(2, abs=0.01)
        lens.contact(contacts.DETECT_PIN, 1)
        device.renew()


def test_another_module_behind_the_same_transport(bay, lens):
    with Device(URL, 30) as device:
        lens.serial = "LENS-2"
        lens.start()
        bay.open[0]._camera = lens.camera
        with pytest.raises(NotFound, match="is module LENS-2, not LENS-1"):
            device.renew()


def test_one_that_does_not_answer_is_let_go(bay, lens):
    lens.contact(contacts.DETECT_PIN, 0)
    lens.camera.step()
    bay.clock.pass_us(30_000)
    with pytest.raises(Timeout):
        Device(URL, 1)
    assert not bay.open
    lens.contact(contacts.DETECT_PIN, 1)
    Device(URL, 1).close()
    assert not bay.open


@pytest.mark.parametrize("end", ["close", "renew"])
def test_no_frame_is_kept_beyond_its_session(lens, end):
    """Cyclic references would keep a hundred megapixels until the next collection."""
    with Device(URL, 5) as device:
        device.configure(1)
        device.start()
        first = device.next_frame()
        session = device._session
        with pytest.raises(Timeout):
            # Frames of the preview queue up meanwhile.
            session.take_frame(1, lenslink.deadline.Deadline(0.05), 1)
        first.release()
        assert session.frames.finished_frames
        getattr(device, end)()
        assert not session.frames.finished_frames
        assert not session.pool._free


def test_notices(lens):
    with Device(URL, 30) as device:
        assert device.take_notices() == []
        lens.contact(contacts.RELEASE_PIN, 1)
        device.configure()
        device.configure()
        [notice] = device.take_notices()
        assert notice.reason == NoticeReason.RELEASE
        assert device.take_notices() == []


def test_nothing_is_left_of_a_thousand_interruptions(bay, lens):
    """Of 1 to 200 ms, either pin, while frames come: not a session, a frame or a connection."""
    chance = random.Random(7)
    gaps = 0
    with lenslink.attach(URL) as module:
        module.start(interval_us=40_000)
        for turn in range(1000):
            before = module.attachments
            gap_ms = chance.randint(1, 200)
            lens.interrupt(0, gap_ms / 1000, chance.choice([0, 1]))
            over = bay.clock.seconds + gap_ms / 1000 + 0.021
            while bay.clock.seconds < over:
                with module.next_frame() as frame:
                    assert_picture(frame, 1)
                    assert frame.status is lenslink.FrameStatus.COMPLETE
            if gap_ms > 25:
                assert module.attachments == before + 1
                gaps += 1
            if turn == 10:
                gc.collect()
                sessions = _sessions()
        gc.collect()
        assert _sessions() == sessions == 1
        assert len(bay.open) == 1
        link = lens.camera.link
        assert len(link._past) <= 2
        assert len(link._answers) <= 4
    assert gaps > 800


def _sessions():
    return sum(isinstance(thing, Session) for thing in gc.get_objects())
