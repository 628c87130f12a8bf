"""Modules that come and go under a stream: what comes after a gap is new, and as before.

Every frame is compared with what the scene shows under its number. Waits are for frames, lines and
events, each within the deadline of its call.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import statistics
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from helpers import bench_scale
from helpers.cli_process import PATIENCE_S, Cli, assert_gone, children, finish, firmware
from helpers.nightly_scale import choose, say
from helpers.slowdown import patience
from helpers.undisturbed import Moment

import lenslink
from lenslink import Attached, Detached, FrameStatus, Warned
from lenslink_hil.plant.body_constants import load_body_constants
from lenslink_hil.plant.patterns import make_pattern
from lenslink_hil.plant.pin_records import DETECT_PIN, POWER_PINS, RELEASE_BUTTON
from lenslink_hil.plant.spring_contacts import make_attach_edges, make_pull_off_edges
from lenslink_protocol.ids import NoticeReason
from lenslink_protocol.packings import Packing, find_layout

SIZE = {"scene": "prbs", "width": 128, "height": 96}
SERVED = tuple(part for key, value in SIZE.items() for part in (f"--{key}", str(value)))
ATTACHMENTS = choose(5, 200)
KNOWN_S = patience(0.2)
# Contacts that have closed are known to be so, and the module answers, within this.
SETTLED_S = patience(0.4)


@pytest.fixture
def cli(tmp_path, own_url, lens_url, monkeypatch):
    own_url()  # skips where the module is not ours to start
    scheme = bench_scale.scheme_of(lens_url)
    if scheme not in bench_scale.SERVES:
        pytest.skip(f"no command serves {scheme} to others")
    with Cli(tmp_path, bench_scale.SERVES[scheme]) as started:
        # The driver in this process looks where the modules are served.
        monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(started.runtime))
        yield started


def assert_shows_the_scene(frame):
    assert frame.status is FrameStatus.COMPLETE
    size = (frame.width, frame.height)
    settings = {"bits": 12, "cfa": frame.cfa, "seed": 0}
    expected = make_pattern("prbs", *size, frame_number=frame.number, **settings)
    assert np.array_equal(frame.pixels, expected)


def until(frames, condition):
    """Frames until one of them is the first under which *condition* holds."""
    for frame in frames:
        with frame:
            assert_shows_the_scene(frame)
            if condition(frame):
                return frame
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("lanes", [1, 3])
def test_contacts_that_open_for_a_moment(own_url, scale, seed, request, lanes):
    """Between 1 and 200 ms, either pin, while frames come; the module keeps running."""
    chance = random.Random(seed)
    events, numbers, away = [], [], []

    def told(event):
        # A module that still looks at its contacts when they open warns of its supply.
        if isinstance(event, Warned):
            assert event.reason is NoticeReason.SUPPLY
        else:
            events.append(event)

    with lenslink.attach(own_url(**SIZE, lanes=lanes), on_event=told) as lens:
        plant = lens.wait()._transport.module
        with closing(lens.stream("full")) as frames:
            for gap_ms in [1, 15, 25, 50, 200, *(chance.randint(1, 200) for _ in range(7))]:
                pin = chance.choice([POWER_PINS, DETECT_PIN])
                before = lens.attachments
                began = Moment.take()
                over = began.seconds + scale.seconds(gap_ms / 1000 + SETTLED_S)
                plant.command(contacts=[[0, pin, 0], [gap_ms * 1000, pin, 1]])
                frame = until(
                    frames,
                    lambda frame, before=before, over=over: (
                        frame.nonce == lens.wait().nonce
                        and (lens.attachments > before or time.monotonic() > over)
                    ),
                )
                numbers.append(frame.number)
                # A plant that waits for a core moves a contact late: the gap is longer or shorter.
                ended = Moment.take()
                waited_ms = 1000 * (ended.seconds - began.seconds - ended.since(began))
                # Up to 20 ms it bounces; the module may look a moment later than that.
                if gap_ms + waited_ms < 20:
                    assert lens.attachments == before, gap_ms
                elif gap_ms - waited_ms >= scale.noticed_ms:
                    assert lens.attachments == before + 1, gap_ms
                if lens.attachments > before:
                    away.append(events[-1].away_s - (gap_ms / 1000 - 0.02))
        assert numbers == sorted(set(numbers)), "one boot: numbers go on rising"
        attached = [event for event in events if isinstance(event, Attached)]
        assert {event.boot_count for event in attached} == {1}
        assert len({event.nonce for event in attached}) == len(attached) == len(away) + 1
        assert [type(event) for event in events] == [Attached, *[Detached, Attached] * len(away)]
    request.node.user_properties.append(("reattached after contact, s", max(away)))


@pytest.mark.timeout(choose(60, 900))
def test_the_first_frame_comes_soon_after_stable_contact(lens_url, own_url, scale, seed, capsys):
    """Random attachments in real time: speed, bounce and resistance of the contacts.

    The frame has 64 x 64 pixels, which is one tile. Time in which a process waited for a core does
    not count for the limits.
    """
    if bench_scale.scheme_of(lens_url) == "pico:":
        pytest.skip("a suite of its own: tests/e2e/test_pico.py, on the emulated clock")
    chance = random.Random(seed)
    constants = load_body_constants()
    all_s, own_s = [], []
    with lenslink.attach(own_url(scene="prbs", width=64, height=64)) as lens:
        plant = lens.wait()._transport.module
        lens.start("full", interval_us=10_000)
        assert_shows_the_scene(lens.next_frame())
        for number in range(ATTACHMENTS):
            speed = chance.choice([30, 100, 300])
            plant.command(contact_mohm=chance.randint(10, 200))
            off = make_pull_off_edges(number, constants, speed)
            on = make_attach_edges(number, constants, speed)
            gap_us = max(at for at, _, _ in off) + chance.randint(100_000, 300_000)
            stable_s = (gap_us + max(at for at, _, _ in on)) / 1e6
            before, began = lens.attachments, Moment.take()
            plant.command(contacts=[*off, *([gap_us + at, *rest] for at, *rest in on)])
            while lens.attachments == before:
                assert_shows_the_scene(lens.next_frame())
            ended = Moment.take()
            all_s.append(ended.seconds - began.seconds - stable_s)
            own_s.append(ended.since(began) - stable_s)
    say(
        capsys,
        f"{ATTACHMENTS} attachments: first frame {statistics.median(all_s) * 1e3:.0f} ms (median) "
        f"to {max(all_s) * 1e3:.0f} ms after stable contact, with all waits, seed {seed}",
    )
    assert max(own_s) <= patience(0.5)
    assert statistics.median(own_s) <= patience(0.15)


def test_the_module_is_killed(cli, request):
    """kill -9 of the module's process; its server stays, and starts it again."""
    server, url = cli.serve(*SERVED)
    events, known = [], []

    def told(event):
        if isinstance(event, Detached):
            known.append(Moment.take())
        events.append(event)

    settings = {"exposure_us": 4000, "gain_milli": 3000, "focus_mdpt": 1650}
    with (
        lenslink.attach(url, on_event=told, timeout=PATIENCE_S) as lens,
        closing(lens.stream("full", settled=True, **settings)) as frames,
    ):
        before = until(frames, lambda _: True)
        killed = Moment.take()
        os.kill(firmware(server.pid), signal.SIGKILL)
        after = until(frames, lambda frame: frame.nonce != before.nonce)
        back = time.monotonic()
        for key, value in settings.items():
            assert getattr(after, key) == value
        assert after.timestamp_us < 1e6 * (back - killed.seconds), "younger than the kill"
    old, gone, new = events
    assert (old.boot_count, new.boot_count) == (1, 2)
    assert old.serial == gone.serial == new.serial == f"{cli.serves.upper()}-{server.pid}"
    assert new.nonce == after.nonce
    known_s = known[0].since(killed)
    assert known_s < KNOWN_S
    request.node.user_properties.append(("unplug known, s", known_s))
    request.node.user_properties.append(("first fresh frame, s", back - killed.seconds))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_ends_and_another_serves_the_same_module(cli, how):
    """A replug as a user would do it, forced and in order; restarted once the host has noticed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    listen = f"127.0.0.1:{port}" if cli.serves == "usbip" else f"unix:{cli.runtime}/lens"
    serve = ("--listen", listen, "--serial", "LENS-7", *SERVED)
    server, url = cli.serve(*serve)
    events, modules = [], []

    def told(event):
        events.append(event)
        if isinstance(event, Detached):
            # Reaped, so that the address is free.
            server.wait(PATIENCE_S)
            assert_gone(modules)
            cli.serve(*serve)

    before_descriptors = descriptors()
    with lenslink.attach(serial="LENS-7", on_event=told, timeout=PATIENCE_S) as lens:
        lens.configure(1, "full", tile_bytes=4096, packing="mipi")
        settings = {"tile_bytes": 2048, "packing": "lsb", "exposure_us": 5000}
        with closing(lens.stream("full", **settings)) as frames:
            before = until(frames, lambda _: True)
            modules += children(server.pid)
            server.send_signal(how)
            after = until(frames, lambda frame: frame.nonce != before.nonce)
            assert (after.exposure_us, after.focus_mdpt) == (5000, before.focus_mdpt)
        plans = lens.wait()._session.configurations
        # Rows of 192 bytes, an even number of them.
        assert {stream: plan.tile_bytes for stream, plan in plans.items()} == {0: 1920, 1: 3840}
        packings = {
            stream: find_layout(plan.pixel_format).packing for stream, plan in plans.items()
        }
        assert packings == {0: Packing.LSB, 1: Packing.MIPI}
        assert lens.url == url
    assert [type(event) for event in events] == [Attached, Detached, Attached]
    assert descriptors() <= before_descriptors + 6, "the second server's pipes"


def descriptors():
    if sys.platform != "linux":
        return 0
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_device_tells_every_call_that_the_module_is_gone(cli):
    """Without attach(): an exception, at once, from what waits and from all that is tried after."""
    server, url = cli.serve(*SERVED)
    with lenslink.open(url, timeout=PATIENCE_S) as device:
        device.capture("full").release()
        frames = device.stream("full")
        next(frames).release()
        began = Moment.take()
        os.kill(firmware(server.pid), signal.SIGKILL)
        with pytest.raises(lenslink.Disconnected):
            for frame in frames:
                frame.release()
        assert Moment.take().since(began) < KNOWN_S
        for call in (device.capture, device.configure, device.flush, device.renew):
            with pytest.raises(lenslink.Disconnected):
                call()
        with pytest.raises(lenslink.Disconnected):
            next(device.stream())
        device.stop()  # of what is gone there is nothing to stop


def test_two_modules_at_once(cli):
    one_server, one_url = cli.serve(*SERVED)
    two_server, two_url = cli.serve(*SERVED)
    with (
        lenslink.attach(one_url, timeout=PATIENCE_S) as one,
        lenslink.attach(two_url, timeout=PATIENCE_S) as two,
    ):
        assert one.serial != two.serial
        for lens in (one, two):
            lens.start("full")
            assert_shows_the_scene(lens.next_frame())
        os.kill(firmware(one_server.pid), signal.SIGKILL)
        gone = 0
        deadline = time.monotonic() + PATIENCE_S
        while one.attachments < 2:
            assert time.monotonic() < deadline
            try:
                assert_shows_the_scene(one.next_frame(timeout=0.5))
            except lenslink.Disconnected:
                gone += 1
            assert_shows_the_scene(two.next_frame())
        assert_shows_the_scene(one.next_frame())
        assert (one.attachments, two.attachments) == (2, 1)
        del two_server


def test_the_release_button_warns(own_url):
    events = []
    with lenslink.attach(own_url(**SIZE), on_event=events.append) as lens:
        plant = lens.wait()._transport.module
        with closing(lens.stream("full")) as frames:
            until(frames, lambda _: True)
            # Pressed; 80 ms later the module is off, and put on again.
            pressed = [[0, RELEASE_BUTTON, 1], [60_000, RELEASE_BUTTON, 0]]
            plant.command(contacts=[*pressed, [80_000, DETECT_PIN, 0], [200_000, DETECT_PIN, 1]])
            until(frames, lambda _: lens.attachments == 2)
    assert [type(event) for event in events] == [Attached, Warned, Detached, Attached]
    assert events[1].reason is NoticeReason.RELEASE


def test_a_capture_under_way_is_accounted_for(own_url, scale, seed):
    """Done once, or an exception that says what became of it."""
    chance = random.Random(seed)
    outcomes = []
    with lenslink.attach(own_url(**SIZE)) as lens:
        plant = lens.wait()._transport.module
        numbers = []
        for turn in range(8):
            at = chance.randint(0, 300_000)
            plant.command(contacts=[[at, DETECT_PIN, 0], [at + 50_000, DETECT_PIN, 1]])
            try:
                # The motor needs a quarter of a second from one end to the other.
                with lens.capture("full", focus_mdpt=3300 * (turn % 2)) as frame:
                    assert_shows_the_scene(frame)
                    numbers.append(frame.number)
            except lenslink.Disconnected as error:
                outcomes.append(error.outcome)
            # Past the interruption, so that each turn has one of its own.
            with pytest.raises((lenslink.Timeout, lenslink.Disconnected)):
                lens.wait().next_frame(timeout=scale.seconds(0.4))
        assert numbers == sorted(set(numbers))
        assert all(outcome is not None for outcome in outcomes)


def test_a_server_that_ends_while_a_host_waits_leaves_nothing(cli):
    server, url = cli.serve(*SERVED)
    with lenslink.attach(url, timeout=PATIENCE_S) as lens:
        lens.start("full")
        lens.next_frame().release()
        modules = children(server.pid)
        server.send_signal(signal.SIGTERM)
        finish(server)
        with pytest.raises(lenslink.Disconnected, match="was not back within 1 s"):
            for _ in range(1000):
                lens.next_frame(timeout=1).release()
        assert_gone(modules)
