"""Reads ``lenslink_protocol/vectors/*.json``."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest


def load(name: str) -> list[dict[str, Any]]:
    """The vectors of a file, from the installed package: third parties find them there too."""
    text = (files("lenslink_protocol") / f"vectors/{name}.json").read_text(encoding="utf-8")
    vectors: list[dict[str, Any]] = json.loads(text)["vectors"]
    return vectors


def each(name: str, **wanted: object) -> pytest.MarkDecorator:
    """A test for each vector of a file, or for those with the values *wanted*."""
    chosen = [v for v in load(name) if all(v[key] == value for key, value in wanted.items())]
    assert chosen
    return pytest.mark.parametrize("vector", chosen, ids=[vector["name"] for vector in chosen])
