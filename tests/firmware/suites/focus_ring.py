"""The focus ring: quadrature, bounce, both directions. A tick is one edge."""

from lensfw import focus_ring

A = 0
B = 1
# Four ticks clockwise: (channel, level) in order.
CLOCKWISE = ((A, 1), (B, 1), (A, 0), (B, 0))
COUNTER = ((B, 1), (A, 1), (B, 0), (A, 0))


def turn(turned, edges):
    ticks = []
    for channel, level in edges:
        turned.add_edge(channel, level)
        ticks.append(turned.take_ticks())
    return ticks


def test_each_edge_is_a_tick():
    assert turn(focus_ring.FocusRing(), CLOCKWISE) == [1, 1, 1, 1]


def test_the_other_way_counts_down():
    assert turn(focus_ring.FocusRing(), COUNTER) == [-1, -1, -1, -1]


def test_many_turns_and_back():
    turned = focus_ring.FocusRing()
    assert sum(turn(turned, CLOCKWISE * 10)) == 40
    assert sum(turn(turned, COUNTER * 25)) == -100
    assert sum(turn(turned, CLOCKWISE * 15)) == 60
    assert turned.position == 0


def test_ticks_wait_until_they_are_taken():
    turned = focus_ring.FocusRing()
    for channel, level in CLOCKWISE * 500:
        turned.add_edge(channel, level)
    assert turned.take_ticks() == 2000
    assert turned.take_ticks() == 0
    assert turned.position == 2000


def test_bounce_cancels_itself():
    turned = focus_ring.FocusRing()
    for channel, level in CLOCKWISE:
        for _ in range(5):
            assert turn(turned, ((channel, level), (channel, 1 - level))) == [1, -1]
        assert turn(turned, ((channel, level),)) == [1]
    assert turned.position == 4
    # However it bounced, another twelve ticks are twelve.
    assert sum(turn(turned, CLOCKWISE * 3)) == 12


def test_half_a_turn_and_back_is_nothing():
    turned = focus_ring.FocusRing()
    turn(turned, ((A, 1), (B, 1), (B, 0), (A, 0)) * 5)
    assert turned.position == 0


def test_a_level_that_is_repeated_counts_nothing():
    assert turn(focus_ring.FocusRing(), ((A, 1),) * 5) == [1, 0, 0, 0, 0]


def test_levels_at_the_start_are_no_ticks():
    turned = focus_ring.FocusRing()
    turned.set_level(A, 1)
    turned.set_level(B, 1)
    assert turned.take_ticks() == 0
    assert turn(turned, ((A, 0),)) == [1]


def test_the_position_wraps():
    turned = focus_ring.FocusRing()
    turned.position = (1 << 29) - 1
    turned.take_ticks()
    assert turn(turned, ((A, 1), (B, 1))) == [1, 1]
    assert turned.position == 1 - (1 << 29)
    assert turn(turned, ((B, 0), (A, 0))) == [-1, -1]
    assert turned.position == (1 << 29) - 1
