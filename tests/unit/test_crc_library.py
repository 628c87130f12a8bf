"""Which library computes CRCs, and that the slowest is as right as the fastest."""

from __future__ import annotations

import ast
import sys
import zlib
from importlib import reload
from pathlib import Path

import pytest

from lenslink.cli import doctor
from lenslink_protocol import crc

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = {"isal", "zlib_ng", "zlib", "binascii"}
# A benchmark's peer: construct alone, with nothing of the driver, against the driver.
APART = "hil/lenslink_hil/benchmark/peers/definition.py"


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


def test_one_module_chooses_the_library():
    found = set()
    for package in ("protocol", "host", "hil"):
        for path in (ROOT / package).rglob("lenslink*/**/*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module or ""]
                if LIBRARIES & {name.partition(".")[0] for name in names}:
                    found.add(path.relative_to(ROOT).as_posix())
    assert found == {APART}


def test_isal_is_the_first_choice():
    assert crc.LIBRARY == "isal"
    assert crc.crc32(b"123456789") == 0xCBF43926


@pytest.mark.parametrize("hidden", [(), ("isal.isal_zlib", "zlib_ng.zlib_ng")])
def test_a_crc_can_be_continued(without, hidden):
    library = without(*hidden)
    assert library.crc32(b"56789", library.crc32(b"1234")) == 0xCBF43926
    assert library.crc32(b"") == 0


def test_zlib_is_the_last_resort(without):
    slow = without("isal.isal_zlib", "zlib_ng.zlib_ng")
    assert (slow.LIBRARY, slow.crc32) == ("zlib", zlib.crc32)
    assert slow.crc32(memoryview(b"123456789")) == 0xCBF43926


def test_doctor_says_what_zlib_cannot_reach(without):
    assert doctor._check_crc().ok
    without("isal.isal_zlib", "zlib_ng.zlib_ng")
    check = doctor._check_crc()
    assert not check.ok
    assert not check.needed
    assert "too slow for a link of more than" in check.detail
    assert "isal" in check.cure
