"""What a case is, and how one fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class Failed(Exception):
    """The tested side breaks the clause; the message says how."""


class NotClaimed(Exception):
    """The tested side lacks the optional thing, or the bench cannot show it."""


@dataclass(frozen=True, slots=True)
class Case(Generic[T]):
    """``run`` raises :exc:`Failed`, :exc:`NotClaimed`, or nothing."""

    name: str
    clauses: tuple[str, ...]
    doc: str
    run: T


def check(holds: object, otherwise: str) -> None:
    """:exc:`Failed` unless *holds*."""
    if not holds:
        raise Failed(otherwise)


class Cases(Generic[T]):
    """Cases in the order in which they are written."""

    def __init__(self) -> None:
        self.all: list[Case[T]] = []

    def of(self, *clauses: str) -> Callable[[T], T]:
        """A decorator: the case of these clauses."""

        def add(run: T) -> T:
            doc = " ".join((getattr(run, "__doc__", "") or "").split())
            self.all.append(Case(getattr(run, "__name__", "?"), clauses, doc, run))
            return run

        return add
