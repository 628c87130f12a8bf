"""A module that means harm: the host stays within its deadline and within bounded memory.

Whatever the module says, in whatever number; on real time, since what is bounded is the host's
own computing too.
"""

from __future__ import annotations

import itertools
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence

import pytest
from helpers.slowdown import patience
from helpers.undisturbed import Moment

from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, LensLinkError, ProtocolError, Timeout
from lenslink.session import Session
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import BusyReason, Capability, MessageType, NoticeReason
from lenslink_protocol.messages import (
    BY_TYPE,
    HEADER,
    Busy,
    Close,
    Configure,
    Configured,
    FrameEnd,
    FrameStart,
    Header,
    HeartbeatReply,
    Hello,
    HelloReply,
    Log,
    ManifestPiece,
    Notice,
    Pending,
    Resent,
)
from lenslink_protocol.params import (
    HEADER_BYTES,
    MAX_CONTROL,
    MAX_MANIFEST,
    MAX_PAYLOAD,
    SILENCE_MS,
)

DEADLINE_S = 0.4
# What one call may take beyond it: a payload of 4 MiB and what it may be searched for. Counted in
# this process's own time, since on a machine with two cores others take theirs when they like.
GRACE_S = patience(0.35)
MEMORY_BYTES = 40 << 20
WIDTH = HEIGHT = 256


class Hostile:
    """A transport whose module answers hello, then says what its script says, for ever."""

    private = True
    note = None

    def __init__(self, script: Callable[[Hostile], Iterator[bytes]]) -> None:
        self.nonce = 0
        self.asked: list[tuple[int, int]] = []
        """Type and id of each request."""
        self.heard = 0
        self._sequence = itertools.count()
        self._script = script(self)
        self._left = memoryview(b"")
        self._ready: list[bytes] = []
        self.silent = False

    def packet(self, message: object, frame: int = 0, **fields: object) -> bytes:
        return self.raw(message.TYPE, message.encode(), frame=frame, **fields)

    def raw(self, kind: int, payload: bytes = b"", **fields: object) -> bytes:
        sequence = next(self._sequence)
        return encode_packet(kind, payload, nonce=self.nonce, sequence=sequence, **fields)

    def send(self, data: bytes, deadline: Deadline) -> None:
        del deadline
        header = Header._make(HEADER.unpack_from(data)[1:])
        self.nonce = header.nonce
        if header.type == MessageType.HELLO:
            hello = Hello.decode(memoryview(data)[HEADER_BYTES:])
            reply = HelloReply(
                hello.version_max, 1, 0, Capability.LOG | Capability.RESEND, MAX_CONTROL, 100, 1, 1
            )
            self._ready.append(self.packet(reply, header.frame))
        elif header.type == MessageType.CONFIGURE:
            size = 2 * WIDTH * HEIGHT
            answer = Configured(0, 0, 0, 0x1100012, WIDTH, HEIGHT, 2 * WIDTH, size, 2048)
            self._ready.append(self.packet(answer, header.frame))
        else:
            self.asked.append((header.type, header.frame))

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        if not self._left:
            if self._ready:
                self._left = memoryview(self._ready.pop(0))
            else:
                self._left = memoryview(next(self._script))
        if not self._left:
            time.sleep(min(seconds, 0.005))
            return 0
        count = 0
        for buffer in buffers:
            part = self._left[: len(buffer)]
            buffer[: len(part)] = part
            self._left = self._left[len(part) :]
            count += len(part)
        self.heard += count
        return count

    def prime(self) -> None:
        """Think of the first thing to say, which may take a while."""
        self._ready.append(next(self._script))

    def close(self) -> None:
        """Nothing to let go of."""


SCRIPTS: dict[str, Callable[[Hostile], Iterator[bytes]]] = {}


def script(function: Callable[[Hostile], Iterator[bytes]]) -> object:
    SCRIPTS[function.__name__] = function
    return function


@script
def noise(module: Hostile) -> Iterator[bytes]:
    source = random.Random(1)
    while True:
        yield source.randbytes(65536)


@script
def nothing_but_magic(module: Hostile) -> Iterator[bytes]:
    while True:
        yield b"\x8aLLK" * 16384


@script
def half_magic(module: Hostile) -> Iterator[bytes]:
    while True:
        yield b"\x8aLL" * 16384


@script
def huge_lengths(module: Hostile) -> Iterator[bytes]:
    """Sound headers that announce 4 GB, and one byte more than the bounds."""
    while True:
        for kind, length in (
            (MessageType.TILE, MAX_PAYLOAD + 1),
            (MessageType.TILE, 0xFFFFFFFF),
            (MessageType.LOG, MAX_CONTROL + 1),
            (0xE0, 0x7FFFFFFF),
        ):
            yield header(module, kind, length)


def header(module: Hostile, kind: int, length: int, **fields: object) -> bytes:
    """A sound header; its payload's CRC never holds."""
    from isal.isal_zlib import crc32

    head = bytearray(module.raw(kind, b"", **fields)[:HEADER_BYTES])
    head[28:32] = length.to_bytes(4, "little")
    head[32:36] = b"\x01\x02\x03\x04"
    head[36:40] = crc32(memoryview(head)[:36]).to_bytes(4, "little")
    return bytes(head)


@script
def the_longest_payloads(module: Hostile) -> Iterator[bytes]:
    body = bytes(MAX_PAYLOAD)
    while True:
        yield module.raw(MessageType.TILE, body, place=(0, 0, 2, 2))


@script
def payloads_full_of_magic(module: Hostile) -> Iterator[bytes]:
    """Each fails its CRC and is searched again."""
    body = b"\x8aLLK" * (MAX_PAYLOAD // 4)
    while True:
        yield header(module, MessageType.TILE, MAX_PAYLOAD) + body


@script
def nested_headers(module: Hostile) -> Iterator[bytes]:
    """A payload of sound headers, each of which takes all the rest for its payload."""
    while True:
        count = MAX_PAYLOAD // HEADER_BYTES
        body = b"".join(
            header(module, MessageType.TILE, MAX_PAYLOAD - (n + 1) * HEADER_BYTES)
            for n in range(min(count, 4000))
        )
        body += bytes(MAX_PAYLOAD - len(body))
        yield header(module, MessageType.TILE, MAX_PAYLOAD) + body


@script
def nested_headers_with_good_packets(module: Hostile) -> Iterator[bytes]:
    """As before, with a good packet after each: whoever counts failures in a row counts none."""
    while True:
        body = b""
        while len(body) < 4000 * 2 * HEADER_BYTES:
            left = MAX_PAYLOAD - len(body) - 2 * HEADER_BYTES
            body += module.raw(0xE0) + header(module, MessageType.TILE, left)
        body += bytes(MAX_PAYLOAD - len(body))
        yield header(module, MessageType.TILE, MAX_PAYLOAD) + body


@script
def vendor_messages(module: Hostile) -> Iterator[bytes]:
    while True:
        yield module.raw(0xFE, bytes(MAX_CONTROL))


@script
def unknown_types(module: Hostile) -> Iterator[bytes]:
    while True:
        yield module.raw(0xDF, bytes(MAX_CONTROL))


@script
def logs(module: Hostile) -> Iterator[bytes]:
    while True:
        yield module.packet(Log(1, 0, b"x" * 1000))


@script
def notices(module: Hostile) -> Iterator[bytes]:
    while True:
        yield module.packet(Notice(NoticeReason.RELEASE, 65535))


@script
def busy(module: Hostile) -> Iterator[bytes]:
    while True:
        yield module.packet(Busy(next(iter(BusyReason)), 65535))
        yield b""


@script
def pending(module: Hostile) -> Iterator[bytes]:
    while True:
        number = module.asked[-1][1] if module.asked else 1
        yield module.packet(Pending(65535), number)
        yield b""


@script
def malformed(module: Hostile) -> Iterator[bytes]:
    """Every type, with a payload too short, and one whose size leads outside."""
    while True:
        for kind in BY_TYPE:
            yield module.raw(kind, b"\x02\x00")
            yield module.raw(kind, b"\xff\xff" + bytes(100))


@script
def replies_to_nobody(module: Hostile) -> Iterator[bytes]:
    while True:
        for kind in (MessageType.ACCEPTED, MessageType.FLUSHED, MessageType.ERROR):
            yield module.raw(kind, bytes([200, 0]) + bytes(198), frame=0x7FFFFFFF)


def start(**changes: int) -> FrameStart:
    fields: dict[str, object] = {
        "mode": 0,
        "request": 1,
        "width": WIDTH,
        "height": HEIGHT,
        "cfa": 2,
        "orientation": 1,
        "bits": 12,
        "pixel_format": 0x1100012,
        "stride": 2 * WIDTH,
        "white": 4095,
        "black_milli": (0, 0, 0, 0),
        "timestamp_us": 0,
        "exposure_us": 0,
        "gain_milli": 0,
        "focus_mdpt": 0,
        "temperature_mc": 0,
        "flags": 0,
        "aperture_milli": 0,
        "interval_us": 0,
        "row_time_ns": 0,
        "noise_slope": 0,
        "noise_offset": 0,
        "focus_ring": 0,
    }
    return FrameStart(**(fields | changes))


@script
def frames_of_another_size(module: Hostile) -> Iterator[bytes]:
    for number in itertools.count():
        yield module.packet(start(width=65535, height=65535, stride=131070), number)
        yield module.packet(start(height=8192), number)
        yield module.raw(MessageType.TILE, bytes(8), frame=number, place=(65535, 65535, 2, 2))


@script
def frames_without_end(module: Hostile) -> Iterator[bytes]:
    """Of each the beginning and a tile, so that it is something to hand on."""
    for number in itertools.count():
        yield module.packet(start(), number)
        yield module.raw(MessageType.TILE, bytes(8), frame=number, place=(0, 0, 4, 1))


@script
def whole_frames_nobody_waits_for(module: Hostile) -> Iterator[bytes]:
    body = bytes(2 * WIDTH * HEIGHT)
    for number in itertools.count():
        yield module.packet(start(), number)
        yield module.raw(MessageType.TILE, body, frame=number, place=(0, 0, WIDTH, HEIGHT))
        yield module.packet(FrameEnd(0, 1, 1, 0, (0, 0, 0, 0), 0), number)


@script
def tiles_of_one_pixel(module: Hostile) -> Iterator[bytes]:
    """Every other one: as many gaps as there can be."""
    for number in itertools.count():
        yield module.packet(start(), number)
        for y in range(0, HEIGHT):
            for x in range(0, WIDTH, 2):
                yield module.raw(MessageType.TILE, b"\1\1", frame=number, place=(x, y, 1, 1))


@script
def frames_said_to_have_begun(module: Hostile) -> Iterator[bytes]:
    for number in itertools.count(1, 1000):
        reply = HeartbeatReply(0, (1 << 60,) * 3, (number & 0xFFFFFFFF,) * 3, 0, 0)
        yield module.packet(reply)


@script
def everything_is_gone(module: Hostile) -> Iterator[bytes]:
    yield module.packet(start(), 0)
    places = b"".join((n).to_bytes(2, "little") * 4 for n in range(1, 33))
    while True:
        yield module.packet(Resent(0, 1, 32, places), 0)
        yield module.packet(Resent(0, 1, 65535, places), 0)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_host_keeps_its_deadline_and_its_memory(name: str) -> None:
    """It waits for a frame of stream 1, which never comes."""
    transport = Hostile(SCRIPTS[name])
    session = Session(transport)
    session.say_hello(Deadline(DEADLINE_S))
    session.configurations[0] = session.call(Configure(0, 0, 0, 0, 0), Configured, Deadline(1))
    transport.prime()
    tracemalloc.start()
    try:
        began = time.process_time()
        with pytest.raises((Timeout, ProtocolError, Disconnected)):
            session.take_frame(1, Deadline(DEADLINE_S), 1)
        passed = time.process_time() - began
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    session.close(Deadline(DEADLINE_S))
    print(f"{name}: {passed:.2f} s, {peak / 1e6:.1f} MB, {transport.heard / 1e6:.1f} MB heard")
    assert passed < DEADLINE_S + GRACE_S
    assert peak < MEMORY_BYTES


def frames_with_wrong_colours(module: Hostile) -> Iterator[bytes]:
    yield module.packet(start(cfa=0), 7)
    while True:
        yield b""


def test_a_frame_that_contradicts_its_configuration_fails_at_once() -> None:
    session = Session(Hostile(frames_with_wrong_colours))
    session.say_hello(Deadline(DEADLINE_S))
    session.configurations[0] = session.call(Configure(0, 0, 0, 0, 0), Configured, Deadline(1))
    began = time.monotonic()
    with pytest.raises(ProtocolError) as caught:
        session.take_frame(0, Deadline(60.0), start().request)
    assert time.monotonic() - began < 30.0
    assert str(caught.value) == (
        "frame 7 contradicts itself or its configuration: cfa RGGB, but pixel format GB12"
    )
    # The next call waits for a frame as usual.
    with pytest.raises(Timeout):
        session.take_frame(0, Deadline(0.05), start().request)
    session.close(Deadline(DEADLINE_S))


def pieces(module: Hostile, piece: bytes, total: int, step: int | None) -> Iterator[bytes]:
    """Answers to GetManifest; the offset goes on by *step*."""
    offset = 0
    while True:
        wanted = [n for kind, n in module.asked if kind == MessageType.GET_MANIFEST]
        if not wanted:
            yield b""
            continue
        module.asked.clear()
        yield module.packet(ManifestPiece(offset, total, piece), wanted[-1])
        offset += len(piece) if step is None else step


MANIFESTS: dict[str, Callable[[Hostile], Iterator[bytes]]] = {
    "never enough": lambda module: pieces(module, b"x", MAX_MANIFEST, None),
    "too long": lambda module: pieces(module, b"x", MAX_MANIFEST + 1, None),
    "empty pieces": lambda module: pieces(module, b"", 1000, None),
    "the same again": lambda module: pieces(module, b"x" * 100, 1000, 0),
    "four gigabytes": lambda module: pieces(module, b"x" * 1000, 0xFFFFFFFF, None),
    "no sense": lambda module: pieces(module, b"\xff" * 1000, 1000, None),
    "a thousand modes": lambda module: pieces(
        module, b"".join(b"\x12\x00\x20\x00" + bytes(32) for _ in range(28)), 28 * 36 * 40, None
    ),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_is_none(name: str) -> None:
    session = Session(Hostile(MANIFESTS[name]))
    session.say_hello(Deadline(DEADLINE_S))
    began = time.process_time()
    with pytest.raises((ProtocolError, Timeout)):
        session.read_manifest(Deadline(DEADLINE_S))
    assert time.process_time() - began < DEADLINE_S + GRACE_S


def test_a_module_that_goes_silent_is_gone_within_a_second() -> None:
    def silence(module: Hostile) -> Iterator[bytes]:
        while True:
            yield b""

    session = Session(Hostile(silence))
    session.say_hello(Deadline(DEADLINE_S))
    began = Moment.take()
    with pytest.raises(Disconnected):
        session.take_frame(0, Deadline(5), 1)
    assert Moment.take().since(began) < SILENCE_MS / 1000 + patience(0.1)


def test_a_module_that_closes_again_and_again() -> None:
    def closing(module: Hostile) -> Iterator[bytes]:
        while True:
            yield module.packet(Close(255))

    session = Session(Hostile(closing))
    with pytest.raises(LensLinkError):
        session.say_hello(Deadline(DEADLINE_S))
        session.take_frame(0, Deadline(DEADLINE_S), 1)
