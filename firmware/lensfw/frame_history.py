"""The last frames: what is needed to send a part of a frame again, or to name it as gone."""

from . import sensor, wire

# Frames that are remembered. A frame that is still being sent is remembered as well.
_RECORDS = 4
# Tiles that one request may look up. A hostile request names millions of them.
_MAX_LOOKUPS = 4096


class Record:
    """A frame's geometry, and its FrameStart and FrameEnd. ``end`` is None until it ends."""

    def __init__(self, readout, stream, start):
        self.readout = readout
        self.stream = stream
        self.number = readout.number
        self.start = start
        self.end = None


class FrameHistory:
    """The records of the last frames, oldest first."""

    def __init__(self, tiles, outbox):
        self._tiles = tiles
        self._outbox = outbox
        self._records = []

    def clear(self):
        self._records.clear()

    def add(self, record):
        """Add a record, and forget the oldest ones that are complete.

        The last still is remembered longer: a fast preview begins many frames beside it.
        """
        self._records.append(record)
        still = None
        for each in self._records:
            if each.stream == sensor.STILL:
                still = each
        for each in self._records[:-_RECORDS]:
            if each is still and sensor.is_recent(each.number, record.number):
                continue
            # A slow still is sent long after its readout began.
            if each.end and not self._outbox.has_packet(wire.T_FRAME_END, each.stream, each.number):
                self._records.remove(each)

    def find(self, stream, number):
        """Return the record of a frame, or None."""
        for record in self._records:
            if record.number == number and record.stream == stream:
                return record
        return None

    def sort_ranges(self, record, ranges):
        """Return the held tiles in *ranges*, and the rectangles of the tiles that are gone.

        A tile that was not read yet is neither: it will be sent anyway. At most MAX_RANGES
        rectangles are returned. The host asks again for the rest.
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
