"""What ``lenslink bench link --sweep`` measures next, and which options it prints to pin."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lenslink import Device
from lenslink.errors import Disconnected, UsageError
from lenslink_hil.benchmark import sweep as module_under_test
from lenslink_hil.benchmark.link_rate import Effort
from lenslink_hil.benchmark.sweep import (
    CONFIRMED,
    START,
    Point,
    Sweep,
    add_lanes,
    choose,
    format_rows,
    format_settings,
    format_summary,
    search,
)
from lenslink_protocol.ids import PixelFormat

Rate = Callable[[Point], float]


class FakeLink:
    """A link whose rate is a function of the point; ``asked`` are the points in order."""

    def __init__(self, rate: Rate, lanes: tuple[int, ...] = (2, 3)) -> None:
        self.rate = rate
        self.lanes = lanes
        self.asked: list[Point] = []

    def list_lane_counts(self) -> tuple[int, ...]:
        return self.lanes

    def list_packings(self) -> tuple[str, ...]:
        return ("lsb", "mipi")

    def list_tile_sizes(self, point: Point) -> tuple[int, ...]:
        # An odd number of lanes shows that the sizes are those of the chosen point.
        return (8192, 4096 + (point.lanes or 1))

    def measure(self, point: Point) -> float:
        self.asked.append(point)
        return self.rate(point)


def searched(link: FakeLink) -> tuple[dict[Point, list[float]], Point]:
    rates: dict[Point, list[float]] = {}
    search(link, rates)
    return rates, choose(rates)


def test_each_setting_keeps_its_fastest_value_while_the_next_is_varied() -> None:
    def rate(point: Point) -> float:
        return (
            10.0 * (point.lanes == 3)
            + 5.0 * (point.packing == "lsb")
            + 20.0
            + (4.0 if point.tile_bytes == 4099 else 0.0)
        )

    link = FakeLink(rate)
    rates, chosen = searched(link)
    assert link.asked[:7] == [
        START,
        Point(2),
        Point(3),
        Point(3, "lsb"),
        Point(3, "mipi"),
        Point(3, "lsb", 8192),
        Point(3, "lsb", 4099),
    ]
    assert chosen == Point(3, "lsb", 4099)
    # Then the start and the chosen point in turns.
    assert link.asked[7:] == [START, chosen] * (CONFIRMED - 1)
    assert rates[chosen] == [39.0] * CONFIRMED


def test_what_gains_too_little_is_not_chosen() -> None:
    link = FakeLink(lambda point: 100.0 if point == START else 102.9)
    assert searched(link)[1] == START
    link = FakeLink(lambda point: 103.0 if point.packing == "mipi" else 100.0)
    assert searched(link)[1] == Point(packing="mipi")


def test_no_option_is_pinned_beside_another_that_gains_as_much_alone() -> None:
    link = FakeLink(
        lambda point: 100.0 + 50.0 * (point.lanes is not None) + point.tile_bytes / 8192
    )
    assert searched(link)[1] == Point(2)


def test_a_lucky_measurement_is_found_out() -> None:
    lucky = {Point(2): iter([200.0, 100.0, 100.0])}

    def rate(point: Point) -> float:
        return next(lucky[point]) if point in lucky else 100.0

    link = FakeLink(rate)
    rates, chosen = searched(link)
    assert rates[Point(2)] == [200.0, 100.0, 100.0]
    assert chosen == START
    assert len(rates[START]) >= CONFIRMED


def test_a_point_that_does_not_work_is_not_chosen() -> None:
    link = FakeLink(lambda point: 0.0 if point.lanes else 100.0)
    assert searched(link)[1] == START


@pytest.mark.parametrize("count", range(1, 10))
def test_an_interrupted_search_keeps_what_was_measured(count: int) -> None:
    link = FakeLink(lambda point: 100.0 + 50.0 * (point.packing == "lsb"))
    measure = link.measure

    def interrupted(point: Point) -> float:
        if len(link.asked) == count:
            raise KeyboardInterrupt
        return measure(point)

    link.measure = interrupted  # type: ignore[method-assign]
    rates: dict[Point, list[float]] = {}
    with pytest.raises(KeyboardInterrupt):
        search(link, rates)
    assert sum(map(len, rates.values())) == count
    assert choose(rates) == (START if count < 4 else Point(packing="lsb"))


# --- on a device ----------------------------------------------------------------------------------

OWN_LANES = 2
LONGEST = 6000


class FakeDevice:
    """A module in memory; the device that ``open_url`` gives for *url*."""

    def __init__(self, url: str, private: bool) -> None:
        self.url, self.private = url, private
        lanes = int(url.partition("lanes=")[2] or OWN_LANES)
        self.session_info = type("Reply", (), {"lanes": lanes})
        self.manifest = type("Manifest", (), {"formats": [PixelFormat.RG12, PixelFormat.RG12p]})
        self.plan: Any = None

    def configure(self, **asked: Any) -> Any:
        assert asked["test_only"]
        # Tiles of whole rows, 1000 bytes each.
        size = min(asked["tile_bytes"], LONGEST) // 1000 * 1000
        return type("Configured", (), {"tile_bytes": size})

    def configuration(self) -> Any:
        return self.plan


class Harness:
    """Opens fake devices, and stands in for the measurement of one link."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, private: bool = False) -> None:
        self.private = private
        self.opened: list[str] = []
        self.rate: Callable[[int, Effort], float] = lambda lanes, effort: 10.0
        monkeypatch.setattr(module_under_test, "measure", self.measure)

    @contextlib.contextmanager
    def open_url(self, url: str) -> Iterator[Device]:
        self.opened.append(url)
        device: Any = FakeDevice(url, self.private)
        yield device

    def measure(self, device: Any, effort: Effort, say: object) -> dict[str, Any]:
        del say
        code = PixelFormat.RG12p if effort.packing == "lsb" else PixelFormat.RG12
        tile = effort.tile_bytes or LONGEST
        device.plan = type("Configured", (), {"pixel_format": code, "tile_bytes": tile})
        rate = self.rate(device.session_info.lanes, effort)
        return {
            "model": "M", "serial": "S", "firmware": "F", "image_sha256": None, "bus": "high",
            "clock": "emulated", "lanes": device.session_info.lanes, "tile_bytes": tile,
            "frame_bytes": 1000, "pixel_bytes_per_s": 1000 * rate, "wire_bytes_per_s": 1040 * rate,
            "of_ceiling": None, "wrong_pixels": 0,
        }  # fmt: skip

    def sweep(self, url: str, effort: Effort | None = None) -> Sweep:
        return Sweep(url, effort or Effort(), self.open_url, lambda text: None)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Harness:
    return Harness(monkeypatch)


def test_the_options_to_pin_are_a_line_to_copy(harness: Harness) -> None:
    harness.rate = lambda lanes, effort: (
        10.0
        * (1 + (lanes == 1))
        * (1 + (effort.packing == "lsb"))
        * (1 + (effort.tile_bytes == 3000))
    )
    with harness.sweep("usb:") as sweep:
        sweep.run()
    report = sweep.report(False)
    assert harness.opened[:2] == ["usb:", "usb:?lanes=1"]
    assert (report["url_options"], report["stream_options"]) == (
        {"lanes": 1},
        {"packing": "lsb", "tile_bytes": 3000},
    )
    assert report["command"] == "lenslink stream 'usb:?lanes=1' --packing lsb --tile-bytes 3000"
    assert report["python"] == (
        "lenslink.open('usb:?lanes=1').stream(packing='lsb', tile_bytes=3000)"
    )
    assert report["gain"] == 8.0
    [chosen] = [point for point in report["points"] if point["chosen"]]
    assert (chosen["lanes"], chosen["packing"], chosen["tile_bytes"]) == (1, "lsb", 3000)
    assert chosen["measurements"] == CONFIRMED
    assert len(list(format_rows(report))) == len(report["points"])
    assert any("8.00 times" in line and "emulated" in line for line in format_summary(report))


def test_rates_are_medians_of_all_measurements(harness: Harness) -> None:
    slow = iter([10.0, 4.0, 5.0])
    harness.rate = lambda lanes, effort: next(slow) if effort.tile_bytes == 0 else 1.0
    with harness.sweep("usb:?lanes=1", Effort(packing="lsb")) as sweep:
        sweep.run()
    [default, _] = sweep.report(False)["points"]
    assert (default["frames_per_s"], default["wire_bytes_per_s"]) == (5.0, 1040 * 5.0)


def test_a_link_that_brings_nothing_has_nothing_to_pin(harness: Harness) -> None:
    harness.rate = lambda lanes, effort: 0.0
    with harness.sweep("usb:") as sweep:
        sweep.run()
    report = sweep.report(False)
    assert (report["gain"], report["stream_options"]) == (1.0, {})


def test_nothing_to_pin(harness: Harness) -> None:
    with harness.sweep("usb:") as sweep:
        sweep.run()
    report = sweep.report(False)
    assert (report["url_options"], report["stream_options"], report["gain"]) == ({}, {}, 1.0)
    assert report["command"] == "lenslink stream usb:"
    assert any("gain       none" in line for line in format_summary(report))


def test_what_the_user_names_is_not_varied(harness: Harness) -> None:
    effort = Effort(mode="full", packing="lsb", tile_bytes=4000)
    with harness.sweep("usb:?lanes=2", effort) as sweep:
        sweep.run()
    assert list(sweep.results) == [START]
    assert sweep.report(False)["command"] == (
        "lenslink stream 'usb:?lanes=2' --mode full --packing lsb --tile-bytes 4000"
    )


@pytest.mark.parametrize(
    ("url", "private", "others"),
    [
        # As many as the first opening took, and fewer.
        ("usb:", False, [1]),
        # A module of its own has as many as it is told.
        ("sim:", True, [1, 3, 4]),
        ("sim:?lanes=2", True, []),
        # Its transport has no such option.
        ("serial:/dev/ttyACM0", False, []),
    ],
)
def test_which_lanes_are_tried(
    harness: Harness, url: str, private: bool, others: list[int]
) -> None:
    harness.private = private
    with harness.sweep(url) as sweep:
        assert sweep.list_lane_counts() == others


def test_which_tile_sizes_are_tried(harness: Harness) -> None:
    with harness.sweep("usb:") as sweep:
        sweep.measure(START)
        # The longest is the module's own choice here, and has been measured.
        assert sweep.list_tile_sizes(START) == [3000]
        sweep.results[START]["tile_bytes"] = 3000
        assert sweep.list_tile_sizes(START) == [6000]


def test_a_point_that_fails_is_listed_and_the_next_opens_the_module_anew(harness: Harness) -> None:
    def rate(lanes: int, effort: Effort) -> float:
        if effort.packing == "lsb":
            raise Disconnected("pulled")
        return 10.0

    harness.rate = rate
    with harness.sweep("usb:?lanes=1") as sweep:
        sweep.run()
    [failed] = sweep.report(False)["not_run"]
    assert failed == {"lanes": None, "packing": "lsb", "tile_bytes": 0, "why": "pulled"}
    assert format_settings(failed) == "packing=lsb"
    assert len(harness.opened) == 2
    assert Point(tile_bytes=3000) in sweep.results


def test_a_link_that_cannot_be_measured_at_all_is_an_error(harness: Harness) -> None:
    def rate(lanes: int, effort: Effort) -> float:
        raise UsageError("no mode 'wide'")

    harness.rate = rate
    with harness.sweep("usb:") as sweep, pytest.raises(UsageError, match="wide"):
        sweep.run()


@pytest.mark.parametrize(
    ("url", "lanes", "expected"),
    [
        ("usb:", None, "usb:"),
        ("usb:", 2, "usb:?lanes=2"),
        ("sim:?scene=prbs", 3, "sim:?scene=prbs&lanes=3"),
    ],
)
def test_lanes_in_a_url(url: str, lanes: int | None, expected: str) -> None:
    assert add_lanes(url, lanes) == expected
