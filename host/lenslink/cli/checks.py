"""What ``doctor`` checks, and how a command says what it needs."""

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
    """Without it, nothing works; else a convenience is missing."""

    @property
    def status(self) -> str:
        if self.ok:
            return "ok"
        return "FAILED" if self.needed else "missing"


class CheckedCommand(click.Command):
    """A command that brings *checks* of what it needs: the host knows nothing of the benches."""

    def __init__(self, *args: Any, checks: Sequence[Callable[[], Check]] = (), **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.checks = tuple(checks)
