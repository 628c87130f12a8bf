"""From a frame of the ring to what a viewer shows: JPEG, histogram and overlays.

:class:`.camera_session.CameraSession` calls :meth:`PictureMaker.make` in a thread of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lenslink import PREVIEW, FrameRingReader
from lenslink.context import ClosesOnExit
from lenslink.errors import Timeout, UsageError
from lenslink.frame import ColorCalibration, FrameMetadata, FrameStatus
from lenslink.raw_files.dng_color import ILLUMINANT_KELVIN
from lenslink_isp.develop.picture_files import turn_upright
from lenslink_isp.develop.preview import Preview
from lenslink_isp.merge.hdr_preview import HdrPreview
from lenslink_isp.metering.illuminants import make_curve
from lenslink_isp.metering.statistics import Statistics, measure
from lenslink_isp.metering.white_balance import AutoWhiteBalance
from lenslink_isp.raw_image import RawImage

from .overlays import Mask, draw_peaking, draw_zebra, find_clipped, find_edges
from .remote_module import ModuleProfile, make_frame

HISTOGRAM_BINS: Final = 64
_JPEG_QUALITY: Final = 80
_HISTOGRAM_STEP: Final = 4
"""The histogram counts every fourth pixel of every fourth row."""
_WAIT_S: Final = 0.25
_OTHER_EXPOSURE: Final = 0.05
"""A frame with a sensitivity that differs by this part has another exposure."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the viewers want of the next frame."""

    is_shown: bool = True
    """A viewer has room for a picture. Otherwise the frame is only metered."""
    has_zebra: bool = False
    has_peaking: bool = False
    is_hdr: bool = False
    """Each frame is merged with an older one of another exposure."""
    compensation_ev: float = 0.0
    """How much brighter than usual the picture of an HDR preview becomes."""


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """A frame as viewers get it. Bytes that nobody wanted are empty."""

    frame: FrameMetadata
    nonce: int
    """The session that the frame belongs to."""
    is_complete: bool
    end_ns: int
    """``time.monotonic_ns()`` when the frame was whole in the ring."""
    metered: FrameMetadata
    """The frame that the statistics are of: an older one if an HDR preview does not meter this."""
    statistics: Statistics
    kelvin: float
    """Colour temperature of the white balance; 0 if the module states no colours."""
    orientation: int
    width: int = 0
    height: int = 0
    jpeg: bytes = b""
    histogram: tuple[tuple[int, ...], ...] = ()
    """Counts of the picture's red, green and blue, from dark to bright."""
    zebra: bytes = b""
    """PNG of half the size."""
    peaking: bytes = b""

    @property
    def is_metered(self) -> bool:
        """True if the statistics are those of this frame."""
        return self.metered == self.frame


class PictureMaker(ClosesOnExit):
    """Makes pictures of the frames in the ring *name*, always of the newest one."""

    def __init__(self, name: str, profile: ModuleProfile) -> None:
        self._reader = FrameRingReader(name, streams=(PREVIEW,))
        self._description = profile.describe()
        self._preview = Preview()
        self._rgb: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)
        self._balance = make_white_balance(self._description.color)
        self._hdr: HdrPreview | None = None
        self._metered: tuple[FrameMetadata, Statistics] | None = None
        """The last frame whose light was measured."""
        self._sensitivity = 0.0
        self._is_shorter = True
        """In an HDR preview: True if the last frame was exposed less than the one before."""
        self._zebra = b""

    def make(self, wanted: Wanted) -> Picture | None:
        """Return the next picture; None if no frame has come for a quarter of a second.

        Raises:
            Disconnected: the owner of the ring has ended.
        """
        try:
            shared = self._reader.next(_WAIT_S)
        except Timeout:
            return None
        end_ns = shared.end_ns
        with make_frame(shared, self._description) as frame:
            raw = RawImage.from_frame(frame)
            if self._metered is None or self._is_metered(raw, wanted):
                self._metered = frame.metadata, measure(raw)
                if self._balance is not None:
                    self._balance.update(self._metered[1])
            kelvin = 0.0
            if self._balance is not None:
                raw = replace(raw, neutral=self._balance.neutral)
                kelvin = self._balance.kelvin
            metered, statistics = self._metered
            picture = Picture(
                frame.metadata,
                frame.nonce,
                frame.status is FrameStatus.COMPLETE,
                end_ns,
                metered,
                statistics,
                kelvin,
                raw.orientation,
            )
            return self._draw(raw, picture, wanted) if wanted.is_shown else picture

    def _draw(self, raw: RawImage, picture: Picture, wanted: Wanted) -> Picture:
        """Return the picture with all that is wanted."""
        if self._rgb.shape[:2] != raw.mosaic.shape:
            self._rgb = np.empty((*raw.mosaic.shape, 3), np.uint8)
        rgb = turn_upright(self._develop(raw, wanted), raw.orientation)
        if not wanted.has_zebra:
            self._zebra = b""
        elif picture.is_metered or not self._zebra:
            self._zebra = draw_zebra(_turn(find_clipped(raw), raw))
        peaking = draw_peaking(_turn(find_edges(raw), raw)) if wanted.has_peaking else b""
        return replace(
            picture,
            width=rgb.shape[1],
            height=rgb.shape[0],
            jpeg=_encode_jpeg(rgb),
            histogram=count_levels(rgb),
            zebra=self._zebra,
            peaking=peaking,
        )

    def _is_metered(self, raw: RawImage, wanted: Wanted) -> bool:
        """Return True if the frame tells the light: without HDR always, else if it is shorter.

        The longer exposures of an HDR preview may be saturated.
        """
        now, before = raw.sensitivity or 0.0, self._sensitivity
        self._sensitivity = now
        if not wanted.is_hdr:
            return True
        if abs(now - before) > _OTHER_EXPOSURE * before:
            self._is_shorter = now < before
        return self._is_shorter

    def _develop(self, raw: RawImage, wanted: Wanted) -> NDArray[np.uint8]:
        """Return the picture as the sensor lies, of this frame alone or of two exposures."""
        if not wanted.is_hdr or raw.noise_profile is None or raw.sensitivity is None:
            self._hdr = None
            return self._preview.develop(raw, out=self._rgb)
        if self._hdr is None:
            self._hdr = HdrPreview()
        return self._hdr.develop(raw, exposure_ev=wanted.compensation_ev, out=self._rgb)

    def close(self) -> None:
        """Leave the ring. Idempotent."""
        self._reader.close()


def make_white_balance(color: ColorCalibration) -> AutoWhiteBalance | None:
    """Return the white balance for a sensor; None if its colours do not allow one."""
    matrices = []
    entry: ColorCalibration | None = color
    while entry is not None:
        matrix = np.array([top / bottom for top, bottom in entry.matrix]).reshape(3, 3)
        matrices.append((float(ILLUMINANT_KELVIN.get(entry.illuminant, 6500)), matrix))
        entry = entry.second
    try:
        return AutoWhiteBalance(make_curve(matrices))
    except UsageError:
        return None


def count_levels(rgb: NDArray[np.uint8]) -> tuple[tuple[int, ...], ...]:
    """Return the histograms of red, green and blue of a picture, in HISTOGRAM_BINS bins."""
    few = np.ascontiguousarray(rgb[::_HISTOGRAM_STEP, ::_HISTOGRAM_STEP])
    counts = (cv2.calcHist([few], [each], None, [HISTOGRAM_BINS], [0, 256]) for each in range(3))
    return tuple(tuple(int(count) for count in each.reshape(-1)) for each in counts)


def _turn(mask: Mask, raw: RawImage) -> Mask:
    """Return a mask turned upright."""
    upright = turn_upright(mask[..., None].view(np.uint8), raw.orientation)
    return upright[..., 0].view(bool)


def _encode_jpeg(rgb: Any) -> bytes:
    options = (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY)
    is_done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    assert is_done
    return bytes(data)
