"""A frame as a picture: colour, white balance and sRGB, all done by LibRaw.

LibRaw reads the DNG we write, made in memory, so the picture shows what any converter built on
it would show of the file. Nothing is adapted to the scene: the same light gives the same colour
in every frame.
"""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lenslink.errors import StorageError
from lenslink.frame import Frame, Identity
from lenslink.image_files.dng import write_dng

PREVIEW_SIDE = 1024
"""Long side of a DNG's preview, in pixels: 2 MB uncompressed, enough for a file manager."""

# LibRaw knows cameras by name and treats some of them specially; none is called this.
_NOBODY = Identity(maker="LensLink", model="frame", serial="", firmware="")


def render(frame: Frame, half: bool = False) -> NDArray[np.uint8]:
    """The frame's active area as (h, w, 3) uint8 sRGB, turned upright.

    White balance is the frame's neutral; white is where its most sensitive colour saturates.
    ``half`` makes one pixel of every 2 x 2, which is fast and free of demosaicing's errors.
    An active area that starts on an odd row or column loses it. Uncovered pixels are black.

    Demosaicing is AHD: on two cores 0.5 s at 12 megapixels, and 5 s and 1.5 GB at 100; VNG, DCB
    and AAHD take two to five times as long. Raises StorageError when LibRaw refuses, as it does
    for areas of a few pixels.
    """
    return _develop(frame, half=half, flip=None)


def render_preview(frame: Frame) -> NDArray[np.uint8]:
    """A picture for a DNG: as :func:`render`, but not turned, and at most PREVIEW_SIDE long.

    (h, w, 3) uint8. Raises StorageError as :func:`render` does.
    """
    from PIL import Image

    top, left, bottom, right = frame.active_area
    half = max(bottom - top, right - left) >= 2 * PREVIEW_SIDE
    image = Image.fromarray(_develop(frame, half=half, flip=0))
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return np.asarray(image)


def _develop(frame: Frame, *, half: bool, flip: int | None) -> NDArray[np.uint8]:
    """LibRaw's picture; ``flip`` None turns it as the file says, 0 leaves it as it is."""
    import rawpy

    top, left, bottom, right = frame.active_area
    # LibRaw moves an odd corner to the next even pixel, and shifts the colours with it but not
    # the black levels; a corner that is even already leaves it nothing to move.
    even = (top + top % 2, left + left % 2, bottom, right)
    file = io.BytesIO()
    # LibRaw cuts off a black level's fraction; rounding it halves the error, which 8-bit pixels
    # show in the shadows.
    a, b, c, d = (float(round(level)) for level in frame.black)
    copy = replace(frame, active_area=even, black=(a, b, c, d), identity=_NOBODY, _memory=None)
    write_dng(copy, file, None, "LensLink")
    file.seek(0)
    try:
        with rawpy.imread(file) as raw:
            picture: NDArray[np.uint8] = raw.postprocess(
                demosaic_algorithm=rawpy.DemosaicAlgorithm.AHD,
                half_size=half,
                use_camera_wb=True,
                output_color=rawpy.ColorSpace.sRGB,
                output_bps=8,
                gamma=(2.4, 12.92),  # sRGB's curve; LibRaw's own default is BT.709's
                user_flip=flip,
                # LibRaw would otherwise brighten each picture until 1 % of it is white, and
                # take the brightest pixel for the white level.
                no_auto_bright=True,
                adjust_maximum_thr=0.0,
            )
    except rawpy.LibRawError as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise StorageError(
            f"frame {frame.number} ({even[3] - even[1]} x {even[2] - even[0]} pixels) cannot be "
            f"rendered: LibRaw says: {reason}"
        ) from error
    return picture
