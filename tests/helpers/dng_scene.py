"""Writes a small DNG for the tests of the plant, with a known value in every tag."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

MATRIX = (6461, 10000, -1164, 10000, -857, 10000, -3825, 10000, 11597, 10000, 2534, 10000)
MATRIX += (-416, 10000, 1540, 10000, 6039, 10000)
NEUTRAL = (1, 2, 1, 1, 2, 3)
# Code, TIFF type, count, value. 2 text, 1 bytes, 3 short, 4 long, 5 rational, 10 signed rational.
TAGS = {
    "Make": (271, 2, 0, "Tester"),
    "Model": (272, 2, 0, "Little One"),
    "Orientation": (274, 3, 1, 6),
    "CFARepeatPatternDim": (33421, 3, 2, (2, 2)),
    "CFAPattern": (33422, 1, 4, b"\0\1\1\2"),
    "DNGVersion": (50706, 1, 4, b"\1\4\0\0"),
    "UniqueCameraModel": (50708, 2, 0, "Tester Little One"),
    "BlackLevelRepeatDim": (50713, 3, 2, (2, 2)),
    "BlackLevel": (50714, 5, 4, (100, 1, 201, 2, 120, 1, 130, 1)),
    "WhiteLevel": (50717, 4, 1, 4000),
    "ColorMatrix1": (50721, 10, 9, MATRIX),
    "AsShotNeutral": (50728, 5, 3, NEUTRAL),
    "CalibrationIlluminant1": (50778, 3, 1, 21),
    "ActiveArea": (50829, 4, 4, (2, 4, 94, 124)),
}


def noise_rows(height: int = 96, width: int = 128, top: int = 4096) -> NDArray[np.uint16]:
    """Return random rows with values below *top*."""
    return np.random.default_rng(5).integers(0, top, (height, width)).astype(np.uint16)


def write_dng(
    path: Path,
    rows: NDArray[np.uint16],
    *,
    sub_ifd: bool = False,
    without: tuple[str, ...] = (),
    more: Mapping[str, tuple[int, int, int, object]] | None = None,
    tile: tuple[int, int] | None = None,
    **tags: tuple[int, int, object],
) -> Path:
    """Write a DNG. *tags* (type, count, value) replace those of TAGS; *without* drops some.

    *more* are further tags (code, type, count, value). *tile* stores the rows in tiles.
    """
    chosen = {name: tag for name, tag in TAGS.items() if name not in without}
    for name, (kind, count, value) in tags.items():
        chosen[name] = (TAGS[name][0], kind, count, value)
    extra = [(*tag, True) for tag in [*chosen.values(), *(more or {}).values()]]
    with tifffile.TiffWriter(path) as file:
        if not sub_ifd:
            file.write(rows, photometric=32803, metadata=None, tile=tile, extratags=extra)
            return path
        of_mosaic = {33421, 33422, 50713, 50714, 50717, 50829}
        preview = np.zeros((16, 16, 3), np.uint8)
        file.write(
            preview,
            photometric="rgb",
            subfiletype=1,
            subifds=1,
            metadata=None,
            extratags=[tag for tag in extra if tag[0] not in of_mosaic],
        )
        file.write(
            rows,
            photometric=32803,
            subfiletype=0,
            metadata=None,
            tile=tile,
            extratags=[tag for tag in extra if tag[0] in of_mosaic],
        )
    return path
