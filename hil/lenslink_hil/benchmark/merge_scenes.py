"""Frames of the plant for the benchmarks of merging, with what is true of them.

The plant runs in this process, without firmware and link. Light is in the unit of a merge: 1
saturates the frame with the least exposure.

Scenes are split. The constants of :mod:`lenslink_isp.merge` were chosen on TUNING_SEEDS; the
benchmark uses HELD_OUT_SEEDS.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink.settings import Settings
from lenslink_isp.raw_image import RawImage, find_sensitivity

from ..plant.camera import Camera, get_exposure_us
from ..plant.image_window import View
from ..plant.scene import Scene, SceneOptions, open_scene
from ..plant.scenery import Grid

Floats = NDArray[np.float32]

TUNING_SEEDS = range(1, 10)
HELD_OUT_SEEDS = range(101, 109)

_MODE = 0
_PATCHES = 12, 9
_BRIGHTEST = 0.9


class MergeScene:
    """A scene behind the lens, and its frames.

    >>> scene = MergeScene(SceneOptions(scene="edges", width=128, height=96))
    >>> scene.take(Settings(1000, 1000), 0).mosaic.shape
    (96, 128)
    """

    def __init__(self, options: SceneOptions) -> None:
        """Open the scene that *options* describe.

        Raises:
            UsageError: the scene is not behind the lens.
        """
        self._scene: Scene = open_scene(options)
        source = self._scene.source
        if not isinstance(source, Camera):
            raise UsageError(f"scene={options.scene} is not behind the lens")
        self.camera = source
        mode = self._scene.sensor.mode(_MODE)
        self.size = mode.width, mode.height
        self.pitch_mm = source._optics.constants.field_width / mode.width

    def take(self, settings: Settings, number: int) -> RawImage:
        """Return a frame, with the noise profile that the module would report."""
        return self.make_raw(self._scene.rows(_MODE, number, settings), settings)

    def make_raw(self, pixels: NDArray[np.uint16], settings: Settings) -> RawImage:
        """Return pixels with what is known of the sensor."""
        sensor = self._scene.sensor
        a, b, c, d = sensor.black
        red, green, blue = (top / bottom for top, bottom in sensor.neutral)
        return RawImage(
            pixels,
            sensor.cfa,
            (float(a), float(b), float(c), float(d)),
            float(sensor.white),
            np.array([top / bottom for top, bottom in sensor.color_matrix]).reshape(3, 3),
            (red, green, blue),
            self.find_noise_profile(settings),
            sensitivity=find_sensitivity(
                get_exposure_us(settings) / 1e6, (settings.gain_milli or 1000) / 1000, 0
            ),
        )

    def find_noise_profile(self, settings: Settings) -> tuple[float, float]:
        """Return S and O of a frame: of a signal x from 0 to 1, the variance is S * x + O."""
        slope, offset = self.camera.sensor.get_noise_profile(settings.gain_milli or 1000)
        span = self._scene.sensor.white - self._scene.sensor.black[0]
        return slope / span, offset / span**2

    def find_light(self, settings: Settings, number: int) -> Floats:
        """Return the light of each pixel without noise, (H, W). 1 saturates a frame."""
        return self.camera.draw_photons(self.size, number, settings) * self.find_scale(settings)

    def find_scale(self, settings: Settings) -> Floats:
        """Return the light of one photon a second on each pixel, (H, W)."""
        sensor, photon_sensor = self._scene.sensor, self.camera.sensor
        efficiency = photon_sensor.constants.quantum_efficiency
        cell = np.array([efficiency["RGB".index(colour)] for colour in sensor.cfa], np.float32)
        gain = photon_sensor.get_dn_per_electron(settings.gain_milli or 1000)
        cell *= get_exposure_us(settings) / 1e6 * gain / (sensor.white - sensor.black[0])
        width, height = self.size
        return np.tile(cell.reshape(2, 2), (height // 2, width // 2))

    def find_pattern_variance(self, settings: Settings, light: Floats) -> Floats:
        """Return the variance of the sensor's fixed patterns, which no noise profile knows of.

        Args:
            settings: of a frame that saturates at a light of 1.
            light: (H, W).
        """
        constants = self.camera.sensor.constants
        sensor = self._scene.sensor
        gain = self.camera.sensor.get_dn_per_electron(settings.gain_milli or 1000)
        dark = constants.dsnu * gain / (sensor.white - sensor.black[0])
        return np.asarray(np.square(constants.prnu * light) + dark**2, np.float32)

    def find_shift(self, settings: Settings, number: int) -> NDArray[np.float64]:
        """Return how far the hand has moved the picture to the right and down, in pixels."""
        return np.array(self.camera.get_view(settings, number).shift_mm) / self.pitch_mm

    def find_target(self, settings: Settings, number: int) -> NDArray[np.bool_]:
        """Return which pixels show the nearest layer, (H, W)."""
        view: View = self.camera.get_view(settings, number)
        layer = self.camera.scenery.layers[-1]
        size = self.camera._optics.get_magnification(view.focus_mdpt)
        step = self.pitch_mm / size
        width, height = self.size
        shift, _ = layer.get_motion(view.seconds + view.exposure_s / 2)
        left = -width * step / 2 - shift - view.shift_mm[0] / size
        top = -height * step / 2 - view.shift_mm[1] / size
        grid = Grid(left, top, step, width, height, self.camera.lens)
        if layer.cover is None:
            return np.ones((height, width), np.bool_)
        return np.asarray(layer.cover(grid) > 0)


class RangeChart:
    """Patches of even light on a bare sensor without hot pixels: the optics' own range is left out.

    Light falls from a patch to the next by equal steps.

    >>> chart = RangeChart(20, Settings(500, 1000), (120, 90))
    >>> light = chart.find_light()
    >>> round(float(np.log2(light.max() / light.min())), 2), round(float(light.max()), 2)
    (20.0, 0.9)
    """

    def __init__(self, stops: float, shortest: Settings, size: tuple[int, int]) -> None:
        """Make the chart.

        Args:
            stops: from the brightest patch to the darkest.
            shortest: the settings of the frame with the least exposure. The brightest patch nearly
                saturates it.
            size: width and height in pixels.
        """
        self._size = width, height = size
        options = SceneOptions(scene="flat", width=width, height=height, seed=101, defects="off")
        self._scene = MergeScene(options)
        columns, rows = _PATCHES
        column = np.arange(width) * columns // width
        row = (np.arange(height) * rows // height)[:, None]
        share = (row * columns + column) / (rows * columns - 1)
        self._light = (_BRIGHTEST * np.exp2(-stops * share)).astype(np.float32)
        # Photons a second that a pixel must get for that light.
        per_photon = self._scene.find_scale(shortest)
        self._photons = self._light / per_photon

    def take(self, settings: Settings, number: int) -> RawImage:
        """Return a frame."""
        sensor = self._scene.camera.sensor
        height = self._size[1]
        exposure = sensor.expose(
            self._photons,
            self._size,
            (0, height),
            exposure_us=get_exposure_us(settings),
            gain_milli=settings.gain_milli or 1000,
        )
        pixels = sensor.read_out(exposure, number, self._size, 0)
        return self._scene.make_raw(pixels, settings)

    def find_light(self) -> Floats:
        """Return the light of each pixel without noise, (H, W)."""
        return self._light

    def find_noise(self) -> tuple[float, float]:
        """Return S and O of one frame at gain 1, with the fixed pattern of the dark in O."""
        slope, offset = self._scene.find_noise_profile(Settings(gain_milli=1000))
        dark = self._scene.find_pattern_variance(Settings(gain_milli=1000), np.zeros(1, np.float32))
        return slope, offset + float(dark[0])


def make_moving_scene(seed: int, size: tuple[int, int], *, swing: int, shake: int) -> MergeScene:
    """Return textured planes. The nearest one swings by so many thousandths of the field's width.

    *shake* is the hand's motion in um on the sensor, root mean square.
    """
    width, height = size
    return MergeScene(
        SceneOptions(
            scene="planes", width=width, height=height, seed=seed, defects="off",
            swing=swing or None, shake=shake or None,
        )
    )  # fmt: skip
