"""The kit against itself: each case passes the good peers and fails those that break its clause."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from . import broken_hosts, broken_modules
from .cases import Case
from .clauses import Clause, load_clauses
from .defects import Broken
from .plain_module import PlainModule
from .verdicts import (
    FAILED,
    NOT_CLAIMED,
    PASSED,
    CaseResult,
    Verdict,
    find_cases,
    list_all_cases,
    run_host_case,
    run_module_case,
)
from .virtual_host import VirtualHost
from .virtual_module import KEY, VirtualModule


def run_selftest(
    only: str | None = None, case_name: str | None = None, seed: int = 1
) -> Iterator[Verdict]:
    """Yield a verdict for each case with the good peers, then for each broken peer of a clause.

    The self-test succeeds for a broken peer if a case of its clause detects the peer, and no case
    ends in an error. It fails for a case that detects none of the broken peers of its clause.

    Args:
        only: Test only this clause.
        case_name: Test only the case of this name.
        seed: Draws nonces and challenges.
    """
    for case in list_all_cases():
        for clause in case.clauses:
            if only in (None, clause) and case_name in (None, case.name):
                yield from _test_good_peers(case, load_clauses()[clause], seed)
    for each in load_clauses().values():
        cases = [case for case in find_cases(each.id) if case_name in (None, case.name)]
        if only in (None, each.id) and (cases or case_name is None):
            yield from _test_broken_peers(each, cases, seed)


def _test_good_peers(case: Case[Any], clause: Clause, seed: int) -> Iterator[Verdict]:
    start = time.monotonic()
    result = _run(case, clause.side, None, seed)
    text = "" if result.verdict == PASSED else f"the good {clause.side} {': '.join(result[:2])}"
    text = text or "; ".join(f"the good host breaks {': '.join(each)}" for each in result.breaches)
    if clause.side == "module" and not text:
        # The second good module need not have every capability.
        plain = _run(case, clause.side, PlainModule, seed)
        if plain.verdict not in (PASSED, NOT_CLAIMED):
            text = f"the plain module {': '.join(plain[:2])}"
    yield _verdict(clause, case.name, text, start)


def _test_broken_peers(clause: Clause, cases: list[Case[Any]], seed: int) -> Iterator[Verdict]:
    peers: dict[str, tuple[Broken, ...]] = broken_modules.BROKEN | broken_hosts.BROKEN
    if not cases or not peers.get(clause.id):
        lacks = "case" if not cases else "broken peer"
        yield Verdict(clause.id, "-", clause.side, FAILED, f"the clause has no {lacks}")
    idle = {case.name for case in cases}
    for peer in peers.get(clause.id, ()):
        start = time.monotonic()
        others = [case for case in list_all_cases() if case.name == peer.case]
        found = [(case, _run(case, clause.side, peer.make, seed)) for case in others or cases]
        broken = {case.name for case, result in found if clause.id in dict(result.breaches)}
        failed = {case.name for case, result in found if result.verdict == FAILED} | broken
        idle -= failed
        allowed = (FAILED, PASSED, NOT_CLAIMED)
        wrong = [result.detail for _, result in found if result.verdict not in allowed]
        detail = "; ".join(wrong)
        if not (broken if peer.case else failed) and not wrong:
            detail = f"no case{'' if peer.case else ' of the clause'} detects {peer.name}"
        yield _verdict(clause, peer.name, detail, start)
    for name in sorted(idle):
        yield Verdict(
            clause.id, name, clause.side, FAILED, "the case detects no broken peer of its clause"
        )


def _run(case: Case[Any], side: str, make: Callable[[], Any] | None, seed: int) -> CaseResult:
    if side == "module":
        return run_module_case(case, (make or VirtualModule)(), random.Random(seed), KEY)

    def start(task: str) -> VirtualHost:
        host: VirtualHost = (make or VirtualHost)()
        host.task = task
        host.always_authenticates = any(each.startswith("H-AUTH") for each in case.clauses)
        return host

    return run_host_case(case, start, KEY)


def _verdict(clause: Clause, case: str, detail: str, start: float) -> Verdict:
    verdict = FAILED if detail else PASSED
    return Verdict(clause.id, case, clause.side, verdict, detail, time.monotonic() - start)
