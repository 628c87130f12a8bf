"""Test any message and header: construct, the host's codec and the firmware's codec agree."""

from __future__ import annotations

import binascii
import dataclasses
from typing import Any

import pytest
from construct import Array, Default, GreedyBytes, Renamed
from hypothesis import given
from hypothesis import strategies as st

from lenslink_protocol import structs
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.messages import BY_TYPE, ENTRY_BY_KEY, HEADER, MAGIC, Malformed

U8, U16, U32 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32))
BY_FORMAT = {
    "B": U8,
    "H": U16,
    "L": U32,
    "Q": st.integers(0, (1 << 64) - 1),
    "l": st.integers(-(1 << 31), (1 << 31) - 1),
}
KINDS = pytest.mark.parametrize("message", structs.MESSAGES, ids=lambda each: each.name)


def bare(subcon: Any) -> Any:
    while isinstance(subcon, (Renamed, Default)):
        subcon = subcon.subcon
    return subcon


def value(subcon: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of a field."""
    subcon = bare(subcon)
    if isinstance(subcon, Array):
        return st.lists(value(subcon.subcon), min_size=subcon.count, max_size=subcon.count)
    if hasattr(subcon, "fmtstr"):
        return BY_FORMAT[subcon.fmtstr[1]]
    if hasattr(subcon, "length"):
        return st.binary(min_size=subcon.length, max_size=subcon.length)
    return st.binary(max_size=300)  # the tail


def fields(message: structs.Message) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for the fields without the size. Reserved fields are 0."""
    return of_subcons(message.struct.subcons[1:])


def of_subcons(subcons: list[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for values by name, in the order of the wire."""
    each = [st.just(0) if s.name.startswith("reserved") else value(s) for s in subcons]
    return st.tuples(*each).map(
        lambda drawn: dict(zip([s.name for s in subcons], drawn, strict=True))
    )


def fixed_size(message: structs.Message) -> int:
    """Return the length of the fixed part, by construct."""
    return sum(s.sizeof() for s in message.struct.subcons if bare(s) is not GreedyBytes)


def on_the_wire(values: dict[str, Any]) -> list[Any]:
    """Return the values as MicroPython has them: arrays item by item, without the tail."""
    flat: list[Any] = []
    for each in values.values():
        if isinstance(each, list):
            flat += each
        elif not isinstance(each, bytes):
            flat.append(each)
    return flat


def tail_of(values: dict[str, Any]) -> bytes | None:
    return next((each for each in values.values() if isinstance(each, bytes)), None)


def as_message(message: structs.Message, values: dict[str, Any]) -> Any:
    known = {
        name: tuple(each) if isinstance(each, list) else each
        for name, each in values.items()
        if not name.startswith("reserved")
    }
    return BY_TYPE[message.type](**known)


@KINDS
@given(data=st.data())
def test_messages(message, twin, data):
    values = data.draw(fields(message))
    built = message.struct.build({"size": fixed_size(message), **values})
    ours = as_message(message, values)
    tail = tail_of(values)
    rest = [] if tail is None else [tail.hex()]

    assert ours.encode() == built
    assert BY_TYPE[message.type].decode(built) == ours
    theirs = twin.ask("encode", int(message.type), on_the_wire(values), (tail or b"").hex())
    assert theirs == built.hex()
    assert twin.ask("decode", int(message.type), built.hex()) == on_the_wire(values) + rest
    parsed = message.struct.parse(bytes.fromhex(theirs))
    assert {name: parsed[name] for name in values} == values


@KINDS
@given(data=st.data())
def test_what_a_newer_minor_appends_is_skipped(message, twin, data):
    values = data.draw(fields(message))
    appended = data.draw(st.binary(min_size=1, max_size=40))
    tail = tail_of(values)
    size = fixed_size(message) + len(appended)
    payload = message.struct.build({"size": size, **values})
    at = len(payload) - len(tail or b"")
    payload = payload[:at] + appended + payload[at:]

    assert BY_TYPE[message.type].decode(payload) == as_message(message, values)
    rest = [] if tail is None else [tail.hex()]
    answer = twin.ask("decode", int(message.type), payload.hex())
    assert answer == on_the_wire(values) + rest


@KINDS
@given(payload=st.binary(max_size=120), size=st.none() | st.integers(0, 120))
def test_any_bytes_are_a_message_or_malformed_to_both_alike(message, twin, payload, size):
    if size is not None:
        payload = size.to_bytes(2, "little") + payload
    try:
        ours = BY_TYPE[message.type].decode(payload)
    except Malformed:
        ours = None
    theirs = twin.ask("decode", int(message.type), payload.hex())
    least = fixed_size(message)
    sound = len(payload) >= least and least <= int.from_bytes(payload[:2], "little") <= len(payload)
    assert (ours is not None) == (theirs is not None) == sound
    if ours is not None:
        parsed = message.struct.parse(payload)
        said = dataclasses.asdict(ours)
        for name, each in said.items():
            if not isinstance(each, bytes):
                assert (
                    list(parsed[name]) == list(each)
                    if isinstance(each, tuple)
                    else (parsed[name] == each)
                )


PLACE = st.tuples(U16, U16, U16, U16)


@given(U8, U8, U8, U8, U32, U32, U32, PLACE, st.binary(max_size=200))
def test_headers(twin, version, kind, flags, stream, nonce, sequence, frame, place, payload):
    x, y, width, height = place
    header = {
        "version": version, "type": kind, "flags": flags, "stream": stream, "nonce": nonce,
        "sequence": sequence, "frame": frame, "x": x, "y": y, "width": width, "height": height,
        "length": len(payload), "payload_crc": binascii.crc32(payload), "header_crc": 0,
    }  # fmt: skip
    header["header_crc"] = binascii.crc32(structs.Header.build(header)[:-4])
    built = structs.Header.build(header)

    ours = encode_packet(
        kind, payload, nonce=nonce, sequence=sequence, frame=frame, stream=stream, place=place,
        flags=flags, version=version,
    )  # fmt: skip
    assert ours == built + payload
    assert HEADER.unpack(built) == (MAGIC, *header.values())
    assert twin.ask("read_header", built.hex()) == [MAGIC.hex(), *header.values()]
    parsed = structs.Header.parse(built)
    assert {name: parsed[name] for name in header} == header


@given(U8, U8, U8, U32, U32, U32, PLACE, st.binary(max_size=200))
def test_headers_by_micropython(twin, kind, flags, stream, nonce, sequence, frame, place, payload):
    sealed = twin.ask(
        "write_packet", payload.hex(), kind, flags, stream, nonce, sequence, frame, place
    )
    assert sealed == encode_packet(
        kind, payload, nonce=nonce, sequence=sequence, frame=frame, stream=stream, place=place,
        flags=flags,
    ).hex()  # fmt: skip


@pytest.mark.parametrize(
    "entry", [e for e in structs.ENTRIES if e.struct is not None], ids=lambda each: each.name
)
@given(data=st.data(), appended=st.binary(max_size=20))
def test_manifest_entries(entry, data, appended):
    values = data.draw(of_subcons(entry.struct.subcons))
    built = entry.struct.build(values)
    layout = ENTRY_BY_KEY[entry.key]
    ours = layout.decode(built + appended)
    assert ours.encode() == built
    said = dataclasses.asdict(ours)
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in said.items()} == {
        k: v for k, v in values.items() if not k.startswith("reserved")
    }


@pytest.mark.parametrize("entry", [e for e in structs.ENTRIES if e.struct is not None])
def test_a_manifest_entry_that_is_too_short(entry):
    layout = ENTRY_BY_KEY[entry.key]
    with pytest.raises(Malformed):
        layout.decode(bytes(entry.struct.sizeof() - 1))
