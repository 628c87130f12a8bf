"""Random sequences of API calls; :mod:`helpers.api_sequences` says what must always hold."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from helpers import nightly_scale
from helpers.api_sequences import VirtualSequence, check_kinds
from helpers.attach_harness import install

SEQUENCES = nightly_scale.choose(250, 10_000)


@pytest.mark.timeout(3600)
# An interrupt may come while an iterator that was dropped is closed: Python reports it there.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_any_sequence_of_calls(
    seed: int,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bay = install(monkeypatch, tmp_path)
    counts: Counter[str] = Counter()
    first = seed % 1_000_000_000
    for number in range(first, first + SEQUENCES):
        try:
            VirtualSequence(bay, number, counts).run()
        except BaseException as error:
            error.add_note(f"sequence {number} of seed {seed}")
            raise
    nightly_scale.say(capsys, f"{SEQUENCES} sequences of API calls, {dict(counts)}, seed {seed}")
    check_kinds(counts)
