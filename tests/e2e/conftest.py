"""Benches for the end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

SceneUrl = Callable[..., str]
# Of a sensor: 16 bits a pixel, twice, are what the emulated board's link carries in a test's time.
PICO_PIXELS = 320 * 240


@pytest.fixture(scope="session")
def scene_url(lens_url: str) -> SceneUrl:
    """``scene_url(scene="prbs", width=64)`` is the bench with that scene in front of it.

    Skips on benches that show what they show.
    """

    def url(**options: object) -> str:
        scheme, _, query = lens_url.partition("?")
        if scheme not in ("sim:", "usbip:", "pico:"):
            pytest.skip(f"{lens_url} shows a scene of its own; this needs a chosen one")
        chosen = dict(pair.split("=", 1) for pair in query.split("&") if pair)
        chosen |= {key: str(value) for key, value in options.items()}
        if scheme == "pico:":
            _on_pico(chosen)
        return f"{scheme}?" + "&".join(f"{key}={value}" for key, value in chosen.items())

    return url


def _on_pico(chosen: dict[str, str]) -> None:
    """Skips what the emulated Pico has not, and what would take it too long."""
    from lenslink_hil.benches.pico import OPTIONS

    if chosen.get("scene", "prbs") != "prbs":
        pytest.skip("pico: its sensor is a generator of prbs; this needs another scene")
    if missing := sorted(chosen.keys() - OPTIONS.keys()):
        pytest.skip(f"pico: has no option {missing[0]}; this needs it")
    if int(chosen.get("width", 0)) * int(chosen.get("height", 0)) > PICO_PIXELS:
        pytest.skip(f"pico: has frames of at most {PICO_PIXELS} pixels in tests; this needs larger")
