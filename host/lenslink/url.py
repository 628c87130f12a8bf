"""Device URLs: ``scheme:path?key=value&key=value``, percent-encoded, checked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from .errors import UsageError


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean '{close[0]}'?" if close else ""


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed device URL. ``text`` is the URL as it was given."""

    text: str
    scheme: str
    path: str
    options: Mapping[str, str] = field(default_factory=dict)

    def check_options(self, known: Iterable[str]) -> None:
        """:exc:`~lenslink.errors.UsageError` for an option that is not *known*."""
        known = sorted(known)
        for key in self.options:
            if key not in known:
                choice = f"it takes {', '.join(known)}" if known else "it takes none"
                raise UsageError(
                    f"{self.scheme}: has no option '{key}'{_nearest(key, known)} ({choice})"
                )

    def integer(self, key: str) -> int | None:
        """The option as a whole number, or None where it is absent."""
        text = self.options.get(key)
        if text is None:
            return None
        try:
            return int(text, 0)
        except ValueError:
            raise UsageError(f"{self.scheme}: {key}={text} is not a whole number") from None


def parse_url(text: str, schemes: Iterable[str]) -> Url:
    """Split a device URL; :exc:`~lenslink.errors.UsageError` if it is none, or of no scheme."""
    scheme, colon, rest = text.partition(":")
    schemes = sorted(schemes)
    if not colon:
        raise UsageError(f"'{text}' is no device URL: it begins with one of {_names(schemes)}")
    if scheme not in schemes:
        raise UsageError(
            f"unknown device URL scheme '{scheme}:'{_nearest(scheme, schemes)} "
            f"(known: {_names(schemes)})"
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


def _names(schemes: list[str]) -> str:
    return ", ".join(f"{scheme}:" for scheme in schemes)
