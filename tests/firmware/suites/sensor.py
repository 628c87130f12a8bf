"""Reading out the sensor: the shape of tiles, rows in pieces, frames that end early."""

import binascii
import struct

from helpers import module_world

from lensfw import framing, module, sensor, wire


def plan(width=16, height=16, limit=128, bits=16):
    made = module.Stream()
    made.width, made.height, made.bits = width, height, bits
    made.tile_columns, made.tile_rows = sensor.choose_tile_shape(width, height, limit, bits)
    made.request_id = 9
    return made


def readout(ports, made, tiles=None, now=0):
    tiles = tiles or sensor.Tiles(made.tile_bytes, 2, 2)
    ports.request_rows(0, 1, (0, 0, 0))
    return sensor.Readout(ports, tiles, made, 0, (10, 20, 30), now), tiles


def drain(reading, ports, now=0):
    """Return all tiles as (bytes, rectangle). Each is released at once."""
    out = []
    for _ in range(20000):
        if reading.done:
            break
        tile = reading.read_tile(now)
        if tile is not None:
            crc = struct.unpack_from("<I", tile.packet, wire.HEADER_BYTES - 8)[0]
            assert crc == binascii.crc32(tile.pixels[: tile.length])
            out.append((bytes(tile.pixels[: tile.length]), tile.read_rectangle()))
            tile.release()
    return out


def put_together(pieces, width, height):
    """Return the frame that the tiles make. Each byte must be written once."""
    frame = bytearray(2 * width * height)
    seen = 0
    for data, (x, y, columns, rows) in pieces:
        assert len(data) == 2 * columns * rows
        for row in range(rows):
            at = 2 * ((y + row) * width + x)
            frame[at : at + 2 * columns] = data[2 * columns * row : 2 * columns * (row + 1)]
        seen += len(data)
    assert seen == len(frame)
    return bytes(frame)


def test_shapes():
    for width, height, limit, shape in (
        (16, 16, 128, (16, 4)),
        (16, 16, 127, (16, 2)),  # an even number of rows
        (16, 16, 64, (16, 2)),
        (16, 16, 63, (16, 1)),  # a row, for there is no room for two
        (16, 16, 32, (16, 1)),
        (16, 16, 31, (14, 1)),  # a segment of a row, of whole pixel pairs
        (16, 16, 4, (2, 1)),
        (16, 16, 1000000, (16, 16)),
        (1280, 960, 262144, (1280, 102)),
        (12288, 8192, 262144, (12288, 10)),
        (12288, 8192, 16384, (8192, 1)),
    ):
        assert sensor.choose_tile_shape(width, height, limit) == shape, (width, height, limit)


def test_a_shape_fits_its_limit_and_is_even():
    for width in range(16, 400, 22):
        for limit in range(4, 4000, 37):
            columns, rows = sensor.choose_tile_shape(width, 64, limit)
            assert 0 < 2 * columns * rows <= limit
            assert columns % 2 == 0
            assert rows == 1 or (rows % 2 == 0 and columns == width)


def test_tiles_come_in_raster_order_however_rows_arrive():
    for limit in (4, 24, 31, 32, 63, 64, 128, 200, 512, 4096):
        for chunk in (0, 1, 7, 33, 100):
            ports = module_world.Ports()
            ports.chunk = chunk
            made = plan(limit=limit)
            reading, _ = readout(ports, made)
            pieces = drain(reading, ports)
            places = [(y, x) for _, (x, y, _, _) in pieces]
            assert places == sorted(places)
            assert put_together(pieces, 16, 16) == bytes(module_world.gradient(0, 1))
            assert reading.tile_count == len(pieces)
            assert reading.done and not reading.failed


def test_it_begins_with_the_first_byte():
    ports = module_world.Ports()
    ports.chunk = 1
    reading, _ = readout(ports, plan(), now=5)
    ports.dead = True
    assert reading.read_tile(100) is None
    assert reading.start_us is None
    ports.dead = False
    assert reading.read_tile(200) is None
    assert reading.start_us == 200
    reading.read_tile(300)
    assert reading.start_us == 200


def test_without_a_free_tile_it_waits_and_reads_nothing():
    ports = module_world.Ports()
    made = plan()
    reading, tiles = readout(ports, made)
    first, second = reading.read_tile(0), reading.read_tile(0)
    assert first is not None and second is not None
    assert not reading.has_space()
    # However long the host takes: that is no failure of the sensor.
    for now in range(0, 100000000, 10000000):
        assert reading.read_tile(now) is None
    assert not reading.failed
    first.release()
    assert reading.has_space()
    third = reading.read_tile(100000000)
    assert third is not None and third.read_rectangle() == (0, 8, 16, 4)


def test_what_is_aborted_is_skipped_to_the_byte():
    whole = 2 * 16 * 16
    for limit in (24, 32, 128, 200, 512):
        for wanted in range(0, whole):
            ports = module_world.Ports()
            made = plan(limit=limit)
            tiles = sensor.Tiles(made.tile_bytes, 2, 2)
            reading, _ = readout(ports, made, tiles)
            ports.chunk = 1
            taken = 0
            while taken < wanted:
                full = reading.read_tile(0)
                taken += 1
                if full is not None:
                    full.release()
            ports.calls = []
            reading.abort()
            assert ports.calls == [("skip_rows", whole - taken)], (limit, wanted, ports.calls)
            assert reading.done
            assert reading.read_tile(0) is None
            assert tiles.take() is not None and tiles.take() is not None
            assert tiles.take() is None


def test_a_frame_after_an_aborted_one_is_its_own():
    for wanted in (0, 1, 130, 511):
        ports = module_world.Ports()
        made = plan(limit=24)
        tiles = sensor.Tiles(made.tile_bytes, 2, 2)
        reading, _ = readout(ports, made, tiles)
        ports.chunk = 1
        for _ in range(wanted):
            full = reading.read_tile(0)
            if full is not None:
                full.release()
        reading.abort()
        ports.chunk = 0
        ports.request_rows(1, 1, (0, 0, 0))
        after = sensor.Readout(ports, tiles, made, 1, (0, 0, 0), 0)
        assert put_together(drain(after, ports), 16, 16) == bytes(module_world.gradient(1, 1))


def test_abort_of_a_whole_frame_skips_nothing():
    ports = module_world.Ports()
    reading, _ = readout(ports, plan())
    drain(reading, ports)
    ports.calls = []
    reading.abort()
    assert ports.calls == []


def test_a_sensor_that_delivers_nothing_has_failed():
    ports = module_world.Ports()
    ports.dead = True
    reading, tiles = readout(ports, plan(), now=1000)
    assert reading.read_tile(1000 + sensor.SENSOR_TIMEOUT_US) is None
    assert not reading.failed
    assert reading.read_tile(1001 + sensor.SENSOR_TIMEOUT_US) is None
    assert reading.failed and reading.done
    reading.abort()
    assert tiles.take() is not None and tiles.take() is not None


def test_every_byte_renews_the_patience():
    ports = module_world.Ports()
    ports.chunk = 1
    reading, _ = readout(ports, plan())
    now = 0
    for _ in range(20):
        now += sensor.SENSOR_TIMEOUT_US
        reading.read_tile(now)
        assert not reading.failed
    ports.dead = True
    reading.read_tile(now + sensor.SENSOR_TIMEOUT_US + 1)
    assert reading.failed


def test_a_tile_is_held_until_its_memory_is_needed():
    tiles = sensor.Tiles(8, 3, 2)
    taken = []
    for number in range(5):
        tile = tiles.take()
        tile.state = sensor.QUEUED
        tile.stream, tile.frame = 0, number
        framing.write_rectangle(tile.packet, number, 0, 0, 2, 1, 4)
        taken.append(tile)
        tile.release()
    # Three tiles in memory: the last three are held, oldest first to go.
    place = (0, 0, 2, 1)
    assert [tiles.find(0, number, place) is not None for number in range(5)] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert tiles.find(0, 4, place) is taken[4]
    assert tiles.find(1, 4, place) is None
    assert tiles.find(0, 4, (2, 0, 2, 1)) is None
    tiles.take()
    assert tiles.find(0, 2, place) is None
    assert tiles.find(0, 3, place) is not None
    tiles.forget_session()
    assert tiles.find(0, 3, place) is None


def hold(tiles, stream, number):
    """Take a tile for a frame, send it, and hold it."""
    tile = tiles.take(number)
    tile.state = sensor.QUEUED
    tile.stream, tile.frame = stream, number
    framing.write_rectangle(tile.packet, number, 0, 0, 2, 1, 4)
    tile.release()


def test_a_preview_takes_the_memory_of_a_still_last():
    place = (0, 0, 2, 1)
    tiles = sensor.Tiles(8, 3, 2)
    hold(tiles, 1, 5)
    for number in range(6, 1006):
        hold(tiles, 0, number)
        assert tiles.find(1, 5, place) is not None, number
        assert tiles.find(0, number, place) is not None, number
    # 1,000 frames later the still is as good as any other frame.
    hold(tiles, 0, 1006)
    assert tiles.find(1, 5, place) is None


def test_a_preview_that_began_before_a_still_takes_its_memory_last():
    place = (0, 0, 2, 1)
    tiles = sensor.Tiles(8, 3, 2)
    hold(tiles, 1, 5)
    for _ in range(3):
        hold(tiles, 0, 4)
    assert tiles.find(1, 5, place) is not None


def test_a_still_takes_its_own_memory_when_there_is_no_other():
    place = (0, 0, 2, 1)
    tiles = sensor.Tiles(8, 3, 2)
    for number in range(5, 9):
        hold(tiles, 1, number)
    assert [tiles.find(1, number, place) is not None for number in range(5, 9)] == [
        False, True, True, True,
    ]  # fmt: skip


def test_the_memory_of_an_older_still_is_taken_first():
    """Also if its tiles were sent again, after those of the newer one."""
    tiles = sensor.Tiles(8, 4, 2)
    place = (0, 0, 2, 1)
    for number in (5, 6, 7):
        hold(tiles, 1, number)
    hold(tiles, 0, 8)
    resent = tiles.find(1, 5, place)
    resent.make_item()
    resent.release()
    hold(tiles, 0, 9)
    hold(tiles, 1, 10)
    assert [tiles.find(1, number, place) is not None for number in (5, 6, 7, 10)] == [True] * 4
    hold(tiles, 0, 11)
    assert [tiles.find(1, number, place) is not None for number in (5, 6, 7, 10)] == [
        False, True, True, True,
    ]  # fmt: skip


def test_a_still_is_kept_across_the_wrap_of_frame_numbers():
    place = (0, 0, 2, 1)
    tiles = sensor.Tiles(8, 3, 2)
    hold(tiles, 1, 0xFFFFFFFF)
    for number in range(4):
        hold(tiles, 0, number)
    assert tiles.find(1, 0xFFFFFFFF, place) is not None


def test_at_most_so_many_tiles_are_in_flight():
    tiles = sensor.Tiles(8, 4, 2)
    one, other = tiles.take(), tiles.take()
    assert not tiles.has_free()
    assert tiles.take() is None
    one.state = sensor.QUEUED
    assert tiles.take() is None
    one.state = sensor.SENDING
    assert tiles.take() is None
    one.release()
    assert tiles.has_free()
    assert tiles.take() is not None
    assert tiles.take() is None
    del other


def test_forgetting_leaves_what_is_being_sent():
    tiles = sensor.Tiles(8, 2, 2)
    one, other = tiles.take(), tiles.take()
    one.state, other.state = sensor.SENDING, sensor.QUEUED
    tiles.forget_session()
    assert one.state == sensor.SENDING
    assert other.state == sensor.FREE


def test_what_has_been_read():
    ports = module_world.Ports()
    reading, _ = readout(ports, plan(limit=24))
    assert not reading.has_read((0, 0, 12, 1))
    reading.read_tile(0).release()
    assert reading.has_read((0, 0, 12, 1))
    assert not reading.has_read((12, 0, 4, 1))
    reading.read_tile(0).release()
    assert reading.has_read((12, 0, 4, 1))
    assert not reading.has_read((0, 1, 12, 1))
    reading.abort()
    assert reading.has_read((12, 15, 4, 1))
