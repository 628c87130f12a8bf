"""Draw a part of the picture behind the lens: from layers of a scenery to light on pixels.

Radiance is sampled at half the pixel pitch. One Fourier transform of each layer is kept. A new
position of the lens multiplies it by the lens's OTF and by the pixel's box, transforms back, and
takes the values at the pixels, whose places depend on the breathing. So a pixel holds the integral
of the blurred picture over its area.

Layers are put together from far to near. A layer's blurred cover hides what is behind it. A layer
whose depth varies from row to row is blurred in slices: each slice has one blur, and a row lies
between two slices.

Positions are those of :mod:`.scenery`, bent by distortion, before breathing. :mod:`.camera` calls
this module and adds the amount of light.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .optics import NEAREST_MDPT, Optics
from .scenery import Grid, Layer, Paint, Scenery

Floats = NDArray[np.float32]
Spectrum = NDArray[np.complex64]
T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work in steps of some 50 ms, and its result in the end."""

OVERSAMPLING = 2
"""Cells of radiance for each pixel in both directions."""
_TABLE = 1 << 14
_NEGLIGIBLE = 0.02
"""Frequencies are left out if the blur leaves less of them than this."""
_SAME_OTF = 0.005
"""Planes share an OTF if the OTFs of red and blue differ by less from that of green."""
_GEOMETRIC = 100
"""So many wavelengths times the f-number of blur make the planes' OTFs the same to 0.005."""
_MARGIN = 16
"""Cells around the blurred picture, so that opposite sides do not meet."""
_STRIP_ROWS = 256
"""Rows that are painted in one step; a multiple of the pieces in which pictures are bent."""
_TAPS = 3
"""Half the number of cells that are interpolated (Lanczos)."""


@dataclass(frozen=True)
class View:
    """What decides the picture: focus, iris, time for what moves, and the hand's shake.

    Attributes:
        shift_mm: how far the picture is off its place, to the right and down.
        speed_mm_s: speed of the whole picture.
        reach_mm: the farthest shift of any frame.
    """

    focus_mdpt: float
    f_number: float
    seconds: float = 0.0
    exposure_s: float = 0.0
    shift_mm: tuple[float, float] = (0.0, 0.0)
    speed_mm_s: tuple[float, float] = (0.0, 0.0)
    reach_mm: float = 0.0


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels of a frame whose size is *frame_width* x *frame_height*."""

    frame_width: int
    frame_height: int
    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class _Painted:
    """A layer on a grid, transformed.

    Attributes:
        spectra: of the reflectance, one if grey, else red, green and blue. A layer with a varying
            depth is transformed along its rows only.
        cover: spectrum of the cover, or None.
    """

    layer: Layer
    spectra: list[Spectrum]
    cover: Spectrum | None


def _paint_layer(layer: Layer, grid: Grid) -> Steps[_Painted]:
    """Paint and transform a layer."""
    image = yield from paint_in_strips(layer.paint, grid)
    planes = [image] if image.ndim == 2 else list(image)
    cover_spectrum = None
    if layer.cover is not None:
        cover = yield from paint_in_strips(layer.cover, grid)
        image *= cover  # of one plane or of three, which *planes* shows
        yield
        cover_spectrum = _single(np.fft.rfft2(cover))
        yield
    transform = np.fft.rfft2 if layer.is_flat() else np.fft.rfft
    spectra = []
    for plane in planes:
        spectra.append(_single(transform(plane)))
        yield
    return _Painted(layer, spectra, cover_spectrum)


def paint_in_strips(paint: Paint, grid: Grid) -> Steps[Floats]:
    """Paint a grid in strips of rows, one in each step."""
    strips = []
    for start in range(0, grid.height, _STRIP_ROWS):
        rows = min(_STRIP_ROWS, grid.height - start)
        strips.append(paint(replace(grid, top=grid.top + start * grid.step, height=rows)))
        yield
    return np.concatenate(strips, axis=-2)


@dataclass(frozen=True)
class _Canvas:
    """The transformed layers on their grid, and the place of each frequency in an OTF's table."""

    grid: Grid
    layers: list[_Painted]
    radius: NDArray[np.uint16]


class _Painting:
    """The work of painting and transforming the layers, in steps.

    A caller that needs the result does the next step. So nothing is lost when a frame is given up.

    Attributes:
        canvas: the result, or None.
    """

    def __init__(self, scenery: Scenery, grid: Grid) -> None:
        self.grid = grid
        self.canvas: _Canvas | None = None
        self._steps = self._paint_all(scenery)

    def work(self) -> None:
        """Do one step."""
        next(self._steps, None)

    def _paint_all(self, scenery: Scenery) -> Steps[None]:
        layers: list[_Painted] = []
        for layer in scenery.layers:
            painted = yield from _paint_layer(layer, self.grid)
            layers.append(painted)
        self.canvas = _Canvas(self.grid, layers, _find_radius(self.grid, self.grid.height))


class ImageWindow:
    """A region of a frame. It keeps the transformed layers for the next position of the lens.

    Several pictures may be drawn at a time, in steps: none changes what another one uses.

    Args:
        scenery: what is drawn.
        lens: what draws it.
        wavelength_nm: of the planes red, green and blue.
        cfa: the colour filter at pixel (0, 0) of the frame. A region starts at even numbers.
        region: what part of the frame.
        keeps: True if more than one focus will be drawn.
    """

    def __init__(
        self,
        scenery: Scenery,
        lens: Optics,
        wavelength_nm: tuple[float, float, float],
        cfa: str,
        region: Region,
        *,
        keeps: bool = True,
    ) -> None:
        self._scenery, self._lens, self._region = scenery, lens, region
        self._wavelength_nm, self._cfa = wavelength_nm, cfa
        self._pitch = lens.constants.field_width / region.frame_width
        self._keeps = keeps
        self._painting: _Painting | None = None

    def draw(self, view: View) -> Floats:
        """Return the reflectance that each pixel sees through its filter, shape (H, W)."""
        return finish(self.draw_in_steps(view))

    def draw_in_steps(self, view: View) -> Steps[Floats]:
        """Do the work of :meth:`draw` in steps."""
        canvas = yield from self._paint(view)
        total: Floats | None = None
        for painted in canvas.layers:
            blur = self._blur_flat if painted.layer.is_flat() else self._blur_ramp
            image, cover = yield from blur(canvas, painted, view)
            image *= self._make_mosaic(painted.layer.tint)
            if total is None or cover is None:
                total = image
            else:
                total *= 1 - cover
                total += image
        assert total is not None
        return np.maximum(total, 0, out=total)

    def _paint(self, view: View) -> Steps[_Canvas]:
        """Return the transformed layers on a grid that is large enough for *view*."""
        if self._keeps:
            # Large enough for any focus at this aperture, so that they are painted only once.
            views = [replace(view, focus_mdpt=each) for each in (0.0, float(NEAREST_MDPT))]
        else:
            views = [view]
        grid = self._make_grid(max(self._find_margin(each) for each in views))
        if self._painting is None or self._painting.grid.width < grid.width:
            self._painting = _Painting(self._scenery, grid)
        painting = self._painting
        while painting.canvas is None:
            painting.work()
            yield
        return painting.canvas

    def _find_margin(self, view: View) -> int:
        """Return how many cells beyond the picture reach into it."""
        reach = max(
            self._lens.get_blur_um(view.focus_mdpt, depth, view.f_number) / 2000
            + abs(layer.swing_mm)
            for layer in self._scenery.layers
            for depth in (layer.top_mdpt, layer.bottom_mdpt)
        )
        return math.ceil((reach + view.reach_mm) / (self._pitch / OVERSAMPLING)) + _MARGIN

    def _make_grid(self, margin: int) -> Grid:
        step = self._pitch / OVERSAMPLING
        region = self._region
        largest = self._lens.get_magnification(NEAREST_MDPT)
        sides = []
        for first, count, whole in (
            (region.left, region.width, region.frame_width),
            (region.top, region.height, region.frame_height),
        ):
            start, end = (
                (first - whole / 2) * self._pitch,
                (first + count - whole / 2) * self._pitch,
            )
            # Breathing moves what is not in the centre.
            start, end = min(start, start / largest), max(end, end / largest)
            cells = find_fast_size(math.ceil((end - start) / step) + 2 * margin)
            # At whole steps from the centre, so that neighbouring regions sample the same places.
            sides.append((round((start + end) / 2 / step - cells / 2) * step, cells))
        (left, width), (top, height) = sides
        return Grid(left, top, step, width, height, self._lens)

    def _make_tables(self, grid: Grid, blur_um: float, view: View) -> list[Floats]:
        """Return the OTF of each plane, or one for all planes if they hardly differ."""
        working = self._lens.get_working_f_number(view.focus_mdpt, view.f_number)
        # The grid lies before breathing, the blur behind it.
        highest = math.sqrt(0.5) / grid.step / self._lens.get_magnification(view.focus_mdpt)
        red, green, blue = self._wavelength_nm
        one = self._lens.make_otf_table(blur_um, working, green, highest, _TABLE)
        if abs(blur_um) > _GEOMETRIC * green / 1000 * working:
            return [one]
        others = [
            self._lens.make_otf_table(blur_um, working, nm, highest, _TABLE) for nm in (red, blue)
        ]
        tables = [others[0], one, others[1]]
        # Beyond half of the grid's frequencies the pixel's box leaves little.
        seen = np.s_[: int(_TABLE * 0.36)]
        unlike = max(float(np.abs(each[seen] - tables[1][seen]).max()) for each in tables)
        return tables[1:2] if unlike < _SAME_OTF else tables

    def _make_box(self, frequency: NDArray[np.floating], view: View, axis: int) -> Floats:
        """Return the transfer function of a pixel's side, and of the hand's motion, on an axis."""
        size = self._lens.get_magnification(view.focus_mdpt)
        way = view.speed_mm_s[axis] * view.exposure_s
        box = np.sinc(frequency * self._pitch / size) * np.sinc(frequency * way / size)
        return np.asarray(box, np.float32)

    def _blur_flat(
        self, canvas: _Canvas, painted: _Painted, view: View
    ) -> Steps[tuple[Floats, Floats | None]]:
        """Return the blurred layer and its blurred cover on the pixels."""
        grid = canvas.grid
        blur_um = self._lens.get_blur_um(view.focus_mdpt, painted.layer.top_mdpt, view.f_number)
        tables = self._make_tables(grid, blur_um, view)
        # What is blurred a lot needs fewer frequencies, and a coarser picture holds them.
        coarser = max(each for each in (1, 2, 4) if self._is_negligible(tables, 0.5 / each))
        width, height = grid.width // coarser, grid.height // coarser
        kept_columns = width // 2 + 1
        frequency = np.fft.rfftfreq(grid.width, grid.step)[:kept_columns]
        across = self._make_box(frequency, view, 0).astype(np.complex64)
        across /= np.float32(coarser**2)
        if painted.layer.swing_mm:
            middle = view.seconds + view.exposure_s / 2
            shift, speed = painted.layer.get_motion(middle)
            across *= np.exp(-2j * math.pi * frequency * shift).astype(np.complex64)
            across *= np.sinc(frequency * speed * view.exposure_s).astype(np.float32)
        down = self._make_box(np.fft.fftfreq(height, grid.step * coarser), view, 1)[:, None]
        radius = _keep_low(canvas.radius, height, kept_columns)
        yield

        def blur(spectrum: Spectrum, table: Floats) -> Floats:
            product = _keep_low(spectrum, height, kept_columns) * across
            transfer = np.take(table, radius)
            transfer *= down
            product *= transfer
            return np.asarray(np.fft.irfft2(product, (height, width)))

        # Cell 0 of the coarser picture lies where cell 0 of the grid lies.
        shown = replace(
            grid,
            left=grid.left - grid.step * (coarser - 1) / 2,
            top=grid.top - grid.step * (coarser - 1) / 2,
            step=grid.step * coarser,
            width=width,
            height=height,
        )
        image = yield from self._sample_planes(shown, painted.spectra, tables, blur, view)
        cover = None
        if painted.cover is not None:
            cover = yield from self._sample_planes(shown, [painted.cover], tables, blur, view)
        return image, cover

    def _is_negligible(self, tables: list[Floats], frequency: float) -> bool:
        """Return True if little is left above a frequency in cycles a cell.

        A coarser picture is interpolated at the pixels, so a third of its frequencies stay free.
        """
        if frequency >= 0.5:
            return True
        first = math.ceil(0.67 * frequency / math.sqrt(0.5) * _TABLE)
        return max(float(np.abs(each[first:]).max()) for each in tables) < _NEGLIGIBLE

    def _blur_ramp(
        self, canvas: _Canvas, painted: _Painted, view: View
    ) -> Steps[tuple[Floats, Floats | None]]:
        """Return the blurred layer on the pixels. Only the first layer may be a ramp."""
        grid = canvas.grid
        across = self._make_box(np.fft.rfftfreq(grid.width, grid.step), view, 0)
        rows = grid.top + grid.step * (np.arange(grid.height, dtype=np.float32) + 0.5)
        depth = painted.layer.get_depth(rows, self._lens.constants.field_width * 0.75)
        scale = (
            self._lens.get_blur_um(view.focus_mdpt, view.focus_mdpt + 1000, view.f_number) / 1000
        )
        blur_um = (view.focus_mdpt - depth) * np.float32(scale)
        slices = choose_slices(float(blur_um.min()), float(blur_um.max()), self._pitch * 1000)
        place = np.interp(blur_um, slices, np.arange(len(slices)))
        tables = [self._make_tables(grid, each, view) for each in slices]
        count = max(len(each) for each in tables)
        yield
        # A plane for each OTF and each colour of the layer; they are paired like the OTFs below.
        pairs = [(each, 0) for each in range(count)]
        if len(painted.spectra) > 1:
            pairs = [(min(each, count - 1), each) for each in range(len(painted.spectra))]
        total = [np.zeros_like(painted.spectra[plane]) for _, plane in pairs]
        for number, (blur_here, here) in enumerate(zip(slices, tables, strict=True)):
            weight = np.maximum(1 - np.abs(place - number), 0).astype(np.float32)
            used = np.flatnonzero(weight)
            if not used.size:
                continue
            first, last = int(used[0]), int(used[-1]) + 1
            reach = math.ceil(abs(blur_here) / 2000 / grid.step) + _MARGIN
            start, stop = max(0, first - reach), min(grid.height, last + reach)
            length = find_fast_size(stop - start)
            # Of what is blurred a lot, only the low frequencies along the rows are left.
            left = max(int(np.flatnonzero(np.abs(each) >= _NEGLIGIBLE / 2)[-1]) for each in here)
            columns = min(math.ceil(left / _TABLE * math.sqrt(0.5) * grid.width) + 2, grid.width)
            radius = _find_radius(grid, length, columns)
            down = self._make_box(np.fft.fftfreq(length, grid.step), view, 1)[:, None]
            for target, (otf, plane) in zip(total, pairs, strict=True):
                part = np.fft.fft(painted.spectra[plane][start:stop, :columns], length, axis=0)
                transfer = np.take(here[min(otf, len(here) - 1)], radius)
                transfer *= down
                part *= transfer
                blurred = np.fft.ifft(part, axis=0)[first - start : last - start]
                target[first:last, :columns] += blurred * weight[first:last, None]
            yield

        def blur_rows(spectrum: Spectrum, table: Floats) -> Floats:
            del table  # the OTF has been applied
            return np.asarray(np.fft.irfft(spectrum * across, grid.width, axis=1))

        image = yield from self._sample_planes(grid, total, tables[0][:1], blur_rows, view)
        return image, None

    def _sample_planes(
        self,
        grid: Grid,
        spectra: list[Spectrum],
        tables: list[Floats],
        blur: Callable[[Spectrum, Floats], Floats],
        view: View,
    ) -> Steps[Floats]:
        """Blur each plane that is needed and take its values at the pixels of its colour."""
        region = self._region
        if len(spectra) == len(tables) == 1:
            image = self._interpolate(grid, blur(spectra[0], tables[0]), view, np.s_[:], np.s_[:])
            yield
            return image
        out = np.empty((region.height, region.width), np.float32)
        for plane, colour in enumerate("RGB"):
            image = blur(spectra[min(plane, len(spectra) - 1)], tables[min(plane, len(tables) - 1)])
            yield
            for site in (site for site, each in enumerate(self._cfa) if each == colour):
                rows, columns = np.s_[site // 2 :: 2], np.s_[site % 2 :: 2]
                out[rows, columns] = self._interpolate(grid, image, view, rows, columns)
            yield
        return out

    def _interpolate(
        self, grid: Grid, image: Floats, view: View, rows: slice, columns: slice
    ) -> Floats:
        """Return the values of *image* at these rows and columns of pixels."""
        region = self._region
        size = self._lens.get_magnification(view.focus_mdpt)
        y = (
            region.top + np.arange(region.height)[rows] + 0.5 - region.frame_height / 2
        ) * self._pitch
        x = (
            region.left + np.arange(region.width)[columns] + 0.5 - region.frame_width / 2
        ) * self._pitch
        x, y = (x - view.shift_mm[0]) / size, (y - view.shift_mm[1]) / size
        down = _resample(image, (y - grid.top) / grid.step - 0.5)
        across = _resample(np.ascontiguousarray(down.T), (x - grid.left) / grid.step - 0.5)
        return np.ascontiguousarray(across.T)

    def _make_mosaic(self, tint: tuple[float, float, float]) -> Floats:
        """Return the factor of each pixel's colour, shape (H, W)."""
        cell = np.array([tint["RGB".index(colour)] for colour in self._cfa], np.float32)
        return np.tile(cell.reshape(2, 2), (self._region.height // 2, self._region.width // 2))


K = TypeVar("K", bound=np.generic)


def _keep_low(spectrum: NDArray[K], height: int, columns: int) -> NDArray[K]:
    """Return the low frequencies of a spectrum, as that of a picture with fewer rows."""
    if height == len(spectrum):
        return spectrum
    half = height // 2
    return np.concatenate([spectrum[:half, :columns], spectrum[-half:, :columns]])


def _single(spectrum: NDArray[np.complexfloating]) -> Spectrum:
    """Return a spectrum in single precision, in which numpy 2 computes it at once."""
    return spectrum.astype(np.complex64, copy=False)


def _find_radius(grid: Grid, height: int, columns: int | None = None) -> NDArray[np.uint16]:
    """Return the place in an OTF's table of each frequency of *height* rows of a grid."""
    fx = np.fft.rfftfreq(grid.width)[:columns].astype(np.float32)
    fy = np.fft.fftfreq(height).astype(np.float32)
    radius = np.hypot(fx, fy[:, None])
    radius *= np.float32((_TABLE - 1) / math.sqrt(0.5))
    radius += np.float32(0.5)
    return radius.astype(np.uint16)


def finish(steps: Steps[T]) -> T:
    """Do all steps at once and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


def _resample(image: Floats, places: NDArray[np.floating]) -> Floats:
    """Return rows of *image* between its rows, by a windowed sinc."""
    base = np.floor(places).astype(np.intp)
    total = np.zeros((len(places), image.shape[1]), np.float32)
    offsets = np.arange(1 - _TAPS, _TAPS + 1)
    distance = (places - base)[:, None] - offsets
    weights = np.sinc(distance) * np.sinc(distance / _TAPS)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    for number, offset in enumerate(offsets):
        rows = np.take(image, base + offset, axis=0, mode="clip")
        rows *= weights[:, number, None]
        total += rows
    return total


def choose_slices(low: float, high: float, pitch_um: float) -> list[float]:
    """Return the blurs at which a varying depth is computed, from *low* to *high*.

    They are signed, in um. Neighbours differ by a pixel near the focus, and by a quarter of the
    blur far from it.
    """
    steps = [0.0]
    while steps[-1] < max(abs(low), abs(high)):
        steps.append(steps[-1] + max(pitch_um, steps[-1] / 4))
    both = sorted({*steps, *(-each for each in steps)})
    first = max((number for number, each in enumerate(both) if each <= low), default=0)
    last = min(number for number, each in enumerate(both) if each >= high)
    return both[first : last + 1]


def find_fast_size(least: int) -> int:
    """Return the next multiple of 8 without prime factors above 5."""
    number = -(-least // 8) * 8
    while True:
        rest = number
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return number
        number += 8
