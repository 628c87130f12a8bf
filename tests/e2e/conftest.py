"""Benches for the end-to-end tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

SceneUrl = Callable[..., str]


@pytest.fixture(scope="session")
def scene_url(lens_url: str) -> SceneUrl:
    """``scene_url(scene="prbs", width=64)`` is the bench with that scene in front of it.

    Skips on benches that show what they show.
    """

    def url(**options: object) -> str:
        scheme, _, query = lens_url.partition("?")
        if scheme not in ("sim:", "usbip:"):
            pytest.skip(f"{lens_url} shows a scene of its own; this needs a chosen one")
        chosen = dict(pair.split("=", 1) for pair in query.split("&") if pair)
        chosen |= {key: str(value) for key, value in options.items()}
        return f"{scheme}?" + "&".join(f"{key}={value}" for key, value in chosen.items())

    return url
