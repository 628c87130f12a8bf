"""SetSettings through the driver, in virtual time: frames, errors, and a module that returns."""

from __future__ import annotations

import random
from contextlib import closing

import pytest
from helpers.attach_harness import Lens, install
from helpers.nightly_scale import choose, say

import lenslink
from lenslink import Settings
from lenslink.device import Device
from lenslink.errors import DeviceError, Disconnected, UsageError
from lenslink_protocol.ids import ErrorCode
from lenslink_protocol.manifest import encode_entry, parse_manifest
from lenslink_protocol.messages import DelayEntry, Malformed
from lenslink_protocol.transcripts import make_manifest

URL = "bay:1"
CHANGES = choose(60, 1000)
EITHER = pytest.mark.parametrize("opened", [Device, lenslink.attach])


@pytest.fixture
def bay(monkeypatch, tmp_path):
    return install(monkeypatch, tmp_path)


@pytest.fixture
def lens(bay):
    made = Lens(bay.clock, "LENS-1")
    bay.plug(URL, made)
    return made


def applied(frame):
    return frame.exposure_us, frame.gain_milli


@EITHER
def test_random_changes_of_a_running_stream(bay, lens, opened, capsys):
    """No frame has two settings, and each change holds from the frame that was announced."""
    del lens
    source = random.Random(12)
    seen = {}
    stills = 0
    with opened(URL, timeout=5) as module:
        changes = [(0, (4000, 2000))]
        with closing(module.stream(interval_us=6000, exposure_us=4000, gain_milli=2000)) as frames:
            for number in range(CHANGES):
                for _ in range(source.randrange(4)):
                    with next(frames) as frame:
                        seen[frame.number] = applied(frame)
                        newest = frame.number
                bay.clock.sleep(source.random() * 0.03)
                if source.random() < 0.1:
                    module.capture(exposure_us=1000, gain_milli=1000).release()
                    stills += 1
                # No two changes have a value in common.
                pair = (1000 + 5 * number, 1000 + 7 * number)
                first = module.set(exposure_us=pair[0], gain_milli=pair[1])
                assert first >= changes[-1][0]
                changes.append((first, pair))
            for _ in range(40):
                with next(frames) as frame:
                    seen[frame.number] = applied(frame)
                    newest = frame.number
    assert newest >= changes[-1][0]
    for number, got in seen.items():
        wanted = [pair for first, pair in changes if first <= number][-1]
        assert got == wanted, f"frame {number} has {got}, {wanted} was announced"
    used = len(set(seen.values()))
    assert used > CHANGES / 3
    assert stills
    say(capsys, f"{CHANGES} settings of a running stream, {len(seen)} frames, {stills} stills")


@EITHER
def test_a_change_comes_at_most_two_frames_after_the_call(lens, opened):
    del lens
    with opened(URL, timeout=5) as module:
        module.start(interval_us=33_333, exposure_us=5000)
        module.next_frame().release()
        for exposure_us in range(2000, 9000, 500):
            with module.next_frame() as frame:
                before = frame.number
            first = module.set(exposure_us=exposure_us)
            assert first - before <= 2
            while before < first:
                with module.next_frame() as frame:
                    before = frame.number
                    assert (frame.exposure_us == exposure_us) is (before >= first)


@EITHER
def test_a_configured_stream_keeps_its_settings_for_later(lens, opened):
    del lens
    with opened(URL, timeout=5) as module:
        module.configure(lenslink.STILL, "mode2")
        module.set(stream=lenslink.STILL, settings=Settings(exposure_us=7000), gain_milli=3000)
        for _ in range(2):
            with module.capture("mode2") as frame:
                assert applied(frame) == (7000, 3000)


@EITHER
@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"exposure_us": 0}, "exposure_us=0 is out of range: it must be 1 to"),
        ({"gain_milli": 2.5}, "gain_milli=2.5 is not a whole number"),
        ({"gain_milli": 999}, "gain_milli=999 is out of range: the module takes 1000 to"),
        ({"focus_mdpt": 99_000}, "focus_mdpt=99000 is out of range: the module takes 0 to"),
        ({"aperture_milli": 22_000}, "aperture_milli=22000 is out of range: the module takes"),
        ({"settled": 1}, "settled=1 must be True, False or None"),
        ({"settings": {"gain_milli": 5}}, "settings={'gain_milli': 5} must be a lenslink.Settings"),
        ({"stream": 3, "gain_milli": 2000}, "stream=3"),
        ({"stream": "still", "gain_milli": 2000}, "stream='still'"),
    ],
    ids=repr,
)
def test_a_wrong_value_is_not_sent(lens, opened, wrong, text):
    del lens
    with opened(URL, timeout=5) as module:
        module.start()
        module.next_frame().release()
        device = module if isinstance(module, Device) else module.wait()
        before = device._session.link.next_request_id
        with pytest.raises(UsageError) as caught:
            module.set(**wrong)
        assert str(caught.value).startswith(text)
        assert device._session.link.next_request_id == before
        module.next_frame().release()


@EITHER
def test_an_unknown_keyword_is_refused(lens, opened):
    del lens
    with opened(URL, timeout=5) as module:
        for unknown in ("interval_us", "packing", "exposur_us"):
            with pytest.raises(TypeError, match=f"unexpected keyword argument: {unknown}"):
                module.set(**{unknown: 5})


@EITHER
def test_a_stream_that_is_not_configured_is_refused(lens, opened):
    del lens
    with opened(URL, timeout=5) as module:
        with pytest.raises(DeviceError) as caught:
            module.set(gain_milli=2000)
        assert caught.value.code == ErrorCode.STATE


def test_a_change_is_kept_for_a_module_that_returns(bay, lens):
    with lenslink.attach(URL, timeout=10) as module:
        module.start(exposure_us=8000)
        module.next_frame().release()
        first = module.set(exposure_us=3000, gain_milli=4000)
        with module.next_frame() as frame:
            # A frame from before the change does not undo it.
            assert frame.number < first
            assert applied(frame) == (8000, 1000)
            nonce = frame.nonce
        bay.pull(URL)
        bay.clock.after(1, lens.start)
        bay.clock.after(1, lambda: bay.plug(URL, lens))
        frame = module.next_frame()
        while frame.nonce == nonce:
            frame = module.next_frame()
        assert applied(frame) == (3000, 4000)


def test_a_change_waits_for_a_module_that_is_away(bay, lens):
    with lenslink.attach(URL, timeout=10) as module:
        module.start(exposure_us=8000, gain_milli=2000)
        module.next_frame().release()
        bay.pull(URL)
        bay.clock.after(1, lens.start)
        bay.clock.after(1, lambda: bay.plug(URL, lens))
        first = module.set(exposure_us=3000)
        frame = module.next_frame()
        while frame.number < first:
            assert applied(frame) == (8000, 2000)
            frame = module.next_frame()
        assert applied(frame) == (3000, 2000)
    with Device(URL, 5) as device:
        device.start()
        bay.pull(URL)
        with pytest.raises(Disconnected):
            device.set(exposure_us=3000)


@pytest.mark.parametrize("wrong", [{"packing": "boxes"}, {"gain_milli": 999}], ids=repr)
def test_a_start_that_was_refused_is_not_made_again(bay, lens, wrong):
    with lenslink.attach(URL, timeout=10) as module:
        module.start(exposure_us=8000)
        module.next_frame().release()
        with pytest.raises(UsageError):
            module.start(**wrong)
        module.set(exposure_us=3000)
        bay.pull(URL)
        bay.clock.after(1, lens.start)
        bay.clock.after(1, lambda: bay.plug(URL, lens))
        module.start()
        with module.next_frame() as frame:
            assert applied(frame) == (3000, 1000)


def test_the_manifest_states_the_delay(lens):
    del lens
    with Device(URL, 5) as module:
        assert module.manifest.settings_delay == 1
    data = make_manifest()
    entry = encode_entry(0x26, DelayEntry(1).encode())
    assert parse_manifest(data).settings_delay == 1
    assert parse_manifest(data.replace(entry, b"")).settings_delay == 2
    for delay in (0, 2):
        changed = data.replace(entry, encode_entry(0x26, DelayEntry(delay).encode()))
        assert parse_manifest(changed).settings_delay == delay
    with pytest.raises(Malformed, match="settings_delay 3, more than 2"):
        parse_manifest(data.replace(entry, encode_entry(0x26, DelayEntry(3).encode())))
    with pytest.raises(Malformed, match="stands twice"):
        parse_manifest(data + entry)
