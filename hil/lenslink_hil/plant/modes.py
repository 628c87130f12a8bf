"""Sizes and readout modes: which a sensor of a given size has, and what each is used for."""

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
    """Hold a frame to the sizes that the bench carries.

    :raises UsageError: in one line that states the rule.
    """
    even = width % 2 == 0 and height % 2 == 0
    if not even or not (MIN_SIDE <= width <= MAX_WIDTH and MIN_SIDE <= height <= MAX_HEIGHT):
        raise UsageError(
            f"{what} {width}x{height}: width and height must be even, "
            f"from {MIN_SIDE}x{MIN_SIDE} to {MAX_WIDTH}x{MAX_HEIGHT}"
        )


def complete_frame_size(width: int | None, height: int | None) -> tuple[int, int] | None:
    """Complete a size of which one side may be missing (4:3), None when both are.

    :raises UsageError: as :func:`check_size`.
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
    """Give the default module's modes: preview, still, and the whole 100 MP when asked for."""
    return (
        _mode(0, PREVIEW, PREVIEW_WIDTH, PREVIEW_HEIGHT, use=frozenset({PREVIEW})),
        _mode(1, STILL, 4096, 3072, use=frozenset({STILL})),
        _mode(2, "full", MAX_WIDTH, MAX_HEIGHT, use=NEITHER),
        _mode(3, "binned", MAX_WIDTH // 2, MAX_HEIGHT // 2, binning=2, use=NEITHER),
    )


def make_sized_modes(width: int, height: int) -> tuple[Mode, ...]:
    """Give the modes of a sensor of this size: ``full``, and ``binned`` where it is large enough.

    Preview uses ``full`` when that is no larger than 1280x960, else ``binned`` if there is one.
    """
    full = _mode(0, "full", width, height, use=BOTH)
    halves = get_binned_size(width, height)
    if min(halves) < MIN_SIDE:
        return (full,)
    if width <= PREVIEW_WIDTH and height <= PREVIEW_HEIGHT:
        return (full, _mode(1, "binned", *halves, binning=2, use=NEITHER))
    return (
        replace(full, use=frozenset({STILL})),
        _mode(1, "binned", *halves, binning=2, use=frozenset({PREVIEW})),
    )


def make_file_modes(width: int, height: int, active: tuple[int, int, int, int]) -> tuple[Mode, ...]:
    """Give the modes of a RAW file: ``full`` for everything, ``binned`` when halves are even."""
    full = replace(_mode(0, "full", width, height, use=BOTH), active_area=active)
    if width % 4 or height % 4 or min(width, height) < 2 * MIN_SIDE:
        return (full,)
    top, left, bottom, right = active
    binned = replace(
        _mode(1, "binned", width // 2, height // 2, binning=2, use=NEITHER),
        # Inwards: a binned pixel that a margin's pixel went into is no image.
        active_area=((top + 1) // 2, (left + 1) // 2, bottom // 2, right // 2),
    )
    return (full, binned)


def choose_mode(modes: tuple[Mode, ...], name: str | None) -> tuple[Mode, ...]:
    """Make the named mode the one used for preview and still; None leaves all as they are.

    :raises UsageError: for an unknown name, with the names there are.
    """
    if name is None:
        return modes
    names = [mode.name for mode in modes]
    if name not in names:
        raise UsageError(f"mode={name}: this sensor's modes are {', '.join(names)}")
    return tuple(replace(mode, use=BOTH if mode.name == name else NEITHER) for mode in modes)


def get_binned_size(width: int, height: int) -> tuple[int, int]:
    """Give the size after 2x2 binning: whole 4x4 cells only, so half, rounded down to even."""
    return width // 4 * 2, height // 4 * 2


def _mode(
    number: int, name: str, width: int, height: int, *, binning: int = 1, use: frozenset[str]
) -> Mode:
    return Mode(number, name, width, height, binning, (0, 0, height, width), use)
