"""Arrivals and departures, on virtual time."""

from __future__ import annotations

import itertools

import pytest
from helpers.attach_harness import Lens, install

import lenslink
from lenslink import Arrival, Departure


@pytest.fixture
def bay(monkeypatch, tmp_path):
    return install(monkeypatch, tmp_path)


def test_modules_come_and_go(bay):
    one, two = Lens(bay.clock, "LENS-1"), Lens(bay.clock, "LENS-2")
    bay.plug("bay:1", one)
    bay.clock.after(1, lambda: bay.plug("bay:2", two))
    bay.clock.after(2, lambda: bay.pull("bay:1"))
    bay.clock.after(3, lambda: bay.plug("bay:1", one))
    began = bay.clock.seconds
    changes = lenslink.watch()
    seen = []
    for change in itertools.islice(changes, 4):
        when = round(bay.clock.seconds - began)
        seen.append((type(change), change.device.url, change.device.serial, when))
    assert seen == [
        (Arrival, "bay:1", "LENS-1", 0),
        (Arrival, "bay:2", "LENS-2", 1),
        (Departure, "bay:1", "LENS-1", 2),
        (Arrival, "bay:1", "LENS-1", 3),
    ]
    changes.close()


def test_another_module_in_the_same_place(bay):
    bay.plug("bay:1", Lens(bay.clock, "LENS-1"))
    bay.clock.after(0.5, lambda: bay.plug("bay:1", Lens(bay.clock, "LENS-2")))
    changes = [(type(change), change.device.serial) for change in lenslink.watch(1)]
    assert changes == [(Arrival, "LENS-1"), (Departure, "LENS-1"), (Arrival, "LENS-2")]


def test_it_ends_in_time(bay):
    began = bay.clock.seconds
    assert list(lenslink.watch(2.5)) == []
    assert bay.clock.seconds - began == pytest.approx(2.5, abs=0.001)


def test_nobody_elses_use_of_a_module_is_a_change(bay, monkeypatch):
    from lenslink import discovery

    looks = itertools.count()
    monkeypatch.setattr(
        discovery,
        "list_devices",
        lambda: [lenslink.DeviceInfo("bay:1", "fake", "LENS-1", busy=next(looks) % 2 == 0)],
    )
    assert len(list(lenslink.watch(1))) == 1


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1"], ids=repr)
def test_watching_checks_its_timeout_at_once(timeout):
    with pytest.raises(lenslink.UsageError, match="timeout="):
        lenslink.watch(timeout)
