"""What a frame of a scene behind the lens shows, exactly: for tests and benchmarks.

The truth is computed without noise, without blur, and without the transforms of
:mod:`.image_window`: the layers are painted on the pixels where a pinhole would draw them.

>>> truth = open_truth(SceneOptions(scene="planes", width=256, height=192, seed=3))
>>> found = truth.look(frame_number=0, settings=Settings(10_000, 1000, 1200))
>>> found.depth_mdpt.shape
(192, 256)
>>> round(float(found.blur_px[96, 80]), 3)
0.0
>>> truth.find_best_focus((160, 60, 60, 60))
2400.0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lenslink.errors import UsageError
from lenslink.settings import Settings

from .camera import Camera, get_exposure_us
from .image_window import View
from .optics import Optics
from .scene import SceneOptions, open_scene
from .scenery import Grid, Layer

Floats = NDArray[np.float32]

_CELLS = 4
"""Cells of a pixel's side over which the radiance is averaged."""


@dataclass(frozen=True)
class FrameTruth:
    """What is true of a frame. Arrays have the frame's shape (H, W), if nothing else is said.

    Attributes:
        radiance: W/m2/sr of the scene in the bands red, green and blue, shape (3, H, W).
        depth_mdpt: depth of the surface in milli-dioptres.
        best_focus_mdpt: the focus at which the surface is sharpest.
        blur_px: diameter of the blur disc in pixels.
        motion_px_s: speed of the surface to the right and down, in pixels a second, (2, H, W).
        shift_px: how far the hand has moved the picture to the right and down, shape (2,).
        photons: photons that a pixel's filter lets through during the exposure, without noise, as
            the lens draws them.
        row_starts_s: when the exposure of each row starts, shape (H,).
        exposure_s: exposure time.
    """

    radiance: Floats
    depth_mdpt: Floats
    best_focus_mdpt: Floats
    blur_px: Floats
    motion_px_s: Floats
    shift_px: NDArray[np.float64]
    photons: Floats
    row_starts_s: NDArray[np.float64]
    exposure_s: float


class Truth:
    """The truth about the frames of a camera in one readout mode.

    Args:
        camera: the camera.
        width: of the mode in pixels.
        height: of the mode in pixels.
    """

    def __init__(self, camera: Camera, width: int, height: int) -> None:
        self._camera, self._width, self._height = camera, width, height
        self._lens = camera.lens or Optics()
        self._pitch = self._lens.constants.field_width / width

    def look(self, frame_number: int, settings: Settings) -> FrameTruth:
        """Return the truth about one frame."""
        camera, lens = self._camera, self._lens
        view = camera.get_view(settings, frame_number)
        size = (self._height, self._width)
        reflectance = np.zeros((3, *size), np.float32)
        depth, speed = np.zeros(size, np.float32), np.zeros((2, *size), np.float32)
        for layer in camera.scenery.layers:
            image, cover, distance, pixels_s = self._look_at_layer(layer, view)
            reflectance += cover * (image - reflectance)
            front = cover >= 0.5
            depth[front] = distance[front]
            speed[0][front] = pixels_s
        kelvin = camera.light.get_kelvin(frame_number)
        white = camera.light.get_radiance(kelvin, camera.sensor.constants)
        exposure_s = get_exposure_us(settings) / 1e6
        # The blur is a straight line in the distance from the focus.
        per_mdpt = lens.get_blur_um(view.focus_mdpt, view.focus_mdpt + 1, view.f_number)
        hand_px_s = np.array(view.speed_mm_s) / self._pitch
        starts = camera.get_row_starts(frame_number, 0, self._height)
        return FrameTruth(
            radiance=reflectance * np.array(white, np.float32)[:, None, None],
            depth_mdpt=depth,
            best_focus_mdpt=depth,
            blur_px=np.abs(depth - np.float32(view.focus_mdpt))
            * np.float32(per_mdpt / 1000 / self._pitch),
            motion_px_s=speed + hand_px_s.astype(np.float32)[:, None, None],
            shift_px=np.array(view.shift_mm) / self._pitch,
            photons=camera.draw_photons((self._width, self._height), frame_number, settings)
            * np.float32(exposure_s),
            row_starts_s=starts,
            exposure_s=exposure_s,
        )

    def find_best_focus(
        self,
        box: tuple[int, int, int, int],
        frame_number: int = 0,
        settings: Settings | None = None,
    ) -> float:
        """Return the focus for the largest surface in a box of pixels, in milli-dioptres.

        Args:
            box: left, top, width and height in pixels.
            frame_number: the frame, if something moves.
            settings: focus and aperture at which the box was chosen; None are the defaults.
        """
        left, top, width, height = box
        view = self._camera.get_view(settings or Settings(), frame_number)
        depth = np.zeros((self._height, self._width), np.float32)
        for layer in self._camera.scenery.layers:
            _, cover, distance, _ = self._look_at_layer(layer, view)
            depth[cover >= 0.5] = distance[cover >= 0.5]
        inside = depth[top : top + height, left : left + width]
        values, counts = np.unique(np.round(inside), return_counts=True)
        if len(values) > len(self._camera.scenery.layers):  # a ramp has no largest surface
            return float(np.median(inside))
        return float(values[np.argmax(counts)])

    def _look_at_layer(self, layer: Layer, view: View) -> tuple[Floats, Floats, Floats, float]:
        """Return reflectance (3, H, W), cover, depth, and speed in pixels a second."""
        size = self._lens.get_magnification(view.focus_mdpt)
        shift, speed = layer.get_motion(view.seconds + view.exposure_s / 2)
        step = self._pitch / size / _CELLS
        lens = self._camera.lens
        columns, rows = self._width * _CELLS, self._height * _CELLS
        left = -columns * step / 2 - shift - view.shift_mm[0] / size
        top = -rows * step / 2 - view.shift_mm[1] / size
        grid = Grid(left, top, step, columns, rows, lens)
        image = layer.paint(grid)
        planes = np.stack([image] * 3) if image.ndim == 2 else image
        tinted = planes * np.array(layer.tint, np.float32)[:, None, None]
        cover = grid.fill(1) if layer.cover is None else layer.cover(grid)
        centre = Grid(grid.left, grid.top, self._pitch / size, self._width, self._height, lens)
        depth = layer.get_depth(centre.ideal[1], self._lens.constants.field_width * 0.75)
        pixels_s = speed * size / self._pitch
        return np.stack([_average(each) for each in tinted]), _average(cover), depth, pixels_s


def open_truth(options: SceneOptions, mode: int = 0) -> Truth:
    """Return the truth about the frames that ``sim:`` shows with these options.

    Args:
        options: of a scene behind the lens.
        mode: number of the readout mode, which must not be binned.

    Raises:
        UsageError: as :func:`.scene.open_scene`; or the scene is not behind the lens.
    """
    scene = open_scene(options)
    source = scene.source
    if not isinstance(source, Camera):
        raise UsageError(f"scene={options.scene} is not behind the lens: nothing is known about it")
    size = scene.sensor.mode(mode)
    if size.binning != 1:
        raise UsageError(f"mode {size.name} is binned: ask for the truth of the full frame")
    return Truth(source, size.width, size.height)


def _average(cells: Floats) -> Floats:
    """Return the mean of each pixel's cells."""
    height, width = cells.shape[0] // _CELLS, cells.shape[1] // _CELLS
    return np.asarray(cells.reshape(height, _CELLS, width, _CELLS).mean(axis=(1, 3)))
