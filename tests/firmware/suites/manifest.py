"""The manifest: its bytes and codes."""

import struct

from helpers import module_world

from lensfw import VERSION, manifest, wire


def entries(data):
    found = []
    at = 0
    while at < len(data):
        key, length = struct.unpack_from("<HH", data, at)
        found.append((key, data[at + 4 : at + 4 + length]))
        at += 4 + length
    assert at == len(data)
    return found


def test_entries():
    found = entries(manifest.build(module_world.configuration()))
    keys = [key for key, _ in found]
    described = [1, 2, 3, 4, 5, 0x10, 0x11, 0x12, 0x12, 0x13, 0x20]
    assert keys == described + [0x24] * 7 + [0x21, 0x22, 0x26]
    values = dict(found)
    assert struct.unpack(wire.ENTRY_DELAY, values[wire.KEY_DELAY]) == (1,)
    assert values[wire.KEY_MAKER] == b"Maker"
    assert values[wire.KEY_FIRMWARE] == b"lensfw " + VERSION.encode()
    sensor = struct.unpack(wire.ENTRY_SENSOR, values[wire.KEY_SENSOR])
    assert sensor == (32, 24, 12, 1, 6, 0, 4095, 64000, 64250, 64500, 64750)
    assert struct.unpack(wire.ENTRY_SCALE, values[wire.KEY_SCALE]) == (1, 2)
    assert struct.unpack(wire.ENTRY_FORMAT, values[wire.KEY_FORMAT]) == (wire.PFNC_GR12,)
    modes = [struct.unpack(wire.ENTRY_MODE, value) for key, value in found if key == wire.KEY_MODE]
    assert modes[0][:5] == (1, 16, 16, 1, wire.USE_PREVIEW)
    assert modes[1][:5] == (2, 32, 24, 1, wire.USE_STILL)
    assert modes[1][5:9] == (0, 0, 24, 32)
    assert modes[1][9] == b"mode2" + bytes(11)
    controls = [
        struct.unpack(wire.ENTRY_CONTROL, value) for key, value in found if key == wire.KEY_CONTROL
    ]
    assert controls == [
        (wire.CONTROL_EXPOSURE, wire.CONTROL_FLAG_PER_FRAME, 0, 60000000, 1, 0),
        (wire.CONTROL_GAIN, wire.CONTROL_FLAG_PER_FRAME, 1000, 64000, 1, 1000),
        (wire.CONTROL_FOCUS, wire.CONTROL_FLAG_PER_FRAME, 0, 3300, 1, 0),
        (wire.CONTROL_APERTURE, wire.CONTROL_FLAG_PER_FRAME, 1400, 1400, 1, 1400),
        (wire.CONTROL_SETTLED, wire.CONTROL_FLAG_PER_FRAME, 0, 1, 1, 1),
        (wire.CONTROL_ROI_X, wire.CONTROL_FLAG_PER_FRAME, 0, 30, 2, 0),
        (wire.CONTROL_ROI_Y, wire.CONTROL_FLAG_PER_FRAME, 0, 22, 2, 0),
    ]


def test_each_format_of_the_sensor_has_its_entry():
    config = module_world.configuration()
    config["sensor"]["formats"] = [wire.PFNC_GR12, 0x010C0057, 0x810C2C00]
    found = entries(manifest.build(config))
    codes = [struct.unpack("<I", value)[0] for key, value in found if key == wire.KEY_FORMAT]
    assert codes == [wire.PFNC_GR12, 0x010C0057, 0x810C2C00]


def test_a_module_at_full_scale_has_no_scale():
    config = module_world.configuration()
    config["scale"] = None
    assert wire.KEY_SCALE not in dict(entries(manifest.build(config)))


def test_each_authentication_scheme_has_its_entry():
    found = entries(manifest.build(module_world.configuration(), (0x8000, 0x8007)))
    schemes = [struct.unpack("<H", value)[0] for key, value in found if key == wire.KEY_AUTH]
    assert schemes == [0x8000, 0x8007]


def test_a_mode_may_be_for_both():
    config = module_world.configuration()
    config["sensor"]["modes"][0]["use"] = ["preview", "still"]
    value = dict(reversed(entries(manifest.build(config))))[wire.KEY_MODE]
    assert struct.unpack(wire.ENTRY_MODE, value)[4] == wire.USE_PREVIEW | wire.USE_STILL


def test_pixel_formats():
    for bits, cfa, code in (
        (8, "GRBG", wire.PFNC_GR10),
        (10, "RGGB", wire.PFNC_RG10),
        (12, "GBRG", wire.PFNC_GB12),
        (12, "RGGB", wire.PFNC_RG12),
        (14, "BGGR", wire.PFNC_BG14),
        (16, "GRBG", wire.PFNC_GR16),
    ):
        assert manifest.pixel_format({"bits": bits, "cfa": cfa}) == code
