"""What the benchmark makes of its figures: report, chart, targets; and a little of each peer."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from lenslink.errors import MissingExtra, StorageError, UsageError
from lenslink_hil.benchmark import document, host_series, peers, plot
from lenslink_hil.benchmark.machine_info import describe_machine
from lenslink_hil.benchmark.series import NOMINAL, Case


def entry(transport="unix", nominal=65536, megapixels="12", modules=1, **more):
    return {
        "transport": transport,
        "nominal_tile_bytes": nominal,
        "tile_bytes": nominal - 64,
        "frame_bytes": 1_000_000,
        "megapixels": megapixels,
        "modules": modules,
        "gb_per_cpu_s": 3.0,
        "bare_gb_per_cpu_s": 5.0,
        "crc_gb_per_cpu_s": 10.0,
        "copy_gb_per_cpu_s": 12.0,
        "ratio_bare": 0.6,
        "ratio_bound": 0.9,
        "ratio_crc": 0.3,
        "wall_gb_per_s": 2.0,
        "discarded": 3,
        "spread": {"driver": [2.5, 3.5]},
        "peak_rss_bytes": 3_500_000,
        "idle_rss_bytes": 500_000,
        "ring_gb_per_cpu_s": 2.8,
        "ring_peak_rss_bytes": 2_600_000,
        "ring_idle_rss_bytes": 600_000,
        "credit_stalls": 1,
        "credit_stalled_s": 0.5,
        **more,
    }


def condition():
    times = {"p50": 10.0, "p99": 20.0, "max": 30.0}
    return {
        "first_tile_us": times,
        "last_tile_us": times,
        "driver_first_tile_us": times,
        "ping_us": times,
        "first_tile_over_ping": 1.0,
        "first_tile_before_second_half_us": {"least": 1.0, "p50": 5.0},
        "began_before_second_half": 1.0,
        "device_us": 1.0,
        "wire_us": 5.0,
        "host_us": 5.0,
        "credit_stalls": 0,
        "credit_stalled_s": 0.0,
    }


@pytest.fixture
def result():
    series = [entry(nominal=nominal) for nominal in NOMINAL]
    series.append(entry("shm", 262144))
    series.append(entry(nominal=262144, megapixels="100", gb_per_cpu_s=2.5))
    found = {
        "machine": describe_machine(),
        "quick": False,
        "series": series,
        "latency": {
            "transport": "unix",
            "tile_bytes": 1,
            "frame_bytes": 2,
            "paced": condition(),
            "loaded": condition(),
            "contact": {"not_run": "no MicroPython"},
        },
        "not_run": [{"series": "shm, 4 KiB", "why": "no such memory"}],
    }
    return found | {"targets": [target.as_json() for target in host_series.compute_targets(found)]}


def test_targets(result):
    found = {
        target.name: (target.value, target.is_met) for target in host_series.compute_targets(result)
    }
    assert found["unix, 64 KiB: of the bare transport"] == (0.6, True)
    assert found["unix, 4 KiB: of the bare transport at 1 MiB"] == (pytest.approx(0.6), True)
    assert found["shm, 256 KiB: of the bare ring"] == (0.6, False)
    assert found["100 MP: cost of a byte over that at 12 MP"] == (pytest.approx(1.2), False)
    assert found["100 MP: memory above idle, in frames"] == (3.0, True)
    assert found["100 MP: memory above idle, in frames, with a ring"] == (2.0, True)
    assert host_series.find_entry(result, Case("tcp", 4096)) is None


@pytest.mark.parametrize(("pings", "met"), [(5.0, True), (5.1, False)])
def test_the_first_tile_may_take_five_pings(result, pings, met):
    result["latency"]["paced"]["first_tile_over_ping"] = pings
    assert host_series.compute_targets(result)[-1].is_met is met


@pytest.mark.parametrize(("ratio", "met"), [(0.75, True), (0.74, False)])
def test_shm_is_held_against_the_bare_ring(result, ratio, met):
    [shm] = [each for each in result["series"] if each["transport"] == "shm"]
    shm["ratio_bare"] = ratio
    [target] = [each for each in host_series.compute_targets(result) if each.name.startswith("shm")]
    assert target.is_met is met


def test_the_report_has_all_of_it(result):
    text = document.format_host(result)
    for each in result["series"]:
        assert plot.describe_series(each) in text
    assert "**not met**" in text
    assert "NOT RUN: shm, 4 KiB: no such memory" in text
    assert "NOT RUN (no MicroPython)" in text
    for line in text.splitlines():
        assert line == line.rstrip()
        assert not line.startswith("|") or line.count("|") > 3


def test_each_command_writes_its_own_part(tmp_path):
    path = tmp_path / "B.md"
    document.write_part(path, "host", "first")
    document.write_part(path, "peers", "second")
    document.write_part(path, "host", "third")
    assert document.read_parts(path) == {"host": "third\n", "peers": "second\n"}
    assert "first" not in path.read_text()


def test_what_is_no_report_is_left_alone(tmp_path):
    path = tmp_path / "notes.md"
    path.write_text("mine")
    with pytest.raises(UsageError, match="not a report"):
        document.write_part(path, "host", "text")
    assert path.read_text() == "mine"


def test_a_chart_as_text(result, tmp_path):
    path = tmp_path / "a.txt"
    plot.write_chart(result, path, False)
    lines = path.read_text().splitlines()
    assert len(lines) == 1 + len(result["series"])
    assert lines[1].count("#") == 24
    assert lines[1].count(".") == 16 + 2
    with pytest.raises(StorageError, match="exists"):
        plot.write_chart(result, path, False)


def test_a_chart_as_a_picture(result, tmp_path):
    path = tmp_path / "a.png"
    if find_spec("matplotlib") is None:
        with pytest.raises(MissingExtra, match=r"\[bench\]"):
            plot.write_chart(result, path, False)
        return
    plot.write_chart(result, path, False)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", [name for name in peers.PEERS if name != "aravis"])
def test_a_peer_receives_what_was_sent(name):
    peer = peers.load_peer(name)
    why = peers.find_lack(peer)
    if why is not None:
        assert 'pip install -e ".[bench]"' in why
        pytest.skip(why)
    payload = bytes(range(256)) * 1000
    count, seconds = peer.prepare(payload)()
    assert count >= len(payload)
    assert seconds > 0


def test_a_peer_that_is_missing_says_how_to_get_it():
    why = peers.find_lack(peers.load_peer("aravis"))
    assert why is None or "apt install" in why
    need = peers.Need("lenslink_hil.nowhere.at_all", "nowhere", "dig for it")
    assert need.is_missing
    assert need.version == ""
