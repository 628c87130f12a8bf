"""The default photograph, from scikit-image's wheel (extra ``demo``).

``astronaut.png``, 512 x 512: Eileen Collins, photographed for NASA in 1995
(https://flic.kr/p/r9qvLn). It is in the public domain; ``skimage.data.astronaut`` states "no known
copyright restrictions". Of the wheel's freely licensed colour photographs, mistakes are easiest to
see on this one. It has skin, blue, red, orange, greys, white and black, and a clear top.
``coffee.png`` (CC0) is nearly all red and tilted. ``chelsea.png`` (CC0) is smaller and soft.
``motorcycle_left.png`` has no free licence. A 4:3 crop is taken from the top, where the face is.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

PHOTO = "astronaut.png"
ANCHOR = 0.0


PHOTOGRAPHS = {
    "astronaut": PHOTO,
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "hubble": "hubble_deep_field.jpg",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
}
"""Photographs of scikit-image's wheel in colour, by the names that scenes use."""


def find_default_photo() -> Path | None:
    """Return the photograph's file, or None if scikit-image is not installed."""
    return find_photograph(PHOTO)


def find_photograph(file_name: str) -> Path | None:
    """Return the file of a photograph of scikit-image, or None if it is not installed.

    The package is not imported, because that would import scipy too and take a second.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, "data", file_name)
        if path.is_file():
            return path
    return None
