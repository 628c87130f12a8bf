"""Test the parsing of settings that people type."""

from __future__ import annotations

import click
import pytest

from lenslink.cli.options import Seconds
from lenslink.cli.values import (
    Exposure,
    Focus,
    Gain,
    format_bytes,
    format_discards,
    format_exposure,
    format_focus,
)


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("10ms", 10_000),
        ("8000us", 8000),
        ("8000µs", 8000),
        ("8000", 8000),
        ("1/60", 16_667),
        ("1/60s", 16_667),
        ("0.5 s", 500_000),
        (".25s", 250_000),
        ("1", 1),
        ("1000s", 1_000_000_000),
    ],
)
def test_exposures(text, us):
    assert Exposure().convert(text, None, None) == us


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "5x", "1/0", "0.1us", "3601s", "nan", "1e3", "1/60/2", "ten"]
)
def test_invalid_exposures_are_refused(text):
    with pytest.raises(click.BadParameter, match="exposure of"):
        Exposure().convert(text, None, None)


@pytest.mark.parametrize(("text", "milli"), [("1", 1000), ("2.5", 2500), ("4x", 4000)])
def test_gains(text, milli):
    assert Gain().convert(text, None, None) == milli


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "many", "1001", ""])
def test_invalid_gains_are_refused(text):
    with pytest.raises(click.BadParameter, match="gain of"):
        Gain().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "mdpt"),
    [
        ("0", 0),
        ("inf", 0),
        ("infinity", 0),
        ("3.3", 3300),
        ("3.3dpt", 3300),
        ("3.3 D", 3300),
        ("30cm", 3333),
        ("0.5m", 2000),
        ("2m", 500),
    ],
)
def test_focus(text, mdpt):
    assert Focus().convert(text, None, None) == mdpt


@pytest.mark.parametrize("text", ["", "-1", "0m", "0.1cm", "101", "3 feet", "nan"])
def test_invalid_focus_is_refused(text):
    with pytest.raises(click.BadParameter, match="dioptres"):
        Focus().convert(text, None, None)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e999", "soon", ""])
def test_invalid_seconds_are_refused(text):
    with pytest.raises(click.BadParameter):
        Seconds().convert(text, None, None)


def test_values_are_shown_in_the_unit_that_reads_best():
    assert [format_exposure(us) for us in (800, 10_000, 1_500_000)] == ["800 us", "10 ms", "1.5 s"]
    assert format_focus(0) == "infinity"
    assert format_focus(3300) == "3.3 dioptres (30.3 cm)"
    assert [format_bytes(n) for n in (12, 65_536, 25_165_824, 3e9)] == [
        "12 bytes",
        "65.5 kB",
        "25.2 MB",
        "3.0 GB",
    ]
    assert format_discards({"noise": 0}) == "no discards"
    assert format_discards({"noise": 1, "stall": 0, "payload_crc": 2}) == (
        "discards: 1 noise, 2 payload_crc"
    )
