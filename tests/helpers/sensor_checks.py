"""Recover the sensor's constants from frames; see :mod:`.physics_checks`."""

from __future__ import annotations

from functools import cache

import numpy as np

from lenslink_hil.plant.modes import make_sized_modes
from lenslink_hil.plant.photon_sensor import PhotonSensor
from lenslink_hil.plant.sensor_model import make_module_sensor

from . import emva
from .physics_world import CFA, Recovery, World, expected, recover


def make_sensor(
    world: World, width: int, height: int, *, seed: int = 3, has_defects: bool = False
) -> PhotonSensor:
    model = make_module_sensor(
        width, height, make_sized_modes(width, height), bits=12, cfa=CFA, pattern=False
    )
    return PhotonSensor(model, seed, world.sensor, has_defects=has_defects)


def make_taker(
    sensor: PhotonSensor, rates: dict[str, float], gain_milli: int, celsius: float = 25.0
) -> emva.Take:
    """Return a function that takes frames of even light.

    Args:
        sensor: the sensor.
        rates: photons a microsecond on a pixel of each plane.
        gain_milli: analogue gain.
        celsius: temperature of the sensor.
    """
    width, height = sensor.sensor.width, sensor.sensor.height
    light = np.empty((height, width), np.float32)
    for place, colour in zip(emva.SITES, CFA, strict=True):
        light[place] = rates[colour] * 1e6
    number = 0
    last: tuple[tuple[int, bool], object] = ((0, False), None)

    def take(exposure_us: int, has_light: bool):
        nonlocal number, last
        number += 1
        if last[0] != (exposure_us, has_light):
            exposure = sensor.expose(
                light if has_light else 0.0,
                (width, height),
                (0, height),
                exposure_us=exposure_us,
                gain_milli=gain_milli,
                celsius=celsius,
            )
            last = ((exposure_us, has_light), exposure)
        return sensor.read_out(last[1], number, (width, height), 0)

    return take


RATES = {"R": 1.0, "G": 2.0, "B": 1.6}
GAINS = (500, 1000, 8000)
"""Analogue gains in thousandths: the well is full before the ADC, then the ADC before the well."""


@cache
def measure_emva(world: World, gain_milli: int) -> list[emva.Found]:
    """Measure 320 x 320 pixels: 25,600 of each site."""
    sensor = make_sensor(world, 320, 320)
    gain = expected("sensor.system_gain") * gain_milli / 1000
    electrons = min((4095 - 256) / gain, expected("sensor.full_well"))
    full_us = int(electrons / expected("sensor.qe_green") / RATES["G"])
    rates = tuple(RATES[colour] for colour in CFA)
    return emva.measure(make_taker(sensor, RATES, gain_milli), full_us, rates, 50)


def check_emva_response(world: World) -> list[Recovery]:
    """System gain and quantum efficiency within 1 %, and the linearity within 0.5 %."""
    recoveries = []
    for gain_milli in GAINS:
        for colour, found in zip(CFA, measure_emva(world, gain_milli), strict=True):
            name = {"R": "sensor.qe_red", "G": "sensor.qe_green", "B": "sensor.qe_blue"}[colour]
            recoveries += [
                recover("sensor.system_gain", found.gain * 1000 / gain_milli, 0.01),
                recover(name, found.efficiency, 0.01),
                Recovery("linearity", found.linearity, 0, 0.005),
            ]
    return recoveries


def check_emva_dark(world: World) -> list[Recovery]:
    """The dark noise at each gain within 3 %, and both parts of the read noise.

    The dark noise holds the row noise too.
    """
    pixel, behind = expected("sensor.read_noise_pixel"), expected("sensor.read_noise_converter")
    row = expected("sensor.row_noise")
    recoveries, squares, parts = [], [], []
    for gain_milli in GAINS:
        noise = (pixel**2 + (behind * 1000 / gain_milli) ** 2 + row**2) ** 0.5
        found = [each.dark_noise for each in measure_emva(world, gain_milli)]
        recoveries += [Recovery("dark noise", each, noise, 0.03 * noise) for each in found]
        squares.append(np.mean(np.square(found)) - row**2)
        parts.append((1.0, (1000 / gain_milli) ** 2))
    # Weighted by the inverse of the variance, because the errors are relative.
    weights = 1 / np.array(squares)
    fit = np.linalg.lstsq(np.array(parts) * weights[:, None], np.array(squares) * weights)[0]
    recoveries.append(recover("sensor.read_noise_pixel", fit[0] ** 0.5, 0.03))
    recoveries.append(recover("sensor.read_noise_converter", fit[1] ** 0.5, 0.03))
    return recoveries


def check_emva_spatial(world: World) -> list[Recovery]:
    """DSNU and PRNU within 3 %."""
    recoveries = []
    for gain_milli in GAINS:
        for found in measure_emva(world, gain_milli):
            recoveries.append(recover("sensor.dsnu", found.dsnu, 0.03))
            recoveries.append(recover("sensor.prnu", found.prnu, 0.03))
    return recoveries


def check_saturation(world: World) -> list[Recovery]:
    """The full well, where the gain is too low to fill the ADC."""
    take = make_taker(make_sensor(world, 64, 64), RATES, 500)
    level = float(np.median(take(1_000_000, True))) - 256
    return [recover("sensor.full_well", level / (expected("sensor.system_gain") / 2), 0.01)]


def check_row_noise(world: World) -> list[Recovery]:
    """The row noise, from the means of 51,200 rows."""
    sensor, gain_milli = make_sensor(world, 320, 320), 8000
    take = make_taker(sensor, RATES, gain_milli)
    frames = np.stack([take(100, False) for _ in range(161)]).astype(np.float32)
    # A difference removes the fixed pattern and doubles the variance.
    change = np.diff(frames, axis=0)
    means = change.mean(axis=2)
    pixels = change.var(axis=2).mean() / change.shape[2]
    electrons = (means.var() - pixels) / 2
    gain = expected("sensor.system_gain") * gain_milli / 1000
    return [recover("sensor.row_noise", electrons**0.5 / gain, 0.03)]


def check_dark_current(world: World) -> list[Recovery]:
    """The dark current within 3 %, and the doubling temperature within 0.2 K."""
    sensor = make_sensor(world, 320, 320)
    gain = expected("sensor.system_gain")
    warmth = expected("sensor.dark_reference") + np.array([0.0, 10.0, 20.0])
    found = []
    for celsius in warmth:
        take = make_taker(sensor, RATES, 1000, celsius)
        exposures = [5_000_000, 20_000_000, 60_000_000]
        found.append(emva.measure_dark_current(take, exposures, gain))
    slope, _ = np.polyfit(warmth, np.log2(found), 1)
    recoveries = [recover("sensor.dark_current", found[0], 0.03)]
    doubling = expected("sensor.dark_doubling")
    recoveries.append(Recovery("sensor.dark_doubling", float(1 / slope), doubling, 0.2))
    # A dark current that is right at a wrong temperature is wrong at this one.
    shift = np.log2(found[0] / expected("sensor.dark_current")) * doubling
    reference = expected("sensor.dark_reference")
    recoveries.append(Recovery("sensor.dark_reference", reference - float(shift), reference, 0.3))
    return recoveries


def check_hot_pixels(world: World) -> list[Recovery]:
    """Number and current of the hot pixels, of some 1,700 in 8.4 million pixels."""
    celsius, seconds = expected("sensor.dark_reference"), 10
    gain = expected("sensor.system_gain") / 2
    threshold = 300.0  # electrons: no other pixel has as many
    electrons: list[float] = []
    total = 0
    for seed in (1, 2):
        sensor = make_sensor(world, 2048, 2048, seed=seed, has_defects=True)
        size = (2048, 2048)
        for top in (0, 1024):
            exposure = sensor.expose(
                0.0,
                size,
                (top, top + 1024),
                exposure_us=seconds * 10**6,
                gain_milli=500,
                celsius=celsius,
            )
            level = (sensor.read_out(exposure, 0, size, top).astype(np.float32) - 256) / gain
            electrons += level[level > threshold].tolist()
            total += level.size
    found = np.array(electrons) - expected("sensor.dark_current") * seconds
    low = threshold - expected("sensor.dark_current") * seconds
    high = expected("sensor.full_well") - expected("sensor.dark_current") * seconds
    whole = found[found < 0.98 * high]
    # The likeliest mean of an exponential distribution that is cut at both ends.
    mean = (np.sum(whole - low) + (found.size - whole.size) * (0.98 * high - low)) / whole.size
    fraction = found.size / total * np.exp(low / mean)
    return [
        recover("sensor.hot_pixel_fraction", float(fraction), 0.10),
        recover("sensor.hot_pixel_current", float(mean) / seconds, 0.10),
    ]
