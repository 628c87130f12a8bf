"""Which library computes CRCs, and that the slowest is as right as the fastest."""

from __future__ import annotations

import sys
import zlib
from importlib import reload

import pytest

from lenslink.cli import doctor
from lenslink_protocol import crc


@pytest.fixture
def without(monkeypatch):
    """The module as it is where some libraries cannot be imported."""

    def hide(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)
        return reload(crc)

    yield hide
    monkeypatch.undo()
    reload(crc)


def test_isal_is_the_first_choice():
    assert crc.LIBRARY == "isal"
    assert crc.crc32(b"123456789") == 0xCBF43926


def test_zlib_is_the_last_resort(without):
    slow = without("isal.isal_zlib", "zlib_ng.zlib_ng")
    assert (slow.LIBRARY, slow.crc32) == ("zlib", zlib.crc32)
    assert slow.crc32(memoryview(b"123456789")) == 0xCBF43926


def test_doctor_says_what_zlib_cannot_reach(without):
    assert doctor._crc().ok
    without("isal.isal_zlib", "zlib_ng.zlib_ng")
    check = doctor._crc()
    assert not check.ok
    assert not check.needed
    assert "Gbit/s outruns it" in check.detail
    assert "isal" in check.cure
