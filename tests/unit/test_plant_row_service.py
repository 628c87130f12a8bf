"""Test the rows protocol without sockets: order, queueing, computing ahead, refusals."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from lenslink.errors import ProtocolError
from lenslink.settings import Settings
from lenslink_hil.plant.binning import Crop
from lenslink_hil.plant.patterns import make_pattern
from lenslink_hil.plant.row_service import AHEAD_BYTES, MAX_QUEUED, Request, RowService
from lenslink_hil.plant.scene import SceneOptions, open_scene
from lenslink_protocol.ids import PixelFormat


def service(width=640, height=480):
    return RowService(open_scene(SceneOptions(scene="prbs", width=width, height=height)))


def request(number, mode=0, exposure_us=10_000):
    return Request(number, mode, Settings(exposure_us, 1000, 0))


def drain(rows, chunk=100_000):
    """Compute and take everything, in pieces of another size than the bands."""
    taken = []
    while rows.has_work() or rows.get_output() is not None:
        while rows.has_work():
            rows.work()
        data = rows.get_output()
        if data is not None:
            taken.append(bytes(data[:chunk]))
            rows.mark_sent(len(taken[-1]))
    return b"".join(taken)


def expected(*numbers, width=640, height=480):
    frames = [
        make_pattern("prbs", width, height, bits=12, cfa="RGGB", seed=0, frame_number=number)
        for number in numbers
    ]
    return b"".join(frame.astype("<u2").tobytes() for frame in frames)


def test_request_layout():
    made = Request(1, 2, Settings((1 << 30) - 1, 4, 5, 6))
    data = made.pack()
    assert len(data) == 40
    shared = struct.pack("<IHHIIiIIHH", 1, 2, 0, (1 << 30) - 1, 4, 5, 6, 0, 0, 0)
    assert data == shared + bytes(8)
    assert Request.unpack(data) == made
    cropped = made._replace(crop=Crop(8, 10, 12, 14))
    assert cropped.pack() == shared + struct.pack("<HHHH", 8, 10, 12, 14)
    assert Request.unpack(cropped.pack()) == cropped


def test_a_request_may_carry_what_no_user_may_ask_for():
    data = struct.pack("<IHHIIiIIHH8x", 1, 2, 0, 2**32 - 1, 0, -5, 0, 0, 0, 0)
    assert Request.unpack(data) == Request(1, 2, Settings(exposure_us=2**30 - 1))


def test_requests_are_answered_in_order_however_they_arrive():
    numbers = [7, 8, 9, 3, 2**32 - 1]
    data = b"".join(request(number).pack() for number in numbers)
    for size in (5, 40, 41, len(data)):
        rows = service()
        for at in range(0, len(data), size):
            rows.feed(data[at : at + size])
        assert drain(rows) == expected(*numbers)


def test_streams_are_computed_ahead_but_only_streams():
    rows = service()
    for number in (1, 2):
        assert rows.get_output() is None
        rows.feed(request(number).pack())
        assert drain(rows) == expected(number)
    # The third frame is ready at once ...
    rows.feed(request(3).pack())
    assert bytes(rows.get_output() or b"") != b""
    assert drain(rows) == expected(3)
    # ... but not another frame, or the third with other settings.
    rows.feed(request(40).pack())
    assert rows.get_output() is None
    assert drain(rows) == expected(40)
    rows.feed(request(41).pack())
    assert drain(rows) == expected(41)
    rows.feed(request(42, exposure_us=5).pack())
    assert rows.get_output() is None
    assert drain(rows) == expected(42)


def test_what_is_computed_ahead_is_bounded():
    rows = service(8192, 4096)
    rows.feed(request(0).pack())
    steps = 0
    while rows.has_work():
        rows.work()
        steps += 1
    assert steps * (1 << 19) <= AHEAD_BYTES + (1 << 19)


def test_too_many_requests():
    rows = service()
    for number in range(1 + MAX_QUEUED):
        rows.feed(request(number).pack())
    with pytest.raises(ProtocolError, match="more than 4"):
        rows.feed(request(9).pack())


def test_unknown_mode():
    with pytest.raises(ProtocolError, match="no mode 7"):
        service().feed(request(0, mode=7).pack())


@pytest.mark.parametrize(("byte", "said"), [(6, "flags 0x4"), (7, "flags 0x400")])
def test_unknown_flags_are_refused(byte, said):
    data = bytearray(request(0).pack())
    data[byte] = 4
    with pytest.raises(ProtocolError, match=said):
        service().feed(bytes(data))


@pytest.mark.parametrize("code", [1, 0x010A0058, 0x810A2B01])
def test_formats_that_the_sensor_does_not_have(code):
    """Unknown formats and formats with fewer bits are refused."""
    with pytest.raises(ProtocolError, match="no pixel format"):
        service().feed(request(0)._replace(pixel_format=code).pack())


@pytest.mark.parametrize("tile", [(0, 1), (640, 0), (320, 2), (3, 1)])
def test_impossible_tiles_are_refused(tile):
    """Tiles of neither whole rows nor part of one row, or not of whole groups, are refused."""
    asked = request(0)._replace(crcs=True, pixel_format=PixelFormat.RG12p, tile=tile)
    with pytest.raises(ProtocolError, match="no tiles"):
        service().feed(asked.pack())


def test_binned_frames_have_their_modes_size():
    rows = service()
    rows.feed(request(0, mode=1).pack())
    assert len(np.frombuffer(drain(rows), "<u2")) == 320 * 240
