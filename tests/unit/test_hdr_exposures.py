"""Exposures of the HDR preview: which one is next, and how their middle follows the light."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from helpers.made_frames import make_frame

from lenslink.errors import UsageError
from lenslink.module_controls import Control
from lenslink.settings import Settings
from lenslink_isp.metering.statistics import LEVELS, ZONES, Statistics
from lenslink_isp.viewfinder import hdr_exposures
from lenslink_isp.viewfinder.exposure_control import LONGEST_AUTO_US, ExposureControl
from lenslink_isp.viewfinder.hdr_exposures import Exposure, HdrExposures

EXPOSURE = Control("exposure_us", "us", 10, 60_000_000, 1, 10_000)
GAIN = Control("gain_milli", "1/1000", 1000, 64_000, 1, 1000)
CONTROLS = {"exposure_us": EXPOSURE, "gain_milli": GAIN}
FRAME = make_frame(np.zeros((4, 4), np.uint16), exposure_us=1000, gain_milli=1000).metadata


def make_statistics(light: float) -> Statistics:
    """Return those of a frame that is everywhere so bright, 0 to 1."""
    return Statistics(
        np.full((ZONES, ZONES, 3), light), np.zeros((ZONES, ZONES)), np.zeros(LEVELS, np.int64)
    )


def choose_pair(hdr: HdrExposures) -> tuple[Settings, Settings]:
    shorter, longer = sorted(
        (hdr.choose_next(), hdr.choose_next()), key=lambda each: each.exposure_us or 0
    )
    return shorter, longer


def test_the_example_of_the_class_is_true() -> None:
    names = {"Control": Control, **vars(hdr_exposures)}
    found = doctest.testmod(hdr_exposures, extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert (found.failed, found.attempted > 5) == (0, True)


@pytest.mark.parametrize(
    ("middle", "shorter", "longer"),
    [
        ((8000, 1000), (2828, 1000), (22_627, 1000)),
        # What time cannot give, the gain gives.
        ((20_000, 1000), (7071, 1000), (LONGEST_AUTO_US, 1714)),
        ((33_000, 8000), (33_000, 2828), (33_000, 22_627)),
        # A user's own long exposure makes the preview slow, but not slower.
        ((200_000, 1000), (70_711, 1000), (200_000, 2828)),
        ((12, 1000), (10, 1000), (34, 1000)),
    ],
)
def test_exposures_lie_around_the_middle(
    middle: tuple[int, int], shorter: tuple[int, int], longer: tuple[int, int]
) -> None:
    hdr = HdrExposures(CONTROLS, LONGEST_AUTO_US)
    assert (hdr.is_on, hdr.middle, hdr.turn_off()) == (False, None, Settings())
    hdr.turn_on(Exposure(*middle))
    pair = [hdr.choose_next() for _ in range(2)]
    assert [(each.exposure_us, each.gain_milli) for each in pair] == [shorter, longer]
    assert (hdr.choose_next(), hdr.choose_next()) == tuple(pair)
    assert hdr.turn_off() == Settings(exposure_us=middle[0], gain_milli=middle[1])
    assert not hdr.is_on


def test_a_module_without_exposure_has_no_hdr_and_one_without_gain_has() -> None:
    with pytest.raises(UsageError, match="exposure can be set"):
        HdrExposures({"gain_milli": GAIN}, LONGEST_AUTO_US).turn_on(Exposure(8000, 1000))
    hdr = HdrExposures({"exposure_us": EXPOSURE}, LONGEST_AUTO_US)
    hdr.turn_on(Exposure(20_000, 1000))
    assert choose_pair(hdr) == (Settings(exposure_us=7071), Settings(exposure_us=33_000))
    assert hdr.turn_off() == Settings(exposure_us=20_000)


def test_pictures_have_the_exposure_that_they_stand_for() -> None:
    hdr = HdrExposures(CONTROLS, LONGEST_AUTO_US)
    assert hdr.show_middle(FRAME) is FRAME
    hdr.turn_on(Exposure(8000, 2000))
    shown = hdr.show_middle(FRAME)
    assert shown == FRAME._replace(exposure_us=8000, gain_milli=2000)
    # 4 % is what a module may round.
    for exposure_us, is_shorter in ((5657, True), (5450, True), (5000, False), (33_000, False)):
        assert hdr.is_shorter(FRAME._replace(exposure_us=exposure_us)) == is_shorter


@pytest.mark.parametrize("light_ev", [-6.0, -1.0, 0.0, 2.0, 5.0])
def test_the_middle_follows_the_light_of_the_shorter_frames(light_ev: float) -> None:
    """Frames alternate. The middle comes to the exposure that makes a grey scene mid-grey."""
    right = 8_000_000 / 2**light_ev
    hdr, control = HdrExposures(CONTROLS, LONGEST_AUTO_US), ExposureControl(CONTROLS)
    hdr.turn_on(Exposure(8000, 1000))
    for _ in range(12):
        asked = hdr.choose_next()
        frame = FRAME._replace(exposure_us=asked.exposure_us, gain_milli=asked.gain_milli)
        if hdr.is_shorter(frame):
            light = min(1.0, 0.18 * Exposure.of(frame).product / right)
            assert hdr.middle is not None
            hdr.turn_on(control.update_middle(make_statistics(light), frame, hdr.middle))
    assert hdr.middle is not None
    assert abs(math.log2(hdr.middle.product / right)) < 0.1
    # By hand it stays.
    control.set_manual("exposure_us", 500)
    control.set_manual("gain_milli", 1000)
    assert control.update_middle(make_statistics(0.5), FRAME, hdr.middle) == hdr.middle
