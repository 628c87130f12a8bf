"""Test calibrations: their layouts, their rules, and what the driver does with wrong pieces."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import numpy as np
import pytest

from lenslink.errors import ProtocolError
from lenslink.module_calibration import ModuleCalibration
from lenslink.session import Session
from lenslink_protocol.calibration import (
    Blur,
    Defect,
    Defects,
    Distortion,
    GainMap,
    Noise,
    encode_calibration,
    get_kind,
    parse_calibration,
)
from lenslink_protocol.crc import crc32
from lenslink_protocol.ids import CalibrationKind
from lenslink_protocol.messages import CalibrationEntry, CalibrationPiece, Malformed
from lenslink_protocol.params import MAX_CALIBRATION

NOISE = Noise(((1000, 67_000, 31_000), (4000, 270_000, 400_000)))
GAIN_MAP = GainMap((1400, 2800), (0, 2000), 2, 3, tuple(range(4096, 4096 + 24)))
DISTORTION = Distortion((500_000, 400_000), (10**9, -20_000_000, 3, -4), (5, -6))
BLUR = Blur(((-100, 64_000), (3300, 73_000)))
DEFECTS = Defects((Defect(0, 5, 1), Defect(0, 2, 3), Defect(1, 0, 0)))
ALL = (NOISE, GAIN_MAP, DISTORTION, BLUR, DEFECTS)


@pytest.mark.parametrize("calibration", ALL, ids=lambda each: type(each).__name__)
def test_it_comes_back(calibration):
    data = encode_calibration(calibration)
    kind = get_kind(calibration)
    assert parse_calibration(kind, data) == calibration
    assert parse_calibration(kind, data + b"newer") == calibration
    for length in range(len(data)):
        with pytest.raises(Malformed, match=f"^calibration {kind.name}: "):
            parse_calibration(kind, data[:length])


def test_bytes_of_the_wire():
    assert encode_calibration(BLUR).hex(" ") == (
        "02 00 00 00 9c ff ff ff 00 fa 00 00 e4 0c 00 00 28 1d 01 00"
    )
    assert encode_calibration(DEFECTS)[:10].hex(" ") == "03 00 00 00 00 00 05 00 01 00"
    head = encode_calibration(GAIN_MAP)[:16]
    assert struct.unpack("<BBHHHII", head) == (2, 2, 2, 3, 0, 1400, 2800)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Noise(()), "0 gains"),
        (Noise(tuple((n, 1, 1) for n in range(1, 66))), "65 gains"),
        (Noise(((0, 1, 1),)), "is 0"),
        (Noise(((1000, 0, 1),)), "is 0"),
        (Noise(((1000, 1, 1), (1000, 1, 1))), "do not rise"),
        (GainMap((), (0,), 2, 2, ()), "0 apertures"),
        (GainMap((1,), (), 2, 2, ()), "0 focuses"),
        (GainMap((1,), (0,), 1, 2, (1, 1)), "1 rows"),
        (GainMap((1,), (0,), 2, 65, (1,) * 130), "65 columns"),
        (GainMap((0,), (0,), 2, 2, (1,) * 4), "apertures do not rise"),
        (GainMap((1,), (5, 5), 2, 2, (1,) * 8), "focuses do not rise"),
        (GainMap((1,), (0,), 2, 2, (1, 1, 0, 1)), "a gain is 0"),
        (Distortion((1_000_001, 0), (0,) * 4, (0, 0)), "axis is outside"),
        (Blur(()), "0 distances"),
        (Blur(((5, 1), (4, 1))), "do not rise"),
        (Defects((Defect(0, 1, 1), Defect(0, 1, 1))), "do not rise"),
        (Defects((Defect(0, 1, 2), Defect(0, 5, 1))), "do not rise"),
    ],
)
def test_rules(wrong, message):
    with pytest.raises(Malformed, match=message):
        parse_calibration(get_kind(wrong), encode_calibration(wrong))


def test_nothing_is_made_of_a_length_that_lies():
    with pytest.raises(Malformed, match="4294967295 pixels in 4 bytes"):
        parse_calibration(CalibrationKind.DEFECTS, b"\xff\xff\xff\xff")
    with pytest.raises(Malformed, match="more than 262144"):
        parse_calibration(CalibrationKind.DEFECTS, bytes(MAX_CALIBRATION + 1))
    assert parse_calibration(0x7FF0, b"newer") is None


# --- the driver ------------------------------------------------------------------------------


def read(pieces, crc=None):
    """Read a calibration of which the module sends *pieces*, and then anything."""
    data, asked = encode_calibration(DISTORTION), []

    def call(message, reply, deadline):
        assert len(asked) < 10, "the driver asks for ever"
        asked.append(message.offset)
        return pieces(message.offset)

    entry = CalibrationEntry(3, len(data), crc32(data) if crc is None else crc)
    return Session.read_calibration(SimpleNamespace(call=call), entry, None), asked  # type: ignore[arg-type]


def test_pieces_are_put_together():
    data = encode_calibration(DISTORTION)
    found, asked = read(lambda at: CalibrationPiece(3, at, len(data), data[at : at + 10]))
    assert found == data
    assert asked == [0, 10, 20, 30]


@pytest.mark.parametrize(
    "wrong",
    [
        CalibrationPiece(4, 0, 32, b"x"),
        CalibrationPiece(3, 1, 32, b"x"),
        CalibrationPiece(3, 0, 33, b"x"),
        CalibrationPiece(3, 0, 32, b""),
        CalibrationPiece(3, 0, 32, bytes(33)),
    ],
)
def test_a_piece_that_does_not_fit_ends_it(wrong):
    with pytest.raises(ProtocolError, match="calibration 3 does not fit together"):
        read(lambda at: wrong)


def test_a_wrong_crc_is_refused():
    data = encode_calibration(DISTORTION)
    with pytest.raises(ProtocolError, match="calibration 3 is damaged"):
        read(lambda at: CalibrationPiece(3, at, 32, data[at:]), crc=1)


# --- as arrays -------------------------------------------------------------------------------


def loaded(*calibrations):
    table = {get_kind(each): each for each in calibrations}
    return ModuleCalibration(table.get)


def test_a_module_without_calibrations_has_none():
    found = loaded()
    assert (found.noise, found.gain_map, found.distortion, found.blur) == (None,) * 4
    assert found.list_defects(0).shape == (0, 2)


def test_units_and_what_lies_between():
    found = loaded(*ALL)
    assert found.noise.at(1) == pytest.approx((67e-6, 31e-9))
    # S is linear in the gain, and O in its square.
    assert found.noise.at(2) == pytest.approx((67e-6 + 203e-6 / 3, 31e-9 + 369e-9 * 3 / 15))
    assert found.blur.at(2.0, 3300) == pytest.approx(73 / 2)
    assert found.distortion.center.tolist() == [0.5, 0.4]
    assert found.list_defects(0).tolist() == [[5, 1], [2, 3]]
    gains = found.gain_map.gain
    assert gains.shape == (2, 2, 2, 3)
    assert gains[1, 0, 1, 2] == (4096 + 17) / 4096
    # 1 / gain is linear in 1 / N and in dioptres: 1 / 1.8667 is in the middle of 1 / 1.4, 1 / 2.8.
    between = found.gain_map.at(1 / (0.5 / 1.4 + 0.5 / 2.8), 1000)
    expected = 1 / np.mean(1 / gains.reshape(4, 2, 3), axis=0)
    np.testing.assert_allclose(between, expected, rtol=1e-9)
    # Beyond the ends the nearest map holds.
    np.testing.assert_allclose(found.gain_map.at(0.9, -50), gains[0, 0])
    np.testing.assert_allclose(found.gain_map.at(22, 9000), gains[1, 1])
