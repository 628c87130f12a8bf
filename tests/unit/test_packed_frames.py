"""Frames whose pixels share bytes: which tiles fit, what is asked for again, what a frame shows."""

from __future__ import annotations

import struct
from collections import Counter

import numpy as np
import pytest
from helpers.made_frames import make_frame

from lenslink.frame import FrameMemory
from lenslink.receive import rice_decoding
from lenslink.receive.frame_pool import Pool
from lenslink.receive.reassembly import Reassembly
from lenslink.receive.unpacking import pack
from lenslink_protocol.ids import (
    DiscardReason,
    EndStatus,
    FrameState,
    ManifestKey,
    MessageType,
    PixelFormat,
)
from lenslink_protocol.manifest import encode_entry, parse_manifest
from lenslink_protocol.messages import (
    ColorEntry,
    Configured,
    FormatEntry,
    FrameEnd,
    FrameStart,
    Header,
    Malformed,
    ModeEntry,
    Resent,
    SensorEntry,
)
from lenslink_protocol.packings import find_layout
from lenslink_protocol.params import RESEND_RETRY_MS
from lenslink_protocol.rice import encode_tile

HEIGHT = 8
# A row of 14 bits whose end cuts a group, and one of 12 bits.
FORMS = [
    pytest.param(find_layout(code), width, id=f"{code.name}-{width}")
    for code, width in (
        (PixelFormat.RG14Mipi, 18),
        (PixelFormat.GR10p, 22),
        (PixelFormat.BG12p, 16),
        (PixelFormat.GB12Packed, 18),
    )
]
BITS = 10
"""Of the pixels: fewer than some of the formats take."""


class Poisoned(Pool):
    """Memory as of another frame."""

    def acquire(self, size, frame=-1):
        buffer = super().acquire(size, frame)
        buffer[:] = 0xEE
        return buffer


def picture(width):
    return (np.arange(1, width * HEIGHT + 1, dtype=np.uint16) & 0x3FF).reshape(HEIGHT, width)


class Harness:
    """A reassembly that expects frames of that form."""

    def __init__(self, form, width, resend=False):
        self.form, self.width = form, width
        self.stride = form.count_bytes(width)
        self.packed = pack(picture(width), form)
        size = self.stride * HEIGHT
        self.plan = Configured(0, 0, 1, form.code, width, HEIGHT, self.stride, size, size)
        self.discards = Counter()
        self.frames = Reassembly(Poisoned(), self.discards, {0: self.plan}.get)
        self.frames.can_resend = resend
        self.frames.attach_lanes([Lane()])

    def header(self, kind, place=(0, 0, 0, 0), length=0):
        return Header(0x10, kind, 0, 0, 0, 0, 1, *place, length, 0, 0)

    def start(self, **changes):
        fields = {
            "mode": 1, "request": 3, "width": self.width, "height": HEIGHT, "cfa": self.form.cfa,
            "orientation": 1, "bits": BITS, "pixel_format": self.form.code, "stride": self.stride,
            "white": 1023, "black_milli": (0,) * 4, "timestamp_us": 0, "exposure_us": 0,
            "gain_milli": 0, "focus_mdpt": 0, "temperature_mc": 0, "flags": 0, "aperture_milli": 0,
            "interval_us": 0, "row_time_ns": 0, "noise_slope": 0, "noise_offset": 0,
            "focus_ring": 0, **changes,
        }  # fmt: skip
        self.frames.on_frame_start(self.header(MessageType.FRAME_START), FrameStart(**fields), 0.0)

    def tile(self, place, payload=None):
        """A tile as a receiver brings it; its payload is the picture's there."""
        x, y, columns, rows = place
        left, right = self.form.count_bytes(x), self.form.count_bytes(x + columns)
        if payload is None:
            payload = self.packed[y : y + rows, left:right].tobytes()
        header = self.header(MessageType.TILE, place, len(payload))
        memory = self.frames.reserve_buffer(header)
        in_place = memory is not None
        if memory is None:
            memory = memoryview(bytearray(len(payload)))
        memory[:] = payload
        self.frames.on_tile(header, memory, in_place, 0.0)

    def end(self):
        message = FrameEnd(EndStatus.OK, 1, 4, 0, (0,) * 4, 0)
        self.frames.on_frame_end(self.header(MessageType.FRAME_END), message, 0.0)

    def only(self):
        (assembly,) = self.frames.finished_frames
        return assembly


class Lane:
    number = 0
    is_alive = True
    last_sequence = 0


@pytest.mark.parametrize(("form", "width"), FORMS)
def test_strips_segments_and_rectangles_of_packed_pixels_are_received(form, width):
    bench = Harness(form, width)
    bench.start()
    half = width // 2 // form.group * form.group
    bench.tile((0, 0, width, 2))
    for y in (2, 3):
        bench.tile((0, y, half, 1))
        bench.tile((half, y, width - half, 1))
    # Side by side, of several rows each.
    bench.tile((half, 4, width - half, 4))
    bench.tile((0, 4, half, 4))
    bench.end()
    assert not +bench.discards
    assert bench.only().received_ranges.is_complete
    assert (bench.only().unpack_pixels() == picture(width)).all()


@pytest.mark.parametrize(("form", "width"), FORMS)
def test_tiles_inside_a_group_are_discarded(form, width):
    """Each place that is not on groups, with each length that somebody might give it."""
    bench = Harness(form, width)
    bench.start()
    wrong = 0
    for x in range(width):
        for columns in range(1, width - x + 1):
            if form.is_aligned(x, columns, width):
                continue
            between = form.count_bytes(x + columns) - form.count_bytes(x)
            for row in {between, form.count_bytes(columns), 2 * columns}:
                bench.tile((x, 2, columns, 2), bytes([0x55]) * 2 * row)
                wrong += 1
    assert +bench.discards == {DiscardReason.GEOMETRY: wrong}
    for y in range(0, HEIGHT, 2):
        bench.tile((0, y, width, 2))
    bench.end()
    assert (bench.only().unpack_pixels() == picture(width)).all()


@pytest.mark.parametrize(("form", "width"), FORMS)
def test_a_tile_of_another_length_is_discarded(form, width):
    bench = Harness(form, width)
    bench.start()
    for length in (0, 2 * bench.stride - 1, 2 * bench.stride + 1, 2 * 2 * width):
        bench.tile((0, 0, width, 2), bytes(length))
    assert +bench.discards == {DiscardReason.GEOMETRY: 4}


@pytest.mark.parametrize(("form", "width"), FORMS)
def test_a_frame_start_of_another_format_is_discarded(form, width):
    other = next(each for each in PixelFormat if find_layout(each).bits == form.bits != each)
    if other == form.code:
        other = PixelFormat.RG12
    for changes in (
        {"pixel_format": other},
        {"pixel_format": 0},
        {"stride": bench_stride(form, width) + 1},
        {"stride": 2 * width},
        {"bits": form.bits + 1},
    ):
        bench = Harness(form, width)
        bench.start(**changes)
        assert +bench.discards == {DiscardReason.GEOMETRY: 1}, changes


def bench_stride(form, width):
    return form.count_bytes(width)


@pytest.mark.parametrize(("form", "width"), FORMS)
def test_missing_packed_tiles_are_requested_in_pixels(form, width):
    """A strip, a segment up to the row's end, and one inside a row."""
    bench = Harness(form, width, resend=True)
    group = form.group
    bench.start()
    bench.tile((0, 2, width - group - width % group, 1))
    bench.tile((0, 3, width, 1))
    bench.tile((0, 4, group, 1))
    bench.tile((2 * group, 4, width - 2 * group, 1))
    bench.tile((0, 5, width, 3))
    bench.end()
    (missing,) = bench.frames.request_missing(RESEND_RETRY_MS)
    first = width - group - width % group
    wanted = [(0, 0, width, 2), (first, 2, width - first, 1), (group, 4, group, 1)]
    assert list(missing.rectangles) == wanted
    gone = b"".join(struct.pack("<4H", *each) for each in wanted)
    answer = Resent(0, FrameState.ENDED, len(wanted), gone)
    bench.frames.on_resent(bench.header(MessageType.RESENT), answer, 0.1)
    assembly = bench.only()
    missing_ranges = assembly.missing_ranges
    expected = picture(width)
    mask = np.ones_like(expected, bool)
    for x, y, columns, rows in wanted:
        mask[y : y + rows, x : x + columns] = False
    assert (assembly.unpack_pixels() == np.where(mask, expected, 0)).all()
    frame = frame_of(assembly.buffer.reshape(HEIGHT, -1), form, missing_ranges)
    assert (frame.mask == mask).all()


def frame_of(packed, form, missing_ranges=()):
    frame = make_frame(np.zeros((2, 2), np.uint16), layout=form, missing_ranges=missing_ranges)
    frame.packed = packed
    return frame


@pytest.mark.parametrize(("form", "width"), FORMS)
def test_a_frame_is_unpacked_at_the_first_access_only(form, width):
    packed = pack(picture(width), form)
    frame = frame_of(packed, form)
    frame._memory = FrameMemory(lambda: None)
    frame._memory.add_user()
    assert (frame.height, frame.width) == (HEIGHT, width)
    shown = frame.pixels
    assert (shown == picture(width)).all()
    packed[:] = 0
    assert frame.pixels is shown
    assert shown.any()
    frame.release()
    assert frame.pixels.size == 0


def test_a_frame_that_is_not_packed_is_the_memory_itself():
    words = picture(16)
    frame = make_frame(words)
    frame.packed[0, 0] = 77
    assert frame.pixels[0, 0] & 0xFF == 77
    assert np.shares_memory(frame.pixels, frame.packed)


@pytest.mark.parametrize(("form", "width"), FORMS)
def test_a_mask_marks_whole_groups(form, width):
    """A byte that is missing takes every pixel of its group with it, and no other."""
    packed = pack(picture(width), form)
    stride = packed.shape[1]
    size = form.count_bytes(form.group)
    for at in range(2 * stride):
        row, byte = divmod(at, stride)
        frame = frame_of(packed, form, ((at, at + 1),))
        expected = np.ones((HEIGHT, width), bool)
        first = byte // size * form.group
        expected[row, first : first + form.group] = False
        assert (frame.mask == expected).all(), at


# --- what a manifest may list ------------------------------------------------------------------


def manifest(codes, bits=12, cfa=0):
    texts = [(key, b"x") for key in range(ManifestKey.MAKER, ManifestKey.BOARD + 1)]
    sensor = SensorEntry(64, 64, bits, cfa, 1, (1 << bits) - 1, (0,) * 4).encode()
    mode = ModeEntry(1, 64, 64, 1, 3, (0, 0, 64, 64), b"m".ljust(16, b"\0"), 1400).encode()
    parts = [
        *texts,
        (ManifestKey.SENSOR, sensor),
        (ManifestKey.COLOR, ColorEntry.FIXED.pack(21, 0, *[1] * 24)),
        (ManifestKey.MODE, mode),
        *[(ManifestKey.FORMAT, FormatEntry(code).encode()) for code in codes],
    ]
    return parse_manifest(b"".join(encode_entry(key, value) for key, value in parts))


def test_formats_of_a_manifest():
    assert manifest([]).formats == (PixelFormat.RG12,)
    assert manifest([], bits=9).formats == (PixelFormat.RG10,)
    listed = [PixelFormat.RG12Mipi, PixelFormat.RG12]
    assert manifest(listed).formats == tuple(listed)
    # What this version does not know is not asked for.
    assert manifest([0x01234567, *listed]).formats == tuple(listed)
    # A sensor may offer frames of fewer bits: FrameStart states their bits and levels.
    assert manifest([PixelFormat.RG10p]).formats == (PixelFormat.RG10p,)


@pytest.mark.parametrize(
    ("codes", "rule"),
    [
        ([0x01234567], "no known code among 0x01234567"),
        ([PixelFormat.RG12, PixelFormat.GR12], "GR12 has another phase than the sensor, RGGB"),
        ([PixelFormat.RG12] * 17, "17 formats, more than 16"),
    ],
    ids=["unknown", "another phase", "too many"],
)
def test_a_refusal_of_formats_names_the_entry(codes, rule):
    with pytest.raises(Malformed) as refusal:
        manifest(codes)
    assert str(refusal.value) == f"manifest entry 0x0013 (FORMAT): {rule}"


# --- coded tiles -------------------------------------------------------------------------------

RICE = find_layout(PixelFormat.RG12Rice)


def code_of(place):
    x, y, columns, rows = place
    return encode_tile(picture(20)[y : y + rows, x : x + columns].tolist(), 12)


@pytest.mark.parametrize("is_fast", [False, True])
def test_coded_tiles_and_others_make_a_frame(monkeypatch, is_fast):
    if not is_fast:
        monkeypatch.setattr(rice_decoding, "prepare", lambda: None)
    bench = Harness(RICE, 20)
    bench.start()
    # A strip, then parts of rows, then two side by side of several rows each.
    for place in ((0, 0, 20, 2), (0, 2, 8, 1), (0, 3, 20, 1), (0, 4, 12, 4)):
        code = code_of(place)
        assert len(code) < RICE.count_bytes(place[2]) * place[3]
        bench.tile(place, code + bytes(1 if place[2] == 20 else 0))
    bench.tile((8, 2, 12, 1))
    bench.tile((12, 4, 8, 4))
    bench.end()
    assert not +bench.discards
    assert bench.only().received_ranges.is_complete
    assert (bench.only().unpack_pixels() == picture(20)).all()
    assert bench.only().buffer.tobytes() == bench.packed.tobytes()


def test_a_damaged_code_is_a_missing_tile():
    """It is asked for again, and what it decodes to stands nowhere."""
    bench = Harness(RICE, 20, resend=True)
    bench.start()
    first, second = (0, 0, 20, 4), (0, 4, 20, 4)
    bench.tile(first, code_of(first)[:-1])
    bench.tile(second, code_of(second))
    bench.end()
    assert bench.discards == {DiscardReason.MALFORMED: 1}
    (missing,) = bench.frames.request_missing(RESEND_RETRY_MS / 1000 + 1)
    assert missing.rectangles == (first,)
    bench.tile(first, code_of(first))
    assert (bench.only().unpack_pixels() == picture(20)).all()


def test_a_coded_tile_changes_no_received_pixel():
    bench = Harness(RICE, 20)
    bench.start()
    bench.tile((0, 0, 20, HEIGHT))
    bench.tile((0, 0, 20, 2), encode_tile([[5] * 20] * 2, 12))
    bench.end()
    assert bench.discards == {DiscardReason.DUPLICATE: 1}
    assert (bench.only().unpack_pixels() == picture(20)).all()


@pytest.mark.parametrize("length", [0, 2 * 30 + 1])
def test_no_tile_of_rice_is_empty_or_longer_than_its_pixels(length):
    bench = Harness(RICE, 20)
    bench.start()
    bench.tile((0, 0, 20, 2), bytes(length))
    assert bench.discards == {DiscardReason.GEOMETRY: 1}


def test_other_packings_have_no_codes():
    bench = Harness(find_layout(PixelFormat.RG12p), 20)
    bench.start()
    bench.tile((0, 0, 20, 2), code_of((0, 0, 20, 2)))
    assert bench.discards == {DiscardReason.GEOMETRY: 1}
