"""A stream across detachments, on virtual time: what comes after a gap is new and as before."""

from __future__ import annotations

import itertools
from contextlib import closing

import numpy as np
import pytest
from helpers.attach_harness import Lens, assert_picture, install, picture

import lenslink
from lensfw import contacts
from lenslink import Attached, Detached, Disconnected, Warned
from lenslink.session import Session
from lenslink_protocol.ids import NoticeReason

URL = "bay:1"


@pytest.fixture
def bay(monkeypatch, tmp_path):
    return install(monkeypatch, tmp_path)


@pytest.fixture
def lens(bay):
    made = Lens(bay.clock, "LENS-1")
    bay.plug(URL, made)
    return made


def take(stream, count):
    """Frames as (nonce, number, boot's clock), each checked against the boot it should be of."""
    return list(itertools.islice(stream, count))


@pytest.mark.parametrize("gap_ms", [1, 5, 19, 21, 40, 100, 200])
@pytest.mark.parametrize("pin", [contacts.DETECT_PIN, contacts.POWER_PIN])
def test_a_contact_that_opens_for_a_moment(bay, lens, gap_ms, pin):
    events = []
    with lenslink.attach(URL, on_event=events.append) as module, closing(module.stream()) as frames:
        first = take(frames, 3)
        began = bay.clock.seconds
        lens.interrupt(0.004, gap_ms / 1000, pin)
        rest = [first[-1]]
        # Frames come again 130 ms after the gap at the latest.
        while bay.clock.seconds < began + gap_ms / 1000 + 0.3:
            rest.append(next(frames))
        for frame in [*first, *rest]:
            assert frame.status is lenslink.FrameStatus.COMPLETE
            assert_picture(frame, 1)
        numbers = [frame.number for frame in rest]
        assert numbers == sorted(set(numbers)), "none twice, none from before"
        if gap_ms * 1000 < contacts.SETTLE_US:
            assert [type(event) for event in events] == [Attached]
            assert len({frame.nonce for frame in rest}) == 1
            return
        arrived, gone, back = events
        assert isinstance(gone, Detached)
        assert "detach" in gone.reason
        assert back.nonce != arrived.nonce
        assert back.boot_count == arrived.boot_count == 1
        # Seated again, still for 20 ms, then asked every 100.
        assert back.away_s < (gap_ms + 20 + 110) / 1000
        nonces = [frame.nonce for frame in rest]
        assert nonces == sorted(nonces, key=[arrived.nonce, back.nonce].index)
        assert nonces[-1] == back.nonce


def test_a_replug_starts_anew_with_the_settings_of_before(bay, lens):
    events = []
    with lenslink.attach(URL, on_event=events.append) as module:
        with closing(
            module.stream(
                "mode2",
                exposure_us=7000,
                gain_milli=2500,
                focus_mdpt=1651,
                settled=True,
                tile_bytes=64,
            )
        ) as frames:
            for frame in take(frames, 2):
                assert_picture(frame, 1)
            before = take(frames, 1)[0]
            stopped_at = bay.clock.seconds
            bay.pull(URL)
            bay.clock.after(3, lens.start)
            bay.clock.after(3, lambda: bay.plug(URL, lens))
            after = [next(frames)]
            waited = bay.clock.seconds - stopped_at
            while after[-1].nonce == before.nonce:  # whole before the module went
                assert_picture(after[-1], 1)
                after.append(next(frames))
        fresh = after[-1]
        assert_picture(fresh, 2)
        assert fresh.timestamp_us < 1_000_000, "of the new boot's clock"
        for key in ("width", "height", "exposure_us", "gain_milli", "focus_mdpt"):
            assert getattr(fresh, key) == getattr(before, key), key
        assert lens.camera.streams[0].tile_bytes == 64
        _, gone, back = events
        assert gone.reason == "it was pulled out"
        assert (back.boot_count, back.nonce) == (2, fresh.nonce)
        assert 3 <= back.away_s < 3.3
        assert waited < 3.8, "the motor's way included"
    assert not bay.open


def test_a_region_of_interest_is_where_it_was_after_a_replug(bay, lens):
    """It was moved while it ran. The new boot's frames come from the place it was moved to."""
    started = lens.start

    def start():
        started()
        lens.ports.pitch = 16

    start()
    places = []
    with (
        lenslink.attach(URL) as module,
        closing(module.stream("mode1", roi=(2, 4, 8, 6), exposure_us=7000)) as frames,
    ):
        places.append(assert_region(next(frames), lens.boot))
        first = module.set(stream=lenslink.ROI, roi_x=6, roi_y=8)
        before = next(frame for frame in frames if frame.number >= first)
        places.append(assert_region(before, lens.boot))
        bay.pull(URL)
        start()
        bay.plug(URL, lens)
        fresh = next(frame for frame in frames if frame.nonce != before.nonce)
        places.append(assert_region(fresh, lens.boot))
    assert places == [(2, 4, 8, 6), (6, 8, 8, 6), (6, 8, 8, 6)]
    assert (fresh.stream, fresh.exposure_us) == (lenslink.ROI, 7000)


def assert_region(frame, boot):
    """Return the place of a frame in mode 1, whose pixels are those of that place."""
    x, y = frame.crop_x, frame.crop_y
    whole = np.frombuffer(picture(boot, frame.number, 1), "<u2").reshape(16, 16)
    assert np.array_equal(frame.pixels, whole[y : y + frame.height, x : x + frame.width])
    return x, y, frame.width, frame.height


def test_what_was_configured_is_configured_again(bay, lens):
    with lenslink.attach(URL) as module:
        module.configure(1, "mode2", tile_bytes=32)
        module.configure(0, "mode2", tile_bytes=64)
        bay.pull(URL)
        lens.start()
        bay.plug(URL, lens)
        with pytest.raises(Disconnected):
            module.wait().flush()
        with closing(module.stream()) as frames:
            next(frames)
            while next(frames).width != 32:
                pass
        assert [stream.tile_bytes for stream in lens.camera.streams] == [64, 32, 0]
        assert [stream.mode and stream.mode["id"] for stream in lens.camera.streams] == [2, 2, None]


def test_a_module_is_found_by_its_serial_number(bay, lens):
    """Somebody put it into another socket, and another module into the first."""
    events = []
    with lenslink.attach(URL, on_event=events.append) as module:
        with closing(module.stream()) as frames:
            next(frames)
            bay.pull(URL)
            stranger = Lens(bay.clock, "LENS-2", boot=7)
            bay.plug(URL, stranger)
            lens.start()
            bay.clock.after(2, lambda: bay.plug("bay:2", lens))
            while next(frames).nonce != module.wait().nonce or module.attachments < 2:
                pass
        assert module.url == events[-1].url == "bay:2"
        assert events[-1].serial == "LENS-1"
        assert stranger.exposures == 0


def test_a_stranger_where_no_one_can_look_is_let_go(bay, lens):
    bay.listed = False
    with lenslink.attach(URL) as module, closing(module.stream()) as frames:
        next(frames)
        bay.pull(URL)
        bay.plug(URL, Lens(bay.clock, "LENS-2"))
        with pytest.raises(Disconnected, match="bay:1 is module LENS-2, not LENS-1"):
            take(frames, 100)
    assert not bay.open


def test_one_that_does_not_return_is_an_exception_at_the_deadline(bay, lens):
    with lenslink.attach(URL, timeout=5) as module:
        module.start()
        while module.next_frame().number < 5:
            pass
        bay.pull(URL)
        began = bay.clock.seconds
        with pytest.raises(Disconnected, match="was not back within 2 s"):
            for _ in range(100):
                module.next_frame(timeout=2)
        assert bay.clock.seconds - began == pytest.approx(2, abs=0.15)
        for call in (module.capture, module.configure, module.wait):
            began = bay.clock.seconds
            with pytest.raises(Disconnected):
                call(timeout=1)
            assert bay.clock.seconds - began == pytest.approx(1, abs=0.01)
        # And nothing is lost by having waited in vain.
        lens.start()
        bay.plug(URL, lens)
        assert_picture(module.next_frame(), 2)


def test_two_modules_at_once(bay, lens):
    other = Lens(bay.clock, "LENS-2", boot=10)
    bay.plug("bay:2", other)
    with lenslink.attach(URL) as one, lenslink.attach(serial="LENS-2") as two:
        assert (one.serial, two.url) == ("LENS-1", "bay:2")
        one.start()
        two.start(exposure_us=5000)
        for _ in range(3):
            assert_picture(one.next_frame(), 1)
            assert_picture(two.next_frame(), 11)
        bay.pull(URL)
        away = 0
        for turn in range(20):
            try:
                one.next_frame(timeout=0.05)
            except Disconnected:
                away += 1
            frame = two.next_frame()
            assert_picture(frame, 11)
            assert frame.exposure_us == 5000
            if turn == 10:
                lens.start()
                bay.plug(URL, lens)
        assert away >= 5
        assert_picture(one.next_frame(), 2)
        assert (one.attachments, two.attachments) == (2, 1)


def test_a_connection_that_waits_is_kept_from_call_to_call(bay, lens):
    """A simulated module is started by being connected to: impatience would start it for ever."""
    with lenslink.attach(URL) as module:
        module.start()
        bay.pull(URL)
        lens.start()
        lens.contact(contacts.DETECT_PIN, 0)
        bay.plug(URL, lens)
        bay.clock.after(3, lambda: lens.contact(contacts.DETECT_PIN, 1))
        for _ in range(10):
            with pytest.raises(Disconnected):
                for _ in range(100):
                    module.next_frame(timeout=0.2)
        assert bay.connections == 2
        assert_picture(module.next_frame(), 2)
        assert bay.connections == 2
        assert module.wait().nonce


def test_a_connection_where_nobody_answers_is_let_go(bay, lens):
    """The module is somewhere else by now."""
    bay.listed = False
    with lenslink.attach(URL) as module:
        module.start()
        bay.pull(URL)
        lens.start()
        half = Lens(bay.clock, "LENS-3")
        half.contact(contacts.DETECT_PIN, 0)
        bay.plug(URL, half)
        bay.clock.after(1, lambda: bay.plug("bay:2", lens))
        bay.clock.after(1, lambda: setattr(bay, "listed", True))
        began = bay.clock.seconds
        while module.attachments < 2:
            module.next_frame()
        assert module.url == "bay:2"
        assert bay.clock.seconds - began < 11


def test_the_release_button_is_a_warning(bay, lens):
    events = []
    with lenslink.attach(URL, on_event=events.append) as module, closing(module.stream()) as frames:
        next(frames)
        for level in (1, 0, 1):  # it bounces
            lens.contact(contacts.RELEASE_PIN, level)
        bay.clock.after(0.08, lambda: bay.pull(URL))
        bay.clock.after(0.3, lens.start)
        bay.clock.after(0.3, lambda: bay.plug(URL, lens))
        while module.attachments < 2:
            next(frames)
    assert [type(event) for event in events] == [Attached, Warned, Detached, Attached]
    assert events[1].reason is NoticeReason.RELEASE


def test_waiting_for_a_module_that_is_not_there_yet(bay):
    lens = Lens(bay.clock, "LENS-1")
    bay.clock.after(4, lambda: bay.plug(URL, lens))
    with lenslink.attach(serial="LENS-1") as module:
        assert module.url == URL
        assert 4 <= bay.clock.seconds - 1 < 4.5


def test_waiting_for_a_module_in_vain(bay):
    began = bay.clock.seconds
    with pytest.raises(lenslink.NotFound, match="LENS-1"):
        lenslink.attach(serial="LENS-1", timeout=2)
    with pytest.raises(lenslink.NotFound):
        lenslink.attach(URL, timeout=2)
    assert bay.clock.seconds - began == pytest.approx(4, abs=0.01)


def test_a_private_module_ends_with_its_transport(bay, lens):
    bay.private = True
    with lenslink.attach(URL) as module, closing(module.stream()) as frames:
        next(frames)
        # Contacts that open are one thing ...
        lens.interrupt(0, 0.05)
        while module.attachments < 2:
            next(frames)
        # ... another is a process that ends: another would be another module.
        bay.pull(URL)
        began = bay.clock.seconds
        with pytest.raises(Disconnected, match="cannot come back"):
            take(frames, 100)
        assert bay.clock.seconds - began < 0.1


def test_a_private_module_that_goes_while_it_comes_back(bay, lens, monkeypatch):
    """Contacts that open again between hello and manifest: the transport still stands."""
    bay.private = True
    manifest = Session.read_manifest
    asked = []

    def late(session, deadline):
        asked.append(session)
        if len(asked) == 2:
            lens.interrupt(0, 0.04)
            for _ in range(30):
                bay.clock.pass_us(1000)
                lens.camera.step()
        return manifest(session, deadline)

    monkeypatch.setattr(Session, "read_manifest", late)
    with lenslink.attach(URL) as module, closing(module.stream()) as frames:
        before = take(frames, 2)[-1]
        lens.interrupt(0.004, 0.04)
        while (frame := next(frames)).nonce == before.nonce:
            assert_picture(frame, 1)
        assert_picture(frame, 1)
        assert module.attachments == 2
    assert len(asked) == 3
    assert bay.connections == 1


@pytest.mark.parametrize("budget", [*range(0, 700, 23), *range(700, 6000, 211)])
def test_pulled_out_at_any_byte(bay, lens, budget):
    """Whatever was under way: hello, manifest, configuring, a frame."""
    bay.budget = budget
    with lenslink.attach(URL) as module, closing(module.stream()) as frames:
        for frame in take(frames, 12):
            assert_picture(frame, 1)
        numbers = [frame.number for frame in take(frames, 3)]
        assert numbers == sorted(set(numbers))
        assert module.attachments <= 2
    assert not bay.open


ASKED = {
    "capture": lambda module: module.capture(),
    "start": lambda module: (module.start(), module.next_frame())[1],
}


def lose_supply(bay, lens):
    """The module notices, by its next sample, that it has no supply; its contacts seem closed."""
    lens.ports.vbus_mv = 0
    for _ in range(150):
        bay.clock.pass_us(1000)
        lens.camera.step()


@pytest.mark.parametrize("call", ASKED)
def test_a_supply_that_is_low_for_a_moment_is_waited_for(bay, lens, call):
    """A contact that opens for less than a detachment is sampled: up to 100 ms until the next."""
    with lenslink.attach(URL) as module:
        lose_supply(bay, lens)
        bay.clock.after(0.01, lambda: setattr(lens.ports, "vbus_mv", 5000))
        began = bay.clock.seconds
        assert_picture(ASKED[call](module), 1)
        assert bay.clock.seconds - began < 0.3
        assert module.attachments == 1


@pytest.mark.parametrize("call", ASKED)
def test_a_supply_that_is_low_because_a_contact_opens_is_a_detachment(bay, lens, call):
    events = []
    with lenslink.attach(URL, on_event=events.append) as module:
        lose_supply(bay, lens)
        lens.interrupt(0.005, 3.0, contacts.POWER_PIN)
        bay.clock.after(3.005, lambda: setattr(lens.ports, "vbus_mv", 5000))
        assert_picture(ASKED[call](module), 1)
        # The module warns of its supply before it notices the contact.
        kinds = [type(event) for event in events]
        assert kinds == [Attached, Warned, Detached, Attached]


@pytest.mark.parametrize("call", ASKED)
def test_a_supply_that_stays_low_is_said(bay, lens, call):
    with lenslink.attach(URL) as module:
        lose_supply(bay, lens)
        for _ in range(2):
            began = bay.clock.seconds
            with pytest.raises(lenslink.DeviceError, match="supply is 0 mV"):
                ASKED[call](module)
            assert 1.9 < bay.clock.seconds - began < 2.2
        lens.ports.vbus_mv = 5000
        assert_picture(ASKED[call](module), 1)
        assert module.attachments == 1
