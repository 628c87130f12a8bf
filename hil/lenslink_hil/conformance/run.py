"""A verdict for each clause of each case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from lenslink.errors import LensLinkError, UsageError

from . import (
    module_cases_camera,
    module_cases_demand,
    module_cases_link,
    module_cases_packing,
)
from .cases import Case, Failed, NotClaimed
from .clauses import clauses
from .host_cases import ALL as HOST_CASES
from .host_peer import HostPeer
from .module_peer import Outcome, Script
from .peer_wire import Gone, Wire

PASSED, FAILED, NOT_CLAIMED, ERROR = "passed", "failed", "not claimed", "error"

ModuleCase = Case[Callable[[HostPeer], None]]
HostCase = Case[type[Script]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one clause in one case; ``detail`` is empty where it passed."""

    clause: str
    case: str
    side: str
    verdict: str
    detail: str = ""
    seconds: float = 0.0


def module_cases() -> list[ModuleCase]:
    """Every case for modules, in SPEC.md's order."""
    parts = (
        module_cases_link, module_cases_camera, module_cases_packing, module_cases_demand,
    )  # fmt: skip
    return [case for part in parts for case in part.CASES.all]


def host_cases() -> list[HostCase]:
    """Every case for hosts, in SPEC.md's order."""
    return list(HOST_CASES)


def all_cases() -> list[Case[Any]]:
    """Of both sides."""
    found: list[Case[Any]] = [*module_cases()]
    found += host_cases()
    return found


def cases_of(clause: str) -> list[Case[Any]]:
    """The cases that name *clause*."""
    return [case for case in all_cases() if clause in case.clauses]


def run_module_case(case: ModuleCase, wire: Wire) -> tuple[str, str]:
    """Verdict and detail of a module behind *wire*."""
    peer = HostPeer(wire)
    verdict = _judged(lambda: case.run(peer))
    if verdict[0] != ERROR:
        try:
            peer.close()
        except (Gone, LensLinkError):
            return verdict if verdict[0] == FAILED else (FAILED, "the module ended the connection")
    return verdict


class HostRun(AbstractContextManager["HostRun"], Protocol):
    """A running host. The end of its ``with`` block ends it."""

    @property
    def wire(self) -> Wire: ...

    def finish(self) -> Outcome:
        """Let the host come to its end; what it has made of it."""


def run_host_case(case: HostCase, start: Callable[[], HostRun]) -> tuple[str, str]:
    """Verdict and detail of the host that *start* starts."""

    def run() -> None:
        script: Script | None = None
        for _ in range(case.run.sessions):
            with start() as host:
                script = case.run(host.wire, script)
                script.run()
                script.judge(host.finish())

    return _judged(run)


def _judged(run: Callable[[], None]) -> tuple[str, str]:
    try:
        run()
    except Failed as failure:
        return FAILED, str(failure)
    except NotClaimed as reason:
        return NOT_CLAIMED, str(reason)
    except Gone as error:
        return FAILED, f"the connection ended: {error}"
    except UsageError:
        raise  # every other case would say the same
    except LensLinkError as error:
        return ERROR, str(error)
    except Exception as error:
        # The kit's own defect is a verdict, too.
        return ERROR, f"{type(error).__name__}: {error}"
    return PASSED, ""


def verdicts(
    case: Case[Any], side: str, outcome: tuple[str, str], seconds: float, only: str | None = None
) -> list[Verdict]:
    """One for each clause that the case names, or for *only*."""
    named = [clause for clause in case.clauses if only in (None, clause)]
    return [Verdict(c, case.name, side, outcome[0], outcome[1], seconds) for c in named]


def summary(found: Iterable[Verdict]) -> dict[str, int]:
    """How many there are of each."""
    counted = Counter(each.verdict for each in found)
    return {
        "passed": counted[PASSED],
        "failed": counted[FAILED],
        "not_claimed": counted[NOT_CLAIMED],
        "errors": counted[ERROR],
    }


def matrix() -> list[dict[str, Any]]:
    """Every clause with the cases that name it."""
    return [
        {
            "id": clause.id,
            "side": clause.side,
            "text": clause.text,
            "cases": [case.name for case in cases_of(clause.id)],
        }
        for clause in clauses().values()
    ]
