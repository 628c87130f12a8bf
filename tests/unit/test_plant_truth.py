"""The truth about frames, against the frames and against formulas in this file."""

from __future__ import annotations

import numpy as np
import pytest

from lenslink.errors import UsageError
from lenslink.settings import Settings
from lenslink_hil.plant.scene import SceneOptions, open_scene
from lenslink_hil.plant.scenery import Shake
from lenslink_hil.plant.truth import open_truth

SIZE = {"width": 256, "height": 192}
FOCAL_M, FIELD_M = 0.035, 0.01728


def options(**more) -> SceneOptions:
    return SceneOptions(**{**SIZE, **more})


@pytest.mark.parametrize(("f_number", "focus"), [("1.4", 0), ("1.4", 2900), ("8", 1000)])
def test_blur_and_depth_are_those_of_a_thin_lens(f_number, focus):
    truth = open_truth(options(scene="planes", depth="400,2000", f_number=f_number))
    found = truth.look(0, Settings(10_000, 1000, focus))
    assert set(np.unique(found.depth_mdpt).tolist()) == {400, 2000}
    for depth in (400, 2000):
        image = 1 / (1 / FOCAL_M - focus / 1000)
        blur = FOCAL_M / float(f_number) * image * abs(focus - depth) / 1000 / (FIELD_M / 256)
        assert found.blur_px[found.depth_mdpt == depth] == pytest.approx(blur, rel=1e-4)
    assert np.array_equal(found.best_focus_mdpt, found.depth_mdpt)


def test_a_ramp_runs_from_its_upper_depth_to_its_lower_one():
    found = open_truth(options(scene="depth", depth="500,2500")).look(0, Settings(10_000, 1000, 0))
    column = found.depth_mdpt[:, 128]
    assert np.all(np.diff(column) > 0)
    # The lens bends the field, by a little more than a hundredth at its edge.
    assert column[0] == pytest.approx(500, abs=20)
    assert column[-1] == pytest.approx(2500, abs=20)
    assert column[95:97].mean() == pytest.approx(1500, abs=1)


@pytest.mark.parametrize("scene", ["planes", "coffee"])
def test_radiance_is_what_a_sharp_frame_shows(scene):
    more = {"scene": scene, "depth": "1000" if scene == "coffee" else "1000,1000"}
    settings = Settings(10_000, 1000, 1000)
    found = open_truth(options(**more, f_number="4")).look(0, settings)
    # In focus, photons and radiance differ by the light, by vignetting and by a little blur.
    for plane, place in ((0, np.s_[0::2, 0::2]), (1, np.s_[0::2, 1::2]), (2, np.s_[1::2, 1::2])):
        photons = found.photons[place][20:76, 20:108]
        radiance = found.radiance[plane][place][20:76, 20:108]
        ratio = photons.sum() / radiance.sum()
        assert np.corrcoef(photons.ravel(), radiance.ravel())[0, 1] > 0.98
        assert np.abs(photons / ratio - radiance).mean() < 0.06 * radiance.mean()


def test_photons_are_what_the_frame_counts():
    chosen = options(scene="star", seed=5, defects="off")
    settings = Settings(6_000, 1000, 1010)
    photons = open_truth(chosen).look(3, settings).photons
    frames = [open_scene(chosen).rows(0, each, settings).astype(float) - 256 for each in (3, 4)]
    green = np.s_[0::2, 1::2]
    electrons = np.mean(frames, axis=0)[green] / 0.26
    expected = photons[green] * 0.62
    # Shot noise of two frames, and the response of each pixel.
    deviation = np.sqrt(expected / 2 + 10 + (0.008 * expected) ** 2)
    assert np.abs((electrons - expected) / deviation).max() < 6
    assert electrons.mean() == pytest.approx(expected.mean(), rel=0.002)


def test_motion_is_that_of_the_nearest_plane():
    truth = open_truth(options(scene="planes", depth="500,1500", swing=50))
    for number in (0, 7, 15, 22):
        settings = Settings(10_000, 1000, 1500)
        found = truth.look(number, settings)
        # To and fro within two seconds, 5 % of the width to each side, in the middle of exposure.
        seconds = number * 33_333e-6 + 0.005
        speed = 0.05 * 256 * np.pi * np.cos(np.pi * seconds) * 1.03  # breathing at 1.5 dioptres
        moving = found.motion_px_s[0][found.depth_mdpt == 1500]
        assert moving == pytest.approx(speed, abs=0.02)
        assert np.all(found.motion_px_s[:, found.depth_mdpt == 500] == 0)
        assert np.all(found.motion_px_s[1] == 0)


def test_the_best_focus_of_a_box_is_that_of_its_largest_plane():
    truth = open_truth(options(scene="planes", depth="300,1200,2400"))
    assert truth.find_best_focus((30, 60, 60, 60)) == 1200
    assert truth.find_best_focus((160, 60, 60, 60)) == 2400
    assert truth.find_best_focus((0, 0, 256, 20)) == 300
    ramp = open_truth(options(scene="depth", depth="0,3000"))
    assert ramp.find_best_focus((100, 90, 40, 12)) == pytest.approx(1500, abs=25)


def test_the_best_focus_is_where_the_picture_is_sharpest():
    chosen = options(scene="planes", depth="600,1700", seed=8)
    box = (100, 70, 50, 50)
    scene = open_scene(chosen)

    def contrast(focus):
        rows = scene.rows(0, 1, Settings(10_000, 1000, focus)).astype(float)
        part = rows[box[1] : box[1] + box[3] : 2, box[0] + 1 : box[0] + box[2] : 2]
        return np.square(np.diff(part, axis=1)).sum()

    foci = range(200, 3201, 100)
    sharpest = max(foci, key=contrast)
    assert sharpest == pytest.approx(open_truth(chosen).find_best_focus(box), abs=100)


def test_rows_start_one_after_the_other():
    found = open_truth(options(scene="flat")).look(30, Settings(10_000, 1000, 0))
    assert found.row_starts_s[0] == pytest.approx(30 * 0.033333)
    assert np.diff(found.row_starts_s) == pytest.approx(12.5e-6)
    assert found.exposure_s == 0.01


def test_nothing_is_known_about_a_pattern():
    with pytest.raises(UsageError, match="scene=ramp is not behind the lens"):
        open_truth(options(scene="ramp"))
    with pytest.raises(UsageError, match="binned"):
        open_truth(options(scene="flat"), mode=1)


def test_a_hand_shifts_the_frame_by_what_the_truth_says():
    chosen = options(scene="edges", shake=200, seed=4)
    truth, scene = open_truth(chosen), open_scene(chosen)
    still = open_scene(options(scene="edges", seed=4))
    settings = Settings(1_000, 8000, 1000)
    expected = still.rows(0, 0, settings).astype(float)
    shifts = []
    for number in range(0, 40, 5):
        found = truth.look(number, settings)
        shifts.append(found.shift_px)
        moved = scene.rows(0, number, settings).astype(float)
        # Phase correlation of the green pixels, to a fraction of their pitch.
        both = [np.fft.fft2(each[0::2, 1::2] - each.mean()) for each in (moved, expected)]
        cross = both[0] * both[1].conj()
        peak = np.fft.ifft2(cross / np.abs(cross) ** 0.5).real
        y, x = np.unravel_index(np.argmax(peak), peak.shape)
        at = np.array([(x + 64) % 128 - 64, (y + 48) % 96 - 48]) * 2
        assert np.abs(at - found.shift_px).max() < 1.5
    assert np.ptp(shifts, axis=0).min() > 2


def test_a_hand_wanders_as_far_as_it_should_and_as_fast():
    shake = Shake(0.05, 3)
    seconds = np.arange(0, 60, 0.01)
    way = np.array([shake.get_shift(each) for each in seconds])
    assert np.sqrt(np.square(way).mean(axis=0)) == pytest.approx([0.05, 0.05], rel=0.15)
    assert np.abs(way).max() <= shake.reach_mm
    for each in seconds[:200]:
        step = np.subtract(shake.get_shift(each + 5e-5), shake.get_shift(each - 5e-5))
        assert shake.get_speed(each) == pytest.approx(step / 1e-4, abs=1e-4)


def test_the_radiance_moves_with_the_hand():
    chosen = options(scene="star", shake=200, f_number="4", seed=4)
    found = open_truth(chosen).look(11, Settings(1_000, 1000, 1000))
    assert np.abs(found.shift_px).max() > 1
    green = np.s_[0::2, 1::2]
    photons, radiance = found.photons[green][16:80, 16:112], found.radiance[1][green][16:80, 16:112]
    assert np.corrcoef(photons.ravel(), radiance.ravel())[0, 1] > 0.98
