"""Test which modes a sensor of a given size has, and which sizes are refused."""

from __future__ import annotations

import pytest

from lenslink.errors import UsageError
from lenslink_hil.plant.modes import make_file_modes
from lenslink_hil.plant.scene import SceneOptions, open_scene

RULE = "must be even, from 64x64 to 12288x8192"


def modes(**options):
    """Return name, width, height and use of the modes of a bars scene."""
    found = open_scene(SceneOptions(scene="bars", **options)).sensor.modes
    return [(m.name, m.width, m.height, sorted(m.use)) for m in found]


def test_default_module():
    assert modes() == [
        ("preview", 1280, 960, ["preview"]),
        ("still", 4096, 3072, ["still"]),
        ("full", 12288, 8192, []),
        ("binned", 6144, 4096, []),
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"width": 64, "height": 64}, [("full", 64, 64, ["preview", "still"])]),
        ({"width": 126, "height": 400}, [("full", 126, 400, ["preview", "still"])]),
        (
            {"width": 1280, "height": 960},
            [("full", 1280, 960, ["preview", "still"]), ("binned", 640, 480, [])],
        ),
        (
            {"width": 1282, "height": 130},
            [("full", 1282, 130, ["still"]), ("binned", 640, 64, ["preview"])],
        ),
        (
            {"width": 12288, "height": 8192},
            [("full", 12288, 8192, ["still"]), ("binned", 6144, 4096, ["preview"])],
        ),
        (
            {"width": 800},
            [("full", 800, 600, ["preview", "still"]), ("binned", 400, 300, [])],
        ),
        (
            {"height": 602},
            [("full", 802, 602, ["preview", "still"]), ("binned", 400, 300, [])],
        ),
        (
            {"width": 256, "height": 256, "mode": "binned"},
            [("full", 256, 256, []), ("binned", 128, 128, ["preview", "still"])],
        ),
    ],
)
def test_sized_modules(options, expected):
    assert modes(**options) == expected


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (62, 64),
        (64, 62),
        (65, 64),
        (64, 65),
        (12290, 64),
        (64, 8194),
        (0, 0),
        (-64, 64),
        (2, 10**9),
    ],
)
def test_sizes_out_of_range(width, height):
    with pytest.raises(UsageError, match=RULE) as caught:
        modes(width=width, height=height)
    assert f"{width}x{height}" in str(caught.value)


def test_side_that_makes_the_other_too_large():
    with pytest.raises(UsageError, match=f"12288x9216.*{RULE}"):
        modes(width=12288)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 11}, "bits=11: the simulated sensor has 10, 12 or 14 bits"),
        ({"cfa": "RGBG"}, "cfa=RGBG: must be one of RGGB, GRBG, GBRG, BGGR"),
        ({"seed": -1}, "seed=-1: must be from 0 to 4294967295"),
        ({"seed": 2**32}, "seed=4294967296: must be"),
        ({"mode": "tiny"}, "mode=tiny: this sensor's modes are preview, still, full, binned"),
        ({"mode": "still", "width": 640}, "mode=still: this sensor's modes are full, binned"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UsageError) as caught:
        modes(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scenery": "x"}, "unknown scene options: scenery"),
        ({"width": "640"}, "scene option width='640' must be a whole number"),
        ({"width": True}, "scene option width=True must be a whole number"),
        ({"scene": 5}, "scene option scene=5 must be a text"),
    ],
)
def test_json_options_are_checked(values, message):
    with pytest.raises(UsageError) as caught:
        SceneOptions.from_json(values)
    assert str(caught.value) == message


def test_json_options_arrive():
    values = {"scene": "ramp", "mode": None, "width": 640, "bits": 14, "cfa": "BGGR", "seed": 3}
    assert SceneOptions.from_json(values) == SceneOptions(
        scene="ramp", width=640, bits=14, cfa="BGGR", seed=3
    )


def test_a_files_binned_margins_shrink_inwards():
    full, binned = make_file_modes(256, 128, (3, 5, 127, 254))
    assert full.active_area == (3, 5, 127, 254)
    assert (binned.width, binned.height) == (128, 64)
    assert binned.active_area == (2, 4, 62, 126)
    assert [m.name for m in make_file_modes(258, 256, (0, 0, 256, 258))] == ["full"]


def test_json_schema_of_the_sensor():
    sensor = open_scene(SceneOptions(scene="bars", width=640, height=480, bits=14)).sensor
    given = sensor.to_json()
    assert given.pop("modes")[1] == {
        "id": 1,
        "name": "binned",
        "width": 320,
        "height": 240,
        "binning": 2,
        "active_area": [0, 0, 240, 320],
        "use": [],
    }
    matrix, neutral = given.pop("color_matrix"), given.pop("neutral")
    assert (len(matrix), len(neutral)) == (18, 6)
    assert given == {
        "maker": None,
        "model": None,
        "width": 640,
        "height": 480,
        "bits": 14,
        "cfa": "RGGB",
        "black": [1024.0] * 4,
        "white": 16383,
        "orientation": 1,
        "illuminant": 21,
        "second_color": None,
        # Unpacked first, then PFNC's p, MIPI's packing and rice.
        "formats": [0x0110010A, 0x010E0106, 0x810E2D01, 0x810E8001],
        "crc": False,
        # 12288 pixels of 12 bits at 10 Gbit/s. A pattern has neither noise nor iris.
        "row_time_ns": 14746,
        "noise": [0, 0, 0],
        "aperture_milli": 0,
    }
