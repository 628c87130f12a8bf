"""A board whose starts fail becomes plain MicroPython. A board that works never does."""

from lensfw import start_counter


class Store:
    def __init__(self):
        self.value = 0

    def read(self):
        return self.value

    def write(self, value):
        self.value = value


def test_the_fourth_start_after_three_that_hung_is_plain_and_the_fifth_tries_again():
    store = Store()
    began = [start_counter.Starts(store).count_start() for _ in range(9)]
    assert began == [True, True, True, False, True, True, True, False, True]


def test_a_session_forgives():
    store = Store()
    for _ in range(20):
        starts = start_counter.Starts(store)
        assert starts.count_start()
        starts.poll(1000, False)
        assert store.value == 1
        starts.poll(2000, True)
        assert store.value == 0


def test_so_does_time_without_a_host():
    store = Store()
    for _ in range(20):
        starts = start_counter.Starts(store)
        assert starts.count_start()
        starts.poll(start_counter.WELL_US - 1, False)
        assert store.value == 1
        starts.poll(start_counter.WELL_US, False)
        assert store.value == 0


def test_it_forgives_once_and_leaves_the_store_alone_then():
    store = Store()
    starts = start_counter.Starts(store)
    starts.count_start()
    starts.poll(0, True)
    store.value = 2
    starts.poll(0, True)
    assert store.value == 2
