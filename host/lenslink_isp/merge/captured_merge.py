"""Computes one picture of a capture: ``lenslink capture --hdr``, ``--burst`` and ``--denoise``.

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
    """The merge of the frames of one capture, or its only frame, with or without its noise.

    >>> merge = CapturedMerge()
    >>> merge.check_output(Path("hdr.jpg"), force=False)
    >>> merge.add_frames(frames)  # doctest: +SKIP
    >>> merge.save(Path("hdr.jpg"), force=False, corrections=None)  # doctest: +SKIP
    403211
    """

    def __init__(self, *, is_denoised: bool = False) -> None:
        self._is_denoised = is_denoised
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
        from lenslink_isp.linear_dng import check_dng

        if _is_dng(path):
            check_dng(path, force)
        else:
            check_picture(path, force)

    def add_frames(self, frames: Sequence[Frame]) -> None:
        """Merge the frames: a bracket if they differ in exposure, else a burst. Then denoise.

        A single frame is not merged. The frames must not be released before the files are written.

        Raises:
            UsageError: the module reports no noise profile.
        """
        from lenslink_isp.denoise.raw_denoiser import CAPTION, denoise_raw

        from .merge_frames import merge_frames

        self._frames = list(frames)
        pictures = [RawImage.from_frame(frame) for frame in frames]
        if len(pictures) == 1:
            self._raw, self._caption = pictures[0], CAPTION
            self.shares, self.reference = (1.0,), 0
        else:
            merged = merge_frames(pictures)
            self._raw, self._caption = merged.raw, merged.caption
            self.shares, self.reference = merged.shares, merged.reference
        if self._is_denoised:
            self._raw = denoise_raw(self._raw)

    def save(self, path: Path, force: bool, corrections: Corrections | None) -> int:
        """Write the merge to a file, as RAW or developed; return the file's size in bytes."""
        from lenslink_isp.develop.still import develop_still
        from lenslink_isp.linear_dng import save_linear

        if _is_dng(path):
            origin = self._frames[self.reference]
            return save_linear(
                self._raw, self._caption, origin, path, force=force, corrections=corrections
            )
        picture = turn_upright(develop_still(self._raw), self._raw.orientation)
        return save_picture(picture, path, force)


def _is_dng(path: Path) -> bool:
    return path.suffix.lower() == ".dng"
