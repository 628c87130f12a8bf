"""The viewfinder's parts without a browser: who is served, what is sent, what the camera does."""

from __future__ import annotations

import asyncio
import doctest
import importlib.util
import json
import random
import time
from dataclasses import replace
from types import ModuleType

import cv2
import numpy as np
import pytest
from helpers.frame_rings import fresh_name
from helpers.slowdown import patience

import lenslink
from lenslink import FrameRing, FrameRingReader
from lenslink.errors import MissingExtra, StorageError, UsageError
from lenslink.frame import FrameMetadata
from lenslink.module_controls import Control
from lenslink.settings import Settings
from lenslink_isp import RawImage
from lenslink_isp.metering.auto_exposure import ExposureState
from lenslink_isp.metering.statistics import LEVELS, ZONES, Statistics
from lenslink_isp.opencv import require_aiohttp
from lenslink_isp.viewfinder import (
    exposure_control,
    module_owner,
    page_server,
    remote_module,
    viewer_messages,
    worker,
)
from lenslink_isp.viewfinder.camera_session import CameraSession
from lenslink_isp.viewfinder.exposure_control import LONGEST_AUTO_US, ExposureControl
from lenslink_isp.viewfinder.module_owner import Address
from lenslink_isp.viewfinder.overlays import draw_peaking, draw_zebra, find_clipped, find_edges
from lenslink_isp.viewfinder.page_server import is_own_host
from lenslink_isp.viewfinder.picture_maker import Picture, Wanted, count_levels
from lenslink_isp.viewfinder.remote_module import ModuleProfile, make_frame
from lenslink_isp.viewfinder.still_files import StillFiles
from lenslink_isp.viewfinder.viewer_messages import (
    ChooseOverlays,
    Drawn,
    PressShutter,
    SetAutomatic,
    SetHdr,
    SetValue,
    Tap,
    read_message,
)
from lenslink_isp.viewfinder.viewers import MAX_IN_FLIGHT, MAX_VIEWERS, Viewers

FRAME = FrameMetadata(
    *(7, 0, 0, 33_333, 10_000, 1000, 500, 1400, False, False, 0, None, 0, 0, 25_000),
    *(0.0, 0.0, (256.0,) * 4, 4095, 0, 0),
)
CONTROLS = {
    "exposure_us": Control("exposure_us", "us", 1, 60_000_000, 1, 10_000),
    "gain_milli": Control("gain_milli", "1/1000", 1000, 64_000, 1, 1000),
}


def make_statistics(light: float) -> Statistics:
    """Return those of a frame that is everywhere so bright, 0 to 1."""
    histogram = np.zeros(LEVELS, np.int64)
    histogram[int(light * (LEVELS - 1))] = 1
    return Statistics(
        np.full((ZONES, ZONES, 3), light), np.zeros((ZONES, ZONES)), histogram
    )  # fmt: skip


def make_picture(number: int) -> Picture:
    return Picture(
        FRAME._replace(number=number), 1, True, time.monotonic_ns(),
        FRAME._replace(number=number), make_statistics(0.18),
        5500.0, 1, 8, 6, b"JPEG", ((1,), (2,), (3,)), b"ZEBRA", b"",
    )  # fmt: skip


class Page:
    """A connection whose other end reads only while it is awake."""

    def __init__(self) -> None:
        self.texts: list[dict] = []
        self.pictures: list[tuple[dict, bytes]] = []
        self.is_awake = asyncio.Event()
        self.is_awake.set()

    async def send_str(self, data: str) -> None:
        await self.is_awake.wait()
        self.texts.append(json.loads(data))

    async def send_bytes(self, data: bytes) -> None:
        await self.is_awake.wait()
        end = 4 + int.from_bytes(data[:4], "little")
        self.pictures.append((json.loads(data[4:end]), data[end:]))

    @property
    def numbers(self) -> list[int]:
        return [header["frame"] for header, _ in self.pictures]


async def settle() -> None:
    """Let all tasks run until each waits."""
    for _ in range(20):
        await asyncio.sleep(0)


# --- viewers --------------------------------------------------------------------------------


def test_a_viewer_gets_the_newest_picture_and_never_more_than_two_at_once() -> None:
    async def run() -> None:
        viewers, page = Viewers(), Page()
        viewer = viewers.add(page)
        sender = asyncio.ensure_future(viewer.run())
        for number in range(6):
            viewers.offer(make_picture(number))
            await settle()
        assert page.numbers == [0, 1]
        assert viewers.wanted == Wanted(is_shown=False)
        viewer.note_drawn(page.pictures[0][0]["serial"])
        await settle()
        # 2, 3 and 4 were older than 5 when the page had room again.
        assert page.numbers == [0, 1, 5]
        with pytest.raises(UsageError, match="not in flight"):
            viewer.note_drawn(page.pictures[0][0]["serial"])
        delay = viewers.describe_delay()
        assert delay["count"] == 1
        assert 0 < delay["p50"] == delay["p99"]
        sender.cancel()

    asyncio.run(run())


def test_a_slow_viewer_costs_the_other_nothing() -> None:
    async def run() -> None:
        viewers, fast, slow = Viewers(), Page(), Page()
        slow.is_awake.clear()
        people = [viewers.add(fast), viewers.add(slow)]
        senders = [asyncio.ensure_future(each.run()) for each in people]
        for number in range(50):
            viewers.offer(make_picture(number))
            viewers.tell("state", {"number": number})
            await settle()
            people[0].note_drawn(fast.pictures[-1][0]["serial"])
        assert fast.numbers == list(range(50))
        assert [each["number"] for each in fast.texts] == list(range(50))
        slow.is_awake.set()
        await settle()
        # The text that was being sent, and the newest.
        assert [each["number"] for each in slow.texts] == [0, 49]
        assert slow.numbers == [49]
        assert MAX_IN_FLIGHT == 2
        for sender in senders:
            sender.cancel()

    asyncio.run(run())


def test_viewers_get_the_overlays_that_they_want() -> None:
    async def run() -> None:
        viewers, pages = Viewers(), (Page(), Page())
        people = [viewers.add(page) for page in pages]
        people[0].overlays = frozenset({"zebra"})
        assert viewers.wanted == Wanted(has_zebra=True)
        senders = [asyncio.ensure_future(each.run()) for each in people]
        viewers.offer(make_picture(3))
        await settle()
        assert [data for page in pages for _, data in page.pictures] == [b"JPEGZEBRA", b"JPEG"]
        assert pages[0].pictures[0][0]["parts"] == {"jpeg": 4, "zebra": 5}
        for sender in senders:
            sender.cancel()
        while len(viewers) < MAX_VIEWERS:
            viewers.add(Page())
        with pytest.raises(UsageError, match="close one"):
            viewers.add(Page())
        viewers.remove(people[0])
        viewers.add(Page())

    asyncio.run(run())


# --- messages -------------------------------------------------------------------------------


def test_messages_of_the_page_are_read() -> None:
    assert read_message('{"op":"drawn","serial":3}') == Drawn(3)
    assert read_message('{"op":"set","name":"focus_mdpt","value":0}') == SetValue("focus_mdpt", 0)
    assert read_message('{"op":"auto","name":"gain_milli"}') == SetAutomatic("gain_milli")
    assert read_message('{"op":"tap","x":0,"y":1}') == Tap(0.0, 1.0)
    zebra = read_message('{"op":"overlays","names":["zebra"]}')
    assert read_message('{"op":"hdr","is_on":true}') == SetHdr(is_on=True)
    assert zebra == ChooseOverlays(frozenset({"zebra"}))


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "{}", '{"op":7}', '{"op":"format"}', '{"op":"shutter","x":1}',
        '{"op":"tap","x":0.5}', '{"op":"tap","x":1.5,"y":0}', '{"op":"tap","x":NaN,"y":0}',
        '{"op":"tap","x":true,"y":0}', '{"op":"set","name":"roi_x","value":2}',
        '{"op":"set","name":["gain_milli"],"value":2}',
        '{"op":"set","name":"gain_milli","value":1.5}',
        '{"op":"set","name":"gain_milli","value":null}',
        '{"op":"auto","name":"focus_mdpt"}', '{"op":"drawn","serial":-1}',
        '{"op":"overlays","names":"zebra"}', '{"op":"overlays","names":[{}]}',
        '{"op":"hdr","is_on":1}', '{"op":"compensate","ev":1e99}', "[" * 900,
    ],
)  # fmt: skip
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_message(text)


def test_random_bytes_are_refused_or_read(seed: int) -> None:
    chance = random.Random(seed)
    pieces = ['{"op":"', "tap", "set", '","x":', "0.5", '"name":', "null", "}", "]", ",", "\\ud800"]
    for _ in range(500):
        text = "".join(chance.choices(pieces, k=chance.randint(0, 12)))
        try:
            read_message(text)
        except UsageError:
            continue


# --- who is served --------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost:8000", "[::1]:80", "127.0.0.1"])
def test_loopback_is_this_machine(host: str) -> None:
    assert is_own_host(host, is_loopback=True)
    assert is_own_host(host, is_loopback=False)


@pytest.mark.parametrize("host", ["evil.example:80", "127.0.0.1.evil.example", "", "localhost.x:1"])
def test_other_names_are_not_this_machine(host: str) -> None:
    assert not is_own_host(host, is_loopback=True)
    assert not is_own_host(host, is_loopback=False)
    assert not is_own_host("192.0.2.1:80", is_loopback=True)


def test_an_address_is_listened_on_or_refused_in_one_line() -> None:
    with Address.listen("127.0.0.1", 0).listener as listener:
        port = listener.getsockname()[1]
        with pytest.raises(StorageError, match=f"port {port}: .*--port"):
            Address.listen("127.0.0.1", port)
    with pytest.raises(UsageError, match="no IP address"):
        Address.listen("nowhere.example", 0)
    tokens = set()
    for _ in range(5):
        address = Address.listen("127.0.0.1", 0)
        address.listener.close()
        tokens.add(address.token)
    assert len(tokens) == 5
    assert all(len(token) >= 22 for token in tokens)


def test_a_missing_package_names_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match="extra 'viewfinder'"):
        require_aiohttp()


# --- the camera -----------------------------------------------------------------------------


def test_exposure_and_gain_are_automatic_each_for_itself() -> None:
    control = ExposureControl(CONTROLS)
    # Two stops too dark.
    asked = control.update(make_statistics(0.045), FRAME)
    assert (asked.exposure_us, asked.gain_milli) == (LONGEST_AUTO_US, 1212)
    # Gain by hand: only the exposure follows, as far as it goes.
    assert control.set_manual("gain_milli", 2000) == Settings(gain_milli=2000)
    asked = control.update(make_statistics(0.045), FRAME._replace(gain_milli=2000))
    assert asked == Settings(exposure_us=LONGEST_AUTO_US)
    # Both by hand: nothing follows.
    control.set_manual("exposure_us", 5000)
    assert control.state is ExposureState.LOCKED
    assert control.update(make_statistics(0.9), FRAME) == Settings()
    # Exposure by hand: the gain follows.
    control.set_automatic("gain_milli")
    asked = control.update(make_statistics(0.045), FRAME._replace(exposure_us=5000))
    assert asked == Settings(gain_milli=4000)


def test_the_exposure_comes_to_rest_also_where_the_module_takes_other_values() -> None:
    control = ExposureControl(CONTROLS)
    assert control.update(make_statistics(0.18), FRAME) == Settings()
    asked = control.update(make_statistics(0.09), FRAME)
    assert asked == Settings(exposure_us=20_000)
    taken = FRAME._replace(exposure_us=19_500, is_adjusted=True)
    control.update(make_statistics(0.09 * 1.95), taken)
    assert control.update(make_statistics(0.09 * 1.95), taken) == Settings()
    control.compensation_ev = 1.0
    asked = control.update(make_statistics(0.18), FRAME)
    assert asked.exposure_us == 20_000
    with pytest.raises(UsageError):
        control.compensation_ev = 4.0


def test_a_module_without_exposure_has_nothing_automatic() -> None:
    control = ExposureControl({})
    assert control.is_automatic == {}
    with pytest.raises(UsageError, match="no such control"):
        control.set_automatic("gain_milli")
    assert control.update(make_statistics(0.01), FRAME) == Settings()


# --- pictures -------------------------------------------------------------------------------


def make_raw(mosaic: np.ndarray) -> RawImage:
    return RawImage(
        mosaic, "GRBG", (250.0, 260.0, 255.0, 256.0), 4095.0, np.eye(3), (1.0, 1.0, 1.0),
        (1e-4, 1e-6),
    )  # fmt: skip


def test_the_zebra_is_where_any_pixel_of_a_cell_is_clipped(seed: int) -> None:
    mosaic = np.random.default_rng(seed).integers(3900, 4096, (40, 64)).astype(np.uint16)
    raw = make_raw(mosaic)
    expected = np.zeros((20, 32), bool)
    for y in range(40):
        for x in range(64):
            black = raw.black[2 * (y % 2) + x % 2]
            part = (float(mosaic[y, x]) - black) / (4095 - black)
            expected[y // 2, x // 2] |= part >= 0.98
    assert expected.any()
    assert not expected.all()
    assert np.array_equal(find_clipped(raw), expected)
    picture = cv2.imdecode(np.frombuffer(draw_zebra(expected), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(picture[..., 3] > 0, expected)


def test_peaking_marks_a_sharp_edge_and_no_noise(seed: int) -> None:
    random_numbers = np.random.default_rng(seed)
    columns = np.arange(256)
    light = np.where(columns < 64, 0.2, 0.6)
    # The second edge is blurred over 60 pixels.
    light = light - 0.4 * np.clip((columns - 130) / 60, 0, 1)
    light = np.broadcast_to(light, (96, 256))
    noise = random_numbers.normal(0, 1, light.shape) * np.sqrt(1e-4 * light + 1e-6)
    edges = find_edges(make_raw((250 + (light + noise) * 3840).astype(np.uint16)))
    assert edges[:, 30:34].any(axis=1).all()
    assert edges[:, :26].mean() < 1e-3
    assert edges[:, 40:].mean() < 1e-3
    picture = cv2.imdecode(np.frombuffer(draw_peaking(edges), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(picture[..., 3] > 0, edges)


def test_the_histogram_counts_levels(seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (64, 80, 3), np.uint8)
    few = rgb[::4, ::4].astype(int) // 4
    expected = [tuple(np.bincount(few[..., each].ravel(), minlength=64)) for each in range(3)]
    assert list(count_levels(rgb)) == expected


def test_a_frame_of_the_ring_is_the_driver_s_frame() -> None:
    name = fresh_name()
    with (
        FrameRing(name, frame_bytes=1 << 16) as ring,
        lenslink.open("sim:?width=64&height=64&scene=prbs", ring=ring) as module,
        FrameRingReader(name, timeout=patience(10)) as reader,
    ):
        profile = ModuleProfile.read(module)
        with module.capture() as sent, make_frame(reader.next(), profile.describe()) as found:
            assert np.array_equal(found.pixels, sent.pixels)
            for each in ("color", "identity", "status", "optics", "whole_size", "nonce"):
                assert getattr(found, each) == getattr(sent, each), each
            assert found.metadata == sent.metadata
            assert found.active_area == sent.active_area
            one, other = RawImage.from_frame(found), RawImage.from_frame(sent)
            assert np.array_equal(one.camera_from_xyz, other.camera_from_xyz)
            assert replace(one, mosaic=0, camera_from_xyz=0) == replace(
                other, mosaic=0, camera_from_xyz=0
            )


def test_only_stills_are_found_in_their_folder() -> None:
    with StillFiles() as stills:
        for name in ("../x.dng", "..", "", "a.dng", "a.exe", "a/b.dng", "x" * 70 + ".dng"):
            assert stills.find(name) is None


@pytest.mark.parametrize(
    "module",
    [exposure_control, module_owner, page_server, remote_module, viewer_messages, worker],
)
def test_the_examples_hold(module: ModuleType) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = doctest.testmod(module, extraglobs={"lenslink": lenslink}, optionflags=flags)
    assert found.attempted
    assert not found.failed


def test_a_viewer_that_comes_before_the_first_picture_is_told_so() -> None:
    with lenslink.open("sim:?width=64&height=64") as module:
        profile = ModuleProfile.read(module)

    async def run() -> None:
        session, page = CameraSession("nosuch", profile), Page()
        with session.stills:
            viewer = session.viewers.add(page)
            session.tell_state()
            sender = asyncio.ensure_future(viewer.run())
            await settle()
            focus = {"state": "idle", "note": "", "point": None, "serial": 0}
            assert page.texts[0]["focus"] == focus
            assert page.texts[0]["is_attached"] is False
            for message in (Tap(0.5, 0.5), SetHdr(is_on=True), PressShutter()):
                with pytest.raises(UsageError, match="no picture yet"):
                    session.on_message(viewer, message)
            sender.cancel()

    asyncio.run(run())
