"""The camera: a scenery, its light, a lens and a sensor, as a source of frames.

::

    scenery -- image_window --> reflectance on each pixel     changes with focus and iris
               light, optics --> photons on each pixel        changes with the light
               photon_sensor --> electrons, without noise     changes with exposure and gain
               photon_sensor --> rows, with noise             changes with every frame

Each line is kept until what it depends on changes. While a scene stands still, a frame costs only
the noise.

Frames depend on seed, frame number, settings and temperature, and on nothing else. The time of a
scene is the frame number times FRAME_INTERVAL_US.

Every readout mode shows the lens's whole field. A pixel of a small mode is wider than a photosite,
so its readout averages photosites: its signal and its noise are those of one photosite.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lenslink.settings import Settings

from .binning import Crop, Rows, iterate_bands
from .image_window import ImageWindow, Region, Steps, View, finish
from .light import Light, count_photons
from .optics import Optics
from .photon_sensor import CACHE_PIXELS, DEFAULT_CELSIUS, Exposure, PhotonSensor
from .scenery import FRAME_INTERVAL_US, Grid, Scenery

Floats = NDArray[np.float32]

NOMINAL_EXPOSURE_US = 10_000
NOMINAL_GAIN_MILLI = 1000
NOMINAL_FOCUS_MDPT = 0

_WINDOW_PIXELS = 1 << 21
"""Frames up to this size are drawn in one piece, whose transform is kept."""
_KEPT_REGIONS = 6
"""Frame sizes and regions of which something is kept."""
_STRIP_ROWS = 512
_STRIP_COLUMNS = 1024
"""Size of the pieces of a larger frame."""


@dataclass
class _Kept:
    """What is kept of a frame size or a region, with the reason for which it holds."""

    window: ImageWindow | None = None
    picture_key: object = None
    picture: Floats | None = None
    exposure_key: object = None
    exposures: list[Exposure] | None = None


class Camera:
    """A source of frames; see :class:`.scene.Source`.

    Args:
        sensor: the sensor.
        scenery: what stands in front of the lens.
        light: the light on it.
        lens: None for a bare sensor, which sees the first layer's value in the centre, evenly.
        f_number: see the attribute; None is the widest.

    Attributes:
        f_number: the iris, unless the settings of a frame name an aperture.
        celsius: temperature of the sensor.
    """

    def __init__(
        self,
        sensor: PhotonSensor,
        scenery: Scenery,
        light: Light,
        lens: Optics | None,
        f_number: float | None = None,
    ) -> None:
        self.sensor, self.scenery, self.light, self.lens = sensor, scenery, light, lens
        self.celsius = DEFAULT_CELSIUS
        self._optics = lens or Optics()
        self.f_number = f_number or self._optics.constants.widest
        self._kept: dict[Region, _Kept] = {}

    def get_view(self, settings: Settings, frame_number: int = 0) -> View:
        """Return focus, iris and time of a frame. A settings' value that is None is the default."""
        aperture_milli = settings.aperture_milli
        f_number = aperture_milli / 1000 if aperture_milli else self.f_number
        focus = settings.focus_mdpt if self._optics.fixed_mdpt is None else self._optics.fixed_mdpt
        view = View(
            float(NOMINAL_FOCUS_MDPT if focus is None else focus),
            self._optics.clamp_f_number(f_number),
        )
        shake = self.scenery.shake
        if shake is None and not any(layer.swing_mm for layer in self.scenery.layers):
            return view  # the same for every frame
        seconds, exposure_s = self.get_seconds(frame_number), get_exposure_us(settings) / 1e6
        view = replace(view, seconds=seconds, exposure_s=exposure_s)
        if shake is None:
            return view
        middle = seconds + exposure_s / 2
        return replace(
            view,
            shift_mm=shake.get_shift(middle),
            speed_mm_s=shake.get_speed(middle),
            reach_mm=shake.reach_mm,
        )

    def get_seconds(self, frame_number: int) -> float:
        """Return when a frame's first row starts to be exposed."""
        return frame_number * FRAME_INTERVAL_US / 1e6

    def get_row_starts(self, frame_number: int, top: int, bottom: int) -> NDArray[np.float64]:
        """Return when the exposure of each row starts, in seconds: a rolling shutter."""
        rows = np.arange(top, bottom) * self.sensor.constants.row_time / 1e6
        return np.asarray(self.get_seconds(frame_number) + rows)

    def get_white_photons(self, view: View, frame_number: int = 0) -> tuple[float, float, float]:
        """Return the photons a second that a white surface sends to a pixel of each plane."""
        constants = self.sensor.constants
        radiance = self.light.get_radiance(self.light.get_kelvin(frame_number), constants)
        # A bare sensor gets what the lens would send to the centre, whatever its focus.
        focus = 0.0 if self.lens is None else view.focus_mdpt
        red, green, blue = (
            count_photons(
                self._optics.get_irradiance(each, focus, view.f_number), nm, constants.pitch
            )
            for each, nm in zip(radiance, constants.wavelength_nm, strict=True)
        )
        return red, green, blue

    def draw(self, region: Region, view: View) -> Floats:
        """Return the reflectance that each pixel of a region sees, with vignetting, (H, W)."""
        return finish(self._draw_in_steps(None, region, view))

    def draw_photons(self, size: tuple[int, int], number: int, settings: Settings) -> Floats:
        """Return the photons a second on each pixel of a frame, without noise, shape (H, W)."""
        width, height = size
        view = self.get_view(settings, number)
        photons = self.draw(Region(width, height, 0, 0, width, height), view)
        photons *= np.tile(self._make_photons(view, number), (height // 2, width // 2))
        starts = self.get_row_starts(number, 0, height)
        flicker = self.light.get_flicker(starts, get_exposure_us(settings) / 1e6)
        if flicker is not None:
            photons *= flicker[:, None].astype(np.float32)
        return photons

    def iterate_bands(
        self, width: int, height: int, frame_number: int, settings: Settings
    ) -> Iterator[Rows]:
        """Yield a frame in bands.

        A band without rows is a pause, after some 50 ms of drawing: the caller can do other work.
        """
        whole = Region(width, height, 0, 0, width, height)
        return self._iterate_region(whole, frame_number, settings)

    def iterate_crop(
        self, size: tuple[int, int], crop: Crop, frame_number: int, settings: Settings
    ) -> Iterator[Rows]:
        """Yield a part of a frame of *size* in bands. Nothing else of the frame is drawn.

        The first row of the part is read first.
        """
        region = Region(*size, crop.x, crop.y, crop.width, crop.height)
        return self._iterate_region(region, frame_number, settings)

    def _iterate_region(
        self, region: Region, frame_number: int, settings: Settings
    ) -> Iterator[Rows]:
        width, height = size = (region.width, region.height)
        bands = list(iterate_bands(width, height))
        view = self.get_view(settings, frame_number)
        kept = self._keep(region)
        exposure_s = get_exposure_us(settings) / 1e6
        flickers = self.light.flicker_hz > 0
        exposure_key = (
            view,
            get_exposure_us(settings),
            settings.gain_milli,
            self.light.get_kelvin(frame_number),
            self.celsius,
            frame_number if flickers else None,
        )
        if kept.exposures is not None and kept.exposure_key == exposure_key:
            for (top, _), exposure in zip(bands, kept.exposures, strict=True):
                yield self.sensor.read_out(exposure, frame_number, size, top)
            return
        exposures = []
        pause = np.empty((0, width), np.uint16)
        photons = self._make_photons(view, frame_number)
        is_kept = width * height <= CACHE_PIXELS
        for top, bottom, picture in self._iterate_pictures(kept, region, view, is_kept):
            if picture is None:
                yield pause
                continue
            light = picture * np.tile(photons, ((bottom - top) // 2, width // 2))
            flicker = self.light.get_flicker(
                self.get_row_starts(frame_number, top, bottom), exposure_s
            )
            if flicker is not None:
                light *= flicker[:, None].astype(np.float32)
            exposure = self.sensor.expose(
                light,
                (region.frame_width, region.frame_height),
                (region.top + top, region.top + bottom),
                exposure_us=get_exposure_us(settings),
                gain_milli=settings.gain_milli or NOMINAL_GAIN_MILLI,
                celsius=self.celsius,
                columns=(region.left, region.left + width),
            )
            if is_kept:
                exposures.append(exposure)
            yield self.sensor.read_out(exposure, frame_number, size, top)
        if is_kept:
            kept.exposures, kept.exposure_key = exposures, exposure_key

    def _keep(self, region: Region) -> _Kept:
        """Return what is kept of a region, and forget the one that was used longest ago."""
        kept = self._kept.pop(region, None) or _Kept()
        self._kept[region] = kept
        if len(self._kept) > _KEPT_REGIONS:
            del self._kept[next(iter(self._kept))]
        return kept

    def _make_photons(self, view: View, frame_number: int) -> Floats:
        """Return the photons a second of a white surface, for the CFA's cell, shape (2, 2)."""
        white = self.get_white_photons(view, frame_number)
        cell = [white["RGB".index(colour)] for colour in self.sensor.sensor.cfa]
        return np.array(cell, np.float32).reshape(2, 2)

    def _iterate_pictures(
        self, kept: _Kept, region: Region, view: View, is_kept: bool
    ) -> Iterator[tuple[int, int, Floats | None]]:
        """Yield the reflectance of each band; None in place of it is a pause."""
        width, height = region.width, region.height
        bands = list(iterate_bands(width, height))
        # Another frame may replace what is kept while this one pauses.
        done = kept.picture
        if done is not None and kept.picture_key == view:
            for top, bottom in bands:
                yield top, bottom, done[top:bottom]
            return
        if width * height <= _WINDOW_PIXELS:
            if kept.window is None and self.lens is not None:
                kept.window = self._make_window(region, keeps=True)
            drawn = yield from _pause(self._draw_in_steps(kept.window, region, view))
            kept.picture, kept.picture_key = drawn, view
            for top, bottom in bands:
                yield top, bottom, drawn[top:bottom]
            return
        picture = np.empty((height, width), np.float32) if is_kept else None
        for first, last in _group_bands(bands):
            strip = np.empty((bands[last - 1][1] - bands[first][0], width), np.float32)
            start = bands[first][0]
            for left in range(0, width, _STRIP_COLUMNS):
                columns = min(_STRIP_COLUMNS, width - left)
                piece = replace(
                    region,
                    left=region.left + left,
                    top=region.top + start,
                    width=columns,
                    height=len(strip),
                )
                steps = self._draw_in_steps(None, piece, view)
                strip[:, left : left + columns] = yield from _pause(steps)
            if picture is not None:
                picture[start : start + len(strip)] = strip
            for top, bottom in bands[first:last]:
                yield top, bottom, strip[top - start : bottom - start]
        if picture is not None:
            kept.picture, kept.picture_key = picture, view

    def _make_window(self, region: Region, *, keeps: bool) -> ImageWindow:
        wavelength_nm, cfa = self.sensor.constants.wavelength_nm, self.sensor.sensor.cfa
        return ImageWindow(self.scenery, self._optics, wavelength_nm, cfa, region, keeps=keeps)

    def _draw_in_steps(
        self, window: ImageWindow | None, region: Region, view: View
    ) -> Steps[Floats]:
        if self.lens is None:
            even = float(self.scenery.layers[0].paint(Grid(0, 0, 1e-3, 1, 1)).mean())
            return np.full((region.height, region.width), even, np.float32)
        window = window or self._make_window(region, keeps=False)
        image = yield from window.draw_in_steps(view)
        image *= self._shade(region, view)
        return image

    def _shade(self, region: Region, view: View) -> Floats:
        """Return the vignetting of each pixel."""
        pitch = self._optics.constants.field_width / region.frame_width
        x = np.arange(region.left, region.left + region.width) + 0.5 - region.frame_width / 2
        y = np.arange(region.top, region.top + region.height) + 0.5 - region.frame_height / 2
        across, down = (x * pitch).astype(np.float32), (y * pitch).astype(np.float32)[:, None]
        return self._optics.get_illumination(across, down, view.focus_mdpt, view.f_number)


def get_exposure_us(settings: Settings) -> int:
    """Return the exposure of a frame with these settings."""
    return settings.exposure_us or NOMINAL_EXPOSURE_US


def _pause(steps: Steps[Floats]) -> Generator[tuple[int, int, None], None, Floats]:
    """Yield a pause for each step, and return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            drawn: Floats = stop.value
            return drawn
        yield 0, 0, None


def _group_bands(bands: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield first and last number of the bands of each strip; the last one is excluded."""
    first = 0
    for number in range(1, len(bands) + 1):
        is_full = number < len(bands) and bands[number][1] - bands[first][0] > _STRIP_ROWS
        if is_full or number == len(bands):
            yield first, number
            first = number
