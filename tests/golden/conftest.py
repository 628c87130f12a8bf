"""The vectors, and a MicroPython that reads them too."""

from __future__ import annotations

import pytest
from lab import micropython


@pytest.fixture(scope="session")
def twin() -> micropython.Twin:
    return micropython.twin()
