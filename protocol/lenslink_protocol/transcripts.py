"""Make the byte transcripts of SPEC.md: whole sessions, packet by packet.

:mod:`.codegen` calls :func:`make_spec_transcripts` and writes the text between SPEC.md's markers. A
test sends the host's packets to the firmware and compares the firmware's packets with these.
"""

from __future__ import annotations

import struct
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from .controls import Setting, encode_settings, read_settings
from .framing import VERSION, encode_packet
from .ids import (
    Capability,
    Cfa,
    ControlFlag,
    ControlId,
    EndStatus,
    ErrorCode,
    Flag,
    FrameState,
    ManifestKey,
    MessageType,
    ModeUse,
    PixelFormat,
    ResetReason,
    TestAction,
)
from .layout import Field, list_fields
from .manifest import encode_entry, iterate_entries
from .messages import (
    ENTRY_BY_KEY,
    TEXT_BY_KEY,
    Accepted,
    AnyMessage,
    Capture,
    Close,
    ColorEntry,
    Configure,
    Configured,
    ControlEntry,
    DelayEntry,
    Error,
    Flush,
    Flushed,
    FormatEntry,
    FrameEnd,
    FrameStart,
    GetManifest,
    Heartbeat,
    HeartbeatReply,
    Hello,
    HelloReply,
    ManifestPiece,
    ModeEntry,
    OpticsEntry,
    Pending,
    PowerEntry,
    Resend,
    Resent,
    SensorEntry,
    Test,
)
from .params import EVERY_FRAME, MAX_BRACKET, MAX_CONTROL, MAX_PAYLOAD
from .structs import ENTRIES, MESSAGES, Header

NONCE = 0x12345678
HOST_US = 9_000_000
"""The host's clock, which stands still."""
CLOCK_US = 2_000_000
"""The module's clock, which stands still except where a packet's note names a time."""
SIDE = 16
"""Width and height of the only mode, in pixels."""
STILL = 1
PENDING_MS = 500
EXPOSURE_US = 10_000

_NONE = 0xFFFFFFFF
_LINE = 20
_COLUMNS = 100

Sender = Literal["host", "module"]


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of a transcript. ``note`` says what happens to it on its way, if anything."""

    sender: Sender
    lane: int
    data: bytes
    note: str = ""


def get_pixels(first: int, rows: int) -> bytes:
    """Return rows of the transcripts' picture. Pixel (x, y) has the value 16 y + x."""
    pixels = range(first * SIDE, (first + rows) * SIDE)
    return struct.pack(f"<{len(pixels)}H", *pixels)


def make_manifest() -> bytes:
    """Return the manifest of the transcripts' module: one mode and one pixel format."""
    sensor = SensorEntry(SIDE, SIDE, 12, Cfa.GRBG, 1, 4095, (64000,) * 4)
    color = ColorEntry(21, (6722, 10000, -635, 10000, -963, 10000) * 3, (1, 2, 1, 1, 2, 3))
    use = ModeUse.PREVIEW | ModeUse.STILL
    mode = ModeEntry(1, SIDE, SIDE, 1, use, (0, 0, SIDE, SIDE), b"full".ljust(16, b"\0"), 1400)
    values = {
        ManifestKey.MAKER: b"Maker",
        ManifestKey.MODEL: b"Model",
        ManifestKey.SERIAL: b"SERIAL-1",
        ManifestKey.FIRMWARE: b"lensfw 0.1.0",
        ManifestKey.BOARD: b"test",
        ManifestKey.SENSOR: sensor.encode(),
        ManifestKey.COLOR: color.encode(),
        ManifestKey.MODE: mode.encode(),
        ManifestKey.FORMAT: FormatEntry(PixelFormat.GR12).encode(),
        ManifestKey.OPTICS: OpticsEntry(17500, 35000, 1400, 3300).encode(),
    }
    entries = list(values.items())
    ranges = (
        (0, 60_000_000, 1, 0), (1000, 64_000, 1, 1000), (0, 3300, 1, 0), (1400, 1400, 1, 1400),
        (0, 1, 1, 1), (0, SIDE - 2, 2, 0), (0, SIDE - 2, 2, 0),
    )  # fmt: skip
    for number, (least, most, step, default) in enumerate(ranges, 1):
        control = ControlEntry(number, ControlFlag.PER_FRAME, least, most, step, default)
        entries.append((ManifestKey.CONTROL, control.encode()))
    entries.append((ManifestKey.POWER, PowerEntry(150, 300).encode()))
    entries.append((ManifestKey.DELAY, DelayEntry(1).encode()))
    return b"".join(encode_entry(key, value) for key, value in entries)


class _Recorder:
    """Collects packets, and counts the sequence of each lane and direction."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self._sequences: dict[tuple[Sender, int], int] = {}

    def _add(self, sender: Sender, kind: int, payload: bytes, lane: int, **fields: Any) -> None:
        note = fields.pop("note", "")
        sequence = self._sequences.get((sender, lane), 0)
        self._sequences[sender, lane] = sequence + 1
        data = encode_packet(kind, payload, nonce=NONCE, sequence=sequence, **fields)
        self.packets.append(Packet(sender, lane, data, note))

    def host(self, message: AnyMessage, number: int = 0, **fields: Any) -> None:
        self._add("host", message.TYPE, message.encode(), 0, frame=number, **fields)

    def module(self, message: AnyMessage, number: int = 0, **fields: Any) -> None:
        self._add("module", message.TYPE, message.encode(), 0, frame=number, **fields)

    def tile(self, first: int, rows: int, lane: int = 0, **fields: Any) -> None:
        place = (0, first, SIDE, rows)
        payload = get_pixels(first, rows)
        self._add(
            "module", MessageType.TILE, payload, lane, frame=0, stream=STILL, place=place, **fields
        )

    def open(self, capabilities: int = Capability.RESEND, lanes: int = 1) -> None:
        """Hello and its reply."""
        self.host(Hello(VERSION, VERSION, lanes, capabilities, MAX_PAYLOAD), 1)
        size = len(make_manifest())
        self.module(
            HelloReply(
                VERSION, lanes, ResetReason.RESET, capabilities, MAX_CONTROL, size, 7, CLOCK_US
            ),
            1,
        )

    def configure(self, number: int, tile_bytes: int) -> None:
        """Configure the still, and grant 65536 bytes."""
        code = PixelFormat.GR12
        self.host(Configure(STILL, 0, 1, 0, tile_bytes), number)
        self.module(
            Configured(STILL, 0, 1, code, SIDE, SIDE, 2 * SIDE, 2 * SIDE * SIDE, tile_bytes),
            number,
        )
        self.host(Heartbeat((0, 65536, 0), HOST_US))
        self.module(HeartbeatReply(CLOCK_US, (0, 0, 0), (0, 0, 0), HOST_US, CLOCK_US))

    def capture(self, number: int) -> None:
        """Capture, its answer, and the beginning of the frame."""
        settings = [
            Setting(ControlId.EXPOSURE, EVERY_FRAME, EXPOSURE_US),
            Setting(ControlId.GAIN, EVERY_FRAME, 1000),
        ]
        self.host(Capture(STILL, 1, encode_settings(settings)), number)
        self.module(Accepted(STILL, 0), number)
        self.module(
            FrameStart(
                1, number, CLOCK_US + EXPOSURE_US, SIDE, SIDE, Cfa.GRBG, 1, 12, PixelFormat.GR12,
                2 * SIDE, 4095, 0, (64000,) * 4, EXPOSURE_US, 1000, 0, 1400, 0, 0, 0, 0, 0,
                25000,
            ),
            0,
            stream=STILL,
            note=f"{EXPOSURE_US // 1000} ms later",
        )  # fmt: skip

    def end(self, tiles: int, last: tuple[int, int, int, int], lanes: int = 1) -> None:
        self.module(FrameEnd(EndStatus.OK, lanes, tiles, 0, last, 0), 0, stream=STILL)


def make_still() -> list[Packet]:
    """Return a whole session with a still of one tile, from Hello to Close."""
    session = _Recorder()
    session.open()
    manifest = make_manifest()
    session.host(GetManifest(0), 2)
    session.module(ManifestPiece(0, len(manifest), manifest), 2)
    session.configure(3, 2 * SIDE * SIDE)
    session.capture(4)
    session.tile(0, SIDE)
    session.end(1, (6, _NONE, _NONE, _NONE))
    session.host(Flush(), 5)
    session.module(Flushed(1, 4, (7, _NONE, _NONE, _NONE)), 5)
    session.host(Close(0))
    return session.packets


def make_refused_hello() -> list[Packet]:
    """Return a Hello of a host that speaks versions 1.1 and 1.2 only."""
    session = _Recorder()
    session.host(Hello(0x11, 0x12, 1, Capability.RESEND, MAX_PAYLOAD), 1, version=0x12)
    session.module(Error(ErrorCode.VERSION, b"this module speaks version 1"), 1)
    session.host(Close(0), version=0x12)
    return session.packets


def make_resend() -> list[Packet]:
    """Return a session in which two of four tiles are lost, and one of them is gone."""
    session = _Recorder()
    session.open()
    session.configure(2, 128)
    session.capture(3)
    session.tile(0, 4, note="lost")
    session.tile(4, 4)
    session.tile(8, 4, note="lost")
    session.tile(12, 4)
    session.end(4, (8, _NONE, _NONE, _NONE))
    ranges = struct.pack("<8H", 0, 0, SIDE, 4, 0, 8, SIDE, 4)
    session.host(Resend(0, 2, ranges), 0, stream=STILL)
    session.tile(8, 4, flags=Flag.RESENT)
    gone = struct.pack("<4H", 0, 0, SIDE, 4)
    session.module(Resent(0, FrameState.ENDED, 1, gone), 0, stream=STILL)
    return session.packets


def make_two_lanes() -> list[Packet]:
    """Return a session with two lanes: each carries a tile."""
    session = _Recorder()
    session.open(lanes=2)
    session.configure(2, 256)
    session.capture(3)
    session.tile(0, 8, lane=1)
    session.tile(8, 8)
    session.end(2, (5, 0, _NONE, _NONE), lanes=2)
    return session.packets


def make_pending() -> list[Packet]:
    """Return a session in which the answer to a request takes half a second."""
    session = _Recorder()
    session.open(Capability.TEST)
    session.host(Test(TestAction.PENDING, 0, PENDING_MS), 2)
    session.module(Pending(PENDING_MS), 2)
    session.module(Accepted(0, 0), 2, note=f"{PENDING_MS} ms later")
    return session.packets


TRANSCRIPTS: dict[str, Callable[[], list[Packet]]] = {
    "transcript_still": make_still,
    "transcript_refused_hello": make_refused_hello,
    "transcript_resend": make_resend,
    "transcript_two_lanes": make_two_lanes,
    "transcript_pending": make_pending,
}


def make_spec_transcripts() -> dict[str, str]:
    """Return the transcripts as Markdown, by the name of their marker in SPEC.md."""
    return {name: _format_transcript(make()) for name, make in TRANSCRIPTS.items()}


def _format_transcript(packets: list[Packet]) -> str:
    has_lanes = any(packet.lane for packet in packets)
    lines = ["```text"]
    for number, packet in enumerate(packets, 1):
        header = Header.parse(packet.data)
        message = next((m for m in MESSAGES if m.type == header.type), None)
        name = "Tile" if message is None else message.name
        where = f", lane {packet.lane}" if has_lanes else ""
        note = f" ({packet.note})" if packet.note else ""
        lines.append(f"{number}. {packet.sender}{where}, sequence {header.sequence}: {name}{note}")
        lines += _wrap(list(_describe(packet.data, header, message)))
        lines += _format_bytes(packet.data)
    return "\n".join([*lines, "```"])


def _describe(data: bytes, header: Any, message: Any) -> Iterator[str]:
    """Yield the header's fields that say something, then the payload's."""
    for name in ("flags", "stream", "frame", "x", "y", "width", "height"):
        if header[name]:
            yield f"{name} {header[name]}"
    yield f"length {header.length}"
    if message is None:
        return
    parsed = message.struct.parse(data[Header.sizeof() :])
    for field in list_fields(message.struct):
        if not field.name.startswith("reserved"):
            yield from _describe_field(field, parsed[field.name])


def _describe_field(field: Field, value: Any) -> Iterator[str]:
    if field.name in ("ranges", "gone"):
        found = [struct.unpack_from("<4H", value, at) for at in range(0, len(value), 8)]
        yield f"{field.name} {', '.join(str(each) for each in found) or 'none'}"
    elif field.name == "settings":
        settings = [
            f"{ControlId(each.control).name} {each.value} for "
            + ("every frame" if each.frame == EVERY_FRAME else f"frame {each.frame}")
            for each in read_settings(value, MAX_BRACKET)
        ]
        yield f"{field.name} {', '.join(settings) or 'none'}"
    elif field.name == "piece":
        yield f"piece of {len(value)} bytes, with the entries"
        names = {entry.key.value: entry.name for entry in ENTRIES}
        for key, entry in iterate_entries(value):
            text = entry.decode() if key in TEXT_BY_KEY else _describe_entry(key, entry)
            yield f"0x{key:04X} {names[key]}: {text}"
    elif field.code == "":
        yield f'{field.name} "{value.decode()}"'
    elif field.count > 1:
        yield f"{field.name} {', '.join(str(each) for each in value)}"
    else:
        shown = f"0x{value:X}" if field.name in _IN_HEX else str(value)
        yield f"{field.name} {shown}"


_IN_HEX = ("version_min", "version_max", "version", "capabilities", "pixel_format")


def _describe_entry(key: int, value: bytes) -> str:
    entry = ENTRY_BY_KEY[key].decode(value)
    values = {name: getattr(entry, name) for name in entry.__slots__}
    shown = {
        name: value.rstrip(b"\0").decode() if isinstance(value, bytes) else value
        for name, value in values.items()
    }
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _wrap(parts: list[str]) -> list[str]:
    """Join parts into indented lines."""
    return textwrap.wrap(
        "; ".join(parts), _COLUMNS, initial_indent="   ", subsequent_indent="   ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _format_bytes(data: bytes) -> list[str]:
    lines = []
    for start in range(0, len(data), _LINE):
        line = data[start : start + _LINE]
        groups = [line[at : at + 4].hex(" ") for at in range(0, len(line), 4)]
        lines.append(f"     {'  '.join(groups)}")
    return lines
