"""Test the parser of manifests: skipped entries, refusals, and the choice of a mode."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from helpers import module_world

from lensfw import manifest
from lenslink_protocol.ids import Cfa, ManifestKey, ModeUse
from lenslink_protocol.manifest import encode_entry, iterate_entries, parse_manifest
from lenslink_protocol.messages import Malformed
from lenslink_protocol.params import MAX_MANIFEST, MAX_TEXT

SOUND = manifest.build(module_world.configuration())


def changed(key, **fields):
    """Return the manifest with changed fields of an entry: {offset: (format, value)}."""
    out = b""
    for each, value in iterate_entries(SOUND):
        patched = bytearray(value)
        if each == key:
            for place, (form, number) in fields.items():
                struct.pack_into(f"<{form}", patched, int(place[1:]), number)
        out += encode_entry(each, bytes(patched))
    return out


def without(*keys):
    return b"".join(encode_entry(k, v) for k, v in iterate_entries(SOUND) if k not in keys)


def test_the_firmwares():
    parsed = parse_manifest(SOUND)
    assert parsed.maker == "Maker"
    assert parsed.cfa is Cfa.GRBG
    assert [mode.name for mode in parsed.modes] == ["mode1", "mode2"]
    assert parsed.optics is not None and parsed.optics.focus_max_mdpt == 3300
    assert parsed.power is not None and parsed.power.idle_mw == 150
    assert [mode.active_mw for mode in parsed.modes] == [1400, 1400]
    assert parsed.skipped == ()


def test_modes_are_found_by_use_and_by_name():
    parsed = parse_manifest(SOUND)
    assert parsed.find_mode_for(ModeUse.PREVIEW).id == 1
    assert parsed.find_mode_for(ModeUse.STILL).id == 2
    named = parsed.find_mode("mode2")
    assert named is not None and named.id == 2
    assert parsed.find_mode("mode") is None


@pytest.mark.parametrize(
    ("crop", "expected"),
    [
        ((0, 0, 16, 12), (2, 4, 10, 14)),  # the whole mode
        ((4, 2, 10, 8), (0, 0, 8, 10)),  # the active area alone
        ((6, 4, 4, 2), (0, 0, 2, 4)),  # inside it
        ((2, 0, 6, 4), (2, 2, 4, 6)),  # across its first corner
        ((12, 8, 4, 4), (0, 0, 2, 2)),  # across its last corner
        ((0, 0, 16, 2), (0, 0, 2, 16)),  # above it
        ((0, 10, 8, 2), (0, 0, 2, 8)),  # below it
        ((0, 2, 4, 4), (0, 0, 4, 4)),  # on its left
        ((14, 2, 2, 4), (0, 0, 4, 2)),  # on its right
    ],
)
def test_the_active_area_of_a_crop_counts_from_its_first_pixel(crop, expected):
    mode = replace(parse_manifest(SOUND).modes[0], width=16, height=12, active_area=(2, 4, 10, 14))
    assert mode.find_active_area(*crop) == expected


def test_without_a_mode_for_it_the_first_will_do():
    config = module_world.configuration()
    for mode in config["sensor"]["modes"]:
        mode["use"] = ["preview"]
    assert parse_manifest(manifest.build(config)).find_mode_for(ModeUse.STILL).id == 1


def test_unknown_keys_are_skipped_wherever_they_stand():
    vendor = encode_entry(0x8001, b"whatever") + encode_entry(0x0FFF, b"")
    assert parse_manifest(vendor + SOUND + vendor).skipped == (0x8001, 0x0FFF) * 2


def test_a_longer_entry_is_a_newer_minors():
    longer = b"".join(
        encode_entry(k, v + (b"more" if k >= 0x10 else b"")) for k, v in iterate_entries(SOUND)
    )
    assert parse_manifest(longer) == parse_manifest(SOUND)


def test_text_that_is_none_is_still_shown():
    data = without(ManifestKey.MAKER) + encode_entry(ManifestKey.MAKER, b"M\xffker")
    assert parse_manifest(data).maker == "M\ufffdker"


@pytest.mark.parametrize(
    "key", [1, 2, 3, 4, 5, ManifestKey.SENSOR, ManifestKey.COLOR, ManifestKey.MODE]
)
def test_what_must_be_there(key):
    with pytest.raises(Malformed):
        parse_manifest(without(key))


@pytest.mark.parametrize("key", [ManifestKey.OPTICS, ManifestKey.POWER, ManifestKey.SCALE])
def test_what_may_be_missing(key):
    parsed = parse_manifest(without(key))
    assert None in (parsed.optics, parsed.power, parsed.scale)


def test_authentication_schemes_are_listed():
    schemes = b"".join(encode_entry(ManifestKey.AUTH, struct.pack("<H", n)) for n in (1, 0x8001))
    assert parse_manifest(SOUND).schemes == ()
    assert parse_manifest(SOUND + schemes).schemes == (1, 0x8001)


def test_sixty_four_modes_and_no_more():
    mode = next(value for key, value in iterate_entries(SOUND) if key == ManifestKey.MODE)
    others = without(ManifestKey.MODE)
    modes = [encode_entry(ManifestKey.MODE, struct.pack("<H", n) + mode[2:]) for n in range(65)]
    assert len(parse_manifest(others + b"".join(modes[:64])).modes) == 64
    with pytest.raises(Malformed, match="65 modes"):
        parse_manifest(others + b"".join(modes))
    with pytest.raises(Malformed, match=r"0x0012 \(MODE\): two modes have the id 7"):
        parse_manifest(others + b"".join([*modes[:9], modes[7]]))


@pytest.mark.parametrize("key", [*range(1, 6), ManifestKey.SENSOR, ManifestKey.COLOR])
def test_a_single_entry_must_not_stand_twice(key):
    value = next(value for each, value in iterate_entries(SOUND) if each == key)
    with pytest.raises(Malformed, match=f"0x{key:04X} .* stands twice"):
        parse_manifest(SOUND + encode_entry(key, value))


def test_texts_are_bounded():
    others = without(ManifestKey.MODEL)
    longest = encode_entry(ManifestKey.MODEL, b"m" * MAX_TEXT)
    assert len(parse_manifest(others + longest).model) == MAX_TEXT
    with pytest.raises(Malformed, match=r"0x0002 \(MODEL\): 256 bytes, more than 255"):
        parse_manifest(others + encode_entry(ManifestKey.MODEL, b"m" * 256))


@pytest.mark.parametrize("key", [ManifestKey.SENSOR, ManifestKey.COLOR, ManifestKey.MODE])
def test_a_short_value_is_refused_with_its_entry(key):
    value = next(value for each, value in iterate_entries(SOUND) if each == key)
    with pytest.raises(Malformed, match=f"0x{key:04X} "):
        parse_manifest(without(key) + encode_entry(key, value[:-1]))


@pytest.mark.parametrize(
    ("key", "patch"),
    [
        (ManifestKey.SENSOR, {"_4": ("B", 7)}),
        (ManifestKey.SENSOR, {"_4": ("B", 17)}),
        (ManifestKey.SENSOR, {"_5": ("B", 4)}),
        (ManifestKey.SENSOR, {"_8": ("I", 0)}),
        (ManifestKey.SENSOR, {"_8": ("I", 4096)}),
        (ManifestKey.SENSOR, {"_24": ("I", 4095000)}),
        (ManifestKey.SENSOR, {"_6": ("B", 0)}),
        (ManifestKey.SENSOR, {"_6": ("B", 9)}),
        (ManifestKey.MODE, {"_6": ("B", 0)}),
        (ManifestKey.MODE, {"_6": ("B", 3)}),
        (ManifestKey.MODE, {"_2": ("H", 14)}),
        (ManifestKey.MODE, {"_2": ("H", 12290)}),
        (ManifestKey.MODE, {"_2": ("H", 17)}),
        (ManifestKey.MODE, {"_4": ("H", 14)}),
        (ManifestKey.MODE, {"_4": ("H", 8194)}),
        (ManifestKey.MODE, {"_4": ("H", 17)}),
        (ManifestKey.MODE, {"_8": ("H", 16)}),
        (ManifestKey.MODE, {"_10": ("H", 16)}),
        (ManifestKey.MODE, {"_12": ("H", 26)}),
        (ManifestKey.MODE, {"_14": ("H", 34)}),
        # Rationals that divide by zero: the matrix' first and last, the neutral's last.
        (ManifestKey.COLOR, {"_8": ("i", 0)}),
        (ManifestKey.COLOR, {"_72": ("i", 0)}),
        (ManifestKey.COLOR, {"_96": ("I", 0)}),
    ],
)
def test_a_refusal_names_the_entry(key, patch):
    with pytest.raises(Malformed, match=rf"^manifest entry 0x{key:04X} \({key.name}\): "):
        parse_manifest(changed(key, **patch))


def test_a_length_that_leads_outside():
    with pytest.raises(Malformed, match="leads outside"):
        parse_manifest(SOUND + struct.pack("<HH", 0x8000, 1))
    with pytest.raises(Malformed, match="inside an entry"):
        parse_manifest(SOUND + b"\x00\x80\x00")


def test_no_more_than_a_manifest_may_have():
    with pytest.raises(Malformed, match="65537 bytes"):
        parse_manifest(bytes(MAX_MANIFEST + 1))
