"""Recover the lens's and the light's constants from frames; see :mod:`.physics_checks`.

The optical transfer function is integrated over the pupil in two dimensions, and every formula is
written here again. The benchmarks evaluate the slanted edge after ISO 12233.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from lenslink.settings import Settings
from lenslink_hil.benchmark.slanted_edge import find_half, measure_mtf50
from lenslink_hil.plant.camera import Camera
from lenslink_hil.plant.image_window import Region, View
from lenslink_hil.plant.light import Light
from lenslink_hil.plant.modes import make_sized_modes
from lenslink_hil.plant.optics import Optics
from lenslink_hil.plant.photon_sensor import PhotonSensor
from lenslink_hil.plant.scenery import Scenery, make_edges, make_flat, make_points
from lenslink_hil.plant.sensor_model import make_module_sensor

from .physics_world import CFA, Recovery, World, expected, recover

WIDTH, HEIGHT = 1280, 960
FIELD_MM = (17.28, 12.96)
PITCH_MM = FIELD_MM[0] / WIDTH
CORNER_MM = math.hypot(*FIELD_MM) / 2
CHART_MDPT = 1000.0
PLANCK, LIGHT_SPEED, BOLTZMANN = 6.62607015e-34, 299_792_458.0, 1.380649e-23
BLACK = 256


def make_camera(world: World, scenery: Scenery, **light) -> Camera:
    """Return the camera of a world in front of a scenery, without hot pixels."""
    model = make_module_sensor(
        WIDTH, HEIGHT, make_sized_modes(WIDTH, HEIGHT), bits=12, cfa=CFA, pattern=False
    )
    sensor = PhotonSensor(model, 5, world.sensor, has_defects=False)
    return Camera(sensor, scenery, Light(world.light, **light), Optics(world.optics))


def take(camera: Camera, number: int, view: View, exposure_us: int) -> np.ndarray:
    """Return a frame in DN above black."""
    camera.f_number = view.f_number
    settings = Settings(exposure_us, 1000, round(view.focus_mdpt))
    rows = np.concatenate(list(camera.iterate_bands(WIDTH, HEIGHT, number, settings)))
    return rows.astype(np.float64) - BLACK


# --- defocus -------------------------------------------------------------------------------------


def integrate_otf(cycles_per_mm: float, blur_mm: float, f_number: float, nm: float) -> float:
    """Return the OTF of a circular pupil with defocus, by a sum over the pupil."""
    shift = cycles_per_mm * nm * 1e-6 * f_number  # half the distance of the two pupils
    waves = blur_mm / (8 * f_number) / (nm * 1e-6)
    side = np.linspace(-1, 1, 401)
    x, y = np.meshgrid(side, side)
    both = ((x + shift) ** 2 + y**2 <= 1) & ((x - shift) ** 2 + y**2 <= 1)
    phase = 2 * math.pi * waves * 4 * shift * x
    return float(np.cos(phase)[both].sum() / (x**2 + y**2 <= 1).sum())


def predict_mtf50(blur_mm: float, f_number: float, nm: float, turn: float) -> float:
    """Return the MTF50 in cycles a pixel across an edge that is turned by *turn*."""
    frequencies = np.linspace(0, min(1.2 * PITCH_MM / blur_mm, 0.6), 40)
    curve = [
        abs(integrate_otf(each / PITCH_MM, blur_mm, f_number, nm))
        * np.sinc(each * math.cos(turn))
        * np.sinc(each * math.sin(turn))
        for each in frequencies
    ]
    return find_half(np.array(curve), frequencies)


DISCS_PX = (4.0, 8.0, 14.0, 22.0, 30.0)
F_NUMBERS = (1.4, 5.6)


def check_defocus(world: World) -> list[Recovery]:
    """MTF50 of a slanted edge within 3 % at five defoci and two apertures."""
    turn = math.radians(5)
    edges = make_camera(world, make_edges(CHART_MDPT, FIELD_MM))
    flat = make_camera(world, make_flat(0.5))
    pitch = WIDTH // 4
    # The right edge of the square right of the centre.
    middle = WIDTH // 2 + round(pitch * 0.5 + pitch * 0.29)
    region = Region(WIDTH, HEIGHT, (middle - 70) // 2 * 2, HEIGHT // 2 - 56, 140, 112)
    green = np.zeros((region.height, region.width), bool)
    green[0::2, 1::2] = green[1::2, 0::2] = True
    focal = expected("optics.focal_length") / 1000
    recoveries = []
    for f_number in F_NUMBERS:
        for disc in DISCS_PX:
            # disc = f/N * v * |d - D|, with v = 1 / (1/f - d), solved for d > D.
            blur_mm = disc * PITCH_MM
            ratio = blur_mm / 1000 * f_number / focal
            near = (ratio / focal + CHART_MDPT / 1000) / (1 + ratio)
            view = View(near * 1000, Optics(world.optics).clamp_f_number(f_number))
            image = edges.draw(region, view) / flat.draw(region, view)
            found = measure_mtf50(image, green)
            working = f_number / (1 - focal * near)
            wanted = predict_mtf50(blur_mm, working, expected("sensor.wavelength_green"), turn)
            recoveries.append(
                Recovery(f"MTF50 f/{f_number} {disc} px", found, wanted, 0.03 * wanted)
            )
            if f_number == F_NUMBERS[0] and disc >= 14:
                # MTF50 goes with the width of the field, the f-number and 1 / focal length^2.
                off = found / wanted
                recoveries.append(recover("optics.field_width", FIELD_MM[0] * off, 0.03))
                recoveries.append(recover("optics.focal_length", focal * 1000 / off**0.5, 0.015))
                recoveries.append(recover("optics.widest", f_number * off, 0.03))
    return recoveries


def check_aperture_limits(world: World) -> list[Recovery]:
    """The smallest aperture, from the light that is left of f/5.6."""
    camera = make_camera(world, make_flat(0.5), lux=2000)
    levels = []
    for f_number, exposure_us in ((5.6, 20_000), (22.0, 80_000)):
        frame = take(camera, 1, View(0, f_number), exposure_us)
        levels.append(frame[400:560:2, 561:721:2].mean() / exposure_us)
    return [recover("optics.smallest", 5.6 * (levels[0] / levels[1]) ** 0.5, 0.01)]


# --- geometry and vignetting ---------------------------------------------------------------------


def check_vignetting(world: World) -> list[Recovery]:
    """The barrel's share of the vignetting, at two apertures and two foci."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    square = ((x - WIDTH / 2) ** 2 + (y - HEIGHT / 2) ** 2) * PITCH_MM**2
    recoveries = []
    for f_number, focus, exposure_us in ((1.4, 0, 15_000), (1.4, 3000, 15_000), (2.8, 0, 60_000)):
        camera = make_camera(world, make_flat(0.5))
        frame = np.mean(
            [take(camera, each, View(focus, f_number), exposure_us) for each in (1, 2)], axis=0
        )
        distance = 1 / (1 / expected("optics.focal_length") - focus / 1e6)
        natural = 1 / (1 + square / distance**2) ** 2
        green = np.s_[0::2, 1::2]
        light = (frame / natural)[green].ravel()
        # light = centre * (1 - loss * r^2), a line in r^2.
        fit = np.polyfit(square[green].ravel() / CORNER_MM**2, light, 1)
        loss = -fit[0] / fit[1] * f_number / 1.4
        recoveries.append(recover("optics.vignetting", loss, 0.01))
    return recoveries


@cache
def measure_points(world: World, focus: int) -> tuple[float, float]:
    """Return magnification and distortion, fitted to the centres of 63 blurred points at f/11."""
    camera = make_camera(world, make_points(CHART_MDPT, FIELD_MM), lux=40_000)
    frame = take(camera, 1, View(focus, 11.0), 20_000)
    white = take(make_camera(world, make_flat(0.5)), 1, View(focus, 1.4), 5_000)
    for y in (0, 1):
        for x in (0, 1):
            place = np.s_[y::2, x::2]
            frame[place] /= white[460:500, 620:660][place].mean()
    columns = (np.arange(9) - 4) * FIELD_MM[0] / 9.2
    rows = (np.arange(7) - 3) * FIELD_MM[1] / 7.2
    ideal = np.array([(x, y) for y in rows for x in columns])
    # The windows follow a lens with the expected constants; the centre of gravity does not.
    guess = 1 + expected("optics.breathing") * focus / 1000
    radius = np.hypot(*ideal.T) / CORNER_MM
    rough = ideal * (guess * (1 + expected("optics.distortion") * radius**2))[:, None]
    found = []
    for x, y in rough / PITCH_MM + (WIDTH / 2, HEIGHT / 2):
        half = 26
        left, top = round(x) - half, round(y) - half
        part = frame[max(top, 0) : top + 2 * half, max(left, 0) : left + 2 * half].copy()
        level = np.percentile(part, 99)
        part[part < 0.15 * level] = 0
        v, u = np.mgrid[0 : part.shape[0], 0 : part.shape[1]] + 0.5
        total = part.sum()
        found.append(
            ((part * u).sum() / total + max(left, 0), (part * v).sum() / total + max(top, 0))
        )
    measured = (np.array(found) - (WIDTH / 2, HEIGHT / 2)) * PITCH_MM
    # measured = m * x + m * k * x * r^2, linear in m and m * k.
    parts = np.stack([ideal.ravel(), (ideal * radius[:, None] ** 2).ravel()], axis=1)
    scale, bent = np.linalg.lstsq(parts, measured.ravel())[0]
    return float(scale), float(bent / scale)


FOCI = (0, 3000)


def check_distortion(world: World) -> list[Recovery]:
    """The distortion within 1 %."""
    return [recover("optics.distortion", measure_points(world, each)[1], 0.01) for each in FOCI]


def check_breathing(world: World) -> list[Recovery]:
    """The breathing within 1 %."""
    near, far = measure_points(world, FOCI[1])[0], measure_points(world, FOCI[0])[0]
    return [recover("optics.breathing", (near / far - 1) / (FOCI[1] - FOCI[0]) * 1000, 0.01)]


# --- light ---------------------------------------------------------------------------------------


def planck(nm: float, kelvin: float) -> float:
    meters = nm * 1e-9
    return 1 / (meters**5 * (math.exp(PLANCK * LIGHT_SPEED / (meters * BOLTZMANN * kelvin)) - 1))


def measure_centre(camera: Camera, number: int, view: View, exposure_us: int) -> list[float]:
    """Return the electrons of the planes red, green and blue in the picture's centre."""
    frame = take(camera, number, view, exposure_us)[400:560, 560:720]
    gain = expected("sensor.system_gain")
    green = (frame[0::2, 1::2].mean() + frame[1::2, 0::2].mean()) / 2
    return [frame[0::2, 0::2].mean() / gain, green / gain, frame[1::2, 1::2].mean() / gain]


def check_radiometry(world: World) -> list[Recovery]:
    """Lux to electrons, for each plane."""
    lux, f_number, exposure_us, reflectance = 1500.0, 2.0, 20_000, 0.5
    camera = make_camera(world, make_flat(reflectance), lux=lux)
    found = measure_centre(camera, 1, View(0, f_number), exposure_us)
    recoveries, ratios = [], []
    for colour, electrons in zip(("red", "green", "blue"), found, strict=True):
        radiance = lux * reflectance / math.pi * expected(f"light.radiance_{colour}")
        watts = math.pi / 4 * radiance / f_number**2 * expected("optics.transmission")
        joules = watts * (expected("sensor.pitch") * 1e-6) ** 2 * exposure_us * 1e-6
        nm = expected(f"sensor.wavelength_{colour}")
        photons = joules * nm * 1e-9 / (PLANCK * LIGHT_SPEED)
        # In the centre, vignetting takes 0.3 %: the mean over the square of 160 pixels.
        wanted = photons * expected(f"sensor.qe_{colour}") * mean_of_centre(f_number)
        ratio = electrons / wanted
        ratios.append(ratio)
        recoveries.append(recover(f"light.radiance_{colour}", radiance_of(colour) * ratio, 0.01))
        recoveries.append(recover(f"sensor.wavelength_{colour}", nm * ratio, 0.01))
    ratio = float(np.mean(ratios))
    recoveries.append(recover("sensor.pitch", expected("sensor.pitch") * ratio**0.5, 0.005))
    recoveries.append(recover("optics.transmission", expected("optics.transmission") * ratio, 0.01))
    return recoveries


def radiance_of(colour: str) -> float:
    return expected(f"light.radiance_{colour}")


def mean_of_centre(f_number: float) -> float:
    """Return the mean vignetting of the middle 160 x 160 pixels."""
    side = (np.arange(160) - 79.5) * PITCH_MM
    square = side[:, None] ** 2 + side**2
    barrel = 1 - expected("optics.vignetting") * 1.4 / f_number * square / CORNER_MM**2
    return float((barrel / (1 + square / expected("optics.focal_length") ** 2) ** 2).mean())


def check_illuminant(world: World) -> list[Recovery]:
    """The temperature for which the bands are given, from the colour of an incandescent lamp."""
    camera = make_camera(world, make_flat(0.5), kelvins=(2856.0,))
    red, _, blue = measure_centre(camera, 1, View(0, 1.4), 12_000)
    names = ("light.radiance", "sensor.qe", "sensor.wavelength")
    ratio = red / blue
    for name in names:
        ratio *= expected(f"{name}_blue") / expected(f"{name}_red")
    nm_red, nm_blue = expected("sensor.wavelength_red"), expected("sensor.wavelength_blue")
    lamp = planck(nm_red, 2856) / planck(nm_blue, 2856)
    low, high = 3000.0, 20_000.0
    for _ in range(60):
        middle = (low + high) / 2
        # The bluer the reference, the redder the lamp beside it.
        redder = lamp * planck(nm_blue, middle) / planck(nm_red, middle) > ratio
        low, high = (low, middle) if redder else (middle, high)
    return [recover("light.reference_kelvin", low, 0.01)]


def check_flicker(world: World) -> list[Recovery]:
    """Row time and depth, from the bands that flickering light leaves in a rolling shutter."""
    hertz, exposure_us = 400, 1000
    view = View(0, 1.4)
    calm = take(make_camera(world, make_flat(0.5), lux=8000), 1, view, exposure_us)
    shown = take(
        make_camera(world, make_flat(0.5), lux=8000, flicker_hz=hertz), 1, view, exposure_us
    )
    rows = shown.sum(axis=1) / calm.sum(axis=1)
    places = np.arange(HEIGHT)
    best = (math.inf, 0.0, 0.0)
    for row_us in np.arange(10.0, 16.0, 0.01):
        angle = 2 * math.pi * hertz * row_us * 1e-6 * places
        parts = np.stack([np.ones(HEIGHT), np.cos(angle), np.sin(angle)], axis=1)
        fit, left, *_ = np.linalg.lstsq(parts, rows)
        if left[0] < best[0]:
            best = (float(left[0]), float(row_us), float(np.hypot(fit[1], fit[2]) / fit[0]))
    depth = best[2] / np.sinc(hertz * exposure_us * 1e-6)
    return [
        recover("sensor.row_time", best[1], 0.01),
        recover("light.flicker_depth", depth, 0.03),
    ]
