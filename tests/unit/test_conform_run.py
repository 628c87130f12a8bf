"""How a run over a transport goes on, and when it ends: bad manifests, silence, broken connections.

The modules are plain modules on virtual time behind a transport, so a silence of ten seconds takes
no time.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest

from lenslink.cli.main import main
from lenslink.deadline import Deadline
from lenslink.errors import Disconnected, NotFound, RigError
from lenslink.transports.base import Reading
from lenslink_hil.conformance import live, report
from lenslink_hil.conformance.broken_module_manifest import NoColors, OddMode, TotalOfThePiece
from lenslink_hil.conformance.broken_module_requests import SilentRefusals
from lenslink_hil.conformance.cases import Case
from lenslink_hil.conformance.host_peer import HostPeer
from lenslink_hil.conformance.plain_module import Item, PlainModule
from lenslink_hil.conformance.run_info import RunInfo
from lenslink_hil.conformance.side_by_side import run_side_by_side
from lenslink_hil.conformance.verdicts import (
    FAILED,
    NOT_CLAIMED,
    NOT_RUN,
    PASSED,
    ModuleCase,
    Verdict,
    choose_quick_cases,
    find_cases,
    list_host_cases,
    list_module_cases,
    run_host_case,
    run_module_case,
)
from lenslink_hil.conformance.virtual_host import VirtualHost
from lenslink_hil.conformance.virtual_module import KEY
from lenslink_protocol.ids import Capability, MessageType
from lenslink_protocol.manifest import Manifest
from lenslink_protocol.messages import GetManifest, Header


class Silent(PlainModule):
    """Answers nothing."""

    def on_packet(self, header: Header, payload: bytes) -> None:
        """Do nothing."""


class Mute(PlainModule):
    """Answers Hello and nothing else."""

    def emit(self, item: Item) -> None:
        if item.kind == MessageType.HELLO_REPLY:
            super().emit(item)


class DiesOnVendor(PlainModule):
    """Ends the connection at a vendor's packet, and can be opened again."""

    is_dead = False

    def on_packet(self, header: Header, payload: bytes) -> None:
        self.is_dead = self.is_dead or header.type >= 0xE0
        super().on_packet(header, payload)


class NeverComesBack(DiesOnVendor):
    """Ends the connection at a vendor's packet for good."""


class CutShort(PlainModule):
    """Answers Configure with half a message."""

    def emit(self, item: Item) -> None:
        if item.kind == MessageType.CONFIGURED:
            item.payload = item.payload[:9]
        super().emit(item)


class VirtualTransport:
    """A transport to a module on virtual time."""

    private = True
    note = None

    def __init__(self, module: PlainModule) -> None:
        self.module_under_test = module

    def now(self) -> float:
        return self.module_under_test.now()

    def reading(self) -> Reading:
        return Reading(self.now())

    def send(self, data: bytes | memoryview, deadline: Deadline) -> None:
        del deadline
        self._check()
        self.module_under_test.send(bytes(data))
        self._check()

    def receive_into(self, buffers: Sequence[memoryview], seconds: float) -> int:
        self._check()
        data = self.module_under_test.receive(seconds)
        buffers[0][: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.module_under_test.end_session()

    def _check(self) -> None:
        if getattr(self.module_under_test, "is_dead", False):
            raise Disconnected("the module is gone")


Start = Callable[[type[PlainModule]], PlainModule]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start a module of that class; ``unix:/virtual`` opens it."""

    def start_module(kind: type[PlainModule]) -> PlainModule:
        module = kind()
        openings: list[int] = []

        def open_transport(*arguments: object) -> VirtualTransport:
            del arguments
            openings.append(1)
            if isinstance(module, NeverComesBack) and len(openings) > 1:
                raise NotFound("no module")
            if isinstance(module, DiesOnVendor):
                module.is_dead = False
            module.connect()
            return VirtualTransport(module)

        monkeypatch.setattr(live, "open_transport", open_transport)
        monkeypatch.setattr(live, "_REOPEN_S", 0.0)
        return module

    return start_module


def run(**more: bool) -> tuple[list[Verdict], RunInfo]:
    info = RunInfo("a module", "unix:/virtual", seed=1)
    found = live.run_modules(
        "unix:/virtual", list_module_cases(), None, 1.0, info=info, key=KEY, **more
    )
    return list(found), info


def counted(found: list[Verdict]) -> dict[str, int]:
    return {name: sum(v.verdict == name for v in found) for name in (PASSED, FAILED, NOT_RUN)}


def test_a_good_module_passes(start: Start) -> None:
    start(PlainModule)
    found, info = run()
    assert {each.verdict for each in found} == {PASSED, NOT_CLAIMED}
    assert info.module["serial"] == "PLAIN-1"


@pytest.mark.parametrize(
    ("kind", "clause"),
    [
        (NoColors, "M-MANIFEST-2"),
        (OddMode, "M-MANIFEST-2"),
        (TotalOfThePiece, "M-MANIFEST-1"),
        (Mute, "M-MANIFEST-1"),
    ],
)
def test_a_bad_manifest_is_one_failure(start: Start, kind: type[PlainModule], clause: str) -> None:
    start(kind)
    found, _ = run()
    assert [each.clause for each in found if each.verdict == FAILED] == [clause]
    assert {each.verdict for each in found[1:]} == {NOT_RUN}
    assert "manifest" in found[0].detail.lower()


def test_a_silent_module_ends_the_run_within_30_s(start: Start) -> None:
    module = start(Silent)
    before = module.now()
    found, _ = run()
    assert [each.clause for each in found if each.verdict == FAILED] == ["M-HELLO-1"]
    assert {each.verdict for each in found[1:]} == {NOT_RUN}
    assert module.now() - before < 30


def test_a_case_that_breaks_the_connection_fails_alone(start: Start) -> None:
    start(DiesOnVendor)
    found, _ = run()
    failed = {each.case for each in found if each.verdict == FAILED}
    # Each of these sends types of the vendor's range. All others pass as before.
    assert failed == {
        "vendor_types",
        "vendor_types_leave_no_trace",
        "vendor_types_before_hello",
        "what_uses_a_sequence_up",
        "nothing_of_a_refused_nonce",
    }
    assert counted(found)[NOT_RUN] == 0


def test_a_module_that_does_not_come_back_ends_the_run(start: Start) -> None:
    start(NeverComesBack)
    found, _ = run()
    assert counted(found)[FAILED] == 1
    first = next(i for i, each in enumerate(found) if each.verdict == NOT_RUN)
    assert {each.verdict for each in found[first:]} == {NOT_RUN}
    assert "after vendor_types the module did not come back" in found[first].detail


def test_fail_fast_ends_with_the_first_failure(start: Start) -> None:
    start(SilentRefusals)
    found, _ = run(is_fail_fast=True)
    failed = [each for each in found if each.verdict == FAILED]
    assert len({each.case for each in failed}) == 1
    assert found[-1].verdict == NOT_RUN
    assert "ends with the first failure" in found[-1].detail


@pytest.mark.parametrize("cases", [list_module_cases(), list_host_cases()], ids=["module", "host"])
def test_a_quick_run_has_every_clause_and_less_than_half_of_the_cases(cases: list[Any]) -> None:
    quick = choose_quick_cases(cases)
    assert quick == [each for each in cases if each in quick]
    assert len(quick) < len(cases) / 2
    clauses = [{clause for case in each for clause in case.clauses} for each in (quick, cases)]
    assert clauses[0] == clauses[1]


def test_a_malformed_answer_fails_its_clause(start: Start) -> None:
    start(CutShort)
    [case] = [each for each in list_module_cases() if each.name == "test_only"]
    result = run_module_case(case, CutShort(), random.Random(1))
    assert result.verdict == FAILED
    assert "malformed" in result.detail


def test_details_are_packets_in_words() -> None:
    def wrong(peer: HostPeer) -> None:
        peer.open_session()
        peer.expect_error(GetManifest(0), 4)

    result = run_module_case(Case("wrong", ("M-REQ-1",), "", wrong), PlainModule())
    assert result.verdict == FAILED
    assert "GetManifest offset=0 gets ManifestPiece offset=0 total=" in result.detail
    assert "not Error STATE" in result.detail
    assert len(result.detail) < 200


def test_a_transcript_has_the_packets_of_failed_cases(start: Start) -> None:
    start(SilentRefusals)
    found, info = run(is_transcribed=True)
    assert not any(each.transcript for each in found if each.verdict == PASSED)
    text = report.as_transcript(found, info)
    assert "URL: unix:/virtual" in text
    assert "M-STATE-4 unsupported: failed: " in text
    assert "kit  ->  Configure stream=" in text
    assert "<- peer  Configured stream=" in text


def test_the_same_seed_sends_the_same_packets() -> None:
    nonces = [HostPeer(PlainModule(), random.Random(seed)).nonce for seed in (1, 1, 2)]
    assert nonces[0] == nonces[1] != nonces[2]


def test_the_command_line_chooses_one_case(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    start(PlainModule)
    assert main(["conform", "module", "unix:/virtual", "--case", "damaged_crcs"]) == 0
    assert capsys.readouterr().out.startswith("1 passed")
    assert main(["conform", "module", "unix:/virtual", "--case", "no_such_case"]) == 2
    args = ["--case", "damaged_crcs", "--clause", "M-CAM-1"]
    assert main(["conform", "module", "unix:/virtual", *args]) == 2


def test_a_case_of_two_clauses_is_listed_for_both() -> None:
    both = [each for each in list_module_cases() if len(each.clauses) == 2]
    assert both
    for case in both:
        assert all(case in find_cases(clause) for clause in case.clauses)


class AlwaysAuthenticates(VirtualHost):
    """Refuses a module that proves nothing."""

    def _open_and_configure(self, stream: int) -> Generator[None, None, Manifest]:
        manifest = yield from super()._open_and_configure(stream)
        session = self.link.session
        if session is None or not session.capabilities & Capability.AUTH:
            self.give_up("the module has no AUTH")
        return manifest


@pytest.mark.parametrize(("key", "verdict"), [(None, FAILED), (KEY, PASSED)])
def test_a_host_that_always_authenticates_passes_with_its_key(
    key: bytes | None, verdict: str
) -> None:
    for name in ("EndsInOrder", "LargestManifest", "RightProof" if key else "DamagedTile"):
        (case,) = [each for each in list_host_cases() if each.name == name]
        result = run_host_case(case, lambda _task: AlwaysAuthenticates(), key)
        assert result.verdict == verdict, (name, result)


def test_a_verdict_on_a_silence_that_never_began_states_no_time() -> None:
    (case,) = [each for each in list_host_cases() if each.name == "Silence"]

    class EndsAtOnce(VirtualHost):
        """Ends as soon as the module has answered Hello."""

        def send(self, data: bytes, lane: int = 0) -> None:
            super().send(data, lane)
            self.give_up("it has seen enough")

    result = run_host_case(case, lambda _task: EndsAtOnce())
    said = "the session ended before the moment that the case waits for"
    assert (result.verdict, result.detail) == (FAILED, said)


def make_cases(count: int) -> list[ModuleCase]:
    return list(list_module_cases())[:count]


def test_shares_are_run_on_modules_of_their_own_and_reported_in_order() -> None:
    cases = make_cases(20)
    everyone_runs = threading.Barrier(3, timeout=30)
    shares: list[list[str]] = []

    def run_share(share: Sequence[ModuleCase]) -> Generator[Verdict]:
        everyone_runs.wait()
        shares.append([each.name for each in share])
        for case in share:
            for clause in case.clauses:
                yield Verdict(clause, case.name, "module", PASSED, "")

    found = list(run_side_by_side(cases, 3, run_share))
    wanted = [(clause, case.name) for case in cases for clause in case.clauses]
    assert [(each.clause, each.case) for each in found] == wanted
    given = [name for share in shares for name in share]
    assert sorted(given) == sorted(each.name for each in cases)
    assert len(shares) == 3


def test_a_module_that_is_not_fit_fails_once_however_many_are_tested() -> None:
    def run_share(share: Sequence[ModuleCase]) -> Generator[Verdict]:
        yield Verdict("M-HELLO-1", "hello_is_answered", "module", FAILED, "silence")
        for case in share:
            yield Verdict(case.clauses[0], case.name, "module", NOT_RUN, "")

    cases = [each for each in make_cases(20) if each.name != "hello_is_answered"]
    found = list(run_side_by_side(cases, 3, run_share))
    assert [each.case for each in found if each.verdict == FAILED] == ["hello_is_answered"]
    assert len(found) == len(cases) + 1


def test_an_error_of_a_share_ends_the_others() -> None:
    began = threading.Event()
    ended = threading.Event()

    def run_share(share: Sequence[ModuleCase]) -> Generator[Verdict]:
        if share[0] is cases[0]:
            assert began.wait(30)
            raise RigError("no module")
        try:
            for case in itertools.cycle(share):
                yield Verdict(case.clauses[0], case.name, "module", PASSED, "")
                began.set()
        finally:
            ended.set()

    cases = make_cases(6)
    with pytest.raises(RigError, match="no module"):
        list(run_side_by_side(cases, 2, run_share))
    assert ended.wait(30)
