"""Test the frame ring with writer and readers in one process."""

from __future__ import annotations

import os
import stat
import struct
import time

import numpy as np
import pytest
from helpers.frame_rings import (
    HEIGHT,
    POISON,
    SIZE,
    STRIDE,
    WIDTH,
    assert_pixels,
    begin,
    description,
    fill,
    fresh_name,
    publish,
    small_ring,
)
from helpers.slowdown import patience

from lenslink import FrameRing, FrameRingReader, FrameStatus
from lenslink.errors import (
    DeviceBusy,
    Disconnected,
    NotFound,
    ProtocolError,
    StorageError,
    Timeout,
    UsageError,
    VersionMismatch,
)
from lenslink.frame_ring import mapped_ring, segment
from lenslink_protocol.ids import Cfa, PixelFormat
from lenslink_protocol.layout import list_fields
from lenslink_protocol.packings import find_layout
from lenslink_protocol.ringlayout import (
    HEADER,
    READER,
    READERS,
    READERS_AT,
    SLOT,
    SLOTS_AT,
    VERSION,
    Policy,
    SlotState,
)
from lenslink_protocol.structs import MESSAGES


def die(party: FrameRing | FrameRingReader) -> None:
    """Do what the kernel does for a killed process: release its locks, and no more."""
    if isinstance(party, FrameRing):
        segment.unlock(party._descriptor, segment.WRITER)
        party._end.detach()
        os.close(party._descriptor)
        party._is_closed = True
    else:
        ring = party._ring
        segment.unlock(ring.descriptor, 8 * party._entry_word)
        os.close(ring.descriptor)
        ring.is_closed = True


# --- frames ------------------------------------------------------------------------------------


def test_a_frame_has_every_field_of_its_description():
    with small_ring() as ring, FrameRingReader(ring.name, "every") as reader:
        slot = begin(ring, 1)
        slot.start(description(9))
        fill(slot, HEIGHT)
        gaps = ((0, 4), (10, 12))
        slot.finish(False, SIZE - 6, gaps, HEIGHT, energy_uj=13)
        before = time.monotonic_ns()
        with reader.next(1) as frame:
            assert (frame.number, frame.stream, frame.sequence, frame.nonce) == (9, 1, 1, 77)
            assert (frame.width, frame.height, frame.stride) == (WIDTH, HEIGHT, STRIDE)
            assert (frame.bits, frame.cfa, frame.orientation, frame.white) == (12, "GRBG", 6, 4095)
            assert (frame.gain_milli, frame.focus_mdpt) == (2000, 3300)
            assert (frame.temperature_mc, frame.timestamp_us) == (-5000, 1 << 40)
            assert (frame.exposure_us, frame.aperture_milli) == (1 << 29, 2800)
            assert (frame.interval_us, frame.row_time_ns, frame.focus_ring) == (40_000, 9000, -14)
            assert (frame.is_adjusted, frame.is_moving) == (False, True)
            assert frame.noise_profile == (11e-9, 12e-9)
            assert frame.start == description(9).start
            assert (frame.time_ns, frame.time_bound_ns) == (1 << 41, 250)
            assert (frame.time, frame.time_error_s) == ((1 << 41) / 1e9, 250e-9)
            assert (frame.crop_x, frame.crop_y) == (16, 32)
            assert frame.energy_uj == frame.metadata.energy_uj == 13
            assert frame.black == (1.0, 2.0, 3.0, 4.5)
            assert frame.active_area == (0, 0, HEIGHT, WIDTH)
            assert frame.status is FrameStatus.INCOMPLETE
            assert frame.received_fraction == (SIZE - 6) / SIZE
            assert frame.missing_ranges == gaps
            assert 0 < frame.begin_ns <= frame.first_rows_ns <= frame.end_ns <= before
            assert frame.pixels.shape == (HEIGHT, WIDTH)
            assert_pixels(frame.packed, 1, 1)


def test_pixels_are_the_writers_memory_and_read_only():
    with small_ring() as ring, FrameRingReader(ring.name) as reader:
        slot = begin(ring)
        slot.start(description())
        fill(slot, HEIGHT)
        slot.finish(True, SIZE, (), HEIGHT)
        with reader.next(1) as frame:
            pixels, packed = frame.pixels, frame.packed
            slot.memory[0] = 99
            assert packed[0, 0] == 99
            assert int(pixels[0, 0]) & 0xFF == 99
            for array in (pixels, packed):
                with pytest.raises(ValueError, match="read-only"):
                    array[0, 0] = 1
                with pytest.raises(ValueError, match="WRITEABLE"):
                    array.flags.writeable = True


def test_missing_ranges_beyond_the_last_place_are_merged():
    gaps = [(4 * index, 4 * index + 2) for index in range(20)]
    with small_ring() as ring, FrameRingReader(ring.name) as reader:
        slot = begin(ring)
        slot.start(description())
        slot.finish(False, SIZE - 40, gaps, HEIGHT)
        with reader.next(1) as frame:
            assert frame.missing_ranges == (*gaps[:15], (60, 78))


def test_an_early_reader_sees_rows_as_they_arrive():
    with small_ring() as ring, FrameRingReader(ring.name, early=True, timeout=0) as reader:
        slot = begin(ring)
        slot.start(description())
        with pytest.raises(Timeout):
            reader.next()
        fill(slot, 3)
        with reader.next() as frame:
            assert frame.rows_ready == 3
            assert frame.packed.shape == (3, STRIDE)
            assert_pixels(frame.packed, 0, 1)
            assert not frame.is_finished
            with pytest.raises(UsageError, match="status is known"):
                _ = frame.status
            with pytest.raises(Timeout):
                frame.wait_rows(4)
            fill(slot, 5)
            assert frame.wait_rows(4) == 5
            with pytest.raises(Timeout):
                frame.wait()
            slot.finish(True, SIZE, (), HEIGHT)
            frame.wait()
            assert frame.rows_ready == HEIGHT
            assert frame.status is FrameStatus.COMPLETE


def test_the_number_of_ready_rows_never_falls():
    with small_ring() as ring, FrameRingReader(ring.name, early=True) as reader:
        slot = begin(ring)
        slot.start(description())
        fill(slot, 5)
        slot.publish_rows(2)
        with reader.next(1) as frame:
            assert frame.rows_ready == 5


def test_an_aborted_frame_ends_for_its_reader_and_other_readers_skip_it():
    with (
        small_ring() as ring,
        FrameRingReader(ring.name, "every", early=True, timeout=0) as early,
        FrameRingReader(ring.name, "every", timeout=0) as late,
    ):
        slot = begin(ring)
        slot.start(description())
        fill(slot, 3)
        with early.next() as frame:
            slot.let_go()
            assert frame.wait_rows(HEIGHT) == 3
            assert frame.is_finished
            assert frame.status is FrameStatus.INCOMPLETE
            assert frame.packed.shape == (3, STRIDE)
        publish(ring)
        for reader in (early, late):
            with reader.next() as frame:
                assert frame.sequence == 2
        assert (early.dropped_frames, late.dropped_frames) == (0, 0)
        assert (early.delivered_frames, late.delivered_frames) == (2, 1)


def test_a_released_frame_refuses_access_to_its_pixels():
    with small_ring() as ring, FrameRingReader(ring.name) as reader:
        publish(ring)
        frame = reader.next(1)
        frame.release()
        frame.release()
        with pytest.raises(UsageError, match="released"):
            _ = frame.pixels


# --- policies ----------------------------------------------------------------------------------


def test_latest_delivers_the_newest_frame_and_counts_skipped_ones():
    with small_ring() as ring, FrameRingReader(ring.name, timeout=0) as reader:
        for _ in range(5):
            publish(ring)
        with reader.next() as frame:
            assert frame.sequence == 5
        assert reader.skipped_frames == 0, "it was not there before"
        with pytest.raises(Timeout):
            reader.next()
        for _ in range(4):
            publish(ring)
        with reader.next() as frame:
            assert frame.sequence == 9
        assert (reader.delivered_frames, reader.skipped_frames, reader.dropped_frames) == (2, 3, 0)
        assert ring.dropped_frames == 0


def test_a_latest_reader_blocks_only_the_slot_that_it_has_pinned():
    with small_ring(2) as ring, FrameRingReader(ring.name, timeout=0) as reader:
        publish(ring)
        with reader.next() as frame:
            for _ in range(10):
                publish(ring)
                assert_pixels(frame.packed, 0, 1)
        assert (ring.begun_frames, ring.dropped_frames) == (11, 0)


def test_every_keeps_the_oldest_frames_and_counts_dropped_ones():
    with small_ring(6) as ring, FrameRingReader(ring.name, "every", timeout=0) as reader:
        for _ in range(10):
            publish(ring)
        # Three of the six slots wait for it, three go round for the others.
        for sequence in (1, 2, 3, 8, 9, 10):
            with reader.next() as frame:
                assert frame.sequence == sequence
                assert_pixels(frame.packed, 0, sequence)
        assert (reader.delivered_frames, reader.dropped_frames, reader.skipped_frames) == (6, 4, 0)
        [attached] = ring.readers
        assert attached.policy is Policy.EVERY
        assert (attached.pid, attached.delivered_frames, attached.dropped_frames) == (
            os.getpid(),
            6,
            4,
        )


def test_every_loses_no_frame_while_it_is_less_than_the_waiting_slots_behind():
    with small_ring(6) as ring, FrameRingReader(ring.name, "every", timeout=0) as reader:
        for sequence in range(1, 30):
            publish(ring)
            if sequence > 3:
                with reader.next() as frame:
                    assert frame.sequence == sequence - 3
        assert reader.dropped_frames == 0


def test_an_every_reader_that_stops_stops_neither_the_link_nor_other_readers():
    with (
        small_ring(6) as ring,
        FrameRingReader(ring.name, "every", timeout=0) as stopped,
        FrameRingReader(ring.name, "every", timeout=0) as every,
        FrameRingReader(ring.name, timeout=0) as latest,
    ):
        for sequence in range(1, 30):
            publish(ring)
            with every.next() as one, latest.next() as other:
                assert one.sequence == other.sequence == sequence
        assert (every.dropped_frames, latest.skipped_frames, ring.dropped_frames) == (0, 0, 0)
        with stopped.next() as frame:
            assert frame.sequence == 1


def test_every_starts_with_the_frame_that_is_under_way():
    with small_ring() as ring:
        publish(ring)
        slot = begin(ring)
        with FrameRingReader(ring.name, "every", timeout=0) as reader:
            with pytest.raises(Timeout):
                reader.next()
            slot.start(description())
            slot.finish(True, SIZE, (), HEIGHT)
            with reader.next() as frame:
                assert frame.sequence == 2
            assert reader.dropped_frames == 0


def test_a_slow_stream_does_not_delay_another():
    with small_ring(4) as ring, FrameRingReader(ring.name, "every", timeout=0) as reader:
        still = begin(ring, 1)
        publish(ring, 0)
        with reader.next() as frame:
            assert (frame.stream, frame.sequence) == (0, 1)
        still.start(description())
        fill(still, HEIGHT)
        still.finish(True, SIZE, (), HEIGHT)
        publish(ring, 0)
        found = []
        for _ in range(2):
            with reader.next() as frame:
                found.append((frame.stream, frame.sequence))
        assert found == [(1, 1), (0, 2)]


def test_a_reader_of_one_stream_neither_sees_nor_blocks_the_other():
    with (
        small_ring(2) as ring,
        FrameRingReader(ring.name, "every", streams=(1,), timeout=0) as reader,
    ):
        for _ in range(5):
            publish(ring, 0)
        assert ring.dropped_frames == 0
        publish(ring, 1)
        with reader.next() as frame:
            assert frame.stream == 1


def test_a_reader_that_holds_too_many_frames_gets_a_usage_error():
    with small_ring(8) as ring:
        for policy, most in (("latest", 2), ("every", 4)):
            with FrameRingReader(ring.name, policy, timeout=0) as reader:
                for _ in range(most):
                    publish(ring)
                    reader.next()
                publish(ring)
                with pytest.raises(UsageError, match=f"{most} frames .* release one"):
                    reader.next()


def test_a_frame_is_dropped_when_all_slots_are_in_use():
    with small_ring(2) as ring:
        kept = [begin(ring), begin(ring)]
        assert begin(ring) is None
        kept[0].let_go()
        assert begin(ring) is kept[0]
        assert ring.dropped_frames == 1


# --- at the same moment ------------------------------------------------------------------------


def test_a_reader_that_pins_while_the_writer_takes_the_slot_keeps_its_frame(monkeypatch):
    """The reader pins between the writer's look at the pins and its new state word."""
    with small_ring(1) as ring, FrameRingReader(ring.name, timeout=0) as reader:
        publish(ring)
        held = []
        look = ring._readers.is_pinned

        def interrupted(index):
            answer = look(index)
            if not held:
                held.append(reader.next())
            return answer

        monkeypatch.setattr(ring._readers, "is_pinned", interrupted)
        assert begin(ring) is None
        assert_pixels(held[0].packed, 0, 1)
        assert held[0].status is FrameStatus.COMPLETE
        held[0].release()
        assert begin(ring) is not None


def test_a_reader_that_pins_a_slot_too_late_gets_no_frame(monkeypatch):
    """The writer takes the slot between the reader's look at it and its claim."""
    with small_ring(1) as ring, FrameRingReader(ring.name, early=True, timeout=0) as reader:
        publish(ring)
        claim = reader._claim
        slots = []

        def interrupted(view, pin):
            if not slots:
                slots.append(begin(ring))
                slots[0].start(description())
            return claim(view, pin)

        monkeypatch.setattr(reader, "_claim", interrupted)
        with pytest.raises(Timeout):
            reader.next()
        assert reader.delivered_frames == 0
        fill(slots[0], 2)
        with reader.next() as frame:
            assert frame.sequence == 2
            assert_pixels(frame.packed, 0, 2)


def test_the_writer_wakes_a_reader_that_falls_asleep_during_the_notification(monkeypatch):
    """The writer looks for sleepers after it has counted the doorbell up."""
    # Nothing else would wake it within the time limit.
    monkeypatch.setattr(mapped_ring, "_MAX_SLEEP_S", 60.0)
    with small_ring() as ring, FrameRingReader(ring.name) as reader:
        look = reader._ring.is_over

        def published():
            publish(ring)
            reader._ring.is_over = look
            return False

        reader._ring.is_over = published
        start = time.monotonic()
        assert reader.next(patience(20)).sequence == 1
        assert time.monotonic() - start < patience(1), "woken by nothing but its time limit"


# --- ends --------------------------------------------------------------------------------------


def test_readers_get_the_last_frames_and_then_the_end_of_the_ring():
    with small_ring() as ring, FrameRingReader(ring.name, "every") as reader:
        publish(ring)
        publish(ring)
        ring.close()
        assert not ring.path.exists()
        assert [frame.sequence for frame in reader] == [1, 2]
        with pytest.raises(Disconnected, match="closed by its writer"):
            reader.next()


def test_a_writers_death_is_reported_after_its_finished_frames():
    with FrameRingReader(_dead_ring().name, "every") as reader:
        start = time.monotonic()
        assert reader.next().sequence == 1
        with pytest.raises(Disconnected, match="it is gone"):
            reader.next(30)
        assert time.monotonic() - start < patience(1)
        with pytest.raises(Disconnected, match="it is gone"):
            list(reader)
        path = reader.path
        assert path.exists()
    assert not path.exists(), "whoever leaves last cleans up"


def _dead_ring() -> FrameRing:
    """Make a ring with one frame, whose writer dies as soon as a reader has joined."""
    ring = FrameRing(fresh_name(), 2, frame_bytes=SIZE)
    slot = begin(ring)
    join = FrameRingReader._join

    def joined(reader: FrameRingReader) -> None:
        join(reader)
        slot.start(description())
        slot.finish(True, SIZE, (), HEIGHT)
        die(ring)

    patch = pytest.MonkeyPatch()
    patch.setattr(FrameRingReader, "_join", lambda reader: (patch.undo(), joined(reader))[1])
    return ring


def test_waiting_for_rows_ends_when_the_writer_dies():
    with small_ring() as ring, FrameRingReader(ring.name, early=True) as reader:
        slot = begin(ring)
        slot.start(description())
        fill(slot, 2)
        with reader.next(1) as frame:
            die(ring)
            assert frame.wait_rows(2) == 2
            with pytest.raises(Disconnected, match="it is gone"):
                frame.wait_rows(3)
            assert_pixels(frame.packed, 0, 1)


def test_a_dead_readers_pins_are_cleared():
    with small_ring(2) as ring:
        reader = FrameRingReader(ring.name, "every", timeout=0)
        publish(ring)
        reader.next()
        assert begin(ring) is not None
        assert begin(ring) is None
        assert ring.dropped_frames == 1
        ring._slots[1].let_go()
        die(reader)
        kept = [begin(ring), begin(ring)]
        assert None not in kept
        assert ring.readers == []


def test_a_dead_readers_entry_is_free():
    with small_ring() as ring:
        readers = [FrameRingReader(ring.name) for _ in range(READERS)]
        with pytest.raises(DeviceBusy, match=f"{READERS} readers"):
            FrameRingReader(ring.name)
        die(readers[5])
        with FrameRingReader(ring.name) as reader:
            assert reader._number == 5
        readers[7].close()
        with FrameRingReader(ring.name) as reader:
            assert reader._number in (5, 7)
        for each in readers[:5] + readers[6:7] + readers[8:]:
            each.close()


def test_only_a_dead_writers_name_can_be_taken_over():
    with small_ring() as ring:
        with pytest.raises(DeviceBusy, match="has a writer already"):
            FrameRing(ring.name)
        with FrameRingReader(ring.name, timeout=0) as reader:
            die(ring)
            with FrameRing(ring.name, 2, frame_bytes=SIZE) as other:
                publish(other)
                with pytest.raises(Disconnected):
                    reader.next(), reader.next()
                reader.close()
                assert other.path.exists(), "it is not the old reader's any more"
                with FrameRingReader(ring.name, timeout=0) as second:
                    assert second.next().sequence == 1


def test_the_next_writer_removes_the_files_of_dead_writers():
    left = FrameRing(fresh_name(), 2, frame_bytes=SIZE)
    empty = segment.path_of(fresh_name())
    empty.touch(mode=0o600)
    with small_ring() as living:
        die(left)
        with small_ring():
            assert not left.path.exists()
            assert not empty.exists()
            assert living.path.exists()


def test_a_dead_writers_ring_is_not_found():
    ring = FrameRing(fresh_name(), 2, frame_bytes=SIZE)
    die(ring)
    with pytest.raises(NotFound, match="no writer"):
        FrameRingReader(ring.name)
    assert not ring.path.exists()
    with pytest.raises(NotFound, match="there is no frame ring"):
        FrameRingReader(ring.name)


def test_an_unclosed_ring_is_removed_with_its_object():
    ring = FrameRing(fresh_name(), 2, frame_bytes=SIZE)
    path = ring.path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    del ring
    assert not path.exists()


def test_arrays_outlive_reader_and_ring():
    with small_ring() as ring, FrameRingReader(ring.name) as reader:
        publish(ring)
        pixels = reader.next(1).packed
    assert_pixels(pixels, 0, 1)


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "a b", "-x", "x" * 65, "ä"])
def test_impossible_names_are_refused(name):
    with pytest.raises(UsageError, match="no name for a frame ring"):
        FrameRing(name)


def test_impossible_sizes_are_refused():
    for arguments in ({"slots": 0}, {"slots": 65}, {"frame_bytes": 0}, {"frame_bytes": 1 << 40}):
        with pytest.raises(UsageError):
            FrameRing(fresh_name(), **arguments)
    with small_ring() as ring, pytest.raises(StorageError, match="slots of 65536 bytes"):
        ring.take(65537)


def test_impossible_reader_options_are_refused():
    with small_ring() as ring:
        with pytest.raises(UsageError, match="latest or every, not 'all'"):
            FrameRingReader(ring.name, "all")
        for streams in ((), (3,), (-1,)):
            with pytest.raises(UsageError, match="streams are 0 to 2"):
                FrameRingReader(ring.name, streams=streams)
        with FrameRingReader(ring.name) as reader:
            pass
        reader.close()
        with pytest.raises(UsageError, match="is closed"):
            reader.next()


def test_a_lack_of_memory_is_an_error_and_no_signal(monkeypatch):
    with small_ring() as ring:
        monkeypatch.setattr(ring, "_reserve", _no_space)
        with pytest.raises(StorageError, match="no memory for a frame of 256 bytes"):
            ring.take(SIZE)
        monkeypatch.undo()
        assert ring.take(SIZE) is not None


def _no_space(at: int, size: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_symbolic_link_or_a_folder_in_place_of_the_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(segment, "folder", lambda: tmp_path)
    target = tmp_path / "target"
    target.write_bytes(b"x" * 100_000)
    segment.path_of("link").symlink_to(target)
    segment.path_of("folder").mkdir()
    for name in ("link", "folder"):
        for opened in (FrameRing, FrameRingReader):
            with pytest.raises(StorageError):
                opened(name)
    assert target.read_bytes() == b"x" * 100_000


BAD_HEADERS = [
    ("magic", 5, ProtocolError),
    ("version", VERSION + 1, VersionMismatch),
    ("version", VERSION - 1, VersionMismatch),
    ("header_bytes", 8, ProtocolError),
    ("file_bytes", 1 << 62, ProtocolError),
    ("slots", 0, ProtocolError),
    ("slots", 65, ProtocolError),
    ("slots", 2, ProtocolError),
    ("readers", 1 << 31, ProtocolError),
    ("readers_at", 4097, ProtocolError),
    ("readers_at", 0, ProtocolError),
    ("reader_bytes", 8, ProtocolError),
    ("reader_bytes", 1 << 30, ProtocolError),
    ("slots_at", 65000, ProtocolError),
    ("slots_at", 4100, ProtocolError),
    ("slot_bytes", 1, ProtocolError),
    ("slot_bytes", 1 << 31, ProtocolError),
    ("payloads_at", 1 << 40, ProtocolError),
    ("payloads_at", 0, ProtocolError),
    ("payload_bytes", 0, ProtocolError),
    ("payload_bytes", 1 << 63, ProtocolError),
    ("payload_bytes", 65535, ProtocolError),
]


@pytest.mark.parametrize(("name", "value", "kind"), BAD_HEADERS)
def test_an_impossible_header_is_refused_before_anything_is_mapped(name, value, kind):
    with small_ring() as ring:
        word = next(word for word in HEADER.words if word.name == name)
        struct.pack_into(f"<{word.code}", ring._map, word.offset, value)
        with pytest.raises(kind):
            FrameRingReader(ring.name)
        assert ring.path.exists()


def test_a_file_shorter_than_it_says_is_refused():
    with small_ring() as ring:
        os.truncate(ring.path, 1000)
        with pytest.raises(ProtocolError, match="makes no sense"):
            FrameRingReader(ring.name)


FRAME_START = next(list_fields(each.struct) for each in MESSAGES if each.name == "FrameStart")
BAD_SLOTS = [
    ("width", 0),
    ("width", WIDTH - 2),
    ("width", (1 << 16) - 1),
    ("height", 0),
    ("height", 8193),
    ("height", (1 << 16) - 1),
    ("stride", 1 << 31),
    ("stride", STRIDE - 1),
    ("pixel_format", 3),
    ("cfa", 4),
    ("size", 99),
]


@pytest.mark.parametrize(("name", "value"), BAD_SLOTS)
def test_a_frame_with_an_impossible_description_is_skipped(name, value):
    with small_ring() as ring, FrameRingReader(ring.name, "every", timeout=0) as reader:
        slot = publish(ring)
        field = next(field for field in FRAME_START if field.name == name)
        at = SLOTS_AT + slot.index * SLOT.size + SLOT.at["frame_start"] + field.offset
        struct.pack_into(f"<{field.code}", ring._map, at, value)
        with pytest.raises(ProtocolError, match="damaged"):
            reader.next()
        publish(ring)
        with reader.next() as frame:
            assert frame.sequence == 2
        [entry] = [READERS_AT + READER.at["pins"]]
        assert ring._map[entry : entry + 32] == bytes(32)


def test_the_geometry_of_a_slots_last_frame_is_not_reused_for_another():
    """Readers remember the geometry of a slot's last frame, but check each frame against it."""
    others = [
        {"width": WIDTH // 2, "stride": STRIDE // 2},
        {"height": HEIGHT // 2},
        {"pixel_format": PixelFormat.RG12},
        {"cfa": 2},
        {"width": WIDTH + 2},
        {"stride": 0},
    ]
    with small_ring(1) as ring, FrameRingReader(ring.name, timeout=0) as reader:
        for changes in ({}, *others, {}):
            slot = begin(ring)
            assert slot is not None
            about = description(slot.sequence, **changes)
            told = about.start
            slot.start(about)
            fill(slot, HEIGHT)
            slot.finish(True, SIZE, (), HEIGHT)
            slot.let_go()
            if told.stride != 2 * told.width:
                with pytest.raises(ProtocolError, match="damaged"):
                    reader.next()
                continue
            with reader.next() as frame:
                assert frame.packed.shape == (told.height, told.stride)
                assert frame.layout == find_layout(told.pixel_format)
                assert frame.cfa == Cfa(told.cfa).name
                assert (frame.width, frame.sequence) == (told.width, slot.sequence)
                assert_pixels(frame.packed, 0, slot.sequence)


def test_impossible_rows_and_missing_ranges_stay_inside_the_frame():
    with small_ring() as ring, FrameRingReader(ring.name, timeout=0) as reader:
        slot = publish(ring)
        at = SLOTS_AT + slot.index * SLOT.size
        struct.pack_into("<Q", ring._map, at + SLOT.at["rows_ready"], 1 << 50)
        struct.pack_into("<Q", ring._map, at + SLOT.at["received_bytes"], 1 << 50)
        with reader.next() as frame:
            assert frame.rows_ready == HEIGHT
            assert frame.received_fraction == 1
            struct.pack_into("<I", ring._map, at + SLOT.at["missing_count"], 17)
            with pytest.raises(ProtocolError, match="too many missing ranges"):
                _ = frame.missing_ranges
            struct.pack_into("<I", ring._map, at + SLOT.at["missing_count"], 1)
            struct.pack_into("<QQ", ring._map, at + SLOT.at["missing_ranges"], 0, SIZE + 1)
            with pytest.raises(ProtocolError, match="missing ranges outside"):
                _ = frame.missing_ranges


def test_noise_in_the_control_data_raises_our_errors_only(seed):
    """No noise makes a reader crash, raise another exception, or wait."""
    chance = np.random.default_rng(seed)
    for _ in range(60):
        with (
            small_ring() as ring,
            FrameRingReader(ring.name, "every", early=True, timeout=0) as reader,
        ):
            publish(ring)
            noise = chance.integers(0, 256, 4 * SLOT.size, dtype=np.uint8).tobytes()
            ring._map[SLOTS_AT : SLOTS_AT + len(noise)] = noise
            for index in range(3):
                mark = int(chance.integers(0, 9)) | 8
                struct.pack_into("<QQ", ring._map, SLOTS_AT + index * SLOT.size, mark, 5)
                at = SLOTS_AT + index * SLOT.size + SLOT.at["stream"]
                struct.pack_into("<I", ring._map, at, int(chance.integers(0, 3)))
            for _ in range(6):
                try:
                    with reader.next() as frame:
                        assert frame.packed.size <= ring.payload_bytes
                except (ProtocolError, Timeout):
                    pass
            # The writer goes on as if nothing had been.
            assert publish(ring).sequence == 2


def test_a_slots_states_are_those_of_the_layout():
    with small_ring() as ring:
        slot = begin(ring)
        assert slot.state is SlotState.FILLING
        assert slot.memory[0] == POISON
        slot.start(description())
        assert slot.state is SlotState.STARTED
        slot.finish(True, SIZE, (), HEIGHT)
        assert slot.state is SlotState.FINISHED
        slot.let_go()
        assert slot.state is SlotState.FINISHED
