"""Parse device URLs: ``scheme:path?key=value&key=value``, percent-encoded.

The transports and benches call :func:`parse_url` through :func:`.transports.parse`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from .errors import UsageError

_MAX_PORT = 65535
_PORT_DIGITS = 5


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean '...'?"`` for the nearest *known* word; "" if none is near.

    >>> suggest("seriel", ["serial", "port"])
    "; did you mean 'serial'?"
    """
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean '{close[0]}'?" if close else ""


@dataclass(frozen=True, slots=True)
class Url:
    """Hold a parsed device URL; ``text`` is the URL as it was given."""

    text: str
    scheme: str
    path: str
    options: Mapping[str, str] = field(default_factory=dict)

    def check_options(self, known: Iterable[str]) -> None:
        """Raise :exc:`~lenslink.errors.UsageError` for an option that is not *known*."""
        known = sorted(known)
        for key in self.options:
            if key not in known:
                choice = f"it takes {', '.join(known)}" if known else "it takes none"
                raise UsageError(
                    f"{self.scheme}: has no option '{key}'{suggest(key, known)} ({choice})"
                )

    def integer(self, key: str) -> int | None:
        """Return an option as a whole number, or None if it is absent.

        Raises :exc:`~lenslink.errors.UsageError` if it is not a whole number.
        """
        text = self.options.get(key)
        if text is None:
            return None
        try:
            return int(text, 0)
        except ValueError:
            raise UsageError(f"{self.scheme}: {key}={text} is not a whole number") from None


def parse_url(text: str, schemes: Iterable[str]) -> Url:
    """Split a device URL; raise :exc:`~lenslink.errors.UsageError` if it is malformed.

    >>> parse_url("sim:?scene=ramp", ["sim"]).options
    {'scene': 'ramp'}
    """
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} is no device URL: a character cannot be encoded") from None
    scheme, colon, rest = text.partition(":")
    schemes = sorted(schemes)
    if not colon:
        raise UsageError(
            f"'{text}' is no device URL: it begins with one of {_format_schemes(schemes)}"
        )
    if scheme not in schemes:
        raise UsageError(
            f"unknown device URL scheme '{scheme}:'{suggest(scheme, schemes)} "
            f"(known: {_format_schemes(schemes)})"
        )
    path, _, query = rest.partition("?")
    options: dict[str, str] = {}
    for pair in query.split("&") if query else []:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise UsageError(f"'{pair}' in '{text}' is not key=value")
        if unquote(key) in options:
            raise UsageError(f"option '{unquote(key)}' stands twice in '{text}'")
        options[unquote(key)] = unquote(value)
    return Url(text, scheme, unquote(path), options)


def is_port(text: str) -> bool:
    """Return True if *text* is the number of a port, 1 to 65535."""
    # int() refuses thousands of digits with an error.
    return text.isdecimal() and len(text) <= _PORT_DIGITS and 0 < int(text) <= _MAX_PORT


def is_host(text: str) -> bool:
    """Return True if *text* can be the name or the address of a host."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return bool(text) and "\0" not in text


def _format_schemes(schemes: list[str]) -> str:
    return ", ".join(f"{scheme}:" for scheme in schemes)
