"""The kit against itself: each case passes the good peer, and fails one that breaks its clause."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from . import broken_hosts, broken_modules
from .cases import Case
from .clauses import Clause, clauses
from .run import (
    FAILED,
    PASSED,
    Verdict,
    all_cases,
    cases_of,
    run_host_case,
    run_module_case,
)
from .virtual_host import VirtualHost
from .virtual_module import VirtualModule


def selftest(only: str | None = None) -> Iterator[Verdict]:
    """A verdict for each case with the good peer, then for each broken one of its clause.

    A broken peer passes (the kit's test, that is) where a case of its clause fails it and none
    ends in an error. A case that fails none of them would test nothing.
    """
    for case in all_cases():
        for clause in case.clauses:
            if only in (None, clause):
                yield _good(case, clauses()[clause])
    for each in clauses().values():
        if only in (None, each.id):
            yield from _broken(each)


def _good(case: Case[Any], clause: Clause) -> Verdict:
    began = time.monotonic()
    verdict, detail = _run(case, clause.side, None)
    text = "" if verdict == PASSED else f"the good {clause.side} {verdict}: {detail}"
    outcome = PASSED if verdict == PASSED else FAILED
    return _verdict(clause, case.name, outcome, text, began)


def _broken(clause: Clause) -> Iterator[Verdict]:
    peers: dict[str, Any] = broken_modules.BROKEN | broken_hosts.BROKEN
    cases = cases_of(clause.id)
    if not cases or not peers.get(clause.id):
        lacks = "case" if not cases else "broken peer"
        yield Verdict(clause.id, "-", clause.side, FAILED, f"the clause has no {lacks}")
    idle = {case.name for case in cases}
    for number, start in enumerate(peers.get(clause.id, ()), 1):
        began = time.monotonic()
        found = [_run(case, clause.side, start) for case in cases]
        failed = {c.name for c, (verdict, _) in zip(cases, found, strict=True) if verdict == FAILED}
        idle -= failed
        wrong = [text for verdict, text in found if verdict not in (FAILED, PASSED)]
        name = f"broken {clause.side} {number}"
        if failed and not wrong:
            yield _verdict(clause, name, PASSED, "", began)
        else:
            detail = "; ".join(wrong) or f"no case fails {name} of this clause"
            yield _verdict(clause, name, FAILED, detail, began)
    for case in sorted(idle):
        yield Verdict(clause.id, case, clause.side, FAILED, "no broken peer of its clause fails it")


def _run(case: Case[Any], side: str, start: Callable[[], Any] | None) -> tuple[str, str]:
    if side == "module":
        return run_module_case(case, (start or VirtualModule)())
    return run_host_case(case, start or VirtualHost)


def _verdict(clause: Clause, case: str, verdict: str, detail: str, began: float) -> Verdict:
    return Verdict(clause.id, case, clause.side, verdict, detail, time.monotonic() - began)
