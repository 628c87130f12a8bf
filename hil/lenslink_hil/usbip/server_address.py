"""Constants of a USB/IP server that the command line needs at once.

This module imports nothing, so that ``lenslink --help`` stays fast.
"""

from __future__ import annotations

from typing import Final

PORT: Final = 3240
Address = str | tuple[str, int]
"""The path of a Unix socket, or host and port."""

SPEED_FULL: Final = 2
SPEED_HIGH: Final = 3
SPEEDS: Final = (SPEED_FULL, SPEED_HIGH)
