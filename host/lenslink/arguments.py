"""Checks of arguments that public calls take, beside those of :mod:`.settings`.

Each check returns the value, or raises :exc:`~lenslink.errors.UsageError` with the argument, the
value and the range. A call checks its arguments before it sends anything.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import operator
from typing import Final, SupportsIndex, TypeVar

from .errors import UsageError

MAX_TIMEOUT_S: Final = 1_000_000.0
"""The longest timeout: eleven days. The operating system's waits have a limit not far above."""

T = TypeVar("T")


def check_timeout(value: object, name: str = "timeout") -> float:
    """Return a timeout in seconds as a float."""
    # A bool is a number by accident.
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise UsageError(f"{name}={value!r} is not a number: it must be 0 to {MAX_TIMEOUT_S:.0f} s")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not 0 <= seconds <= MAX_TIMEOUT_S:
        raise UsageError(
            f"{name}={seconds:g} is out of range: it must be 0 to {MAX_TIMEOUT_S:.0f} s"
        )
    return seconds


def check_whole_number(name: str, value: object, least: int, most: int) -> int:
    """Return a whole number from *least* to *most* as an int."""
    number = None
    # numpy's whole numbers pass, its other types do not. A bool is an int by accident.
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            number = operator.index(value)
    if number is None:
        raise UsageError(f"{name}={value!r} is not a whole number: it must be {least} to {most}")
    if not least <= number <= most:
        raise UsageError(f"{name}={number} is out of range: it must be {least} to {most}")
    return number


def check_type(name: str, value: object, kind: type[T], noun: str) -> T:
    """Return *value*, which must be a *kind*; *noun* is what the message calls it."""
    if not isinstance(value, kind):
        raise UsageError(f"{name}={value!r} must be {noun}")
    return value


def check_callable(name: str, value: object) -> None:
    """Raise an error unless *value* can be called."""
    if not callable(value):
        raise UsageError(f"{name}={value!r} cannot be called")
