"""Any picture that Pillow reads, upright and as 8-bit sRGB."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lenslink.errors import UsageError

TIFF_MAGIC = (b"II*\0", b"MM\0*")
"""First bytes of a TIFF: a picture, or a DNG and most makers' RAW."""


@dataclass(frozen=True)
class Picture:
    """A picture as a scene.

    :ivar rgb: sRGB, 8 bit, shape (H, W, 3).
    :ivar anchor: where a crop that is less high than the picture lies: 0 top, 0.5 centre.
    """

    rgb: NDArray[np.uint8]
    anchor: float = 0.5

    def crop_box(self, aspect: float) -> tuple[float, float, float, float]:
        """Give the largest box of this width : height: left, top, right, bottom in pixels."""
        height, width = self.rgb.shape[:2]
        wide, high = min(float(width), height * aspect), min(float(height), width / aspect)
        left, top = (width - wide) / 2, (height - high) * self.anchor
        return left, top, left + wide, top + high


def is_picture(path: Path) -> bool:
    """Say whether Pillow knows the format, from the first bytes alone."""
    try:
        with _quiet(), Image.open(path):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:
        # A known format with a broken header: a picture, though load_picture() will refuse it.
        return True


def load_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture, turned upright by its EXIF orientation.

    Alpha is laid over white. 16-bit grey keeps its upper 8 bits, floating point counts as 0 to
    1, and of an animation the first picture is taken. Embedded ICC profiles are ignored.

    :returns: sRGB, shape (H, W, 3).
    :raises UsageError: when it is no picture, is truncated or is too large for Pillow's limit
        (179 million pixels); the message names the file.
    """
    try:
        with _quiet(), Image.open(path) as opened:
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            return np.asarray(_as_rgb(upright))
    except UnidentifiedImageError:
        raise UsageError(f"scene {path}: not a picture and no camera's RAW file") from None
    except Image.DecompressionBombError:
        raise UsageError(f"scene {path}: too many pixels to be a picture") from None
    except Exception as error:
        # Decoders meet broken input with nearly any exception there is (OSError, SyntaxError,
        # ValueError, struct.error, ...); to the user all of them mean the same.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError(f"scene {path}: the picture is damaged ({reason})") from error


def _as_rgb(image: Image.Image) -> Image.Image:
    """Convert whatever Pillow opened to mode RGB."""
    mode = image.mode
    if mode.startswith("I"):
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 0xFFFF) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if mode == "F":
        unit = np.clip(np.nan_to_num(np.asarray(image)), 0, 1)
        return Image.fromarray(np.rint(unit * 255).astype(np.uint8)).convert("RGB")
    if mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        # La and RGBa (alpha multiplied in) convert only to their plain twins.
        straight = image.convert({"La": "LA", "RGBa": "RGBA"}[mode]) if mode[-1] == "a" else image
        layer = straight.convert("RGBA")
        below = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(below, layer).convert("RGB")
    return image.convert("RGB")


def _quiet() -> warnings.catch_warnings[None]:
    """Keep Pillow's remarks (large picture, odd EXIF) off stderr; errors are raised anyway."""
    return warnings.catch_warnings(action="ignore")
