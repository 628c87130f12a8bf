"""Computes the picture of ``lenslink capture --zoom``.

The driver loads this module by the entry point ``lenslink.merges``, before it takes the frames. So
a missing OpenCV is reported in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lenslink.errors import UsageError
from lenslink.frame import Frame
from lenslink.image_files.opcodes import Corrections
from lenslink_isp.develop.picture_files import check_picture, save_picture, turn_upright
from lenslink_isp.opencv import require_opencv
from lenslink_isp.raw_image import RawImage

require_opencv()


class CapturedZoom:
    """The zoomed picture of the frames of one capture.

    >>> zoom = CapturedZoom(factor=2)
    >>> zoom.check_output(Path("near.jpg"), force=False)
    >>> zoom.add_frames(frames)  # doctest: +SKIP
    >>> zoom.save(Path("near.jpg"), force=False, corrections=None)  # doctest: +SKIP
    403211
    """

    def __init__(self, *, factor: float) -> None:
        """Show the middle of the frames: 1 / *factor* of each side."""
        self._factor = factor
        self.shares: tuple[float, ...] = ()
        """How much of each frame was used, from 0 to 1."""
        self.reference = 0
        """Number of the frame that says where everything is, from 0."""

    def check_output(self, path: Path, force: bool) -> None:
        """Raise the error that :meth:`save` would raise for *path*, before frames are taken.

        Raises:
            UsageError: the extension is not that of a picture.
            StorageError: the file exists and *force* is False, or it cannot be written.
        """
        if path.suffix.lower() == ".dng":
            raise UsageError("a zoom is a picture: write it as .jpg, .png or .tiff")
        check_picture(path, force)

    def add_frames(self, frames: Sequence[Frame]) -> None:
        """Compute the picture. The frames may be released afterwards.

        Raises:
            UsageError: the frames are too small for the zoom.
        """
        from .zoom_burst import Region, zoom_burst

        pictures = [RawImage.from_frame(frame) for frame in frames]
        high, wide = pictures[0].mosaic.shape
        zoomed = zoom_burst(pictures, Region.find_center((high, wide), self._factor))
        self.shares = zoomed.shares
        self._picture = turn_upright(zoomed.picture, pictures[0].orientation)

    def save(self, path: Path, force: bool, corrections: Corrections | None) -> int:
        """Write the picture to a file; return the file's size in bytes. It needs no corrections."""
        return save_picture(self._picture, path, force)
