"""The camera of the plant: scenes behind a lens. Frames repeat, and change with their settings."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lenslink.errors import MissingExtra, UsageError
from lenslink.settings import Settings
from lenslink_hil.plant import camera as camera_module
from lenslink_hil.plant import camera_scene, image_window
from lenslink_hil.plant.binning import Crop
from lenslink_hil.plant.camera import Camera
from lenslink_hil.plant.default_photo import PHOTOGRAPHS, find_photograph
from lenslink_hil.plant.image_window import Region, choose_slices, find_fast_size
from lenslink_hil.plant.row_service import Request, RowService
from lenslink_hil.plant.scene import Scene, SceneOptions, open_scene
from lenslink_hil.plant.scene_names import CHARTS
from lenslink_hil.plant.scenery import Grid

SMALL = {"width": 256, "height": 192}
TINY = {"width": 128, "height": 96}


def open_small(**options) -> Scene:
    return open_scene(SceneOptions(**{**SMALL, **options}))


def get_camera(scene: Scene) -> Camera:
    assert isinstance(scene.source, Camera)
    return scene.source


def sharpness(rows: np.ndarray) -> float:
    green = rows[0::2, 1::2].astype(float) - 256
    return float(np.abs(np.diff(green, axis=1)).mean() / green.mean())


@pytest.mark.parametrize("name", [*CHARTS, "coffee", "coffee,chelsea"])
def test_frames_repeat_by_seed_and_number_only(name):
    def frame(seed, number):
        scene = open_small(scene=name, seed=seed, **TINY)
        return scene.rows(0, number, Settings(10_000, 1000, 900))

    scene = open_small(scene=name, seed=1, **TINY)
    first = [scene.rows(0, number, Settings(10_000, 1000, 900)) for number in (4, 5)]
    assert np.array_equal(first[0], frame(1, 4))
    assert np.array_equal(first[1], frame(1, 5))
    assert (first[0] != first[1]).mean() > 0.3
    assert (first[0] != frame(2, 4)).mean() > 0.3


@pytest.mark.parametrize("name", ["planes", "depth", "coffee"])
@pytest.mark.parametrize(
    "crop", [Crop(0, 0, 32, 24), Crop(120, 70, 40, 30), Crop(224, 168, 32, 24)]
)
def test_a_crop_shows_its_place_in_the_frame(name, crop):
    """A crop has noise of its own. Without noise it is what the whole frame shows there."""
    scene = open_small(scene=name, seed=3, f_number="2")
    camera, settings = get_camera(scene), Settings(10_000, 1000, 1200)
    view = camera.get_view(settings, 4)
    place = np.s_[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
    whole = camera.draw(Region(256, 192, 0, 0, 256, 192), view)[place]
    part = camera.draw(Region(256, 192, crop.x, crop.y, crop.width, crop.height), view)
    assert np.abs(part - whole).max() < 0.02

    frames = [scene.rows(0, number, settings, crop).astype(float) for number in range(16)]
    wholes = [scene.rows(0, number, settings)[place].astype(float) for number in range(16)]
    assert frames[0].shape == (crop.height, crop.width)
    again = open_small(scene=name, seed=3, f_number="2").rows(0, 7, settings, crop)
    assert np.array_equal(frames[7], again)
    assert (frames[7] != frames[8]).mean() > 0.3
    # The mean of 16 frames is off by a quarter of the noise of one.
    noise = np.std(frames, axis=0).mean()
    assert np.std(np.mean(frames, axis=0) - np.mean(wholes, axis=0)) < 0.5 * noise
    assert noise == pytest.approx(np.std(wholes, axis=0).mean(), rel=0.1)


@pytest.mark.parametrize("name", ["edges", "star", "points", "coffee"])
def test_a_chart_is_sharpest_at_its_depth(name):
    scene = open_small(scene=name, depth="1500")
    found = {
        each: sharpness(scene.rows(0, 1, Settings(10_000, 1000, each)))
        for each in range(0, 3001, 500)
    }
    assert max(found, key=lambda each: found[each]) == 1500


def test_each_plane_has_its_focus():
    scene = open_small(scene="planes", depth="200,2800", f_number="2")
    # The near plane covers the middle, the far one shows at the upper edge.
    near, far = np.s_[80:120, 100:160], np.s_[4:24, 20:240]

    def measure(focus):
        rows = scene.rows(0, 1, Settings(40_000, 1000, focus))
        return sharpness(rows[near]), sharpness(rows[far])

    at_near, at_far = measure(2800), measure(200)
    assert at_near[0] > 1.3 * at_far[0]
    assert at_far[1] > 1.3 * at_near[1]


def test_the_ramp_is_sharp_where_its_depth_is_the_focus():
    scene = open_small(scene="depth", depth="0,3000")
    for focus in (500, 1500, 2500):
        rows = scene.rows(0, 1, Settings(10_000, 2000, focus))
        bands = [sharpness(rows[top : top + 16]) for top in range(0, 192, 16)]
        depth = 3000 * (np.argmax(bands) * 16 + 8) / 192
        assert abs(depth - focus) <= 300


def test_a_ramp_of_one_depth_is_a_plane():
    # Two ways to draw: slices of rows, and the whole picture at once.
    level = open_small(scene="depth", depth="1000,1000", seed=4)
    nearly = open_small(scene="depth", depth="999.9,1000.1", seed=4)
    region = Region(256, 192, 0, 0, 256, 192)
    for focus in (1000, 1100, 2000):
        flat, ramp = (
            get_camera(each).draw(region, get_camera(each).get_view(Settings(None, None, focus)))
            for each in (level, nearly)
        )
        assert np.abs(flat - ramp).max() < 0.01


def test_exposure_gain_and_aperture_change_the_light():
    scene = open_small(scene="flat", lens="on")

    def level(exposure_us, gain_milli):
        rows = scene.rows(0, 1, Settings(exposure_us, gain_milli, 0))
        return rows[80:112, 112:144].mean() - 256

    one = level(5_000, 1000)
    assert level(10_000, 1000) == pytest.approx(2 * one, rel=0.02)
    assert level(5_000, 2000) == pytest.approx(2 * one, rel=0.02)
    stopped = open_small(scene="flat", f_number="2.8").rows(0, 1, Settings(5_000, 1000, 0))
    assert stopped[80:112, 112:144].mean() - 256 == pytest.approx(one / 4, rel=0.03)


def test_a_smaller_aperture_is_sharper_out_of_focus():
    wide, small = (
        open_small(scene="star", f_number=each, lux=20_000).rows(0, 1, Settings(time, 1000, 1500))
        for each, time in (("1.4", 400), ("11", 24_000))
    )
    assert sharpness(small) > 1.5 * sharpness(wide)


def test_a_swinging_plane_moves_and_the_others_do_not():
    scene = open_small(scene="planes", depth="500,1500", swing=100, seed=2)
    first, later = (
        scene.rows(0, each, Settings(4_000, 4000, 1500)).astype(float) for each in (0, 15)
    )
    # After half a second a period of two seconds has reached its end: a tenth of the width.
    near = first[60:130, 100:150]
    shifts = range(-40, 42, 2)
    errors = [np.abs(later[60:130, 100 + each : 150 + each] - near).mean() for each in shifts]
    assert shifts[int(np.argmin(errors))] == 26
    assert np.abs(first[:12] - later[:12]).mean() < 60


def test_the_light_changes_its_colour():
    scene = open_small(scene="flat", kelvin="6504,2856")

    def ratio(number):
        rows = scene.rows(0, number, Settings(10_000, 1000, 0)).astype(float) - 256
        return rows[0::2, 0::2].mean() / rows[1::2, 1::2].mean()

    assert ratio(29) == pytest.approx(ratio(0), rel=0.01)
    assert ratio(30) > 2 * ratio(0)
    assert ratio(60) == pytest.approx(ratio(0), rel=0.01)


def test_white_is_what_the_manifest_calls_neutral():
    scene = open_small(scene="flat")
    rows = scene.rows(0, 1, Settings(10_000, 1000, 0)).astype(float)[60:132, 80:176] - 256
    green = (rows[0::2, 1::2].mean() + rows[1::2, 0::2].mean()) / 2
    found = (rows[0::2, 0::2].mean() / green, 1, rows[1::2, 1::2].mean() / green)
    neutral = [numerator / denominator for numerator, denominator in scene.sensor.neutral]
    assert found == pytest.approx(neutral, rel=0.01)


def test_a_frame_that_is_drawn_in_pieces_is_the_same(monkeypatch):
    # As frames above 2 megapixels are. A piece that lacked its neighbours' light would have seams.
    size = {"scene": "planes", "width": 192, "height": 128, "seed": 9}
    settings = Settings(10_000, 1000, 2000)
    whole = open_scene(SceneOptions(**size))
    expected = list(whole.iterate_bands(0, 1, settings))
    pieces = open_scene(SceneOptions(**size))
    monkeypatch.setattr(camera_module, "_WINDOW_PIXELS", 0)
    monkeypatch.setattr(camera_module, "_STRIP_ROWS", 64)
    monkeypatch.setattr(camera_module, "_STRIP_COLUMNS", 100)
    monkeypatch.setattr(camera_module, "iterate_bands", lambda width, height: iterate_rows(height))
    list(pieces.iterate_bands(0, 1, settings))
    pictures = [next(iter(get_camera(each)._kept.values())).picture for each in (whole, pieces)]
    assert sum(len(band) for band in expected) == 128
    assert np.abs(pictures[0] - pictures[1]).max() < 0.004


def iterate_rows(height):
    return ((top, min(top + 32, height)) for top in range(0, height, 32))


def test_a_picture_file_at_a_depth(tmp_path):
    path = tmp_path / "grey.png"
    Image.new("RGB", (160, 120), (188, 188, 188)).save(path)
    scene = open_small(scene=str(path), depth="700")
    rows = scene.rows(0, 1, Settings(10_000, 1000, 700)).astype(float)[80:112, 112:144] - 256
    white = open_small(scene="flat").rows(0, 1, Settings(10_000, 1000, 700))
    # sRGB 188 is half of white, as the flat scene is.
    assert rows.mean() == pytest.approx(white[80:112, 112:144].mean() - 256, rel=0.02)


def test_pictures_and_patterns_without_a_depth_stay_as_they_are(tmp_path):
    path = tmp_path / "grey.png"
    Image.new("RGB", (160, 120), (188, 188, 188)).save(path)
    for name in ("ramp", "prbs", "bars", str(path), "photo"):
        assert not isinstance(open_small(scene=name).source, Camera)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scene": "ramp", "lux": 100}, "lux= needs a scene behind the lens"),
        ({"scene": "planes", "depth": "1,2,3,4,5,6,7"}, "depth=1,2,3,4,5,6,7"),
        ({"scene": "planes", "depth": "2000,1000"}, "far to near"),
        ({"scene": "depth", "depth": "1000"}, "two depths"),
        ({"scene": "coffee,chelsea", "depth": "1000"}, "2 depths"),
        ({"scene": "star", "depth": "near"}, "depth=near"),
        ({"scene": "star", "depth": "-1"}, "depth=-1"),
        ({"scene": "star", "lens": "off"}, "lens=off"),
        ({"scene": "flat", "lens": "no"}, "lens=no: must be on or off"),
        ({"scene": "star", "swing": 10}, "swing="),
        ({"scene": "star", "f_number": "1.2"}, "f_number=1.2"),
        ({"scene": "star", "kelvin": "100"}, "kelvin=100"),
        ({"scene": "star", "lux": -1}, "lux=-1"),
        ({"scene": "star", "celsius": 1000}, "celsius=1000"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(UsageError) as caught:
        open_small(**options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_photograph_without_scikit_image_names_the_extra(monkeypatch):
    monkeypatch.setattr(camera_scene, "find_photograph", lambda name: None)
    with pytest.raises(MissingExtra, match="demo"):
        open_small(scene="rocket")


def test_every_photograph_is_in_the_wheel():
    for name in PHOTOGRAPHS:
        assert find_photograph(PHOTOGRAPHS[name]) is not None


def test_a_frame_that_is_given_up_leaves_the_next_one_whole():
    scene = open_small(scene="planes", seed=6, **TINY)
    expected = open_small(scene="planes", seed=6, **TINY).rows(0, 2, Settings(10_000, 1000, 800))
    for steps in range(1, 10):
        given_up = scene.iterate_bands(0, 1, Settings(10_000, 1000, 100 * steps))
        for _ in range(steps):
            next(given_up, None)
        other = scene.iterate_bands(0, 2, Settings(10_000, 1000, 800))
        next(given_up, None)
        assert np.array_equal(np.concatenate(list(other)), expected)


def test_the_row_service_sends_a_frame_that_pauses():
    scene = open_small(scene="planes")
    settings = Settings(10_000, 1000, 800)
    service = RowService(scene)
    service.feed(Request(3, 0, settings).pack())
    sent, turns = b"", 0
    while len(sent) < 2 * 256 * 192:
        turns += 1
        service.work()
        output = service.get_output()
        if output is not None:
            sent += bytes(output)
            service.mark_sent(len(output))
    assert turns > 4
    assert sent == scene.rows(0, 3, settings).tobytes()


def test_binning_averages_four_pixels_of_a_colour():
    scene = open_scene(SceneOptions(scene="flat", lens="off", width=512, height=384))
    full, binned = (
        scene.rows(each, 1, Settings(5_000, 1000, 0))[20:80:2, 21:101:2].astype(float)
        for each in (0, 1)
    )
    assert binned.mean() == pytest.approx(full.mean(), rel=0.05)
    assert binned.var() == pytest.approx(full.var() / 4, rel=0.25)


def test_the_slices_of_a_ramp_enclose_its_blurs():
    for low, high in ((-100.0, 2500.0), (30.0, 31.0), (-5.0, -1.0), (0.0, 0.0)):
        slices = choose_slices(low, high, 13.5)
        assert slices == sorted(slices)
        assert slices[0] <= low
        assert slices[-1] >= high


def test_a_fast_size_has_small_factors_only():
    assert [find_fast_size(each) for each in (1, 7, 97, 1920, 1921)] == [8, 8, 120, 1920, 1944]


@pytest.mark.parametrize("name", ["planes", "depth"])
def test_the_frequencies_that_a_blur_leaves_out_do_not_show(monkeypatch, name):
    size = {"width": 512, "height": 384, "seed": 2}
    settings = Settings(10_000, 1000, 3300)

    def draw():
        camera = get_camera(open_scene(SceneOptions(scene=name, **size)))
        return camera.draw(Region(512, 384, 0, 0, 512, 384), camera.get_view(settings))

    fast = draw()
    monkeypatch.setattr(image_window, "_NEGLIGIBLE", 1e-9)
    exact = draw()
    assert np.abs(fast / exact - 1).max() < 0.01
    assert not np.array_equal(fast, exact)


def test_a_frame_shows_where_the_lens_is_and_not_what_was_asked():
    scene = open_small(scene="star", depth="1500")
    service = RowService(scene, find_focus=lambda: 1499.7)
    service.feed(Request(3, 0, Settings(10_000, 1000, 200)).pack())
    sent = b""
    while len(sent) < 2 * 256 * 192:
        service.work()
        output = service.get_output()
        if output is not None:
            sent += bytes(output)
            service.mark_sent(len(output))
    assert sent == scene.rows(0, 3, Settings(10_000, 1000, 1500)).tobytes()


@pytest.mark.parametrize("name", ["planes", "edges", "star", "points", "coffee"])
def test_a_layer_that_is_painted_in_strips_is_the_same(name):
    camera = get_camera(open_small(scene=name))
    grid = Grid(-4.0, -3.0, 0.013, 512, 600, camera.lens)
    for layer in camera.scenery.layers:
        strips = image_window.finish(image_window.paint_in_strips(layer.paint, grid))
        assert np.abs(strips - layer.paint(grid)).max() < 2e-3 * strips.max()
