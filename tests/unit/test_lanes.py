"""Several lanes: stragglers, loss on each of them, one that dies; on virtual time."""

from __future__ import annotations

import numpy as np
import pytest

from lenslink.receive.assembly import Assembly
from lenslink_hil.benches.board_profile import load_board, make_configuration
from lenslink_hil.virtual_time import Line, Loss, VirtualLinks

WIDTH, HEIGHT = 320, 240
RATE = 1e6
ROUND_TRIP_S = 0.001


def picture(number: int) -> bytes:
    pixels = np.arange(WIDTH * HEIGHT, dtype=np.uint32) * 13 + number * 517
    return (pixels & 0xFFF).astype("<u2").tobytes()


def module(width: int = WIDTH, height: int = HEIGHT) -> dict[str, object]:
    sensor = {
        "maker": None,
        "model": None,
        "width": width,
        "height": height,
        "bits": 12,
        "cfa": "RGGB",
        "black": [64.0] * 4,
        "white": 4095,
        "orientation": 1,
        "color_matrix": [1, 1] * 9,
        "neutral": [1, 1] * 3,
        "illuminant": 21,
        "modes": [
            {
                "id": 0,
                "name": "full",
                "width": width,
                "height": height,
                "binning": 1,
                "active_area": [0, 0, height, width],
                "use": ["preview", "still"],
            }
        ],
    }
    made = make_configuration(load_board("pico"), sensor, "VIRTUAL", 1)
    # On several lanes a loss is noticed as many tiles later: hold as many more.
    made["limits"]["tiles"] = 12
    return made


def bench(*up: Line, size: tuple[int, int] = (WIDTH, HEIGHT)) -> VirtualLinks:
    made = VirtualLinks(module(*size), picture, up[0], Line(RATE, ROUND_TRIP_S / 2), *up[1:])
    assert made.open()
    assert made.link.session is not None
    assert made.link.session.lanes == len(up)
    made.start(0, 0)
    return made


def check(assembly: Assembly | None) -> Assembly:
    """Every byte that is said to be covered is the source's."""
    assert assembly is not None
    wanted = np.frombuffer(picture(assembly.number), np.uint8)[: assembly.buffer.size]
    covered = np.ones(wanted.size, bool)
    for start, end in assembly.missing_ranges:
        covered[start:end] = False
    assert (assembly.buffer[covered] == wanted[covered]).all()
    assert not assembly.buffer[~covered].any()
    return assembly


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_more_lanes_carry_more_bytes_a_second(lanes: int) -> None:
    made = bench(*(Line(RATE, ROUND_TRIP_S / 2) for _ in range(lanes)))
    began = made.clock.seconds
    for number in range(10):
        frame = check(made.frame(5))
        assert frame.received_ranges.is_complete
        assert frame.number == number
    rate = 10 * 2 * WIDTH * HEIGHT / (made.clock.seconds - began)
    # In flight are two tiles only, which is what two lanes take.
    assert rate > 0.9 * RATE * min(lanes, 2)
    assert not any(made.discards.values())


def test_frames_wait_for_a_lane_that_is_late() -> None:
    made = bench(Line(RATE, 0.0005), Line(RATE, 0.030))
    for _ in range(10):
        assert check(made.frame(5)).received_ranges.is_complete
    # Nothing was lost, so nothing was asked for.
    assert not any(made.discards.values())


def test_small_frames_wait_for_a_lane_that_is_late() -> None:
    """While it is on its way, the other lane brings ten frames of a tile each."""
    made = bench(Line(RATE, 0.0005), Line(RATE, 0.030), size=(64, 32))
    for _ in range(50):
        assert check(made.frame(5)).received_ranges.is_complete
    assert not any(made.discards.values())
    assert made.frames.counters.skipped_frames == 0


@pytest.mark.parametrize("loser", [0, 1])
def test_tiles_lost_on_one_lane_are_resent(loser: int, seed: int) -> None:
    lines = [Line(RATE, ROUND_TRIP_S / 2), Line(RATE, ROUND_TRIP_S / 2)]
    loss = Loss(0.03, seed)
    made = bench(*lines)
    lines[loser].outcome = loss
    frames = [check(made.frame(5)) for _ in range(40)]
    assert loss.lost_packets > 0
    assert sum(frame.received_ranges.is_complete for frame in frames) == 40


def test_a_lane_that_ends_costs_no_frame() -> None:
    made = bench(*(Line(RATE, ROUND_TRIP_S / 2) for _ in range(3)))
    assert check(made.frame(5)).received_ranges.is_complete
    made.run(lambda: made.frames.counters.tile_bytes > 1.5 * 2 * WIDTH * HEIGHT, 5)
    made.kill_lane(2)
    for _ in range(10):
        assert check(made.frame(5)).received_ranges.is_complete


def test_packets_of_a_late_lane_after_a_stop_are_no_discards() -> None:
    made = bench(Line(RATE, 0.0005), Line(RATE, 0.030))
    for _ in range(3):
        made.run(lambda: made.frames.counters.tile_bytes > 2 * WIDTH * HEIGHT, 5)
        made.stop(0)
        made.run(lambda: False, 0.1)
        assert not any(made.discards.values())
        # Nor is it taken for a frame of the next stream.
        made.start(0, 0)
        assert check(made.frame(5)).received_ranges.is_complete
