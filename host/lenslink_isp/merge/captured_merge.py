"""Merges the frames of one capture: ``lenslink capture --hdr`` and ``--burst``.

The driver loads this module by the entry point ``lenslink.merges``, before it takes the frames. So
a missing OpenCV is reported in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lenslink.frame import Frame
from lenslink.image_files.opcodes import Corrections
from lenslink_isp.develop.picture_files import check_picture, save_picture, turn_upright
from lenslink_isp.opencv import require_opencv
from lenslink_isp.raw_image import RawImage

require_opencv()


class CapturedMerge:
    """The merge of the frames of one capture.

    >>> merge = CapturedMerge()
    >>> merge.check_output(Path("hdr.jpg"), force=False)
    >>> merge.add_frames(frames)  # doctest: +SKIP
    >>> merge.save(Path("hdr.jpg"), force=False, corrections=None)  # doctest: +SKIP
    403211
    """

    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self.shares: tuple[float, ...] = ()
        """How much of each frame was used, from 0 to 1."""
        self.reference = 0
        """Number of the frame that says where everything is, from 0."""

    def check_output(self, path: Path, force: bool) -> None:
        """Raise the error that :meth:`save` would raise for *path*, before frames are taken.

        Raises:
            UsageError: the extension is neither .dng nor that of a picture.
            StorageError: the file exists and *force* is False, or it cannot be written.
        """
        from .merged_dng import check_dng

        if _is_dng(path):
            check_dng(path, force)
        else:
            check_picture(path, force)

    def add_frames(self, frames: Sequence[Frame]) -> None:
        """Merge the frames: a bracket if they differ in exposure, else a burst.

        The frames must not be released before the files are written.

        Raises:
            UsageError: the module reports no noise profile.
        """
        from .merge_frames import merge_frames

        self._frames = list(frames)
        self._merged = merge_frames([RawImage.from_frame(frame) for frame in frames])
        self.shares, self.reference = self._merged.shares, self._merged.reference

    def save(self, path: Path, force: bool, corrections: Corrections | None) -> int:
        """Write the merge to a file, as RAW or developed; return the file's size in bytes."""
        from lenslink_isp.develop.still import develop_still

        from .merged_dng import save_merged

        if _is_dng(path):
            origin = self._frames[self.reference]
            return save_merged(self._merged, origin, path, force, corrections)
        raw = self._merged.raw
        return save_picture(turn_upright(develop_still(raw), raw.orientation), path, force)


def _is_dng(path: Path) -> bool:
    return path.suffix.lower() == ".dng"
