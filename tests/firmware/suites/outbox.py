"""The outbox: order, priority, credits, barriers."""

from lensfw import sensor, wire
from lensfw.outbox import ALL_STREAMS, Item, Outbox


def tile(length):
    made = sensor.Tile(length, [])
    made.length = length
    made.state = sensor.QUEUED
    return made


def data(box, name, stream=0, length=0, barrier=0):
    kind = wire.T_TILE if length else wire.T_FRAME_START
    box.queue_data(Item(kind, name, stream, b"", tile(length) if length else None, 0, barrier))


def drain(box):
    out = []
    while True:
        item = box.take_next()
        if item is None:
            return out
        out.append(item.frame)


def test_nothing_waits_at_first():
    box = Outbox()
    assert box.take_next() is None
    assert box.count_control() == 0
    assert box.count_sent() == [0, 0, 0]


def test_control_overtakes_data():
    box = Outbox()
    data(box, 1)
    data(box, 2)
    box.queue_control(Item(wire.T_LOG, 3, 0))
    box.queue_control(Item(wire.T_LOG, 4, 0))
    assert box.count_control() == 2
    assert drain(box) == [3, 4, 1, 2]


def test_has_items_is_true_with_and_without_credit():
    box = Outbox()
    assert not box.has_items()
    box.queue_control(Item(wire.T_LOG, 0, 0))
    assert box.has_items()
    box.take_next()
    assert not box.has_items()
    # Without credit, too.
    data(box, 1, 0, 100)
    assert box.has_items() and box.take_next() is None


def test_no_tile_without_credit():
    box = Outbox()
    data(box, 1)
    data(box, 2, length=100)
    data(box, 3)
    assert drain(box) == [1], "nothing of a stream overtakes its tile"
    box.grant_credits((99, 0, 0))
    assert drain(box) == []
    box.grant_credits((100, 0, 0))
    assert drain(box) == [2, 3]
    assert box.count_sent() == [100, 0, 0]


def test_credit_counts_all_that_was_ever_sent():
    box = Outbox()
    box.grant_credits((250, 0, 0))
    for name in range(4):
        data(box, name, length=100)
    assert drain(box) == [0, 1]
    box.grant_credits((299, 0, 0))
    assert drain(box) == []
    box.grant_credits((399, 0, 0))
    assert drain(box) == [2]
    box.grant_credits((400, 0, 0))
    assert drain(box) == [3]
    assert box.count_sent() == [400, 0, 0]


def test_an_older_limit_takes_nothing_back():
    box = Outbox()
    box.grant_credits((200, 0, 0))
    box.grant_credits((100, 0, 0))
    data(box, 1, length=150)
    assert drain(box) == [1]


def test_a_repeated_limit_grants_nothing_twice():
    box = Outbox()
    for _ in range(3):
        box.grant_credits((100, 0, 0))
        data(box, 1, length=60)
        drain(box)
    assert box.count_sent() == [60, 0, 0]


def test_a_stream_without_credit_holds_up_no_other():
    box = Outbox()
    box.grant_credits((0, 1000, 0))
    data(box, 1, 0, 100)
    data(box, 2, 0)
    data(box, 3, 1)
    data(box, 4, 1, 100)
    data(box, 5, 0)
    data(box, 6, 1)
    assert drain(box) == [3, 4, 6]
    box.grant_credits((1000, 1000, 0))
    assert drain(box) == [1, 2, 5]
    assert box.count_sent() == [100, 100, 0]


def test_a_barrier_keeps_its_place():
    box = Outbox()
    box.grant_credits((0, 1000, 0))
    data(box, 1, 0, 100)
    data(box, 2, barrier=ALL_STREAMS)
    data(box, 3, 1, 100)
    assert drain(box) == []
    box.grant_credits((100, 1000, 0))
    assert drain(box) == [1, 2, 3]


def test_a_barrier_of_one_stream_waits_for_that_stream_alone():
    box = Outbox()
    box.grant_credits((0, 1000, 0))
    data(box, 1, 0, 100)
    data(box, 2, 1, 100)
    data(box, 3, barrier=1 << 1)
    data(box, 4, barrier=1 << 0)
    data(box, 5, 0, 100)
    data(box, 6, 1, 100)
    assert drain(box) == [2, 3, 6]
    box.grant_credits((1000, 1000, 0))
    assert drain(box) == [1, 4, 5]


def test_what_is_sent_again_goes_first():
    box = Outbox()
    data(box, 1)
    data(box, 2)
    box.queue_first([Item(wire.T_RESENT, 8, 0), Item(wire.T_FRAME_END, 9, 0)])
    assert drain(box) == [8, 9, 1, 2]


def test_what_is_sent_again_keeps_the_order_of_its_resends():
    box = Outbox()
    data(box, 1)
    again = tile(10)
    box.queue_first(
        [Item(wire.T_TILE, 7, 0, b"", again, wire.FLAG_RESENT), Item(wire.T_RESENT, 7, 0)]
    )
    box.queue_first([Item(wire.T_RESENT, 8, 0)])
    assert drain(box) == [], "a Resent before the tile that waits for credits"
    box.grant_credits((1000, 0, 0))
    assert drain(box) == [7, 7, 8, 1]


def test_dropping_a_stream_drops_its_tiles_only():
    box = Outbox()
    box.grant_credits((1000, 1000, 0))
    data(box, 1, 0)
    gone = tile(10)
    box.queue_data(Item(wire.T_TILE, 2, 0, b"", gone))
    data(box, 3, 1, 10)
    data(box, 4, 0)
    box.drop_tiles(0)
    assert gone.state == sensor.HELD
    assert drain(box) == [1, 3, 4]
    assert box.count_sent() == [0, 10, 0]


def test_only_an_answer_is_an_answer():
    box = Outbox()
    # A frame has the same number as a request, and so have the words about it.
    box.queue_data(Item(wire.T_RESENT, 5, 0))
    box.queue_data(Item(wire.T_FRAME_START, 5, 0))
    assert not box.has_answer(5)
    box.queue_data(Item(wire.T_ACCEPTED, 5, 0, b"", None, 0, True))
    assert box.has_answer(5)
    assert not box.has_answer(6)


def test_clearing_forgets_credits_too():
    box = Outbox()
    box.grant_credits((1000, 1000, 0))
    data(box, 1, length=10)
    box.take_next()
    data(box, 2, length=10)
    box.queue_control(Item(wire.T_LOG, 3, 0))
    box.clear()
    assert box.count_sent() == [0, 0, 0]
    data(box, 4, length=10)
    assert drain(box) == []


def test_credits_beyond_any_small_number():
    box = Outbox()
    box.grant_credits((1 << 63, 0, 0))
    data(box, 1, length=1 << 10)
    assert drain(box) == [1]
    box.grant_credits((1 << 63, 0, 0))
    assert box.count_sent() == [1 << 10, 0, 0]


def test_only_tiles_go_by_other_lanes():
    box = Outbox()
    box.grant_credits((1000, 1000, 0))
    box.queue_control(Item(wire.T_LOG, 9, 0))
    data(box, 1)
    data(box, 2, 0, 10)
    data(box, 3, 1, 10)
    assert box.take_next(2).frame == 3
    assert box.take_next(1) is None, "a tile before its FrameStart"
    assert (box.take_next().frame, box.take_next().frame) == (9, 1)
    assert box.take_next(1).frame == 2
    assert drain(box) == []


def test_no_lane_passes_a_barrier():
    box = Outbox()
    box.grant_credits((1000, 1000, 0))
    data(box, 1, barrier=ALL_STREAMS)
    data(box, 2, 0, 10)
    assert box.take_next(1) is None
    assert drain(box) == [1, 2]


def test_answers_are_owed_and_log_lines_are_not():
    box = Outbox()
    box.queue_control(Item(wire.T_LOG, 0, 0))
    data(box, 1)
    assert box.count_answers() == 0
    box.queue_control(Item(wire.T_MANIFEST, 2, 0))
    data(box, 3, barrier=ALL_STREAMS)
    box.queue_data(Item(wire.T_RESENT, 4, 0))
    assert box.count_answers() == 2
    assert box.count_resents() == 1


def test_dropping_says_which_tiles_were_never_sent():
    box = Outbox()
    data(box, 1, 0, 10)
    box.queue_data(Item(wire.T_TILE, 2, 0, b"", tile(10), wire.FLAG_RESENT))
    data(box, 3, 0, 10)
    data(box, 4, 1, 10)
    assert box.drop_tiles(0) == [1, 3]


def test_has_packet_finds_a_packet_by_type_stream_and_frame():
    box = Outbox()
    box.queue_data(Item(wire.T_FRAME_END, 5, 1))
    assert box.has_packet(wire.T_FRAME_END, 1, 5)
    assert not box.has_packet(wire.T_FRAME_END, 0, 5)
    assert not box.has_packet(wire.T_FRAME_END, 1, 6)
    assert not box.has_packet(wire.T_FRAME_START, 1, 5)


class Stub:
    """Stand in for a tile, with the fields that the outbox uses."""

    def __init__(self, length=1):
        self.length = length
        self.withdrawals = 0

    def withdraw(self):
        self.withdrawals += 1


def test_a_limit_of_0_lets_no_tile_through():
    box = Outbox()
    data(box, 0, length=1)
    assert box.take_next(0) is None, "before the first grant"
    box.grant_credits([0, 0, 0])
    assert box.take_next(0) is None
    box.grant_credits([1, 0, 0])
    assert box.take_next(0) is not None


def test_each_tile_that_is_dropped_is_withdrawn_once():
    box = Outbox()
    first, again, other = Stub(), Stub(), Stub()
    box.queue_data(Item(wire.T_TILE, 7, 0, b"", first))
    box.queue_data(Item(wire.T_TILE, 6, 0, b"", again, wire.FLAG_RESENT))
    box.queue_data(Item(wire.T_TILE, 8, 1, b"", other))
    assert box.drop_tiles(0) == [7]
    assert (first.withdrawals, again.withdrawals, other.withdrawals) == (1, 1, 0)


def test_a_tile_does_not_overtake_one_of_its_stream_that_has_no_credit():
    for stream in range(wire.MAX_STREAMS):
        box = Outbox()
        data(box, 0, stream, 10)
        data(box, 0, stream, 1)
        other = (stream + 1) % wire.MAX_STREAMS
        data(box, 0, other, 1)
        box.grant_credits([5, 5, 5])
        item = box.take_next(0)
        assert item is not None
        assert item.stream == other
        assert box.take_next(0) is None


def test_half_a_gigabyte_goes_out_between_two_grants_and_no_more():
    """A module's small integers have 31 bits. Credit within them is computed without allocating."""
    box = Outbox()
    for frame in range(3):
        box.queue_data(Item(wire.T_TILE, frame, 0, b"", Stub(1 << 28)))
    box.grant_credits([1 << 40, 0, 0])
    assert (box.take_next(0).frame, box.take_next(0).frame) == (0, 1)
    assert box.take_next(0) is None
    box.grant_credits([1 << 40, 0, 0])
    assert box.take_next(0).frame == 2
