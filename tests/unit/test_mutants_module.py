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
        self.released: list[int] = []

    def release(self, order: int) -> None:
        self.released.append(order)


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
    assert (first.released, again.released, other.released) == ([0], [0], [])
