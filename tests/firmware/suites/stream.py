"""Packets through a stream that reads and writes any number of bytes at a time."""

from helpers import module_world

from lensfw import framing, wire
from lensfw.transports.socket_stream import StreamTransport


class Stream:
    """A non-blocking stream. A write accepts ``takes`` bytes; None means that it would block."""

    def __init__(self):
        self.sent = b""
        self.takes = 1000000
        self.coming = []

    def write(self, view):
        if self.takes is None:
            return None
        count = min(self.takes, len(view))
        self.sent += bytes(view[:count])
        return count

    def readinto(self, view):
        if not self.coming:
            return None
        piece = self.coming.pop(0)
        view[: len(piece)] = piece
        return len(piece)


class Queue:
    """Stand in for a link: packets, and tiles that count how often they were sent."""

    def __init__(self, packets):
        self.packets = [(memoryview(packet), tile) for packet, tile in packets]

    def take_packet(self, lane=0):
        return self.packets.pop(0) if self.packets else None

    def release_tile(self, tile):
        tile.released += 1


class Tile:
    released = 0


def test_everything_is_sent_in_order():
    stream, time = Stream(), module_world.Time()
    transport = StreamTransport(stream, time)
    queue = Queue([(b"one", None), (b"two", None)])
    assert transport.send(queue) is False
    assert stream.sent == b"onetwo"
    assert transport.get_wait_ms() == 0


def test_a_stream_that_takes_little_gets_the_rest_later():
    for takes in range(1, 12):
        stream, time, tile = Stream(), module_world.Time(), Tile()
        transport = StreamTransport(stream, time)
        queue = Queue([(b"first packet", tile), (b"second", None)])
        stream.takes = takes
        transport.send(queue)
        assert stream.sent == b"first packetsecond"
        assert tile.released == 1


def test_a_tile_is_released_when_it_is_sent_and_not_before():
    stream, time, tile = Stream(), module_world.Time(), Tile()
    transport = StreamTransport(stream, time)
    stream.takes = None
    queue = Queue([(b"pixels", tile)])
    assert transport.send(queue) is True
    assert tile.released == 0
    stream.takes = 100
    assert transport.send(queue) is False
    assert tile.released == 1


def test_receiving():
    stream, time = Stream(), module_world.Time()
    transport = StreamTransport(stream, time)
    link = Queue([])
    receiver = link.receiver = framing.Receiver({})
    assert transport.receive(link, 0) is True, "nothing there"
    packet = module_world.make_packet(0x10, wire.T_FLUSH, 1, 5, 6, b"\x02\x00")
    stream.coming = [packet[:17], packet[17:]]
    assert transport.receive(link, 0) is True
    assert receiver.parse_packet(0) is None
    assert transport.receive(link, 0) is True
    header, payload = receiver.parse_packet(0)
    assert header[6:8] == (5, 6) and bytes(payload) == b"\x02\x00"
    stream.coming = [b""]
    assert transport.receive(link, 0) is False, "the end"


def test_a_rate_holds_bytes_back():
    stream, time = Stream(), module_world.Time()
    transport = StreamTransport(stream, time, rate=100000)
    stream.takes = 100  # 1 ms each
    queue = Queue([(bytes(1000), None)])
    us = 0
    while transport.send(queue):
        assert transport.get_wait_ms() > 0
        us += 500
        time.us = us
    assert 8500 <= us <= 9500, us
    assert len(stream.sent) == 1000


def test_latency_counts_from_silence():
    stream, time = Stream(), module_world.Time(1000)
    transport = StreamTransport(stream, time, latency_us=5000)
    assert transport.send(Queue([(b"a", None), (b"b", None)])) is True
    assert stream.sent == b""
    assert transport.get_wait_ms() == 6
    time.us += 5000
    rest = Queue([(b"b", None)])
    assert transport.send(rest) is False
    # What follows at once waits no second time.
    assert stream.sent == b"ab"
    assert transport.send(Queue([])) is False
    assert transport.send(Queue([(b"c", None)])) is True


def test_what_was_being_sent_when_the_stream_ended_is_held():
    stream, time, tile = Stream(), module_world.Time(), Tile()
    transport = StreamTransport(stream, time)
    queue = Queue([(b"pixels", tile)])
    stream.takes = None
    transport.send(queue)
    transport.drop_packet(queue)
    assert tile.released == 1
    transport.drop_packet(queue)
    assert tile.released == 1
    stream.takes = 100
    assert transport.send(queue) is False
    assert stream.sent == b""


def test_each_lane_asks_for_its_own_packets():
    asked = []

    class Lanes(Queue):
        def take_packet(self, lane=0):
            asked.append(lane)

    transport = StreamTransport(Stream(), module_world.Time())
    transport.send(Lanes([]), 3)
    assert asked == [3]
