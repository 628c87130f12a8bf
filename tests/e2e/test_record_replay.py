"""Test that a recorded session is the same again for the driver, a module and tshark."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter

import numpy as np
import pytest
from helpers import bench_scale
from helpers.cli_process import PATIENCE_S, Cli, finish
from helpers.discards import count_discards

import lenslink
from lenslink.deadline import Deadline
from lenslink.errors import DeviceError, Disconnected, NotFound, UsageError
from lenslink.transports import parse
from lenslink_hil.recording.lcap import Direction, Writer, load
from lenslink_hil.recording.recorder import count_lanes, make_info, wrap_transport
from lenslink_hil.recording.script import extract_manifest, load_script, split_packets
from lenslink_protocol.dissector import get_dissector_path
from lenslink_protocol.ids import ConfigureFlag, MessageType
from lenslink_protocol.messages import Configure, Configured

FRAMES = 4
SMALL = {"scene": "prbs", "width": 128, "height": 96, "seed": 3}


def taken(frame):
    with frame:
        return frame.number, frame.timestamp_us, frame.status.value, frame.pixels.tobytes()


def session(url, frames=FRAMES, still=True, wrap=None, **settings):
    """Return what a driver receives of a stream and a still, and its counts."""
    got = []
    with lenslink.open(url, wrap=wrap) as device:
        stream = device.stream(**settings)
        got += [taken(next(stream)) for _ in range(frames)]
        stream.close()
        if still:
            got.append(taken(device.capture()))
        return got, device.stats, device.manifest


def record(url, path):
    """Record a session; return what its driver received."""
    writers = []

    def wrap(transport):
        info = make_info(parse(url), count_lanes(transport))
        writers.append(Writer.create(path, False, info))
        return wrap_transport(transport, writers[0])

    result = session(url, wrap=wrap)
    writers[0].write_manifest(extract_manifest(load(path)))
    writers[0].finish("frames")
    return result


@pytest.fixture(scope="module", params=[1, 3], ids=["one lane", "three lanes"])
def made(request, own_url, scale, tmp_path_factory):
    path = tmp_path_factory.mktemp("recorded") / "session.lcap"
    result = record(own_url(**SMALL | scale.size(1280, 960), lanes=request.param), path)
    return path, result


@pytest.fixture(scope="module")
def small(own_url, tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "session.lcap"
    # One lane, so that the module's packets have one order.
    return path, record(own_url(**SMALL, lanes=1), path)


@pytest.fixture
def cli(tmp_path):
    with Cli(tmp_path) as started:
        yield started


# --- to the driver ---------------------------------------------------------------------------


def test_a_recording_is_a_module_that_does_the_same(made, scale):
    path, (frames, _, manifest) = made
    again, stats, described = session(f"replay:{path}")
    assert again == frames
    assert {status for _, _, status, _ in again} == {"complete"}
    assert described == manifest
    assert not count_discards(stats, scale.repeated)
    assert stats.lost_packets == 0


def test_the_recording_describes_its_session(made, own_url):
    path, (_, _, manifest) = made
    loaded = load(path)
    assert loaded.info["url"].startswith(own_url().partition("?")[0])
    assert loaded.info["seed"] == "3"
    assert loaded.info["protocol"] == "1.0"
    assert {"lenslink", "python", "began"} <= loaded.info.keys()
    assert manifest.serial.encode() in loaded.manifest
    assert (loaded.end_reason, loaded.truncation) == ("frames", None)
    lanes = {r.lane for r in loaded.records}
    assert lanes == set(range(loaded.lanes))


@pytest.mark.exclusive
def test_replay_keeps_the_recorded_speed(small):
    path, (frames, *_) = small
    loaded = load(path)
    spent = (loaded.records[-1].time_ns - loaded.records[0].time_ns) / 1e9
    start = time.monotonic()
    again, *_ = session(f"replay:{path}?speed=1")
    took = time.monotonic() - start
    assert again == frames
    # The driver's own delays between two requests are not replayed.
    assert took > 0.3 * spent
    start = time.monotonic()
    session(f"replay:{path}?speed=0")
    assert time.monotonic() - start < took


def test_a_driver_may_ask_for_less_or_for_something_else(small, scale):
    path, (frames, *_) = small
    fewer, stats, _ = session(f"replay:{path}", frames=1)
    assert fewer == [frames[0], frames[-1]]
    assert not count_discards(stats, scale.repeated)
    with lenslink.open(f"replay:{path}") as device:
        # The preview is left out, and with it its frames and its packets' numbers.
        assert taken(device.capture()) == frames[-1]
        assert device.stats.lost_packets == 0
        assert not count_discards(device.stats, scale.repeated)
        with pytest.raises(DeviceError, match="no further CONFIGURE 1"):
            device.capture()
    with lenslink.open(f"replay:{path}") as device:
        asked = Configure(0, 0, 77, 0, 0)
        answer = device._session.call(asked, Configured, Deadline(5))
        assert (answer.mode, answer.flags) == (0, ConfigureFlag.ADJUSTED)
    with pytest.raises(Disconnected, match="continues only after STOP 0"):
        # A few more may have been on their way when the recording's driver had enough.
        session(f"replay:{path}", frames=FRAMES + 1000)
    with (
        pytest.raises(DeviceError, match="no further FLUSH"),
        lenslink.open(f"replay:{path}") as device,
    ):
        device.flush()


@pytest.mark.parametrize(
    ("url", "error", "text"),
    [
        ("replay:", UsageError, "needs a recording"),
        ("replay:none.lcap", NotFound, "no such file"),
        ("replay:{path}?speed=-1", UsageError, "speed=-1"),
        ("replay:{path}?speed=nan", UsageError, "speed=nan"),
        ("replay:{path}?sped=1", UsageError, "did you mean 'speed'"),
        ("replay:{other}", UsageError, "no recording of LensLink"),
    ],
)
def test_invalid_replay_urls_are_refused(url, error, text, small, tmp_path):
    other = tmp_path / "other.lcap"
    other.write_bytes(b"not one")
    with pytest.raises(error, match=text):
        lenslink.open(url.format(path=small[0], other=other))


# --- damaged recordings ----------------------------------------------------------------------


def copied(path, target, flip):
    """Write the recording again, with one of the module's bytes inverted."""
    loaded = load(path)
    writer = Writer.create(target, False, loaded.info)
    at = 0
    for record in loaded.records:
        data = bytearray(record.payload)
        if record.direction == Direction.TO_HOST:
            if at <= flip < at + len(data):
                data[flip - at] ^= 0xFF
            at += len(data)
        writer.write_data(record.lane, Direction(record.direction), [bytes(data)])
    writer.finish("damaged")
    return target


def test_damage_in_a_recording_is_played_as_it_is(small, scale, tmp_path):
    """A tile that is damaged in the recording is damaged in the replay, and nothing else is."""
    path, (frames, *_) = small
    stream = load(path).join_stream(0, Direction.TO_HOST)
    second = frames[1][0]
    tile = next(
        at
        for at, _, header, _ in split_packets(stream)
        if header and (header.type, header.frame) == (MessageType.TILE, second)
    )
    url = f"replay:{copied(path, tmp_path / 'damaged.lcap', tile + 100)}"
    with lenslink.open(url) as device:
        stream = device.stream()
        got = [next(stream) for _ in range(FRAMES)]
        discards = device.stats.discards
        assert discards["payload_crc"] == 1
        assert [f.status.value for f in got] == ["complete", "incomplete", "complete", "complete"]
        for index in (0, 2, 3):
            assert got[index].pixels.tobytes() == frames[index][3]
        good = np.frombuffer(frames[1][3], "<u2").reshape(got[1].pixels.shape)
        assert np.array_equal(got[1].pixels, np.where(got[1].mask, good, 0))
        assert not got[1].mask[0].any()
        assert sum(count_discards(device.stats, scale.repeated).values()) <= 2, discards
        for frame in got:
            frame.release()


def test_a_truncated_recording_plays_up_to_the_cut(small, tmp_path):
    path, (frames, *_) = small
    whole = path.read_bytes()
    cut = tmp_path / "cut.lcap"
    cut.write_bytes(whole[: 2 * len(whole) // 5])
    with lenslink.open(f"replay:{cut}") as device:
        assert "cut inside a record" in device.note
        stream = device.stream()
        assert taken(next(stream)) == frames[0]
        with pytest.raises(Disconnected, match="the recording ends here"):
            for frame in stream:
                frame.release()
    cut.write_bytes(whole[: whole.index(b"}", whole.index(b'{"')) + 1])
    with pytest.raises(UsageError, match="holds no session"):
        lenslink.open(f"replay:{cut}")


def test_a_recorded_disconnection_is_replayed(own_url, tmp_path):
    path, url = tmp_path / "gone.lcap", own_url(**SMALL)
    writers, inner = [], []

    def wrap(transport):
        inner.append(transport)
        writers.append(Writer.create(path, False, make_info(parse(url), 1)))
        return wrap_transport(transport, writers[0])

    with lenslink.open(url, wrap=wrap) as device:
        stream = device.stream()
        first = taken(next(stream))
        bench_scale.cut_supply(inner[0].module)
        with pytest.raises(Disconnected, match=bench_scale.killed_words(url)):
            for frame in stream:
                frame.release()
    writers[0].finish("disconnected")
    with lenslink.open(f"replay:{path}") as device:
        stream = device.stream()
        assert taken(next(stream)) == first
        recorded = rf"{bench_scale.killed_words(url)} \(as recorded\)"
        with pytest.raises(Disconnected, match=recorded):
            for frame in stream:
                frame.release()


# --- the command line ------------------------------------------------------------------------


def test_record_and_replay(cli, own_url):
    url = own_url(**SMALL)
    done = cli.run("record", url, "-o", "a.lcap", "-n", "3", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["schema"] == "lenslink.record/1"
    assert (summary["frames"], summary["ended"], summary["file"]) == (3, "frames", "a.lcap")
    assert load(cli.folder / "a.lcap").manifest
    again = cli.run("stream", "replay:a.lcap", "-n", "3", "-o", "again.raw")
    assert again.returncode == 0, again.stderr
    assert (cli.folder / "again.raw").stat().st_size == 3 * 2 * 128 * 96
    same = cli.run("replay", "a.lcap", "--as", "host", url)
    assert (same.returncode, same.stderr) == (0, "8 compared, 0 differ\n"), same.stdout
    assert "frame 2 of stream 0: as recorded" in same.stdout
    other = cli.run("replay", "a.lcap", "--as", "host", own_url(**SMALL | {"seed": 4}), "--json")
    assert other.returncode == 7
    result = json.loads(other.stdout)
    assert result["schema"] == "lenslink.replay/1"
    assert result["different"] == 3
    differences = {each["what"]: each["difference"] for each in result["compared"]}
    assert re.fullmatch(r"other pixels in (\d+) of \1 tiles", differences["frame 1 of stream 0"])
    assert differences["CONFIGURE 3"] == ""


def test_the_examples_in_the_help_of_record_work(cli, own_url):
    lines = cli.run("record", "--help").stdout.splitlines()
    examples = [line.split() for line in lines if line.startswith("    lenslink ")]
    assert [words[1] for words in examples] == ["record", "stream", "replay"]
    for words in examples:
        arguments = [own_url(**SMALL) if word == "sim:" else word for word in words[1:]]
        done = cli.run(*arguments)
        assert done.returncode == 0, (words, done.stderr)


def test_a_recording_is_not_overwritten_unasked(cli, scene_url):
    (cli.folder / "a.lcap").write_text("dear")
    url = scene_url(**SMALL)
    refused = cli.run("record", url, "-o", "a.lcap", "-n", "1")
    assert refused.returncode == 9
    assert "use --force" in refused.stderr
    # A recording that cannot start replaces no file.
    assert cli.run("record", "unix:/none", "-o", "a.lcap", "-n", "1", "-f").returncode == 3
    assert (cli.folder / "a.lcap").read_text() == "dear"
    assert cli.run("record", url, "-o", "a.lcap", "-n", "1", "-f").returncode == 0
    assert load(cli.folder / "a.lcap").end_reason == "frames"
    assert cli.files() == ["a.lcap"]
    assert cli.run("record", url, "-o", "a.txt").returncode == 2


@pytest.mark.parametrize(
    ("signum", "code", "ended"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "interrupted"), (9, -9, None)],
)
def test_the_recording_is_whole_whatever_ends_it(signum, code, ended, cli, scene_url):
    process = cli.start("record", scene_url(**SMALL), "-o", "a.lcap", "--json")
    path = cli.folder / "a.lcap"
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists() or path.stat().st_size < 200_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signum)
    status, _, err = finish(process)
    assert status == code, err
    loaded = load(path)
    assert loaded.end_reason == ended
    if ended is not None:
        assert loaded.truncation is None
    frames, *_ = session(f"replay:{path}", frames=3, still=False)
    assert {status for _, _, status, _ in frames} == {"complete"}


def test_a_recording_served_to_other_programs(cli, small, scale):
    path, (frames, *_) = small
    process = cli.start("replay", str(path), "--listen", f"unix:{cli.runtime}/lens")
    url = process.stdout.readline().decode().strip()
    for _ in range(2):
        again, stats, _ = session(url)
        assert again == frames
        assert not count_discards(stats, scale.repeated)
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 130


def test_a_second_host_is_told_that_the_recording_is_busy(cli, small, tmp_path, monkeypatch):
    path, _ = small
    process = cli.start("replay", str(path), "--listen", f"unix:{cli.runtime}/lens")
    url = process.stdout.readline().decode().strip()
    with lenslink.open(url):
        # A host on another machine does not see the lock.
        other = tmp_path / "other"
        other.mkdir()
        monkeypatch.setenv("LENSLINK_RUNTIME_DIR", str(other))
        with pytest.raises(lenslink.DeviceBusy, match="another host has opened the module"):
            lenslink.open(url, timeout=PATIENCE_S)
    frames, *_ = session(url)
    assert {status for _, _, status, _ in frames} == {"complete"}
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 130


@pytest.mark.parametrize(
    "args",
    [
        ["--as", "host"],
        ["sim:"],
        ["--as", "host", "sim:", "--listen", "unix:/tmp/x"],
        ["--pcapng", "x.pcapng", "--as", "host"],
    ],
)
def test_invalid_replay_arguments_are_refused(args, cli, small):
    done = cli.run("replay", str(small[0]), *args)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_tshark_reads_the_export_as_we_do(cli, made, tool):
    path, _ = made
    done = cli.run("replay", str(path), "--pcapng", "a.pcapng", "--json")
    assert done.returncode == 0, done.stderr
    names = ["frame.interface_name", "frame.packet_flags_direction", "lenslink.type"]
    names += ["lenslink.sequence", "lenslink.frame", "lenslink.length", "lenslink.payload_crc"]
    names += ["lenslink.header_crc.status", "lenslink.payload_crc.status"]
    command = [tool("tshark"), "-X", f"lua_script:{get_dissector_path()}", "-r", "a.pcapng"]
    command += ["-T", "fields"]
    for name in names:
        command += ["-e", name]
    out = subprocess.run(command, cwd=cli.folder, capture_output=True, text=True, check=True).stdout
    shown = Counter()
    for line in out.splitlines():
        lane, towards, *numbers, head, payload = line.split("\t")
        if payload == "1":
            assert head == "1"
            shown[lane, int(towards, 0), *(int(n, 0) for n in numbers)] += 1
    script = load_script(path)
    ours = Counter()
    for towards, packets in ((2, script.host), (1, script.steps)):
        for packet in packets:
            header = getattr(packet, "header", None)
            if header is not None and packet.is_valid:
                key = header.type, header.sequence, header.frame, header.length, header.payload_crc
                ours[f"lane {packet.lane}", towards, *key] += 1
    assert shown == ours
    assert json.loads(done.stdout)["packets"] >= ours.total() > 20
