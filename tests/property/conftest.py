"""A MicroPython that answers thousands of questions."""

from __future__ import annotations

import pytest
from lab import micropython


@pytest.fixture(scope="session")
def twin() -> micropython.Twin:
    return micropython.twin()
