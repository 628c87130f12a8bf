"""Read ``--set NAME=VALUE`` of the command line: options of a board's configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lenslink.errors import UsageError


def parse_options(texts: Iterable[str]) -> dict[str, Any]:
    """Return the options that *texts* name.

    A value is JSON, or plain text. A dot reaches into a table: ``pins.guard=null``.

    >>> parse_options(["lanes=2", "cfa=GRBG", "pins.guard=3"])
    {'lanes': 2, 'cfa': 'GRBG', 'pins': {'guard': 3}}

    Raises:
        UsageError: a text has no "=", or a name is given twice.
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {text}: must be NAME=VALUE, as in --set lanes=2")
        *tables, last = name.split(".")
        table = options
        for each in tables:
            table = table.setdefault(each, {})
            if not isinstance(table, dict):
                raise UsageError(f"--set {text}: {each} is no table")
        if last in table:
            raise UsageError(f"--set {text}: {name} is set twice")
        table[last] = _parse_value(value)
    return options


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
