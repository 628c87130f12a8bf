"""Test that every CRC-32 in use is the one that the protocol names."""

from __future__ import annotations

import binascii
import zlib

import crcmod
import crcmod.predefined
from helpers.vectors import each, load
from isal import isal_zlib


@each("crc")
def test_every_implementation_agrees(vector, twin):
    data, expected = bytes.fromhex(vector["data"]), int(vector["crc"], 16)
    named = crcmod.predefined.mkPredefinedCrcFun("crc-32")
    # The parameters that SPEC.md states.
    described = crcmod.mkCrcFun(0x104C11DB7, initCrc=0, rev=True, xorOut=0xFFFFFFFF)
    for crc32 in (named, described, isal_zlib.crc32, zlib.crc32, binascii.crc32):
        assert crc32(data) == expected
    assert twin.ask("crc32", vector["data"]) == expected


def test_the_catalogues_check_value():
    found = {bytes.fromhex(vector["data"]): vector["crc"] for vector in load("crc")}
    assert found[b"123456789"] == "cbf43926"
    assert found[b""] == "00000000"
