"""What is known of a USB/IP server before anybody speaks to one; imports nothing slow."""

from __future__ import annotations

from typing import Final

PORT: Final = 3240
Address = str | tuple[str, int]
"""A Unix socket's path, or host and port."""

SPEED_FULL: Final = 2
SPEED_HIGH: Final = 3
SPEEDS: Final = (SPEED_FULL, SPEED_HIGH)
