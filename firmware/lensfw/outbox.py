"""The packets that wait to be sent, and which one may be sent next: order, priority, credits.

There are two queues. Control packets overtake data packets. The data packets of one stream keep
their order. Those of different streams may overtake each other, so that a stream without credit
does not block the other one. A barrier names streams as bits. It overtakes nothing of these
streams, and nothing of these streams overtakes it.

``link`` and ``module`` queue items; ``link.take_packet()`` takes them.
"""

from . import wire

ALL_STREAMS = (1 << wire.MAX_STREAMS) - 1


class Item:
    """A packet without its header. ``tile`` is released once the packet is sent.

    *barrier* has a bit for each stream that the packet keeps in order. It is 0 for no barrier.
    An item that ``is_incomplete`` is not sent yet.
    """

    def __init__(self, kind, frame, stream, payload=b"", tile=None, flags=0, barrier=0):
        self.kind = kind
        self.frame = frame
        self.stream = stream
        self.payload = payload
        self.tile = tile
        self.flags = flags
        self.barrier = barrier
        self.is_incomplete = False


class Outbox:
    """Queue packets. Credits are bytes of tiles of each stream since the session began."""

    def __init__(self):
        self._control = []
        self._data = []
        self._limits = [0] * wire.MAX_STREAMS
        self._sent_bytes = [0] * wire.MAX_STREAMS
        # Bytes that may still be sent. These are small integers, so that no tile allocates.
        self._credits = [0] * wire.MAX_STREAMS
        self._sent_since = [0] * wire.MAX_STREAMS

    def clear(self):
        self.__init__()

    def queue_control(self, item):
        """Queue a control packet. It overtakes all data."""
        self._control.append(item)

    def count_control(self):
        """Return the number of control packets that wait."""
        return len(self._control)

    def count_answers(self):
        """Return the number of answers that wait. Resents, which wait for credits, do not count."""
        count = 0
        for item in self._control:
            if item.kind != wire.T_LOG:
                count += 1
        for item in self._data:
            if item.barrier:
                count += 1
        return count

    def count_resents(self):
        """Return the number of Resents that wait for their tiles."""
        count = 0
        for item in self._data:
            if item.kind == wire.T_RESENT:
                count += 1
        return count

    def queue_data(self, item):
        """Queue a data packet behind the others."""
        self._data.append(item)

    def queue_first(self, items):
        """Queue data packets ahead of what is new: the host waits for what is sent again.

        They go behind what is sent again already, so that a Resent comes after all of its tiles.
        """
        index = len(self._data)
        while index:
            item = self._data[index - 1]
            if item.flags & wire.FLAG_RESENT or item.kind == wire.T_RESENT:
                break
            index -= 1
        self._data[index:index] = items

    def drop_tiles(self, stream):
        """Remove the queued tiles of a stream that was stopped. They stay held.

        Return the frame number of each removed tile that was never sent.
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
        """Return True if the answer to a request waits among the data."""
        for item in self._data:
            # Only answers are barriers. In all other items the number is a frame's.
            if item.frame == number and item.barrier:
                return True
        return False

    def has_items(self):
        """Return True if any packet waits, with or without credit."""
        return bool(self._control or self._data)

    def has_packet(self, kind, stream, frame):
        """Return True if a packet of that type and frame waits."""
        for item in self._data:
            if item.kind == kind and item.stream == stream and item.frame == frame:
                return True
        return False

    def grant_credits(self, limits):
        """Take the host's credit limits. A limit lower than the last one changes nothing."""
        for stream in range(wire.MAX_STREAMS):
            self._sent_bytes[stream] += self._sent_since[stream]
            self._sent_since[stream] = 0
            self._limits[stream] = max(self._limits[stream], limits[stream])
            left = self._limits[stream] - self._sent_bytes[stream]
            self._credits[stream] = min(left, 1 << 29)

    def count_sent(self):
        """Return the bytes of tiles that were sent, by stream."""
        return [self._sent_bytes[i] + self._sent_since[i] for i in range(wire.MAX_STREAMS)]

    def take_next(self, lane=0):
        """Remove and return the next item that may be sent on that lane, or None.

        Everything but tiles is sent on lane 0. A tile does not overtake its FrameStart on another
        lane. Otherwise a lane 0 that is slower than the others would fall behind without bound.
        """
        if lane == 0 and self._control:
            return self._control.pop(0)
        if not self._data:
            return None
        # Nearly always the first item may be sent.
        item = self._data[0]
        if item.tile is None:
            if lane or item.is_incomplete:
                return self._take_behind(lane)
            return self._data.pop(0)
        if not self._use_credit(item):
            return self._take_behind(lane)
        return self._data.pop(0)

    def _use_credit(self, item):
        """Use up credit for a tile. Return False if there is not enough."""
        length = item.tile.length
        stream = item.stream
        if length > self._credits[stream]:
            return False
        self._credits[stream] -= length
        self._sent_since[stream] += length
        return True

    def _take_behind(self, lane):
        """Remove and return an item behind a first one that may not be sent now, or None."""
        blocked = 0
        index = 0
        for item in self._data:
            bit = item.barrier or 1 << item.stream
            if item.barrier:
                if lane == 0 and not blocked & bit:
                    break
                blocked |= bit
                if blocked == ALL_STREAMS:
                    return None
            elif item.tile is None:
                if lane == 0 and not blocked & bit and not item.is_incomplete:
                    break
                if item.is_incomplete or (lane and item.kind == wire.T_FRAME_START):
                    blocked |= bit
            elif not blocked & bit:
                if self._use_credit(item):
                    break
                blocked |= bit
            index += 1
        else:
            return None
        return self._data.pop(index)
