"""Test the format of recordings: written, damaged and hostile files."""

from __future__ import annotations

import errno
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenslink.errors import StorageError, UsageError
from lenslink_hil.recording import lcap
from lenslink_hil.recording.lcap import (
    HEAD,
    MAGIC,
    Direction,
    Kind,
    RecordHead,
    Writer,
    load,
    parse,
)
from lenslink_hil.recording.script import split_packets
from lenslink_protocol.framing import encode_packet

INFO = {"url": "fake:", "lanes": 2, "seed": None}
CHUNKS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(Direction), st.binary(min_size=1, max_size=40)),
    max_size=8,
)


def record(kind, payload, lane=0, direction=0, length=None):
    """Return a record made by the definition, not by the writer."""
    values = {
        "kind": kind, "lane": lane, "direction": direction, "reserved": 0,
        "length": len(payload) if length is None else length, "time_ns": 5, "crc": 0,
    }  # fmt: skip
    head = RecordHead.build(values)[:-4]
    return head + lcap.crc32(head + payload).to_bytes(4, "little") + payload


def file_of(*records):
    return io.BytesIO(MAGIC + record(Kind.INFO, json.dumps(INFO).encode()) + b"".join(records))


def written(path, chunks):
    writer = Writer.create(path, True, INFO)
    for lane, direction, data in chunks:
        writer.write_data(lane, direction, [data[:3], memoryview(data)[3:]])
    writer.write_manifest(b"who")
    writer.write_lane_end(1, "cut off")
    writer.finish("frames")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lcap")


@given(chunks=CHUNKS)
def test_a_recording_is_read_as_written(folder, chunks):
    recording = load(written(folder / "a.lcap", chunks))
    data = [r for r in recording.records if r.kind == Kind.DATA]
    assert [(r.lane, r.direction, r.payload) for r in data] == chunks
    times = [r.time_ns for r in recording.records]
    assert times == sorted(times)
    assert (recording.info, recording.manifest) == (INFO, b"who")
    assert (recording.end_reason, recording.truncation, recording.lanes) == ("frames", None, 2)
    assert recording.records[-1].payload == b"cut off"


def test_any_cut_leaves_what_is_before_it(folder):
    chunks = [(0, Direction.TO_MODULE, b"abc"), (1, Direction.TO_HOST, b"defgh")]
    whole = written(folder / "b.lcap", chunks).read_bytes()
    first = len(MAGIC) + HEAD.size + len(json.dumps(INFO))
    complete = parse(io.BytesIO(whole), "b").records
    silent = 0
    for size in range(first, len(whole)):
        recording = parse(io.BytesIO(whole[:size]), "b")
        assert recording.records == complete[: len(recording.records)]
        # A cut between two records shows only in the missing END.
        silent += recording.truncation is None
        assert recording.end_reason is None
        assert recording.truncation is None or recording.truncation.startswith(
            "cut inside a record at byte"
        )
    assert silent == 5
    for size in range(first):
        with pytest.raises(UsageError):
            parse(io.BytesIO(whole[:size]), "b")


@given(data=st.data())
def test_any_flipped_bit_is_found(folder, data):
    whole = bytearray(written(folder / "c.lcap", [(0, Direction.TO_HOST, b"pixels")]).read_bytes())
    complete = parse(io.BytesIO(bytes(whole)), "c")
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        recording = parse(io.BytesIO(bytes(whole)), "c")
    except UsageError:
        assert at < len(MAGIC) + HEAD.size + len(json.dumps(INFO))
        return
    assert recording.truncation is not None
    assert recording.records == complete.records[: len(recording.records)]


@given(junk=st.binary(max_size=200))
def test_junk_is_refused_or_read_up_to_itself(junk):
    with pytest.raises(UsageError):
        parse(io.BytesIO(junk), "junk")
    recording = parse(io.BytesIO(file_of().getvalue() + junk), "junk")
    assert not junk or recording.truncation or recording.records


class Greedy(io.BytesIO):
    """A file that stores the longest read."""

    most = 0

    def read(self, size=-1):
        self.most = max(self.most, size)
        assert size >= 0
        return super().read(size)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("length", [lcap.MAX_RECORD + 1, 0xFFFFFFFF])
def test_a_length_is_bounded_before_it_is_believed(kind, length):
    file = Greedy(file_of(record(kind, b"", length=length)).getvalue())
    assert "damaged at byte" in parse(file, "x").truncation
    assert file.most < lcap.MAX_RECORD
    longest = Greedy(file_of(record(Kind.DATA, b"", length=lcap.MAX_RECORD)).getvalue())
    assert "cut" in parse(longest, "x").truncation


def test_lanes_are_bounded_and_unknown_kinds_skipped():
    recording = parse(file_of(record(99, b"new"), record(Kind.DATA, b"x", lane=3)), "x")
    assert [r.payload for r in recording.records] == [b"x"]
    assert recording.lanes == 4
    assert "lane 16" in parse(file_of(record(Kind.DATA, b"x", lane=16)), "x").truncation


@pytest.mark.parametrize("text", [b"[" * 50000, b"[]", b"\xff", b"{}x"])
def test_info_that_is_no_object_is_refused(text):
    with pytest.raises(UsageError, match="no JSON object"):
        parse(io.BytesIO(MAGIC + record(Kind.INFO, text)), "x")


def test_other_files_are_told_apart():
    with pytest.raises(UsageError, match="no recording"):
        parse(io.BytesIO(b"II*\0 a TIFF"), "x")
    with pytest.raises(UsageError, match="format 2"):
        parse(io.BytesIO(MAGIC[:-1] + b"\x02"), "x")
    with pytest.raises(UsageError, match="does not begin with INFO"):
        parse(io.BytesIO(MAGIC + record(Kind.DATA, b"x")), "x")


def test_the_definition_is_the_fast_codec_and_the_docstring():
    values = (3, 1, 1, 0, 1000, 1 << 40, 0xDEADBEEF)
    names = [each.name for each in RecordHead.subcons]
    assert RecordHead.build(dict(zip(names, values, strict=True))) == HEAD.pack(*values)
    rows = re.findall(r"^    (\d+) +u(\d+) +(\w+)", lcap.__doc__, flags=re.M)
    offset, expected = 0, []
    for each in RecordHead.subcons:
        expected.append((str(offset), str(8 * each.sizeof()), each.name))
        offset += each.sizeof()
    assert rows == expected


def test_long_transfers_become_several_records(tmp_path):
    data = bytes(range(256)) * 10000
    writer = Writer.create(tmp_path / "a.lcap", False, INFO)
    writer.write_data(0, Direction.TO_HOST, [data[:100], data[100:]])
    writer.finish("frames")
    recording = load(tmp_path / "a.lcap")
    assert max(len(r.payload) for r in recording.records) == lcap.MAX_RECORD
    assert recording.join_stream(0, Direction.TO_HOST) == data
    assert writer.data_bytes == len(data)


def test_each_record_reaches_the_kernel_at_once(tmp_path):
    """A killed writer loses no written record: there is no close and no flush."""
    writer = Writer.create(tmp_path / "a.lcap", False, INFO)
    writer.write_data(0, Direction.TO_HOST, [b"pixels"])
    recording = load(tmp_path / "a.lcap")
    assert [r.payload for r in recording.records] == [b"pixels"]
    assert recording.end_reason is None
    writer.close()


def test_overwriting(tmp_path):
    path, other = tmp_path / "a.lcap", tmp_path / "other"
    other.write_text("kept")
    path.symlink_to(other)
    with pytest.raises(StorageError, match="--force"):
        Writer.create(path, False, INFO)
    assert path.is_symlink()
    Writer.create(path, True, INFO).finish("frames")
    assert not path.is_symlink()
    assert other.read_text() == "kept"
    assert load(path).end_reason == "frames"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.lcap", "other"]
    with pytest.raises(StorageError, match="no such folder"):
        Writer.create(tmp_path / "none" / "a.lcap", True, INFO)


class Disk(io.BytesIO):
    """A file that takes a limited number of bytes."""

    room = 200

    def write(self, data):
        taken = min(len(data), self.room - self.tell())
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(bytes(data[:taken]))

    def close(self):
        pass


def test_a_full_disk_leaves_whole_records(tmp_path):
    disk = Disk()
    writer = Writer(tmp_path / "a.lcap", disk)
    writer.write_record(Kind.INFO, [json.dumps(INFO).encode()])
    writer.write_data(0, Direction.TO_HOST, [b"x" * 30])
    with pytest.raises(StorageError, match="disk is full"):
        writer.write_data(0, Direction.TO_HOST, [b"y" * 200])
    # Later records must not hide the first error.
    writer.write_data(0, Direction.TO_HOST, [b"z"])
    writer.finish("error")
    # Only what is in the file counts.
    assert writer.data_bytes == 30
    recording = parse(io.BytesIO(disk.getvalue()), "x")
    assert [r.payload for r in recording.records] == [b"x" * 30]
    assert recording.truncation is None


# --- packets out of bytes --------------------------------------------------------------------

PACKET = st.builds(
    lambda kind, payload: encode_packet(kind, payload, nonce=7, sequence=1),
    st.integers(0, 255),
    st.binary(max_size=60),
)


@given(st.lists(PACKET | st.binary(max_size=60), max_size=6))
def test_splitting_loses_no_byte(pieces):
    data = b"".join(pieces)
    found = list(split_packets(data))
    assert b"".join(data[start:end] for start, end, _, _ in found) == data


@given(st.lists(PACKET, max_size=6), st.binary(max_size=30).filter(lambda b: b"\x8a" not in b))
def test_splitting_finds_every_packet(packets, noise):
    data = b"".join(packet + noise for packet in packets)
    found = [data[start:end] for start, end, _, sound in split_packets(data) if sound]
    assert found == packets


def test_a_packet_inside_a_damaged_one_is_found():
    inner = encode_packet(0x0F, b"inside", nonce=7, sequence=2)
    outer = bytearray(encode_packet(0x41, b"ab" + inner + b"cd", nonce=7, sequence=1))
    assert [s for *_, s in split_packets(bytes(outer))] == [True]
    outer[41] ^= 1
    found = [(bytes(outer[a:b]), sound) for a, b, _, sound in split_packets(bytes(outer))]
    assert found == [
        (bytes(outer[:40]), False), (bytes(outer[40:42]), False), (inner, True), (b"cd", False)
    ]  # fmt: skip


def test_nested_headers_cost_no_more_than_their_bytes(monkeypatch):
    """Each header covers all later ones, which is quadratic without a budget."""
    checked = 0

    def counting(data, value=0):
        nonlocal checked
        checked += len(data)
        return lcap.crc32(data, value)

    head = encode_packet(0x41, bytes(30000), nonce=7, sequence=1)[:40]
    monkeypatch.setattr("lenslink_hil.recording.script.crc32", counting)
    data = head * 2000
    assert sum(1 for *_, header, _ in split_packets(data) if header) == 2000
    assert checked < 18 * len(data)
