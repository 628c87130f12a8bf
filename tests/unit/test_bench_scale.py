"""What the end-to-end tests make of a bench's URL: its scale, and what it leaves out by name."""

from __future__ import annotations

import pytest
from helpers import bench_scale

SIM, USBIP, PICO = "sim:", "usbip:?speed=full", "pico:?bus=strict"


def test_a_test_asks_for_options_besides_the_benchs_own() -> None:
    assert bench_scale.own(SIM, {"scene": "prbs", "width": 64}) == "sim:?scene=prbs&width=64"
    assert bench_scale.own(USBIP, {"lanes": 2}) == "usbip:?speed=full&lanes=2"
    assert bench_scale.own(USBIP, {"speed": "high"}) == "usbip:?speed=high"


def test_a_pico_is_not_asked_for_what_it_is() -> None:
    asked = {"scene": "prbs", "cfa": "RGGB", "board": "pico", "width": 64, "height": 64}
    assert bench_scale.beyond(PICO, asked) == ""
    assert bench_scale.own(PICO, asked) == "pico:?bus=strict&width=64&height=64"


def test_a_picos_own_frames_are_of_its_scale() -> None:
    assert bench_scale.own("pico:", {}) == "pico:?width=160&height=120"
    # Chosen by whoever named the bench, and by a test of the board's limits.
    assert bench_scale.own("pico:?width=320&height=240", {}) == "pico:?width=320&height=240"
    assert bench_scale.own("pico:", {"board": "pico"}) == "pico:?"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scene": "bars"}, "needs another scene"),
        ({"cfa": "GRBG"}, "has no option cfa=GRBG"),
        ({"board": "fast"}, "has no option board=fast"),
        ({"mode": "full"}, "has no option mode=full"),
        ({"width": 640, "height": 480}, "at most 76800 pixels"),
        ({"width": 320, "height": 240, "bits": 14, "lanes": 4, "seed": 1}, ""),
    ],
)
def test_what_a_pico_leaves_out(options: dict[str, object], words: str) -> None:
    why = bench_scale.beyond(PICO, options)
    assert words in why and bool(words) == bool(why)
    assert bench_scale.beyond(SIM, options) == bench_scale.beyond(USBIP, options) == ""


def test_a_slow_bench_has_less_of_all_and_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_scale, "current_slowdown", lambda: 1.0)
    sim, pico = bench_scale.scale_of(SIM), bench_scale.scale_of(PICO)
    assert sim.size(4096, 3072) == {"width": 4096, "height": 3072}
    assert pico.size(640, 480) == {"width": 160, "height": 120}
    assert pico.size(64, 8192) == {"width": 64, "height": 256}
    assert (sim.count(30), sim.seconds(2), sim.rate(3e5), sim.repeated) == (30, 2, 3e5, set())
    assert (pico.count(30), pico.count(5), pico.seconds(2)) == (3, 1, 20)
    assert pico.rate(3e5) == 3e4 and pico.repeated
    monkeypatch.setattr(bench_scale, "current_slowdown", lambda: 9.0)
    assert sim.repeated == pico.repeated
