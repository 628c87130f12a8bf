"""The plant's physics, measured from its frames by means that the plant does not share.

``tests/helpers/physics_checks.py`` has the checks, and ``constants.toml`` names one for each
constant.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib

import pytest
from helpers.nightly_scale import NIGHTLY
from helpers.physics_checks import CHECKS
from helpers.physics_world import Recovery, World, expected

from lenslink.errors import RigError
from lenslink_hil.benches.board_profile import FIRMWARE
from lenslink_hil.plant import constants as constants_module
from lenslink_hil.plant.constants import (
    LightConstants,
    OpticsConstants,
    SensorConstants,
    load_constants,
    read_table,
)
from lenslink_hil.plant.optics import NEAREST_MDPT

SECTIONS = {"sensor": SensorConstants, "optics": OpticsConstants, "light": LightConstants}
NAMES = [f"{section}.{name}" for section in SECTIONS for name in read_table()[section]]
# CI shifts these two. Nightly shifts all.
SAMPLE = ("sensor.row_noise", "sensor.dark_doubling")


def describe(recovery: Recovery) -> str:
    return (
        f"{recovery.name}: found {recovery.found:.6g}, expected {recovery.expected:.6g} "
        f"+- {recovery.tolerance:.2g}"
    )


@pytest.mark.parametrize("name", CHECKS)
def test_the_check_recovers_what_the_file_says(name):
    wrong = [describe(each) for each in CHECKS[name](World()) if not each.is_within()]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", NAMES if NIGHTLY else SAMPLE)
def test_a_constant_that_is_shifted_by_three_tolerances_is_found(name):
    section, _, constant = name.partition(".")
    check = CHECKS[read_table()[section][constant].check]
    own = [each for each in check(World()) if each.name == name]
    assert own, f"the check does not recover {name}"
    shifted = World().shift(name, expected(name) + 3 * max(each.tolerance for each in own))
    assert not all(each.is_within() for each in check(shifted))


def test_every_constant_names_a_check():
    for section, table in read_table().items():
        for name, entry in table.items():
            if section in SECTIONS:
                assert entry.check in CHECKS, f"{section}.{name}"


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_has_exactly_the_constants_of_its_type(section):
    names = {field.name for field in dataclasses.fields(SECTIONS[section])}
    assert names == read_table()[section].keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sensor.pitch]\nvalue = 1\n", "must have exactly"),
        (
            '[sensor.pitch]\nvalue = "1"\nunit = "um"\nsource = "x"\nconfidence = "derived"\n'
            'check = "x"\n',
            "no number",
        ),
        (
            '[sensor.pitch]\nvalue = 1\nunit = ""\nsource = "x"\nconfidence = "derived"\n'
            'check = "x"\n',
            "empty text",
        ),
        (
            '[sensor.pitch]\nvalue = 1\nunit = "um"\nsource = "x"\nconfidence = "sure"\n'
            'check = "x"\n',
            "confidence",
        ),
        (
            '[sensor.colour]\nvalue = 1\nunit = "um"\nsource = "x"\nconfidence = "derived"\n'
            'check = "x"\n',
            "colour",
        ),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, monkeypatch, text, message):
    path = tmp_path / "constants.toml"
    path.write_text(text)
    monkeypatch.setattr(constants_module, "FILE", path)
    read_table.cache_clear()
    try:
        with pytest.raises(RigError, match=message):
            load_constants("sensor", SensorConstants)
    finally:
        read_table.cache_clear()


def test_the_manifest_describes_this_lens():
    with (FIRMWARE / "modules" / "ll-100.toml").open("rb") as file:
        described = tomllib.load(file)["optics"]
    assert described["focal_um"] == expected("optics.focal_length") * 1000
    film, sensor = math.hypot(36, 24), expected("optics.field_width") * 1.25
    assert described["focal_35mm_um"] == pytest.approx(
        described["focal_um"] * film / sensor, rel=0.01
    )
    assert described["aperture_milli"] == expected("optics.widest") * 1000
    assert described["stops_milli"][-1] == expected("optics.smallest") * 1000
    assert described["focus_max_mdpt"] == NEAREST_MDPT
