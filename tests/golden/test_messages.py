"""Test the message vectors: construct, the host's codec and the firmware's codec agree."""

from __future__ import annotations

import dataclasses
import struct

import crcmod.predefined
import pytest
from construct import SizeofError
from helpers.vectors import each, load

from lenslink_protocol import structs
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import MessageType
from lenslink_protocol.messages import BY_TYPE, HEADER, MAGIC

BY_NAME = {message.name: message for message in structs.MESSAGES}
VARIANTS = {"zeros", "largest", "no two bytes alike", "fields that a newer minor appends"}


def flat(values):
    """Yield the values in the order of the wire, arrays item by item."""
    for value in values:
        if isinstance(value, list):
            yield from value
        else:
            yield value


def parts(vector):
    """Return the fields without the size, the tail or None, and the appended bytes."""
    fields = {name: value for name, value in vector["fields"].items() if name != "size"}
    tail = bytes.fromhex(vector["tail"]) if "tail" in vector else None
    return fields, tail, bytes.fromhex(vector.get("appended", ""))


def without_appended(vector):
    """Return the payload without its appended fields."""
    size, appended = vector["fields"]["size"], parts(vector)[2]
    payload = bytearray.fromhex(vector["payload"])
    del payload[size - len(appended) : size]
    struct.pack_into("<H", payload, 0, size - len(appended))
    return payload


MESSAGES = [vector for vector in load("messages") if vector["message"] != "Tile"]
each_message = pytest.mark.parametrize("vector", MESSAGES, ids=[v["name"] for v in MESSAGES])


@each("messages")
def test_the_header_is_constructs(vector):
    payload = bytes.fromhex(vector["payload"])
    crc32 = crcmod.predefined.mkPredefinedCrcFun("crc-32")
    fields = {**vector["header"], "length": len(payload), "payload_crc": crc32(payload)}
    unsealed = structs.Header.build({**fields, "header_crc": 0})
    sealed = structs.Header.build({**fields, "header_crc": crc32(unsealed[:-4])})
    assert (sealed + payload).hex() == vector["packet"]
    tile = vector["message"] == "Tile"
    kind = MessageType.TILE if tile else BY_NAME[vector["message"]].type
    assert vector["header"]["type"] == kind


@each_message
def test_the_payload_is_constructs(vector):
    message = BY_NAME[vector["message"]]
    fields, tail, appended = parts(vector)
    built = {**fields, "size": vector["fields"]["size"]}
    if tail is None:
        payload = message.struct.build(built) + appended
    else:
        name = message.struct.subcons[-1].name
        payload = message.struct.build({**built, name: appended + tail})
    assert payload.hex() == vector["payload"]
    parsed = message.struct.parse(payload)
    assert {name: parsed[name] for name in built} == built
    assert vector["sender"] == message.sender


@each_message
def test_the_hosts_codec_reads_it(vector):
    fields, tail, _ = parts(vector)
    layout = BY_TYPE[vector["header"]["type"]]
    message = layout.decode(bytes.fromhex(vector["payload"]))
    expected = [
        tuple(value) if isinstance(value, list) else value
        for name, value in fields.items()
        if not name.startswith("reserved")
    ]
    if tail is not None:
        expected.append(tail)
    assert list(dataclasses.astuple(message)) == expected


@each_message
def test_the_hosts_codec_writes_it(vector):
    message = BY_TYPE[vector["header"]["type"]].decode(bytes.fromhex(vector["payload"]))
    # The codec writes no appended fields, and 0 in reserved fields.
    expected = without_appended(vector)
    for offset, size in reserved(vector["message"]):
        expected[offset : offset + size] = bytes(size)
    assert message.encode().hex() == expected.hex()


def reserved(name):
    """Yield offset and size of each reserved field, by construct."""
    offset = 0
    for subcon in BY_NAME[name].struct.subcons:
        try:
            size = subcon.sizeof()
        except SizeofError:  # the tail
            return
        if subcon.name.startswith("reserved"):
            yield offset, size
        offset += size


@each("messages")
def test_the_hosts_header_codec(vector):
    header, payload = vector["header"], bytes.fromhex(vector["payload"])
    place = (header["x"], header["y"], header["width"], header["height"])
    others = {k: header[k] for k in ("nonce", "sequence", "frame", "stream", "flags", "version")}
    packet = encode_packet(header["type"], payload, place=place, **others)
    assert packet.hex() == vector["packet"]
    magic, *fields = HEADER.unpack_from(packet)
    assert magic == MAGIC
    assert fields[:11] == list(header.values())


@each_message
def test_micropython_reads_it(vector, twin):
    fields, tail, _ = parts(vector)
    expected = list(flat(fields.values())) + ([] if tail is None else [tail.hex()])
    assert twin.ask("decode", vector["header"]["type"], vector["payload"]) == expected


@each_message
def test_micropython_writes_it(vector, twin):
    fields, tail, _ = parts(vector)
    values = list(flat(fields.values()))
    answer = twin.ask("encode", vector["header"]["type"], values, (tail or b"").hex())
    assert answer == without_appended(vector).hex()


@each("messages")
def test_micropythons_header(vector, twin):
    header = vector["header"]
    place = [header[key] for key in ("x", "y", "width", "height")]
    others = [header[key] for key in ("type", "flags", "stream", "nonce", "sequence", "frame")]
    if header["version"] == 0x10:  # the only one that it writes
        assert twin.ask("write_packet", vector["payload"], *others, place) == vector["packet"]
    magic, *fields = twin.ask("read_header", vector["packet"][:80])
    assert magic == MAGIC.hex()
    assert fields[:11] == list(header.values())


def test_every_message_has_its_vectors():
    found = {(vector["message"], vector["name"].split(": ")[1]) for vector in MESSAGES}
    for message in structs.MESSAGES:
        assert {(message.name, variant) for variant in VARIANTS} <= found
    assert {vector["header"]["type"] for vector in load("messages")} == set(MessageType)


def test_names_are_unique_and_sources_named():
    for name in ("messages", "bad", "crc"):
        vectors = load(name)
        names = [vector["name"] for vector in vectors]
        assert len(set(names)) == len(names)
        assert all(vector["source"] for vector in vectors)
