"""The module's framing and link, exactly: what mutation testing asked for beyond tests/firmware."""

from __future__ import annotations

from lab import world

from lensfw import framing, outbox, wire


def test_noise_before_a_packet_that_comes_in_pieces_is_counted_once():
    rejects: dict[str, int] = {}
    receiver = framing.Receiver(rejects)
    good = world.seal(0x10, wire.T_STOP, 1, 0, 2, wire.encode(wire.T_STOP, (0,)))
    data = b"noise" + good
    for at in range(len(data)):
        receiver.space()[:1] = data[at : at + 1]
        receiver.received(1, 0)
        found = receiver.next(0)
        if at < 9:
            rejects.clear()
    assert found is not None
    assert rejects == {}


def test_a_stopped_frame_that_was_read_to_its_end_says_so():
    """Found by the exploration: tiles that waited were dropped, and its end said OK."""
    camera, _, time = world.camera(world.configuration(held=4, in_flight=4))
    host = world.Peer(camera, time)
    host.hello()
    host.send(wire.T_CONFIGURE, 2, (0, 0, 1, 0, 0))
    # Credit for one tile of four.
    host.grant(128)
    host.send(wire.T_CAPTURE, 3, (0, 0, 1, 0, 0, -1))
    host.send(wire.T_STOP, 4, (0,))
    assert world.kinds(host.heard).count(wire.T_TILE) == 1
    status, _, tiles, *_ = world.only(host.heard, wire.T_FRAME_END)
    assert (status, tiles) == (wire.END_ABORTED, 1)


class Tile:
    """As much of a tile as the outbox sees."""

    def __init__(self, length: int = 1) -> None:
        self.length = length
        self.withdrawn = 0

    def withdraw(self) -> None:
        self.withdrawn += 1


def test_a_limit_of_nothing_lets_nothing_through():
    box = outbox.Outbox()
    box.data(outbox.Item(wire.T_TILE, 0, 0, b"", Tile(1)))
    box.grant([0, 0])
    assert box.next(0) is None
    box.grant([1, 0])
    assert box.next(0) is not None


def test_what_is_dropped_is_the_first_to_be_used_again():
    box = outbox.Outbox()
    first, again, other = Tile(), Tile(), Tile()
    box.data(outbox.Item(wire.T_TILE, 7, 0, b"", first))
    box.data(outbox.Item(wire.T_TILE, 6, 0, b"", again, wire.FLAG_RESENT))
    box.data(outbox.Item(wire.T_TILE, 8, 1, b"", other))
    assert box.drop(0) == [7]
    assert (first.withdrawn, again.withdrawn, other.withdrawn) == (1, 1, 0)


def receive(data: bytes, *, pieces: int = 0, now: int = 0) -> tuple[list[bytes], dict[str, int]]:
    """The payloads that come of *data*, its last *pieces* bytes one by one; and the rejects."""
    rejects: dict[str, int] = {}
    receiver = framing.Receiver(rejects)
    payloads = []
    whole = len(data) - pieces
    for piece in [data[:whole], *(data[at : at + 1] for at in range(whole, len(data)))]:
        receiver.space()[: len(piece)] = piece
        receiver.received(len(piece), now)
        while (found := receiver.next(now)) is not None:
            payloads.append(bytes(found[1]))
    return payloads, rejects


STOP = wire.encode(wire.T_STOP, (0,))


def test_the_module_keeps_two_of_the_longest_packets_and_no_more():
    longest = wire.HEADER_BYTES + wire.MAX_CONTROL
    assert len(framing.Receiver({}).space()) == 2 * longest


def test_noise_before_the_beginning_of_a_packet_is_counted_once():
    good = world.seal(0x10, wire.T_STOP, 1, 0, 2, STOP)
    assert receive(b"noise" + good, pieces=len(good) - 8) == ([STOP], {"noise": 1})


def test_a_header_that_announces_too_much_is_passed_over():
    good = world.seal(0x10, wire.T_STOP, 1, 0, 2, STOP)
    header = bytearray(wire.HEADER_BYTES)
    length = wire.MAX_CONTROL + 1
    framing.seal(header, length, wire.T_STOP, 0, 0, 0x10, 1, 2)
    payloads, rejects = receive(bytes(header) + good)
    assert payloads == [STOP]
    assert rejects == {"length": 1, "noise": 1}


def test_half_a_header_that_stalls_is_a_stall_and_nothing_else():
    good = world.seal(0x10, wire.T_STOP, 1, 0, 2, STOP)
    rejects: dict[str, int] = {}
    receiver = framing.Receiver(rejects)
    receiver.space()[:20] = good[:20]
    receiver.received(20, 0)
    assert receiver.next(wire.STALL_MS * 1000 - 1) is None
    assert not rejects
    assert receiver.next(wire.STALL_MS * 1000) is None
    assert rejects.pop("stall") == 1
    assert rejects in ({}, {"noise": 1})


def test_nothing_is_sent_before_the_first_grant():
    box = outbox.Outbox()
    box.data(outbox.Item(wire.T_TILE, 0, 0, b"", Tile(1)))
    assert box.next(0) is None


def test_a_tile_does_not_overtake_one_of_its_stream_that_has_no_credit():
    for stream in range(wire.MAX_STREAMS):
        box = outbox.Outbox()
        box.data(outbox.Item(wire.T_TILE, 0, stream, b"", Tile(10)))
        box.data(outbox.Item(wire.T_TILE, 0, stream, b"", Tile(1)))
        box.data(outbox.Item(wire.T_TILE, 0, 1 - stream, b"", Tile(1)))
        box.grant([5, 5])
        item = box.next(0)
        assert item is not None
        assert item.stream == 1 - stream
        assert box.next(0) is None
