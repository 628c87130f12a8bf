"""The corrections of a lens as DNG opcodes: GainMap and WarpRectilinear.

A RAW converter applies OpcodeList2 to the mosaic, and OpcodeList3 to the colours made of it. Both
count from the corner of ActiveArea. :func:`find_corrections` takes them from the calibration of a
module, and :mod:`.dng` writes them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from lenslink.frame import Frame
from lenslink.module_calibration import Distortion, Doubles, ModuleCalibration

_WARP_RECTILINEAR, _GAIN_MAP = 1, 9
_VERSION = 0x01030000
_OPTIONAL = 1
"""A converter that does not know an opcode leaves it out."""


@dataclass(frozen=True, eq=False)
class Corrections:
    """The opcode lists of a frame; None for one that is left out.

    Attributes:
        list_2: OpcodeList2: the gain map.
        list_3: OpcodeList3: the distortion.
        note: why something is left out, or "".
    """

    list_2: bytes | None = None
    list_3: bytes | None = None
    note: str = ""


def find_corrections(frame: Frame, calibration: ModuleCalibration) -> Corrections:
    """Return the corrections that a frame needs.

    Args:
        frame: the frame.
        calibration: of the module that took it.

    Raises:
        LensLinkError: the calibration cannot be read.
    """
    whole = frame.whole_size or (frame.width, frame.height)
    top, left, bottom, right = frame.active_area
    corner = (frame.crop_x + left, frame.crop_y + top)
    size = (right - left, bottom - top)
    notes = []
    gain_map, distortion = calibration.gain_map, calibration.distortion
    list_2 = list_3 = None
    if gain_map is not None:
        f_number = frame.aperture_milli / 1000 or float(gain_map.f_number[0])
        gains = gain_map.at(f_number, frame.focus_mdpt)
        list_2 = _make_list(_GAIN_MAP, make_gain_map(gains, whole, corner, size))
    if distortion is not None:
        warp = make_warp(distortion, whole, corner, size)
        if warp is None:
            notes.append("no distortion: the optical axis is outside of the frame")
        else:
            list_3 = _make_list(_WARP_RECTILINEAR, warp)
    return Corrections(list_2, list_3, "; ".join(notes))


def make_gain_map(
    gains: Doubles, whole: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]
) -> bytes:
    """Return the parameters of GainMap for a part of the mode.

    Args:
        gains: of the whole mode, shape (rows, columns).
        whole: width and height of the mode.
        corner: first column and first row of the part.
        size: width and height of the part.
    """
    rows, columns = gains.shape
    (width, height), (x, y) = size, corner
    area = struct.pack(">8I", 0, 0, height, width, 0, 1, 1, 1)
    spacing = (whole[1] / (rows - 1) / height, whole[0] / (columns - 1) / width)
    # The first point of the map lies at the corner of the mode, perhaps outside of the part.
    points = struct.pack(">2I4dI", rows, columns, *spacing, -y / height, -x / width, 1)
    return area + points + gains.astype(">f4").tobytes()


def make_warp(
    distortion: Distortion, whole: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]
) -> bytes | None:
    """Return the parameters of WarpRectilinear for a part of the mode; None if it has no axis.

    Args: as for :func:`make_gain_map`.
    """
    axis = distortion.center * whole
    place = (axis - corner) / size
    if place.min() < 0 or place.max() > 1:
        return None
    # The unit of the radius is the farthest corner, which is nearer in a part.
    far_whole = np.hypot(*np.maximum(axis, np.array(whole) - axis))
    far_part = np.hypot(*np.maximum(axis - corner, np.array(corner) + size - axis))
    scale = float(far_part / far_whole)
    radial = distortion.radial * scale ** np.array((0, 2, 4, 6))
    return struct.pack(">I8d", 1, *radial, *(distortion.tangential * scale), *place)


def _make_list(opcode: int, parameters: bytes) -> bytes:
    """Return an opcode list, which is big-endian in every file."""
    return struct.pack(">5I", 1, opcode, _VERSION, _OPTIONAL, len(parameters)) + parameters
