"""Writes a frame of the driver as JPEG: ``lenslink capture -o photo.jpg``.

The driver loads this module by the entry point ``lenslink.image_formats``, before it takes a
picture. So a missing OpenCV is reported in time.
"""

from __future__ import annotations

from datetime import datetime
from typing import BinaryIO

from lenslink.frame import Frame
from lenslink.image_files.exif import make_exif_block
from lenslink_isp.opencv import require_opencv
from lenslink_isp.raw_image import RawImage

from .picture_files import encode_picture, turn_upright

require_opencv()


def write_jpeg(frame: Frame, file: BinaryIO) -> None:
    """Develop *frame* with the best quality and write it to *file*, upright."""
    from .still import develop_still

    raw = RawImage.from_frame(frame)
    exif = make_exif_block(frame, datetime.now().astimezone())
    encode_picture(turn_upright(develop_still(raw), raw.orientation), file, "JPEG", exif)
