"""Contacts that open under any call of the driver, on virtual time: driver, firmware and plant.

The contacts are those of the plant: its dock, its supply and the firmware's debouncing decide what
an interruption costs.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import attach_harness
from helpers.attach_harness import Bay, assert_picture, picture
from helpers.nightly_scale import choose, say
from helpers.plant_lens import PlantLens

import lenslink
from lenslink import Attachment, Disconnected, Frame, FrameStatus, Settings
from lenslink.frame_builder import FrameBuilder
from lenslink_hil.plant.pin_records import DETECT_PIN, POWER_PINS
from lenslink_hil.plant.spring_contacts import SHORT, make_attach_edges, make_pull_off_edges

URL = "bay:1"
KEY = bytes(range(32))
MS = 1000
INTERRUPTIONS = choose(36, 1000)
ATTACHMENTS = choose(15, 200)
BRACKET = [Settings(exposure_us=us) for us in (1000, 4000, 16_000, 2000)]
SCAN = [Settings(focus_mdpt=mdpt) for mdpt in (0, 300, 600, 900, 1200)]
BURST = [Settings(exposure_us=10_000)] * 16


@pytest.fixture
def bay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bay:
    return attach_harness.install(monkeypatch, tmp_path)


@pytest.fixture
def lens(bay: Bay) -> PlantLens:
    made = PlantLens(bay.clock, "LENS-1", KEY.hex())
    bay.plug(URL, made)
    return made


def check_pixels(frame: Frame) -> None:
    """Check the pixels that have arrived. A frame that lacks some says so."""
    if frame.status is FrameStatus.COMPLETE:
        assert_picture(frame, 1)
        return
    mode = 1 if frame.width == 16 else 2
    wanted = np.frombuffer(picture(1, frame.number, mode), "<u2").reshape(frame.pixels.shape)
    np.testing.assert_array_equal(frame.pixels, np.where(frame.mask, wanted, 0))


def take(module: Attachment, frames: Sequence[Settings] | None, **settings: int) -> None:
    found: Any = module.capture(frames=frames, **settings)
    for frame in found if frames else [found]:
        with frame:
            check_pixels(frame)


def preview(module: Attachment, exposure_us: int | None = None) -> None:
    module.start(interval_us=10_000)
    for number in range(4):
        if number == 2 and exposure_us is not None:
            module.set(exposure_us=exposure_us)
        with module.next_frame() as frame:
            check_pixels(frame)
    module.stop()


CALLS: dict[str, Callable[[Attachment], object]] = {
    "still": lambda module: take(module, None),
    "still after a move": lambda module: take(module, None, focus_mdpt=1500, aperture_milli=4000),
    "bracket": lambda module: take(module, BRACKET),
    "focus scan": lambda module: take(module, SCAN),
    "burst": lambda module: take(module, BURST),
    "preview": preview,
    "set": lambda module: preview(module, 3000),
    "configure": lambda module: module.configure(tile_bytes=64),
    "flush": lambda module: module.wait().flush(),
    "events": lambda module: module.wait().wait_for_events(0.1),
    "authenticate": lambda module: module.wait().authenticate(KEY),
    "wait": lambda module: module.wait(),
}


def test_no_interruption_leaves_a_wrong_pixel_or_needs_a_hand(
    bay: Bay, lens: PlantLens, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 1 to 200 ms, by either contact, whatever the call that they hit."""
    chance = random.Random(seed)
    counts: Counter[str] = Counter()
    with lenslink.attach(URL, timeout=20.0) as module:
        take(module, None)
        for number in range(INTERRUPTIONS):
            name = list(CALLS)[number % len(CALLS)]
            gap, at = chance.randint(1, 200) * MS, chance.randrange(80 * MS)
            contact = chance.choice([POWER_PINS, DETECT_PIN])
            lens.move([(at, contact, 0), (at + gap, contact, 1)])
            before = module.attachments
            try:
                CALLS[name](module)
            except Disconnected:
                counts["cut " + name] += 1
            # Until the interruption is over, and the contacts are known to be closed.
            lens.live(at + gap + 150 * MS)
            take(module, None, exposure_us=2000)
            counts["attached again"] += module.attachments - before
        assert len(bay.open) == 1
    assert not bay.open
    again = counts.pop("attached again")
    assert again >= INTERRUPTIONS // 4, "most interruptions of more than 20 ms end a session"
    say(
        capsys,
        f"{INTERRUPTIONS} interruptions of {len(CALLS)} calls, {again} times attached again, "
        f"raised by {dict(counts)}, seed {seed}",
    )


@pytest.mark.parametrize("cut", ["detach", "power"])
@pytest.mark.parametrize(
    "frames", [BRACKET, SCAN, BURST], ids=["exposure bracket", "focus scan", "burst"]
)
def test_a_series_that_is_cut_leaves_labelled_frames_and_no_lock(
    bay: Bay,
    lens: PlantLens,
    monkeypatch: pytest.MonkeyPatch,
    frames: list[Settings],
    cut: str,
) -> None:
    """At any moment. Each frame that had arrived says which it is, and nothing is held."""
    arrived: list[tuple[int, int, int, FrameStatus]] = []
    build = FrameBuilder.build_frame

    def record(self: FrameBuilder, *arguments: Any) -> Frame:
        frame = build(self, *arguments)
        check_pixels(frame)
        arrived.append((frame.number, frame.exposure_us, frame.focus_mdpt, frame.status))
        return frame

    monkeypatch.setattr(FrameBuilder, "build_frame", record)
    contact = DETECT_PIN if cut == "detach" else SHORT
    opened, closed = (0, 1) if cut == "detach" else (1, 0)
    cuts = whole = 0
    with lenslink.attach(URL, timeout=20.0) as module:
        take(module, None, focus_mdpt=0)
        for at in range(0, 200 * MS, choose(40, 5) * MS):
            arrived.clear()
            lens.move([(at, contact, opened), (at + 100 * MS, contact, closed)])
            device = module.wait()
            try:
                for frame in device.capture(frames=frames):
                    frame.release()
                whole += 1
            except Disconnected as error:
                cuts += 1
                assert error.request is not None, "it can be asked what became of the request"
            first = arrived[0][0] if arrived else 0
            for number, exposure_us, focus_mdpt, status in arrived:
                wanted = frames[number - first]
                assert status is FrameStatus.COMPLETE or status is FrameStatus.INCOMPLETE
                assert exposure_us == (wanted.exposure_us or exposure_us)
                if wanted.focus_mdpt is not None:
                    assert abs(focus_mdpt - wanted.focus_mdpt) <= 2
            lens.live(at + 1200 * MS)
            take(module, frames)
            take(module, None, focus_mdpt=0)
    assert cuts
    del whole
    assert not bay.open
    # The next caller finds no lock.
    with lenslink.open(URL) as again:
        again.capture().release()


def test_the_first_tile_comes_soon_after_stable_contact(
    bay: Bay, lens: PlantLens, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within 500 ms over random attachments: speed, bounce and resistance of the contacts."""
    chance = random.Random(seed)
    attached_us: list[int] = []
    first_us: list[int] = []
    with lenslink.attach(URL, timeout=20.0) as module:
        module.start()
        module.next_frame().release()
        for number in range(ATTACHMENTS):
            speed = chance.choice([3, 30, 100, 300])
            lens.move(make_pull_off_edges(number, lens.body.constants, speed))
            lens.live(chance.randint(400, 600) * MS)
            assert not lens.body.supply.is_up
            lens.body.set_contact_mohm(chance.randint(10, 200), bay.clock.us)
            edges = make_attach_edges(number, lens.body.constants, speed)
            stable_us = bay.clock.us + max(at for at, _, _ in edges)
            lens.move(edges)
            before = module.attachments
            while True:
                with module.next_frame() as frame:
                    check_pixels(frame)
                if module.attachments > before:
                    break
            attached_us.append(lens.attached_us - stable_us)
            first_us.append(bay.clock.us - stable_us)
    assert max(attached_us) <= 100 * MS
    assert max(first_us) <= 500 * MS
    median = sorted(first_us)[len(first_us) // 2]
    assert median <= 150 * MS
    say(
        capsys,
        f"{ATTACHMENTS} attachments: attached after {max(attached_us) / MS:.0f} ms at most, the "
        f"first frame after {median / MS:.0f} ms (median) to {max(first_us) / MS:.0f} ms, "
        f"seed {seed}",
    )
