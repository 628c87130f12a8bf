"""Packed pixels, and CRCs that the sensor computes: tiles, and frames that end early."""

import binascii
import struct

from helpers import module_world

from lensfw import module, sensor, wire

# Of the configuration's 12-bit sensor, phase GRBG: words, PFNC's p, MIPI's, the legacy packing.
FORMATS = (wire.PFNC_GR12, 0x010C0057, 0x810C2C00, 0x010C002A)


def plan(width, height, limit, bits):
    made = module.Stream()
    made.width, made.height, made.bits = width, height, bits
    made.tile_columns, made.tile_rows = sensor.choose_tile_shape(width, height, limit, bits)
    made.request_id = 9
    return made


class Rows(module_world.Ports):
    """A sensor that delivers bytes. With *crc*, each tile's CRC follows its rows."""

    def __init__(self, made, crc):
        module_world.Ports.__init__(self, self.frame)
        self.made = made
        self.crc = crc
        self.bytes = bytes([(7 * at + 3) & 0xFF for at in range(made.stride * made.height)])

    def frame(self, number, mode):
        if not self.crc:
            return self.bytes
        made = self.made
        out = b""
        for y in range(0, made.height, made.tile_rows):
            for x in range(0, made.width, made.tile_columns):
                rows = min(made.tile_rows, made.height - y)
                first = y * made.stride + sensor.count_bytes(x, made.bits)
                columns = min(made.tile_columns, made.width - x)
                tile = self.bytes[first : first + sensor.count_bytes(columns, made.bits) * rows]
                # Not the tile's own: what the sensor says is taken as it is.
                out += tile + struct.pack("<I", binascii.crc32(tile) ^ 0x80000001)
        return out


def readout(ports, made, crc):
    tiles = sensor.Tiles(made.tile_bytes, 2, 2, 4 if crc else 0)
    ports.request_rows(0, 1, (0, 0, 0))
    return sensor.Readout(ports, tiles, made, 0, (10, 20, 30), 0), tiles


def test_bytes_of_a_row():
    for pixels, bits, count in (
        (4, 10, 5), (5, 10, 7), (6, 10, 8), (7, 10, 9), (2, 12, 3), (3, 12, 5),
        (4, 14, 7), (1, 14, 2), (2, 14, 4), (3, 14, 6), (9, 16, 18), (12288, 12, 18432),
    ):  # fmt: skip
        assert sensor.count_bytes(pixels, bits) == count, (pixels, bits)


def test_tiles_are_cut_where_groups_are():
    for width in (16, 18, 30):
        for bits in (10, 12, 14, 16):
            group = sensor.get_min_pixels(bits)
            stride = sensor.count_bytes(width, bits)
            for limit in range(sensor.count_bytes(group, bits), 5 * stride):
                columns, rows = sensor.choose_tile_shape(width, 64, limit, bits)
                assert sensor.count_bytes(columns, bits) * rows <= limit
                if columns < width:
                    assert rows == 1 and columns and columns % group == 0
                    # No longer one would do.
                    longer = min(width, columns + group)
                    assert sensor.count_bytes(longer, bits) > limit
                else:
                    assert rows == 1 or rows % 2 == 0
                    assert sensor.count_bytes(columns, bits) * (rows + 2) > limit or rows == 64


def test_every_byte_in_its_tile():
    for bits in (10, 12, 14, 16):
        for crc in (False, True):
            for limit in (8, 20, 33, 70, 150, 4000):
                made = plan(18, 10, limit, bits)
                ports = Rows(made, crc)
                reading, tiles = readout(ports, made, crc)
                frame = bytearray(len(ports.bytes))
                seen = 0
                while not reading.done:
                    tile = reading.read_tile(0)
                    assert tile is not None
                    x, y, columns, rows = tile.read_rectangle()
                    first = y * made.stride + sensor.count_bytes(x, bits)
                    data = bytes(tile.pixels[: tile.length])
                    assert len(data) == sensor.count_bytes(columns, bits) * rows
                    frame[first : first + len(data)] = data
                    seen += len(data)
                    right = binascii.crc32(data)
                    found = struct.unpack_from("<I", tile.packet, wire.HEADER_BYTES - 8)[0]
                    assert found == (right ^ 0x80000001 if crc else right)
                    tile.release()
                assert seen == len(frame) and bytes(frame) == ports.bytes
                assert not len(ports._rows)


def test_what_is_aborted_is_skipped_to_the_byte():
    for bits, limit in ((12, 24), (14, 20), (10, 60), (16, 70)):
        for crc in (False, True):
            made = plan(18, 8, limit, bits)
            whole = len(Rows(made, crc).frame(0, 0))
            for wanted in range(whole):
                ports = Rows(made, crc)
                reading, tiles = readout(ports, made, crc)
                ports.chunk = 1
                for _ in range(wanted):
                    full = reading.read_tile(0)
                    if full is not None:
                        full.release()
                ports.calls = []
                reading.abort()
                assert ports.calls == [("skip_rows", whole - wanted)], (bits, limit, crc, wanted)


def test_a_format_is_applied_where_it_is_listed():
    config = module_world.configuration(tile_bytes=96)
    config["sensor"]["formats"] = list(FORMATS)
    camera, _, time = module_world.camera(config)
    host = module_world.Peer(camera, time)
    host.hello()
    for number, asked, applied, adjusted in (
        (2, 0, FORMATS[0], False),
        (3, FORMATS[1], FORMATS[1], False),
        (4, FORMATS[2], FORMATS[2], False),
        (5, FORMATS[3], FORMATS[3], False),
        (6, 0x010A0056, FORMATS[0], True),
        (7, 0xFFFFFFFF, FORMATS[0], True),
    ):
        said = host.send(wire.T_CONFIGURE, number, (0, 0, 1, asked, 0))
        answer = module_world.only(said, wire.T_CONFIGURED)
        bits = 16 if applied == FORMATS[0] else 12
        assert answer[3] == applied, number
        assert bool(answer[1] & wire.CONFIGURE_ADJUSTED) == adjusted
        assert answer[4:8] == (16, 16, 2 * bits, 2 * bits * 16)
        assert answer[8] == (64 if bits == 16 else 96)
        assert camera.streams[0].pixel_format == applied
