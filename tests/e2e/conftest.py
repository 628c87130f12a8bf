"""Benches for the end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import bench_scale

from lenslink_hil.kernel import guest_boards
from lenslink_hil.plugin.run_options import named_urls

SceneUrl = Callable[..., str]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a bench that is named, what is the same on every one is left out, and said to be."""
    named = named_urls(config)
    if not named or bench_scale.scheme_of(named[0]) == "sim:" or guest_boards.is_in_guest():
        return
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here and "lens_url" not in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=bench_scale.NO_BENCH))


@pytest.fixture(scope="session")
def lens_url(lens_url: str) -> str:
    """The bench; an emulated Pico with frames of its scale."""
    if bench_scale.scheme_of(lens_url) == "pico:":
        return bench_scale.own(lens_url, {})
    return lens_url


@pytest.fixture(scope="session")
def scale(lens_url: str) -> bench_scale.Scale:
    """How large and how fast the bench is: ``scale.size(640, 480)``, ``scale.seconds(1)``."""
    return bench_scale.scale_of(lens_url)


@pytest.fixture(scope="session")
def scene_url(lens_url: str) -> SceneUrl:
    """``scene_url(scene="prbs", width=64)`` is the bench with that scene in front of it, and a
    module that has just started.

    Skips on benches that show what they show, and where the bench cannot be so large.
    """

    def url(**options: object) -> str:
        slot = guest_boards.find_slot()
        if slot is not None:
            if why := guest_boards.explain_limit(options, slot.cdc):
                pytest.skip(why)
            return slot.restart(options)
        if bench_scale.scheme_of(lens_url) not in bench_scale.OWN:
            pytest.skip(f"{lens_url} shows a scene of its own; this needs a chosen one")
        return _own(lens_url, options)

    return url


@pytest.fixture(scope="session")
def own_url(lens_url: str) -> SceneUrl:
    """The same where opening starts the module: its processes and their files are the test's.

    For what looks at those, and for what is not about the bench, but about frames from any.
    """

    def url(**options: object) -> str:
        if bench_scale.scheme_of(lens_url) not in bench_scale.OWN:
            pytest.skip("start a module themselves: run on the host")
        return _own(lens_url, options)

    return url


def _own(lens_url: str, options: dict[str, object]) -> str:
    if why := bench_scale.beyond(lens_url, options):
        pytest.skip(why)
    return bench_scale.own(lens_url, options)


@pytest.fixture(scope="session")
def only_sim(lens_url: str) -> None:
    """For what starts ``sim:`` itself: it is the same on every bench."""
    if bench_scale.scheme_of(lens_url) != "sim:":
        pytest.skip("start sim: themselves: run there")
