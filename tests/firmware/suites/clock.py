"""The module's clock does not wrap, although its ticks do."""

from lensfw import clock


class Ticks:
    def __init__(self, most, at):
        self.most = most
        self.at = at

    def __call__(self):
        return self.at & self.most


def test_it_begins_at_zero_wherever_the_ticks_are():
    assert clock.Clock(Ticks(1023, 1000), 1023).now() == 0


def test_a_wrap_is_not_seen():
    for most in ((1 << 10) - 1, (1 << 30) - 1, (1 << 62) - 1):
        ticks = Ticks(most, most - 5)
        extended = clock.Clock(ticks, most)
        expected = 0
        for step in (1, 5, most // 2, most, 0, most, 7):
            ticks.at += step
            expected += step
            assert extended.now() == expected


def test_it_stands_when_the_ticks_stand():
    ticks = Ticks(1023, 1023)
    extended = clock.Clock(ticks, 1023)
    ticks.at += 3
    assert extended.now() == extended.now() == 3
