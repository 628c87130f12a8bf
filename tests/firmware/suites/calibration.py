"""Calibrations: pieces that are read where they lie, and what the manifest says of them."""

import struct

from helpers import module_world

from lensfw import wire

NOISE, BLUR = 1, 4
START = 7  # of the second one in the file
FILE = bytes(range(START)) + bytes([n * 5 % 251 for n in range(2500)])


def camera():
    config = module_world.configuration()
    config["calibrations"] = [[NOISE, 0, START, 0x11223344], [BLUR, START, 2500, 0x55667788]]
    made, ports, time = module_world.camera(config)
    ports.reads = []

    def read_calibration(start, count):
        ports.reads.append(count)
        return FILE[start : start + count]

    ports.read_calibration = read_calibration
    host = module_world.Peer(made, time)
    host.hello()
    return made, ports, host


def code(said):
    return module_world.only(said, wire.T_ERROR)[0]


def test_the_pieces_make_up_the_calibration():
    _, ports, host = camera()
    out, number = b"", 2
    while len(out) < 2500:
        said = host.send(wire.T_GET_CALIBRATION, number, (BLUR, len(out)))
        kind, offset, total, piece = module_world.only(said, wire.T_CALIBRATION)
        assert (kind, offset, total) == (BLUR, len(out), 2500)
        out += piece
        number += 1
    assert out == FILE[START:]
    # No piece reaches into the next calibration, and none is longer than a message.
    assert max(ports.reads) <= wire.MAX_CONTROL
    said = host.send(wire.T_GET_CALIBRATION, number, (NOISE, 3))
    assert module_world.only(said, wire.T_CALIBRATION)[3] == FILE[3:START]


def test_what_is_not_there_is_refused():
    _, ports, host = camera()
    asked = ((BLUR, 2500), (BLUR, 0xFFFFFFFF), (NOISE, START), (2, 0), (0, 0), (0xFFFF, 0))
    for number, fields in enumerate(asked):
        said = host.send(wire.T_GET_CALIBRATION, number + 2, fields)
        assert code(said) == wire.ERR_UNSUPPORTED, fields
    assert ports.reads == []
    # A file that was cut.
    ports.read_calibration = lambda start, count: b""
    assert code(host.send(wire.T_GET_CALIBRATION, 20, (BLUR, 0))) == wire.ERR_UNSUPPORTED


def test_a_module_without_calibrations_refuses():
    made, _, time = module_world.camera()
    host = module_world.Peer(made, time)
    host.hello()
    assert code(host.send(wire.T_GET_CALIBRATION, 2, (BLUR, 0))) == wire.ERR_UNSUPPORTED


def test_the_manifest_states_length_and_crc():
    made, _, _ = camera()
    entries, at, data = [], 0, made.manifest
    while at < len(data):
        key, length = struct.unpack_from("<HH", data, at)
        if key == wire.KEY_CALIBRATION:
            entries.append(struct.unpack_from(wire.ENTRY_CALIBRATION, data, at + 4))
        at += 4 + length
    assert entries == [(NOISE, START, 0x11223344), (BLUR, 2500, 0x55667788)]
