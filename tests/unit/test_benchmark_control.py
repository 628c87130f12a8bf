"""The benchmark of the control socket: its figures, and how they are held against their limits."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from lenslink_hil.benchmark import control_latency


def test_the_figures_of_a_run(monkeypatch):
    counts = itertools.accumulate([0, 0, 100, 100, 95, 95, 80, 100, 100, 95, 95, 80])
    clock = itertools.count()
    monkeypatch.setattr(control_latency, "_own", lambda url, name: contextlib.nullcontext())
    monkeypatch.setattr(control_latency, "_count_frames", lambda name: next(counts))
    monkeypatch.setattr(control_latency, "_ask", lambda name, s: [0.5] * 98 + [1.9, 7.0])
    monkeypatch.setattr(control_latency, "_set", lambda name, s: [0.7, 2.1])
    monkeypatch.setattr(control_latency.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(control_latency.time, "sleep", lambda seconds: None)
    said = []
    result = control_latency.measure("sim:", 1, 1.0, said.append)
    assert said == ["quiet spell 1 of 1", "asking spell 1 of 1", "setting spell 1 of 1"]
    assert result["state_ms"] == {"count": 100, "p50": 0.5, "p99": 7.0, "max": 7.0}
    assert result["set_ms"]["p50"] == 0.7
    quiet, asking, _ = result["frames_s"].values()
    assert result["ratio"] == pytest.approx(asking / quiet)
    assert len(list(control_latency.format_summary(result))) == 3


@pytest.mark.parametrize(
    ("state", "change", "ratio", "is_within"),
    [(2.0, 2.0, 0.95, True), (2.1, 1, 1, False), (1, 2.1, 1, False), (1, 1, 0.94, False)],
)
def test_each_limit_counts(state, change, ratio, is_within):
    result = {"state_ms": {"p99": state}, "set_ms": {"p99": change}, "ratio": ratio}
    assert control_latency.is_within_limits(result) is is_within
