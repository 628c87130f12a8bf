"""Packets out of and into one stream of bytes that never blocks."""


class StreamTransport:
    """``stream`` has readinto() and write() that return None when they would block.

    ``rate`` (bytes a second, 0 = unbounded) and ``latency_us`` bound a stand-in to what the
    board's own link could do; ``clock`` is the module's.
    """

    def __init__(self, stream, clock, rate=0, latency_us=0):
        self._stream = stream
        self._clock = clock
        self._rate = rate
        self._latency_us = latency_us
        self._packet = None
        self._tile = None
        self._sent = 0
        self._ready = 0
        self._idle = True

    def start(self):
        """The stream is there already."""

    def receive(self, link, now):
        """Read once; False at the end of the stream."""
        receiver = link.receiver
        count = self._stream.readinto(receiver.get_space())
        if count is None:
            return True
        if count == 0:
            return False
        receiver.add_received(count, now)
        return True

    def send(self, link, lane=0):
        """Send packets until none is left or the stream would block; True in the latter case."""
        while True:
            if self._packet is None:
                item = link.take_packet(lane)
                if item is None:
                    self._idle = True
                    return False
                self._packet, self._tile = item
                self._sent = 0
                if self._idle:
                    self._ready = max(self._ready, self._clock.now() + self._latency_us)
                    self._idle = False
            if self._paced():
                return True
            count = self._stream.write(self._packet[self._sent :])
            if not count:
                return True
            self._sent += count
            if self._rate:
                self._ready = max(self._ready, self._clock.now()) + count * 1000000 // self._rate
            if self._sent == len(self._packet):
                self._packet = None
                if self._tile is not None:
                    link.release_tile(self._tile)
                    self._tile = None

    def end(self, link):
        """The stream is gone: what was being sent is held, and may go elsewhere."""
        self._packet = None
        if self._tile is not None:
            link.release_tile(self._tile)
            self._tile = None

    def wait_ms(self):
        """How long pacing holds the next bytes back."""
        return max(0, self._ready - self._clock.now()) // 1000 + 1 if self._paced() else 0

    def _paced(self):
        return self._ready > self._clock.now()
