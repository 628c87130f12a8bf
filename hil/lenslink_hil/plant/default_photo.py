"""The default photograph: one that scikit-image's wheel brings along (extra ``demo``).

``astronaut.png``, 512 x 512: Eileen Collins, photographed for NASA in 1995
(https://flic.kr/p/r9qvLn), public domain, "no known copyright restrictions" says
``skimage.data.astronaut``. Of the wheel's colour photographs under a free licence it is the one
on which a mistake cannot hide: skin, a flag's blue and red, orange, greys, white and black, and
no doubt about which way is up. ``coffee.png`` (CC0) is nearly all red on a tilted table,
``chelsea.png`` (CC0) is smaller and soft, ``motorcycle_left.png`` has no free licence. 4:3 is
cut from its top, where the face is.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

PHOTO = "astronaut.png"
ANCHOR = 0.0


def find_default_photo() -> Path | None:
    """Find the photograph's file, None where scikit-image is not installed.

    The package is looked up, not imported: importing it would take scipy along, and a second.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, "data", PHOTO)
        if path.is_file():
            return path
    return None
