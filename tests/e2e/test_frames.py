"""Frames from a module to the host: every pixel against an oracle that was computed apart."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from helpers import bench_scale
from helpers.discards import BEFORE, count_discards
from helpers.slowdown import patience

import lenslink
from lenslink import Device, Frame, FrameStatus
from lenslink.deadline import Deadline
from lenslink.transports.base import ClockedTransport
from lenslink_hil.kernel import guest_boards
from lenslink_hil.plant.binning import bin2x2
from lenslink_hil.plant.patterns import make_pattern
from lenslink_hil.plant.sensor_model import get_levels
from lenslink_protocol.ids import Cfa, ConfigureFlag, DiscardReason, ModeUse

SceneUrl = Callable[..., str]

# scene, width, height, bits, cfa: every scene, depth and phase; both ends of the sizes; sides
# that are no multiple of 4; rows longer and shorter than a tile.
FRAMES = [
    ("ramp", 64, 64, 12, "RGGB"),
    ("prbs", 64, 64, 14, "BGGR"),
    ("bars", 66, 130, 14, "GRBG"),
    ("prbs", 130, 66, 12, "GBRG"),
    ("bars", 640, 480, 12, "RGGB"),
    ("bars", 640, 480, 12, "GRBG"),
    ("bars", 640, 480, 12, "GBRG"),
    ("bars", 640, 480, 12, "BGGR"),
    ("prbs", 1280, 960, 12, "GRBG"),
    ("prbs", 1280, 960, 14, "RGGB"),
    ("ramp", 12288, 64, 12, "BGGR"),
    ("ramp", 64, 8192, 14, "GBRG"),
    ("prbs", 4096, 3072, 12, "RGGB"),
]


def oracle(frame: Frame, scene: str, seed: int = 0) -> np.ndarray:
    return make_pattern(
        scene,
        frame.width,
        frame.height,
        bits=frame.bits,
        cfa=frame.cfa,
        seed=seed,
        frame_number=frame.number,
    )


def assert_sound(device: Device, frame: Frame) -> None:
    assert frame.status is FrameStatus.COMPLETE
    assert frame.received_fraction == 1
    assert frame.missing_ranges == ()
    # On a clock of the board's own, requests are repeated by the world's: answers may come twice.
    # Such a board stays plugged in, and its last packet of the session before may come late.
    clocked = isinstance(device._session._transport, ClockedTransport)
    allowed = {DiscardReason.UNEXPECTED.value, BEFORE} if clocked else ()
    assert not count_discards(device.stats, allowed)
    assert device.stats.lost_packets == 0


@pytest.mark.parametrize("spec", FRAMES, ids=lambda spec: "-".join(map(str, spec)))
def test_a_pattern_arrives_exactly(
    scene_url: SceneUrl, spec: tuple[str, int, int, int, str]
) -> None:
    scene, width, height, bits, cfa = spec
    seed = width + height
    url = scene_url(scene=scene, width=width, height=height, bits=bits, cfa=cfa, seed=seed)
    with lenslink.open(url) as device, device.capture("full") as frame:
        assert frame.pixels.shape == (height, width)
        assert frame.pixels.dtype == np.dtype("<u2")
        assert (frame.bits, frame.cfa) == (bits, cfa)
        black, white = get_levels(bits)
        assert (frame.black, frame.white) == ((black,) * 4, white)
        assert np.array_equal(frame.pixels, oracle(frame, scene, seed))
        assert_sound(device, frame)


@pytest.mark.parametrize("cfa", [cfa.name for cfa in Cfa])
def test_binned_pixels_are_means_of_their_own_colour(scene_url: SceneUrl, cfa: str) -> None:
    width, height, seed = 640, 484, 7
    url = scene_url(scene="prbs", width=width, height=height, cfa=cfa, seed=seed)
    with lenslink.open(url) as device, device.capture("binned") as frame:
        full = make_pattern(
            "prbs", width, height, bits=12, cfa=cfa, seed=seed, frame_number=frame.number
        )
        assert frame.cfa == cfa
        assert np.array_equal(frame.pixels, bin2x2(full))
        assert_sound(device, frame)


def test_a_stream_counts_its_frames(scene_url: SceneUrl, scale: bench_scale.Scale) -> None:
    size = scale.size(320, 240)
    url = scene_url(scene="prbs", **size)
    with lenslink.open(url) as device:
        numbers, times = [], []
        with closing(device.stream()) as frames:
            for frame in itertools.islice(frames, 20):
                with frame:
                    numbers.append(frame.number)
                    times.append(frame.timestamp_us)
                    assert np.array_equal(frame.pixels, oracle(frame, "prbs"))
                    assert_sound(device, frame)
        assert numbers == list(range(numbers[0], numbers[0] + 20))
        assert times == sorted(set(times))
        assert device.stats.complete == 20
        assert device.stats.bytes >= 20 * size["width"] * size["height"] * 2


def test_a_frame_that_is_kept_stays_as_it_was(scene_url: SceneUrl) -> None:
    """Only a released frame's memory is used again."""
    with lenslink.open(scene_url(scene="prbs", width=128, height=128)) as device:
        with closing(device.stream()) as frames:
            kept = list(itertools.islice(frames, 8))
        assert all(np.array_equal(frame.pixels, oracle(frame, "prbs")) for frame in kept)


def test_settings_travel_with_the_capture(lens: Device) -> None:
    closest = lens.manifest.optics.focus_max_mdpt if lens.manifest.optics else 0
    asked = [(8000, 2000, closest // 2), (20_000, 1000, 0), (125, 4500, closest)]
    for exposure, gain, focus in asked:
        with lens.capture(
            lens.find_mode(None, ModeUse.PREVIEW).name,
            exposure_us=exposure,
            gain_milli=gain,
            focus_mdpt=focus,
        ) as frame:
            assert (frame.exposure_us, frame.gain_milli) == (exposure, gain)
            # The motor has steps: it comes as near as half of one.
            assert abs(frame.focus_mdpt - focus) <= 2
    # Left out, they stay as they were.
    with lens.capture(lens.find_mode(None, ModeUse.PREVIEW).name) as frame:
        assert (frame.exposure_us, frame.gain_milli) == asked[-1][:2]


def test_nothing_follows_a_stop_or_a_flush(lens: Device) -> None:
    last = -1
    for end in (lens.stop, lens.flush):
        frames = lens.stream()
        with closing(frames):
            with next(frames) as frame:
                assert frame.number > last
                last = frame.number
            request_id = lens._requests[0].id
            end()
            with pytest.raises(lenslink.Timeout):
                lens._session.take_frame(0, Deadline(0.3, "what must not come"), request_id)
    # And the module still works.
    with closing(lens.stream()) as frames, next(frames) as frame:
        assert frame.number > last
        assert_sound(lens, frame)


def test_two_streams_after_each_other(lens: Device) -> None:
    seen: list[int] = []
    for _ in range(2):
        with closing(lens.stream()) as frames:
            for frame in itertools.islice(frames, 3):
                with frame:
                    seen.append(frame.number)
                    assert_sound(lens, frame)
    assert seen == sorted(set(seen))


def test_stills_between_previews(scene_url: SceneUrl) -> None:
    with lenslink.open(scene_url(scene="prbs", width=256, height=192)) as device:
        with closing(device.stream("binned")) as frames:
            with next(frames) as frame:
                assert frame.pixels.shape == (96, 128)
            with device.capture("full") as still:
                assert np.array_equal(still.pixels, oracle(still, "prbs"))
            with next(frames) as frame:
                assert frame.pixels.shape == (96, 128)
        assert not count_discards(device.stats)


def test_test_only_applies_nothing(lens: Device) -> None:
    names = [mode.name for mode in lens.manifest.modes]
    before = lens.configure(0, names[0])
    answer = lens.configure(0, names[-1], test_only=True)
    assert answer.flags & ConfigureFlag.TEST_ONLY
    assert answer.mode == lens.manifest.modes[-1].id
    assert lens._session.configurations[0] == before
    assert lens.configure(0, names[0]) == before


def test_a_tile_size_that_cannot_be_is_adjusted(lens: Device) -> None:
    answer = lens.configure(0, tile_bytes=1)
    assert answer.flags & ConfigureFlag.ADJUSTED
    assert answer.tile_bytes > 1


def test_a_mode_that_is_not_there(lens: Device) -> None:
    with pytest.raises(lenslink.UsageError, match=r"no mode 'sideways' \(it has .+\)"):
        lens.capture("sideways")


def children() -> Iterator[tuple[int, str]]:
    """Our child processes, ended ones that nobody waited for too."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = stat.read_text(errors="replace").partition(" (")
        except OSError:
            continue  # it ended meanwhile
        name, _, fields = rest.rpartition(") ")
        if int(fields.split()[1]) == os.getpid():
            yield int(pid), name


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in Linux' /proc")
def test_a_closed_module_leaves_nothing_behind(own_url: SceneUrl) -> None:
    url = own_url(scene="prbs", width=64, height=64)
    lenslink.open(url).close()  # what is made once and kept is made now
    before = set(children()), descriptors()
    with lenslink.open(url) as device:
        assert (
            len(set(children()))
            == len(before[0]) + bench_scale.PROCESSES[bench_scale.scheme_of(url)]
        )
        frames = device.stream()
        next(frames)
        # Closed in the middle of a stream.
    assert (set(children()), descriptors()) == before
    with pytest.raises(lenslink.Disconnected):
        next(frames)
    with pytest.raises(ZeroDivisionError), lenslink.open(url):
        _ = 1 / 0
    assert (set(children()), descriptors()) == before


def test_two_modules_at_the_same_time(own_url: SceneUrl) -> None:
    urls = [own_url(scene="prbs", width=128, height=128, seed=seed) for seed in (1, 2)]
    with lenslink.open(urls[0]) as one, lenslink.open(urls[1]) as two:
        assert one.manifest.serial != two.manifest.serial
        for _ in range(3):
            for seed, device in ((1, one), (2, two)):
                with device.capture() as frame:
                    assert np.array_equal(frame.pixels, oracle(frame, "prbs", seed))
                    assert_sound(device, frame)


def test_a_boards_limits_are_kept(scene_url: SceneUrl, scale: bench_scale.Scale) -> None:
    """A Pico's heap, and its link's rate: never faster than the board would be."""
    with lenslink.open(scene_url(scene="prbs", board="pico")) as device:
        assert device.manifest.board == "pico"
        assert device.manifest.scale is not None
        assert device.manifest.scale.pixels_milli < 1000
        device.configure(0)
        began = time.monotonic()
        with closing(device.stream()) as frames:
            for frame in itertools.islice(frames, 2):
                with frame:
                    assert np.array_equal(frame.pixels, oracle(frame, "prbs"))
                    assert_sound(device, frame)
        rate = device.stats.bytes / (time.monotonic() - began)
    assert rate < 0.896e6 * 1.05
    # One emulated CPU receives no more than it can.
    assert rate > scale.rate(0.3e6) / patience(1) or guest_boards.is_in_guest()


def test_the_driver_says_what_it_did(lens: Device) -> None:
    with closing(lens.stream()) as frames:
        next(frames).release()
    stats = lens.stats
    assert stats.complete == 1
    assert stats.incomplete == 0
    assert stats.first_tile_ms is not None
    assert 0 < stats.first_tile_ms < 5000
    levels_seen = {log.level for log in lens.take_logs()}
    assert all(1 <= level <= 4 for level in levels_seen)
    assert lens.take_logs() == []
