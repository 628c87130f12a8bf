"""What a module's maker measures of it: its calibrations, computed from the plant's constants.

:func:`calibrate` is called once, when a scene behind the lens opens. The plant's process passes the
calibrations to the bench, which puts them where the firmware reads them. So module and plant agree:
``tests/unit/test_plant_calibration.py`` recovers each of them from frames.
"""

from __future__ import annotations

import numpy as np

from lenslink_protocol.calibration import (
    UNIT_GAIN,
    AnyCalibration,
    Blur,
    Defect,
    Defects,
    Distortion,
    GainMap,
    Noise,
)

from .camera import Camera
from .optics import Optics
from .photon_sensor import PhotonSensor
from .sensor_model import Mode

NOISE_GAINS_MILLI = (1000, 2000, 4000, 8000, 16_000, 32_000, 64_000)
MAP_ROWS, MAP_COLUMNS = 17, 21
"""Points of a gain map. Between them the gain is linear within 0.2 %."""
POINTS = 5
"""Distances at which the blur is measured."""
DEFECT_CURRENT = 100.0
"""Electrons a second at the reference temperature from which on a pixel is a defect: 25 times the
dark current of an ordinary one."""


def calibrate(camera: Camera) -> tuple[AnyCalibration, ...]:
    """Return the calibrations of a module. Those of the lens need a lens."""
    sensor = camera.sensor
    found: list[AnyCalibration] = [measure_noise(sensor)]
    if camera.lens is not None:
        size = sensor.sensor.width, sensor.sensor.height
        found += [
            measure_gain_map(camera.lens, size),
            measure_distortion(camera.lens, size),
            measure_blur(camera.lens, size[0]),
        ]
    defects = list_defects(sensor)
    return (*found, defects) if defects.pixels else tuple(found)


def measure_noise(sensor: PhotonSensor) -> Noise:
    """Return the noise profile, in the pixel's range from black to white."""
    span = sensor.sensor.white - sum(sensor.sensor.black) / 4
    points = []
    for gain in NOISE_GAINS_MILLI:
        slope, offset = sensor.get_noise_profile(gain)
        points.append((gain, round(1e9 * slope / span), round(1e12 * offset / span**2)))
    return Noise(tuple(points))


def measure_gain_map(lens: Optics, size: tuple[int, int]) -> GainMap:
    """Return the gain that evens out a white surface, for a sensor of *size* pixels."""
    widest, smallest = lens.constants.widest, lens.constants.smallest
    apertures = tuple(
        round(1000 * n) for n in sorted({widest, (widest * smallest) ** 0.5, smallest})
    )
    focuses = tuple(
        sorted({round(each) for each in np.linspace(lens.fixed_mdpt or 0, lens.nearest_mdpt, 3)})
    )
    half = lens.constants.field_width / 2
    x = np.linspace(-half, half, MAP_COLUMNS, dtype=np.float32)
    y = np.linspace(-half, half, MAP_ROWS, dtype=np.float32)[:, None] * (size[1] / size[0])
    gains: list[int] = []
    for aperture in apertures:
        for focus in focuses:
            light = lens.get_illumination(x, y, focus, aperture / 1000)
            gains += np.rint(UNIT_GAIN / light).astype(int).ravel().tolist()
    return GainMap(apertures, focuses, MAP_ROWS, MAP_COLUMNS, tuple(gains))


def measure_distortion(lens: Optics, size: tuple[int, int]) -> Distortion:
    """Return where the lens puts a point, for a sensor of *size* pixels."""
    half = lens.constants.field_width / 2
    corner = half * np.hypot(1, size[1] / size[0])
    cubic = lens.constants.distortion * (corner / lens.corner_mm) ** 2
    return Distortion((500_000, 500_000), (10**9, round(1e9 * cubic), 0, 0), (0, 0))


def measure_blur(lens: Optics, width: int) -> Blur:
    """Return the blur in pixels of a sensor of *width* columns."""
    pitch_um = lens.constants.field_width / width * 1000
    points = []
    for focus in sorted(
        {round(each) for each in np.linspace(lens.fixed_mdpt or 0, lens.nearest_mdpt, POINTS)}
    ):
        blur_um = lens.get_blur_um(focus, focus + 1000, 1.0)
        points.append((focus, round(1000 * blur_um / pitch_um)))
    return Blur(tuple(points))


def list_defects(sensor: PhotonSensor) -> Defects:
    """Return the hot pixels of each mode."""
    found: list[Defect] = []
    for mode in sensor.sensor.modes:
        found += _list_of_mode(sensor, mode)
    return Defects(tuple(sorted(found, key=lambda each: (each.mode, each.y, each.x))))


def _list_of_mode(sensor: PhotonSensor, mode: Mode) -> set[Defect]:
    if mode.binning == 1:
        hot = sensor.find_hot_pixels((mode.width, mode.height), DEFECT_CURRENT)
        return {Defect(mode.id, x, y) for x, y in hot}
    # The mean of four pixels of a colour, one of which is hot; see :func:`.binning.bin2x2`.
    whole = (sensor.sensor.width, sensor.sensor.height)
    found = set()
    for x, y in sensor.find_hot_pixels(whole, 4 * DEFECT_CURRENT):
        column, row = x // 4 * 2 + x % 2, y // 4 * 2 + y % 2
        if column < mode.width and row < mode.height:
            found.add(Defect(mode.id, column, row))
    return found
