"""The logging level of single packets, one level below DEBUG."""

from __future__ import annotations

from typing import Final

TRACE: Final = 5
"""``lenslink -vvv`` shows it; pass it to :meth:`logging.Logger.log`."""
