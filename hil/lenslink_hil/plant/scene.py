"""The scene: from options to a sensor and its frames.

:func:`open_scene` chooses the source of the frames: a pattern, a picture or a RAW file. The plant's
process calls it once at its start.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from lenslink.errors import MissingExtra, UsageError
from lenslink.raw_files.raw_kind import HEAD_BYTES, find_raw_mark, is_tiff
from lenslink.settings import Settings
from lenslink_protocol.calibration import AnyCalibration

from ..module_profile import DEFAULT, load_module
from .binning import CELL, Crop, Rows, bin2x2, cut_bands
from .default_photo import ANCHOR, find_default_photo
from .modes import (
    MAX_HEIGHT,
    MAX_WIDTH,
    choose_mode,
    complete_frame_size,
    make_default_modes,
    make_sized_modes,
)
from .patterns import PATTERNS, Pattern
from .scene_names import CAMERA_OPTIONS, CHARTS, PHOTO_SCENE, is_camera_scene
from .sensor_model import Sensor, fit_noise_numbers, make_module_sensor

FALLBACK_PATTERN = "bars"
MAX_SEED = (1 << 32) - 1


@dataclass(frozen=True)
class SceneOptions:
    """The options of a ``sim:`` URL that describe the scene; None means the default.

    Attributes:
        scene: ``photo``, ``ramp``, ``prbs``, ``bars``, a name of :mod:`.scene_names`, or the path
            of a picture or RAW file. A file with one of these names is written ``./ramp``.
        mode: name of the mode to use for preview and still.
        width: width of the sensor in pixels.
        height: height of the sensor in pixels.
        bits: bits of a pixel.
        cfa: phase of the colour filter.
        seed: seed of noise and ``prbs``, 0 to 2**32 - 1.
        repeat: number of frames that the sensor computes once, with CRCs, and repeats.
        depth: depths in milli-dioptres, with commas between them. A picture with a depth is seen
            through the lens, by the sensor after EMVA 1288.
        lux: illuminance of a scene behind the lens.
        kelvin: colour temperatures of its light, with commas between them.
        flicker: frequency of the light's flicker in Hz.
        swing: way of the nearest plane to and fro, in thousandths of the field's width.
        shake: how far a hand moves the picture on the sensor, in um, root mean square.
        f_number: the iris, as in ``2.8``.
        celsius: temperature of the sensor. None: that of the module's housing.
        lens: ``off`` for the bare sensor.
        defects: ``off`` for a sensor without hot pixels.
        module: name of the module; see :mod:`..module_profile`.
    """

    scene: str | None = None
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    bits: int | None = None
    cfa: str | None = None
    seed: int | None = None
    repeat: int | None = None
    depth: str | None = None
    lux: int | None = None
    kelvin: str | None = None
    flicker: int | None = None
    swing: int | None = None
    shake: int | None = None
    f_number: str | None = None
    celsius: int | None = None
    lens: str | None = None
    defects: str | None = None
    module: str = DEFAULT

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> SceneOptions:
        """Return the options in *values*.

        Raises:
            UsageError: a name is unknown, or a value has the wrong type.
        """
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise UsageError(f"unknown scene options: {', '.join(sorted(unknown))}")

        def text(name: str) -> str | None:
            value = values.get(name)
            if value is None or isinstance(value, str):
                return value
            raise UsageError(f"scene option {name}={value!r} must be a text")

        def number(name: str) -> int | None:
            value = values.get(name)
            if value is None or (isinstance(value, int) and not isinstance(value, bool)):
                return value
            raise UsageError(f"scene option {name}={value!r} must be a whole number")

        return cls(
            scene=text("scene"),
            mode=text("mode"),
            width=number("width"),
            height=number("height"),
            bits=number("bits"),
            cfa=text("cfa"),
            seed=number("seed"),
            repeat=number("repeat"),
            depth=text("depth"),
            lux=number("lux"),
            kelvin=text("kelvin"),
            flicker=number("flicker"),
            swing=number("swing"),
            shake=number("shake"),
            f_number=text("f_number"),
            celsius=number("celsius"),
            lens=text("lens"),
            defects=text("defects"),
            module=text("module") or DEFAULT,
        )


class Source(Protocol):
    """The source of frames: a picture, a pattern, a RAW file, or a camera in front of a scene."""

    def iterate_bands(
        self, width: int, height: int, frame_number: int, settings: Settings
    ) -> Iterator[Rows]:
        """Yield an unbinned frame in the bands of :func:`.binning.iterate_bands`.

        A band without rows is a pause: the caller may do something else.
        """


class Warmed(Protocol):
    """What has a temperature: a camera."""

    celsius: float


@runtime_checkable
class CropSource(Source, Protocol):
    """A source that draws a part of a frame alone, faster than the whole frame."""

    def iterate_crop(
        self, size: tuple[int, int], crop: Crop, frame_number: int, settings: Settings
    ) -> Iterator[Rows]:
        """Yield a part of an unbinned frame of *size* in bands."""


class Scene:
    """A sensor in front of a source. It takes frames from the source and bins them.

    Attributes:
        sensor: the sensor.
        source: the source of the frames.
        note: what the user should know about the chosen scene, or None.
        is_behind_lens: True if the lens's position changes the picture.
        calibrations: what the module's maker has measured of it.
    """

    def __init__(
        self,
        sensor: Sensor,
        source: Source,
        note: str | None = None,
        *,
        is_behind_lens: bool = False,
        calibrations: Sequence[AnyCalibration] = (),
        warmed: Warmed | None = None,
    ) -> None:
        self.sensor = sensor
        self.note = note
        self.source = source
        self.is_behind_lens = is_behind_lens
        self.calibrations = tuple(calibrations)
        self._warmed = warmed

    def set_temperature(self, celsius: float) -> None:
        """Let the sensor have the temperature of the housing, unless its own was given.

        A step of 1 K changes the dark current by a tenth. Between steps frames are kept.
        """
        if self._warmed is not None:
            self._warmed.celsius = float(round(celsius))

    def iterate_bands(
        self, mode_id: int, frame_number: int, settings: Settings, crop: Crop | None = None
    ) -> Iterator[Rows]:
        """Yield a frame in bands, each of shape (an even height, W), C-contiguous.

        Args:
            mode_id: number of the readout mode.
            frame_number: number of the frame.
            settings: 10,000 us at a gain of 1000 (the defaults) give a picture as it is. Focus
                changes only what is seen through the lens; see :mod:`.scene_names`. A band
                without rows is a pause.
            crop: a part of the frame, in pixels of the mode. None is the whole frame.

        Raises:
            KeyError: at once, if the sensor does not have the mode.
        """
        mode = self.sensor.mode(mode_id)
        if mode.binning == 1:
            return self._iterate_unbinned((mode.width, mode.height), frame_number, settings, crop)
        if crop is not None:
            crop = Crop(*(mode.binning * each for each in crop))
        size = self.sensor.width, self.sensor.height
        full = self._iterate_unbinned(size, frame_number, settings, crop)
        return (bin2x2(band) for band in full if not len(band) or len(band) >= CELL)

    def _iterate_unbinned(
        self, size: tuple[int, int], frame_number: int, settings: Settings, crop: Crop | None
    ) -> Iterator[Rows]:
        if crop is not None and isinstance(self.source, CropSource):
            return self.source.iterate_crop(size, crop, frame_number, settings)
        bands = self.source.iterate_bands(*size, frame_number, settings)
        return bands if crop is None else cut_bands(bands, crop)

    def rows(
        self, mode_id: int, frame_number: int, settings: Settings, crop: Crop | None = None
    ) -> Rows:
        """Return a frame or a part of it, shape (H, W), C-contiguous; see :meth:`iterate_bands`."""
        return np.concatenate(list(self.iterate_bands(mode_id, frame_number, settings, crop)))


def open_scene(options: SceneOptions) -> Scene:
    """Open the scene that *options* describe. Every error in it shows here.

    Raises:
        UsageError: the scene is missing, damaged or no picture; an option is out of range or
            contradicts a RAW file.
        MissingExtra: the scene is ``photo``, and scikit-image is not installed.
    """
    seed = 0 if options.seed is None else options.seed
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"seed={seed}: must be from 0 to {MAX_SEED}")
    scene = _scene(options, seed)
    scene.sensor = replace(scene.sensor, repeat=options.repeat or 0)
    return scene


def _scene(options: SceneOptions, seed: int) -> Scene:
    name = options.scene
    if is_camera_scene(name, options.depth):
        sensor = _module(options, pattern=False)
        # Imported here, because other scenes start in half the time without it.
        camera_scene = importlib.import_module(f"{__package__}.camera_scene")
        camera = camera_scene.open_camera_scene(
            name or PHOTO_SCENE, sensor, seed, _choose(options), load_module(options.module)
        )
        noise = fit_noise_numbers(sensor, camera.sensor.get_noise_profile)
        iris = round(camera.f_number * 1000)
        row_time_ns = round(camera.sensor.constants.row_time * 1000)
        sensor = replace(sensor, noise=noise, aperture_milli=iris, row_time_ns=row_time_ns)
        source: Source = camera
        factory = importlib.import_module(f"{__package__}.factory_calibration")
        measured = factory.calibrate(camera)
        warmed = camera if options.celsius is None else None
        return Scene(sensor, source, is_behind_lens=True, calibrations=measured, warmed=warmed)
    if unused := sorted(_choose(options)):
        raise UsageError(
            f"{unused[0]}= needs a scene behind the lens: {', '.join(CHARTS)}, "
            "a photograph's name, or a picture with depth="
        )
    if name in PATTERNS:
        return _pattern_scene(options, name, seed)
    if name is not None and name != PHOTO_SCENE:
        return _file_scene(options, name, seed)
    photo = find_default_photo()
    if photo is not None:
        return _picture_scene(options, photo, seed, ANCHOR)
    missing = MissingExtra("the default photograph", "demo")
    if name == PHOTO_SCENE:
        raise missing
    return _pattern_scene(options, FALLBACK_PATTERN, seed, f"showing colour bars: {missing}")


def _choose(options: SceneOptions) -> dict[str, str | int]:
    """Return the options that only a scene behind the lens takes, as far as they are given."""
    values = {name: getattr(options, name) for name in CAMERA_OPTIONS}
    return {name: value for name, value in values.items() if value is not None}


def _module(options: SceneOptions, *, pattern: bool) -> Sensor:
    size = complete_frame_size(options.width, options.height)
    width, height = size or (MAX_WIDTH, MAX_HEIGHT)
    modes = make_sized_modes(width, height) if size else make_default_modes()
    modes = choose_mode(modes, options.mode)
    cfa = options.cfa or load_module(options.module).get("sensor", {}).get("cfa")
    return make_module_sensor(width, height, modes, bits=options.bits, cfa=cfa, pattern=pattern)


def _pattern_scene(options: SceneOptions, name: str, seed: int, note: str | None = None) -> Scene:
    sensor = _module(options, pattern=True)
    return Scene(sensor, Pattern(name, sensor.bits, sensor.cfa, seed), note)


def _picture_scene(options: SceneOptions, path: Path, seed: int, anchor: float = 0.5) -> Scene:
    # Imported here, because a pattern needs no Pillow.
    from .picture import Picture, load_picture
    from .unprocess import PictureSource, get_noise_profile

    sensor = _module(options, pattern=False)
    profile = partial(get_noise_profile, sensor)
    sensor = replace(sensor, noise=fit_noise_numbers(sensor, profile))
    picture = Picture(load_picture(path), anchor)
    return Scene(sensor, PictureSource(picture, sensor, seed))


def _file_scene(options: SceneOptions, name: str, seed: int) -> Scene:
    path = Path(name)
    try:
        if path.is_dir():
            raise UsageError(f"scene {path}: is a directory")
        if not path.is_file():  # a FIFO would block
            raise UsageError(f"scene {name}: no such file")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise UsageError(f"scene {path}: {error.strerror}") from error
    if not _is_raw(path, head):
        return _picture_scene(options, path, seed)
    # Imported here, because rawpy doubles the time to start.
    raw_file = importlib.import_module(f"{__package__}.raw_file")
    raw = raw_file.load_raw(path)
    sensor: Sensor = raw.sensor
    _check_agreement(options, sensor, name)
    sensor = replace(sensor, modes=choose_mode(sensor.modes, options.mode))
    return Scene(sensor, raw_file.RawSource(raw.pixels), raw.note)


def _is_raw(path: Path, head: bytes) -> bool:
    """Return True if a file must be read as a RAW file.

    Any mark of a RAW file decides, because Pillow would take the small picture in such a file. A
    TIFF without a mark is a picture only if LibRaw cannot read it.
    """
    # Imported here, because a pattern needs no Pillow.
    from .picture import is_picture

    if not is_tiff(head):
        return find_raw_mark(head, []) is not None or not is_picture(path)
    # Imported here, because tifffile and rawpy double the time to start.
    tiff_tags = importlib.import_module("lenslink.raw_files.tiff_tags")
    directories = tiff_tags.read_directories(path, f"scene {path}")
    if find_raw_mark(head, directories) is not None:
        return True
    return bool(importlib.import_module("lenslink.raw_files.raw_mosaic").has_mosaic(path))


def _check_agreement(options: SceneOptions, sensor: Sensor, name: str) -> None:
    """Raise UsageError for an option that contradicts a RAW file, which is used as it is."""
    for option in ("width", "height", "bits", "cfa"):
        asked, has = getattr(options, option), getattr(sensor, option)
        if asked not in {None, has}:
            raise UsageError(f"{option}={asked} contradicts the RAW file {name}: it has {has}")
