"""Merge: brackets and bursts of made scenes, whose light is known, against that light."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from helpers.made_frames import make_frame
from helpers.nightly_scale import choose

from lenslink.errors import StorageError, UsageError
from lenslink.raw_files.file_exposure import FileExposure, read_exposure
from lenslink.raw_files.raw_mosaic import read_raw_mosaic
from lenslink.settings import Settings
from lenslink.srgb import XYZ_FROM_SRGB
from lenslink_hil.benchmark import merge_quality
from lenslink_isp import RawImage, open_raw
from lenslink_isp.develop.local_tone import LocalTone, ToneCurve
from lenslink_isp.develop.still import StillSettings, ToneMapping, develop_still
from lenslink_isp.linear_dng import save_linear
from lenslink_isp.merge.aligned_frame import move_frame, move_whole_cells
from lenslink_isp.merge.alignment import TILE, Aligner
from lenslink_isp.merge.bracket_merge import merge_bracket
from lenslink_isp.merge.burst_merge import merge_burst
from lenslink_isp.merge.hdr_preview import HdrPreview
from lenslink_isp.merge.merge_frames import is_bracket, merge_frames
from lenslink_isp.merge.pair_merge import merge_pair
from lenslink_isp.merge.scene_light import SceneLight, measure_light

SLOPE, OFFSET = 7e-5, 4e-8
BLACK, WHITE = 256.0, 4095.0


def make_texture(shape, seed, sigma=3.0):
    """Smooth random light from 0 to 1 with a mean of one half."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma)
    return np.clip(0.5 + 0.2 * smooth / smooth.std(), 0, 1)


def expose(light, exposure, rng, cfa="RGGB"):
    """The RAW of a light, with noise after SLOPE and OFFSET. A light of 1 / exposure saturates."""
    signal = light * exposure
    noisy = signal + rng.standard_normal(light.shape) * np.sqrt(SLOPE * signal + OFFSET)
    span = WHITE - BLACK
    pixels = np.clip(np.floor(noisy * span + BLACK + rng.random(light.shape)), 0, WHITE)
    return RawImage(
        pixels.astype(np.uint16),
        cfa,
        (BLACK,) * 4,
        WHITE,
        np.eye(3),
        (1.0, 1.0, 1.0),
        (SLOPE, OFFSET + 1 / 6 / span**2),
        sensitivity=exposure * 0.01,
    )


@pytest.fixture
def rng():
    return np.random.default_rng(1)


# --- brackets -----------------------------------------------------------------------------


def test_a_bracket_has_the_range_of_theory_and_the_noise_that_it_claims():
    found = merge_quality.measure_range((240, 180))
    assert found["scene_stops"] > 18
    assert found["one_frame_stops"] < 12.6
    assert found["stops"] > 18
    assert abs(found["below_theory"]) < 0.3
    assert found["profile_off"] < 0.2


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_the_error_of_a_bracket_is_its_variance_at_every_level(rng, cfa):
    light = 0.9 * 2.0 ** -np.linspace(0, 14, 96)[:, None].repeat(128, axis=1)
    merged = merge_bracket([expose(light, each, rng, cfa) for each in (1, 8, 64)])
    error = (merged.raw.mosaic - light) ** 2 / merged.variance
    for band in np.split(error, 12):
        assert 0.85 < band.mean() < 1.2
    bias = (merged.raw.mosaic - light) / np.sqrt(merged.variance)
    assert abs(bias.mean()) < 0.1


def test_the_order_of_the_frames_means_nothing(rng):
    light = make_texture((96, 128), 3) / 8
    frames = [expose(light, each, rng) for each in (1, 8, 64)]
    one, other = merge_bracket(frames), merge_bracket(frames[::-1])
    assert np.allclose(one.raw.mosaic, other.raw.mosaic, rtol=1e-5)
    assert (one.reference, other.reference) == (1, 1)
    assert one.raw.baseline_exposure == other.raw.baseline_exposure == 3


def test_what_saturates_every_frame_is_white_and_its_variance_says_so(rng):
    light = np.full((64, 64), 0.01)
    light[20:40, 20:40] = 3
    merged = merge_bracket([expose(light, each, rng) for each in (1, 8)])
    assert (merged.raw.mosaic[22:38, 22:38] > 0.99).all()
    assert merged.variance[30, 30] > 1
    assert merged.variance[5, 5] < 1e-6


def test_a_moving_target_appears_once_without_ghosts(rng):
    """The frame in the middle says where it is."""
    ground, target = (make_texture((256, 320), seed) / 70 for seed in (5, 6))
    frames, truth, path = [], None, np.zeros(ground.shape, bool)
    for number, exposure in enumerate((1, 8, 64)):
        left = 80 + 24 * number
        inside = np.zeros(ground.shape, bool)
        inside[90:170, left : left + 90] = True
        light = np.where(inside, np.roll(target, 24 * number, axis=1), ground)
        path |= inside
        truth = light if number == 1 else truth
        frames.append(expose(light, exposure, rng))
    merged = merge_bracket(frames)
    beyond = np.abs(merged.raw.mosaic - truth) > 3 * np.sqrt(merged.variance)
    assert beyond[path].mean() < 0.01
    assert beyond[~path].mean() < 0.01
    # The frames do help where nothing moves.
    assert merged.variance[200:, :].mean() < 0.3 * merged.variance[path].mean()


def test_moving_planes_of_the_plant_leave_no_ghosts():
    """A sample of what ``lenslink bench hdr`` measures."""
    for seed in merge_quality.HELD_OUT_SEEDS[: choose(1, 8)]:
        found = merge_quality.measure_ghosts(seed, 150, (320, 240))
        assert found["path"] > 0.2
        assert found["share_beyond"] < 0.01, found


# --- bursts -------------------------------------------------------------------------------


def shift_light(light, x, y):
    """Move light by parts of a pixel: exact, because a texture has no detail near the limit."""
    fy, fx = np.fft.fftfreq(light.shape[0])[:, None], np.fft.fftfreq(light.shape[1])
    moved = np.fft.fft2(light) * np.exp(-2j * np.pi * (fx * x + fy * y))
    return np.maximum(np.fft.ifft2(moved).real, 0)


def make_burst(rng, exposure=2.0, frames=8):
    # What the shift brings in at one border comes from the other one, so the borders are cut off.
    canvas, inner = make_texture((448, 576), 9, 6.0) * 0.3, np.s_[32:-32, 32:-32]
    shifts = rng.uniform(-6, 6, (frames, 2))
    shifts[0] = 0
    moved = [shift_light(canvas, *each)[inner] for each in shifts]
    return canvas[inner], shifts, [expose(each, exposure, rng) for each in moved]


def test_a_burst_by_hand_has_less_noise(rng):
    light, _, frames = make_burst(rng)
    merged = merge_burst(frames)
    before = measure_light(frames[0], 1.0).light - light * 2
    after = merged.raw.mosaic - light * 2
    assert before[16:-16, 16:-16].std() / after[16:-16, 16:-16].std() > 2.5
    # What a frame does not show is not taken from it.
    assert min(merged.shares) > 0.9


def test_tiles_are_found_within_a_tenth_of_a_pixel(rng):
    _, shifts, frames = make_burst(rng, frames=5)
    aligner = Aligner(measure_light(frames[0], 1.0))
    for shift, frame in zip(shifts[1:], frames[1:], strict=True):
        found = aligner.find_shifts(measure_light(frame, 1.0))
        assert found.shape == (384 // TILE, 512 // TILE, 2)
        errors = np.hypot(*(found - shift).transpose(2, 0, 1))
        assert np.percentile(errors, 95) < 0.1


def test_a_flat_scene_stays_where_it_is(rng):
    frames = [measure_light(expose(np.full((256, 320), 0.2), 1, rng), 1.0) for _ in range(2)]
    shifts = Aligner(frames[0]).find_shifts(frames[1])
    assert np.abs(shifts).max() < 2
    moved, gain = move_frame(frames[1], np.zeros_like(shifts))
    assert moved is frames[1]
    assert gain == 1


def test_whole_cells_are_moved_unmixed(rng):
    light = rng.random((128, 128)).astype(np.float32)
    shifts = np.full((2, 2, 2), (4.3, -1.8), np.float32)
    moved = move_whole_cells(SceneLight(light, 1, 1e-4, 1e-6), shifts)
    assert np.array_equal(moved.light[4:-4, 4:-8], np.roll(light, (2, -4), (0, 1))[4:-4, 4:-8])


def test_the_noise_of_an_interpolated_frame_is_known(rng):
    noise = rng.standard_normal((512, 512)).astype(np.float32)
    for x, y in ((1.0, 0.0), (0.4, 1.3)):
        shifts = np.full((8, 8, 2), (x, y), np.float32)
        moved, gain = move_frame(SceneLight(noise, 1, 1e-4, 1e-6), shifts)
        assert moved.light[8:-8, 8:-8].var() == pytest.approx(gain, rel=0.03)


@pytest.mark.parametrize("shape", [(2, 2), (6, 4), (66, 130)])
def test_frames_of_any_size_are_merged(rng, shape):
    frames = [expose(np.full(shape, 0.01), each, rng) for each in (1, 8)]
    assert merge_bracket(frames).raw.mosaic.shape == shape
    assert merge_burst([frames[0], frames[0]]).raw.mosaic.shape == shape


# --- what cannot be merged ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: replace(raw, mosaic=raw.mosaic[:-2]), "frame 2 is 64 x 62 RGGB, the first"),
        (lambda raw: replace(raw, cfa="BGGR"), "frame 2 is 64 x 64 BGGR"),
        (lambda raw: replace(raw, sensitivity=None), "frame 2 does not say how long"),
        (lambda raw: replace(raw, noise_profile=None), "has no NoiseProfile"),
        (lambda raw: replace(raw, noise_profile=(1.0, 0.0)), "makes no sense"),
        (lambda raw: replace(raw, noise_profile=(float("nan"), 1.0)), "makes no sense"),
        (lambda raw: replace(raw, noise_profile=(1.0, float("inf"))), "makes no sense"),
    ],
)
def test_frames_that_do_not_go_together_are_refused(rng, change, message):
    raw = expose(np.full((64, 64), 0.1), 1, rng)
    with pytest.raises(UsageError, match=message):
        merge_frames([raw, change(raw)])


@pytest.mark.parametrize("count", [0, 1, 17])
def test_a_merge_takes_2_to_16_frames(rng, count):
    raw = expose(np.full((64, 64), 0.1), 1, rng)
    with pytest.raises(UsageError, match=f"2 to 16 frames, not {count}"):
        merge_frames([raw] * count)
    with pytest.raises(UsageError, match="reference is 2"):
        merge_burst([raw, raw], reference=2)


def test_exposures_choose_the_kind_of_merge(rng):
    short, long = (expose(np.full((64, 64), 0.1), each, rng) for each in (1, 4))
    assert is_bracket([short, long])
    assert not is_bracket([short, short])
    unknown = replace(short, sensitivity=None)
    assert len(merge_frames([unknown, unknown]).shares) == 2


# --- tones and the preview ----------------------------------------------------------------


def make_wide_raw():
    """A room at 0.003, and a window at 0.6 of white, both with 20 % of texture."""
    texture = 1 + 0.2 * (make_texture((240, 320), 8) - 0.5)
    light = (0.003 * texture).astype(np.float32)
    light[60:180, 160:280] = 0.6 * texture[60:180, 160:280]
    return RawImage(
        light, "RGGB", (0.0,) * 4, 1.0, np.eye(3), (1.0,) * 3, (1e-6, 1e-12), sensitivity=1.0
    )


def test_local_tones_bring_a_room_and_its_window_together():
    raw = make_wide_raw()
    tone = LocalTone(raw)
    gain = tone.make_gain(tone.find_curve())
    mapped = raw.mosaic * gain
    room, window = mapped[10:50, 20:140], mapped[80:160, 180:260]
    assert 0.02 < room.mean() < window.mean() < 1
    # 200 times became less than 20 times.
    assert window.mean() / room.mean() < 20
    # The contrast of details stays.
    for part, place in ((room, np.s_[10:50, 20:140]), (window, np.s_[80:160, 180:260])):
        before = raw.mosaic[place].std() / raw.mosaic[place].mean()
        assert part.std() / part.mean() == pytest.approx(before, rel=0.25)
    # One gain for the four pixels of a cell: colours stay.
    assert np.array_equal(gain[0::2, 0::2], gain[1::2, 1::2])


def test_black_and_white_pictures_have_finite_gains():
    for value in (0.0, 1.0):
        raw = replace(make_wide_raw(), mosaic=np.full((2, 6), value, np.float32))
        tone = LocalTone(raw)
        assert np.isfinite(tone.make_gain(tone.find_curve())).all()
    assert ToneCurve(-4, 1.0).blend(ToneCurve(-6, 0.5), 1.0) == ToneCurve(-6, 0.5)


def test_a_saturated_lamp_stays_white_with_local_tones():
    """Its red and blue have gains above 1. Darkened after them, it would become pink."""
    pixels = np.full((128, 128), 300.0, np.float32)
    pixels[32:96, 32:96] = 4095
    neutral = (0.5, 1.0, 2 / 3)
    camera = np.diag(neutral) @ np.linalg.inv(XYZ_FROM_SRGB)
    raw = RawImage(pixels, "RGGB", (256.0,) * 4, 4095.0, camera, neutral)
    lamp = develop_still(raw, StillSettings(tone=ToneMapping.LOCAL))[56:72, 56:72].astype(int)
    assert np.ptp(lamp, axis=2).max() <= 3


def test_a_merged_bracket_is_developed_locally_unless_told_otherwise():
    raw = replace(make_wide_raw(), baseline_exposure=3.0)
    auto = develop_still(raw)
    assert np.array_equal(auto, develop_still(raw, StillSettings(tone=ToneMapping.LOCAL)))
    plain = develop_still(raw, StillSettings(tone=ToneMapping.GLOBAL))
    assert plain[80:160, 180:260].min() == 255
    assert auto[80:160, 180:260].mean() < 250
    narrow = replace(raw, baseline_exposure=0.0)
    assert np.array_equal(
        develop_still(narrow), develop_still(narrow, StillSettings(tone=ToneMapping.GLOBAL))
    )


def test_the_hdr_preview_shows_what_one_frame_cannot(rng):
    light = make_wide_raw().mosaic.astype(np.float64)
    short, long = (expose(light, each, rng) for each in (1, 64))
    preview = HdrPreview()
    out = np.empty((240, 320, 3), np.uint8)
    for frame in (long, short, long):
        picture = preview.develop(frame, out=out)
        assert picture is out
        # The caller may use the frame's memory again.
        frame.mosaic.flags.writeable = True
    window = picture[80:160, 180:260].mean(axis=2)
    assert window.max() < 255
    assert window.std() > 2
    assert picture[10:50, 20:140].mean() > 30
    # Frames of another size start anew.
    assert preview.develop(expose(light[:120], 1, rng)).shape == (120, 320, 3)


@pytest.mark.parametrize("exposures", [(1, 8), (8, 1)])
@pytest.mark.parametrize("shift", [(0, 0), (8, -4)])
def test_a_pair_has_the_light_of_the_longer_frame_and_the_range_of_the_shorter(
    rng, exposures, shift
):
    texture = make_texture((224, 288), 5) ** 4
    right, down = shift
    light, other = texture[16:208, 16:272], texture[16 - down :, 16 - right :][:192, :256]
    frames = expose(light, exposures[0], rng), expose(other, exposures[1], rng)
    reference, moved = (
        measure_light(raw, exposure) for raw, exposure in zip(frames, exposures, strict=True)
    )
    merge_pair(reference, moved)
    error = (reference.light - light)[16:-16, 16:-16]
    inside = light[16:-16, 16:-16]
    dark, bright = inside < 0.08, inside > 0.2
    # What the longer frame knows, it says: an eighth of the slope of the shorter one.
    longer = np.sqrt(SLOPE * inside / 8 + (OFFSET + 1 / 6 / (WHITE - BLACK) ** 2) / 64)
    shorter = np.sqrt(SLOPE * inside + OFFSET)
    for where, sigma in ((dark, longer), (bright, shorter)):
        # A cell that is held for a moving one has the reference's light. There are few.
        found = (error / sigma)[where]
        assert np.median(np.abs(found)) < 1.1 * 0.674
        assert (np.abs(found) > 5).mean() < 0.01


def test_a_pair_shows_a_moving_thing_once(rng):
    here, there = (make_texture((128, 192), 6) / 10 for _ in range(2))
    here[40:80, 40:80] = 0.09
    there[40:80, 100:140] = 0.09
    reference, other = (
        measure_light(expose(here, 1, rng), 1),
        measure_light(expose(there, 8, rng), 8),
    )
    before = reference.light.copy()
    merge_pair(reference, other)
    # Where the thing was or will be, the reference stays as it is.
    for columns in (slice(44, 76), slice(104, 136)):
        assert np.array_equal(reference.light[44:76, columns], before[44:76, columns])
    assert (
        np.abs(reference.light - here)[:, 160:].mean() < np.abs(before - here)[:, 160:].mean() / 2
    )


def test_what_saturates_and_has_moved_is_white(rng):
    """A white thing that only the longer frame shows has no colour, and a coloured one keeps it."""
    gains = np.tile([[2.0, 1.0], [1.0, 1.5]], (64, 96))
    here = np.full((128, 192), 0.01)
    there = here.copy()
    here[40:80, 40:80] = 0.5
    here[40:80, 110:150] = 0.11
    raw = expose(here / gains, 8, rng), expose(there / gains, 1, rng)
    reference, other = measure_light(raw[0], 8), measure_light(raw[1], 1)
    merge_pair(reference, other, (2.0, 1.0, 1.0, 1.5))
    balanced = reference.light * gains
    # An eighth of the light is white for a frame with eight times the exposure.
    assert balanced[48:72, 48:72] == pytest.approx(0.125, rel=0.01)
    assert np.median(balanced[48:72, 118:142]) == pytest.approx(0.11, rel=0.02)


@pytest.mark.parametrize("shape", [(2, 2), (6, 10), (34, 66), (130, 190)])
def test_pairs_of_any_size_are_merged(rng, shape):
    light = make_texture(shape, 7) / 10
    reference, other = (measure_light(expose(light, each, rng), each) for each in (1, 4))
    merge_pair(reference, other)
    assert np.abs(reference.light - light).max() < 0.05


def test_the_brightness_of_the_hdr_preview_is_steady(rng):
    """Frames are left out, exposures repeat, and the alternation ends: nothing jumps."""
    light = make_wide_raw().mosaic.astype(np.float64) / 3
    exposures = (1, 2, 2, 1, 1, 2, 1, 2, 2, 2, 2, 2, 2, 2, 2, 1)
    preview = HdrPreview()
    means = [preview.develop(expose(light, each, rng)).mean() for each in exposures]
    assert np.abs(np.diff(means)).max() < 6, means


def test_the_hdr_preview_keeps_nothing_of_a_frames_memory(rng):
    light = make_wide_raw().mosaic.astype(np.float64)
    frames = [expose(light, each, rng) for each in (1, 64)]
    kept, lent = HdrPreview(), HdrPreview()
    memory = frames[0].mosaic.copy()
    kept.develop(frames[0])
    lent.develop(replace(frames[0], mosaic=memory))
    memory[:] = 0
    assert np.array_equal(kept.develop(frames[1]), lent.develop(frames[1]))


# --- files --------------------------------------------------------------------------------


def merge_of_frames(rng):
    light = make_texture((96, 128), 4) / 10
    frames = []
    for exposure_us, each in ((1000, 1), (8000, 8)):
        pixels = expose(light, each, rng).mosaic
        frames.append(
            make_frame(
                pixels,
                black=(BLACK,) * 4,
                exposure_us=exposure_us,
                gain_milli=1000,
                aperture_milli=2800,
                orientation=6,
                noise_profile=(SLOPE, OFFSET),
            )
        )
    return frames, merge_frames([RawImage.from_frame(each) for each in frames])


def test_a_merge_comes_back_from_its_file_as_it_was(rng, tmp_path):
    frames, merged = merge_of_frames(rng)
    path = tmp_path / "a merge.dng"
    size = save_linear(merged.raw, merged.caption, frames[merged.reference], path, force=False)
    assert path.stat().st_size == size
    raw = open_raw(path)
    assert raw.mosaic.dtype == np.float32
    assert np.array_equal(raw.mosaic, merged.raw.mosaic)
    assert raw.noise_profile == pytest.approx(merged.raw.noise_profile)
    assert raw.baseline_exposure == merged.raw.baseline_exposure == 3
    assert (raw.cfa, raw.black, raw.white, raw.orientation) == ("RGGB", (0.0,) * 4, 1.0, 6)
    assert np.array_equal(raw.camera_from_xyz, merged.raw.camera_from_xyz)
    # What the reference says of its exposure.
    assert raw.sensitivity == pytest.approx(0.008 / 2.8**2, rel=1e-3)
    file = read_raw_mosaic(path)
    assert (file.maker, file.model) == ("LensLink", "Bench One")
    # A merge of files has the same tags.
    again = tmp_path / "again.dng"
    save_linear(merged.raw, merged.caption, file, again, force=False)
    assert open_raw(again).sensitivity == pytest.approx(raw.sensitivity, rel=1e-3)
    assert np.array_equal(open_raw(again).mosaic, raw.mosaic)


def test_a_merge_overwrites_nothing_unasked_and_is_a_dng(rng, tmp_path):
    frames, merged = merge_of_frames(rng)
    path = tmp_path / "mine.dng"
    path.write_bytes(b"mine")
    with pytest.raises(StorageError, match="exists"):
        save_linear(merged.raw, merged.caption, frames[0], path, force=False)
    assert path.read_bytes() == b"mine"
    with pytest.raises(UsageError, match=r"written as \.dng"):
        save_linear(merged.raw, merged.caption, frames[0], tmp_path / "x.tiff", force=False)


@pytest.mark.parametrize(
    ("exif", "found"),
    [
        (None, FileExposure()),
        ({"ExposureTime": (1, 0)}, FileExposure()),
        ({"ExposureTime": (1, 100), "FNumber": (28, 10)}, FileExposure(0.01, 0, 2.8)),
        ({"ISOSpeedRatings": (400, 0)}, FileExposure(iso=400)),
        ({"SubjectDistance": (1, 2)}, FileExposure(focus_mdpt=2000)),
        ({"SubjectDistance": (1, 2**32 - 1)}, FileExposure(focus_mdpt=100_000)),
        ({"ISOSpeedRatings": "many", "ExposureTime": {}, "FNumber": b"\0"}, FileExposure()),
    ],
)
def test_the_exposure_of_a_file_is_what_its_exif_says(exif, found):
    assert read_exposure({} if exif is None else {"ExifTag": exif}) == found


def test_settings_of_the_benchmark_are_three_ev_apart():
    assert [each.exposure_us for each in merge_quality.make_bracket(500, 0)] == [500, 4000, 32000]
    assert merge_quality.make_bracket(500, 7)[0] == Settings(500, 1000, 7)
