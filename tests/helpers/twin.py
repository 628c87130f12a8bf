"""Answers lines of JSON on MicroPython: ``[what, argument, ...]`` gives ``[error, answer]``.

Bytes travel as hex.
"""

import binascii
import json
import struct
import sys

from helpers import byte_listener
from lensfw import framing, key_holder, manifest, wire
from lensfw.outbox import Item


def encode(kind, values, tail):
    return wire.encode(kind, values, bytes.fromhex(tail)).hex()


def decode(kind, payload):
    """Return the fields, then the tail as hex if there is one; None if the payload is malformed."""
    try:
        fields = wire.decode(kind, bytes.fromhex(payload))
    except ValueError:
        return None
    return [field.hex() if isinstance(field, bytes) else field for field in fields]


def write_packet(payload, kind, flags, stream, nonce, sequence, frame, place):
    body = bytes.fromhex(payload)
    packet = bytearray(wire.HEADER_BYTES) + body
    framing.append_payload_crc(packet, len(body))
    framing.write_header(packet, len(body), kind, flags, stream, nonce, sequence, frame)
    if any(place):
        # As a tile's, in parts.
        framing.write_rectangle(packet, frame, *place, len(body))
        framing.finish_header(packet, Item(kind, frame, stream, b"", None, flags), nonce, sequence)
    return packet.hex()


def prove(key, challenge, nonce, serial, firmware):
    """Return the proof of HMAC_SHA256, or None."""
    manifest.FIRMWARE = firmware
    holder = key_holder.make_key_holder(key, serial)
    proof = holder.prove(bytes.fromhex(challenge), nonce)
    return None if proof is None else proof.hex()


def read_header(header):
    """Return the fields of a header."""
    fields = list(struct.unpack(wire.HEADER, bytes.fromhex(header)))
    fields[0] = fields[0].hex()
    return fields


def receive(chunks, now_us):
    """Return type, sequence and payload of each packet in *chunks*, then after silence."""
    discards = {}
    receiver = framing.Receiver(discards)
    out = []

    def take():
        while True:
            found = receiver.parse_packet(now_us)
            if found is None:
                return
            out.append([found[0][2], found[0][6], bytes(found[1]).hex()])

    for chunk in chunks:
        data = bytes.fromhex(chunk)
        while data:
            space = receiver.get_space()
            count = min(len(space), len(data))
            space[:count] = data[:count]
            receiver.add_received(count, now_us)
            data = data[count:]
            take()
    for _ in range(2000):
        now_us += wire.STALL_MS * 1000
        take()
    return [out, discards]


def crc32(data):
    return binascii.crc32(bytes.fromhex(data))


KNOWN = {
    "encode": encode,
    "decode": decode,
    "write_packet": write_packet,
    "read_header": read_header,
    "receive": receive,
    "crc32": crc32,
    "prove": prove,
    "listen": byte_listener.listen,
}


def main():
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        question = json.loads(line)
        try:
            answer = [None, KNOWN[question[0]](*question[1:])]
        except Exception as error:
            answer = [repr(error), None]
        print(json.dumps(answer))


main()
