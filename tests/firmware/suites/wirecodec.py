"""The generated codec: malformed payloads, and fields that a newer minor version appends."""

import struct

from helpers import module_world

from lensfw import wire


def test_round_trip_of_every_message():
    for kind, (fmt, size, tail) in wire.FORMATS.items():
        count = len(struct.unpack(fmt, bytes(struct.calcsize(fmt))))
        values = tuple(range(1, count + 1))
        rest = b"tail" if tail else b""
        payload = wire.encode(kind, values, rest)
        assert len(payload) == size + len(rest)
        assert struct.unpack_from("<H", payload)[0] == size
        assert wire.decode(kind, payload) == (values + (rest,) if tail else values)


def test_short_and_lying_payloads():
    for kind, (_, size, _) in wire.FORMATS.items():
        sound = struct.pack("<H", size) + bytes(size - 2)
        wire.decode(kind, sound)
        for payload in (
            b"",
            sound[:-1],
            struct.pack("<H", size - 1) + sound[2:],
            struct.pack("<H", size + 1) + sound[2:],
            struct.pack("<H", 0xFFFF) + sound[2:],
        ):
            module_world.raises(ValueError, wire.decode, kind, payload)


def test_appended_fields_are_skipped_and_are_no_tail():
    payload = struct.pack("<HHI", 8, 5, 99) + b"why"
    assert wire.decode(wire.T_ERROR, payload) == (5, b"why")
    payload = struct.pack("<HIQ", 14, 7, 99) + b"ignored"
    assert wire.decode(wire.T_GET_MANIFEST, payload) == (7,)
