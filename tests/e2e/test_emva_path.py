"""EMVA 1288 over the whole path: plant, firmware, link, driver, and then the package ``emva1288``.

It is a sample: one site of the colour filter in CI, all four at three gains in nightly.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import emva
from helpers.nightly_scale import NIGHTLY
from helpers.physics_world import expected
from helpers.slowdown import patience

import lenslink
from lenslink_hil.benches.sim import SimTransport
from lenslink_hil.benches.usbip import BoardTransport

SIDE, LUX, REFLECTANCE, F_NUMBER = 512, 3000, 0.5, 1.4
BANDS = ("red", "green", "green", "blue")


def count_photons_per_us(band: str) -> float:
    """Return the photons of the flat scene on a pixel in a microsecond, for a bare sensor."""
    radiance = LUX * REFLECTANCE / math.pi * expected(f"light.radiance_{band}")
    watts = math.pi / 4 * radiance / F_NUMBER**2 * expected("optics.transmission")
    joules = watts * (expected("sensor.pitch") * 1e-6) ** 2 * 1e-6
    return joules * expected(f"sensor.wavelength_{band}") * 1e-9 / (6.62607015e-34 * 299_792_458.0)


@pytest.mark.parametrize("gain_milli", [1000, 4000, 8000] if NIGHTLY else [1000])
def test_the_standard_finds_the_sensor_behind_the_driver(own_url, gain_milli):
    options = {
        "width": SIDE,
        "height": SIDE,
        "lens": "off",
        "defects": "off",
        "lux": LUX,
        "seed": 7,
    }
    photons = tuple(count_photons_per_us(band) for band in BANDS)
    gain = expected("sensor.system_gain") * gain_milli / 1000
    full_us = round((4095 - 256) / gain / expected("sensor.qe_green") / max(photons))
    sites = (0, 1, 2, 3) if NIGHTLY else (1,)
    with (
        lenslink.open(own_url(scene="flat", **options)) as bright,
        lenslink.open(own_url(scene="dark", **options)) as dark,
    ):

        def take(exposure_us, has_light):
            module = bright if has_light else dark
            with module.capture(
                exposure_us=exposure_us, gain_milli=gain_milli, timeout=patience(10)
            ) as frame:
                assert frame.exposure_us == exposure_us
                return frame.pixels.copy()

        steps = 50 if NIGHTLY else 20
        found = emva.measure(take, full_us, photons, 20, steps=steps, sites=sites)
    behind = expected("sensor.read_noise_converter") * 1000 / gain_milli
    noise = math.hypot(expected("sensor.read_noise_pixel"), behind, expected("sensor.row_noise"))
    for site, each in zip(sites, found, strict=True):
        assert each.gain == pytest.approx(gain, rel=0.01)
        assert each.efficiency == pytest.approx(expected(f"sensor.qe_{BANDS[site]}"), rel=0.01)
        assert each.dark_noise == pytest.approx(noise, rel=0.03)
        assert each.dsnu == pytest.approx(expected("sensor.dsnu"), rel=0.03)
        assert each.prnu == pytest.approx(expected("sensor.prnu"), rel=0.03)
        assert each.linearity < 0.005


def test_the_dark_current_grows_with_temperature(own_url):
    """Where a second is long enough: nightly also finds the temperature that doubles it."""
    gain = expected("sensor.system_gain")
    reference, doubling = expected("sensor.dark_reference"), expected("sensor.dark_doubling")
    found = []
    warmth = (60, 70, 80) if NIGHTLY else (80,)
    for celsius in warmth:
        size = {"width": 256, "height": 256, "lens": "off", "defects": "off", "seed": 7}
        with lenslink.open(own_url(scene="dark", celsius=celsius, **size)) as module:

            def take(exposure_us, _, module=module):
                with module.capture(exposure_us=exposure_us, timeout=patience(10)) as frame:
                    return frame.pixels.copy()

            exposures = [100_000, 1_000_000] if celsius == 80 else [100_000, 2_000_000, 4_000_000]
            found.append(emva.measure_dark_current(take, exposures, gain))
        wanted = expected("sensor.dark_current") * 2 ** ((celsius - reference) / doubling)
        assert found[-1] == pytest.approx(wanted, rel=0.03)
    if NIGHTLY:
        slope, _ = np.polyfit(warmth, np.log2(found), 1)
        assert 1 / slope == pytest.approx(doubling, abs=0.2)


STAR = {"width": 320, "height": 240, "scene": "star", "depth": "1500"}


def get_contrast(module, focus_mdpt, exposure_us=10_000):
    """Return contrast and level of the star, half way to its rim."""
    with module.capture(
        focus_mdpt=focus_mdpt, exposure_us=exposure_us, timeout=patience(10)
    ) as frame:
        part = frame.pixels[100:140:2, 209:239:2].astype(float) - 256
        return part.std() / part.mean(), part.mean()


def test_focus_and_exposure_change_the_picture(own_url):
    with lenslink.open(own_url(**STAR)) as module:
        far, sharp, near = (get_contrast(module, each) for each in (0, 1500, 3000))
        assert sharp[0] > 3 * max(far[0], near[0])
        half = get_contrast(module, 1500, 5_000)[1]
        assert half == pytest.approx(sharp[1] / 2, rel=0.02)


def test_the_picture_shows_where_the_lens_is_and_not_where_it_should_be(own_url):
    with lenslink.open(own_url(**STAR)) as module:
        transport = module._session._transport
        assert isinstance(transport, SimTransport | BoardTransport)
        sharp = get_contrast(module, 1500)[0]
        # A blow: 300 of 2,000 steps are lost on the way back from infinity.
        get_contrast(module, 0)
        transport.module.command(lose_steps=300)
        assert get_contrast(module, 1500)[0] < sharp / 3
