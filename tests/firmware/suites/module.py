"""The camera: the effect of each request in each state, and the frames that follow."""

from helpers import module_world

from lensfw import module, sensor, wire
from lensfw.module import CONFIGURED, STREAMING, UNCONFIGURED

PREVIEW = 0
STILL = 1
SMALL = 1
LARGE = 2


def session(**options):
    camera, ports, time = module_world.camera(module_world.configuration(**options))
    host = module_world.Peer(camera, time)
    host.hello()
    host.grant()
    return camera, host, ports, time


def configure(host, number, stream, mode=SMALL, flags=0, pixel_format=0, tile_bytes=0):
    said = host.send(wire.T_CONFIGURE, number, (stream, flags, mode, pixel_format, tile_bytes))
    return module_world.only(said, wire.T_CONFIGURED)


def code(said):
    return module_world.only(said, wire.T_ERROR)[0]


def capture(host, number, stream, count=1, entries=b""):
    return host.send(wire.T_CAPTURE, number, (stream, 0, count), entries)


def start(host, number, stream, interval=0, entries=b""):
    return host.send(wire.T_STREAM, number, (stream, 0, 0, interval), entries)


def run(host, time, steps=30, us=1000):
    for _ in range(steps):
        time.us += us
        host.turn()


def frames(host):
    """Return the received frames by number: (stream, frame-start, pixels, frame-end or None)."""
    found = {}
    for header, payload in host.heard:
        kind, stream, number = header[2], header[4], header[7]
        if kind == wire.T_FRAME_START:
            assert number not in found
            found[number] = [stream, wire.decode(kind, payload), b"", None]
        elif kind == wire.T_TILE:
            assert found[number][0] == stream
            assert found[number][3] is None, "a tile after its frame's end"
            found[number][2] += payload
        elif kind == wire.T_FRAME_END:
            found[number][3] = wire.decode(kind, payload)
    return found


def test_a_stream_is_unconfigured_at_first():
    camera, host, _, _ = session()
    for number, stream in ((2, PREVIEW), (3, STILL)):
        assert camera.streams[stream].state == UNCONFIGURED
        assert code(capture(host, number, stream)) == wire.ERR_STATE
    assert code(start(host, 4, PREVIEW)) == wire.ERR_STATE


def test_configure_says_what_it_applied():
    camera, host, _, _ = session()
    answer = configure(host, 2, STILL, LARGE)
    pixels = wire.PFNC_GR12
    assert answer == (STILL, 0, LARGE, pixels, 32, 24, 64, 64 * 24, 128, 0, 0)
    assert camera.streams[STILL].state == CONFIGURED
    assert camera.streams[PREVIEW].state == UNCONFIGURED


def test_test_only_applies_nothing():
    camera, host, _, _ = session()
    answer = configure(host, 2, PREVIEW, LARGE, flags=wire.CONFIGURE_TEST_ONLY)
    assert answer[1] == wire.CONFIGURE_TEST_ONLY
    assert answer[4:6] == (32, 24)
    assert camera.streams[PREVIEW].state == UNCONFIGURED
    configure(host, 3, PREVIEW, SMALL)
    configure(host, 4, PREVIEW, LARGE, flags=wire.CONFIGURE_TEST_ONLY)
    assert camera.streams[PREVIEW].width == 16


def test_an_adjusted_configuration_says_so():
    camera, host, _, _ = session()
    for number, pixel_format, tile_bytes, adjusted in (
        (2, 0, 0, False),
        (3, wire.PFNC_GR12, 128, False),
        (4, wire.PFNC_RG12, 0, True),
        (5, 0, 4096, True),  # more than this module's buffers hold
        (6, 0, 100, False),  # a bound, not a size
        (7, 0, 3, True),  # less than two pixels
        (8, 0, 4, False),
    ):
        answer = configure(host, number, PREVIEW, SMALL, 0, pixel_format, tile_bytes)
        assert bool(answer[1] & wire.CONFIGURE_ADJUSTED) == adjusted, number
        assert answer[3] == wire.PFNC_GR12
        assert answer[8] <= min(tile_bytes or 128, 128) or tile_bytes == 3
        assert answer[8] >= 4


def test_flags_from_the_future_are_not_repeated():
    camera, host, _, _ = session()
    assert configure(host, 2, PREVIEW, SMALL, flags=0xFE)[1] == 0


def test_no_such_mode_or_stream():
    camera, host, _, _ = session()
    assert code(host.send(wire.T_CONFIGURE, 2, (0, 0, 99, 0, 0))) == wire.ERR_UNSUPPORTED
    assert code(host.send(wire.T_CONFIGURE, 3, (3, 0, SMALL, 0, 0))) == wire.ERR_UNSUPPORTED
    assert code(host.send(wire.T_CONFIGURE, 4, (255, 0, SMALL, 0, 0))) == wire.ERR_UNSUPPORTED
    assert code(capture(host, 5, 3)) == wire.ERR_UNSUPPORTED
    assert code(start(host, 6, 3)) == wire.ERR_UNSUPPORTED
    assert code(host.send(wire.T_STOP, 7, (3,))) == wire.ERR_UNSUPPORTED
    assert camera.streams[PREVIEW].state == UNCONFIGURED


def test_no_frames_asked_for():
    camera, host, _, _ = session()
    configure(host, 2, PREVIEW)
    assert code(capture(host, 3, PREVIEW, count=0)) == wire.ERR_UNSUPPORTED
    assert camera.streams[PREVIEW].state == CONFIGURED


def test_a_running_stream_is_neither_configured_nor_started_again():
    camera, host, _, _ = session()
    configure(host, 2, PREVIEW)
    start(host, 3, PREVIEW)
    assert camera.streams[PREVIEW].state == STREAMING
    assert code(host.send(wire.T_CONFIGURE, 4, (PREVIEW, 0, LARGE, 0, 0))) == wire.ERR_STATE
    assert code(host.send(wire.T_CONFIGURE, 5, (PREVIEW, 1, LARGE, 0, 0))) == wire.ERR_STATE
    assert code(start(host, 6, PREVIEW)) == wire.ERR_STATE
    assert code(capture(host, 7, PREVIEW)) == wire.ERR_STATE


def test_without_power_no_frame_begins():
    camera, host, ports, time = session()
    configure(host, 2, PREVIEW)
    ports.vbus_mv = 4000
    time.us += 200000
    host.turn()
    host.turn()
    assert code(capture(host, 3, PREVIEW)) == wire.ERR_POWER
    assert camera.streams[PREVIEW].state == CONFIGURED


def test_a_low_supply_is_logged_and_announced_once():
    camera, host, ports, time = session()
    ports.vbus_mv = 4000
    run(host, time, 10, 100000)
    logs = [payload for header, payload in host.heard if header[2] == wire.T_LOG]
    texts = [wire.decode(wire.T_LOG, payload)[3] for payload in logs]
    assert module_world.only(host.heard, wire.T_NOTICE) == (wire.NOTICE_SUPPLY, 0, 0)
    assert [text for text in texts if b"low" in text] == [b"supply low: 4000 mV"]


def test_a_capture_delivers_its_frames_and_stops():
    camera, host, ports, time = session()
    configure(host, 2, PREVIEW)
    capture(host, 3, PREVIEW, count=3)
    run(host, time)
    assert camera.streams[PREVIEW].state == CONFIGURED
    found = frames(host)
    assert sorted(found) == [0, 1, 2]
    for number in found:
        stream, begun, pixels, end = found[number]
        assert stream == PREVIEW
        assert pixels == bytes(module_world.gradient(number, SMALL))
        assert end[:3] == (wire.END_OK, 1, 4)
        assert begun[:2] + begun[3:5] == (SMALL, 3, 16, 16)
    assert ports.load_ma == 29, "idle again: 150 mW"


def test_the_frame_start_is_the_sensors_truth():
    camera, host, _, time = session(bits=14)
    configure(host, 2, STILL, LARGE)
    capture(host, 3, STILL, 1, module_world.settings(20000, 4000, 1650))
    run(host, time, 300)
    begun = frames(host)[0][1]
    assert begun[:2] == (LARGE, 3)
    assert 0 < begun[2] <= time.us
    assert begun[3:9] == (32, 24, 1, 6, 14, 0)
    assert begun[9:12] == (wire.PFNC_GR14, 64, 16383)
    assert begun[12:14] == (0, 0)
    assert begun[14:18] == (64000, 64250, 64500, 64750)
    assert begun[18:22] == (20000, 4000, 1650, 1400)
    assert begun[22:27] == (0, 0, 0, 0, 0)
    assert begun[27] == 25000


def test_settings_stay_until_they_are_changed():
    camera, host, ports, time = session()
    configure(host, 2, PREVIEW)
    for number, settings, applied in (
        (3, (), (0, 1000, 0)),
        (4, (20000,), (20000, 1000, 0)),
        (5, (None, 4000), (20000, 4000, 0)),
        (6, (None, None, 3300), (20000, 4000, 3300)),
        (7, (), (20000, 4000, 3300)),
        (8, (5, 1000, 0), (5, 1000, 0)),
    ):
        host.heard = []
        capture(host, number, PREVIEW, 1, module_world.settings(*settings))
        run(host, time, 300)
        (frame,) = frames(host).values()
        assert frame[1][18:21] == applied, number


def test_a_capture_waits_for_the_lens():
    camera, host, ports, time = session()
    configure(host, 2, PREVIEW)
    capture(host, 3, PREVIEW, 1, module_world.settings(None, None, 3300))
    # 2000 steps at 8000 a second: 250 ms.
    run(host, time, 249)
    assert frames(host) == {}
    run(host, time, 30)
    assert sorted(frames(host)) == [0]
    assert ports.steps == 2000


def test_the_still_goes_before_the_preview():
    camera, host, _, time = session()
    configure(host, 2, PREVIEW)
    configure(host, 3, STILL)
    start(host, 4, PREVIEW)
    run(host, time, 5)
    capture(host, 5, STILL, 2)
    run(host, time, 20)
    found = frames(host)
    streams = [found[number][0] for number in sorted(found)]
    first = streams.index(STILL)
    assert streams[first : first + 3] == [STILL, STILL, PREVIEW]
    assert 0 < first
    for number in found:
        if found[number][3]:
            assert found[number][2] == bytes(module_world.gradient(number, SMALL))


def test_frames_keep_their_interval():
    camera, host, _, time = session()
    configure(host, 2, PREVIEW)
    start(host, 3, PREVIEW, interval=50000)
    run(host, time, 500)
    begun = [frame[1][2] for _, frame in sorted(frames(host).items())]
    assert len(begun) == 11
    for one, other in zip(begun, begun[1:]):
        assert 50000 <= other - one <= 52000


def test_stop_inside_a_frame_ends_it_as_aborted():
    camera, host, ports, time = session()
    configure(host, 2, PREVIEW)
    ports.chunk = 10
    start(host, 3, PREVIEW)
    run(host, time, 3)
    said = host.send(wire.T_STOP, 4, (PREVIEW,))
    assert module_world.kinds(said)[-2:] == [wire.T_FRAME_END, wire.T_ACCEPTED]
    assert module_world.only(said, wire.T_FRAME_END)[0] == wire.END_ABORTED
    assert module_world.only(said, wire.T_ACCEPTED) == (PREVIEW, 0, camera.next_frame)
    assert camera.streams[PREVIEW].state == CONFIGURED
    run(host, time)
    assert [header[2] for header, _ in host.heard[-2:]] == [wire.T_FRAME_END, wire.T_ACCEPTED]
    # The rest of the aborted frame does not leak into the next one.
    host.heard = []
    ports.chunk = 0
    capture(host, 5, PREVIEW)
    run(host, time)
    ((number, frame),) = frames(host).items()
    assert frame[2] == bytes(module_world.gradient(number, SMALL))
    assert frame[3][0] == wire.END_OK


def test_stop_before_the_first_row_ends_a_frame_of_which_nothing_was_sent():
    camera, host, ports, time = session()
    configure(host, 2, PREVIEW)
    ports.dead = True
    start(host, 3, PREVIEW)
    run(host, time, 3)
    assert module_world.kinds(host.send(wire.T_STOP, 4, (PREVIEW,))) == [wire.T_ACCEPTED]
    ports.dead = False
    host.heard = []
    capture(host, 5, PREVIEW)
    run(host, time)
    ((number, frame),) = frames(host).items()
    assert number == 1
    assert frame[2] == bytes(module_world.gradient(1, SMALL))


def test_stop_of_one_stream_leaves_the_other():
    camera, host, ports, time = session()
    configure(host, 2, PREVIEW)
    configure(host, 3, STILL)
    start(host, 4, PREVIEW)
    run(host, time, 3)
    host.send(wire.T_STOP, 5, (STILL,))
    assert camera.streams[PREVIEW].state == STREAMING
    count = len(frames(host))
    run(host, time, 10)
    assert len(frames(host)) > count


def test_stop_of_an_idle_stream_is_accepted():
    camera, host, _, _ = session()
    assert module_world.only(host.send(wire.T_STOP, 2, (STILL,)), wire.T_ACCEPTED) == (STILL, 0, 0)


def test_flush_ends_every_stream():
    camera, host, _, time = session()
    configure(host, 2, PREVIEW)
    configure(host, 3, STILL)
    start(host, 4, PREVIEW)
    start(host, 5, STILL)
    run(host, time, 5)
    host.send(wire.T_FLUSH, 6)
    assert [stream.state for stream in camera.streams[:2]] == [CONFIGURED, CONFIGURED]
    length = len(host.heard)
    run(host, time)
    assert len(host.heard) == length


def test_a_sensor_that_fails_inside_a_frame_says_so():
    camera, host, ports, time = session()
    configure(host, 2, PREVIEW)
    ports.chunk = 100
    capture(host, 3, PREVIEW)
    ports.dead = True
    host.turn()
    time.us += sensor.SENSOR_TIMEOUT_US + 1
    host.heard = []
    host.turn()
    assert module_world.kinds(host.heard) == [wire.T_LOG, wire.T_FRAME_END]
    assert wire.decode(wire.T_FRAME_END, host.heard[1][1])[:3] == (wire.END_SENSOR, 1, 0)
    assert wire.decode(wire.T_LOG, host.heard[0][1])[0] == wire.LOG_ERROR
    assert camera.streams[PREVIEW].state == CONFIGURED
    # What it delivers too late is not taken for the next frame.
    ports.dead = False
    host.heard = []
    capture(host, 4, PREVIEW)
    run(host, time)
    assert frames(host)[1][2] == bytes(module_world.gradient(1, SMALL))


def test_a_sensor_that_delivers_nothing_sends_no_frame():
    camera, host, ports, time = session()
    configure(host, 2, PREVIEW)
    ports.dead = True
    capture(host, 3, PREVIEW, 2)
    host.heard = []
    for _ in range(2):
        time.us += sensor.SENSOR_TIMEOUT_US + 1
        host.turn()
        host.turn()
    assert module_world.kinds(host.heard) == [wire.T_LOG, wire.T_LOG]
    assert camera.streams[PREVIEW].state == CONFIGURED


def test_tiles_are_bounded_by_those_in_flight():
    camera, host, ports, time = session()
    configure(host, 2, PREVIEW)
    host.raw(module_world.make_packet(0x10, wire.T_CAPTURE, host.nonce, host.sequence, 3,
                        wire.encode(wire.T_CAPTURE, (0, 0, 1))))  # fmt: skip
    for _ in range(10):
        camera.step()
    assert not camera.has_row_space(), "two tiles wait to be sent"
    said = host.collect()
    assert module_world.kinds(said).count(wire.T_TILE) == 2
    assert camera.has_row_space()


def test_detaching_ends_everything():
    camera, host, ports, time = session()
    configure(host, 2, PREVIEW)
    start(host, 3, PREVIEW)
    ports.chunk = 50
    run(host, time, 3)
    ports.events.append((ports.CONTACT, 1, 0))
    run(host, time, 25)
    assert module_world.kinds(host.heard[-1:]) == [wire.T_CLOSE]
    assert [stream.state for stream in camera.streams] == [UNCONFIGURED] * 3
    assert not camera.has_row_space()
    assert ports.load_ma == 29
    # Seated again, a new session gets whole frames.
    ports.chunk = 0
    ports.events.append((ports.CONTACT, 1, 1))
    run(host, time, 25)
    again = module_world.Peer(camera, time, nonce=99)
    again.hello()
    again.grant()
    configure(again, 2, PREVIEW)
    capture(again, 3, PREVIEW)
    run(again, time)
    ((number, frame),) = frames(again).items()
    assert frame[2] == bytes(module_world.gradient(number, SMALL))


def test_the_ring_moves_the_lens():
    camera, host, ports, time = session()
    time.us += 1000000
    for channel, level in ((0, 1), (1, 1), (0, 0), (1, 0)) * 2:
        ports.events.append((ports.RING, channel, level))
    run(host, time)
    # Slow ticks, of one step each.
    assert camera.focus_motor.position == ports.steps == camera.focus_ring.position == 8


def test_it_may_sleep_longer_when_nothing_moves():
    camera, host, ports, time = session()
    assert camera.get_idle_ms() == 20
    camera.focus_motor.move_to(100, time.us)
    assert camera.get_idle_ms() == 1
    run(host, time)
    camera.contacts.state = 0
    assert camera.get_idle_ms() == 5


def test_rows_split_into_segments_arrive_whole():
    camera, host, ports, time = session()
    assert configure(host, 2, STILL, SMALL, tile_bytes=24)[8] == 24
    ports.chunk = 5
    capture(host, 3, STILL)
    run(host, time, 300)
    places = [header[8:12] for header, _ in host.heard if header[2] == wire.T_TILE]
    assert places[:3] == [(0, 0, 12, 1), (12, 0, 4, 1), (0, 1, 12, 1)]
    assert len(places) == 32
    assert frames(host)[0][2] == bytes(module_world.gradient(0, SMALL))


def test_a_stream_states_its_tile():
    stream = module.Stream()
    stream.tile_columns, stream.tile_rows = 16, 4
    assert stream.tile_bytes == 128


class Ways(module_world.Ports):
    """The ports of a sensor with a channel for each stream."""

    def __init__(self):
        super().__init__()
        self.channels = [module_world.Ports(), module_world.Ports()]


def test_two_channels_read_preview_and_still_at_once():
    time, ports = module_world.Time(), Ways()
    camera = module.Module(module_world.configuration(in_flight=4), ports, time)
    module_world.seat(camera, time)
    host = module_world.Peer(camera, time)
    host.hello()
    host.grant()
    configure(host, 2, PREVIEW)
    configure(host, 3, STILL, LARGE)
    for way in ports.channels:
        way.chunk = 16
    ports.channels[1].picture = lambda number, mode: bytes(range(256)) * 6
    start(host, 4, PREVIEW)
    capture(host, 5, STILL)
    run(host, time, 150)
    found = frames(host)
    stills = [number for number in found if found[number][0] == STILL]
    assert len(stills) == 1
    assert found[stills[0]][2] == bytes(range(256)) * 6
    # Previews were read out while the still was: their packets stand among each other.
    order = [header[4] for header, _ in host.heard if header[2] == wire.T_TILE]
    first, last = order.index(STILL), len(order) - order[::-1].index(STILL)
    assert PREVIEW in order[first:last]
    for number in found:
        if found[number][0] == PREVIEW and found[number][3]:
            assert found[number][2] == bytes(module_world.gradient(number, SMALL))


def test_the_release_button_gives_notice():
    camera, host, ports, time = session()
    ports.events.append((ports.CONTACT, 2, 1))
    assert module_world.only(host.turn(), wire.T_NOTICE)[0] == wire.NOTICE_RELEASE
    # It bounces.
    ports.events += [(ports.CONTACT, 2, 0), (ports.CONTACT, 2, 1)]
    assert host.turn() == []
    time.us += 200000
    ports.events += [(ports.CONTACT, 2, 0), (ports.CONTACT, 2, 1)]
    assert module_world.kinds(host.turn()) == [wire.T_NOTICE]


def test_a_stopped_frame_whose_tiles_were_dropped_ends_aborted():
    """The explorer found a frame whose tiles were dropped and whose FrameEnd said OK."""
    camera, _, time = module_world.camera(module_world.configuration(held=4, in_flight=4))
    host = module_world.Peer(camera, time)
    host.hello()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    # Credit for one tile of four.
    host.grant(128)
    host.send(wire.T_CAPTURE, 3, (0, 0, 1))
    host.send(wire.T_STOP, 4, (0,))
    assert module_world.kinds(host.heard).count(wire.T_TILE) == 1
    status, _, tiles, *_ = module_world.only(host.heard, wire.T_FRAME_END)
    assert (status, tiles) == (wire.END_ABORTED, 1)
