"""Read out the sensor: rows into preallocated tiles.

A tile of a rice format is coded. Its rows, 16-bit words, are read into another tile first, which is
then free again. So a readout needs two tiles of those in flight.

``module`` starts a Readout for each frame and queues the tiles that read_tile() returns. The ports
deliver the rows. ``link`` releases a tile once it is sent.

=========  ==============================  ================================  ==========
state      meaning                         event                             next state
=========  ==============================  ================================  ==========
FREE       it holds nothing                take()                            FILLING
FILLING    rows are read into it           it is full, make_item()           QUEUED
FILLING    rows are read into it           the readout is aborted, free()    FREE
QUEUED     it waits in the outbox          it is taken to be sent            SENDING
QUEUED     it waits in the outbox          the stream stops, withdraw()      HELD
SENDING    a transport sends it            release()                         HELD
HELD       it can be sent again            a Resend asks for it, make_item() QUEUED
HELD       it can be sent again            its memory is needed, take()      FILLING
=========  ==============================  ================================  ==========

At the end of the session QUEUED and HELD become FREE.
"""

import struct

from . import arch, framing, wire
from .outbox import Item
from .wire import const

# A sensor that delivers nothing for this long has failed.
SENSOR_TIMEOUT_US = 30000000


FREE = 0
FILLING = 1
QUEUED = 2
SENDING = 3
HELD = 4

# The stream of stills.
STILL = 1
# A still is kept until so many more frames have begun: 10 s of a preview of 100 frames a second.
# In this time a host whose answers take 400 ms can ask 24 times for what was lost again.
_KEPT_FRAMES = 1000
# A number up to it is no large integer, which would take memory.
_SMALL = (1 << 30) - 1

# The lengths of tiles, of three streams with four each: inner, right, bottom and corner tiles.
# Those of coded tiles are multiples of 256. One scene has about a dozen.
_MAX_VIEWS = const(24)


class Tile:
    """The buffer of a tile packet: header, then pixels. A module has a few and uses them again.

    *idle* is the list of tiles that may be taken; see Tiles.
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
        """Return x, y, columns and rows. They are read from the packet's header."""
        return framing.read_rectangle(self.packet)

    def make_item(self, flags=0):
        """Return the tile's item for the outbox. It has only one, because it waits once at most."""
        if self.state == HELD:
            self._idle.remove(self)
        self.state = QUEUED
        item = self._item
        item.frame, item.stream, item.flags = self.frame, self.stream, flags
        return item

    def get_packet(self):
        """Return its packet as (view, tile). Lengths are few, so later frames need no new view."""
        length = self.length
        found = self._packets.get(length)
        if found is None:
            if len(self._packets) >= _MAX_VIEWS:
                self._packets.clear()
            found = memoryview(self.packet)[: wire.HEADER_BYTES + length], self
            self._packets[length] = found
        return found

    def get_pixels(self, length):
        """Return a view of the first *length* bytes of its pixels."""
        found = self._pixel_views.get(length)
        if found is None:
            if len(self._pixel_views) >= _MAX_VIEWS:
                self._pixel_views.clear()
            found = self.pixels[:length]
            self._pixel_views[length] = found
        return found

    def release(self):
        """Hold the tile, which was sent."""
        self.state = HELD
        self._idle.append(self)

    def withdraw(self):
        """Hold the tile, which is not sent after all. It is the first to be taken."""
        self.state = HELD
        self._idle.insert(0, self)

    def free(self):
        """Put the tile back: it holds nothing."""
        self.state = FREE
        self._idle.insert(0, self)


class Tiles:
    """All the memory for pixels.

    At most *in_flight* tiles are being filled or wait to be sent. The others hold the tiles that
    were sent last. Behind its pixels a tile has *crc_bytes* for the CRC of a sensor that has one.
    """

    def __init__(self, size, count, in_flight, crc_bytes=0):
        self.size = size
        self.crc_bytes = crc_bytes
        # Free tiles, then held tiles in the order in which they were sent.
        self._idle = []
        self._tiles = [Tile(size + crc_bytes, self._idle) for _ in range(count)]
        self._idle.extend(self._tiles)
        self._reserve = count - in_flight

    def has_free(self):
        return len(self._idle) > self._reserve

    def take(self, number=0):
        """Return a tile to fill for frame *number*, or None.

        It is a free one, else the one that was held longest. Tiles of a recent still are taken
        last: a preview beside it must not take what the host may still request.
        """
        if len(self._idle) <= self._reserve:
            return None
        tile = self._idle.pop(self._choose(number))
        tile.state = FILLING
        return tile

    def _choose(self, number):
        """Return the index of the idle tile to take.

        If there are only tiles of recent stills, it is one of the oldest still.
        """
        # A loop without an iterator: its state would make each call allocate.
        index = oldest = 0
        most = -1
        while index < len(self._idle):
            tile = self._idle[index]
            # A preview may have begun before the still.
            age = (number - tile.frame + _KEPT_FRAMES) & _SMALL
            if tile.state != HELD or tile.stream != STILL or age > 2 * _KEPT_FRAMES:
                return index
            if age > most:
                most = age
                oldest = index
            index += 1
        return oldest

    def find(self, stream, frame, rectangle):
        """Return the tile of a rectangle if it is held, queued or being sent, else None."""
        for tile in self._tiles:
            if tile.state >= QUEUED and tile.frame == frame and tile.stream == stream:
                if tile.read_rectangle() == rectangle:
                    return tile
        return None

    def forget_session(self):
        """Free the tiles that were queued or held for a session that has ended."""
        for tile in self._tiles:
            if tile.state == QUEUED:
                tile.free()
            elif tile.state == HELD:
                tile.state = FREE


def is_recent(number, newest):
    """Return True if a frame is one of the last before frame *newest*. Numbers wrap."""
    return (newest - number) & 0xFFFFFFFF <= _KEPT_FRAMES


def count_bytes(pixels, bits):
    """Return the bytes of a number of pixels with *bits* each, from the start of a group."""
    return (pixels * bits + 7) // 8


def get_min_pixels(bits):
    """Return the fewest pixels of a tile: an even number that fills whole bytes."""
    return 2 if bits % 4 == 0 else 4


def choose_tile_shape(width, height, limit, bits=16):
    """Return columns and rows of a tile of at most *limit* bytes.

    A tile has an even number of whole rows. A row that is too long is cut into segments.
    """
    stride = count_bytes(width, bits)
    if 2 * stride <= limit:
        return width, min(height, limit // stride & ~1)
    if stride <= limit:
        return width, 1
    least = get_min_pixels(bits)
    return limit * 8 // bits // least * least, 1


class Readout:
    """The readout of one frame from the sensor. Tiles are read row by row, left to right.

    The sensor delivers rows when it has them. read_tile() takes the rows that are there.
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
        # Bits of a pixel as the ports deliver it.
        self._bits = plan.bits if plan.rows_format == plan.pixel_format else 16
        # The tile that is being filled: bytes that were read, and the bytes of all. _take_tile()
        # adds its columns and rows.
        self._tile = None
        self._fill = 0
        self._size = 0
        # The next tile's position. All tiles before it have been read.
        self._x = 0
        self._y = 0
        self._progress = now

    def has_read(self, rectangle):
        """Return True if the tile of a rectangle has been read."""
        return rectangle[1] < self._y or (rectangle[1] == self._y and rectangle[0] < self._x)

    def has_space(self):
        """Return True if there is memory for more rows."""
        return self._fill < self._size or self._tiles.has_free()

    def read_tile(self, now):
        """Read rows. Return the tile that they have filled, or None."""
        tile = self._tile
        if tile is None:
            tile = self._take_tile(now)
            if tile is None:
                return None
        fill, size = self._fill, self._size
        if fill < size:
            space = tile.get_pixels(size)
            count = self._ports.read_rows(space[fill:] if fill else space)
            if count:
                fill += count
                self._count_rows(now, fill)
            elif now - self._progress > SENSOR_TIMEOUT_US:
                self.failed = self.done = True
            if fill < size:
                return None
        length = count_bytes(self._columns, self.plan.bits) * self._rows
        if self._bits != self.plan.bits:
            # The words become a code, in another tile.
            words, tile = tile, self._tiles.take(self.number)
            if tile is None:
                self._progress = now
                return None
            length = self._code(tile.packet, words, length)
            words.free()
        self._finish_tile(tile, length)
        self._advance()
        return tile

    def _take_tile(self, now):
        """Take the next tile to fill. Return None without memory or after the last tile."""
        if self.done:
            return None
        tile = self._tile = self._tiles.take(self.number)
        if tile is None:
            self._progress = now
            return None
        plan = self.plan
        columns = self._columns = min(plan.tile_columns, plan.width - self._x)
        rows = self._rows = min(plan.tile_rows, plan.height - self._y)
        self._fill = 0
        self._size = count_bytes(columns, self._bits) * rows + self._tiles.crc_bytes
        return tile

    def _code(self, out, words, length):
        """Write the code of the pixels in tile *words* into a packet. Return its bytes.

        If it is not clearly shorter than the *length* of the pixels, write the pixels.
        """
        at = wire.HEADER_BYTES
        columns, rows, bits = self._columns, self._rows, self.plan.bits
        coded = arch.encode_rice(out, words.packet, at, columns, rows, bits, length)
        if coded:
            return coded
        if bits == 12:
            # Columns are even, so no row ends inside a byte.
            arch.pack12(out, at, words.pixels, columns * rows)
        else:
            for row in range(rows):
                pixels = words.pixels[2 * columns * row :]
                arch.pack_lsb(out, at + length // rows * row, pixels, columns, bits)
        return length

    def _finish_tile(self, tile, length):
        """Write what is known of a tile before it is sent."""
        tile.length = length
        tile.frame = self.number
        framing.write_rectangle(
            tile.packet, self.number, self._x, self._y, self._columns, self._rows, length
        )
        if self._tiles.crc_bytes:
            # The sensor's own CRC follows the pixels.
            crc = struct.unpack_from("<I", tile.pixels, length)[0]
            struct.pack_into("<I", tile.packet, wire.HEADER_BYTES - 8, crc)
        else:
            framing.append_payload_crc(tile.packet, length)

    def _count_rows(self, now, fill):
        self._fill = fill
        self._progress = now
        if self.start_us is None:
            # A sensor that knows when its readout began says so. The rows arrive later.
            get_start = getattr(self._ports, "get_start_us", None)
            self.start_us = now if get_start is None else get_start()

    def _advance(self):
        self._tile = None
        self._fill = self._size = 0
        self.tile_count += 1
        plan = self.plan
        self._x += plan.tile_columns
        if self._x >= plan.width:
            self._x = 0
            self._y += plan.tile_rows
            self.done = self._y >= plan.height

    def abort(self):
        """Stop reading. The ports skip the bytes that the sensor still delivers of this frame."""
        plan = self.plan
        left = count_bytes(plan.width, self._bits) * (plan.height - self._y)
        left -= count_bytes(self._x, self._bits) * plan.tile_rows
        if self._tiles.crc_bytes:
            across = -(-plan.width // plan.tile_columns)
            down = -(-(plan.height - self._y) // plan.tile_rows)
            tiles = across * down - self._x // plan.tile_columns
            left += self._tiles.crc_bytes * tiles
        if self._tile is not None:
            left -= self._fill
            self._tile.free()
            self._tile = None
        # A failed sensor may deliver late. Its bytes must not get into the next frame.
        if self._y < plan.height:
            self._ports.skip_rows(left)
        self._y = plan.height
        self.done = True
