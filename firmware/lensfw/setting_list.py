"""The controls of the module: their ranges, and the settings lists of requests.

``module`` checks a list before it has any effect, and then reads it into the values of a stream. A
list is the tail of a request. Its entries are read in place, byte by byte: nothing is allocated.

Values are lists with an item for each control, in the order of the constants below. An item is None
until the host has set it.
"""

from . import iris, wire

EXPOSURE = 0
GAIN = 1
FOCUS = 2
APERTURE = 3
SETTLED = 4
ROI_X = 5
ROI_Y = 6
COUNT = 7

_ENTRY_BYTES = 8
_EXPOSURE_US = (1, 60000000, 10000)
_GAIN_MILLI = (1000, 64000, 1000)


def list_ranges(config):
    """Return (minimum, maximum, step, default) of each control, in order; None if it is missing.

    A crop has two pixels at least. How far it moves depends on its size and on the mode.
    """
    sensor = config["sensor"]
    stops = list_stops(config)
    exposure = sensor.get("exposure_us", _EXPOSURE_US)
    gain = sensor.get("gain_milli", _GAIN_MILLI)
    return (
        (exposure[0], exposure[1], 1, exposure[2]),
        (gain[0], gain[1], 1, gain[2]),
        (0, config["optics"]["focus_max_mdpt"], 1, 0) if "motor" in config else None,
        (stops[0], stops[-1], 1, iris.find_stop(stops, sensor.get("aperture_milli") or stops[0])),
        (0, 1, 1, 1),
        (0, max(mode["width"] for mode in sensor["modes"]) - 2, 2, 0),
        (0, max(mode["height"] for mode in sensor["modes"]) - 2, 2, 0),
    )


def list_stops(config):
    """Return the f-numbers of the iris in thousandths, the widest first."""
    optics = config["optics"]
    return optics.get("stops_milli") or [optics["aperture_milli"]]


def find_fault(entries, frames):
    """Return what is wrong with a list for any module, or None.

    *frames* is the number of frames of a Capture, 0 for another request.
    """
    length = len(entries)
    if length % _ENTRY_BYTES:
        return "an entry is cut"
    if length > _ENTRY_BYTES * wire.MAX_SETTINGS:
        return "too many settings"
    for at in range(0, length, _ENTRY_BYTES):
        frame = _read_u16(entries, at + 2)
        if frame != wire.EVERY_FRAME:
            if frame >= frames:
                return "no frame %d" % frame
            if frames > wire.MAX_BRACKET:
                return "settings for one frame of %d" % frames
        if not _has_value(entries, at + 4):
            return "a value is out of range"
        for before in range(0, at, _ENTRY_BYTES):
            if (
                entries[before] == entries[at]
                and entries[before + 2] == entries[at + 2]
                and entries[before + 1] == entries[at + 1]
                and entries[before + 3] == entries[at + 3]
            ):
                return "a control is set twice"
    return None


def find_unsupported(entries, ranges):
    """Return what a module with these ranges cannot do of a list without a fault, or None."""
    for at in range(0, len(entries), _ENTRY_BYTES):
        control = _read_u16(entries, at)
        if control == wire.CONTROL_SETTLED and not 0 <= _read_value(entries, at + 4) <= 1:
            return "SETTLED is 0 or 1"
        if 1 <= control <= COUNT and ranges[control - 1] is None:
            return "no control %d" % control
    return None


def has_single_frames(entries):
    """Return True if a list has a value for a single frame."""
    for at in range(0, len(entries), _ENTRY_BYTES):
        if _read_u16(entries, at + 2) != wire.EVERY_FRAME:
            return True
    return False


def read_values(entries, frame, values):
    """Write the values that a list has for *frame* to *values*. Controls of others are skipped."""
    for at in range(0, len(entries), _ENTRY_BYTES):
        control = _read_u16(entries, at)
        if 1 <= control <= COUNT and _read_u16(entries, at + 2) == frame:
            values[control - 1] = _read_value(entries, at + 4)


def _read_u16(data, at):
    return data[at] | data[at + 1] << 8


def _has_value(data, at):
    """Return True if a value is small: from -MAX_SETTING to MAX_SETTING."""
    top = data[at + 3]
    if top < 0x40:
        return True
    return top >= 0xC0 and not (
        top == 0xC0 and data[at] == 0 and data[at + 1] == 0 and data[at + 2] == 0
    )


def _read_value(data, at):
    top = data[at + 3]
    if top >= 0x80:
        top -= 0x100
    # Small parts only, so that no step of the sum needs a large integer.
    return (data[at] | data[at + 1] << 8 | data[at + 2] << 16) + top * 0x1000000
