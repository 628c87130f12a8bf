"""One check of ``lenslink doctor``, and a command that states what it needs.

``doctor`` (:mod:`.doctor`) runs its own checks and those of every :class:`CheckedCommand` that it
finds. So the host's command line checks the benches without importing them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Check:
    """One line of doctor's report."""

    name: str
    ok: bool
    detail: str
    cure: str = ""
    needed: bool = True
    """False if only a convenience is missing when the check fails."""

    @property
    def status(self) -> str:
        """``ok``, ``FAILED`` or, for what is not needed, ``missing``."""
        if self.ok:
            return "ok"
        return "FAILED" if self.needed else "missing"


class CheckedCommand(click.Command):
    """A command with *checks* of what it needs, which ``lenslink doctor`` runs."""

    def __init__(self, *args: Any, checks: Sequence[Callable[[], Check]] = (), **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.checks = tuple(checks)
