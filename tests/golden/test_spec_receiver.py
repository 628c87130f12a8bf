"""Test the receiver of SPEC.md, section 2.1: the pseudo-code, line by line, on the bad vectors."""

from __future__ import annotations

import struct
import zlib
from collections import Counter

import pytest
from helpers.vectors import each

MAGIC = b"\x8aLLK"
HEADER = struct.Struct("<4s4B3I4H3I")
HELLO, TILE = 0x01, 0x41
MAX_CONTROL, MAX_PAYLOAD, STALL_MS = 1024, 4194304, 250
# Reasons that the layers above the receiver give, and packets that they discard.
FRAMING = {"noise", "header_crc", "version", "length", "payload_crc", "stall", "nonce", "sequence"}


class SpecReceiver:
    """The pseudo-code of SPEC.md. ``packets`` are type and sequence of what is handled."""

    def __init__(self, side: str, nonce: int | None) -> None:
        self.side = side
        self.nonce = nonce
        self.buffer = b""
        self.last: int | None = None
        self.discards: Counter[str] = Counter()
        self.packets: list[list[int]] = []

    def receive(self, data: bytes) -> None:
        self.buffer += data
        self.parse()

    def stay_silent(self) -> None:
        """No byte has arrived for STALL_MS."""
        while self.buffer:
            self.discards["stall" if self.buffer.startswith(MAGIC) else "noise"] += 1
            header = self.read_header()
            if header is not None:
                self.use_sequence(header)
            self.buffer = self.buffer[1:]
            self.parse()

    def read_header(self):
        """Return the header at the beginning of the buffer if it is believed."""
        if len(self.buffer) < 40 or not self.buffer.startswith(MAGIC):
            return None
        header = HEADER.unpack_from(self.buffer)
        return header if self.find_fault(header) is None else None

    def find_fault(self, header) -> str | None:
        _, version, kind, *_, length, _, header_crc = header
        if zlib.crc32(self.buffer[:36]) != header_crc:
            return "header_crc"
        if version >> 4 != 1 and not (kind == HELLO and self.side == "module"):
            return "version"
        limit = MAX_PAYLOAD if kind == TILE and self.side == "host" else MAX_CONTROL
        return "length" if length > limit else None

    def is_fresh(self, header) -> bool:
        nonce, sequence = header[5:7]
        if nonce != self.nonce:
            return False
        return self.last is None or 0 < (sequence - self.last) % (1 << 32) < 1 << 31

    def use_sequence(self, header) -> None:
        if self.is_fresh(header):
            self.last = header[6]

    def drop_noise(self) -> None:
        start = self.buffer.find(MAGIC)
        if start < 0:
            ends = [n for n in (3, 2, 1) if self.buffer.endswith(MAGIC[:n])]
            start = len(self.buffer) - (ends[0] if ends else 0)
        self.discards["noise"] += start > 0
        self.buffer = self.buffer[start:]

    def parse(self) -> None:
        while True:
            self.drop_noise()
            if len(self.buffer) < 40:
                return
            header = HEADER.unpack_from(self.buffer)
            fault = self.find_fault(header)
            if fault is not None:
                self.discards[fault] += 1
                self.buffer = self.buffer[1:]
                continue
            _, _, kind, _, _, nonce, sequence, *_, length, payload_crc, _ = header
            if len(self.buffer) < 40 + length:
                return
            if zlib.crc32(self.buffer[40 : 40 + length]) != payload_crc:
                self.discards["payload_crc"] += 1
                self.use_sequence(header)
                self.buffer = self.buffer[40:]
                continue
            payload = self.buffer[40 : 40 + length]
            self.buffer = self.buffer[40 + length :]
            if kind == HELLO and self.side == "module":
                self.handle_hello(header, payload)
            elif nonce != self.nonce:
                self.discards["nonce"] += 1
            elif not self.is_fresh(header):
                self.discards["sequence"] += 1
            else:
                self.last = sequence
                self.packets.append([kind, sequence])

    def handle_hello(self, header, payload: bytes) -> None:
        """Open the session, as Table 1 says of a Hello that the vectors contain."""
        if len(payload) < 14 or not 14 <= struct.unpack_from("<H", payload)[0] <= len(payload):
            self.discards["malformed"] += 1
        elif header[5] == self.nonce and not self.is_fresh(header):
            self.discards["sequence"] += 1
        else:
            self.nonce, self.last = header[5:7]
            self.packets.append([HELLO, header[6]])


@pytest.mark.parametrize("chunk", [1, 40, 1 << 20])
@each("bad")
def test_the_pseudo_code_finds_the_packets(vector, chunk):
    side = vector["receiver"]
    receiver = SpecReceiver(side, vector["nonce"] if side == "host" else None)
    quiet = 0
    for step in vector["stream"]:
        if "idle_ms" in step:
            quiet += step["idle_ms"]
            if quiet >= STALL_MS:
                receiver.stay_silent()
            continue
        quiet = 0
        data = bytes.fromhex(step["hex"])
        for start in range(0, len(data), chunk):
            receiver.receive(data[start : start + chunk])
    # What the layers above discard was handled by the receiver.
    expected = list(vector["packets"])
    found = [packet for packet in receiver.packets if packet in expected]
    assert found == expected
    discards = Counter(vector["discards"])
    above = sum(count for reason, count in discards.items() if reason not in FRAMING)
    malformed = receiver.discards.pop("malformed", 0)
    assert len(receiver.packets) + malformed - len(expected) == above
    for reason in FRAMING - {"noise", "nonce"}:
        assert receiver.discards[reason] == discards[reason], reason
    assert (receiver.discards["noise"] > 0) == (discards["noise"] > 0)
    # Nonce may be judged before the payload has arrived, or after.
    assert receiver.discards["nonce"] <= discards["nonce"]
