"""Build the manifest: the description of the module that the host reads."""

import struct

from . import VERSION, build_id, power, setting_list, wire


def _entry(key, value):
    return struct.pack("<HH", key, len(value)) + value


def _milli(values):
    return [int(v * 1000 + 0.5) for v in values]


def build(config, schemes=()):
    """Return the bytes of the manifest for a configuration and its authentication schemes."""
    sensor = config["sensor"]
    optics = config["optics"]
    needs = config["power"]
    out = b""
    for key, text in (
        (wire.KEY_MAKER, config["maker"]),
        (wire.KEY_MODEL, config["model"]),
        (wire.KEY_SERIAL, config["serial"]),
        (wire.KEY_FIRMWARE, ("lensfw " + VERSION + " " + build_id.ID).rstrip()),
        (wire.KEY_BOARD, config["board"]),
    ):
        out += _entry(key, text.encode())
    out += _entry(
        wire.KEY_SENSOR,
        struct.pack(
            wire.ENTRY_SENSOR, sensor["width"], sensor["height"], sensor["bits"], cfa(sensor),
            sensor["orientation"], 0, sensor["white"], *_milli(sensor["black"]),
        ),
    )  # fmt: skip
    colors = sensor["color_matrix"] + sensor["neutral"]
    out += _entry(wire.KEY_COLOR, struct.pack(wire.ENTRY_COLOR, sensor["illuminant"], 0, *colors))
    for mode in sensor["modes"]:
        use = 0
        if "preview" in mode["use"]:
            use |= wire.USE_PREVIEW
        if "still" in mode["use"]:
            use |= wire.USE_STILL
        value = struct.pack(
            wire.ENTRY_MODE, mode["id"], mode["width"], mode["height"], mode["binning"], use,
            mode["active_area"][0], mode["active_area"][1], mode["active_area"][2],
            mode["active_area"][3], mode["name"].encode(), power.get_mode_mw(needs, mode),
        )  # fmt: skip
        out += _entry(wire.KEY_MODE, value)
    for code in pixel_formats(sensor):
        out += _entry(wire.KEY_FORMAT, struct.pack(wire.ENTRY_FORMAT, code))
    out += _entry(
        wire.KEY_OPTICS,
        struct.pack(
            wire.ENTRY_OPTICS, optics["focal_um"], optics["focal_35mm_um"],
            optics["aperture_milli"], optics["focus_max_mdpt"],
        ),
    )  # fmt: skip
    for index, entry in enumerate(setting_list.list_ranges(config)):
        value = struct.pack(
            wire.ENTRY_CONTROL, index + 1, wire.CONTROL_FLAG_PER_FRAME, entry[0], entry[1],
            entry[2], entry[3],
        )  # fmt: skip
        out += _entry(wire.KEY_CONTROL, value)
    out += _entry(
        wire.KEY_POWER,
        struct.pack(wire.ENTRY_POWER, needs["idle_mw"], needs.get("motor_mw", 0)),
    )
    if config.get("scale"):
        scale = config["scale"]
        out += _entry(
            wire.KEY_SCALE,
            struct.pack(wire.ENTRY_SCALE, scale["pixels_milli"], scale["rate_milli"]),
        )
    # A frame whose exposure has begun keeps its settings.
    out += _entry(wire.KEY_DELAY, struct.pack(wire.ENTRY_DELAY, 1))
    for scheme in schemes:
        out += _entry(wire.KEY_AUTH, struct.pack(wire.ENTRY_AUTH, scheme))
    return out


def cfa(sensor):
    """Return the wire's code of the sensor's colour filter array."""
    return ("RGGB", "GRBG", "GBRG", "BGGR").index(sensor["cfa"])


def pixel_formats(sensor):
    """Return the PFNC codes of the sensor's formats, the default first."""
    return sensor.get("formats") or [pixel_format(sensor)]


def pixel_format(sensor):
    """Return the PFNC code of the sensor's pixels in 16-bit words."""
    bits = sensor["bits"]
    first = (
        wire.PFNC_GR16
        if bits > 14
        else wire.PFNC_GR14
        if bits > 12
        else wire.PFNC_GR12
        if bits > 10
        else wire.PFNC_GR10
    )
    # PFNC counts its phases GR, RG, GB, BG.
    return first + (1, 0, 2, 3)[cfa(sensor)]
