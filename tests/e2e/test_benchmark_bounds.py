"""The driver's speed is kept: ratios of one run, measured alternately, with room for noise.

What is held is the driver's cost beside the bare transport's over the same socket. Both are CPU
time and alternate within a second, so neither the machine nor its load at the time is in their
ratio; what is left in it is that somebody else's work takes the caches from one run and not from
the next. On two cores that others used as well, the same code gave medians of five pairs that lay
up to a fifth apart. The gate is at 0.7 of what the driver is built to reach: a regression that
costs a third is found, one that costs a tenth is `lenslink bench host`'s to show. A series that
falls short is measured anew, at most three times: three unlucky medians in a row are none.
"""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import pytest
from helpers.cli_process import PATIENCE_S, Cli
from helpers.slowdown import patience

from lenslink_hil.benchmark.host_series import SCHEMA
from lenslink_hil.benchmark.series import NOMINAL, Case, Effort, measure
from lenslink_hil.benchmark.workers import make_folder

pytestmark = pytest.mark.exclusive

MARGIN = 0.7
TRIES = 3
LARGEST = 1 << 20

# A driver that spins at every CRC, as one would that does too much for each packet.
SLOW = """
import time
from isal import isal_zlib

fast = isal_zlib.crc32

def crc32(*arguments):
    end = time.process_time() + 50e-6
    while time.process_time() < end:
        pass
    return fast(*arguments)

isal_zlib.crc32 = crc32
"""


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """One run of the command, which all tests here look at."""
    words = ["--quick", "--transport", "unix", "--json", "--output", "B.md", "--plot", "p.txt"]
    with Cli(tmp_path_factory.mktemp("quick")) as cli:
        began = time.monotonic()
        process = cli.start("bench", "host", *words)
        out, err = process.communicate(timeout=2 * PATIENCE_S)
        took = time.monotonic() - began
        assert process.returncode == 0, err
        assert err.decode().splitlines() == ["wrote p.txt", "wrote B.md"]
        report, chart = (cli.folder / "B.md").read_text(), (cli.folder / "p.txt").read_text()
    return SimpleNamespace(result=json.loads(out), took=took, report=report, chart=chart)


def test_what_is_measured(quick):
    result = quick.result
    assert result["schema"] == SCHEMA
    assert result["machine"]["cores"] == os.cpu_count()
    series = result["series"]
    assert tuple(each["nominal_tile_bytes"] for each in series) == NOMINAL
    for each in series:
        assert (each["transport"], each["modules"]) == ("unix", 1)
        assert 0.9 * each["nominal_tile_bytes"] < each["tile_bytes"] <= each["nominal_tile_bytes"]
        assert 12e6 <= each["frame_bytes"] / 1.5 < 13e6
        # Each run had one damaged tile, which was rejected and sent again.
        assert each["discarded"] == each["repaired"] == each["repetitions"] >= 2
        for key in ("gb_per_cpu_s", "bare_gb_per_cpu_s", "crc_gb_per_cpu_s", "wall_gb_per_s"):
            assert 0 < each[key] < 1000
        # Small tiles come faster in batches than one by one without a protocol, but nothing comes
        # faster than large pieces do.
        assert each["gb_per_cpu_s"] < max(other["bare_gb_per_cpu_s"] for other in series)
        assert each["peak_rss_bytes"] >= each["idle_rss_bytes"] > 0
    for name in ("paced", "loaded"):
        timed = result["latency"][name]
        for key in ("first_tile_us", "last_tile_us", "ping_us"):
            assert 0 < timed[key]["p50"] <= timed[key]["p99"] <= timed[key]["max"]
    # As the command says, and it was not alone.
    assert quick.took < patience(60)


def test_what_is_written(quick):
    assert quick.result["machine"]["date"] in quick.report
    assert "unix, 256 KiB, 12 MP" in quick.report
    assert quick.chart.count("\n") == 1 + len(NOMINAL)


def of_bare(entries):
    [entry] = entries
    return entry["ratio_bare"]


def of_bound(entries):
    [entry] = entries
    return entry["ratio_bound"]


def of_largest(entries):
    entry, largest = entries
    return entry["gb_per_cpu_s"] / largest["bare_gb_per_cpu_s"]


def again(nominal: int, effort: Effort) -> dict[str, float]:
    with make_folder() as place:
        return measure(Case("unix", nominal), effort, place, lambda _: None)


@pytest.mark.parametrize(
    ("sizes", "ratio", "bound"),
    [
        ([65536], of_bare, 0.5),
        ([262144], of_bound, 0.8),
        ([16384, LARGEST], of_largest, 0.3),
        ([4096, LARGEST], of_largest, 0.2),
    ],
    ids=["64KiB", "256KiB", "16KiB", "4KiB"],
)
def test_the_driver_is_as_fast_as_it_was(quick, sizes, ratio, bound):
    known = {each["nominal_tile_bytes"]: each for each in quick.result["series"]}
    found = [ratio([known[size] for size in sizes])]
    while found[-1] < MARGIN * bound and len(found) < TRIES:
        effort = Effort(run_bytes=48 << 20, repetitions=5, seconds=2.0)
        found.append(ratio([again(size, effort) for size in sizes]))
    needed = round(MARGIN * bound, 2)
    assert found[-1] >= needed, f"{found}, at least {needed}: see lenslink bench host --quick"


def test_a_driver_that_got_slow_is_found(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    entry = again(65536, Effort(run_bytes=1, repetitions=2, seconds=0.0))
    assert of_bare([entry]) < MARGIN * 0.5
