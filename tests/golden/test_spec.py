"""SPEC.md's worked example, byte by byte."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from lenslink_protocol.framing import VERSION, encode_packet
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import (
    AnyMessage,
    GetManifest,
    Heartbeat,
    HeartbeatReply,
    Hello,
    HelloReply,
    Resend,
)
from lenslink_protocol.params import MAX_CONTROL, MAX_PAYLOAD

NONCE = 0x12345678


def _packet(message: AnyMessage, sequence: int, request: int) -> bytes:
    payload = message.encode()
    return encode_packet(message.TYPE, payload, nonce=NONCE, sequence=sequence, frame=request)


def test_worked_example(root: Path) -> None:
    text = (root / "protocol/SPEC.md").read_text(encoding="utf-8")
    example = text.split("## 13. Worked example")[1].split("```")[1]
    pairs = re.findall(r"(?<![0-9a-z])[0-9a-f]{2}(?![0-9a-z])", example)
    packets = [
        _packet(Hello(VERSION, VERSION, 1, 1, MAX_PAYLOAD), 0, 1),
        _packet(HelloReply(VERSION, 1, 0, 1, MAX_CONTROL, 412, 1, 66357), 0, 1),
        _packet(GetManifest(0), 1, 2),
    ]
    assert bytes.fromhex("".join(pairs)) == b"".join(packets)


def test_worked_example_of_a_frame(root: Path) -> None:
    text = (root / "protocol/SPEC.md").read_text(encoding="utf-8")
    example = text.split("## 13. Worked example")[1].split("```")[3]
    pairs = re.findall(r"(?<![0-9a-z])[0-9a-f]{2}(?![0-9a-z])", example)
    resend = Resend(0, 1, struct.pack("<4H", 0, 4, 16, 2))
    packets = [
        _packet(Heartbeat((0, 65536)), 2, 0),
        _packet(HeartbeatReply(70000, (0, 0), (0, 0)), 2, 0),
        encode_packet(
            MessageType.TILE,
            struct.pack("<4H", 1, 2, 3, 4),
            nonce=NONCE,
            sequence=7,
            stream=1,
            place=(0, 2, 2, 2),
        ),
        encode_packet(resend.TYPE, resend.encode(), nonce=NONCE, sequence=9, stream=1),
    ]
    assert bytes.fromhex("".join(pairs)) == b"".join(packets)


def test_every_must_table_is_generated(root: Path) -> None:
    """No table of fields or values is written by hand."""
    text = (root / "protocol/SPEC.md").read_text(encoding="utf-8")
    by_hand = re.sub(r"<!-- generated: (\w+) -->.*?<!-- end -->", "", text, flags=re.S)
    tables = re.findall(r"^\|[^\n]*\|\n\|[-:| ]+\|$", by_hand, flags=re.M)
    # The layers, the states of a stream, the packings: prose in columns, no fields.
    assert len(tables) == 3, tables
