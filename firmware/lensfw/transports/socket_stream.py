"""The link over one stream of bytes that does not block."""


class StreamTransport:
    """Receive from a stream and send to it.

    *stream* has readinto() and write(), which return None when they would block. *rate* (bytes per
    second, 0 = unlimited) and *latency_us* limit a stand-in to the link of the board. *clock* is
    the module's.
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
        """Do nothing: the stream is open already."""

    def receive(self, link, now):
        """Read once, and pass the bytes to the link. Return False at the end of the stream."""
        receiver = link.receiver
        count = self._stream.readinto(receiver.get_space())
        if count is None:
            return True
        if count == 0:
            return False
        receiver.add_received(count, now)
        return True

    def send(self, link, lane=0):
        """Send packets. Return True if the stream would block, False if no packet is left."""
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
            if self._is_limited():
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

    def drop_packet(self, link):
        """Drop the packet in flight, because the stream has ended. Its tile can go elsewhere."""
        self._packet = None
        if self._tile is not None:
            link.release_tile(self._tile)
            self._tile = None

    def get_wait_ms(self):
        """Return the milliseconds for which the rate limit holds the next bytes back, or 0."""
        return max(0, self._ready - self._clock.now()) // 1000 + 1 if self._is_limited() else 0

    def _is_limited(self):
        return self._ready > self._clock.now()
