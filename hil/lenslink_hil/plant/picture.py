"""Any picture that Pillow reads, upright and as 8-bit sRGB."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lenslink.errors import UsageError


@dataclass(frozen=True)
class Picture:
    """A picture as a scene.

    Attributes:
        rgb: sRGB, 8 bit, shape (H, W, 3).
        anchor: place of a crop that is lower than the picture: 0 is the top, 0.5 the centre.
    """

    rgb: NDArray[np.uint8]
    anchor: float = 0.5

    def crop_box(self, aspect: float) -> tuple[float, float, float, float]:
        """Return the largest box with this ratio of width to height: left, top, right, bottom."""
        height, width = self.rgb.shape[:2]
        wide, high = min(float(width), height * aspect), min(float(height), width / aspect)
        left, top = (width - wide) / 2, (height - high) * self.anchor
        return left, top, left + wide, top + high


def is_picture(path: Path) -> bool:
    """Return True if Pillow knows the format, from the first bytes alone."""
    try:
        with _ignore_warnings(), Image.open(path):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:
        # A known format with a broken header is a picture, which load_picture() will refuse.
        return True


def load_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture and turn it upright by its EXIF orientation.

    Transparent pixels are laid over white. 16-bit grey keeps its upper 8 bits. Floating point means
    0 to 1. An animation gives its first picture. ICC profiles are ignored.

    Returns:
        sRGB, shape (H, W, 3), uint8.

    Raises:
        UsageError: the file is no picture, is truncated, or exceeds Pillow's limit of 179 million
            pixels. The message names the file.
    """
    try:
        with _ignore_warnings(), Image.open(path) as opened:
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            return np.asarray(_as_rgb(upright))
    except UnidentifiedImageError:
        raise UsageError(f"scene {path}: not a picture and no camera's RAW file") from None
    except Image.DecompressionBombError:
        raise UsageError(f"scene {path}: too many pixels to be a picture") from None
    except Exception as error:
        # Decoders raise nearly any exception for broken input (OSError, SyntaxError, ValueError,
        # struct.error, ...). All of them mean the same to the user.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError(f"scene {path}: the picture is damaged ({reason})") from error


def _as_rgb(image: Image.Image) -> Image.Image:
    """Return *image* in mode RGB."""
    mode = image.mode
    if mode.startswith("I"):
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 0xFFFF) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if mode == "F":
        unit = np.clip(np.nan_to_num(np.asarray(image)), 0, 1)
        return Image.fromarray(np.rint(unit * 255).astype(np.uint8)).convert("RGB")
    if mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        # La and RGBa (premultiplied alpha) convert only to LA and RGBA.
        straight = image.convert({"La": "LA", "RGBa": "RGBA"}[mode]) if mode[-1] == "a" else image
        layer = straight.convert("RGBA")
        below = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(below, layer).convert("RGB")
    return image.convert("RGB")


def _ignore_warnings() -> warnings.catch_warnings[None]:
    """Ignore Pillow's warnings (large picture, odd EXIF). Errors are raised anyway."""
    return warnings.catch_warnings(action="ignore")
