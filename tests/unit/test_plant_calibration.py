"""Test the simulated module's calibrations against the plant's frames, through a DNG's opcodes.

The opcodes are read and applied by the functions below, which are written from Adobe's
specification, apart from the code under test.
"""

from __future__ import annotations

import io
import json
import struct
import subprocess

import numpy as np
import pytest
import rawpy
import tifffile
from helpers.made_frames import make_frame

from lenslink.frame import ColorCalibration
from lenslink.image_files.dng import write_dng
from lenslink.image_files.opcodes import find_corrections, make_gain_map, make_warp
from lenslink.module_calibration import ModuleCalibration
from lenslink.settings import Settings
from lenslink_hil.plant.constants import LightConstants, SensorConstants, load_constants
from lenslink_hil.plant.light import Light
from lenslink_hil.plant.scene import SceneOptions, open_scene
from lenslink_hil.plant.sensor_model import (
    MODULE_MATRIX,
    MODULE_MATRIX_A,
    MODULE_NEUTRAL,
    MODULE_NEUTRAL_A,
)
from lenslink_protocol.calibration import encode_calibration, get_kind, parse_calibration
from lenslink_protocol.params import MAX_CALIBRATION

MODULES = ("ll-100", "ll-85")
WIDTH, HEIGHT = 640, 480


def read_opcodes(file, tag):
    """Return the opcodes of a DNG's opcode list: their numbers and parameters."""
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        data = tiff.pages.first.tags[tag].value
    (count,), at, found = struct.unpack_from(">I", data), 4, {}
    for _ in range(count):
        number, _version, _flags, size = struct.unpack_from(">4I", data, at)
        found[number] = data[at + 16 : at + 16 + size]
        at += 16 + size
    assert at == len(data)
    return found


def apply_gain_map(parameters, image):
    """Return *image* after opcode 9."""
    top, left, bottom, right, *_ = struct.unpack_from(">8I", parameters)
    assert (top, left, bottom, right) == (0, 0, *image.shape)
    rows, columns, down, across, y0, x0, planes = struct.unpack_from(">2I4dI", parameters, 32)
    assert planes == 1
    gains = np.frombuffer(parameters, ">f4", rows * columns, 76).reshape(rows, columns)
    v = np.clip(((np.arange(image.shape[0]) + 0.5) / image.shape[0] - y0) / down, 0, rows - 1)
    u = np.clip(((np.arange(image.shape[1]) + 0.5) / image.shape[1] - x0) / across, 0, columns - 1)
    i, j = np.minimum(v.astype(int), rows - 2), np.minimum(u.astype(int), columns - 2)
    v, u = (v - i)[:, None], u - j
    upper = gains[i][:, j] * (1 - u) + gains[i][:, j + 1] * u
    return image * (
        upper * (1 - v) + (gains[i + 1][:, j] * (1 - u) + gains[i + 1][:, j + 1] * u) * v
    )


def find_source(parameters, shape, x, y):
    """Return where opcode 1 takes the pixels (x, y) of a picture of *shape* from."""
    count, *values = struct.unpack(">I8d", parameters)
    assert count == 1
    k, t, center = values[:4], values[4:6], np.array(values[6:]) * shape[::-1]
    far = max(
        np.hypot(cx - center[0], cy - center[1]) for cx in (0, shape[1]) for cy in (0, shape[0])
    )
    dx, dy = (x - center[0]) / far, (y - center[1]) / far
    r = dx * dx + dy * dy
    f = k[0] + k[1] * r + k[2] * r**2 + k[3] * r**3
    return (
        center[0] + far * (f * dx + t[0] * 2 * dx * dy + t[1] * (r + 2 * dx * dx)),
        center[1] + far * (f * dy + t[1] * 2 * dx * dy + t[0] * (r + 2 * dy * dy)),
    )


def open_plant(scene, module, **options):
    return open_scene(SceneOptions(scene=scene, module=module, seed=4, **options))


def get_calibration(scene):
    """Return the calibration as the driver has it, after its way over the wire."""
    table = {}
    for each in scene.calibrations:
        data = encode_calibration(each)
        assert len(data) <= MAX_CALIBRATION
        table[get_kind(each)] = parse_calibration(get_kind(each), data)
    return ModuleCalibration(table.get)


def take(scene, settings):
    """Return a frame as the driver makes it."""
    sensor = scene.sensor
    mode = sensor.modes[0]
    return make_frame(
        scene.rows(mode.id, 1, settings),
        cfa=sensor.cfa,
        black=sensor.black,
        white=sensor.white,
        aperture_milli=settings.aperture_milli,
        focus_mdpt=settings.focus_mdpt,
        gain_milli=settings.gain_milli,
        whole_size=(mode.width, mode.height),
    )


def write(frame, calibration):
    file = io.BytesIO()
    write_dng(frame, file, None, "test", find_corrections(frame, calibration))
    return file


@pytest.mark.parametrize(
    ("module", "aperture", "focus"),
    [("ll-100", 1400, 0), ("ll-100", 2000, 3300), ("ll-100", 8000, 1000), ("ll-85", 2800, 500)],
)
def test_the_gain_map_makes_a_flat_field_flat(module, aperture, focus):
    scene = open_plant("flat", module, width=WIDTH, lux=round(60 * (aperture / 1000) ** 2))
    frame = take(scene, Settings(20_000, 1000, focus, aperture))
    file = write(frame, get_calibration(scene))
    with rawpy.imread(io.BytesIO(file.getvalue())) as raw:
        np.testing.assert_array_equal(raw.raw_image, frame.pixels)
    image = frame.pixels - frame.black[0]
    # The means of 40 x 40 pixels of one colour: noise is 0.1 % of them.
    site = frame.cfa.index("G")

    def tiles(picture):
        plane = picture[0::2, site % 2 :: 2]
        return plane.reshape(6, 40, 8, 40).mean(axis=(1, 3))

    before = tiles(image)
    after = tiles(apply_gain_map(read_opcodes(file, 51009)[9], image))
    assert before.min() < 0.95 * before.max(), "there is nothing to correct"
    np.testing.assert_allclose(after, after.mean(), rtol=0.01)


@pytest.mark.parametrize(("module", "focus"), [("ll-100", 100), ("ll-85", 500)])
def test_the_warp_puts_points_where_they_belong(module, focus):
    depth = focus + (0 if module == "ll-85" else 100)
    width, height = 1280, 960
    scene = open_plant("points", module, width=width, lux=100_000, depth=str(depth + 40))
    frame = take(scene, Settings(20_000, 1000, focus, 2800))
    warp = read_opcodes(write(frame, get_calibration(scene)), 51022)[1]
    image = frame.pixels - frame.black[0]
    for site in range(4):
        # As if every pixel had the same colour filter.
        plane = image[site // 2 :: 2, site % 2 :: 2]
        plane /= plane[plane > 100].sum()
    v, u = np.mgrid[0:height, 0:width] + 0.5
    x, y = find_source(warp, image.shape, u, v)
    column, row = np.clip(x - 0.5, 0, width - 1.001), np.clip(y - 0.5, 0, height - 1.001)
    j, i = column.astype(int), row.astype(int)
    a, b = column - j, row - i
    right = image[i, j] * (1 - a) + image[i, j + 1] * a
    corrected = right * (1 - b) + (image[i + 1, j] * (1 - a) + image[i + 1, j + 1] * a) * b

    def measure(picture, place):
        half = 20
        left, top = round(place[0]) - half, round(place[1]) - half
        part = picture[top : top + 2 * half, left : left + 2 * half].copy()
        part[part < 0.1 * part.max()] = 0
        rows, columns = np.mgrid[0 : 2 * half, 0 : 2 * half] + 0.5
        return np.array([(part * columns).sum(), (part * rows).sum()]) / part.sum() + (left, top)

    # 9 x 7 points; a lens that is focused closer makes the picture larger.
    grown = 1 + (0.02 * focus / 1000 if module == "ll-100" else 0)
    ideal = np.array(
        [
            (width / 2 + n * width / 9.2 * grown, height / 2 + m * height / 7.2 * grown)
            for m in range(-3, 4)
            for n in range(-4, 5)
        ]
    )
    off = np.array([measure(corrected, place) - place for place in ideal])
    assert np.hypot(*off.T).max() < 0.5
    distorted = np.array([measure(image, place) - place for place in ideal])
    assert np.hypot(*distorted.T).max() > 3, "there is nothing to correct"


@pytest.mark.parametrize("module", MODULES)
def test_the_noise_profile_is_that_of_the_frames(module):
    scene = open_plant("flat", module, width=WIDTH, lux=60, lens="off", defects="off")
    profile = get_calibration(scene).noise
    span = scene.sensor.white - scene.sensor.black[0]
    for gain in (1000, 4000, 16_000):
        settings = Settings(4_000_000 // gain, gain, 0, 1400)
        one, two = (
            (scene.rows(0, number, settings) - scene.sensor.black[0]) / span for number in (1, 2)
        )
        slope, offset = profile.at(gain / 1000)
        for site in range(4):
            place = np.s_[site // 2 :: 2, site % 2 :: 2]
            signal = one[place].mean()
            assert 0.003 < signal < 0.9
            variance = np.var(one[place] - two[place]) / 2
            assert variance == pytest.approx(slope * signal + offset, rel=0.03), (gain, site)


def test_the_defects_are_the_pixels_that_are_hot_in_the_dark():
    scene = open_plant("dark", "ll-100", width=WIDTH, celsius=40)
    mode = scene.sensor.modes[0]
    rows = scene.rows(mode.id, 1, Settings(8_000_000, 1000, 0, 1400)) - scene.sensor.black[0]
    # 8 s at the reference temperature: 100 electrons a second are 800 electrons, and 0.26 DN each.
    hot = {(int(x), int(y)) for y, x in zip(*np.nonzero(rows > 8 * 0.26 * 100), strict=True)}
    listed = {(int(x), int(y)) for x, y in get_calibration(scene).list_defects(mode.id)}
    assert len(listed) > 20
    # Noise decides about pixels at the limit.
    assert len(hot ^ listed) <= 0.1 * len(listed)
    scene = open_plant("dark", "ll-100", width=WIDTH, defects="off")
    assert not len(get_calibration(scene).list_defects(mode.id))


@pytest.mark.parametrize(("module", "focal", "f_number"), [("ll-100", 35, 1.4), ("ll-85", 85, 2.8)])
def test_the_blur_is_that_of_a_thin_lens(module, focal, f_number):
    scene = open_plant("flat", module, width=WIDTH)
    focus = 500
    image_mm = 1 / (1 / focal - focus / 1e6)
    expected_mm = focal / f_number * image_mm / 1000
    found = get_calibration(scene).blur.at(f_number, focus)
    assert found == pytest.approx(expected_mm / (17.28 / WIDTH), rel=0.001)


def test_a_part_of_the_mode_gets_its_part_of_the_corrections():
    scene = open_plant("flat", "ll-100", width=WIDTH)
    calibration = get_calibration(scene)
    gains = calibration.gain_map.at(1.4, 0)
    whole, corner, size = (WIDTH, HEIGHT), (200, 120), (300, 240)
    x, y = corner
    ones = np.ones((HEIGHT, WIDTH))
    full = apply_gain_map(make_gain_map(gains, whole, (0, 0), whole), ones)
    part = apply_gain_map(make_gain_map(gains, whole, corner, size), ones[:240, :300])
    np.testing.assert_allclose(part, full[y : y + 240, x : x + 300], rtol=1e-6)
    full_warp = make_warp(calibration.distortion, whole, (0, 0), whole)
    part_warp = make_warp(calibration.distortion, whole, corner, size)
    for at in ((0.0, 0.0), (300.0, 0.0), (150.0, 200.0)):
        expected = find_source(full_warp, (HEIGHT, WIDTH), at[0] + x, at[1] + y)
        found = find_source(part_warp, (240, 300), *at)
        assert np.add(found, corner) == pytest.approx(expected, abs=1e-6)
    # The optical axis is outside of this part: DNG cannot say it.
    assert make_warp(calibration.distortion, whole, (0, 0), (100, 100)) is None
    frame = make_frame(np.zeros((96, 96), np.uint16), whole_size=whole, aperture_milli=1400)
    corrections = find_corrections(frame, calibration)
    assert corrections.list_2 is not None and corrections.list_3 is None
    assert corrections.note == "no distortion: the optical axis is outside of the frame"


def test_the_colours_under_a_lamp_follow_from_those_in_daylight():
    sensor, light = (
        load_constants("sensor", SensorConstants),
        load_constants("light", LightConstants),
    )
    lamp, day = (np.array(Light(light).get_radiance(kelvin, sensor)) for kelvin in (2856, 6504))

    def plain(pairs):
        return np.array([top / bottom for top, bottom in pairs])

    neutral = plain(MODULE_NEUTRAL) * lamp / day
    np.testing.assert_allclose(plain(MODULE_NEUTRAL_A), neutral / neutral[1], atol=1e-4)
    # A surface's XYZ changes with the light after Bradford, and its bands as the light does.
    white_day, white_lamp = np.array((0.95047, 1, 1.08883)), np.array((1.0985, 1, 0.35585))
    cones = np.array(
        ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
    )
    adapted = np.linalg.inv(cones) @ np.diag(cones @ white_lamp / (cones @ white_day)) @ cones
    matrix = np.diag(lamp / day) @ plain(MODULE_MATRIX).reshape(3, 3) @ np.linalg.inv(adapted)
    matrix *= (plain(MODULE_MATRIX).reshape(3, 3) @ white_day)[1] / (matrix @ white_lamp)[1]
    np.testing.assert_allclose(plain(MODULE_MATRIX_A).reshape(3, 3), matrix, atol=1e-4)


@pytest.mark.parametrize("module", MODULES)
def test_a_dng_has_both_lights_and_its_readers_take_it(module, tool, tmp_path):
    scene = open_plant("edges", module, width=WIDTH)
    second = scene.sensor.second_color
    color = ColorCalibration(
        scene.sensor.color_matrix,
        scene.sensor.neutral,
        scene.sensor.illuminant,
        ColorCalibration(second.color_matrix, second.neutral, second.illuminant),
    )
    frame = take(scene, Settings(10_000, 1000, 500, 2800))
    frame.color = color
    path = tmp_path / "both lights.dng"
    path.write_bytes(write(frame, get_calibration(scene)).getvalue())
    with rawpy.imread(str(path)) as raw:
        assert raw.postprocess().shape == (HEIGHT, WIDTH, 3)
        colours = [chr(raw.color_desc[raw.raw_color(y, x)]) for y in (0, 1) for x in (0, 1)]
        assert "".join(colours) == frame.cfa
    command = [tool("exiftool"), "-j", "-n", "-a", "-G1", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (tags,) = json.loads(done.stdout)
    assert tags["IFD0:CalibrationIlluminant1"] == 21
    assert tags["IFD0:CalibrationIlluminant2"] == 17
    first, *_ = tags["IFD0:ColorMatrix2"].split()
    assert float(first) == pytest.approx(1.1735)
    assert not [tags[name] for name in tags if name.endswith("Warning")]


def test_the_sensor_is_as_warm_as_the_housing_unless_the_url_says_otherwise():
    def expose(scene):
        rows = scene.rows(0, 1, Settings(20_000_000, 1000, 0, 1400))
        return float((rows - scene.sensor.black[0]).mean())

    own = open_plant("dark", "ll-100", width=WIDTH, defects="off")
    given = open_plant("dark", "ll-100", width=WIDTH, defects="off", celsius=40)
    for scene in (own, given):
        scene.set_temperature(46.5)
    # 4 electrons a second at 40 degC, twice as many at 46.5, 0.26 DN each; 46 is the nearest step.
    warm = 20 * 0.26 * 4 * 2 ** (6 / 6.5)
    assert expose(own) == pytest.approx(warm, rel=0.02)
    assert expose(given) == pytest.approx(20 * 0.26 * 4, rel=0.02)
    own.set_temperature(46.4)
    assert expose(own) == pytest.approx(warm, rel=0.02)
