"""Provide a MicroPython process that reads the vectors."""

from __future__ import annotations

import pytest
from helpers import micropython_process


@pytest.fixture(scope="session")
def twin() -> micropython_process.Twin:
    return micropython_process.twin()
