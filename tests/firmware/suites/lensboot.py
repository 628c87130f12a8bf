"""Which slot a board starts, after every row of failed and good starts."""

import json
import os
import sys

from lensfw.flash import lensboot

if not hasattr(sys, "print_exception"):
    # CPython has no such function.
    sys.print_exception = lambda error, file: file.write(repr(error))


class Store:
    """A marker in a file of its own."""

    def __init__(self, slot, good):
        self.path = "/tmp/lensboot-%d.json" % int.from_bytes(os.urandom(6), "big")
        self.write({"slot": slot, "good": good, "failures": 0})

    def write(self, marker):
        with open(self.path, "w") as file:
            json.dump(marker, file)

    def read(self):
        with open(self.path) as file:
            return json.load(file)

    def start(self, was_watchdog=False):
        starts = lensboot.Starts(self.path)
        return starts, starts.begin(was_watchdog)

    def remove(self):
        os.remove(self.path)


def test_starts_that_nothing_ended_do_not_count():
    store = Store("b", "a")
    for _ in range(20):
        assert store.start()[1] == "b"
    assert store.read() == {"slot": "b", "good": "a", "failures": 0}
    store.remove()


def test_an_unconfirmed_slot_falls_back_after_the_third_watchdog():
    store = Store("b", "a")
    began = [store.start(was_watchdog=index > 0)[1] for index in range(4)]
    assert began == ["b", "b", "b", "a"]
    marker = store.read()
    assert (marker["slot"], marker["good"], marker["failures"]) == ("a", "a", 0)
    assert marker["crash"] == {"slot": "b", "text": "the watchdog ended it"}
    # The good slot is confirmed already: the next failures are its own.
    assert store.start()[1] == "a"
    store.remove()


def test_an_unconfirmed_slot_falls_back_after_the_third_exception():
    store = Store("b", "a")
    for _ in range(3):
        starts, slot = store.start()
        assert slot == "b"
        starts.fail(ValueError("broken"))
    assert store.start()[1] == "a"
    crash = store.read()["crash"]
    assert crash["slot"] == "b" and "broken" in crash["text"]
    store.remove()


def test_a_confirmed_slot_becomes_plain_micropython_for_one_start():
    store = Store("a", "a")
    began = [store.start(was_watchdog=index > 0)[1] for index in range(9)]
    assert began == ["a", "a", "a", None, "a", "a", None, "a", "a"]
    store.remove()


def test_the_first_slot_of_a_board_has_nothing_to_fall_back_to():
    store = Store("a", None)
    began = [store.start(was_watchdog=index > 0)[1] for index in range(5)]
    assert began == ["a", "a", "a", None, "a"]
    assert store.read()["slot"] == "a"
    store.remove()


def test_confirming_forgets_failures():
    store = Store("b", "a")
    store.start()
    starts, _ = store.start(was_watchdog=True)
    assert store.read()["failures"] == 1 and not starts.is_settled()
    assert store.read()["good"] == "a"
    starts.confirm()
    marker = store.read()
    assert (marker["slot"], marker["good"], marker["failures"]) == ("b", "b", 0)
    assert store.start()[0].is_settled()
    store.remove()


def test_a_confirmed_slot_that_failed_is_confirmed_anew():
    store = Store("a", "a")
    assert store.start()[0].is_settled()
    starts, _ = store.start(was_watchdog=True)
    assert not starts.is_settled()
    starts.confirm()
    assert store.read()["failures"] == 0
    store.remove()


def test_only_the_end_of_a_long_traceback_is_kept():
    store = Store("a", None)
    starts, _ = store.start()
    starts.fail(ValueError("x" * 5000 + "end"))
    text = store.read()["crash"]["text"]
    assert len(text) <= 1000 and "end" in text
    store.remove()


def test_an_absent_or_damaged_marker_is_none():
    assert lensboot.Starts("/nowhere/lensboot.json").marker is None
    store = Store("a", "a")
    with open(store.path, "w") as file:
        file.write("{")
    assert lensboot.Starts(store.path).marker is None
    store.remove()
