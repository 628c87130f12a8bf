"""Settings: the lists of requests, the values of each frame, and the time that a frame takes."""

import struct

from helpers import module_world

from lensfw import setting_list, wire

PREVIEW = 0
STILL = 1
EVERY = wire.EVERY_FRAME
EXPOSURE, GAIN, FOCUS = wire.CONTROL_EXPOSURE, wire.CONTROL_GAIN, wire.CONTROL_FOCUS
APERTURE, SETTLED = wire.CONTROL_APERTURE, wire.CONTROL_SETTLED
setting = module_world.setting


def session():
    config = module_world.configuration()
    config["sensor"]["exposure_us"] = [100, 5000000, 10000]
    config["sensor"]["gain_milli"] = [1000, 16000, 1000]
    config["optics"]["stops_milli"] = [1400, 2000, 2800, 4000]
    camera, ports, time = module_world.camera(config)
    host = module_world.Peer(camera, time)
    host.hello()
    host.grant()
    for number, stream in ((2, PREVIEW), (3, STILL)):
        module_world.only(
            host.send(wire.T_CONFIGURE, number, (stream, 0, 1, 0, 0)), wire.T_CONFIGURED
        )
    host.number = 3
    return camera, host, ports, time


def capture(host, stream=STILL, count=1, entries=b""):
    host.number += 1
    return host.send(wire.T_CAPTURE, host.number, (stream, 0, count), entries)


def start(host, entries=b"", interval=0):
    host.number += 1
    return host.send(wire.T_STREAM, host.number, (PREVIEW, 0, 0, interval), entries)


def run(host, time, ms):
    for _ in range(ms):
        time.us += 1000
        host.turn()


def code(said):
    return module_world.only(said, wire.T_ERROR)[0]


class Begun:
    """What a FrameStart says."""

    def __init__(self, number, stream, fields):
        self.number = number
        self.stream = stream
        self.time_us = fields[2]
        self.flags = fields[12]
        self.exposure, self.gain, self.focus, self.aperture = fields[18:22]
        self.interval_us = fields[22]


def begun(host, stream=None):
    """Return the frames that began, by number."""
    found = []
    for header, payload in host.heard:
        if header[2] == wire.T_FRAME_START and stream in (None, header[4]):
            found.append(Begun(header[7], header[4], wire.decode(header[2], payload)))
    return sorted(found, key=lambda frame: frame.number)


def take(host, time, stream=STILL, count=1, entries=b"", ms=100):
    """Capture, and return the frames."""
    host.heard = []
    module_world.only(capture(host, stream, count, entries), wire.T_ACCEPTED)
    run(host, time, ms)
    frames = begun(host, stream)
    assert len(frames) == count, len(frames)
    return frames


def test_a_list_is_refused_as_a_whole_if_any_module_would_refuse_it():
    _, host, _, time = session()
    many = b"".join([setting(1000 + number, 1) for number in range(wire.MAX_SETTINGS + 1)])
    for entries, count in (
        (setting(EXPOSURE, 500)[:-1], 1),
        (setting(EXPOSURE, 500) + b"\0", 1),
        (many, 1),
        (setting(GAIN, 2000) + setting(GAIN, 3000), 1),
        (setting(GAIN, 2000, 0) + setting(EXPOSURE, 1) + setting(GAIN, 2000, 0), 1),
        (setting(99, 1) + setting(99, 1), 1),
        (setting(EXPOSURE, 1 << 30), 1),
        (setting(EXPOSURE, -(1 << 30)), 1),
        (setting(99, 0x7FFFFFFF), 1),
        (setting(99, -0x80000000), 1),
        (setting(EXPOSURE, 500, 1), 1),
        (setting(EXPOSURE, 500, 0xFFFE), 65535),
        (setting(EXPOSURE, 500, 0), wire.MAX_BRACKET + 1),
        # The list is checked before the number of frames.
        (setting(EXPOSURE, 500, 0), 0),
    ):
        assert code(capture(host, count=count, entries=entries)) == wire.ERR_MALFORMED, entries
        # A sound entry before the wrong one has had no effect.
        (frame,) = take(host, time)
        assert (frame.exposure, frame.gain) == (10000, 1000)
    assert code(start(host, setting(EXPOSURE, 500, 0))) == wire.ERR_MALFORMED
    assert host.camera.link.receiver.discards["malformed"] == 15


def test_a_list_may_have_96_settings_and_the_largest_values():
    _, host, _, time = session()
    count = wire.MAX_SETTINGS - 1
    entries = b"".join([setting(1000 + number, 1) for number in range(count)])
    (frame,) = take(host, time, entries=entries + setting(GAIN, 2000))
    assert frame.gain == 2000
    (frame,) = take(host, time, entries=setting(GAIN, (1 << 30) - 1))
    assert frame.gain == 16000
    (frame,) = take(host, time, entries=setting(GAIN, -(1 << 30) + 1))
    assert frame.gain == 1000


def test_an_entry_is_read_as_it_was_packed():
    for value in (0, 1, -1, 255, 256, 0xFFFFFF, -0x1000000, (1 << 30) - 1, -(1 << 30) + 1, 123456):
        values = [None] * setting_list.COUNT
        entries = setting(FOCUS, 7) + setting(GAIN, value, 3)
        assert setting_list.find_fault(entries, 4) is None, value
        setting_list.read_values(entries, 3, values)
        assert values == [None, value] + [None] * (setting_list.COUNT - 2)
    for value in (1 << 30, -(1 << 30), 0x7FFFFFFF, -0x80000000, -0x40000001):
        assert setting_list.find_fault(setting(GAIN, value), 1) is not None, value
    assert struct.calcsize(wire.SETTING) == 8


def test_an_unknown_control_is_skipped():
    _, host, _, time = session()
    for control in (0, 6, 99, 65535):
        (frame,) = take(host, time, entries=setting(control, 5) + setting(GAIN, 3000))
        assert frame.gain == 3000


def test_settled_is_0_or_1():
    _, host, _, time = session()
    for value in (-1, 2):
        entries = setting(GAIN, 2000) + setting(SETTLED, value)
        assert code(capture(host, entries=entries)) == wire.ERR_UNSUPPORTED
    (frame,) = take(host, time)
    assert frame.gain == 1000


def test_a_stream_keeps_its_own_settings_until_the_session_ends():
    camera, host, _, time = session()
    take(host, time, STILL, entries=setting(GAIN, 2000))
    take(host, time, PREVIEW, entries=setting(GAIN, 3000))
    host.send(wire.T_CONFIGURE, 50, (STILL, 0, 1, 0, 128))
    host.number = 50
    (still,) = take(host, time, STILL)
    (preview,) = take(host, time, PREVIEW)
    assert (still.gain, preview.gain) == (2000, 3000)
    host = module_world.Peer(camera, time, 99)
    host.hello()
    host.grant()
    host.send(wire.T_CONFIGURE, 2, (STILL, 0, 1, 0, 0))
    host.number = 2
    (still,) = take(host, time, STILL)
    assert still.gain == 1000


def test_a_value_out_of_range_is_adjusted_and_said_so():
    _, host, ports, time = session()
    for entries, applied, flags in (
        (module_world.settings(99, 17000), (100, 16000), wire.APPLIED_ADJUSTED),
        (module_world.settings(100, 16000), (100, 16000), 0),
        (module_world.settings(101, 15999), (101, 15999), 0),
        (module_world.settings(-5, 999), (100, 1000), wire.APPLIED_ADJUSTED),
    ):
        (frame,) = take(host, time, entries=entries)
        assert (frame.exposure, frame.gain) == applied
        assert frame.flags == flags, applied
        asked = [call for call in ports.calls if call[0] == "request_rows"][-1]
        assert asked[3][:2] == applied


def test_focus_and_aperture_take_the_nearest_value():
    _, host, ports, time = session()
    (frame,) = take(host, time, entries=module_world.settings(None, None, 9999, 3300), ms=400)
    assert (frame.focus, frame.aperture, frame.flags) == (3300, 2800, wire.APPLIED_ADJUSTED)
    assert ("iris", 2800) in ports.calls
    assert ports.steps == 2000
    (frame,) = take(host, time, entries=module_world.settings(None, None, -7, 500), ms=400)
    assert (frame.focus, frame.aperture, frame.flags) == (0, 1400, wire.APPLIED_ADJUSTED)


def test_a_bracket_has_consecutive_frames_with_their_own_settings():
    _, host, _, time = session()
    start(host)
    run(host, time, 50)
    entries = setting(GAIN, 5000) + setting(EXPOSURE, 4000)
    for number in range(9):
        entries += setting(EXPOSURE, 1000 + 1000 * number, number)
        if number % 2:
            entries += setting(GAIN, 2000 + number, number)
    frames = take(host, time, STILL, 9, entries, ms=200)
    first = frames[0].number
    assert [frame.number for frame in frames] == list(range(first, first + 9))
    assert [frame.exposure for frame in frames] == [1000 + 1000 * number for number in range(9)]
    gains = [2000 + number if number % 2 else 5000 for number in range(9)]
    assert [frame.gain for frame in frames] == gains
    assert [frame.flags for frame in frames] == [0] * 9
    # What was for every frame lasts, what was for one frame does not.
    (frame,) = take(host, time, STILL)
    assert (frame.exposure, frame.gain) == (4000, 5000)
    assert begun(host, PREVIEW)[-1].number > frame.number, "the preview goes on"
    assert [each.gain for each in begun(host, PREVIEW)] == [1000] * len(begun(host, PREVIEW))


def test_frames_without_an_entry_take_the_lasting_value():
    _, host, _, time = session()
    take(host, time, entries=setting(GAIN, 7000))
    frames = take(host, time, count=3, entries=setting(GAIN, 2000, 1))
    assert [frame.gain for frame in frames] == [7000, 2000, 7000]


def test_an_exposure_takes_its_time():
    _, host, _, time = session()
    began = time.us
    frames = take(host, time, count=3, entries=setting(EXPOSURE, 2000000), ms=6100)
    assert began + 2000000 <= frames[0].time_us <= began + 2003000
    for before, after in zip(frames, frames[1:]):
        assert 2000000 <= after.time_us - before.time_us <= 2003000
        assert after.interval_us == after.time_us - before.time_us
    assert frames[0].interval_us == 0


def test_the_next_exposure_begins_while_a_frame_is_read():
    _, host, ports, time = session()
    ports.chunk = 64  # a frame of 512 bytes takes 8 ms
    frames = take(host, time, count=4, entries=setting(EXPOSURE, 9000), ms=100)
    for before, after in zip(frames, frames[1:]):
        assert 9000 <= after.time_us - before.time_us <= 11000


def test_an_interval_counts_from_readout_to_readout():
    _, host, _, time = session()
    start(host, setting(EXPOSURE, 15000), interval=20000)
    run(host, time, 300)
    frames = begun(host)
    assert len(frames) >= 13
    for before, after in zip(frames, frames[1:]):
        assert 20000 <= after.time_us - before.time_us <= 22000


def test_a_preview_frame_does_not_wait_for_the_lens():
    _, host, _, time = session()
    start(host, setting(FOCUS, 3300))
    run(host, time, 400)
    frames = begun(host)
    moving = [frame for frame in frames if frame.flags & wire.APPLIED_MOVING]
    # 250 ms of movement, 10 ms an exposure.
    assert 20 <= len(moving) <= 26, len(moving)
    assert frames[: len(moving)] == moving
    positions = [frame.focus for frame in moving]
    assert positions == sorted(positions)
    # The position in the middle of the exposure: 8 steps a ms, 1.65 milli-dioptres a step.
    for frame in moving[1:-2]:
        elapsed = frame.time_us - moving[0].time_us
        assert abs(frame.focus - moving[0].focus - elapsed * 8 * 1.65 / 1000) < 30
    assert [frame.focus for frame in frames[len(moving) + 1 :]] == [3300] * (
        len(frames) - len(moving) - 1
    )


def test_a_settled_preview_waits_and_an_unsettled_still_does_not():
    _, host, _, time = session()
    (frame,) = take(host, time, entries=module_world.settings(None, None, 3300, None, 0), ms=400)
    assert frame.flags & wire.APPLIED_MOVING
    assert frame.focus < 200
    host.heard = []
    start(host, module_world.settings(None, None, 0, None, 1))
    run(host, time, 400)
    frames = begun(host)
    assert [frame.focus for frame in frames] == [0] * len(frames)
    assert [frame.flags for frame in frames] == [0] * len(frames)


def test_a_focus_bracket_stands_still_at_each_frame():
    _, host, _, time = session()
    entries = b"".join([setting(FOCUS, 400 * number, number) for number in range(9)])
    frames = take(host, time, count=9, entries=entries, ms=700)
    assert [frame.flags for frame in frames] == [0] * 9
    for number, frame in enumerate(frames):
        assert abs(frame.focus - 400 * number) <= 2


def test_an_aperture_bracket_moves_the_iris_between_frames():
    _, host, ports, time = session()
    stops = (1400, 2000, 2800, 4000)
    entries = b"".join([setting(APERTURE, stop, number) for number, stop in enumerate(stops)])
    ports.calls = []
    frames = take(host, time, count=4, entries=entries, ms=300)
    assert tuple([frame.aperture for frame in frames]) == stops
    assert [frame.flags for frame in frames] == [0] * 4
    order = [call[:1] + call[-1:] for call in ports.calls if call[0] in ("iris", "request_rows")]
    for stop in stops[1:]:
        moved = order.index(("iris", stop))
        assert order[moved - 1][0] == "request_rows", "the frame before was exposed"


def test_the_lens_does_not_move_while_a_frame_is_read():
    _, host, ports, time = session()
    ports.chunk = 16  # a frame of 512 bytes takes 32 ms
    entries = setting(FOCUS, 0, 0) + setting(FOCUS, 3300, 1)
    host.heard = []
    capture(host, count=2, entries=entries)
    while not begun(host):
        run(host, time, 1)
    while not [1 for header, _ in host.heard if header[2] == wire.T_FRAME_END]:
        assert ports.steps == 0
        run(host, time, 1)
    run(host, time, 400)
    assert ports.steps == 2000


def test_the_ring_wins_over_the_settings_before():
    camera, host, ports, time = session()
    take(host, time, PREVIEW, entries=setting(FOCUS, 1650), ms=400)
    start(host)
    run(host, time, 30)
    for channel, level in ((0, 1), (1, 1), (0, 0), (1, 0)):
        ports.events.append((ports.RING, channel, level))
    run(host, time, 100)
    turned = camera.focus_motor.mdpt
    assert turned > 1650
    host.heard = []
    run(host, time, 50)
    assert {frame.focus for frame in begun(host)} == {turned}
    header = [payload for header, payload in host.heard if header[2] == wire.T_FRAME_START][-1]
    assert wire.decode(wire.T_FRAME_START, header)[26] == 4, "ticks of the ring"


def test_stop_ends_an_exposure():
    _, host, _, time = session()
    start(host, setting(EXPOSURE, 5000000))
    run(host, time, 20)
    host.number += 1
    said = host.send(wire.T_STOP, host.number, (PREVIEW,))
    assert module_world.kinds(said) == [wire.T_ACCEPTED]
    (frame,) = take(host, time, STILL)
    assert frame.exposure == 10000


# --- SetSettings ------------------------------------------------------------------------------


def change(host, entries, stream=PREVIEW):
    """Send SetSettings, and return first_frame."""
    host.number += 1
    said = host.send(wire.T_SET_SETTINGS, host.number, (stream, 0), entries)
    fields = module_world.only(said, wire.T_ACCEPTED)
    assert fields[0] == stream
    return fields[2]


def refuse(host, entries, stream=PREVIEW):
    """Send SetSettings, and return the code of the Error."""
    host.number += 1
    return code(host.send(wire.T_SET_SETTINGS, host.number, (stream, 0), entries))


def test_a_change_reaches_the_first_frame_whose_exposure_begins_after_it():
    camera, host, _, time = session()
    start(host, module_world.settings(4000, 2000))
    gains = {}
    gain = 2000
    for number in range(40):
        run(host, time, 3 + number % 7)
        under_way = camera._channels[0].exposure
        before = camera.next_frame
        gain = 1000 + 100 * number
        first = change(host, module_world.settings(3000 + number, gain))
        # In EXPOSING the frame under way has its settings already.
        waits = under_way.state == 1
        assert first == (before - 1 if waits else before)
        gains[first] = gain
    run(host, time, 30)
    frames = begun(host)
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert len(frames) > 45
    current = (4000, 2000)
    for frame in frames:
        if frame.number in gains:
            # The last of several changes of one frame counts.
            gain = gains[frame.number]
            current = (3000 + (gain - 1000) // 100, gain)
        assert (frame.exposure, frame.gain) == current, frame.number
    # What was not named stays, and what was set lasts into the next request.
    assert frames[-1].gain == 4900
    host.number += 1
    host.send(wire.T_STOP, host.number, (PREVIEW,))
    (frame,) = take(host, time, PREVIEW)
    assert (frame.exposure, frame.gain) == (3039, 4900)


def test_a_change_reaches_a_frame_that_waits_for_the_lens():
    camera, host, ports, time = session()
    start(host, module_world.settings(4000, 1000, 0, None, 1))
    run(host, time, 30)
    change(host, setting(FOCUS, 3300))
    for _ in range(100):
        run(host, time, 1)
        if camera._channels[0].exposure.state == 1 and not camera.focus_motor.is_settled:
            break
    waiting = camera._channels[0].exposure.number
    assert change(host, setting(GAIN, 5000) + setting(FOCUS, 1650)) == waiting
    run(host, time, 500)
    frames = begun(host)
    assert [frame.number for frame in frames] == list(range(len(frames)))
    for frame in frames:
        place, gain = (0, 1000) if frame.number < waiting else (1650, 5000)
        assert abs(frame.focus - place) <= 2, frame.number
        assert frame.gain == gain
        assert frame.flags == 0
    assert ports.steps == 1000


def test_a_change_of_a_configured_stream_lasts():
    camera, host, _, time = session()
    assert change(host, setting(GAIN, 3000), STILL) == camera.next_frame
    for _ in range(2):
        (frame,) = take(host, time, STILL)
        assert frame.gain == 3000
    (frame,) = take(host, time, PREVIEW)
    assert frame.gain == 1000
    # SETTLED is a matter of each request.
    change(host, setting(SETTLED, 0), STILL)
    (frame,) = take(host, time, STILL, entries=setting(FOCUS, 3300), ms=400)
    assert frame.flags == 0


def test_a_change_out_of_range_is_adjusted():
    _, host, _, time = session()
    start(host)
    run(host, time, 30)
    first = change(host, setting(GAIN, 99000))
    run(host, time, 50)
    second = change(host, setting(GAIN, 16000))
    run(host, time, 50)
    for frame in begun(host):
        clamped = first <= frame.number < second
        assert frame.flags == (wire.APPLIED_ADJUSTED if clamped else 0)
        assert frame.gain == (1000 if frame.number < first else 16000)


def test_a_change_is_refused_as_a_whole():
    camera, host, _, time = session()
    host.number += 1
    sound = setting(GAIN, 2000)
    wrong = (
        (sound + sound, wire.ERR_MALFORMED),
        (sound + b"\0", wire.ERR_MALFORMED),
        (sound + setting(EXPOSURE, 500, 0), wire.ERR_MALFORMED),
        (sound + setting(99, 1 << 30), wire.ERR_MALFORMED),
        (sound + setting(SETTLED, 2), wire.ERR_UNSUPPORTED),
    )
    for entries, expected in wrong:
        assert refuse(host, entries) == expected
    start(host)
    for entries, expected in wrong:
        assert refuse(host, entries) == expected
    run(host, time, 50)
    assert {frame.gain for frame in begun(host)} == {1000}
    assert refuse(host, sound, 3) == wire.ERR_UNSUPPORTED
    # The list is checked before the stream.
    assert refuse(host, sound + sound, 3) == wire.ERR_MALFORMED


def test_a_change_needs_a_stream_that_is_configured_and_no_capture():
    camera, host, _, time = session()
    capture(host, STILL, 3, setting(EXPOSURE, 50000))
    for _ in range(3):
        assert refuse(host, setting(GAIN, 2000), STILL) == wire.ERR_STATE
        run(host, time, 40)
    run(host, time, 100)
    assert [frame.gain for frame in begun(host)] == [1000] * 3
    change(host, setting(GAIN, 2000), STILL)
    host = module_world.Peer(camera, time, 99)
    host.hello()
    host.number = 1
    assert refuse(host, setting(GAIN, 2000)) == wire.ERR_STATE


def test_a_repeated_change_is_answered_and_not_made_again():
    _, host, _, time = session()
    start(host)
    run(host, time, 30)
    first = change(host, setting(GAIN, 2000))
    number = host.number
    run(host, time, 30)
    last = change(host, setting(GAIN, 3000))
    said = host.send(wire.T_SET_SETTINGS, number, (PREVIEW, 0), setting(GAIN, 2000))
    assert module_world.only(said, wire.T_ACCEPTED)[2] == first
    run(host, time, 50)
    for frame in begun(host):
        wanted = 1000 if frame.number < first else 2000 if frame.number < last else 3000
        assert frame.gain == wanted


def test_a_change_of_focus_takes_the_lens_from_the_ring():
    camera, host, ports, time = session()
    start(host, setting(FOCUS, 1650))
    run(host, time, 400)
    for channel, level in ((0, 1), (1, 1), (0, 0), (1, 0)):
        ports.events.append((ports.RING, channel, level))
    run(host, time, 400)
    turned = camera.focus_motor.mdpt
    assert turned > 1650
    change(host, setting(GAIN, 2000))
    run(host, time, 100)
    assert camera.focus_motor.mdpt == turned
    change(host, setting(FOCUS, 0))
    run(host, time, 1000)
    assert camera.focus_motor.mdpt == 0


def test_a_still_beside_a_preview_does_not_take_its_change():
    _, host, _, time = session()
    start(host, setting(EXPOSURE, 2000))
    run(host, time, 30)
    capture(host, STILL, 4)
    first = change(host, setting(GAIN, 4000))
    run(host, time, 200)
    assert [frame.gain for frame in begun(host, STILL)] == [1000] * 4
    frames = begun(host, PREVIEW)
    assert frames[-1].gain == 4000
    assert {frame.gain for frame in frames if frame.number < first} == {1000}
    assert {frame.gain for frame in frames if frame.number >= first} == {4000}
