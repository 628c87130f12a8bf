"""What a case is, and how a case says that the tested side fails.

A case is registered with :class:`Cases` by the clauses that it tests. ``verdicts`` runs cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class Failed(Exception):
    """The tested side breaks the clause. The message says how."""


class NotClaimed(Exception):
    """The tested side lacks the optional feature, or the bench cannot show it."""


class NotRun(Exception):
    """The kit lacks something that the case needs. The message says what to give it."""


@dataclass(frozen=True, slots=True)
class Case(Generic[T]):
    """A test of one or more clauses.

    For modules, ``run`` is a function that gets a :class:`.host_peer.HostPeer`. For hosts, it is a
    subclass of :class:`.module_peer.Script`. Either raises one of the exceptions above if the case
    does not pass.
    """

    name: str
    clauses: tuple[str, ...]
    doc: str
    run: T
    is_first: bool = False
    """True if the case needs a module that has taken no frame yet."""


def check(holds: object, otherwise: str) -> None:
    """Raise :exc:`Failed` with the message *otherwise* unless *holds* is true."""
    if not holds:
        raise Failed(otherwise)


class Cases(Generic[T]):
    """A list of cases in the order in which they are written."""

    def __init__(self) -> None:
        self.all: list[Case[T]] = []

    def add(self, *clauses: str, is_first: bool = False) -> Callable[[T], T]:
        """Return a decorator that registers a case for these clauses."""

        def register(run: T) -> T:
            doc = " ".join((getattr(run, "__doc__", "") or "").split())
            self.all.append(Case(getattr(run, "__name__", "?"), clauses, doc, run, is_first))
            return run

        return register
