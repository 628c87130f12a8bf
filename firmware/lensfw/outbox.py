"""What waits to be sent, and what may be sent next: order, priority, credits.

Two queues. Control packets overtake data packets, never inside one, since a packet is whole on
its lane. The data packets of a stream keep their order; those of different streams do not, so
that one whose host grants nothing cannot hold up the other. A barrier keeps its place among all.
"""

from . import wire

BARRIER = -1


class Item:
    """A packet but for its header; ``tile`` is released once it is sent."""

    def __init__(self, kind, frame, stream, payload=b"", tile=None, flags=0, barrier=False):
        self.kind = kind
        self.frame = frame
        self.stream = stream
        self.payload = payload
        self.tile = tile
        self.flags = flags
        self.barrier = barrier


class Outbox:
    """Credits are bytes of tiles, counted for each stream since the session began."""

    def __init__(self):
        self._control = []
        self._data = []
        self._limits = [0] * wire.MAX_STREAMS
        self._sent_bytes = [0] * wire.MAX_STREAMS
        # What may still be sent: small numbers, which a tile does not allocate for.
        self._credits = [0] * wire.MAX_STREAMS
        self._sent_since = [0] * wire.MAX_STREAMS

    def clear(self):
        self.__init__()

    def queue_control(self, item):
        self._control.append(item)

    def count_control(self):
        """Control packets that wait."""
        return len(self._control)

    def count_answers(self):
        """Answers that wait."""
        count = 0
        for item in self._control:
            if item.kind != wire.T_LOG:
                count += 1
        for item in self._data:
            if item.barrier or item.kind == wire.T_RESENT:
                count += 1
        return count

    def queue_data(self, item):
        self._data.append(item)

    def queue_first(self, items):
        """Put data ahead of all that waits: what is sent again has been waited for."""
        self._data[:0] = items

    def drop_tiles(self, stream):
        """Forget the tiles of a stream that has been stopped; they may be held on.

        Returns the frame of each that has never been sent.
        """
        kept = []
        unsent = []
        for item in self._data:
            if item.tile is not None and item.stream == stream:
                item.tile.withdraw()
                if not item.flags & wire.FLAG_RESENT:
                    unsent.append(item.frame)
            else:
                kept.append(item)
        self._data = kept
        return unsent

    def has_answer(self, number):
        """Whether the answer to a request still waits."""
        for item in self._data:
            # Only answers are barriers. The number of all else is a frame's.
            if item.frame == number and item.barrier:
                return True
        return False

    def has_items(self):
        """Whether anything waits, whatever there is credit for."""
        return bool(self._control or self._data)

    def has_packet(self, kind, stream, frame):
        """Whether a packet of that frame still waits."""
        for item in self._data:
            if item.kind == kind and item.stream == stream and item.frame == frame:
                return True
        return False

    def grant_credits(self, limits):
        """The host has repeated its limits; an older one than known changes nothing."""
        for stream in range(wire.MAX_STREAMS):
            self._sent_bytes[stream] += self._sent_since[stream]
            self._sent_since[stream] = 0
            self._limits[stream] = max(self._limits[stream], limits[stream])
            left = self._limits[stream] - self._sent_bytes[stream]
            self._credits[stream] = min(left, 1 << 29)

    def count_sent(self):
        """Bytes of tiles sent, by stream."""
        return [self._sent_bytes[i] + self._sent_since[i] for i in range(wire.MAX_STREAMS)]

    def take_next(self, lane=0):
        """The next item that may be sent on that lane, or None. All but tiles go by lane 0.

        A tile does not overtake its FrameStart on another lane: else a lane 0 that is slower than
        the others, where every small packet costs a transfer, would fall behind without bound.
        """
        if lane == 0 and self._control:
            return self._control.pop(0)
        if not self._data:
            return None
        # Nearly always it is the first.
        item = self._data[0]
        if item.tile is None:
            return self._data.pop(0) if lane == 0 else self._take_behind(lane)
        if not self._use_credit(item):
            return self._take_behind(lane)
        return self._data.pop(0)

    def _use_credit(self, item):
        """Whether there is credit for a tile, which is used up then."""
        length = item.tile.length
        stream = item.stream
        if length > self._credits[stream]:
            return False
        self._credits[stream] -= length
        self._sent_since[stream] += length
        return True

    def _take_behind(self, lane):
        """Behind a first item that may not be sent now."""
        blocked = 0
        index = 0
        for item in self._data:
            if item.barrier:
                return None
            bit = 1 << item.stream
            if item.tile is None:
                if lane == 0 and not blocked & bit:
                    break
                if lane and item.kind == wire.T_FRAME_START:
                    blocked |= bit
            elif not blocked & bit:
                if self._use_credit(item):
                    break
                blocked |= bit
            index += 1
        else:
            return None
        return self._data.pop(index)
