"""Reading out the sensor: rows into preallocated tiles."""

import struct

from . import framing, wire
from .outbox import Item

# A sensor that delivers nothing for so long has failed.
PATIENCE_US = 30000000


FREE = 0
FILLING = 1
QUEUED = 2
SENDING = 3
HELD = 4  # sent, and kept until its memory is needed: it can be sent again

# Of a frame's tiles: most, those at the right, at the bottom, and in the corner. For two streams.
_LENGTHS = 8


class Tile:
    """A packet's buffer: header, then pixels. One of a few that are used again and again."""

    def __init__(self, size):
        self.packet = bytearray(wire.HEADER_BYTES + size)
        self.pixels = memoryview(self.packet)[wire.HEADER_BYTES :]
        self.state = FREE
        self.length = 0
        self.stream = 0
        self.frame = 0
        self.x = 0
        self.y = 0
        self.columns = 0
        self.rows = 0
        self.sent = 0
        self._item = Item(wire.T_TILE, 0, 0, b"", self)
        self._wholes = {}
        self._parts = {}

    @property
    def place(self):
        return self.x, self.y, self.columns, self.rows

    def is_at(self, place):
        """As comparing places, without making one."""
        x, y, columns, rows = place
        return self.y == y and self.x == x and self.columns == columns and self.rows == rows

    def queued(self, flags=0):
        """The item with which it waits to be sent: its own, since it waits once at most."""
        self.state = QUEUED
        item = self._item
        item.frame, item.stream, item.flags = self.frame, self.stream, flags
        return item

    def whole(self):
        """Its packet as (view, tile). Lengths are few: after the first frame none is new."""
        length = self.length
        found = self._wholes.get(length)
        if found is None:
            if len(self._wholes) >= _LENGTHS:
                self._wholes.clear()
            found = memoryview(self.packet)[: wire.HEADER_BYTES + length], self
            self._wholes[length] = found
        return found

    def part(self, length):
        """The first *length* bytes of its pixels."""
        found = self._parts.get(length)
        if found is None:
            if len(self._parts) >= _LENGTHS:
                self._parts.clear()
            found = self.pixels[:length]
            self._parts[length] = found
        return found

    def release(self, order):
        """It has been sent, as the *order*-th."""
        self.state = HELD
        self.sent = order


class Tiles:
    """All the memory that pixels ever pass through.

    At most *in_flight* tiles are filled or wait to be sent; the others hold what was sent last.
    Behind its pixels a tile has room for the CRC of a sensor that computes it.
    """

    def __init__(self, size, count, in_flight, crc_bytes=0):
        self.size = size
        self.crc_bytes = crc_bytes
        self._tiles = [Tile(size + crc_bytes) for _ in range(count)]
        self._in_flight = in_flight

    def any_free(self):
        busy = 0
        for tile in self._tiles:
            if tile.state != FREE and tile.state != HELD:
                busy += 1
        return busy < self._in_flight

    def take(self):
        """A tile to fill: a free one, else the one that has been held longest; or None."""
        if not self.any_free():
            return None
        best = None
        for tile in self._tiles:
            if tile.state == FREE:
                best = tile
                break
            if tile.state == HELD and (best is None or tile.sent < best.sent):
                best = tile
        best.state = FILLING
        return best

    def find(self, stream, frame, place):
        """The tile of that place if it is still held, or on its way; else None."""
        for tile in self._tiles:
            if tile.state >= QUEUED and tile.frame == frame and tile.stream == stream:
                if tile.is_at(place):
                    return tile
        return None

    def forget(self):
        """The session is over: nothing is held for it."""
        for tile in self._tiles:
            if tile.state == QUEUED or tile.state == HELD:
                tile.state = FREE


def bytes_of(pixels, bits):
    """Bytes of so many pixels from where a group of them begins, *bits* each."""
    return (pixels * bits + 7) // 8


def least_pixels(bits):
    """The least that a tile is cut at: an even number, and one that fills whole bytes."""
    return 2 if bits % 4 == 0 else 4


def tile_shape(width, height, limit, bits=16):
    """Columns and rows of a tile of at most *limit* bytes.

    Whole rows, an even number of them; a row that is too long is cut into segments.
    """
    stride = bytes_of(width, bits)
    if 2 * stride <= limit:
        return width, min(height, limit // stride & ~1)
    if stride <= limit:
        return width, 1
    least = least_pixels(bits)
    return limit * 8 // bits // least * least, 1


class Readout:
    """One frame on its way from the sensor. Tiles come in raster order.

    The sensor delivers rows when it has them; read() takes what is there.
    """

    def __init__(self, ports, tiles, plan, number, settings, now):
        self.plan = plan
        self.number = number
        self.request = plan.request
        self.settings = settings
        self.tiles_sent = 0
        self.failed = False
        self.began = None
        self._ports = ports
        self._tiles = tiles
        self._tile = None
        self._fill = 0
        self._x = 0
        self._y = 0
        self._columns = 0
        self._rows = 0
        self._progress = now

    @property
    def done(self):
        return self._y >= self.plan.height or self.failed

    def has_read(self, place):
        """Whether that tile has been read: one that has not comes by itself."""
        return place[1] < self._y or (place[1] == self._y and place[0] < self._x)

    @property
    def ready(self):
        """Whether there is memory for more rows."""
        return self._tile is not None or self._tiles.any_free()

    def read(self, now):
        """The next full tile, or None."""
        if self.done:
            return None
        plan = self.plan
        if self._tile is None:
            self._tile = self._tiles.take()
            if self._tile is None:
                self._progress = now
                return None
            self._fill = 0
            self._columns = min(plan.tile_columns, plan.width - self._x)
            self._rows = min(plan.tile_rows, plan.height - self._y)
        length = bytes_of(self._columns, plan.bits) * self._rows
        whole = length + self._tiles.crc_bytes
        space = self._tile.part(whole)
        count = self._ports.rows_read(space[self._fill :] if self._fill else space)
        if count:
            self._progress = now
            self._fill += count
            if self.began is None:
                self.began = now
        elif now - self._progress > PATIENCE_US:
            self.failed = True
        if self._fill < whole:
            return None
        full, self._tile = self._tile, None
        full.length = length
        if self._tiles.crc_bytes:
            # The sensor's own comes behind its pixels.
            at = wire.HEADER_BYTES - 8
            struct.pack_into(
                "<I", full.packet, at, struct.unpack_from("<I", full.pixels, length)[0]
            )
        else:
            framing.seal_payload(full.packet, length)
        full.frame = self.number
        full.x = self._x
        full.y = self._y
        full.columns = self._columns
        full.rows = self._rows
        self._x += self._columns
        if self._x >= plan.width:
            self._x = 0
            self._y += self._rows
        self.tiles_sent += 1
        return full

    def abort(self):
        """Stop reading; what the sensor still delivers of this frame is thrown away."""
        plan = self.plan
        left = plan.stride * (plan.height - self._y)
        left -= bytes_of(self._x, plan.bits) * plan.tile_rows
        if self._tiles.crc_bytes:
            across = -(-plan.width // plan.tile_columns)
            down = -(-(plan.height - self._y) // plan.tile_rows)
            tiles = across * down - self._x // plan.tile_columns
            left += self._tiles.crc_bytes * tiles
        if self._tile is not None:
            left -= self._fill
            self._tile.state = FREE
            self._tile = None
        # A sensor that has failed may still deliver, too late: into the next frame, if not skipped.
        if self._y < plan.height:
            self._ports.rows_skip(left)
        self._y = plan.height
