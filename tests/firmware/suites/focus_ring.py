"""The focus ring: quadrature, bounce, both directions."""

from lensfw import focus_ring

A = 0
B = 1
# One detent clockwise: (channel, level) in order.
CLOCKWISE = ((A, 1), (B, 1), (A, 0), (B, 0))
COUNTER = ((B, 1), (A, 1), (B, 0), (A, 0))


def turn(turned, edges):
    return [turned.add_edge(channel, level) for channel, level in edges]


def test_four_quarters_make_a_detent():
    assert turn(focus_ring.FocusRing(), CLOCKWISE) == [0, 0, 0, 1]


def test_the_other_way_counts_down():
    assert turn(focus_ring.FocusRing(), COUNTER) == [0, 0, 0, -1]


def test_many_turns_and_back():
    turned = focus_ring.FocusRing()
    assert sum(turn(turned, CLOCKWISE * 10)) == 10
    assert sum(turn(turned, COUNTER * 25)) == -25
    assert sum(turn(turned, CLOCKWISE * 15)) == 15


def test_bounce_cancels_itself():
    turned = focus_ring.FocusRing()
    for channel, level in CLOCKWISE[:3]:
        for _ in range(5):
            assert turn(turned, ((channel, level), (channel, 1 - level))) == [0, 0]
        assert turned.add_edge(channel, level) == 0
    for _ in range(5):
        assert turn(turned, ((B, 0), (B, 1))) in ([1, 0], [0, 0])
    turned.add_edge(B, 0)
    # However it bounced, another three detents are three detents.
    assert sum(turn(turned, CLOCKWISE * 3)) == 3


def test_half_a_detent_and_back_is_nothing():
    turned = focus_ring.FocusRing()
    assert turn(turned, ((A, 1), (B, 1), (B, 0), (A, 0)) * 5) == [0] * 20


def test_a_level_that_is_repeated_counts_nothing():
    assert turn(focus_ring.FocusRing(), ((A, 1), (A, 1), (A, 1), (A, 1), (A, 1))) == [0] * 5
