"""Packed pixels, and CRCs that the sensor computes: tiles, and frames that end early."""

import binascii
import struct

from helpers import module_world

from lensfw import module, sensor, wire
from lensfw.arch import plain_coder, portable

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


# --- coded tiles -------------------------------------------------------------------------------


class Words(Rows):
    """A sensor of 12 bits that delivers words: a ramp, or what is no pattern at all."""

    def __init__(self, made, is_smooth):
        module_world.Ports.__init__(self, self.frame)
        self.made = made
        self.crc = False
        self.words = []
        value = 77
        for i in range(made.width * made.height):
            value = (value * 1103515245 + 12345) & 0x7FFFFFFF
            self.words.append(500 + i % made.width if is_smooth else value >> 16 & 0xFFF)
        self.bytes = struct.pack("<%dH" % len(self.words), *self.words)

    def cut(self, x, y, columns, rows):
        """Return the words of a tile."""
        out = b""
        for row in range(y, y + rows):
            at = 2 * (row * self.made.width + x)
            out += self.bytes[at : at + 2 * columns]
        return out

    def frame(self, number, mode):
        made = self.made
        out = b""
        for y in range(0, made.height, made.tile_rows):
            for x in range(0, made.width, made.tile_columns):
                columns = min(made.tile_columns, made.width - x)
                out += self.cut(x, y, columns, min(made.tile_rows, made.height - y))
        return out


def coded(width, height, limit):
    made = plan(width, height, limit, 12)
    made.rows_format = wire.PFNC_GR12
    return made


def read_coded(made, ports, tiles=3):
    """Return a readout, and its tiles, each of which holds the words of a coded one."""
    memory = sensor.Tiles(2 * made.tile_columns * made.tile_rows, tiles, tiles)
    ports.request_rows(0, 1, (0, 0, 0))
    return sensor.Readout(ports, memory, made, 0, (10, 20, 30), 0), memory


def test_coded_tiles_hold_the_code_of_their_words():
    # A code that is not clearly shorter is not worth it.
    for limit, is_smooth, is_shorter in (
        (3000, True, True),
        (900, True, True),
        (600, True, True),
        (300, True, False),
        (3000, False, False),
    ):
        made = coded(200, 22, limit)
        ports = Words(made, is_smooth)
        ports.chunk = 333
        reading, tiles = read_coded(made, ports)
        count = shorter = 0
        while not reading.done:
            tile = reading.read_tile(0)
            if tile is None:
                assert reading.has_space()
                continue
            x, y, columns, rows = tile.read_rectangle()
            words = ports.cut(x, y, columns, rows)
            raw = sensor.count_bytes(columns, 12) * rows
            code = bytearray(4096)
            length = plain_coder.encode_rice(code, bytearray(4) + words, 4, columns, rows, 12, raw)
            if not length:
                length = raw
                portable.pack12(code, 4, words, columns * rows)
            data = bytes(tile.pixels[: tile.length])
            assert data == bytes(code[4 : 4 + length]), (limit, is_smooth)
            said = struct.unpack_from("<I", tile.packet, wire.HEADER_BYTES - 12)[0]
            crc = struct.unpack_from("<I", tile.packet, wire.HEADER_BYTES - 8)[0]
            assert said == length and crc == binascii.crc32(data)
            count += 1
            shorter += length < raw
            tile.release()
        assert (shorter > count // 2) == is_shorter, (limit, is_smooth, shorter, count)
        assert reading.tile_count == count
        assert not len(ports._rows)
        # The tile of the words is free again.
        assert len([1 for tile in tiles._tiles if tile.state == sensor.FREE]) >= 1
        assert len(tiles._idle) == 3


def test_words_wait_for_a_tile():
    """While all others are queued, nothing more is read, and nothing is lost."""
    made = coded(64, 8, 200)
    ports = Words(made, True)
    reading, _ = read_coded(made, ports, 2)
    first = reading.read_tile(0)
    assert first is not None and reading.has_space()
    for _ in range(3):
        assert reading.read_tile(0) is None
    assert not reading.has_space()
    first.release()
    assert reading.has_space()
    second = reading.read_tile(0)
    assert second is first and second.read_rectangle()[1] == made.tile_rows


def test_an_aborted_coded_readout_skips_the_words_to_the_byte():
    made = coded(18, 8, 60)
    whole = len(Words(made, True).frame(0, 0))
    for wanted in range(whole):
        ports = Words(made, True)
        reading, tiles = read_coded(made, ports, 40)
        ports.chunk = 1
        got = 0
        while got < wanted:
            full = reading.read_tile(0)
            got += 1
            if full is not None:
                full.release()
        ports.calls = []
        reading.abort()
        assert ports.calls == [("skip_rows", whole - wanted)], wanted
        assert len(tiles._idle) == 40


def test_a_rice_format_is_configured():
    """The tile holds 48 pixels as words: two rows of 16. Its length is that of the pixels."""
    code = 0x810C8000
    config = module_world.configuration(tile_bytes=96, in_flight=3)
    config["sensor"]["formats"] = [FORMATS[0], code]
    camera, _, time = module_world.camera(config)
    host = module_world.Peer(camera, time)
    host.hello()
    for number, limit, is_adjusted in ((2, 0, False), (3, 96, True), (4, 60, False)):
        said = host.send(wire.T_CONFIGURE, number, (0, 0, 1, code, limit))
        answer = module_world.only(said, wire.T_CONFIGURED)
        assert answer[3:9] == (code, 16, 16, 24, 24 * 16, 48)
        assert bool(answer[1] & wire.CONFIGURE_ADJUSTED) == is_adjusted
        assert camera.streams[0].rows_format == FORMATS[0]
