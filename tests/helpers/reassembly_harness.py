"""A reassembly for tests, and shorthand for what a module sends to it."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable

import numpy as np

from lenslink.receive.assembly import Assembly
from lenslink.receive.frame_pool import Pool
from lenslink.receive.reassembly import Reassembly
from lenslink_protocol.ids import DiscardReason, EndStatus, FrameState, MessageType
from lenslink_protocol.messages import Configured, FrameEnd, FrameStart, Header, Resent

WIDTH, HEIGHT = 16, 8
STRIDE = 2 * WIDTH
SIZE = STRIDE * HEIGHT
PLAN = Configured(0, 0, 1, 0x01100010, WIDTH, HEIGHT, STRIDE, SIZE, 64)
START = FrameStart(
    1, 3, 0, WIDTH, HEIGHT, 1, 6, 12, 0x01100010, STRIDE, 4095, 0, (0,) * 4, *range(1, 11)
)
STRIPS = [(0, y, WIDTH, 2) for y in range(0, HEIGHT, 2)]
POISON = 0xEE

SMALL_WIDTH, SMALL_HEIGHT = 4, 6
SMALL_STRIDE = 2 * SMALL_WIDTH
SMALL_SIZE = SMALL_STRIDE * SMALL_HEIGHT
SMALL_PLAN = Configured(
    0, 0, 1, 0x01100010, SMALL_WIDTH, SMALL_HEIGHT, SMALL_STRIDE, SMALL_SIZE, 2 * SMALL_STRIDE
)


def end_of(status=EndStatus.OK, last=0):
    """A frame-end for one lane."""
    return FrameEnd(status, 1, 4, 0, (last, 0, 0, 0), 0)


def picture(frame):
    """The pixels that frame *frame* is made of."""
    return (
        ((np.arange(WIDTH * HEIGHT) * 7 + frame * 1000) % 4096).astype("<u2").reshape(HEIGHT, WIDTH)
    )


def content(place, frame):
    """The bytes of a tile of that frame."""
    x, y, width, height = place
    return picture(frame)[y : y + height, x : x + width].tobytes()


class Poisoned(Pool):
    """Memory as of another frame; counts what is out."""

    def __init__(self) -> None:
        super().__init__()
        self.acquired: list[int] = []
        self.out = 0

    def acquire(self, size, frame=-1):
        self.acquired.append(size)
        self.out += 1
        buffer = super().acquire(size, frame)
        buffer[:] = POISON
        return buffer

    def release(self, buffer):
        self.out -= 1
        super().release(buffer)


class Lane:
    """A lane that has received everything up to ``last_sequence``."""

    def __init__(self, number=0, last_sequence: int | None = 0) -> None:
        self.number = number
        self.is_alive = True
        self.last_sequence = last_sequence


class _Harness:
    """A reassembly with its pool and its counters."""

    def __init__(self, plans: Callable[[int], Configured | None], lanes: list[Lane]) -> None:
        self.discards: Counter[DiscardReason] = Counter()
        self.pool = Poisoned()
        self.frames = Reassembly(self.pool, self.discards, plans)
        self.frames.attach_lanes(lanes)

    def header(self, kind, frame=0, stream=0, place=(0, 0, 0, 0), length=0, flags=0):
        """A header as the reassembly sees it."""
        return Header(0x10, kind, flags, stream, 0, 0, frame, *place, length, 0, 0)

    @property
    def finished(self) -> list[Assembly]:
        """The frames that were handed on and not taken."""
        return list(self.frames.finished_frames)

    def numbers(self) -> list[int]:
        """Their numbers."""
        return [assembly.number for assembly in self.frames.finished_frames]

    def only(self) -> Assembly:
        """The only frame that was handed on."""
        (assembly,) = self.frames.finished_frames
        return assembly


class Harness(_Harness):
    """Frames of 16 x 8 pixels, of one stream or two, each with a picture of its own."""

    def __init__(self, *, resend=False, plans=None, lanes=1):
        self.plans = {0: PLAN, 1: PLAN} if plans is None else plans
        super().__init__(self.plans.get, [Lane(number) for number in range(lanes)])
        self.frames.can_resend = resend

    def start(self, frame=1, stream=0, now=0.0, message=START):
        """Receive a frame-start."""
        self.frames.on_frame_start(
            self.header(MessageType.FRAME_START, frame, stream), message, now
        )

    def end(self, frame=1, stream=0, now=0.0, message=None):
        """Receive a frame-end."""
        header = self.header(MessageType.FRAME_END, frame, stream)
        self.frames.on_frame_end(header, message or end_of(), now)

    def tile(
        self, place, frame=1, stream=0, now=0.0, fill=None, *, length=None, sound=True, flags=0,
        lane=0, pixels_of=None,
    ):  # fmt: skip
        """Receive a tile as a receiver does, in place if there is a place; whether it was."""
        _, _, width, height = place
        size = 2 * width * height if length is None else length
        header = self.header(MessageType.TILE, frame, stream, place, size, flags)
        data = (
            content(place, pixels_of or frame)[:size].ljust(size, b"\0")
            if fill is None
            else fill * size
        )
        memory = self.frames.reserve_buffer(header, lane)
        in_place = memory is not None
        if memory is None:
            memory = memoryview(bytearray(size))
        memory[:] = data
        if sound:
            self.frames.on_tile(header, memory, in_place, now, lane)
        return in_place

    def whole(self, frame=1, stream=0, now=0.0):
        """Receive all of a frame."""
        self.start(frame, stream, now)
        for y in range(0, HEIGHT, 2):
            self.tile((0, y, WIDTH, 2), frame, stream, now)
        self.end(frame, stream, now)

    def resent(self, state, *places, frame=1, stream=0, flags=0, count=None):
        """Receive the answer to a resend, which calls *places* gone."""
        tail = b"".join(struct.pack("<4H", *place) for place in places)
        message = Resent(flags, state, len(places) if count is None else count, tail)
        self.frames.on_resent(self.header(MessageType.RESENT, frame, stream), message, 0.0)


class SmallHarness(_Harness):
    """Frames of 4 x 6 pixels with resends, numbered from 0; stream 1 is not configured.

    A strip at row r holds nothing but bytes of the value r + 1.
    """

    def __init__(self, lanes: int = 1, *, resend: bool = True) -> None:
        plans = {0: SMALL_PLAN, 1: None}
        super().__init__(plans.get, [Lane(number, None) for number in range(lanes)])
        self.frames.can_resend = resend

    def start(self, frame=0, now=0.0, stream=0, **changes):
        """Receive a frame-start."""
        fields = {
            "mode": 1, "request": 3, "width": SMALL_WIDTH, "height": SMALL_HEIGHT, "cfa": 1,
            "orientation": 1, "bits": 12, "pixel_format": 0x1100010, "stride": SMALL_STRIDE,
            "white": 4095, "black_milli": (0, 0, 0, 0), "timestamp_us": 0, "exposure_us": 0,
            "gain_milli": 0, "focus_mdpt": 0, "temperature_mc": 0, "flags": 0, "aperture_milli": 0,
            "interval_us": 0, "row_time_ns": 0, "noise_slope": 0, "noise_offset": 0,
            "focus_ring": 0, **changes,
        }  # fmt: skip
        header = self.header(MessageType.FRAME_START, frame, stream)
        self.frames.on_frame_start(header, FrameStart(**fields), now)

    def strip(
        self, row, rows=2, frame=0, now=0.0, lane=0, *, x=0, width=SMALL_WIDTH, flags=0, stream=0,
        value=None,
    ):  # fmt: skip
        """Receive a tile as a receiver does, in place if there is a place; whether it was."""
        size = 2 * width * rows
        header = self.header(MessageType.TILE, frame, stream, (x, row, width, rows), size, flags)
        payload = bytes([row + 1 if value is None else value]) * size
        memory = self.frames.reserve_buffer(header, lane)
        if memory is not None:
            memory[:] = payload
        data = memoryview(payload) if memory is None else memory
        self.frames.on_tile(header, data, memory is not None, now, lane)
        return memory is not None

    def place_strip(self, row, frame=0, lane=0, stream=0):
        """Begin to receive a strip of two rows; the memory, if it is placed."""
        place = (0, row, SMALL_WIDTH, 2)
        header = self.header(MessageType.TILE, frame, stream, place, 2 * SMALL_STRIDE)
        return self.frames.reserve_buffer(header, lane)

    def end(self, frame=0, now=0.0, message=None, stream=0):
        """Receive a frame-end."""
        header = self.header(MessageType.FRAME_END, frame, stream)
        self.frames.on_frame_end(
            header, message or FrameEnd(EndStatus.OK, 1, 3, 0, (0, 0, 0, 0), 0), now
        )

    def resent(self, state=FrameState.ENDED, gone=(), frame=0, now=0.0, count=None, stream=0):
        """Receive the answer to a resend, which calls the places in *gone* gone."""
        tail = b"".join(struct.pack("<4H", *place) for place in gone)
        message = Resent(0, state, len(gone) if count is None else count, tail)
        self.frames.on_resent(self.header(MessageType.RESENT, frame, stream), message, now)


TRY_WAITS_S = (0.05, 0.1, 0.2, 0.4, 0.4, 0.4, 0.4, 0.4)
"""How long the reassembly waits after each request for lost parts that nobody answers."""


def asked(harness: _Harness, now: float):
    """What the reassembly asks for at that time, as (frame, flags, rectangles)."""
    return [
        (each.frame, each.flags, each.rectangles) for each in harness.frames.request_missing(now)
    ]
