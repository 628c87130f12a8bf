"""Test scenes from files: every kind of picture, and files that are no pictures."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lenslink.errors import MissingExtra, UsageError
from lenslink.settings import Settings
from lenslink_hil.plant import scene as scene_module
from lenslink_hil.plant.picture import load_picture
from lenslink_hil.plant.scene import SceneOptions, open_scene

RED, GREEN, BLUE, GREY = (200, 30, 40), (30, 180, 50), (40, 50, 210), (128, 128, 128)


def quarters():
    """Draw a picture whose four quarters show its orientation."""
    image = Image.new("RGB", (120, 80))
    for box, colour in (((0, 0), RED), ((60, 0), GREEN), ((0, 40), BLUE), ((60, 40), GREY)):
        image.paste(colour, (*box, box[0] + 60, box[1] + 40))
    return image


def corners(rgb):
    """Return the colours in the middle of each quarter."""
    high, wide = rgb.shape[0] // 4, rgb.shape[1] // 4
    places = [(high, wide), (high, 3 * wide), (3 * high, wide), (3 * high, 3 * wide)]
    return [tuple(int(v) for v in rgb[place]) for place in places]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path, orientation):
    # As a camera stores it when turned: the inverse of what a viewer does.
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = quarters()
    if orientation in stored:
        image = image.transpose(stored[orientation])
    exif = Image.Exif()
    exif[274] = orientation
    image.save(tmp_path / "held.png", exif=exif)
    rgb = load_picture(tmp_path / "held.png")
    assert rgb.shape == (80, 120, 3)
    assert corners(rgb) == [RED, GREEN, BLUE, GREY]


@pytest.mark.parametrize(
    ("mode", "value", "suffix", "expected"),
    [
        ("1", 1, "png", (255, 255, 255)),
        ("L", 77, "png", (77, 77, 77)),
        ("LA", (77, 255), "png", (77, 77, 77)),
        ("LA", (77, 0), "png", (255, 255, 255)),
        ("RGB", RED, "jpg", RED),
        ("RGB", RED, "tiff", RED),
        ("RGBA", (*RED, 255), "png", RED),
        ("RGBA", (*RED, 0), "tiff", (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), "tiff", (255, 0, 0)),
        ("I;16", 0x8140, "png", (0x81, 0x81, 0x81)),
        ("I", 0x8140, "tiff", (0x81, 0x81, 0x81)),
        ("F", 0.5, "tiff", (128, 128, 128)),
        ("YCbCr", (128, 128, 128), "jpg", (128, 128, 128)),
    ],
)
def test_every_mode_of_picture(tmp_path, mode, value, suffix, expected):
    path = tmp_path / f"picture.{suffix}"
    Image.new(mode, (96, 80), value).save(path)
    rgb = load_picture(path)
    assert rgb.shape == (80, 96, 3)
    assert rgb.dtype == np.uint8
    # JPEG changes colours slightly.
    assert np.abs(rgb.astype(int) - expected).max() <= (3 if suffix == "jpg" else 0)
    assert open_scene(SceneOptions(scene=str(path))).sensor.maker is None


def test_palettes_with_and_without_transparency(tmp_path):
    image = quarters().quantize(16)
    image.save(tmp_path / "plain.png")
    assert corners(load_picture(tmp_path / "plain.png")) == [RED, GREEN, BLUE, GREY]
    image.save(tmp_path / "holes.png", transparency=image.getpixel((100, 60)))
    expected = [RED, GREEN, BLUE, (255, 255, 255)]
    assert corners(load_picture(tmp_path / "holes.png")) == expected


def refused(scene):
    """Open a scene that must be refused; return the error's one line."""
    with pytest.raises(UsageError) as caught:
        open_scene(SceneOptions(scene=str(scene)))
    message = str(caught.value)
    assert message.startswith(f"scene {scene}")
    assert "\n" not in message
    return message


def test_a_scene_that_is_no_file_is_refused(tmp_path):
    assert refused(tmp_path / "missing.png").endswith("no such file")
    assert refused(tmp_path).endswith("is a directory")
    assert refused(tmp_path / ("x" * 300)).endswith("File name too long")
    os.mkfifo(tmp_path / "fifo")
    assert refused(tmp_path / "fifo").endswith("no such file")
    (tmp_path / "empty").touch()
    assert "no camera's RAW file" in refused(tmp_path / "empty")


def test_empty_name_is_refused():
    with pytest.raises(UsageError):
        open_scene(SceneOptions(scene=""))


@pytest.mark.parametrize("name", ["text.png", "text.dng"])
def test_a_file_that_is_no_picture_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_text("neither a picture nor anything else\n" * 100)
    assert refused(path).endswith("not a picture and no camera's RAW file")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "bmp"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_truncated_pictures(tmp_path, suffix, part, capfd):
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    message = refused(path)
    assert "damaged" in message or "not a picture" in message
    assert capfd.readouterr().err == ""


def test_decompression_bomb(tmp_path):
    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
    assert "too many pixels" in refused(path)


def test_long_names_spaces_and_names_of_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = tmp_path / "a folder with spaces"
    long.mkdir()
    long /= "x" * max(1, 200 - len(str(long)) - 5) + ".png"
    for path in (long, tmp_path / "ramp"):
        quarters().save(path, "png")
    opened = open_scene(SceneOptions(scene=str(long), width=128, height=96))
    as_file = open_scene(SceneOptions(scene="./ramp", width=128, height=96))
    ramp = open_scene(SceneOptions(scene="ramp", width=128, height=96))
    frames = [scene.rows(0, 0, Settings(10_000, 1000, 0)) for scene in (opened, as_file, ramp)]
    assert np.array_equal(frames[0], frames[1])
    assert frames[2][0, :4].tolist() == [0, 1, 2, 3]


def test_default_photo_is_upright_and_coloured():
    scene = open_scene(SceneOptions())
    assert scene.note is None
    rows = scene.rows(0, 0, Settings(10_000, 1000, 0))
    assert rows.shape == (960, 1280)

    def colour(top, left):
        part = rows[top : top + 40, left : left + 40].astype(float) - 256
        red, green, blue = part[::2, ::2].mean(), part[::2, 1::2].mean(), part[1::2, 1::2].mean()
        neutral = [n / d for n, d in scene.sensor.neutral]
        return np.array([red / neutral[0], green, blue / neutral[2]]) / (4095 - 256)

    # The orange suit at the lower left, the flag's blue at the upper left, grey cloth between.
    suit, flag, cloth = colour(760, 400), colour(200, 90), colour(60, 800)
    assert suit[0] > 1.5 * suit[1] > 1.5 * suit[2]
    assert flag[2] > 1.2 * flag[0]
    assert cloth.max() < 1.3 * cloth.min()
    assert cloth.min() > 0.2


def test_without_the_photograph(monkeypatch):
    monkeypatch.setattr(scene_module, "find_default_photo", lambda: None)
    scene = open_scene(SceneOptions())
    assert scene.note is not None
    assert "colour bars" in scene.note
    assert 'pip install -e ".[demo]"' in scene.note
    assert set(np.unique(scene.rows(0, 0, Settings()))) == {256, 4095}
    with pytest.raises(MissingExtra, match="demo"):
        open_scene(SceneOptions(scene="photo"))
