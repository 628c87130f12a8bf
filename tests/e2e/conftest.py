"""Benches for the end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lenslink_hil.kernel import bench

SceneUrl = Callable[..., str]
# Of a sensor: 16 bits a pixel, twice, are what the emulated board's link carries in a test's time.
PICO_PIXELS = 320 * 240

OWN = ("sim:", "usbip:", "pico:")


def _own(lens_url: str, options: dict[str, object]) -> str:
    scheme, _, query = lens_url.partition("?")
    chosen = dict(pair.split("=", 1) for pair in query.split("&") if pair)
    chosen |= {key: str(value) for key, value in options.items()}
    if scheme == "pico:":
        _on_pico(chosen)
    return f"{scheme}?" + "&".join(f"{key}={value}" for key, value in chosen.items())


@pytest.fixture(scope="session")
def scene_url(lens_url: str) -> SceneUrl:
    """``scene_url(scene="prbs", width=64)`` is the bench with that scene in front of it, and a
    module that has just started.

    Skips on benches that show what they show, and where the bench cannot be so large.
    """

    def url(**options: object) -> str:
        slot = bench.current()
        if slot is not None:
            if why := bench.beyond(options, slot.cdc):
                pytest.skip(why)
            return slot.restart(options)
        if lens_url.partition("?")[0] not in OWN:
            pytest.skip(f"{lens_url} shows a scene of its own; this needs a chosen one")
        return _own(lens_url, options)

    return url


@pytest.fixture(scope="session")
def own_url(lens_url: str) -> SceneUrl:
    """The same where opening starts the module: its processes and their files are the test's.

    For what looks at those, and for what is not about the bench, but about frames from any.
    """

    def url(**options: object) -> str:
        if lens_url.partition("?")[0] not in OWN:
            pytest.skip("start a module themselves: run on the host")
        return _own(lens_url, options)

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
