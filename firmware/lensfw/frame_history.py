"""The last frames: what is needed to send a part of one again, or to say that it is gone."""

from . import wire

# The last ones, and all that are under way whatever has begun beside them.
_RECORDS = 4
# Places that one request may make us look at: a hostile one names them by the million.
_MAX_LOOKUPS = 4096


class Record:
    """A frame's geometry, and its first and last packets."""

    def __init__(self, readout, stream, start):
        self.readout = readout
        self.stream = stream
        self.number = readout.number
        self.start = start
        self.end = None


class FrameHistory:
    """Records of the last frames, oldest first."""

    def __init__(self, tiles, outbox):
        self._tiles = tiles
        self._outbox = outbox
        self._records = []

    def clear(self):
        self._records.clear()

    def add(self, record):
        self._records.append(record)
        for each in self._records[:-_RECORDS]:
            # A slow still is being sent long after it began.
            if each.end and not self._outbox.has_packet(wire.T_FRAME_END, each.stream, each.number):
                self._records.remove(each)

    def find(self, stream, number):
        for record in self._records:
            if record.number == number and record.stream == stream:
                return record
        return None

    def sort_ranges(self, record, ranges):
        """Tiles of *ranges* that can be sent again, and the places of those that are gone.

        What has not been read yet is neither. At most MAX_RANGES places: the host asks again.
        """
        held = []
        gone = []
        plan = record.readout.plan
        lookups = 0
        for x, y, width, height in ranges:
            if not width or not height:
                continue
            right = min(x + width, plan.width)
            bottom = min(y + height, plan.height)
            row = y - y % plan.tile_rows
            while row < bottom:
                column = x - x % plan.tile_columns
                while column < right:
                    rectangle = (
                        column,
                        row,
                        min(plan.tile_columns, plan.width - column),
                        min(plan.tile_rows, plan.height - row),
                    )
                    column += plan.tile_columns
                    lookups += 1
                    if lookups > _MAX_LOOKUPS:
                        return held, gone
                    if not record.readout.has_read(rectangle):
                        continue
                    tile = self._tiles.find(record.stream, record.number, rectangle)
                    if tile is None:
                        if rectangle not in gone and len(gone) < wire.MAX_RANGES:
                            gone.append(rectangle)
                    elif tile not in held:
                        held.append(tile)
                row += plan.tile_rows
        return held, gone
