"""Check a FrameStart against the stream's configuration and against itself.

:class:`.reassembly.Reassembly` discards a frame whose FrameStart contradicts what was configured:
its pixels would get wrong colours or a wrong brightness. The configuration itself was checked
against the manifest when the stream was configured.
"""

from __future__ import annotations

from typing import NamedTuple

from lenslink_protocol.ids import Cfa
from lenslink_protocol.messages import Configured, FrameStart
from lenslink_protocol.packings import find_layout


class RejectedFrame(NamedTuple):
    """A frame that was discarded because of its FrameStart."""

    number: int
    """The frame's number."""
    request: int
    """The request that the FrameStart names."""
    reason: str
    """What contradicts what, for an error message."""
    is_reported: bool = False
    """A caller has been told."""


def find_contradiction(
    start: FrameStart, configured: Configured, mode_size: tuple[int, int] | None = None
) -> str | None:
    """Return what a FrameStart contradicts, or None if its frame can be used.

    The text is for an error message: "cfa RGGB, but pixel format GR12", say. *mode_size* is the
    width and height of the mode, if they are known.
    """
    layout = find_layout(configured.pixel_format)
    for name in ("mode", "width", "height", "stride"):
        value, expected = getattr(start, name), getattr(configured, name)
        if value != expected:
            return f"{name} {value}, but {expected} was configured"
    name = layout.code.name
    if start.pixel_format != layout.code:
        return f"pixel format 0x{start.pixel_format:08X}, but {name} was configured"
    if start.stride != layout.count_bytes(start.width):
        return f"a stride of {start.stride} bytes for {start.width} pixels of {name}"
    if start.cfa != layout.cfa:
        return f"cfa {_name_cfa(start.cfa)}, but pixel format {name}"
    if not 8 <= start.bits <= layout.depth:
        return f"{start.bits} bits, but pixel format {name}"
    if not 0 < start.white < 1 << start.bits:
        return f"white level {start.white}, but {start.bits} bits"
    if max(start.black_milli) >= 1000 * start.white:
        return f"black level {max(start.black_milli) / 1000:g}, but white level {start.white}"
    if not 1 <= start.orientation <= 8:
        return f"orientation {start.orientation}, which is none of 1 to 8"
    if start.crop_x % 2 or start.crop_y % 2:
        return f"a crop at ({start.crop_x}, {start.crop_y}), which is not even"
    if mode_size is not None:
        right, bottom = start.crop_x + start.width, start.crop_y + start.height
        if right > mode_size[0] or bottom > mode_size[1]:
            return (
                f"a crop up to ({right}, {bottom}), but a mode of {mode_size[0]} x {mode_size[1]}"
            )
    return None


def _name_cfa(code: int) -> str:
    try:
        return Cfa(code).name
    except ValueError:
        return str(code)
