"""Runs a case, and gives each clause of the case a verdict.

In a case for modules the kit is the host: :class:`.host_peer.HostPeer`. In a case for hosts the kit
is the module: a :class:`.module_peer.Script`. ``live`` runs cases on real modules and hosts,
``selftest`` on modules and hosts that it simulates in this process. ``report`` writes the verdicts
down.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from lenslink.errors import LensLinkError, UsageError
from lenslink_protocol.messages import Malformed

from . import (
    module_cases_authentication,
    module_cases_calibration,
    module_cases_capture,
    module_cases_changes,
    module_cases_clock,
    module_cases_closing,
    module_cases_configure,
    module_cases_credits,
    module_cases_events,
    module_cases_growth,
    module_cases_lanes,
    module_cases_lists,
    module_cases_liveness,
    module_cases_manifest,
    module_cases_memory,
    module_cases_motion,
    module_cases_opening,
    module_cases_packets,
    module_cases_packing,
    module_cases_power,
    module_cases_query,
    module_cases_receiving,
    module_cases_requests,
    module_cases_resend,
    module_cases_roi,
    module_cases_settings,
    module_cases_stop_and_flush,
    module_cases_test_actions,
    module_cases_values,
)
from .cases import Case, Failed, NotClaimed, NotRun
from .clauses import load_clauses
from .host_cases import ALL as HOST_CASES
from .host_peer import HostPeer
from .host_watch import WatchedWire, find_breaches
from .module_peer import HostResult, Script
from .peer_wire import ConnectionEnded, Wire

PASSED, FAILED, ERROR = "passed", "failed", "error"
NOT_CLAIMED, NOT_RUN = "not claimed", "not run"

T = TypeVar("T")
ModuleCase = Case[Callable[[HostPeer], None]]
HostCase = Case[type[Script]]


class CaseResult(NamedTuple):
    """How one run of a case ended."""

    verdict: str
    """PASSED, FAILED, ERROR, NOT_CLAIMED or NOT_RUN."""
    detail: str = ""
    """The reason if the case has not passed; what is worth saying if it has."""
    breaches: tuple[tuple[str, str], ...] = ()
    """Clauses of every case that a host has broken in this one, each with what was seen."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one run of a case says about one clause: a line of the report.

    ``side`` is the tested side, ``module`` or ``host``. ``verdict`` and ``detail`` are those of the
    :class:`CaseResult`. ``transcript`` has the packets of a case that failed, if the run keeps
    them.
    """

    clause: str
    case: str
    side: str
    verdict: str
    detail: str = ""
    seconds: float = 0.0
    transcript: tuple[str, ...] = field(default=(), repr=False)


def list_module_cases() -> list[ModuleCase]:
    """Return every case for modules, in SPEC.md's order.

    Cases that need a module which has taken no frame yet come before all others.
    """
    parts = (
        module_cases_packets,
        module_cases_growth,
        module_cases_receiving,
        module_cases_opening,
        module_cases_closing,
        module_cases_events,
        module_cases_liveness,
        module_cases_clock,
        module_cases_requests,
        module_cases_query,
        module_cases_memory,
        module_cases_configure,
        module_cases_lists,
        module_cases_settings,
        module_cases_values,
        module_cases_motion,
        module_cases_changes,
        module_cases_stop_and_flush,
        module_cases_credits,
        module_cases_power,
        module_cases_roi,
        module_cases_capture,
        module_cases_resend,
        module_cases_lanes,
        module_cases_packing,
        module_cases_manifest,
        module_cases_calibration,
        module_cases_authentication,
        module_cases_test_actions,
    )
    found = [case for part in parts for case in part.CASES.all]
    return sorted(found, key=lambda case: not case.is_first)


def list_host_cases() -> list[HostCase]:
    """Return every case for hosts, in SPEC.md's order."""
    return list(HOST_CASES)


def list_all_cases() -> list[Case[Any]]:
    """Return the cases of both sides."""
    found: list[Case[Any]] = [*list_module_cases()]
    found += list_host_cases()
    return found


def find_cases(clause: str) -> list[Case[Any]]:
    """Return the cases that name *clause*."""
    return [case for case in list_all_cases() if clause in case.clauses]


def choose_quick_cases(cases: Sequence[Case[T]]) -> list[Case[T]]:
    """Return a few of *cases*, in their order, that test each of their clauses at least once.

    >>> cases = list_module_cases()
    >>> quick = choose_quick_cases(cases)
    >>> len(quick) < len(cases) / 2
    True
    >>> {clause for case in quick for clause in case.clauses} == {
    ...     clause for case in cases for clause in case.clauses
    ... }
    True
    """
    chosen, tested = [], set[str]()
    for case in cases:
        if not tested.issuperset(case.clauses):
            chosen.append(case)
            tested.update(case.clauses)
    return chosen


def run_module_case(
    case: ModuleCase, wire: Wire, generator: random.Random | None = None, key: bytes | None = None
) -> CaseResult:
    """Run a case on the module behind *wire*.

    Args:
        case: The case.
        wire: The line to the module.
        generator: Draws nonces and challenges. None is a generator with a random seed.
        key: The key of the module's authentication; None if the user of the kit gave none.
    """
    peer = HostPeer(wire, generator, key)
    result = judge(lambda: case.run(peer))
    if result.verdict != ERROR:
        try:
            peer.close()
        except (ConnectionEnded, LensLinkError):
            if result.verdict != FAILED:
                return CaseResult(FAILED, "the module ended the connection")
    return result


class HostRun(AbstractContextManager["HostRun"], Protocol):
    """A running host. Leaving its ``with`` block ends the host."""

    @property
    def wire(self) -> Wire: ...

    def finish(self) -> HostResult:
        """Wait for the host to end, and return its result."""


def run_host_case(
    case: HostCase, start: Callable[[str], HostRun], key: bytes | None = None
) -> CaseResult:
    """Run a case on a host that *start* starts, once for each of the case's sessions.

    Args:
        case: The case. Its ``run`` is a class: an instance is the module of one session.
        start: Starts a host. The argument is its task: to take a still, or to run a preview.
        key: The key that the host authenticates with; None if the user of the kit gave none.
    """

    scripts: list[Script] = []

    def run() -> None:
        for _ in range(case.run.sessions):
            with start(case.run.task) as host:
                script = case.run(WatchedWire(host.wire), scripts[-1] if scripts else None)
                scripts.append(script)
                script.key = key
                script.run()
                script.judge(host.finish())

    result = judge(run)
    found: dict[str, str] = {}
    for script in scripts:
        found = find_breaches(script) | found
    return result._replace(breaches=tuple(found.items()))


def judge(run: Callable[[], str | None]) -> CaseResult:
    """Run a case, and return its verdict.

    *run* raises an exception of :mod:`.cases`, or returns what is worth saying if it passes.

    Raises:
        UsageError: the run makes no sense.
    """
    try:
        detail = run()
    except Failed as failure:
        return CaseResult(FAILED, str(failure))
    except NotClaimed as reason:
        return CaseResult(NOT_CLAIMED, str(reason))
    except NotRun as reason:
        return CaseResult(NOT_RUN, str(reason))
    except ConnectionEnded as error:
        return CaseResult(FAILED, f"the connection ended: {error}")
    except Malformed as error:
        return CaseResult(FAILED, f"a malformed message: {error}")
    except UsageError:
        raise  # every other case would say the same
    except LensLinkError as error:
        return CaseResult(ERROR, str(error))
    except Exception as error:
        # An unexpected exception is a defect of the kit: report it and go on with the next case.
        return CaseResult(ERROR, f"{type(error).__name__}: {error}")
    return CaseResult(PASSED, detail or "")


def make_verdicts(
    case: Case[Any],
    side: str,
    result: CaseResult,
    seconds: float,
    *,
    only: str | None = None,
    transcript: Iterable[str] = (),
) -> list[Verdict]:
    """Return a verdict for each clause of the case, and for each other one that it shows broken.

    *only* leaves out all clauses but that one.
    """
    broken = dict(result.breaches)
    named = [each for each in dict.fromkeys((*case.clauses, *broken)) if only in (None, each)]
    lines = tuple(transcript)
    found = []
    for clause in named:
        ends = (result.verdict, result.detail)
        if clause in broken and (clause not in case.clauses or ends[0] in (PASSED, NOT_CLAIMED)):
            ends = (FAILED, broken[clause])
        found.append(Verdict(clause, case.name, side, *ends, seconds, lines))
    return found


def count_verdicts(found: Iterable[Verdict]) -> dict[str, int]:
    """Return how many verdicts there are of each kind."""
    counted = Counter(each.verdict for each in found)
    return {
        "passed": counted[PASSED],
        "failed": counted[FAILED],
        "not_claimed": counted[NOT_CLAIMED],
        "not_run": counted[NOT_RUN],
        "errors": counted[ERROR],
    }


def build_matrix() -> list[dict[str, Any]]:
    """Return every clause with the names of its cases, as ``lenslink conform matrix`` prints it."""
    return [
        {
            "id": clause.id,
            "side": clause.side,
            "text": clause.text,
            "cases": [case.name for case in find_cases(clause.id)],
        }
        for clause in load_clauses().values()
    ]
