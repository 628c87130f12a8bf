"""The phone's side: from RAW to a picture that people look at.

A camera module sends RAW, and a phone computes the rest. This package is a reference that a camera
engineer can read. It imports :mod:`lenslink`, never the reverse. It needs the extra ``isp``::

    raw_image    one RAW picture, from a frame of the driver or from a file
    develop/     RAW to RGB: levels, demosaicing, colours, tone
    metering/    exposure and white balance for the next frame
    merge/       several RAW pictures to one: a wide range, or less noise
    denoise/     one RAW picture with less noise
    zoom/        a burst to a picture of twice the size
    linear_dng   the result of a merge or of denoising as a file
    focus/       where the lens must go to make a point of the picture sharp
    viewfinder/  a page in the browser that looks through a module
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .raw_image import RawImage as RawImage
    from .raw_image import open_raw as open_raw

__all__ = ["RawImage", "open_raw"]


def __getattr__(name: str) -> object:
    """Import numpy only when a picture is made: the help of a command needs none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import raw_image

    return getattr(raw_image, name)
