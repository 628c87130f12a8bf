"""List the fuzz targets: for each parser a function that takes any bytes, and its seeds.

A target lets through what the parser says it raises, and checks what must hold of what it gives.
Where a CRC would keep the fuzzer out, :func:`packets` makes sound packets of its bytes.
"""

from __future__ import annotations

import io
import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helpers import module_world

from lensfw import framing as module_framing
from lensfw import wire
from lenslink.errors import LensLinkError
from lenslink.receive.frame_pool import Pool
from lenslink.receive.reassembly import Reassembly
from lenslink_hil.recording import lcap
from lenslink_protocol.framing import Receiver, encode_packet
from lenslink_protocol.ids import DiscardReason
from lenslink_protocol.link import Link
from lenslink_protocol.manifest import parse_manifest
from lenslink_protocol.messages import BY_TYPE, Configured, Header, HelloReply, Malformed
from lenslink_protocol.params import MAX_CONTROL, MAX_FRAMES_OPEN, MAX_PAYLOAD

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = Path(__file__).resolve().parent / "corpus"
VECTORS = ROOT / "protocol/lenslink_protocol/vectors"
NONCE = 0x0BADF00D
W, H = 16, 16

Target = Callable[[bytes], None]
TARGETS: dict[str, tuple[Target, Callable[[], Iterator[bytes]]]] = {}


def _vectors(name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text())["vectors"]
    return vectors


def target(seeds: Callable[[], Iterator[bytes]]) -> Callable[[Target], Target]:
    """Return a decorator that registers a target. *seeds* yields its first inputs."""

    def register(function: Target) -> Target:
        TARGETS[function.__name__] = (function, seeds)
        return function

    return register


def _streams() -> Iterator[bytes]:
    for vector in _vectors("bad"):
        pieces = [bytes.fromhex(p["hex"]) for p in vector["stream"] if "hex" in p]
        yield b"".join(pieces)[:2048]
    for vector in _vectors("messages"):
        yield bytes.fromhex(vector["packet"])


class _Sink:
    def __init__(self) -> None:
        self.memory = memoryview(bytearray(1 << 16))
        self.bytes = 0

    def reserve_buffer(self, header: Header) -> memoryview | None:
        if header.length % 2 or header.length > len(self.memory):
            return None
        return self.memory[: header.length]

    def on_packet(self, header: Header, payload: memoryview, in_place: bool) -> None:
        del in_place
        if len(payload) != header.length:
            raise AssertionError("a payload of another length")
        self.bytes += 40 + len(payload)


@target(_streams)
def host_framing(data: bytes) -> None:
    """Feed any bytes, cut anywhere, to the host's receiver: no more comes out than went in."""
    discards: Counter[DiscardReason] = Counter()
    sink = _Sink()
    receiver = Receiver(sink, NONCE, discards, MAX_PAYLOAD)
    step = 1 + (data[0] if data else 0)
    for at in range(0, len(data), step):
        receiver.feed(data[at : at + step], at / 1000)
    receiver.poll(len(data) + 1)
    if sink.bytes > len(data):
        raise AssertionError("more packets than bytes")
    if receiver.is_inside_packet:
        raise AssertionError("what stalled is still held")


@target(_streams)
def module_frames(data: bytes) -> None:
    """Feed any bytes, cut anywhere, to the firmware's receiver."""
    receiver = module_framing.Receiver({})
    step = 1 + (data[0] if data else 0)
    taken = 0
    for at in range(0, len(data), step):
        piece = memoryview(data)[at : at + step]
        while piece:
            space = receiver.get_space()
            if not len(space):
                raise AssertionError("no room for the next byte")
            count = min(len(space), len(piece))
            space[:count] = piece[:count]
            receiver.add_received(count, at)
            piece = piece[count:]
            while (packet := receiver.parse_packet(at)) is not None:
                taken += wire.HEADER_BYTES + len(packet[1])
    if taken > len(data):
        raise AssertionError("more packets than bytes")


def _payloads() -> Iterator[bytes]:
    for vector in _vectors("messages"):
        yield bytes([vector["header"]["type"]]) + bytes.fromhex(vector["payload"])


@target(_payloads)
def messages(data: bytes) -> None:
    """Decode and encode each message: the bytes are the same, and the firmware agrees."""
    if not data:
        return
    kind, payload = data[0], data[1:]
    layout = BY_TYPE.get(kind)
    if layout is None:
        return
    try:
        message = layout.decode(payload)
    except Malformed:
        message = None
    if kind in wire.FORMATS:
        try:
            fields = wire.decode(kind, payload)
        except ValueError:
            fields = None
        if (fields is None) is not (message is None):
            raise AssertionError(f"the two codecs disagree on type {kind}")
    if message is not None and layout.decode(message.encode()) != message:
        raise AssertionError(f"type {kind} does not survive")


def _manifests() -> Iterator[bytes]:
    from lensfw import manifest

    whole = bytes(manifest.build(module_world.configuration()))
    yield whole
    yield whole[:-1]
    yield whole + b"\xff\xff\0\0"


@target(_manifests)
def manifest(data: bytes) -> None:
    """Parse a manifest: it is malformed, or what it says is possible."""
    try:
        made = parse_manifest(data)
    except Malformed:
        return
    if not 1 <= len(made.modes) <= 64:
        raise AssertionError("no modes")
    str(made.cfa)
    for mode in made.modes:
        if mode.width <= 0 or mode.height <= 0:
            raise AssertionError("a mode without pixels")


def _captures() -> Iterator[bytes]:
    def record(kind: int, payload: bytes) -> bytes:
        return bytes([kind]) + struct.pack("<H", len(payload)) + payload

    yield record(lcap.Kind.INFO, b'{"schema": 1}')
    yield (
        record(lcap.Kind.INFO, b"{}")
        + record(lcap.Kind.DATA, b"bytes")
        + record(lcap.Kind.END, b'{"ended": "x"}')
    )
    yield record(lcap.Kind.INFO, b"[[[[")


@target(_captures)
def capture(data: bytes) -> None:
    """Read a .lcap file of the bytes, and one with correct CRCs made of them."""
    _parse(data)
    _parse(lcap.MAGIC + data)
    out = bytearray(lcap.MAGIC)
    at = 0
    while at + 3 <= len(data):
        kind, length = data[at], struct.unpack_from("<H", data, at + 1)[0]
        payload = data[at + 3 : at + 3 + length]
        at += 3 + len(payload)
        head = lcap.HEAD.pack(kind & 7, kind >> 6, kind >> 5 & 1, 0, len(payload), at, 0)
        crc = lcap.crc32(payload, lcap.crc32(head[:16]))
        out += lcap.HEAD.pack(kind & 7, kind >> 6, kind >> 5 & 1, 0, len(payload), at, crc)
        out += payload
    _parse(bytes(out))


def _parse(data: bytes) -> None:
    try:
        recording = lcap.parse(io.BytesIO(data), "fuzz.lcap")
    except LensLinkError:
        return
    for lane in range(recording.lanes):
        for direction in lcap.Direction:
            recording.join_stream(lane, direction)


def packets(data: bytes) -> Iterator[bytes]:
    """Yield packets made of *data*: 1 control byte, 12 of header, a payload. Some are damaged."""
    at = 0
    sequence = 0
    while at + 14 <= len(data):
        control, kind, stream, frame, x, y, width, height, size = struct.unpack_from(
            "<BBBHBBBBH", data, at
        )
        at += 14
        payload = data[at : at + size % (MAX_CONTROL + 1)]
        at += len(payload)
        sequence += 1 if control & 7 else control >> 4
        packet = bytearray(
            encode_packet(
                kind, payload, nonce=NONCE if control != 0xFF else 1, sequence=sequence,
                frame=frame, stream=stream & 3, place=(x, y, width, height), flags=control >> 3 & 1,
            )
        )  # fmt: skip
        if control == 0xFE:
            packet[-1] ^= 1
        yield bytes(packet)


def _sealed() -> Iterator[bytes]:
    for vector in _vectors("messages"):
        payload = bytes.fromhex(vector["payload"])
        head = struct.pack("<BBBHBBBBH3x", 1, vector["header"]["type"], 0, 2, 0, 0, 16, 4,
                           len(payload))  # fmt: skip
        yield (head + payload) * 2
    tile = struct.pack("<BBBHBBBBH3x", 1, 0x41, 0, 1, 0, 0, 16, 4, 128) + bytes(128)
    yield tile * 4


@target(_sealed)
def host_link(data: bytes) -> None:
    """Feed packets to the host's link and reassembly: their memory stays bounded."""
    discards: Counter[DiscardReason] = Counter()
    plan = Configured(0, 0, 1, 0x1100010, W, H, 2 * W, 2 * W * H, 128)
    frames = Reassembly(Pool(), discards, {0: plan, 1: plan}.get)
    link = Link(NONCE, frames, discards)
    frames.can_resend = True
    link.send_hello(0.0)
    opening = HelloReply(0x10, 1, 0, 3, 1024, 100, 1, 0)
    now = 0.0
    opened = encode_packet(opening.TYPE, opening.encode(), nonce=NONCE, sequence=0, frame=1)
    for packet in (opened, *packets(data)):
        now += 0.01
        link.feed(packet, now)
        link.poll(now)
        link.is_silent(now)
        if len(frames._open) > MAX_FRAMES_OPEN:
            raise AssertionError("too many frames open")
        if any(len(each) > 40 + MAX_CONTROL for each in link.outgoing):
            raise AssertionError("the host sends more than a module takes")
        link.outgoing.clear()
        while frames.finished_frames:
            assembly = frames.finished_frames.popleft()
            frames._pool.release(assembly.buffer)


@target(_sealed)
def module_link(data: bytes) -> None:
    """Feed packets to the firmware's link and module: no exception, and queues stay bounded."""
    camera, _, time = module_world.camera()
    host = module_world.Peer(camera, time, NONCE)
    host.hello()
    host.sequence = 1
    for number, packet in enumerate(packets(data)):
        host.raw(packet)
        camera.step()
        time.us += 10000
        if number % 4 == 3:
            for header, payload in host.collect():
                if header[12] != len(payload):
                    raise AssertionError("a length that is not the payload's")
        if camera.link.outbox.count_control() > 200:
            raise AssertionError("answers pile up")
    host.collect()


def inputs(name: str) -> list[bytes]:
    """Return the first inputs of a target: its seeds, and the corpus of earlier runs."""
    kept = sorted((CORPUS / name).glob("*")) if (CORPUS / name).is_dir() else []
    return [*TARGETS[name][1](), *(path.read_bytes() for path in kept)]
