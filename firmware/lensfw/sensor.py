"""Reading out the sensor: rows into preallocated tiles."""

import struct

from . import framing, wire
from .outbox import Item

# A sensor that delivers nothing for so long has failed.
SENSOR_TIMEOUT_US = 30000000


FREE = 0
FILLING = 1
QUEUED = 2
SENDING = 3
HELD = 4  # sent, and kept until its memory is needed: it can be sent again

# Of a frame's tiles: most, those at the right, at the bottom, and in the corner. For two streams.
_MAX_VIEWS = 8


class Tile:
    """A packet's buffer: header, then pixels. One of a few that are used again and again.

    ``idle`` are those that may be taken; see Tiles.
    """

    def __init__(self, size, idle):
        self.packet = framing.make_tile_packet(size)
        self.pixels = memoryview(self.packet)[wire.HEADER_BYTES :]
        self.state = FREE
        self.length = 0
        self.stream = 0
        self.frame = 0
        self._idle = idle
        self._item = Item(wire.T_TILE, 0, 0, b"", self)
        self._packets = {}
        self._pixel_views = {}

    def read_rectangle(self):
        """Its x, y, columns and rows: they stand where the host reads them."""
        return framing.read_rectangle(self.packet)

    def make_item(self, flags=0):
        """The item with which it waits to be sent: its own, since it waits once at most."""
        if self.state == HELD:
            self._idle.remove(self)
        self.state = QUEUED
        item = self._item
        item.frame, item.stream, item.flags = self.frame, self.stream, flags
        return item

    def get_packet(self):
        """Its packet as (view, tile). Lengths are few: after the first frame none is new."""
        length = self.length
        found = self._packets.get(length)
        if found is None:
            if len(self._packets) >= _MAX_VIEWS:
                self._packets.clear()
            found = memoryview(self.packet)[: wire.HEADER_BYTES + length], self
            self._packets[length] = found
        return found

    def get_pixels(self, length):
        """The first *length* bytes of its pixels."""
        found = self._pixel_views.get(length)
        if found is None:
            if len(self._pixel_views) >= _MAX_VIEWS:
                self._pixel_views.clear()
            found = self.pixels[:length]
            self._pixel_views[length] = found
        return found

    def release(self):
        """It has been sent."""
        self.state = HELD
        self._idle.append(self)

    def withdraw(self):
        """It is not sent after all: held, and the first to be taken."""
        self.state = HELD
        self._idle.insert(0, self)

    def free(self):
        """There is nothing in it."""
        self.state = FREE
        self._idle.insert(0, self)


class Tiles:
    """All the memory that pixels ever pass through.

    At most *in_flight* tiles are filled or wait to be sent; the others hold what was sent last.
    Behind its pixels a tile has room for the CRC of a sensor that computes it.
    """

    def __init__(self, size, count, in_flight, crc_bytes=0):
        self.size = size
        self.crc_bytes = crc_bytes
        # Free ones, then those that are held: the one that was sent first, first.
        self._idle = []
        self._tiles = [Tile(size + crc_bytes, self._idle) for _ in range(count)]
        self._idle.extend(self._tiles)
        self._reserve = count - in_flight

    def has_free(self):
        return len(self._idle) > self._reserve

    def take(self):
        """A tile to fill: a free one, else the one that has been held longest; or None."""
        idle = self._idle
        if len(idle) <= self._reserve:
            return None
        tile = idle.pop(0)
        tile.state = FILLING
        return tile

    def find(self, stream, frame, rectangle):
        """The tile of that rectangle if it is still held, or on its way; else None."""
        for tile in self._tiles:
            if tile.state >= QUEUED and tile.frame == frame and tile.stream == stream:
                if tile.read_rectangle() == rectangle:
                    return tile
        return None

    def forget_session(self):
        """The session is over: nothing is held for it."""
        for tile in self._tiles:
            if tile.state == QUEUED:
                tile.free()
            elif tile.state == HELD:
                tile.state = FREE


def count_bytes(pixels, bits):
    """Bytes of so many pixels from where a group of them begins, *bits* each."""
    return (pixels * bits + 7) // 8


def get_min_pixels(bits):
    """The least that a tile is cut at: an even number, and one that fills whole bytes."""
    return 2 if bits % 4 == 0 else 4


def choose_tile_shape(width, height, limit, bits=16):
    """Columns and rows of a tile of at most *limit* bytes.

    Whole rows, an even number of them; a row that is too long is cut into segments.
    """
    stride = count_bytes(width, bits)
    if 2 * stride <= limit:
        return width, min(height, limit // stride & ~1)
    if stride <= limit:
        return width, 1
    least = get_min_pixels(bits)
    return limit * 8 // bits // least * least, 1


class Readout:
    """One frame on its way from the sensor. Tiles come in raster order.

    The sensor delivers rows when it has them; read() takes what is there.
    """

    def __init__(self, ports, tiles, plan, number, settings, now):
        self.plan = plan
        self.number = number
        self.request_id = plan.request_id
        self.settings = settings
        self.tile_count = 0
        self.failed = False
        self.done = False
        self.start_us = None
        self._ports = ports
        self._tiles = tiles
        self._tile = None
        # Of the tile that is being filled: bytes that are there, and bytes that it has.
        self._fill = 0
        self._size = 0
        # Where it is, and with it all that has been read.
        self._x = 0
        self._y = 0
        self._progress = now

    def has_read(self, rectangle):
        """Whether that tile has been read: one that has not comes by itself."""
        return rectangle[1] < self._y or (rectangle[1] == self._y and rectangle[0] < self._x)

    def has_space(self):
        """Whether there is memory for more rows."""
        return self._tile is not None or self._tiles.has_free()

    def read_tile(self, now):
        """The next full tile, or None."""
        tile = self._tile
        if tile is None:
            tile = self._take_tile(now)
            if tile is None:
                return None
        fill = self._fill
        space = tile.get_pixels(self._size)
        count = self._ports.read_rows(space[fill:] if fill else space)
        if count:
            fill += count
            self._count_rows(now, fill)
        elif now - self._progress > SENSOR_TIMEOUT_US:
            self.failed = self.done = True
        if fill < self._size:
            return None
        self._append_crc(tile)
        self._advance()
        return tile

    def _take_tile(self, now):
        """The next tile to fill, if there is memory; None after the last."""
        if self.done:
            return None
        tile = self._tile = self._tiles.take()
        if tile is None:
            self._progress = now
            return None
        plan = self.plan
        columns = min(plan.tile_columns, plan.width - self._x)
        rows = min(plan.tile_rows, plan.height - self._y)
        tile.length = count_bytes(columns, plan.bits) * rows
        tile.frame = self.number
        framing.write_rectangle(
            tile.packet, self.number, self._x, self._y, columns, rows, tile.length
        )
        self._fill = 0
        self._size = tile.length + self._tiles.crc_bytes
        return tile

    def _count_rows(self, now, fill):
        self._fill = fill
        self._progress = now
        if self.start_us is None:
            self.start_us = now

    def _append_crc(self, tile):
        """The payload's CRC, the sensor's own where it comes behind its pixels."""
        length = tile.length
        if self._tiles.crc_bytes:
            crc = struct.unpack_from("<I", tile.pixels, length)[0]
            struct.pack_into("<I", tile.packet, wire.HEADER_BYTES - 8, crc)
        else:
            framing.append_payload_crc(tile.packet, length)

    def _advance(self):
        self._tile = None
        self.tile_count += 1
        plan = self.plan
        self._x += plan.tile_columns
        if self._x >= plan.width:
            self._x = 0
            self._y += plan.tile_rows
            self.done = self._y >= plan.height

    def abort(self):
        """Stop reading; what the sensor still delivers of this frame is thrown away."""
        plan = self.plan
        left = plan.stride * (plan.height - self._y)
        left -= count_bytes(self._x, plan.bits) * plan.tile_rows
        if self._tiles.crc_bytes:
            across = -(-plan.width // plan.tile_columns)
            down = -(-(plan.height - self._y) // plan.tile_rows)
            tiles = across * down - self._x // plan.tile_columns
            left += self._tiles.crc_bytes * tiles
        if self._tile is not None:
            left -= self._fill
            self._tile.free()
            self._tile = None
        # A sensor that has failed may still deliver, too late: into the next frame, if not skipped.
        if self._y < plan.height:
            self._ports.skip_rows(left)
        self._y = plan.height
        self.done = True
