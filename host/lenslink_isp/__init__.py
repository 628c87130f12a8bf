"""The phone's side: from RAW to a picture that people look at.

A camera module sends RAW, and a phone computes the rest. This package is a reference that a camera
engineer can read. It imports :mod:`lenslink`, never the reverse. It needs the extra ``isp``::

    raw_image    one RAW picture, from a frame of the driver or from a file
    develop/     RAW to RGB: levels, demosaicing, colours, tone
    metering/    exposure and white balance for the next frame
    focus/       where the lens must go to make a point of the picture sharp
"""

from __future__ import annotations

from .raw_image import RawImage, open_raw

__all__ = ["RawImage", "open_raw"]
