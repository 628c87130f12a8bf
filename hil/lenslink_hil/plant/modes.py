"""Sizes and readout modes of a sensor, and what each mode is used for.

:mod:`.scene` and :mod:`.raw_file` ask for the modes of a size; the firmware gets them as JSON.
"""

from __future__ import annotations

from dataclasses import replace

from lenslink.errors import UsageError

from .sensor_model import Mode

MIN_SIDE = 64
MAX_WIDTH = 12288
MAX_HEIGHT = 8192
PREVIEW_WIDTH = 1280
PREVIEW_HEIGHT = 960

PREVIEW = "preview"
STILL = "still"
BOTH = frozenset({PREVIEW, STILL})
NEITHER: frozenset[str] = frozenset()


def check_size(width: int, height: int, what: str = "size") -> None:
    """Check that the bench carries frames of this size. *what* names the size in the error.

    Raises:
        UsageError: the size is odd, too small or too large.
    """
    even = width % 2 == 0 and height % 2 == 0
    if not even or not (MIN_SIDE <= width <= MAX_WIDTH and MIN_SIDE <= height <= MAX_HEIGHT):
        raise UsageError(
            f"{what} {width}x{height}: width and height must be even, "
            f"from {MIN_SIDE}x{MIN_SIDE} to {MAX_WIDTH}x{MAX_HEIGHT}"
        )


def complete_frame_size(width: int | None, height: int | None) -> tuple[int, int] | None:
    """Return a size with its missing side completed to 4:3; None if both sides are missing.

    Raises:
        UsageError: as for :func:`check_size`.
    """
    if height is None:
        if width is None:
            return None
        height = 2 * round(width * 3 / 4 / 2)
    elif width is None:
        width = 2 * round(height * 4 / 3 / 2)
    check_size(width, height)
    return width, height


def make_default_modes() -> tuple[Mode, ...]:
    """Return the default module's modes: preview, still, and 100 megapixels on request."""
    return (
        _make_mode(0, PREVIEW, PREVIEW_WIDTH, PREVIEW_HEIGHT, use=frozenset({PREVIEW})),
        _make_mode(1, STILL, 4096, 3072, use=frozenset({STILL})),
        _make_mode(2, "full", MAX_WIDTH, MAX_HEIGHT, use=NEITHER),
        _make_mode(3, "binned", MAX_WIDTH // 2, MAX_HEIGHT // 2, binning=2, use=NEITHER),
    )


def make_sized_modes(width: int, height: int) -> tuple[Mode, ...]:
    """Return the modes of a sensor of this size: ``full``, and ``binned`` if it is large enough.

    The preview uses ``full`` up to 1280x960. Above that it uses ``binned``, if there is one.
    """
    full = _make_mode(0, "full", width, height, use=BOTH)
    halves = get_binned_size(width, height)
    if min(halves) < MIN_SIDE:
        return (full,)
    if width <= PREVIEW_WIDTH and height <= PREVIEW_HEIGHT:
        return (full, _make_mode(1, "binned", *halves, binning=2, use=NEITHER))
    return (
        replace(full, use=frozenset({STILL})),
        _make_mode(1, "binned", *halves, binning=2, use=frozenset({PREVIEW})),
    )


def make_file_modes(width: int, height: int, active: tuple[int, int, int, int]) -> tuple[Mode, ...]:
    """Return the modes of a RAW file: ``full``, and ``binned`` if half the size is even."""
    full = replace(_make_mode(0, "full", width, height, use=BOTH), active_area=active)
    if width % 4 or height % 4 or min(width, height) < 2 * MIN_SIDE:
        return (full,)
    top, left, bottom, right = active
    binned = replace(
        _make_mode(1, "binned", width // 2, height // 2, binning=2, use=NEITHER),
        # Rounded inwards to even numbers: a binned pixel with a share of a margin is no image
        # pixel, and readers move an odd corner.
        active_area=(-(-top // 4) * 2, -(-left // 4) * 2, bottom // 4 * 2, right // 4 * 2),
    )
    return (full, binned)


def choose_mode(modes: tuple[Mode, ...], name: str | None) -> tuple[Mode, ...]:
    """Return *modes* with the named one used for preview and still. None changes nothing.

    Raises:
        UsageError: there is no mode of that name.
    """
    if name is None:
        return modes
    names = [mode.name for mode in modes]
    if name not in names:
        raise UsageError(f"mode={name}: this sensor's modes are {', '.join(names)}")
    return tuple(replace(mode, use=BOTH if mode.name == name else NEITHER) for mode in modes)


def get_binned_size(width: int, height: int) -> tuple[int, int]:
    """Return the size after 2x2 binning: half, rounded down to even, as only whole cells count."""
    return width // 4 * 2, height // 4 * 2


def _make_mode(
    number: int, name: str, width: int, height: int, *, binning: int = 1, use: frozenset[str]
) -> Mode:
    return Mode(number, name, width, height, binning, (0, 0, height, width), use)
