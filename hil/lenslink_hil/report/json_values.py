"""Values of a JSON document that may come from anywhere: each is checked before it is used."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from lenslink.errors import UsageError

MAX_FILE: Final = 64 << 20
MAX_ITEMS: Final = 100_000
T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


def read_bytes(path: Path) -> bytes:
    """Return what a file holds; raise UsageError if it cannot be read, or is above 64 MiB."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > MAX_FILE:
        raise UsageError(f"{path}: more than {MAX_FILE >> 20} MiB are no report")
    return data


def parse_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in *data*; raise ValueError if there is none.

    >>> parse_object(b"[]")
    Traceback (most recent call last):
    ValueError: it holds no JSON object
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it holds no JSON: {error}") from error
    if type(found) is not dict:
        raise ValueError("it holds no JSON object")
    return found


def get_value(data: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """Return the value of *key*; raise ValueError unless it is a *kind*, finite and not too long.

    >>> get_value({"seconds": 2}, "seconds", float)
    2.0
    """
    value = data.get(key)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    is_finite = not isinstance(value, int | float) or math.isfinite(value)
    if not isinstance(value, kind) or not is_finite:
        raise ValueError(f"{key!r} is not {kind.__name__}: {str(value)[:40]!r}")
    if isinstance(value, list | dict) and len(value) > MAX_ITEMS:
        raise ValueError(f"{key!r} has more than {MAX_ITEMS} entries")
    return value


def get_objects(data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the list of objects at *key*; raise ValueError if it is anything else."""
    items = get_value(data, key, list)
    if not all(isinstance(each, dict) for each in items):
        raise ValueError(f"{key!r} is no list of objects")
    return items


def get_choice(data: Mapping[str, Any], key: str, kinds: type[E]) -> E:
    """Return the value of *key* as a member of *kinds*; raise ValueError if it is none."""
    text = get_value(data, key, str)
    try:
        return kinds(text)
    except ValueError:
        raise ValueError(f"{key!r} is none of {', '.join(kinds)}: {text[:40]!r}") from None


def get_texts(data: Mapping[str, Any], key: str) -> dict[str, str]:
    """Return the object at *key*, all of whose values have to be text."""
    found = get_value(data, key, dict)
    return {name: get_value(found, name, str) for name in found}
